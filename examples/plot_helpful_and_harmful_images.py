"""
Helpful and harmful images
==========================

A classifier takes a 3 for a 5. Which training images led it there, and which ones tried to keep
it on track? Koh & Liang (2017) asked this of a linear model on MNIST; here it is on the digits
that come with scikit-learn, and with a check: the images are really deleted.
"""

# %%
# The model
# ---------
# Logistic regression on ten digits, fitted to a tight tolerance. ``InfluenceExplainer`` takes the
# fitted model and its training rows. A score is the change of the loss at a test image when a
# training image is deleted: images that help are positive, images that harm are negative.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer
from skinfluence.displays import ImageGridDisplay

digits = load_digits()
images, y = digits.data / 16, digits.target
train, queries = np.arange(1000), np.array([1202, 1095, 1264])
X, Z, z_digit = images[train], images[queries], y[queries]

model = LogisticRegression(tol=1e-8, max_iter=5000).fit(X, y[train])
taken_for = model.predict(Z)
print(f"accuracy on the other images {model.score(images[1000:], y[1000:]):.1%}")

explainer = InfluenceExplainer(model).fit(X, y[train])

# %%
# The images
# ----------
# Three images that the model gets wrong, each with the training images that help it most and harm
# it most. Captions below are changes of the loss in nats.

ImageGridDisplay.from_explainer(
    explainer,
    Z,
    y=z_digit,
    image_shape=(8, 8),
    k=5,
    query_names=[f"a {a}, taken for a {b}" for a, b in zip(z_digit, taken_for, strict=True)],
    name="what helps, and what harms",
)
plt.show()

# %%
# For the 4 it is as one would guess: 4s help, and the 9s that it is taken for harm. The 3 is
# another matter. Its most harmful images are *3s*. They are written in another way, and what the
# model learned from them is a 3 that this one does not look like.

scores = explainer.score_influence(Z, z_digit)
order = np.argsort(scores, axis=1)
for row, a, b in zip(order, z_digit, taken_for, strict=True):
    digits_of = y[train][row]
    print(f"a {a}, taken for a {b}: helped by {digits_of[::-1][:8]}, harmed by {digits_of[:8]}")

# %%
# Nearness finds one of them
# --------------------------
# The nearest images are what one would look at otherwise. The very nearest one is the one that
# helps most, and that is how far nearness goes: most of the others do next to nothing, and the
# 3s that harm are the *farthest* ones.

distance = np.linalg.norm(X - Z[0], axis=1)
nearest = np.argsort(distance)[:20]
influential = np.argsort(-np.abs(scores[0]))[:20]
print(f"of the 20 nearest images {np.mean(y[nearest] == z_digit[0]):.0%} are 3s,")
print(f"{np.sum(scores[0, nearest] < 0)} of them harm, and")
print(f"{len(np.intersect1d(nearest, influential))} are among the 20 most influential ones")

fig, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for name, own in (("3", y[train] == 3), ("5", y[train] == 5), ("others", None)):
    rows = ~np.isin(y[train], (3, 5)) if own is None else own
    style = {"color": "0.75", "zorder": 0} if own is None else {}
    ax.scatter(distance[rows], scores[0, rows], s=14, label=name, **style)
ax.axhline(0, color="0.5", lw=0.8)
ax.set(xlabel="distance to the test image", ylabel="influence on its loss")
ax.set_title("a 3, taken for a 5")
ax.legend(title="training images of")
plt.show()

# %%
# Is it true?
# -----------
# Fit the model again without the harmful images of the 3, a few more at a time. A set of rows is
# more than its rows one by one, so the prediction comes from ``score_groups``.

code = np.searchsorted(model.classes_, z_digit[0])
counts = (1, 5, 20, 50)
groups = [order[0, :count] for count in counts]
predicted = explainer.score_groups(Z[:1], z_digit[:1], groups=groups)[0]
before = -model.predict_log_proba(Z[:1])[0, code]
print(f"with all images    loss {before:.3f}, taken for a {taken_for[0]}")
for count, group, change in zip(counts, groups, predicted, strict=True):
    kept = np.delete(train, group)
    again = clone(model).fit(X[kept], y[kept])
    loss = -again.predict_log_proba(Z[:1])[0, code]
    print(
        f"without {count:2} images  loss {loss:.3f}, predicted {before + change:.3f}, "
        f"taken for a {again.predict(Z[:1])[0]}"
    )

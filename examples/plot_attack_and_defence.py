r"""
Attack and defence
==================

A model can be turned against one image without touching that image: a few training rows are
changed so little that nobody sees it, and the model, fitted again, says something else. Koh &
Liang (2017, section 5.2) did so to a network; here it is a logistic regression on pixels. The
derivative that tells the attacker what to change is ``perturbation``. The scores that tell the
defender where to look come from the same Hessian.
"""

# %%
# A model and a victim
# --------------------
# Threes and eights of 8 x 8 pixels between 0 and 16. The victim is a new three that the model gets
# right.

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import rankdata
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split

from skinfluence import InfluenceExplainer

X, y = load_digits(return_X_y=True)
rows = np.isin(y, (3, 8))
X, Z, y, z_y = train_test_split(X[rows], y[rows], train_size=0.5, random_state=0)


def fit(X):
    return LogisticRegression(C=0.05, tol=1e-8, max_iter=10_000).fit(X, y)


model = fit(X)
print(f"{len(X)} rows; {model.score(Z, z_y):.1%} of the new images are right")

# %%
# Where to push
# -------------
# ``perturbation`` is the derivative of the loss at the victim in every pixel of every training
# row, retraining included. If each pixel may move by 2, a row can raise the loss by about twice
# the sum of the sizes of its derivatives. The attacker takes the two rows of the other class that
# promise most, pushes their pixels along the signs, fits again, and repeats until the label flips.

LIMIT, STEP = 2.0, 0.5


def attack(z, label, n_rows, n_steps=12):
    """Changed training rows, which they are, and the margin of the victim after every step."""
    changed, model, margins = X.copy(), fit(X), []
    slopes = InfluenceExplainer(model).fit(X, y).perturbation(z, label)[0]
    chosen = np.argsort(-np.abs(slopes).sum(axis=1) * (y != label))[:n_rows]
    for _ in range(n_steps):
        margins.append(np.where(label == 8, 1, -1)[0] * model.decision_function(z)[0])
        if margins[-1] < 0:
            break
        slopes = InfluenceExplainer(model).fit(changed, y).perturbation(z, label, rows=chosen)[0]
        pushed = changed[chosen] + STEP * np.sign(slopes)
        near = np.clip(pushed, X[chosen] - LIMIT, X[chosen] + LIMIT)
        changed[chosen] = np.clip(near, 0, 16)
        model = fit(changed)
    return changed, chosen, margins


margin = np.where(z_y == 8, 1, -1) * model.decision_function(Z)
threes = np.flatnonzero(z_y == 3)
victim = threes[np.argmin(np.abs(margin[threes] - 2))]
z, label = Z[[victim]], z_y[[victim]]
changed, chosen, margins = attack(z, label, 2)
after = fit(changed)
print("margin of the victim after each step:", np.round(margins, 2))
print(f"label before: {model.predict(z)[0]}, after: {after.predict(z)[0]}")
print(f"right after the attack: {after.score(Z, z_y):.1%} of the new images")

# %%
# Above the two rows as they were, below as they were fitted: the eights are still eights.

fig, axes = plt.subplots(2, 3, figsize=(5.6, 3.8), layout="constrained")
axes[0, 0].imshow(z[0].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
axes[0, 0].set_title("the victim", fontsize=10)
slope = InfluenceExplainer(model).fit(X, y).perturbation(z, label, rows=chosen[:1])[0, 0]
size = np.abs(slope).max()
axes[1, 0].imshow(slope.reshape(8, 8), cmap="RdBu_r", vmin=-size, vmax=size)
axes[1, 0].set_title("slope, first row", fontsize=10)
for column, row in enumerate(chosen, start=1):
    for line, (data, word) in enumerate(((X, "row"), (changed, "changed"))):
        axes[line, column].imshow(data[row].reshape(8, 8), cmap="gray_r", vmin=0, vmax=16)
        axes[line, column].set_title(f"{word} {row}", fontsize=10)
for ax in axes.flat:
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# The defender
# ------------
# The defender has the changed rows and the model, and a complaint: *this three is called an
# eight*. To delete what raises the loss of the victim would help: those rows have the lowest
# scores. Without a complaint there is still ``self_influence``: rows whose own label the model
# would believe less without them. Neither knows what was changed.

explainer = InfluenceExplainer(after).fit(changed, y)
scores = explainer.score_influence(z, label)[0]
own = explainer.self_influence()

fig, ax = plt.subplots(figsize=(6, 4), layout="constrained")
others = np.setdiff1d(np.arange(len(X)), chosen)
ax.axvline(0, color="0.8", lw=0.8, zorder=0)
ax.scatter(scores[others], own[others], s=18, color="0.5", label="rows as they were", lw=0)
ax.scatter(scores[chosen], own[chosen], s=50, color="C3", label="changed rows")
for row in chosen:
    ax.annotate(str(row), (scores[row], own[row]), xytext=(6, 4), textcoords="offset points")
ax.set(xlabel="score of the row for the victim", ylabel="self influence", yscale="log")
ax.margins(0.1)
ax.legend(loc="lower left")
plt.show()

print("ranks of the changed rows, of", len(X))
print("  by score, lowest first:   ", rankdata(scores)[chosen].astype(int))
print("  by self influence:        ", rankdata(-own)[chosen].astype(int))
suspects = np.argsort(scores)[:2]
kept = np.delete(np.arange(len(X)), suspects)
repaired = LogisticRegression(C=0.05, tol=1e-8, max_iter=10_000).fit(changed[kept], y[kept])
print("label without the two rows of lowest score:", repaired.predict(z)[0])

# %%
# Not one victim only
# -------------------
# The same for the two dozen images nearest to the boundary, of those that the model gets right,
# one attack each. Where it succeeds, the changed rows are at the front of both lists.

found, flipped = {"score": [], "self influence": []}, 0
victims = np.argsort(np.where(margin > 0, margin, np.inf))[:24]
for j in victims:
    one, rows, margins = attack(Z[[j]], z_y[[j]], 2, n_steps=8)
    if margins[-1] < 0:
        flipped += 1
        explainer = InfluenceExplainer(fit(one)).fit(one, y)
        found["score"] += list(rankdata(explainer.score_influence(Z[[j]], z_y[[j]])[0])[rows])
        found["self influence"] += list(rankdata(-explainer.self_influence())[rows])

print(f"{flipped} of {len(victims)} labels flipped by two rows")
for name, ranks in found.items():
    print(f"changed rows among the ten first by {name}: {np.mean(np.array(ranks) <= 10):.0%}")

# %%
# An attacker who may change more rows needs less of each, and some of them are then found nowhere
# near the front: try ten. And a row that was always influential looks the same as one that was
# made so; a defender finds where to look, not what happened.

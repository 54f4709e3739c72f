"""
What did each image do to the training?
=======================================

A neural network starts from noise and goes down a slope, and every step of the way is made of the
gradients of a few training rows. Add up what the steps of one row did to the loss of another
image, and you have its influence (Pruthi et al. 2020). Here: scikit-learn's own
``MLPClassifier``, digits, and one label in twelve is wrong.
"""

# %%
# Train, and record
# -----------------
# An unfitted network is fitted and recorded by the explainer itself: the way is the one that
# ``net.fit`` goes, batch by batch. Plain gradient descent with a small rate is the case in which
# the scores are what they claim to be, as will be seen.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from skinfluence import TracInExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.displays import AgreementDisplay
from skinfluence.metrics import detection_table

images, digits = load_digits(return_X_y=True)
X, X_new, y_true, y_new = train_test_split(
    images / 16, digits, train_size=1000, test_size=200, stratify=digits, random_state=0
)
y, is_wrong = plant_mislabels(y_true, 1 / 12, random_state=0)

net = MLPClassifier(
    (32,),
    activation="tanh",
    solver="sgd",
    momentum=0.0,
    learning_rate_init=0.02,
    batch_size=100,
    alpha=0.0,
    max_iter=100,
    tol=0.0,
    random_state=0,
)
explainer = TracInExplainer(net, n_checkpoints=101).fit(X, y)
print(explainer.checkpoints_)
print(f"{explainer.estimator_.score(X_new, y_new):.1%} of new images are read correctly")
print("a score is a change of the", explainer.score_unit_)

# %%
# Nothing is missing
# ------------------
# A score is the part of a training image in the fall of a new image's loss. So the thousand scores
# of a new image should add up to the whole fall, from the first parameters to the last.
# ``validate`` compares the two.

found = explainer.validate(X_new, y_new)
display = AgreementDisplay.from_agreement(found)
display.ax_.set(xlabel="sum of the scores [nats]", ylabel="fall of the loss [nats]")
plt.show()
print(found)

# %%
# With fewer checkpoints the sums come apart, always in the same direction: gradients are large in
# the beginning, and a checkpoint speaks for all the steps around it. It is not the number that
# matters. Ten checkpoints at growing distances do nearly what a hundred at equal ones do.

fitted, recorded = explainer.estimator_, explainer.checkpoints_
growing = [0, *np.unique(np.geomspace(1, recorded.steps[-1], 9).round().astype(int))]
for name, checkpoints in {
    "all": recorded,
    "10 at equal distances": recorded.evenly(10),
    "10 at growing distances": recorded.at(growing),
    "3 at equal distances": recorded.evenly(3),
}.items():
    few = TracInExplainer(fitted, checkpoints=checkpoints).fit(X, y)
    sums = few.validate(X_new, y_new)
    print(f"{name:25s} sums / falls: {sums.estimated.sum() / sums.actual.sum():.2f}")

# %%
# For whom did it bend?
# ---------------------
# ``self_influence`` is what the steps of an image did to its own loss. Images with a wrong label
# have to do it all alone, against their neighbours.

own = explainer.self_influence()
proba = fitted.predict_proba(X)
loss = -np.log(proba[np.arange(len(y)), y])
print(detection_table(is_wrong, {"self influence": own}, baselines={"loss": loss}, random_state=0))


def draw(ax, image, title, colour="black"):
    ax.imshow(image.reshape(8, 8), cmap="gray_r")
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, color=colour, fontsize=8)


fig, axes = plt.subplots(1, 12, figsize=(10, 1.3), layout="constrained")
for ax, row in zip(axes, explainer.rank_outliers(12), strict=True):
    draw(ax, X[row], f"called {y[row]}", "C3" if is_wrong[row] else "black")
plt.show()

# %%
# Labels in red are wrong. The loss finds them as well, and costs nothing; what it cannot do is to
# say who is behind the answer to a new image.
#
# Who taught it that?
# -------------------
# The three new images that are read worst, with the training images that lowered their loss most
# and those that raised it most.

new_loss = -np.log(fitted.predict_proba(X_new)[np.arange(len(y_new)), y_new])
worst = np.argsort(-new_loss)[:3]
queries = X_new[worst], y_new[worst]
helping, hurting = explainer.proponents(*queries, k=5), explainer.opponents(*queries, k=5)

fig, axes = plt.subplots(3, 11, figsize=(10, 3.4), layout="constrained")
for line, query, pro, contra in zip(axes, worst, helping[1], hurting[1], strict=True):
    answer = fitted.predict(X_new[[query]])[0]
    draw(line[0], X_new[query], f"a {y_new[query]}, read as {answer}")
    for ax, row in zip(line[1:], np.append(pro, contra), strict=True):
        draw(ax, X[row], f"called {y[row]}", "C3" if is_wrong[row] else "black")
for column, title in (3, "proponents"), (8, "opponents"):
    axes[0, column].annotate(title, (0.5, 1.4), xycoords="axes fraction", ha="center", size=11)
plt.show()

# %%
# Proponents are images with the label that the query should have had; opponents look like the
# query and are called what it was taken for, rightly or not.
#
# What a score does *not* say is what the loss would be after training *without* the row: the
# others would have made up for most of it. :doc:`The guide </tracing/index>` measures that, and
# ``InfluenceExplainer`` answers it.

r"""
Who holds up a boundary
=======================

A support vector machine is made of some of its rows and forgets the others; nearest neighbours are
made of those around a query. In both, it is often taken for granted that the rows *near* a query
are the ones that its prediction depends on. Here every row is taken away in turn, exactly and
without a refit, and the change is put beside the distance.
"""

# %%
# Two columns, so that it can be seen
# -----------------------------------
# Tumours by the texture of their cells and the depth of their hollows, 284 of them to learn from.
# ``target="decision_function"`` makes a score the change of the decision at a query, for a class:
# that of malignant tumours, ``output=0``.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import scale
from sklearn.svm import SVC

from skinfluence import InfluenceExplainer, KNNShapley

data = load_breast_cancer(as_frame=True)
X = scale(data.data[["mean texture", "mean concave points"]])
X, Z, y, z_y = train_test_split(X, data.target.to_numpy(), train_size=0.5, random_state=0)

svm = SVC(C=1.0, gamma=0.5).fit(X, y)
explainer = InfluenceExplainer(svm, target="decision_function", output=0).fit(X, y)
print(explainer.method_, explainer.validate(random_state=0).relative_error)

# %%
# What a row does to the boundary is what its deletion does to the decision *there*. Points on the
# boundary are queries like all others.

axes = np.linspace(X.min(axis=0) - 0.3, X.max(axis=0) + 0.3, 150).T
grid = np.stack(np.meshgrid(*axes), axis=-1).reshape(-1, 2)
field = svm.decision_function(grid)
on_boundary = grid[np.abs(field) < 0.05]
held = np.abs(explainer.score_influence(on_boundary)).mean(axis=0)

support = np.zeros(len(X), dtype=bool)
support[svm.support_] = True
free = support.copy()
free[svm.support_] = np.abs(svm.dual_coef_[0]) < svm.C * (1 - 1e-6)
print(f"{support.sum()} of {len(X)} rows are support vectors, {free.sum()} of them on the margin")
print(f"largest change by any other row: {held[~support].max()}")

# %%
# On the left a row is as large as what it does to the boundary, and the others are dots. On the
# right the same numbers, over the row's margin :math:`y f`.

fig, (left, right) = plt.subplots(1, 2, figsize=(10, 4.6), layout="constrained")
levels = field.reshape(150, 150)
left.contour(*axes, levels, [-1, 0, 1], colors="0.5", linestyles=["--", "-", "--"])
for label, colour, name in ((0, "C3", "malignant"), (1, "C0", "benign")):
    rows = y == label
    left.scatter(*X[rows].T, s=1500 * held[rows] + 3, color=colour, alpha=0.6, lw=0, label=name)
    margin = (2 * label - 1) * svm.decision_function(X[rows])
    right.scatter(margin, held[rows], s=16, color=colour, alpha=0.6, lw=0)
left.set(xlabel="mean texture", ylabel="mean concave points")
for handle in left.legend(loc="lower right").legend_handles:
    handle.set_sizes([30])
right.axvline(1, color="0.5", ls="--", lw=1)
right.set(xlabel="margin y f of the row", ylabel="mean change of the decision on the boundary")
plt.show()

top = np.argsort(-held)[:10]
margins = (2 * y - 1) * svm.decision_function(X)
print("margins of the ten that do most:", np.round(margins[top], 2))

# %%
# Rows with a margin above 1 do nothing: not little, 0. Those that do most stand on the margin,
# where it has nobody else to lean on: the boundary is drawn through empty places by single rows,
# and its points there count like all others here. Rows on the wrong side pull with all the weight
# that a row may have, in a crowd that does the same without them.
#
# Near is not enough
# ------------------
# One new tumour, the one nearest to the boundary, and three answers to what each row does for it:
# the deletion from the machine, that from fifteen nearest neighbours, and the Shapley values of
# the rows for its label. A deletion from nearest neighbours is 0 of all rows but the neighbours,
# and of neighbours that the sixteenth agrees with. A Shapley value shares what rows do together,
# and fades with the rank.

query = np.argmin(np.abs(svm.decision_function(Z)))
z, label = Z[[query]], z_y[[query]]
neighbours = KNeighborsClassifier(15).fit(X, y)
scores = {
    "SVC, deletion": explainer.score_influence(z)[0],
    "15 neighbours, deletion": InfluenceExplainer(neighbours, target="proba", output=0)
    .fit(X, y)
    .score_influence(z)[0],
    "15 neighbours, Shapley": KNNShapley(neighbours).fit(X, y).score_influence(z, label)[0],
}
distance = np.linalg.norm(X - z, axis=1)
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for ax, (name, values) in zip(axes, scores.items(), strict=True):
    ax.axhline(0, color="0.7", lw=0.8)
    ax.scatter(distance, values, s=16, c=np.where(y == 0, "C3", "C0"), alpha=0.6, lw=0)
    ax.set(title=name, xlabel="distance of the row to the tumour")
axes[0].set_ylabel("change of the decision for malignant")
axes[1].set_ylabel("change of its probability")
axes[2].set_ylabel("share of its votes")
plt.show()

nearest = np.argsort(distance)[:15]
strongest = np.argsort(-np.abs(scores["SVC, deletion"]))[:15]
print(f"{len(set(nearest) & set(strongest))} of the 15 strongest rows are among the 15 nearest")
near = np.argsort(distance)[:100]
print(f"{(~support[near]).sum()} of the 100 nearest rows do nothing to the machine here")
print("moved by a deletion:", {name: int((v != 0).sum()) for name, v in scores.items()})

# %%
# Left: among rows that the machine leans on, the nearer ones do more; but of those as near as
# they, many do nothing, and some far away do something. Which is which is not to be read off
# distances, and a deletion says it to rounding. Middle: of the fifteen neighbours only the
# malignant ones matter, for the sixteenth is benign. Right: rows alike in rank and label are alike
# in value, whether the model would miss them or not.

"""
What a linear prediction is made of
===================================

Of a linear model with an l2 penalty the features are the inputs, and no layer has to be refitted:
every prediction *is* a sum over the training rows, and ``RepresenterExplainer`` reads it off the
fitted model.
"""

# %%
# Sums that are exact
# -------------------
# Benign and malignant tumours, by thirty measurements. A score is what a training row adds to the
# decision function at a query.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceExplainer, RepresenterExplainer
from skinfluence.datasets import plant_mislabels
from skinfluence.metrics import detection_table

data = load_breast_cancer(as_frame=True)
X, X_new, y, y_new = train_test_split(data.data, data.target, test_size=100, random_state=0)
model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-8)).fit(X, y)
explainer = RepresenterExplainer(model).fit(X, y)

values = explainer.score_influence(X_new, target_class=1)
difference = values.sum(axis=1) + explainer.intercept_[0] - model.decision_function(X_new)
print(f"largest difference between sums and decisions: {np.abs(difference).max():.1e}")

# %%
# Those of a ridge regression are the dual coefficients of a kernel machine with a linear kernel.

Z = StandardScaler().fit_transform(X)
alpha = RepresenterExplainer(Ridge(alpha=1.0, fit_intercept=False)).fit(Z, y).alpha_[:, 0]
dual = KernelRidge(alpha=1.0).fit(Z, y).dual_coef_
print(f"Ridge and KernelRidge: {np.abs(alpha - dual).max():.1e}")

# %%
# For and against
# ---------------
# The tumour that the model is least sure of, and one that it is sure of. Benign rows pull up and
# malignant ones down, each by how like the query it is and by how far the model is from its label.

decisions = model.decision_function(X_new)
unsure, sure = np.argmin(np.abs(decisions)), np.argmax(decisions)
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
for ax, row, name in zip(axes, (unsure, sure), ("least sure of", "surest of"), strict=True):
    value = values[row]
    order = np.argsort(value)
    ax.bar(np.arange(len(value)), value[order], width=1.0, color=np.where(y, "C0", "C3")[order])
    ax.axhline(0, color="0.5", lw=0.8)
    ax.set(title=f"{name}: decision {decisions[row]:.2f}", xlabel="training rows, by value")
axes[0].set_ylabel("added to the decision")
for colour, name in ("C0", "benign"), ("C3", "malignant"):
    axes[0].bar(0, 0, color=colour, label=name)
axes[0].legend()
plt.show()

by_class = explainer.score_groups(X_new, groups=y.to_numpy(), target_class=1)
for row in (unsure, sure):
    print(f"malignant rows add {by_class[row, 0]:+.2f}, benign rows {by_class[row, 1]:+.2f}")

# %%
# Rows of a class may well speak *against* it: features are measured from their mean, and a row on
# the other side of the mean than the query is unlike it.
#
# Not what deletion does
# ----------------------
# Without a row the others make up for it. Influence on the decision says by how much it would
# change, with the sign of a deletion; the two agree in direction more than in size.

influence = InfluenceExplainer(model, target="decision_function", output=1).fit(X, y)
support = -influence.score_influence(X_new)
largest = np.abs(values).max(axis=1), np.abs(support).max(axis=1)
agree = [np.corrcoef(a, b)[0, 1] for a, b in zip(values, support, strict=True)]
print(f"correlation of the two over the rows, median of 100 queries: {np.median(agree):.2f}")
print(f"largest value / largest influence, median: {np.median(largest[0] / largest[1]):.2f}")

fig, ax = plt.subplots(figsize=(5, 3.6), layout="constrained")
for label, name in enumerate(data.target_names):
    rows = y.to_numpy() == label
    ax.scatter(support[unsure, rows], values[unsure, rows], s=12, color=("C3", "C0")[label],
               label=name)  # fmt: skip
ax.axhline(0, color="0.5", lw=0.8)
ax.axvline(0, color="0.5", lw=0.8)
ax.set(xlabel="what the decision would lose without the row", ylabel="representer value")
ax.legend()
plt.show()

# %%
# Wrong labels
# ------------
# The size of alpha says how hard a row's label pulls at the model. One label in twelve is turned:

y_bad, is_bad = plant_mislabels(y.to_numpy(), 1 / 12, random_state=0)
misled = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, tol=1e-8)).fit(X, y_bad)
suspicious = RepresenterExplainer(misled).fit(X, y_bad)
pulled = {
    "size of alpha": suspicious.global_importance(),
    "value at itself": suspicious.self_influence(),
    "influence": InfluenceExplainer(misled).fit(X, y_bad).self_influence(),
}
probability = misled.predict_proba(X)[np.arange(len(y)), y_bad]
loss = {"loss": -np.log(probability)}
print(detection_table(is_bad, pulled, baselines=loss, random_state=0))

# %%
# Of a logistic regression alpha is ``C (y - p)``, so that its size is an increasing function of
# the loss: looking at rows by alpha *is* looking at them by their loss.

"""
Which rows decide a large regression?
=====================================

A row decides a regression if it could (leverage) and the others contradict it (residual).
Leverages need the inverse of a matrix as large as there are columns. ``InfluenceSketch`` projects
the columns to a few random ones first. What is lost on the way is measured here, on a table of
which the exact answer is still to be had.
"""

# %%
# The table
# ---------
# 442 patients, and how far their diabetes has gone after a year. Ten columns become 285 with all
# products of up to three of them: more than anyone would look at, and few enough for the truth.

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from skinfluence import InfluenceExplainer, InfluenceSketch
from skinfluence.displays import InfluenceIndexDisplay

X, y = load_diabetes(return_X_y=True, as_frame=True)
products = make_pipeline(
    StandardScaler(), PolynomialFeatures(3, include_bias=False), StandardScaler()
)
rows = products.fit_transform(X)
model = Ridge(alpha=10).fit(rows, y)
exact = InfluenceExplainer(model).fit(rows, y).diagnostics()
print(f"{rows.shape[1]} columns, {exact.n_effective_params:.0f} effective parameters")

# %%
# Leverages shrink
# ----------------
# A sketch of k components is the fit restricted to a random subspace of k dimensions. In less room
# a row can do less: no leverage comes out above its true value, whatever the projection is.

COMPONENTS = (25, 70, 140)
sketches = {
    k: InfluenceSketch(model, n_components=k, random_state=0).fit(rows, y) for k in COMPONENTS
}
fig, axes = plt.subplots(1, 3, figsize=(10, 3.7), sharex=True, sharey=True, layout="constrained")
for ax, (k, sketch) in zip(axes, sketches.items(), strict=True):
    ax.scatter(exact.leverage, sketch.leverage_, s=12, color="#2166ac", alpha=0.6, linewidth=0)
    ax.plot([0, 1], [0, 1], color="0.3", linewidth=0.8)
    correlation = np.corrcoef(exact.leverage, sketch.leverage_)[0, 1]
    ax.set_title(f"{k} components: correlation {correlation:.2f}", fontsize=10)
    ax.set(xlabel="leverage", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.spines[["top", "right"]].set_visible(False)
axes[0].set_ylabel("leverage in the sketch")
plt.show()

# %%
# That they shrink would not matter if all of them did alike. They do not: with 25 components a row
# of leverage 0.9 may come out below one of 0.6.
#
# Rows that are found
# -------------------
# What is asked for is an order: which twenty patients have the largest Cook's distance? The
# squared residual, which needs no leverage at all, is what a sketch has to beat.

order = {"squared residual alone": np.square(exact.resid_pearson)}
order |= {f"sketch, {k} components": one.cooks_distance_ for k, one in sketches.items()}
top = set(np.argsort(-exact.cooks_distance)[:20])
pd.DataFrame(
    {
        "correlation of ranks": {
            name: spearmanr(found, exact.cooks_distance)[0] for name, found in order.items()
        },
        "of the first 20": {
            name: len(top & set(np.argsort(-found)[:20])) for name, found in order.items()
        },
    }
).round(3)

# %%
# The same display of both. The same patients stand out; distances are too small, as leverages
# are.

fig, axes = plt.subplots(2, 1, figsize=(8, 6.4), sharex=True, layout="constrained")
InfluenceIndexDisplay.from_diagnostics(exact, name="Cook's distance, exact", ax=axes[0])
InfluenceIndexDisplay.from_explainer(
    sketches[140], name="... in a sketch of 140 components", ax=axes[1]
)
axes[0].set_xlabel("")
plt.show()

# %%
# Mending the scale
# -----------------
# Without a penalty leverages add up to the number of parameters, so that it is known by how much
# they are too small. ``correct_shrinkage`` multiplies the odds of all of them by one factor. With
# a penalty the number of effective parameters is not known from a sketch; what ``True`` takes for
# it is an upper bound, of which a warning tells, and with columns that are much alike, such as
# these, a loose one: the correction goes too far. Pass the number, where it is known.

for estimator in (LinearRegression(), Ridge(alpha=10)):
    estimator.fit(rows, y)
    truth = InfluenceExplainer(estimator).fit(rows, y).diagnostics()
    print(f"{type(estimator).__name__:17} leverage over the exact one", end="")
    ways = {"no": False, "True": True, "number": truth.n_effective_params}
    for name, correct in ways.items():
        sketch = InfluenceSketch(
            estimator, n_components=140, correct_shrinkage=correct, random_state=0
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="correct_shrinkage=True")
            sketch.fit(rows, y)
        # Of the middle row: sums are what was asked for.
        share = np.median(sketch.leverage_ / truth.leverage)
        print(f"  {name}: {share:.2f}", end="")
    print()

# %%
# Rows that never are in memory together
# --------------------------------------
# A sketch goes through the rows twice, and never needs all of them. A function that yields blocks
# will do, and the numbers are the same.


def blocks(size=100):
    """Tables of a hundred patients, as files would have them."""
    for start in range(0, len(X), size):
        part = slice(start, start + size)
        yield products.transform(X.iloc[part]), y.iloc[part]


streamed = InfluenceSketch(model, n_components=140, random_state=0).fit(blocks)
difference = np.abs(streamed.leverage_ / sketches[140].leverage_ - 1).max()
print(f"largest relative difference of a leverage: {difference:.0e}")
print("patients to look at first:", streamed.rank_outliers(5))

r"""
An erratum, shown by deleting rows
==================================

Kong & Chaudhuri (2021) give the influence of a row on a query under a mixture of well separated
spherical clusters, to first order in one over the size of the cluster. Their equation (4) has
a term :math:`\|v\|^2/\sigma^2` where the derivation gives
:math:`\|u\|^2\|v\|^2/(d\,\sigma^2)`. Equation (5), the self influence, inherits it.

A formula for a deletion needs no referee: delete the rows and look. The derivation is in
:ref:`the density guide <well_separated>`.
"""

# %%
# Three answers to one question
# -----------------------------
# One cluster, so that the weight of the cluster stays 1 and nothing hides the two terms in
# question. ``u`` is the row and ``v`` the query, both measured from the mean of the cluster,
# ``s2`` the variance per coordinate. Refitting the Gaussian without every row is two short
# functions. The formulas are in the package, for teaching:
# :func:`~skinfluence.deletion.gmm.well_separated_first_order`, corrected or as printed.

import matplotlib.pyplot as plt
import numpy as np

from skinfluence.deletion.gmm import well_separated_first_order


def actual(X, Z):
    """Loss at every query without each row, minus the loss with it, (n_queries, n_rows)."""
    with_all = log_gaussian(Z, X)
    return np.stack([with_all - log_gaussian(Z, np.delete(X, i, 0)) for i in range(len(X))], 1)


def log_gaussian(Z, X):
    mean = X.mean(axis=0)
    s2 = np.mean((X - mean) ** 2)
    return -np.sum((Z - mean) ** 2, axis=1) / (2 * s2) - X.shape[1] / 2 * np.log(2 * np.pi * s2)


# %%
# The table
# ---------
# Error is :math:`\|\text{formula} - \text{truth}\| / \|\text{truth}\|` over all pairs of a query
# and a row. The printed formula does not improve with the size of the cluster; the corrected one
# does, as a first-order formula must.

rng = np.random.default_rng(0)
SIGMA = 0.5  # as in the paper's first cluster
header = ("d", "rows", "correlation: printed", "corrected", "error: printed", "corrected")
table = []
pairs = {}
for n_rows in (400, 2000):
    for d in (2, 5, 20):
        X = SIGMA * rng.standard_normal((n_rows, d))
        Z = SIGMA * rng.standard_normal((50, d))
        truth = actual(X, Z)
        formulas = [well_separated_first_order(Z, X, printed=old) for old in (True, False)]
        pairs[n_rows, d] = truth, formulas
        correlations = [np.corrcoef(truth.ravel(), f.ravel())[0, 1] for f in formulas]
        errors = [np.linalg.norm(f - truth) / np.linalg.norm(truth) for f in formulas]
        cells = [f"{value:.7f}" for value in correlations]
        table.append((d, n_rows, *cells, *(f"{100 * value:.2f} %" for value in errors)))

for line in (header, *table):
    print("".join(f"{cell!s:>{len(name) + 3}}" for name, cell in zip(header, line, strict=True)))

# %%
# Every pair of a query and a row, for 400 rows in five dimensions. On the line: right.

truth, formulas = pairs[400, 5]
fig, axes = plt.subplots(1, 2, figsize=(8, 4), sharex=True, sharey=True, layout="constrained")
for ax, formula, title in zip(axes, formulas, ("as printed", "corrected"), strict=True):
    ax.plot(truth.ravel(), formula.ravel(), ".", ms=2, alpha=0.3, rasterized=True)
    ax.axline((0, 0), slope=1, color="black", lw=1)
    ax.set(title=title, xlabel="loss change when the row is deleted [nats]")
axes[0].set_ylabel("first-order formula [nats]")
plt.show()

# %%
# What changes for the reader of the paper
# ----------------------------------------
# The self influence of a row is :math:`\|u\|^4/(2 N_0 d\,\sigma^4)` plus constants: it has no
# unit, so *the scale of a cluster cannot matter*. The printed form
# :math:`\|u\|^2/(2 N_0\sigma^4)` grows as a cluster shrinks, and from it the paper concludes that
# clusters with a small :math:`\sigma` have high self influence. Shrink a cluster ten times and
# delete its rows again:

X = SIGMA * rng.standard_normal((25, 2))
for scale in (1.0, 0.1):
    of_themselves = np.diag(actual(scale * X, scale * X))
    by_print = np.diag(well_separated_first_order(scale * X, scale * X, printed=True))
    print(
        f"sigma {scale * SIGMA:.2f}: largest self influence "
        f"{of_themselves.max():.4f} nats, by the printed formula {by_print.max():.4f}"
    )

"""Classical diagnostics: which formula is near a refit, and what an intercept does."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import GammaRegressor, LinearRegression
from sklearn.preprocessing import scale

from skinfluence import InfluenceExplainer, polish
from skinfluence.datasets import load_duncan, load_stackloss
from skinfluence.metrics import agreement

X, y = load_diabetes(return_X_y=True)
X, y = scale(X)[:100, :5], y[:100]
gamma = polish(GammaRegressor(alpha=0, max_iter=1000).fit(X, y), X, y)


def changes(**options):
    return InfluenceExplainer(gamma, **options).fit(X, y).d_params()


def mixed():
    """Observed curvature in the design, expected curvature in the residual."""
    rows = np.column_stack([X, np.ones(len(X))])
    ratio = y / gamma.predict(X)
    inverse = np.linalg.inv((ratio * rows.T) @ rows)
    leverage = ratio * np.einsum("ij,jk,ik->i", rows, inverse, rows)
    return (np.sqrt(ratio) * (ratio - 1) / (1 - leverage))[:, None] * rows @ inverse


truth = changes(method="refit")
FORMULAS = {
    '``hessian="observed"`` (the default)': changes(),
    '``hessian="expected"`` = R, SAS, statsmodels with ``observed=False``': changes(
        hessian="expected"
    ),
    "statsmodels' default, ``observed=True``": mixed(),
}
gamma_header = ("Change of the parameters by", "correlation", "error")
gamma_rows = []
for name, found in FORMULAS.items():
    result = agreement(found, truth)
    error = f"{100 * result.relative_error:.2g} %"
    gamma_rows.append([name, f"{result.pearson:.4f}", error])


def without_intercept(X, y):
    """Cook's distance with a hat matrix that has no constant, of residuals that had one."""
    residual = y - LinearRegression().fit(X, y).predict(X)
    leverage = np.einsum("ij,ji->i", X, np.linalg.pinv(X))
    variance = residual @ residual / (len(X) - np.linalg.matrix_rank(X))
    return residual**2 / variance * leverage / (1 - leverage) ** 2 / X.shape[1]


duncan, plant = load_duncan(), load_stackloss()
TABLES = {
    "diabetes, raw columns": load_diabetes(return_X_y=True, scaled=False),
    "Duncan": (duncan.data, duncan.target),
    "stack loss": (plant.data, plant.target),
}
cook_header = ("Table", "largest Cook's distance", "without the intercept, same row", "order")
cook_rows = []
for name, (X, y) in TABLES.items():
    right = InfluenceExplainer(LinearRegression()).fit(X, y).diagnostics().cooks_distance
    wrong = without_intercept(X, y)
    first = right.argmax()
    order = agreement(wrong, right).spearman
    cook_rows.append([name, f"{right[first]:.3f}", f"{wrong[first]:.3f}", f"{order:.2f}"])

"""Truth for linear models: estimators that are really refitted without rows, then polished."""

from __future__ import annotations

import warnings
from functools import cache

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import QuantileRegressor

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.objectives import build_all, reader_of
from skinfluence.objectives.search import without_search
from skinfluence.solvers.minimise import minimise
from tests.test_objectives.cases import CASES, fitted
from tests.test_objectives.data import Data


def has_kinks(case):
    """Whether the loss is smoothed, or a linear programme: no refits to compare with."""
    loss = getattr(case.estimator, "loss", None)
    return isinstance(case.estimator, QuantileRegressor) or loss in (
        "hinge",
        "epsilon_insensitive",
    )


# Further solvers of objectives that are in the table already.
SOLVERS = {
    *(f"logistic-{solver}" for solver in ("newton-cg", "newton-cholesky", "sag", "saga")),
    *(f"softmax-{solver}" for solver in ("newton-cg", "newton-cholesky", "saga")),
    *(f"ridge-{solver}" for solver in ("cholesky", "lsqr", "sparse_cg", "sag", "saga")),
    "poisson-newton-cholesky",
    "svc-dual",
    # Slow to fit, and others are like them.
    "enet-wide",
    "logistic-cv-enet",
    "sgd-dict",
    "sgd-sparse",
}
SMOOTH = [case for case in CASES if not has_kinks(case) and case.name not in SOLVERS]


def named(*names):
    """The cases of these names."""
    known = {case.name: case for case in CASES}
    return [known[name] for name in names]


def refitted(case, deleted):
    """Coefficients (intercepts last) of each problem, refitted without rows and polished."""
    _, data, _, _ = fitted(case)
    kept = np.delete(np.arange(data.X.shape[0]), deleted)
    weights = None if data.sample_weight is None else data.sample_weight[kept]
    return polished(case, data.X[kept], data.y[kept], weights)


def replaced(case, row, x, y):
    """The same, refitted with other inputs and another target of one row."""
    _, data, _, _ = fitted(case)
    new_x, new_y = data.X.copy(), data.y.copy()
    if sparse.issparse(new_x):
        new_x = new_x.tolil()
    new_x[row], new_y[row] = x, y
    if sparse.issparse(new_x):
        new_x = new_x.tocsr()
    return polished(case, new_x, new_y, data.sample_weight)


def polished(case, X, y, sample_weight):
    """Coefficients of each problem at the minimum near a real fit to other rows."""
    fresh = without_search(fitted(case)[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", UserWarning)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        fresh.fit(X, y, **weights)
    rows = Data(X, y, sample_weight).rows
    problems = reader_of(fresh).read(fresh, rows).problems
    coefficients = []
    for objective, theta in build_all(problems, rows.X):
        found = minimise(objective, theta)
        assert found.converged
        coefficients.append(objective.coordinates.to_user(found.theta))
    return coefficients


def losses(case, coefficients):
    """Loss of every row at coefficients, by the plain linear predictor."""
    estimator, data, fit, _ = fitted(case)
    targets = reader_of(estimator).encode(estimator, data.y)
    total = np.zeros(data.X.shape[0])
    for problem, theta, y in zip(fit.problems, coefficients, targets, strict=True):
        coef, intercept = theta, 0.0
        if problem.intercept is not None:
            coef, intercept = theta[:-1], theta[-1]
        total += problem.loss.value(data.rows.X @ coef + intercept, y)
    return total


def actual(case, deletions):
    """Change of every row's loss under each deletion, (n_rows, n_deletions)."""
    before = losses(case, refitted(case, []))
    return np.stack([losses(case, refitted(case, gone)) - before for gone in deletions], axis=1)


@cache
def explained(case, **options):
    """The fitted case's explainer, fitted, however loose its solver was."""
    estimator, data, _, _ = fitted(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)
        explainer = InfluenceExplainer(estimator, **options)
        return explainer.fit(data.X, data.y, sample_weight=data.sample_weight)


def relative_error(estimated, truth):
    """|estimated - truth| / |truth|."""
    return np.linalg.norm(estimated - truth) / np.linalg.norm(truth)

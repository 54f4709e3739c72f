"""Jobs for the clock of ``common.measure`` around linear models: data, ours, floors and peers."""

from __future__ import annotations

import warnings
from functools import cache, partial

import floors_linear as floors
import numpy as np
from common import Job
from scipy import sparse
from scipy.special import expit
from sklearn.datasets import load_digits
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
)
from sklearn.utils import gen_batches

from skinfluence import InfluenceExplainer

TIGHT = {"tol": 1e-8, "max_iter": 2_000}

# -- data and fits ------------------------------------------------------------------------------


def logistic_rows(n: int, p: int, n_queries: int = 0):
    """X, y, Xq, yq of a logistic model with standard normal features."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n + n_queries, p))
    signal = X @ rng.standard_normal(p) * 2.0 / np.sqrt(p)
    y = (rng.random(len(X)) < expit(signal)).astype(int)
    return X[:n].copy(), y[:n], X[n:].copy(), y[n:]


def digits_rows(n_queries: int):
    """The digits with a constant feature, and the first of them again as queries."""
    X, y = load_digits(return_X_y=True)
    X = np.column_stack([X / 16.0, np.ones(len(X))])
    return X, y, X[:n_queries].copy(), y[:n_queries]


@cache
def _fitted(make):
    X, y, *_ = make()
    return LogisticRegression(fit_intercept=False, **TIGHT).fit(X, y)


def logistic_fit(make):
    """A logistic regression without an intercept, as its peers have it, C = 1."""
    return _fitted(make)


def sparse_rows(n: int, p: int, density: float, n_queries: int):
    """The same with sparse features, Xq the first rows again."""
    rng = np.random.default_rng(0)
    count = rng.poisson(density * p, n)
    indptr = np.append(0, np.cumsum(count))
    indices = rng.integers(0, p, indptr[-1])
    X = sparse.csr_matrix((np.ones(indptr[-1]), indices, indptr), shape=(n, p))
    X.sum_duplicates()
    y = (rng.random(n) < expit(X @ rng.standard_normal(p))).astype(int)
    return X, y, X[:n_queries], y[:n_queries]


def regression_rows(family: str, n: int, p: int):
    """X and y of a generalised linear model of the canonical link."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p))
    eta = X @ rng.standard_normal(p) * 0.5 / np.sqrt(p)
    if family == "gaussian":
        return X, eta + rng.standard_normal(n)
    if family == "binomial":
        return X, (rng.random(n) < expit(eta)).astype(int)
    return X, rng.poisson(np.exp(eta))


def regression_fit(family: str, X, y):
    """The scikit-learn model of a family, without a penalty."""
    model = {
        "gaussian": LinearRegression(),
        "binomial": LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-8),
        "poisson": PoissonRegressor(alpha=0.0, solver="newton-cholesky", tol=1e-8),
    }[family]
    return model.fit(X, y)


# -- ours ---------------------------------------------------------------------------------------


def scores(make, method):
    """Fit the explainer and score all queries: the Hessian is inside, as in the floor."""
    X, y, Xq, yq = make()
    explainer = InfluenceExplainer(logistic_fit(make), method=method)
    return Job(
        lambda: explainer.fit(X, y).score_influence(Xq, yq), lambda result: result[:50, ::10]
    )


def self_influence(make, method, include_fit=True):
    """Self influence of all rows, with the explainer's fit or after it."""
    X, y, *_ = make()
    explainer = InfluenceExplainer(logistic_fit(make), method=method)
    if not include_fit:
        explainer.fit(X, y)
        return Job(explainer.self_influence)
    return Job(lambda: explainer.fit(X, y).self_influence(), lambda result: result)


def refit_all(make, watched):
    """Exact refits without each row, by their effect on the coefficients."""
    X, y, *_ = make()
    explainer = InfluenceExplainer(logistic_fit(make), method="refit")
    return Job(lambda: explainer.fit(X, y).d_params(), lambda result: -result[watched])


def diagnostics(family, n, p):
    """Leverage, Cook's distance and DFBETAS of all rows; the model comes fitted."""
    X, y = regression_rows(family, n, p)
    explainer = InfluenceExplainer(regression_fit(family, X, y))

    def run():
        found = explainer.fit(X, y).diagnostics()
        return found.hat_matrix_diag, found.cooks_distance, found.dfbetas

    return Job(run, lambda result: (result[0][::100], result[1][::100]))


def sparse_scores(make, wanted, n_rows):
    """Scores of all queries, or self influence of the first rows, by conjugate gradients."""
    X, y, Xq, yq = make()
    model = LogisticRegression(fit_intercept=False, tol=1e-6, max_iter=500).fit(X, y)
    warnings.simplefilter("ignore")
    explainer = InfluenceExplainer(model, method="first_order", solver="cg")

    if wanted != "fit":
        explainer.fit(X, y)

    def run():
        if wanted == "fit":
            return explainer.fit(X, y)
        if wanted == "self":
            deletion = explainer._engine.deletion
            parts = gen_batches(n_rows, deletion.move_block)
            return np.concatenate([deletion.self_change(part) for part in parts])
        return explainer.score_influence(Xq, yq, reduce="sum" if wanted == "sum" else None)

    return Job(run, lambda result: explainer._report())


# -- floors -------------------------------------------------------------------------------------


def floor_scores(make):
    """See :mod:`floors_linear`."""
    X, y, Xq, yq = make()
    coef = logistic_fit(make).coef_
    if len(coef) == 1:
        run = partial(floors.logistic_scores, X, y, coef[0], Xq, yq)
    else:
        run = partial(floors.softmax_scores, X, y, coef.T.copy(), Xq, yq)
    return Job(run, lambda result: result[:50, ::10])


def floor_solve(make):
    """One solve against X'."""
    X, _, *_ = make()
    return Job(partial(floors.one_solve, X, logistic_fit(make).coef_[0]))


def floor_diagnostics(family, n, p):
    """One weighted Gram matrix and a triangular solve."""
    X, _ = regression_rows(family, n, p)
    X = np.column_stack([np.ones(n), X])
    weights = np.random.default_rng(1).uniform(0.1, 0.3, n)
    return Job(partial(floors.gram_and_solve, X, weights))


# -- peers --------------------------------------------------------------------------------------


def warm_refits(make, watched, solver):
    """A warm scikit-learn refit without each watched row, to a tolerance that settles it."""
    X, y, *_ = make()
    options = {"fit_intercept": False, "tol": 1e-12, "max_iter": 2_000, "solver": solver}
    model = LogisticRegression(**options, warm_start=True).fit(X, y)
    model.fit(X, y)
    start = model.coef_.copy()
    warnings.simplefilter("ignore")

    def run():
        moved = []
        for i in watched:
            model.coef_ = start.copy()
            model.fit(np.delete(X, i, axis=0), np.delete(y, i))
            moved.append(model.coef_[0] - start[0])
        return np.array(moved)

    return Job(run, lambda result: result)


def statsmodels_diagnostics(family, n, p):
    """statsmodels' GLM influence: leverage, Cook's distance, one-step DFBETAS, without the fit."""
    import statsmodels.api as sm

    X, y = regression_rows(family, n, p)
    kind = {"gaussian": "Gaussian", "binomial": "Binomial", "poisson": "Poisson"}[family]
    result = sm.GLM(y, sm.add_constant(X), family=getattr(sm.families, kind)()).fit()

    def run():
        found = result.get_influence()
        return found.hat_matrix_diag, found.cooks_distance[0], found.dfbetas

    return Job(run, lambda result: (result[0][::100], result[1][::100]))


def statsmodels_ols_table(n, p):
    """statsmodels' OLS summary_frame, whose DFBETAS refit n times."""
    import statsmodels.api as sm

    X, y = regression_rows("gaussian", n, p)
    result = sm.OLS(y, sm.add_constant(X)).fit()
    return Job(lambda: result.get_influence().summary_frame())


def summary_frame(n, p):
    """The same table of ours."""
    X, y = regression_rows("gaussian", n, p)
    explainer = InfluenceExplainer(LinearRegression().fit(X, y))
    return Job(lambda: explainer.fit(X, y).diagnostics().summary_frame())

"""Deletions of linear models against refits, over the table of estimators and options."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Lasso

from skinfluence import InfluenceExplainer
from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear import groups
from skinfluence.deletion.linear.moves import first_order, leaving
from skinfluence.deletion.linear.refit import refit
from skinfluence.solvers.minimise import minimise
from tests.test_deletion.linear import (
    SMOOTH,
    actual,
    explained,
    named,
    relative_error,
)
from tests.test_objectives.cases import fitted

GROUP = np.array([1, 8, 20, 33, 47])
QUADRATIC = named(
    "ols",
    "ols-outputs",
    "ols-collinear",
    "ols-wide",
    "ridge-svd",
    "ridge-alphas",
    "ridge-wide",
    "ridge-sparse",
    "ridge-classifier",
    "ridge-classifier-balanced",
    "ridge-classifier-labels",
    "tweedie-0-identity",
    "tweedie-auto",
    "sgd-squared_error",
    "sgdr-none",
)


def some_rows(explainer):
    """The rows that matter most and least, and another."""
    order = explainer.rank_outliers()
    return sorted({17, int(order[0]), int(order[-1])})


# -- exactness ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_refit_is_the_refit(case):
    explainer = explained(case, method="refit")
    _, data, _, _ = fitted(case)
    rows = some_rows(explainer)
    scores = explainer.score_influence(data.X, data.y)[:, rows]
    assert relative_error(scores, actual(case, rows)) <= 1e-8
    grouped = explainer.score_groups(data.X, data.y, groups=[GROUP])
    assert relative_error(grouped, actual(case, [GROUP])) <= 1e-8


@pytest.mark.parametrize("case", QUADRATIC, ids=str)
def test_newton_is_exact_for_quadratic_objectives(case):
    explainer = explained(case, method="newton")
    _, data, _, _ = fitted(case)
    rows = some_rows(explainer)
    scores = explainer.score_influence(data.X, data.y)[:, rows]
    assert relative_error(scores, actual(case, rows)) <= 1e-8
    grouped = explainer.score_groups(data.X, data.y, groups=[GROUP])
    assert relative_error(grouped, actual(case, [GROUP])) <= 1e-8


# Where the active set moves (l1, squared hinges) no step from the fit is better than another.
CURVED = named(
    "logistic-lbfgs",
    "softmax-lbfgs",
    "logistic-balanced",
    "liblinear-no-intercept",
    "poisson-lbfgs",
    "gamma",
    "tweedie-1.5-log",
    "tweedie-3-log",
    "tweedie-2-identity",
)


@pytest.mark.parametrize("case", CURVED, ids=str)
def test_newton_is_nearer_than_first_order(case):
    _, data, _, _ = fitted(case)
    truth = explained(case, method="refit").score_influence(data.X, data.y)
    newton, first = (
        explained(case, method=method).score_influence(data.X, data.y)
        for method in ("newton", "first_order")
    )
    assert relative_error(newton, truth) < 0.8 * relative_error(first, truth)
    assert np.corrcoef(first.ravel(), truth.ravel())[0, 1] > 0.9


# -- derivatives ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    named(
        "logistic-lbfgs",
        "softmax-lbfgs",
        "liblinear-scaled",
        "saga-enet",
        "ols",
        "ols-wide",
        "ridge-alphas",
        "ridge-positive",
        "poisson-lbfgs",
        "gamma",
        "tweedie-1.5-identity",
        "enet",
        "multi-lasso",
        "huber",
        "svc-l1",
        "sgd-log_loss",
    ),
    ids=str,
)
def test_first_order_is_the_derivative_by_the_weight(case):
    """The fit with weight (1 - e) w_i moves by e Delta_i, the penalty's share included."""
    _, _, _, built = fitted(case)
    for objective, theta in built:
        theta = minimise(objective, theta).theta
        curvature = LinearCurvature(objective, theta)
        moves = first_order(curvature, leaving(curvature, np.array([3, 40])))
        for column, row in zip(moves.T, (3, 40), strict=True):
            ends = [minimise(lighter(objective, row, e), theta).theta for e in (1e-4, -1e-4)]
            slope = (ends[0] - ends[1]).ravel() / 2e-4
            # A fit that interpolates does not move at all, but for rounding.
            floor = max(1e-6 * np.abs(slope).max(), 1e-14 * np.abs(theta).max())
            assert_allclose(column, slope, rtol=1e-5, atol=floor)


def lighter(objective, row, share):
    """The objective in which a row counts for `share` less."""
    weights = objective.weights.copy()
    weights[row] *= 1.0 - share
    m = objective.m - share * objective.m_share[row]
    return dataclasses.replace(objective, weights=weights, m=m)


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_what_a_row_takes_away_is_the_gradient_it_leaves(case):
    _, _, _, built = fitted(case)
    objective, theta = built[0]
    theta = minimise(objective, theta).theta
    curvature = LinearCurvature(objective, theta)
    rows = np.array([0, 9, 30])
    gradient = leaving(curvature, rows).gradient(curvature)
    for i in range(len(rows)):
        left = objective.without(rows[i : i + 1]).gradient(theta)
        expected = -np.where(curvature.moving, left, 0.0).ravel()
        scale = np.abs(objective.design.adjoint(np.abs(curvature.slopes))).max()
        assert_allclose(gradient[:, i], expected, rtol=1e-9, atol=1e-12 * (1.0 + scale))


# -- groups ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SMOOTH, ids=str)
@pytest.mark.parametrize("expected", [False, True])
def test_woodbury_is_a_factorisation_without_the_group(case, expected):
    _, _, _, built = fitted(case)
    objective, theta = built[0]
    if expected and not objective.loss.has_expected:
        return
    curvature = LinearCurvature(objective, minimise(objective, theta).theta, expected=expected)
    few = GROUP[:2]
    direct = groups._by_its_own_factor(curvature, few)
    size = np.abs(direct).max()
    assert_allclose(groups.group_newton(curvature, few), direct, rtol=1e-8, atol=1e-9 * size)


def test_a_group_of_everything_in_one_direction():
    """An interpolating fit without some rows interpolates the others, with least norm."""
    (case,) = named("ols-wide")
    estimator, data, _, _ = fitted(case)
    kept = np.delete(np.arange(data.X.shape[0]), GROUP)
    centre = data.X[kept].mean(axis=0)
    coef = np.linalg.pinv(data.X[kept] - centre) @ (data.y[kept] - data.y[kept].mean())
    after = (data.X - centre) @ coef + data.y[kept].mean()
    expected = np.square(data.y - after) - np.square(data.y - estimator.predict(data.X))
    for method in ("newton", "refit"):
        explainer = explained(case, method=method)
        grouped = explainer.score_groups(data.X, data.y, groups=[GROUP])[:, 0]
        assert_allclose(grouped, expected, rtol=1e-8, atol=1e-10)


# -- batches --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_refits_do_not_depend_on_the_batch(case):
    """Rows that contract slowly once passed for settled when others were still moving."""
    _, _, _, built = fitted(case)
    objective, theta = built[0]
    curvature = LinearCurvature(objective, minimise(objective, theta).theta)
    rows = np.arange(6)
    together = refit(curvature, leaving(curvature, rows)).moves
    alone = [refit(curvature, leaving(curvature, rows[i : i + 1])).moves for i in rows]
    assert_allclose(together, np.hstack(alone), rtol=1e-8, atol=1e-10 * np.abs(together).max())


def test_rows_that_pull_nothing_stay_exactly_zero():
    (case,) = named("svc")
    _, _, _, ((objective, theta),) = fitted(case)
    curvature = LinearCurvature(objective, minimise(objective, theta).theta)
    outside = np.flatnonzero((curvature.slopes == 0).all(axis=1))
    assert len(outside) > 3
    moves = refit(curvature, leaving(curvature, np.arange(objective.n_train))).moves
    assert_array_equal(moves[:, outside], 0.0)


@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_where_all_coefficients_are_zero_nothing_moves(method):
    X, y = np.random.default_rng(0).normal(size=(6, 3)), np.arange(6.0)
    explainer = InfluenceExplainer(Lasso(alpha=9.0, fit_intercept=False), method=method).fit(X, y)
    assert_array_equal(explainer.score_influence(X, y), np.zeros((6, 6)))
    assert_array_equal(explainer.score_groups(X, y, groups=[[0, 1]]), np.zeros((6, 1)))


def test_a_search_starts_in_the_domain():
    """Sweeps of Huber's scale may end below 0, where the loss is infinite."""
    (case,) = named("huber-free")
    _, data, _, _ = fitted(case)
    weights = np.arange(data.X.shape[0]) % 3
    explainer = InfluenceExplainer(clone(case.estimator), method="refit")
    explainer.fit(data.X, data.y, sample_weight=weights)
    assert np.isfinite(explainer.score_influence(data.X, data.y)).all()


@pytest.mark.parametrize(
    "case", named("gamma", "poisson-sparse", "logistic-lbfgs", "softmax-lbfgs"), ids=str
)
@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_far_queries_have_no_nan(case, method):
    _, data, _, _ = fitted(case)
    explainer = explained(case, method=method)
    dense = data.rows.X[:2].toarray() if case.form == "sparse" else data.X[:2]
    for shift in (1e3, -1e3, 1e6, -1e6):
        assert not np.isnan(explainer.score_influence(dense + shift, data.y[:2])).any()

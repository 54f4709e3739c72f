"""Diagnostics against refits, and against their definitions in dense matrices."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from skinfluence.diagnostics import Diagnostics
from skinfluence.objectives import Problem, build
from skinfluence.objectives.losses import HalfDeviance, Softmax, SquaredError
from skinfluence.objectives.objective import gram_blocks
from skinfluence.solvers.minimise import minimise
from tests.test_diagnostics.cases import (
    diagnose,
    of_problem,
    optimum,
    regression,
)

QUADRATIC = {
    "least squares": LinearRegression(),
    "no intercept": LinearRegression(fit_intercept=False),
    "ridge": Ridge(alpha=3.0, solver="cholesky"),
    "ridge, no intercept": Ridge(alpha=30.0, fit_intercept=False, solver="cholesky"),
}


def refits(estimator, X, y, weights):
    """Models without each row."""
    for i in range(len(y)):
        kept = np.arange(len(y)) != i
        yield kept, clone(estimator).fit(X[kept], y[kept], sample_weight=weights[kept])


def parameters(model):
    return np.append(model.coef_, model.intercept_) if model.fit_intercept else model.coef_


def smoother(estimator, X, weights):
    """H and A of the estimator in the user's parameters, in dense matrices."""
    rows = np.column_stack([X, np.ones(len(X))]) if estimator.fit_intercept else X
    data = rows.T @ (weights[:, None] * rows)
    penalty = np.zeros_like(data)
    inner = np.arange(X.shape[1])
    penalty[inner, inner] = getattr(estimator, "alpha", 0.0)
    return rows, data + penalty, data


@pytest.mark.parametrize("weighted", [False, True], ids=["equal", "weighted"])
@pytest.mark.parametrize("name", QUADRATIC)
def test_quadratic_losses_are_refitted_exactly(name, weighted):
    X, y, weights = regression()
    weights = weights if weighted else np.ones(len(y))
    estimator = QUADRATIC[name]
    found = diagnose(estimator, X, y, weights)
    rows, hessian, data = smoother(estimator, X, weights)
    k = np.trace(np.linalg.solve(hessian, data))
    whole = parameters(clone(estimator).fit(X, y, sample_weight=weights))
    residuals = y - rows @ whole
    scale = weights @ residuals**2 / (len(y) - k)
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert_allclose(found.n_effective_params, k, rtol=1e-11)
    assert_allclose(found.scale, scale, rtol=1e-10)
    assert_allclose(found.bse, np.sqrt(scale) * errors, rtol=1e-9)
    assert_allclose(found.params, whole, rtol=1e-8)
    for i, (kept, model) in enumerate(refits(estimator, X, y, weights)):
        without = parameters(model)
        move = whole - without
        _, hessian_i, data_i = smoother(estimator, X[kept], weights[kept])
        left = y - rows @ without
        k_i = np.trace(np.linalg.solve(hessian_i, data_i))
        scale_i = weights[kept] @ left[kept] ** 2 / (len(y) - 1 - k_i)
        errors_i = np.linalg.det(hessian) / np.linalg.det(hessian_i)
        leverage = weights[i] * rows[i] @ np.linalg.solve(hessian, rows[i])
        spread = rows[i] @ np.linalg.solve(hessian, rows[i])
        tiny = 1e-8 * np.abs(move).max()
        assert_allclose(found.d_params[i], move, rtol=1e-7, atol=tiny)
        assert_allclose(found.params_without(i), without, rtol=1e-7, atol=tiny)
        assert_allclose(found.leverage[i], leverage, rtol=1e-10)
        assert_allclose(found.resid_press[i], left[i], rtol=1e-8)
        assert_allclose(found.cooks_distance[i], move @ data @ move / (k * scale), rtol=1e-7)
        student = np.sqrt(weights[i] / (scale_i * (1 - leverage))) * residuals[i]
        assert_allclose(found.resid_studentized_external[i], student, rtol=1e-7)
        assert_allclose(found.dffits[i], rows[i] @ move / np.sqrt(scale_i * spread), rtol=1e-7)
        assert_allclose(found.dfbetas[i], move / (np.sqrt(scale_i) * errors), rtol=1e-7, atol=1e-8)
        assert_allclose(found.cov_ratio[i], (scale_i / scale) ** k * errors_i, rtol=1e-7)


@pytest.mark.parametrize("normalisation", ["weight", "count"])
def test_a_mean_loss_loses_part_of_its_penalty(normalisation):
    """Quadratic, so that everything is a refit, its dispersion included."""
    X, y, weights = regression()
    X = X / X.std(axis=0)
    options = {"normalisation": normalisation, "l2": 0.2}
    objective, theta = of_problem(SquaredError(0.5), X, y, weights, **options)
    found = Diagnostics(objective, theta)
    for row in range(0, len(y), 5):
        without = objective.without(np.array([row]))
        moved = minimise(without, theta).theta
        parameters = objective.coordinates.to_user(moved).ravel()
        assert_allclose(found.params_without(row), parameters, rtol=1e-8)
        rows, residuals = without.design.dense(), without.y - without.outputs(moved)[:, 0]
        data = rows.T @ (without.weights[:, None] * rows)
        k = np.trace(np.linalg.solve(without.hessian(moved), data))
        scale = without.weights @ residuals**2 / (len(y) - 1 - k)
        size = np.sqrt(weights[row] / (scale * (1 - found.leverage[row])))
        assert_allclose(found.resid_studentized_external[row], found.resid[row] * size, rtol=1e-8)


def steps():
    """Objectives and their minima, whose deletions are Newton steps."""
    X, y, weights = regression()
    X = X / X.std(axis=0)
    classes = (y > np.median(y)).astype(int)
    iris, species = load_iris(return_X_y=True)
    some = np.random.default_rng(0).permutation(150)[:40]
    counts = np.random.default_rng(1).poisson(np.exp(0.3 * (X[:, 0] - X[:, 0].mean())) * 3.0)
    positive = np.exp(0.1 * y / y.std()) + 0.1
    weight = {"normalisation": "weight", "l2": 0.3}
    count = {"normalisation": "count", "l2": 0.3}
    return {
        "logistic": optimum(LogisticRegression(C=1.0), X, classes),
        "logistic, weighted": optimum(LogisticRegression(C=np.inf), X, classes, weights),
        "softmax": optimum(LogisticRegression(C=1.0), iris[some], species[some]),
        "softmax, weighted": optimum(
            LogisticRegression(C=0.1), iris[some], species[some], np.resize(weights, 40)
        ),
        "softmax, no penalty": optimum(
            LogisticRegression(C=np.inf), X, np.random.default_rng(2).integers(3, size=len(y))
        ),
        "liblinear": optimum(LogisticRegression(C=1.0, solver="liblinear"), X, classes),
        "poisson": of_problem(HalfDeviance(1), X, counts),
        "gamma": of_problem(HalfDeviance(2), X, positive, weights),
        "poisson, mean over weights": of_problem(HalfDeviance(1), X, counts, weights, **weight),
        "gamma, mean over rows": of_problem(HalfDeviance(2), X, positive, weights, **count),
        "no penalty, mean": of_problem(
            HalfDeviance(2), X, positive, weights, normalisation="weight"
        ),
        "lasso": of_problem(HalfDeviance(1), X, counts, normalisation="weight", l1=0.15),
    }


STEPS = steps()


def newton_step(objective, theta, row):
    """Parameters after one dense Newton step without `row`, in the user's coordinates."""
    without = objective.without(np.array([row]))
    moves = np.flatnonzero((theta != 0).ravel() if objective.penalty.l1.any() else theta == theta)
    hessian = without.hessian(theta)[np.ix_(moves, moves)]
    delta = np.zeros(theta.size)
    delta[moves] = -np.linalg.pinv(hessian, rcond=1e-10) @ without.gradient(theta).ravel()[moves]
    return objective.coordinates.to_user(theta + delta.reshape(theta.shape)).T.ravel()


@pytest.mark.parametrize("name", STEPS)
def test_other_losses_take_a_newton_step(name):
    objective, theta = STEPS[name]
    found = Diagnostics(objective, theta)
    for row in range(0, objective.n_train, 3):
        expected = found.params - newton_step(objective, theta, row)
        size = np.abs(expected).max()
        assert_allclose(found.d_params[row], expected, rtol=1e-6, atol=1e-9 * size)


@pytest.mark.parametrize("name", STEPS)
def test_definitions(name):
    objective, theta = STEPS[name]
    found = Diagnostics(objective, theta)
    eta = objective.outputs(theta)
    kept = np.flatnonzero((theta != 0).ravel() if objective.penalty.l1.any() else theta == theta)
    inner = np.ix_(kept, kept)
    bends = objective.weights[:, None, None] * objective.loss.curvature(eta, objective.y)
    data = gram_blocks(objective.design, bends)[inner]
    inverse = np.linalg.pinv(objective.hessian(theta)[inner], rcond=1e-10)
    k = np.trace(inverse @ data)
    assert_allclose(found.n_effective_params, k, rtol=1e-8)
    assert_allclose(found.leverage.sum(), k, rtol=1e-8)
    assert_allclose(found.df_resid, objective.n_train - k, rtol=1e-8)
    moves = np.array(
        [objective.coordinates.from_user(_unflat(d, theta)).ravel()[kept] for d in found.d_params]
    )
    cooks = np.einsum("ij,jk,ik->i", moves, data, moves) / (k * found.scale)
    assert_allclose(found.cooks_distance, cooks, rtol=1e-7)
    if objective.n_outputs > 1:
        return
    rows = objective.design.dense()[:, kept]
    spread = np.einsum("ij,jk,ik->i", rows, inverse, rows)
    change = np.einsum("ij,ij->i", rows, moves) / np.sqrt(found.scale * spread)
    assert_allclose(found.dffits_internal, change, rtol=1e-7)
    press = objective.y - found._working.likelihood.mean(
        eta[:, 0] - np.einsum("ij,ij->i", rows, moves)
    )
    assert_allclose(found.resid_press, press, rtol=1e-7, atol=1e-9)


def _unflat(move, theta):
    return move.reshape(theta.shape[1], -1).T


def test_block_of_a_softmax_is_a_determinant():
    objective, theta = STEPS["softmax"]
    found = Diagnostics(objective, theta)
    hessian = objective.hessian(theta)
    null = np.zeros_like(theta)
    null[-1] = 1.0  # a shift common to the intercepts changes nothing
    filled = hessian + np.outer(null, null)
    for row in range(0, 40, 9):
        left = objective.without(np.array([row])).hessian(theta) + np.outer(null, null)
        ratio = np.linalg.det(filled) / np.linalg.det(left)
        assert_allclose(found.cov_ratio[row], ratio, rtol=1e-8)


def test_two_classes_agree_with_their_softmax():
    """Softmax of two classes is the logistic model of the difference of its outputs."""
    X, y, _ = regression()
    X = X / X.std(axis=0)
    classes = (y > np.median(y)).astype(int)
    one = diagnose(LogisticRegression(C=np.inf), X, classes)
    problem = Problem(
        loss=Softmax(2),
        y=classes.astype(float),
        weights=np.ones(len(y)),
        coef=np.zeros((3, 2)),
        intercept=np.zeros(2),
    )
    objective, theta = build(problem, X)
    two = Diagnostics(objective, minimise(objective, theta).theta)
    p = len(one.params)
    for name in ("leverage", "cooks_distance", "cov_ratio", "n_effective_params", "df_resid"):
        assert_allclose(getattr(two, name), getattr(one, name), rtol=1e-9)
    for name in ("resid_studentized_internal", "resid_pearson", "dffits"):
        assert_allclose(getattr(two, name), np.abs(getattr(one, name)), rtol=1e-8)
    assert_allclose(two.resid[:, 1], one.resid, rtol=1e-9)
    assert_allclose(two.resid_press[:, 1], one.resid_press, rtol=1e-8)
    assert_allclose(two.d_params[:, p:] - two.d_params[:, :p], one.d_params, rtol=1e-8)


def test_coordinates_do_not_matter():
    """More columns than rows: what is shown is in the user's parameters all the same."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 30)), rng.normal(size=12)
    found = diagnose(Ridge(alpha=2.0), X, y)
    rows, hessian, data = smoother(Ridge(alpha=2.0), X, np.ones(12))
    assert found.d_params.shape == (12, 31)
    assert_allclose(found.n_effective_params, np.trace(np.linalg.solve(hessian, data)), rtol=1e-10)
    leverage = np.einsum("ij,ji->i", rows, np.linalg.solve(hessian, rows.T))
    assert_allclose(found.leverage, leverage, rtol=1e-10)
    without = Ridge(alpha=2.0).fit(X[1:], y[1:])
    move = found.params - np.append(without.coef_, without.intercept_)
    assert_allclose(found.d_params[0], move, rtol=1e-7, atol=1e-10)


def test_expected_curvature_differs_where_the_link_is_not_canonical():
    objective, theta = STEPS["gamma"]
    observed, expected = (
        Diagnostics(objective, theta),
        Diagnostics(objective, theta, expected=True),
    )
    assert observed.scale == expected.scale
    assert np.abs(observed.leverage / expected.leverage - 1).max() > 0.05
    same = STEPS["poisson"]
    assert_allclose(
        Diagnostics(*same).leverage, Diagnostics(*same, expected=True).leverage, rtol=0
    )

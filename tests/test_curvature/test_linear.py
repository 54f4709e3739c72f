"""Curvature of linear models: matrices, mixtures, and two ways to invert them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import MultiTaskElasticNet, MultiTaskLasso

from skinfluence import InfluenceExplainer
from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.moves import NewtonInverse, leaving
from skinfluence.solvers.minimise import minimise
from tests.test_deletion.linear import named
from tests.test_objectives.cases import fitted

CASES = named(
    "logistic-lbfgs",
    "softmax-lbfgs",
    "logistic-balanced",
    "logistic-sparse",
    "liblinear-scaled",
    "saga-enet",
    "ridge-svd",
    "poisson-lbfgs",
    "gamma",
    "enet",
    "huber",
    "svc-balanced",
    "sgd-log_loss",
)


def at_minimum(case):
    _, _, _, built = fitted(case)
    objective, theta = built[0]
    return objective, minimise(objective, theta).theta


@pytest.mark.parametrize("case", CASES, ids=str)
def test_conjugate_gradients_agree_with_a_factorisation(case):
    objective, theta = at_minimum(case)
    dense = LinearCurvature(objective, theta)
    products = LinearCurvature(objective, theta, solver="cg", tol=1e-13)
    gradients = leaving(dense, np.arange(9)).gradient(dense)
    expected = dense.inverse()(gradients)
    solved = products.inverse()(gradients)
    assert_allclose(solved, expected, rtol=1e-7, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_newton_inverse_inverts_what_a_deletion_leaves(case):
    """Against the curvature of the objective without the row: one formula, two ways."""
    objective, theta = at_minimum(case)
    curvature = LinearCurvature(objective, theta)
    rows = np.array([2, 19, 44])
    gone = leaving(curvature, rows)
    columns = gone.gradient(curvature)
    solved = NewtonInverse(curvature, gone)(columns)
    for i in range(len(rows)):
        left = LinearCurvature(objective.without(rows[i : i + 1]), theta)
        expected = left.inverse()(columns[:, i : i + 1])[:, 0]
        assert_allclose(solved[:, i], expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_units_of_all_outputs(case):
    objective, theta = at_minimum(case)
    curvature = LinearCurvature(objective, theta)
    gone = leaving(curvature, np.arange(5))
    alpha = curvature.alphas(gone.ratios, gone.m)
    units = curvature.units(gone.dense)
    expected = curvature.solve(units, np.tile(alpha, theta.shape[1]))
    solved = curvature.solve_units(gone.dense, alpha)
    size = np.abs(expected).max()
    assert_allclose(solved.reshape(expected.shape), expected, rtol=1e-9, atol=1e-11 * size)


def test_weights_of_all_sizes_need_one_factorisation():
    """A mean over weights leaves another mixture without every row; corrections reach them all."""
    (case,) = named("poisson-lbfgs")
    objective, theta = at_minimum(case)
    curvature = LinearCurvature(objective, theta)
    gone = leaving(curvature, np.arange(objective.n_train))
    NewtonInverse(curvature, gone).move()
    assert len(np.unique(gone.m)) == objective.n_train
    assert len(curvature._inverses) == 1


def test_softmax_never_moves_along_a_common_shift():
    (case,) = named("softmax-lbfgs")
    objective, theta = at_minimum(case)
    curvature = LinearCurvature(objective, theta)
    moves = curvature.inverse()(leaving(curvature, np.arange(20)).gradient(curvature))
    intercepts = moves.reshape(*theta.shape, -1)[-1]
    assert_allclose(intercepts.sum(axis=0), 0.0, rtol=0, atol=1e-12 * np.abs(moves).max() + 1e-13)
    assert curvature.inverse().null_dim == 1


def test_coefficients_at_zero_do_not_move():
    (case,) = named("multi-lasso")
    objective, theta = at_minimum(case)
    curvature = LinearCurvature(objective, theta)
    held = (theta == 0).all(axis=1)
    assert held.any()
    moves = curvature.inverse()(leaving(curvature, np.arange(9)).gradient(curvature))
    assert_array_equal(moves.reshape(*theta.shape, -1)[held], 0.0)


def test_expected_curvature_is_that_of_the_mean():
    """Gamma with a logarithmic link: exactly the Gram matrix of the rows, and the penalty."""
    (case,) = named("gamma")
    objective, theta = at_minimum(case)
    observed, expected = (LinearCurvature(objective, theta, expected=e) for e in (False, True))
    penalty = objective.m * objective.penalty.hessian(theta)
    matrix = objective.design.gram(objective.weights) + penalty
    columns = np.eye(theta.size)
    assert_allclose(expected.inverse()(columns) @ matrix, columns, rtol=0, atol=1e-10)
    assert np.abs(observed.inverse()(columns) @ matrix - columns).max() > 0.05


@pytest.mark.parametrize(
    "net", [MultiTaskLasso(alpha=0.2), MultiTaskElasticNet(alpha=0.2)], ids=str
)
@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_conjugate_gradients_feel_norms_that_couple_outputs(net, method):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    y = X[:, :2] + rng.normal(size=(60, 2))
    net = net.fit(X, y)
    dense, products = (
        InfluenceExplainer(net, method=method, solver=solver).fit(X, y).score_influence(X, y)
        for solver in ("dense", "cg")
    )
    # Residuals of conjugate gradients end at 1e-10.
    assert_allclose(products, dense, rtol=0, atol=1e-8 * np.abs(dense).max())

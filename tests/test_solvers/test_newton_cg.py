"""Newton by products finds the minimum that Newton with a Hessian finds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse

from skinfluence.objectives.losses import (
    Logistic,
    Rectified,
    SoftLogistic,
    Softmax,
    SoftSoftmax,
    SquaredError,
    SquaredHinge,
)
from skinfluence.solvers import newton_cg as module
from skinfluence.solvers.minimise import minimise
from skinfluence.solvers.newton_cg import newton_cg
from tests.test_solvers.problems import objective_of

rng = np.random.default_rng(5)
X = rng.normal(size=(80, 6)) * np.logspace(-2, 2, 6) + 0.5
Y = rng.normal(size=(80, 3))
CASES = {
    "logistic": (Logistic(), (Y[:, 0] > 0).astype(float)),
    "softmax": (Softmax(3), Y.argmax(axis=1)),
    "soft labels": (SoftSoftmax(3), 3.0 * Y),
    "sigmoids": (SoftLogistic(3), Y),
    "relus": (Rectified(3), Y),
    "squares": (SquaredError(0.5, 3), Y),
    "squared hinge": (SquaredHinge(), np.sign(Y[:, 0])),
}


@pytest.mark.parametrize("inner", ["whole", "blocks", "shared", "diagonal", "sampled"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_minimum_is_that_of_newton(name, intercept, inner, monkeypatch):
    if inner != "whole":
        monkeypatch.setattr(module, "WHOLE", 0)
    if inner == "shared":
        monkeypatch.setattr(module, "BLOCK_NUMBERS", 0)
    if inner == "diagonal":
        monkeypatch.setattr(module, "BLOCK_FEATURES", 0)
    if inner == "sampled":
        monkeypatch.setattr(module, "SAMPLED", 4)
    loss, y = CASES[name]
    objective, theta = objective_of(loss, X, y, l2=0.3, intercept=intercept)
    theta = theta + np.random.default_rng(0).normal(size=theta.shape)
    truth = minimise(objective, theta)
    found = newton_cg(objective, theta, tol=1e-12, max_iter=60)
    assert found.converged
    assert found.start > 1e-3
    assert_allclose(found.stationarity, 0.0, atol=1e-11)
    outputs = objective.outputs(truth.theta)
    if loss.shift_invariant:  # a free intercept stays where it was in the shift of all classes
        outputs = outputs - outputs.mean(axis=1, keepdims=True)
    mine = objective.outputs(found.theta)
    if loss.shift_invariant:
        mine = mine - mine.mean(axis=1, keepdims=True)
    assert_allclose(mine, outputs, rtol=1e-7, atol=1e-8 * np.abs(outputs).max())


def test_sparse_rows_and_group_penalties():
    rows = sparse.csr_array(np.where(rng.uniform(size=X.shape) < 0.5, X, 0.0))
    objective, theta = objective_of(Softmax(3), rows, Y.argmax(axis=1), l2=0.2)
    truth = minimise(objective, theta)
    assert_allclose(
        newton_cg(objective, theta, tol=1e-13).theta[:-1], truth.theta[:-1], rtol=1e-6, atol=1e-9
    )
    objective, theta = objective_of(SquaredError(0.5, 3), X, Y, l21=2.0, l2=0.1)
    truth = minimise(objective, theta)
    found = newton_cg(objective, truth.theta + 1e-3 * (truth.theta != 0), tol=1e-12)
    assert_allclose(found.theta, truth.theta, rtol=1e-6, atol=1e-9)


def test_it_stops_where_enough_says_so():
    objective, theta = objective_of(Logistic(), X, (Y[:, 0] > 0).astype(float), l2=0.3)
    seen = []

    def enough(theta):
        seen.append(objective.value(theta))
        return len(seen) > 2

    found = newton_cg(objective, theta, enough=enough)
    assert found.converged
    assert found.n_iter == 2
    assert seen[0] > seen[1] > seen[2]
    assert not newton_cg(objective, theta, max_iter=1).converged


def test_products_of_penalties_are_their_hessians():
    objective, theta = objective_of(SquaredError(0.5, 3), X, Y, l21=2.0, l2=0.1)
    theta = theta + rng.normal(size=theta.shape)
    theta[2] = 0.0
    moves = rng.normal(size=theta.shape)
    dense = objective.penalty.hessian(theta)
    assert_allclose(
        objective.penalty.bent(theta, moves).ravel(), dense @ moves.ravel(), rtol=1e-12
    )
    diagonal = objective.penalty.bend_diagonal(theta)
    assert_allclose(diagonal.ravel(), np.diag(dense), rtol=1e-12)

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from skinfluence import InfluenceExplainer
from skinfluence.objectives import Rows, build, reader_of
from skinfluence.objectives.losses import Logistic, SquaredError
from skinfluence.solvers import minimise, stationarity
from skinfluence.solvers.stationarity import gradient_scale, violation
from tests.test_solvers.problems import objective_of


def rows(n=80, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) + 2.0
    return X, X @ rng.normal(size=p) + rng.normal(size=n)


def of(estimator, X, y, *, read=None):
    """Stationarity of a fit on (X, y), taken on the rows `read`."""
    estimator.fit(X, y)
    X, y = (X, y) if read is None else read
    problem = reader_of(estimator).read(estimator, Rows(X, y, np.ones(len(X)))).problems[0]
    return stationarity(*build(problem, X))


def test_it_tells_an_optimum_from_a_stopped_solver_from_another_objective():
    X, y = rows()
    z = (y > np.median(y)).astype(int)
    assert of(Ridge(solver="cholesky"), X, y) < 1e-13
    assert 1e-9 < of(LogisticRegression(), X, z) < 1e-2
    other = rows(seed=1)
    assert of(Ridge(), X, y, read=other) > 0.05
    assert of(LogisticRegression(), X, z, read=(X, np.roll(z, 1))) > 0.05
    F, theta = objective_of(SquaredError(), X, y, l2=2000.0)
    assert stationarity(F, minimise(F, theta).theta / 2) > 0.05


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(1e-12)])
@pytest.mark.parametrize("shape", [(10, 40), (60, 5)])
def test_a_fit_that_interpolates_is_a_minimum(estimator, shape):
    X, _ = rows(*shape)
    y = X @ np.ones(shape[1]) + 7.0
    assert of(estimator, X, y) < 1e-9
    assert of(estimator, X, y, read=(X, np.roll(y, 1))) > 0.05


def test_a_loss_that_dies_out_is_no_minimum():
    X, _ = rows()
    F, theta = objective_of(Logistic(), X, (X[:, 0] > 2).astype(float))
    theta[0] = 1e3  # right about every row but those at the border
    assert stationarity(F, theta) > 0.5


def test_targets_of_zero_and_no_rows_at_all_divide_nothing_by_nothing():
    X, _ = rows()
    for n in (80, 0):
        F, theta = objective_of(SquaredError(), X, np.zeros(80), l1=1.0)
        F = F.without(np.arange(n, 80))
        assert stationarity(F, theta) == 0.0
    F, theta = objective_of(SquaredError(), X, np.zeros(80))
    found = minimise(F, theta + 1.0)
    assert found.converged
    assert_allclose(found.theta, 0.0, atol=1e-14)


def test_parameters_that_are_not_finite_are_infinitely_far():
    X, y = rows()
    F, theta = objective_of(SquaredError(), X, y)
    assert stationarity(F, theta + np.nan) == np.inf


def test_units_do_not_matter_and_one_is_the_most():
    X, y = rows()
    F, theta = objective_of(SquaredError(), X, y, l2=1.0)
    rng = np.random.default_rng(0)
    for _ in range(20):
        moved = rng.normal(size=theta.shape) * 10.0 ** rng.uniform(-3, 3)
        assert (np.abs(violation(F, moved)) <= gradient_scale(F, moved) * (1 + 1e-12)).all()
        G, _ = objective_of(SquaredError(), X * 1e3, y * 1e6, l2=1e6)
        assert_allclose(stationarity(G, moved * 1e6), stationarity(F, moved), rtol=1e-9)


def test_the_scale_is_the_same_for_sparse_rows_and_in_blocks():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(9000, 3)) * (rng.uniform(size=(9000, 3)) < 0.3)
    y = rng.normal(size=9000)
    options = {"l1": 1.0, "intercept_l1": 1.0}
    dense, theta = objective_of(SquaredError(), X, y, **options)
    thin, _ = objective_of(SquaredError(), sparse.csr_array(X), y, **options)
    theta = theta + 1.0
    user = dense.coordinates.to_user(theta)
    assert_allclose(
        gradient_scale(dense, theta)[-1],
        gradient_scale(thin, thin.coordinates.from_user(user))[-1],
        rtol=1e-10,
    )
    residual = np.abs(X @ user[:-1, 0] + user[-1, 0] - y)
    terms = np.abs(X) @ np.abs(user[:-1, 0]) + np.abs(user[-1, 0])
    expected = 2.0 * residual.sum() + 2e-4 * terms.sum() + 1.0
    assert_allclose(gradient_scale(dense, theta)[-1, 0], expected, rtol=1e-10)


def test_a_column_that_is_constant_raises_no_alarm():
    """Its coefficient has nothing but the penalty; solvers leave rounding there, not a lie."""
    rng = np.random.default_rng(0)
    X = np.column_stack([np.ones(40), rng.normal(size=(40, 2))])
    y = (X[:, 1] + rng.normal(size=40) > 0).astype(int)
    model = LogisticRegression(tol=1e-8).fit(X, y)
    model.coef_ += [[1e-12, 0.0, 0.0]]
    assert max(InfluenceExplainer(model).fit(X, y).stationarity_) < 1e-6

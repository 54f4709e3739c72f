import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from skinfluence.objectives import Rows, build, reader_of
from skinfluence.objectives.coordinates import Standardised
from skinfluence.objectives.losses import Hinge, Logistic, Softmax, SquaredError
from skinfluence.solvers import minimise, stationarity
from tests.test_solvers import losses
from tests.test_solvers.problems import objective_of, problem_of

EXACT = 1e-12


def regression(n=60, p=5, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.geomspace(0.01, 100.0, p) + 3.0
    return X, X @ rng.normal(size=p) + rng.normal(size=n) + 50.0


def classes(n=80, p=4, n_classes=2, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    score = X[:, 0] + rng.normal(size=n)
    return X, np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))


def objective(estimator, X, y):
    """The objective of a fitted estimator, and its fitted parameters."""
    estimator.fit(X, y)
    problem = reader_of(estimator).read(estimator, Rows(X, y, np.ones(len(X)))).problems[0]
    return build(problem, X)


NONE = {"C": np.inf, "max_iter": 1000}
SMOOTH = {
    "least squares": (LinearRegression(), regression()),
    "least norm": (LinearRegression(), regression(8, 20)),
    "ridge": (Ridge(0.1), regression()),
    "weak ridge, wide": (Ridge(1e-8), regression(8, 20)),
    "logistic": (LogisticRegression(), classes()),
    "logistic, not penalised": (LogisticRegression(**NONE), classes()),
    "softmax": (LogisticRegression(), classes(n_classes=3)),
    "softmax, not penalised": (LogisticRegression(**NONE), classes(n_classes=3)),
    "separated, hardly penalised": (
        LogisticRegression(C=1e10, max_iter=10_000),
        (classes()[0], (classes()[0][:, 0] > 0).astype(int)),
    ),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_newton_reaches_the_rounding_floor_from_the_fit_and_from_zero(name):
    estimator, (X, y) = SMOOTH[name]
    F, theta = objective(estimator, X, y)
    polished, cold = minimise(F, theta), minimise(F, np.zeros_like(theta))
    assert polished.converged and cold.converged
    assert polished.stationarity < EXACT and cold.stationarity < EXACT
    assert polished.stationarity <= stationarity(F, theta)
    assert_allclose(polished.stationarity, stationarity(F, polished.theta), rtol=1e-6)
    if "separated" not in name:
        assert polished.n_iter <= 5 and cold.n_iter <= 12
    far = np.abs(F.outputs(cold.theta)).max()
    assert_allclose(F.outputs(cold.theta), F.outputs(polished.theta), rtol=0, atol=1e-7 * far)


@pytest.mark.parametrize("row", [0, 17])
@pytest.mark.parametrize(
    "estimator",
    [
        Ridge(2.0, solver="cholesky"),
        LogisticRegression(tol=1e-13, solver="newton-cholesky"),
        LogisticRegression(class_weight="balanced", tol=1e-13, solver="newton-cholesky"),
    ],
    ids=["ridge", "logistic", "balanced"],
)
def test_without_a_row_it_finds_the_refit(estimator, row):
    X, y = classes()
    F, theta = objective(estimator, X, y)
    found = minimise(F.without(np.array([row])), theta)
    refit = estimator.fit(np.delete(X, row, axis=0), np.delete(y, row))
    assert found.converged
    coef = F.coordinates.to_user(found.theta)[:-1, 0]
    assert_allclose(coef, np.ravel(refit.coef_), rtol=1e-8)


def test_what_the_objective_does_not_see_does_not_move():
    X, y = classes(n_classes=3)
    F, theta = objective(LogisticRegression(**NONE), X, y)
    shifted = theta + np.arange(1.0, 6.0)[:, None]  # every row of theta by its own
    found = minimise(F, shifted)
    assert found.converged
    assert_allclose(found.theta.mean(axis=1), shifted.mean(axis=1), rtol=1e-9)
    X, y = regression()
    twice = sparse.csr_array(np.hstack([X[:, :2], X[:, :2]]))
    F, theta = build(problem_of(SquaredError(), twice, y), twice, kind=Standardised)
    start = np.array([[1.0], [2.0], [-4.0], [7.0], [0.0]])
    found = minimise(F, start)
    assert found.converged
    assert_allclose((found.theta[:2] - found.theta[2:4])[:, 0], [5.0, -5.0], rtol=1e-6)


SEPARATED = {
    "all": (Logistic(), lambda X: (X[:, 0] > 0).astype(float)),
    "a class is absent": (Softmax(3), lambda X: (X[:, 1] > X[:, 2]).astype(float)),
    "one class": (Logistic(), lambda X: np.ones(len(X))),
}


@pytest.mark.parametrize("name", SEPARATED)
def test_without_a_minimum_it_says_so(name):
    loss, target = SEPARATED[name]
    X, _ = classes()
    F, theta = objective_of(loss, X, target(X))
    assert not minimise(F, theta).converged


def test_a_group_of_one_class_has_no_minimum():
    X, y = classes()
    group = np.zeros((len(X), 1))
    group[:10], y[:10] = 1.0, 1
    F, theta = objective_of(Logistic(), np.hstack([X, group]), y.astype(float))
    found = minimise(F, theta)
    assert not found.converged
    assert found.n_iter < 60


def test_steps_run_out():
    X, y = classes()
    F, theta = objective_of(Logistic(), X, y.astype(float), l2=1.0)
    none, two = minimise(F, theta, max_iter=0), minimise(F, theta, max_iter=2)
    assert_array_equal(none.theta, theta)
    assert not none.converged and not two.converged
    assert two.n_iter == 2
    loose = minimise(F, theta, tol=1e-3)
    assert loose.converged and loose.n_iter < minimise(F, theta).n_iter


def test_a_start_where_the_loss_is_infinite_is_returned():
    X, y = regression()
    F, theta = objective_of(losses.GammaIdentity(), X, y)
    found = minimise(F, theta - 1.0)
    assert not found.converged
    assert_array_equal(found.theta, theta - 1.0)


CURVED = {
    "squared hinge": losses.SquaredHinge(),
    "modified Huber": losses.ModifiedHuber(),
    "Huber": losses.Huber(),
    "squared tube": losses.SquaredTube(),
    "inverse Gaussian": losses.InverseGaussian(),
}


def hard_case(name, seed):
    """Rows and targets of random shape and scale."""
    rng = np.random.default_rng(seed)
    n, p = int(rng.integers(5, 60)), int(rng.integers(1, 10))
    X = rng.normal(size=(n, p)) * 10.0 ** rng.uniform(-3, 3)
    score = X @ rng.normal(size=p) / np.abs(X).mean()
    if name in ("squared hinge", "modified Huber"):
        return X, np.where(score + rng.normal(size=n) > 0, 1.0, -1.0)
    if name == "inverse Gaussian":
        return X, np.exp(0.3 * score) * rng.gamma(1.0, size=n) + 0.01
    return X, score + rng.standard_t(1, size=n)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("name", CURVED)
def test_kinks_of_the_slope_and_negative_curvature(name, seed):
    X, y = hard_case(name, seed)
    for options in ({"l2": 0.01}, {"l1": 0.05}, {"l2": 0.1, "positive": True}):
        F, theta = objective_of(CURVED[name], X, y, **options)
        found = minimise(F, theta)
        assert found.converged
        assert found.stationarity < 1e-8
        assert F.value(found.theta) <= F.value(theta)
        again = minimise(F, found.theta)
        assert_allclose(F.value(again.theta), F.value(found.theta), rtol=1e-10)


@pytest.mark.parametrize("loss", [losses.GammaIdentity(), losses.PoissonIdentity()])
def test_an_identity_link_stays_where_means_are_positive(loss):
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X = rng.gamma(1.0, size=(40, 3))
        y = (X @ rng.gamma(1.0, size=3) + 0.5) * rng.gamma(3.0, size=40) / 3.0
        F, theta = objective_of(loss, X, y, l2=0.01)
        theta[-1] = y.mean()
        found = minimise(F, theta)
        assert found.converged and found.stationarity < EXACT
        assert (F.outputs(found.theta) > 0).all()


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"l2": 0.1}, {"l1": 0.1}, {"positive": True}])
def test_few_rows_and_the_last_one_deleted(n, options):
    X, y = regression(n, 4)
    F, theta = objective_of(SquaredError(), X, y, normalisation="count", **options)
    found = minimise(F, theta)
    assert found.converged
    left = minimise(F.without(np.array([0])), found.theta)
    assert left.converged
    assert np.isfinite(left.theta).all()


def test_rows_of_no_weight_and_repeated_rows_count_as_they_should():
    X, y = regression()
    y = y - y.min()
    weights = np.ones(60)
    weights[:5], weights[5:9] = 0.0, 2.0
    F, theta = objective_of(losses.Huber(), X, y, weights=weights, l2=0.1)
    found = F.coordinates.to_user(minimise(F, theta).theta)
    rows = np.r_[5:60, 5:9]
    F, theta = objective_of(losses.Huber(), X[rows], y[rows], l2=0.1)
    assert_allclose(F.coordinates.to_user(minimise(F, theta).theta), found, rtol=1e-7)


def test_a_start_where_the_curvature_has_died_out():
    X, y = classes(180, 6)
    F, theta = objective_of(Hinge(0.01), X, 2.0 * y - 1.0, l2=0.01)
    rng = np.random.default_rng(0)
    expected = minimise(F, theta)
    for _ in range(5):
        found = minimise(F, 20.0 * rng.normal(size=theta.shape))
        assert found.converged
        assert_allclose(F.value(found.theta), F.value(expected.theta), rtol=1e-10)


def test_rows_that_sit_at_a_kink_do_not_stop_the_search():
    X, _ = classes(73, 14)
    y = np.where(X[:, 0] > 0, 1.0, -1.0)  # separable: all that is left is at the margin
    F, theta = objective_of(losses.SquaredHinge(), X, y, l2=3e-4)
    found = minimise(F, theta)
    assert found.converged
    assert found.n_iter < 100

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import ElasticNet, LogisticRegression, MultiTaskElasticNet, Ridge

from skinfluence.objectives import Rows, build, reader_of
from skinfluence.objectives.losses import Logistic, Softmax, SquaredError
from skinfluence.solvers import minimise
from tests.test_solvers.problems import kkt_violation, objective_of, problem_of


def rows(n, p, seed, *, repeated=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.geomspace(0.1, 10.0, p) + 1.0
    score = X[:, : min(p, 5)] @ rng.normal(size=min(p, 5)) + rng.normal(size=n)
    return np.hstack([X, X[:, :repeated]]), (score - score.mean()) / score.std()


def several(score, k):
    """k noisy targets that share their columns."""
    return score[:, None] * np.arange(1.0, k + 1) + 0.1 * np.arange(len(score))[:, None] % 1


HALF = SquaredError(0.5)
KINKED = {
    "lasso": (HALF, {"l1": 0.05, "normalisation": "count"}),
    "elastic net": (HALF, {"l1": 0.02, "l2": 0.02, "normalisation": "weight"}),
    "lasso, positive": (HALF, {"l1": 0.02, "positive": True, "normalisation": "count"}),
    "least squares, positive": (HALF, {"positive": True}),
    "ridge, positive, no intercept": (HALF, {"l2": 1.0, "positive": True, "intercept": False}),
    "logistic": (Logistic(), {"l1": 1.0}),
    "logistic, intercept penalised": (Logistic(), {"l1": 1.0, "intercept_l1": 0.5}),
    "logistic, elastic net": (Logistic(), {"l1": 0.5, "l2": 0.5}),
    "softmax": (Softmax(3), {"l1": 1.0}),
    "softmax, weak": (Softmax(3), {"l1": 0.1}),
    "groups": (SquaredError(0.5, 3), {"l21": 0.2, "normalisation": "count"}),
    "groups and squares": (
        SquaredError(0.5, 3),
        {"l21": 0.1, "l2": 0.1, "normalisation": "count"},
    ),
}


def case(name, n, p, seed, **options):
    loss, own = KINKED[name]
    X, score = rows(n, p, seed, **options)
    if isinstance(loss, Logistic):
        score = (score > 0).astype(float)
    elif isinstance(loss, Softmax):
        score = np.digitize(score, [-0.5, 0.5]).astype(float)
    elif loss.n_outputs > 1:
        score = several(score, loss.n_outputs)
    return problem_of(loss, X, score, **own), X


SHAPES = [(60, 8, 0), (60, 8, 4), (30, 80, 0), (4, 3, 0)]


@pytest.mark.parametrize("shape", SHAPES, ids=["tall", "repeated columns", "wide", "tiny"])
@pytest.mark.parametrize("name", KINKED)
def test_the_optimality_conditions_hold_in_the_users_columns(name, shape):
    n, p, repeated = shape
    for seed in range(3):
        problem, X = case(name, n, p, seed, repeated=repeated)
        F, theta = build(problem, X)
        found = minimise(F, theta)
        assert found.converged
        assert found.stationarity < 1e-10
        parameters = F.coordinates.to_user(found.theta)
        assert_array_equal(parameters[:-1][found.theta[:-1] == 0], 0.0)
        assert kkt_violation(problem, X, parameters) < 1e-9
        if problem.positive:
            assert (parameters[: X.shape[1]] >= 0).all()


@pytest.mark.parametrize("name", KINKED)
def test_from_the_full_fit_or_from_zero_a_deletion_ends_the_same(name):
    problem, X = case(name, 50, 20, 0)
    F, theta = build(problem, X)
    full = minimise(F, theta)
    for row in (0, 7, 31):
        deleted = F.without(np.array([row]))
        warm, cold = minimise(deleted, full.theta), minimise(deleted, theta)
        assert warm.converged and cold.converged
        assert warm.n_iter <= 25
        assert_allclose(deleted.value(warm.theta), deleted.value(cold.theta), rtol=1e-10)
        assert_allclose(warm.theta, cold.theta, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", [(60, 8), (30, 100)], ids=["tall", "wide"])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("ratio", [0.5, 1.0])
def test_scikit_learn_finds_the_same_elastic_net(shape, positive, ratio):
    X, y = rows(*shape, seed=3)
    reference = ElasticNet(
        0.05, l1_ratio=ratio, positive=positive, tol=1e-10, max_iter=100_000
    ).fit(X, y)
    options = {"l1": 0.05 * ratio, "l2": 0.05 * (1 - ratio), "positive": positive}
    F, theta = objective_of(HALF, X, y, normalisation="count", **options)
    found = F.coordinates.to_user(minimise(F, theta).theta)
    assert_array_equal(found[:-1, 0] != 0, reference.coef_ != 0)
    assert_allclose(found[:-1, 0], reference.coef_, rtol=1e-4, atol=1e-7)
    assert_allclose(found[-1, 0], reference.intercept_, rtol=1e-4)


def test_scikit_learn_finds_the_same_groups():
    X, score = rows(60, 30, 3)
    Y = several(score, 2)
    reference = MultiTaskElasticNet(0.2, l1_ratio=0.7, tol=1e-10, max_iter=100_000).fit(X, Y)
    options = {"l21": 0.14, "l2": 0.06, "normalisation": "count"}
    F, theta = objective_of(SquaredError(0.5, 2), X, Y, **options)
    found = F.coordinates.to_user(minimise(F, theta).theta)
    assert 0 < (reference.coef_ != 0).sum() < 60
    assert_array_equal(found[:-1].T != 0, reference.coef_ != 0)
    assert_allclose(found[:-1].T, reference.coef_, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(C=0.3, l1_ratio=1.0, solver="liblinear", tol=1e-8, max_iter=5000),
        LogisticRegression(C=0.3, l1_ratio=0.5, solver="saga", tol=1e-10, max_iter=20_000),
        Ridge(1.0, positive=True, tol=1e-12),
    ],
    ids=["liblinear", "saga", "ridge"],
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_fit_of_scikit_learn_needs_few_steps(estimator):
    X, y = rows(60, 8, 0)
    if isinstance(estimator, LogisticRegression):
        y = (y > 0).astype(int)
    estimator.fit(X / 10.0, y)
    problem = reader_of(estimator).read(estimator, Rows(X / 10.0, y, np.ones(60))).problems[0]
    F, theta = build(problem, X / 10.0)
    found = minimise(F, theta)
    assert found.converged and found.stationarity < 1e-12
    assert found.n_iter <= 6
    assert_allclose(found.theta, theta, rtol=1e-3, atol=1e-4)


def test_sparse_rows_and_dense_rows_agree():
    X, y = rows(40, 60, 1)
    X[np.abs(X) < 1.5] = 0.0
    dense, theta = objective_of(HALF, X, y, l1=1.0, intercept_l1=1e-3)
    thin, start = objective_of(HALF, sparse.csr_array(X), y, l1=1.0, intercept_l1=1e-3)
    expected = dense.coordinates.to_user(minimise(dense, theta).theta)
    found = thin.coordinates.to_user(minimise(thin, start).theta)
    assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("scale", [1e-8, 1e8])
def test_units_do_not_matter(scale):
    X, y = rows(40, 60, 1)
    F, theta = objective_of(HALF, X, y, l1=2.0)
    G, start = objective_of(HALF, X * scale, y / scale, l1=2.0)
    expected, found = minimise(F, theta), minimise(G, start)
    assert found.converged
    ours, theirs = F.coordinates.to_user(expected.theta), G.coordinates.to_user(found.theta)
    assert_allclose(theirs[:-1] * scale**2, ours[:-1], rtol=1e-6, atol=1e-12)


def test_thousands_of_columns_cost_what_tens_of_active_ones_do():
    X, y = rows(80, 5000, 0)
    F, theta = objective_of(HALF, X, y, l1=0.1, normalisation="count")
    found = minimise(F, theta)
    assert found.converged  # a Hessian over all entries would hold 25 million numbers a step
    entries = found.theta != 0
    assert F.hessian(found.theta, entries=entries).shape == (entries.sum(), entries.sum())
    assert entries.sum() <= 80


def test_a_hessian_over_entries_is_a_part_of_the_whole():
    for name in ("softmax", "groups and squares", "elastic net"):
        problem, X = case(name, 30, 6, 0)
        F, theta = build(problem, X)
        theta = minimise(F, theta).theta
        for entries in (theta != 0, np.ones_like(F.free), np.eye(*theta.shape) > 0):
            whole = F.hessian(theta)[np.ix_(entries.ravel(), entries.ravel())]
            assert_allclose(F.hessian(theta, entries=entries), whole, rtol=1e-12, atol=1e-12)


def test_a_change_is_a_difference_of_values():
    rng = np.random.default_rng(0)
    for name in KINKED:
        problem, X = case(name, 20, 4, 0)
        F, theta = build(problem, X)
        theta = theta + rng.normal(size=theta.shape)
        moved = rng.normal(size=theta.shape)
        difference = F.value(theta + moved) - F.value(theta)
        assert_allclose(F.change(theta, moved), difference, rtol=1e-9)
        assert F.size(theta) >= F.value(theta) * (1 - 1e-12)

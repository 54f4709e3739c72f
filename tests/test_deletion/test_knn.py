"""Deletion from k-nearest-neighbour densities, against sorted distances."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from skinfluence.deletion.knn import KNNDeletion


def euclidean(a, b):
    return math.dist(a, b)


def radius(distances, k):
    return sorted(distances)[k - 1]


def loss(R, k, n, d):
    """-log of k / (n V R^d)."""
    log_ball = 0.5 * d * math.log(math.pi) - math.lgamma(0.5 * d + 1)
    return -math.log(k / n) + log_ball + d * (math.log(R) if R else -math.inf)


def brute_force(X, Z, k, d, distance=euclidean):
    """Loss of the density without each row minus the loss with it; 0/0 counts as 1."""
    n, scores = len(X), np.empty((len(Z), len(X)))
    for a, z in enumerate(Z):
        every = [distance(z, x) for x in X]
        R = radius(every, k)
        for i in range(n):
            smaller = radius(every[:i] + every[i + 1 :], k)
            growth = 0.0 if smaller == R else d * (math.log(smaller) - _log(R))
            scores[a, i] = math.log((n - 1) / n) + growth
    return scores


def _log(R):
    return math.log(R) if R else -math.inf


def deletion(X, k, dim=None, **params):
    model = NearestNeighbors(**params).fit(X)
    return KNNDeletion(model, X, n_neighbors=k, dim=dim or X.shape[1])


def all_changes(made, Z):
    return made.change(Z, made.delete(slice(0, made.n_train)))


@pytest.fixture
def rows():
    return np.random.default_rng(0).normal(size=(12, 3))


@pytest.fixture
def queries():
    return np.random.default_rng(1).normal(size=(5, 3))


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree", "ball_tree"])
@pytest.mark.parametrize("k", [1, 2, 5, 10, 11])
def test_scores(algorithm, k, rows, queries):
    made = deletion(rows, k, algorithm=algorithm)
    assert_allclose(all_changes(made, queries), brute_force(rows, queries, k, 3), rtol=1e-11)
    parts = [made.change(queries, slice(i, i + 3)) for i in range(0, 12, 3)]
    assert_array_equal(np.hstack(parts), all_changes(made, queries))


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("k", [2, 5, 11])
def test_self_influence(algorithm, k, rows):
    made = deletion(rows, k, algorithm=algorithm)
    expected = np.diag(brute_force(rows, rows, k, 3))
    assert_allclose(made.self_change(slice(0, 12)), expected, rtol=1e-10)
    assert_allclose(made.self_change(slice(4, 6)), expected[4:6], rtol=1e-10)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_addition_is_the_loss_without_minus_the_loss_with(k, rows, queries):
    made = deletion(rows, k)
    for z, added in zip(queries, made.addition(queries), strict=True):
        every = [math.dist(z, x) for x in rows]
        if k == 1:
            assert added == np.inf  # its own nearest row, at distance 0
            continue
        with_it = loss(radius([*every, 0.0], k), k, 13, 3)
        assert_allclose(added, loss(radius(every, k), k, 12, 3) - with_it, rtol=1e-11)


def test_log_density(rows, queries):
    expected = [-loss(radius([math.dist(z, x) for x in rows], 4), 4, 12, 3) for z in queries]
    assert_allclose(deletion(rows, 4).log_density(queries), expected, rtol=1e-12)


@pytest.mark.parametrize("dim", [0.5, 1.5, 40.0])
def test_intrinsic_dimension_scales_all_but_the_constant(dim, rows, queries):
    constant = np.log(11 / 12)
    one = all_changes(deletion(rows, 3, dim=1.0), queries) - constant
    assert_allclose(
        all_changes(deletion(rows, 3, dim=dim), queries) - constant, dim * one, atol=1e-13
    )


# -- ties and copies -----------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree", "ball_tree"])
@pytest.mark.parametrize("k", [1, 2, 4, 5, 8, 12, 24])
def test_ties_on_a_grid(algorithm, k):
    grid = np.array([[i, j] for i in range(5) for j in range(5)], dtype=float)
    Z = np.vstack([grid[:7], grid[12:14] + 0.5, [[2.5, 2.0]]])
    made = deletion(grid, k, algorithm=algorithm)
    assert_allclose(all_changes(made, Z), brute_force(grid, Z, k, 2), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("copies", [1, 2, 3, 4, 7])
def test_copies(algorithm, copies, rows):
    k, X = 3, np.vstack([rows] + [rows[:1]] * (copies - 1))
    n, at = len(X), np.r_[0, 12 : 12 + copies - 1]
    score = all_changes(deletion(X, k, algorithm=algorithm), rows[:1])[0]
    constant = np.log((n - 1) / n)
    others = np.setdiff1d(np.arange(n), at)
    if copies < k:
        assert_allclose(score, brute_force(X, rows[:1], k, 3)[0], rtol=1e-10)
    elif copies == k:
        # The density is infinite as long as all k are there.
        assert_array_equal(score[at], np.inf)
        assert_allclose(score[others], constant)
    else:
        assert_allclose(score, constant)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_one_neighbour(algorithm, rows):
    # Without a copy a row is the only one at its place.
    X = np.vstack([rows, rows[:1]])
    own = deletion(X, 1, algorithm=algorithm).self_change(slice(0, 13))
    assert_allclose(own[[0, 12]], np.log(12 / 13))
    assert_array_equal(own[1:12], np.inf)


def test_all_rows_equal():
    made = deletion(np.ones((6, 2)), 3)
    assert_allclose(all_changes(made, np.ones((1, 2))), np.log(5 / 6))
    assert_array_equal(made.log_density(np.ones((1, 2))), np.inf)
    # From elsewhere all rows tie.
    assert_allclose(all_changes(made, np.zeros((1, 2))), np.log(5 / 6))


# -- rounding ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("scale", [1e-6, 1e-10])
def test_near_copies_by_brute_force(scale, kind):
    # Squared norms round off more than what separates these rows.
    rng = np.random.default_rng(2)
    places = rng.normal(size=(2, 20))
    X = np.vstack([places + scale * rng.normal(size=(2, 20)) for _ in range(15)])
    given = X if kind == "dense" else sparse.csr_matrix(X)
    made = deletion(given, 4, algorithm="brute")
    expected = brute_force(X, X[:6], 4, 20)
    assert_allclose(all_changes(made, given[:6]), expected, rtol=1e-6, atol=1e-6)


def test_near_copies_are_right_to_rounding():
    rng = np.random.default_rng(3)
    X = np.vstack([1e-8 * rng.integers(-50, 50, (30, 20)), rng.normal(size=(30, 20))])
    made = deletion(X, 5, algorithm="brute")
    assert_allclose(all_changes(made, X[:5]), brute_force(X, X[:5], 5, 20), rtol=1e-9)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
@pytest.mark.parametrize("offset", [1e8, -1e12])
def test_huge_offsets(algorithm, offset):
    steps = np.random.default_rng(4).integers(-40, 40, (20, 3)) / 16
    made = deletion(steps + offset, 4, algorithm=algorithm)
    expected = brute_force(steps, steps[:5] + 1 / 8, 4, 3)
    assert_allclose(all_changes(made, steps[:5] + 1 / 8 + offset), expected, rtol=1e-9)


def test_two_distant_groups_by_brute_force():
    steps = np.random.default_rng(5).integers(-40, 40, (40, 20)) / 16
    X = steps + 1e7 * np.repeat([-1.0, 1.0], 20)[:, None]
    made = deletion(X, 4, algorithm="brute")
    assert_allclose(all_changes(made, X[:4]), brute_force(X, X[:4], 4, 20), rtol=1e-9)


def test_far_queries(rows):
    for far in (1e3, 1e9):
        changes = all_changes(deletion(rows, 3), np.full((1, 3), far))
        assert_allclose(changes, np.log(11 / 12), atol=20 / far)


# -- metrics and sparse rows ---------------------------------------------------------------

VI = np.linalg.inv(np.array([[2.0, 0.3, 0.0], [0.3, 1.0, 0.1], [0.0, 0.1, 1.0]]))
W = np.array([1.0, 4.0, 9.0])


def chebyshev(a, b):
    return np.abs(a - b).max()


METRICS = [
    ({"metric": "l2"}, euclidean),
    ({"metric": "manhattan"}, lambda a, b: np.abs(a - b).sum()),
    ({"metric": "chebyshev"}, chebyshev),
    ({"p": 1}, lambda a, b: np.abs(a - b).sum()),
    ({"p": 3}, lambda a, b: (np.abs(a - b) ** 3).sum() ** (1 / 3)),
    ({"metric_params": {"w": W}}, lambda a, b: np.sqrt((W * (a - b) ** 2).sum())),
    (
        {"metric": "mahalanobis", "metric_params": {"VI": VI}, "algorithm": "brute"},
        lambda a, b: np.sqrt((a - b) @ VI @ (a - b)),
    ),
    (
        {"metric": "seuclidean", "metric_params": {"V": W}},
        lambda a, b: np.sqrt(((a - b) ** 2 / W).sum()),
    ),
    (
        {"metric": "cosine"},
        lambda a, b: 1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b),
    ),
    ({"metric": chebyshev}, chebyshev),
]


# The ids are numbers: names of functions differ between the processes of a parallel run.
@pytest.mark.parametrize(("params", "distance"), METRICS, ids=range(len(METRICS)))
def test_metrics(params, distance, rows, queries):
    expected = brute_force(rows, queries, 4, 3, distance)
    assert_allclose(all_changes(deletion(rows, 4, **params), queries), expected, rtol=1e-9)


def test_a_power_among_the_metric_params_wins(rows, queries):
    with pytest.warns(SyntaxWarning, match="p is found in metric_params"):
        made = deletion(rows, 4, metric_params={"p": 1})
    expected = brute_force(rows, queries, 4, 3, lambda a, b: np.abs(a - b).sum())
    assert_allclose(all_changes(made, queries), expected, rtol=1e-10)


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array], ids=repr)
@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "cosine"])
def test_sparse_rows_are_dense_rows(metric, container):
    X = np.random.default_rng(6).poisson(0.4, (25, 9)) * (1.0 + 0.01 * np.arange(9))
    X[:, 0] += 0.1
    Z = X[:6] * 1.3
    expected = all_changes(deletion(X, 3, metric=metric, algorithm="brute"), Z)
    made = deletion(container(X), 3, metric=metric, algorithm="brute")
    for asked in (container(Z), sparse.csr_matrix(Z), sparse.csr_array(Z), Z):
        assert_allclose(all_changes(made, asked), expected, rtol=1e-9, atol=1e-9)
    dense = deletion(X, 3, metric=metric, algorithm="brute")
    assert_allclose(all_changes(dense, container(Z)), expected, rtol=1e-9, atol=1e-9)
    own = made.self_change(slice(0, 25))
    assert_allclose(own, dense.self_change(slice(0, 25)), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_refit_loss(algorithm, rows, queries):
    made = deletion(rows, 4, algorithm=algorithm)
    before, after = made.refit_loss(None, queries), made.refit_loss(5, queries)
    assert_allclose(after - before, brute_force(rows, queries, 4, 3)[:, 5], rtol=1e-9)

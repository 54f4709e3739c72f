"""Deletion from kernel density estimates, against formulas evaluated term by term."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KernelDensity

from skinfluence.deletion import kde
from skinfluence.deletion.kde import KDEDeletion
from tests.test_deletion import exact

ALL = ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]
COMPACT = ["tophat", "epanechnikov", "linear", "cosine"]
WEIGHTS = {
    "equal": None,
    "spread": [1.0, 2.0, 0.5, 3.0, 1.0, 0.25, 4.0, 1.0, 2.0, 1.0],
    "zeros": [0.0, 2.0, 0.0, 3.0, 1.0, 0.0, 4.0, 1.0, 2.0, 1.0],
    "two left": [0.0] * 8 + [1.0, 3.0],
    "huge": [1.0, 1e300, 2.0, 1.0, 3.0, 1.0, 1.0, 1e-3, 1.0, 1.0],
    "tiny": [1e-300, 1.0, 2.0, 1.0, 1e-310, 1.0, 1.0, 1e-3, 1.0, 1.0],
    "all tiny": [1e-305, 3e-305] * 5,
}


def deletion(X, weights=None, **params):
    X = np.asarray(X, dtype=float)
    weights = None if weights is None else np.asarray(weights, dtype=float)
    return KDEDeletion(KernelDensity(**params).fit(X, sample_weight=weights), X, weights)


def all_changes(made, Z):
    return made.change(np.asarray(Z, dtype=float), made.delete(slice(0, made.n_train)))


@pytest.fixture
def rows():
    X = np.random.default_rng(0).normal(size=(10, 2))
    X[7] = X[2]  # a copy
    X[9] = [40.0, 0.0]
    return X


@pytest.fixture
def queries(rows):
    Z = np.random.default_rng(1).normal(size=(4, 2))
    # Among the rows, on one, half way to the far one and beyond it.
    return np.vstack([Z, rows[:2], [[20.0, 0.3]], [[55.0, 1.0]], [[-300.0, 2e3]]])


# -- term by term --------------------------------------------------------------------------


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kernel", ALL)
def test_scores(kernel, weights, rows, queries):
    h, w = 1.2, WEIGHTS[weights]
    made = deletion(rows, w, kernel=kernel, bandwidth=h)
    expected = exact.influence(kernel, h, rows, queries, w)
    assert_allclose(all_changes(made, queries), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kernel", ALL)
def test_self_influence(kernel, weights, rows):
    h, w = 1.2, WEIGHTS[weights]
    made = deletion(rows, w, kernel=kernel, bandwidth=h)
    expected = np.diag(exact.influence(kernel, h, rows, rows, w))
    assert_allclose(made.self_change(slice(0, 10)), expected, rtol=1e-10, atol=1e-11)
    assert_allclose(made.self_change(slice(3, 5)), expected[3:5], rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("weights", ["equal", "spread", "zeros", "all tiny"])
@pytest.mark.parametrize("kernel", ALL)
def test_addition(kernel, weights, rows, queries):
    h, w = 1.2, WEIGHTS[weights]
    made = deletion(rows, w, kernel=kernel, bandwidth=h)
    expected = exact.addition(kernel, h, rows, queries, w)
    assert_allclose(made.addition(queries), expected, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("weights", ["equal", "spread", "zeros", "all tiny"])
@pytest.mark.parametrize("kernel", ALL)
def test_training_addition(kernel, weights, rows):
    """One copy of each row is judged against what is left."""
    h, w = 1.2, WEIGHTS[weights]
    made = deletion(rows, w, kernel=kernel, bandwidth=h)
    w = np.ones(len(rows)) if w is None else np.asarray(w, dtype=float)
    for i, found in enumerate(made.training_addition()):
        rest = w.copy()
        rest[i] = max(w[i] - 1.0, 0.0)
        expected = exact.addition(kernel, h, rows, rows[i : i + 1], rest)[0]
        assert_allclose(found, expected, rtol=1e-10, atol=1e-11)


def naive_log_density(K, X, Z, weights, normalizer):
    values = []
    for z in Z:
        total = 0.0
        for x, w in zip(X, weights, strict=True):
            total += w * K(math.dist(z, x) / 0.9)
        values.append(math.log(total / sum(weights)) - normalizer if total else -math.inf)
    return values


@pytest.mark.parametrize("weights", ["equal", "spread", "zeros"])
@pytest.mark.parametrize(
    ("kernel", "K", "integral"),
    [
        ("gaussian", lambda u: math.exp(-u * u / 2), 2 * math.pi),
        ("linear", lambda u: max(1 - u, 0), math.pi / 3),
        ("cosine", lambda u: math.cos(math.pi * u / 2) * (u < 1), 4 - 8 / math.pi),
    ],
)
def test_log_density(kernel, K, integral, weights, rows, queries):
    w = WEIGHTS[weights]
    made = deletion(rows, w, kernel=kernel, bandwidth=0.9)
    normalizer = math.log(integral * 0.9**2)
    expected = naive_log_density(K, rows, queries[:6], w or [1.0] * 10, normalizer)
    assert_allclose(made.log_density(queries[:6]), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
@pytest.mark.parametrize("d", [1, 200])
def test_dimensions(kernel, d):
    rng = np.random.default_rng(2)
    X, Z = rng.normal(size=(8, d)), rng.normal(size=(3, d))
    h = 1.5 * np.sqrt(d)
    made = deletion(X, kernel=kernel, bandwidth=h)
    expected = exact.influence(kernel, h, X, Z)
    assert_allclose(all_changes(made, Z), expected, rtol=1e-9, atol=1e-11)
    narrow = deletion(X, kernel=kernel, bandwidth=0.05)
    expected = exact.influence(kernel, 0.05, X, Z)
    assert_allclose(all_changes(narrow, Z), expected, rtol=1e-9, atol=1e-9)


# -- far out -------------------------------------------------------------------------------


@pytest.mark.parametrize("sigmas", [40.0, 1000.0, 1e6])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_a_row_far_out(kernel, sigmas):
    X = np.append(np.random.default_rng(3).normal(size=12), sigmas)[:, None]
    expected = exact.influence(kernel, 1.0, X, X)
    made = deletion(X, kernel=kernel)
    assert_allclose(all_changes(made, X), expected, rtol=1e-10, atol=1e-11)
    assert_allclose(made.self_change(slice(0, 13)), np.diag(expected), rtol=1e-10, atol=1e-11)
    least = 0.5 * (sigmas - 4) ** 2 if kernel == "gaussian" else sigmas - 4
    assert made.self_change(slice(12, 13))[0] > least


@pytest.mark.parametrize("to_second", [38.0, 60.0, 100.0, 1e4])
@pytest.mark.parametrize("to_first", [0.0, 10.0, 33.2, 33.9, 36.0, 38.5, 39.5, 100.0])
@pytest.mark.parametrize("weights", [None, [1.0, 1e-3, 7.0], [1e-200, 1.0, 1.0]], ids=str)
def test_one_row_dominates(to_first, to_second, weights):
    # Sums of every size: what is far below the total still decides the score.
    X = np.array([[0.0], [to_first + to_second], [to_first + to_second + 1.0]])
    expected = exact.influence("gaussian", 1.0, X, [[to_first]], weights)
    made = deletion(X, weights)
    assert_allclose(all_changes(made, [[to_first]]), expected, rtol=1e-9, atol=1e-10)
    # Deleted in parts, the dominating row is the same.
    parts = [made.change(np.array([[to_first]]), slice(i, i + 1)) for i in range(3)]
    assert_allclose(np.hstack(parts), expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("h", [1e-3, 1e-30, 1e-150])
@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
def test_every_density_underflows(kernel, h, rows, queries):
    digits = 60 if h == 1e-3 else 400
    made = deletion(rows, kernel=kernel, bandwidth=h)
    expected = exact.influence(kernel, h, rows, queries, digits=digits)
    assert_allclose(all_changes(made, queries), expected, rtol=1e-9, atol=1e-9)
    expected = np.diag(exact.influence(kernel, h, rows, rows, digits=digits))
    assert_allclose(made.self_change(slice(0, 10)), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("h", [1e-160, 1e-300])
def test_squares_of_distances_overflow(h, rows, queries):
    # exp(-u) is still a number, exp(-u^2 / 2) is beyond float64 even as a logarithm.
    expected = exact.influence("exponential", h, rows, queries, digits=400)
    made = deletion(rows, kernel="exponential", bandwidth=h)
    assert_allclose(all_changes(made, queries), expected, rtol=1e-9, atol=1e-9)
    changes = all_changes(deletion(rows, bandwidth=h), queries)
    assert_array_equal(changes[[0, 1, 2, 3, 6, 7, 8]], 0.0)
    own = deletion(rows, bandwidth=h).self_change(slice(0, 10))
    assert_allclose(own[[2, 7]], np.log(0.9) + np.log(2))
    assert_array_equal(np.delete(own, [2, 7]), np.inf)


def test_wide_bandwidth(rows, queries):
    expected = exact.influence("gaussian", 1e8, rows, queries)
    assert_allclose(all_changes(deletion(rows, bandwidth=1e8), queries), expected, atol=1e-14)


# -- compact supports ----------------------------------------------------------------------


@pytest.mark.parametrize("kernel", COMPACT)
def test_infinities(kernel):
    X, Z = [[0.0], [0.5], [10.0]], [[10.2], [0.2], [5.0]]
    changes = all_changes(deletion(X, kernel=kernel), Z)
    assert_allclose(changes[0], [np.log(2 / 3)] * 2 + [np.inf])  # only row 2 covers it
    assert np.isfinite(changes[1]).all()
    assert_array_equal(changes[2], 0.0)  # nobody does, before and after
    own = deletion(X, kernel=kernel).self_change(slice(0, 3))
    assert_array_equal(np.isinf(own), [False, False, True])


@pytest.mark.parametrize("kernel", COMPACT)
def test_rows_of_weight_zero_cover_nobody(kernel):
    made = deletion([[0.0], [0.5], [10.0]], [1.0, 1.0, 0.0], kernel=kernel)
    assert_array_equal(all_changes(made, [[10.2]]), 0.0)
    assert_array_equal(made.self_change(slice(2, 3)), 0.0)
    assert made.training_addition()[2] == np.inf  # a row like any new one


@pytest.mark.parametrize("offset", [0.0, 1e8, -7.25e5])
@pytest.mark.parametrize(("step", "h"), [(1.0, 2.0), (1.0, 5.0), (0.75, 0.75), (0.25, 0.75)])
@pytest.mark.parametrize("kernel", COMPACT)
def test_rows_on_the_edge_of_the_support(kernel, step, h, offset):
    # Distances of exactly one bandwidth, which centring or scaling would round to either side.
    X = step * np.random.default_rng(4).integers(0, 6, (10, 2)) + offset
    Z = X[:3] + np.array([step, 0.0])
    made = deletion(X, kernel=kernel, bandwidth=h)
    expected = exact.influence(kernel, h, X, Z)
    assert_allclose(all_changes(made, Z), expected, rtol=1e-10, atol=1e-11)
    expected = np.diag(exact.influence(kernel, h, X, X))
    assert_allclose(made.self_change(slice(0, 10)), expected, rtol=1e-10, atol=1e-11)


# -- awkward rows --------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ALL)
@pytest.mark.parametrize("offset", [1e8, -1e12])
def test_huge_offsets(kernel, offset):
    # Exactly representable steps, so that the offset itself loses nothing.
    steps = np.random.default_rng(5).integers(-40, 40, (12, 2)) / 16
    plain = deletion(steps, kernel=kernel, bandwidth=1.3)
    moved = deletion(steps + offset, kernel=kernel, bandwidth=1.3)
    Z = steps[:5] + 1 / 8
    assert_allclose(all_changes(moved, Z + offset), all_changes(plain, Z), rtol=1e-9, atol=1e-11)
    assert_allclose(moved.log_density(Z + offset), plain.log_density(Z), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("spread", [1e4, 1e7])
def test_two_distant_groups(spread):
    # Far from the common centre the inner products cancel; the differences must not.
    steps = np.random.default_rng(6).integers(-30, 30, (12, 3)) / 16
    X = steps + spread * np.repeat([-1.0, 1.0], 6)[:, None]
    Z = X[[0, 7]] + 1 / 16
    expected = exact.influence("gaussian", 1.0, X, Z)
    assert_allclose(all_changes(deletion(X), Z), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("kernel", ALL)
def test_equal_rows(kernel):
    made = deletion(np.ones((6, 2)), kernel=kernel)
    # Without one of six copies the density is what it was.
    assert_allclose(all_changes(made, np.ones((1, 2))), 0.0, atol=1e-15)
    assert_allclose(made.self_change(slice(0, 6)), 0.0, atol=1e-15)
    assert_allclose(made.training_addition(), 0.0, atol=1e-15)


@pytest.mark.parametrize("kernel", ALL)
def test_two_rows(kernel):
    X = [[0.0], [0.5]]
    expected = exact.influence(kernel, 1.0, X, [[0.1], [7.0]])
    assert_allclose(all_changes(deletion(X, kernel=kernel), [[0.1], [7.0]]), expected, rtol=1e-11)


@pytest.mark.parametrize("weights", [[0.0, 1.0, 0.0], [0.0, 1e-300, 0.0]], ids=str)
def test_one_row_of_positive_weight(weights):
    with pytest.raises(ValueError, match=r"Only 1 sample.*at least two rows a positive weight"):
        deletion([[0.0], [1.0], [2.0]], weights)


def test_nearly_all_the_weight_on_one_row():
    X, w = [[0.0], [0.3], [0.9]], [1.0, 1e20, 3.0]
    expected = exact.influence("gaussian", 1.0, X, [[0.1]], w)
    assert_allclose(all_changes(deletion(X, w), [[0.1]]), expected, rtol=1e-11)


def test_weights_are_repeated_rows(rows, queries):
    w = np.array([1, 2, 3, 1, 1, 0, 1, 2, 1, 1])
    weighted = all_changes(deletion(rows, w), queries)
    repeated = all_changes(deletion(np.repeat(rows, w, axis=0)), queries)
    first = np.cumsum(w) - w
    assert_allclose(weighted[:, w == 1], repeated[:, first[w == 1]], rtol=1e-10, atol=1e-12)


# -- metrics -------------------------------------------------------------------------------

V = np.array([[2.0, 0.3], [0.3, 1.0]])


def haversine(a, b):
    half = np.sin((a - b) / 2) ** 2
    return 2 * np.arcsin(np.sqrt(half[0] + np.cos(a[0]) * np.cos(b[0]) * half[1]))


METRICS = [
    ("l2", {}, lambda a, b: np.linalg.norm(a - b)),
    ("manhattan", {}, lambda a, b: np.abs(a - b).sum()),
    ("chebyshev", {}, lambda a, b: np.abs(a - b).max()),
    ("minkowski", {"p": 3}, lambda a, b: (np.abs(a - b) ** 3).sum() ** (1 / 3)),
    ("mahalanobis", {"V": V}, lambda a, b: np.sqrt((a - b) @ np.linalg.inv(V) @ (a - b))),
    (
        "seuclidean",
        {"V": np.diag(V).copy()},
        lambda a, b: np.sqrt(((a - b) ** 2 / np.diag(V)).sum()),
    ),
    ("haversine", {}, haversine),
    ("pyfunc", {"func": haversine}, haversine),
]


@pytest.mark.parametrize(("metric", "params", "distance"), METRICS, ids=lambda v: str(v)[:12])
@pytest.mark.parametrize("kernel", ["gaussian", "linear"])
def test_metrics(kernel, metric, params, distance):
    rng = np.random.default_rng(7)
    X, Z = rng.uniform(-1, 1, (9, 2)), rng.uniform(-1, 1, (4, 2))
    made = deletion(X, kernel=kernel, metric=metric, metric_params=params, bandwidth=0.8)
    for a, z in enumerate(Z):
        u = np.array([distance(z, x) for x in X]) / 0.8
        K = np.exp(-u * u / 2) if kernel == "gaussian" else np.maximum(1 - u, 0)
        without = np.array([np.delete(K, i).sum() / 8 for i in range(9)])
        with np.errstate(divide="ignore"):
            expected = np.log(K.sum() / 9) - np.log(without)
        assert_allclose(all_changes(made, Z)[a], expected, rtol=1e-10, atol=1e-12)


# -- tiles ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "linear"])
def test_tiles_of_the_leave_one_out_sums(kernel, monkeypatch, rows):
    whole = deletion(rows, kernel=kernel, bandwidth=1.2)
    monkeypatch.setattr(kde, "TILE", 3)
    monkeypatch.setattr(kde, "WIDE_TILE", (2, 3))
    monkeypatch.setattr(kde, "STRIPE", 1)
    tiled = deletion(rows, kernel=kernel, bandwidth=1.2)
    everything = slice(0, 10)
    assert_allclose(tiled.self_change(everything), whole.self_change(everything), rtol=1e-11)
    assert_allclose(tiled.log_density(rows), whole.log_density(rows), rtol=1e-11)
    assert tiled.query_block(10, 1e9) == 1


def test_refit_loss_is_scikit_learns(rows, queries):
    made = deletion(rows)
    refit = KernelDensity().fit(np.delete(rows, 3, axis=0))
    assert_allclose(made.refit_loss(3, queries[:5]), -refit.score_samples(queries[:5]), rtol=1e-9)


# -- nearest rows --------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["gaussian", "linear", "cosine"])
@pytest.mark.parametrize("k", [1, 3, 4, 5, 12, 25])
def test_nearest_on_a_grid_orders_ties_by_position(kernel, k):
    grid = np.array([[i, j] for i in range(5) for j in range(5)]) + 0.5
    made = deletion(grid, kernel=kernel, bandwidth=2.0)
    distances, indices = made.nearest(grid, k)
    D = np.linalg.norm(grid[:, None] - grid, axis=2).round(12)
    if kernel != "gaussian":
        D = np.minimum(D, 2.0)  # rows beyond the support tie
    expected = np.argsort(D, axis=1, kind="stable")[:, :k]
    assert_array_equal(indices, expected)
    assert_allclose(distances, np.take_along_axis(D, expected, axis=1), atol=1e-12)

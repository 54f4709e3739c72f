"""Deletion from quantile regression, against refits by HiGHS and weighted quantiles."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.linear_model import QuantileRegressor

from skinfluence._stats import weighted_quantile
from skinfluence.deletion import vertices
from skinfluence.deletion.quantile import QuantilePath

# HiGHS stops at 1e-7 by default, which the comparison would see.
TIGHT = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}


def objective(X, y, weights, theta, q, alpha, fit_intercept):
    coef, intercept = (theta[:-1], theta[-1]) if fit_intercept else (theta, 0.0)
    r = y - X @ coef - intercept
    return np.average(np.maximum(q * r, (q - 1) * r), weights=weights) + alpha * abs(coef).sum()


class Fit:
    """A fit by scikit-learn, its path, and the same fit without rows."""

    def __init__(self, X, y, weights=None, *, q=0.5, alpha=0.0, fit_intercept=True):
        self.X, self.y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        self.weights = np.ones(len(y)) if weights is None else np.asarray(weights, dtype=float)
        self.setting = {"q": q, "alpha": alpha, "fit_intercept": fit_intercept}
        self.model = QuantileRegressor(
            quantile=q, alpha=alpha, fit_intercept=fit_intercept, solver_options=TIGHT
        )
        self.path = self.path_from(*self.parameters(np.arange(len(y))))

    def parameters(self, kept):
        model = self.model.fit(self.X[kept], self.y[kept], sample_weight=self.weights[kept])
        return model.coef_, model.intercept_

    def path_from(self, coef, intercept, X=None):
        return QuantilePath(
            self.X if X is None else X,
            self.y,
            self.weights,
            quantile=self.setting["q"],
            alpha=self.setting["alpha"],
            fit_intercept=self.setting["fit_intercept"],
            coef=coef,
            intercept=intercept,
        )

    def check(self, rows, move, unique):
        """The move is as good as a refit, and the same where there is only one."""
        kept = np.delete(np.arange(len(self.y)), rows)
        coef, intercept = self.parameters(kept)
        refit = np.append(coef, intercept) if self.setting["fit_intercept"] else coef
        theta = self.path.theta + move
        found, best = (
            objective(self.X[kept], self.y[kept], self.weights[kept], t, **self.setting)
            for t in (theta, refit)
        )
        assert_allclose(found, best, rtol=1e-10, atol=1e-13)
        if unique:
            assert_allclose(theta, refit, rtol=1e-8, atol=1e-8)

    def check_all(self, step=1):
        moves = self.path.moves(slice(None))
        for row in range(0, len(self.y), step):
            self.check(row, moves[:, row], self.path.unique_[row])
        assert self.path.n_fallbacks == 0
        return moves


def drawn(n, p, seed=0, **setting):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p))
    y = X[:, 0] + rng.standard_t(3, size=n)
    return Fit(X, y, rng.uniform(0.5, 2.0, n), **setting)


# -- single rows --------------------------------------------------------------------------------


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("q", [0.1, 0.5, 0.83])
@pytest.mark.parametrize("alpha", [0.0, 0.02, 0.2])
@pytest.mark.parametrize(("n", "p"), [(30, 2), (60, 5), (40, 10)])
def test_rows_are_deleted_as_by_refits(n, p, alpha, q, fit_intercept):
    fit = drawn(n, p, seed=n + p, q=q, alpha=alpha, fit_intercept=fit_intercept)
    assert fit.path.unique and not fit.path.degenerate
    moves = fit.check_all(step=4)
    assert fit.path.unique_.all()
    assert moves.shape == (p + fit_intercept, n)
    assert_array_equal(moves[:, fit.path.pivots_ == 0], 0.0)


def test_more_rows():
    fit = drawn(2000, 10, q=0.9)
    rows = [0, 500, 1900]
    for row, move in zip(rows, fit.path.moves(rows).T, strict=True):
        fit.check(row, move, fit.path.unique_[row])


def test_most_rows_of_a_high_quantile_move_nothing():
    path = drawn(200, 2, q=0.95).path
    still = (path.moves(slice(None)) == 0.0).all(axis=0)
    assert still.mean() > 0.7
    assert_array_equal(path.pivots_ == 0, still)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.3])
def test_more_features_than_rows(alpha, fit_intercept):
    fit = drawn(12, 20, alpha=alpha, fit_intercept=fit_intercept)
    fit.check_all()
    # Without a penalty the rest is still fitted perfectly, in many ways.
    assert fit.path.unique == (alpha > 0)


def test_a_large_penalty_leaves_a_quantile():
    """Weighted quantiles are a truth that shares nothing with linear programmes."""
    fit = drawn(41, 3, alpha=10.0, q=0.3)
    moves = fit.path.moves(slice(None))
    assert_array_equal(moves[:-1], 0.0)
    assert fit.path.unique_.all()
    for i in range(41):
        kept = np.arange(41) != i
        expected = weighted_quantile(fit.y[kept], fit.weights[kept], 0.3)
        assert_allclose(fit.path.theta[-1] + moves[-1, i], expected, rtol=1e-13)


def test_nothing_is_left_to_move():
    path = drawn(20, 3, alpha=10.0, fit_intercept=False).path
    assert_array_equal(path.moves(slice(None)), np.zeros((3, 20)))
    assert path.unique


# -- ties ---------------------------------------------------------------------------------------


def integers(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.integers(-1, 3, size=(50, 4)), rng.integers(0, 4, size=50)
    return X, y, rng.integers(0, 3, size=50)


def copies(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(15, 3)), rng.normal(size=15)
    return np.repeat(X, 3, axis=0), np.repeat(y, 3), None


def one_plane(seed):
    rng = np.random.default_rng(seed)
    X = rng.integers(-2, 3, size=(40, 3))
    return X, X @ [1, 2, 0] + (rng.random(40) < 0.2), None


def constant_target(seed):
    return np.random.default_rng(seed).integers(0, 2, size=(60, 6)), np.zeros(60), None


def collinear(seed):
    X = np.random.default_rng(seed).normal(size=(40, 2))
    X = np.column_stack([X, X.sum(axis=1), np.ones(40), np.zeros(40)])
    return X, np.random.default_rng(seed + 1).normal(size=40), None


@pytest.mark.parametrize("setting", [(0.25, 0.0, True), (0.5, 0.05, True), (0.75, 0.25, False)])
@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("data", [integers, copies, one_plane, constant_target, collinear])
def test_ties_end_at_a_minimum(data, seed, setting):
    q, alpha, fit_intercept = setting
    fit = Fit(*data(seed), q=q, alpha=alpha, fit_intercept=fit_intercept)
    fit.check_all(step=5)
    rows = np.arange(0, 30, 2)
    fit.check(rows, fit.path.move(rows), unique=False)


@pytest.mark.slow
def test_ties_end_at_a_minimum_in_many_small_problems():
    rng = np.random.default_rng(0)
    for _ in range(120):
        n, p, largest = (int(rng.integers(low, high)) for low, high in [(3, 50), (1, 8), (1, 4)])
        X = rng.integers(-largest, largest + 1, size=(n, p)) * rng.choice([1.0, 0.1])
        y = rng.integers(-largest, largest + 1, size=n)
        q, alpha = rng.choice([0.1, 0.25, 1 / 3, 0.5]), rng.choice([0.0, 1e-3, 0.05, 0.5])
        Fit(X, y, q=q, alpha=alpha, fit_intercept=bool(rng.integers(2))).check_all(step=n // 3)


def test_flags_of_ties():
    even = Fit(np.ones((6, 1)), [1, 2, 3, 4, 5, 6], alpha=1.0).path
    assert not even.unique and not even.degenerate
    odd = Fit(np.ones((5, 1)), [1, 2, 3, 4, 5], alpha=1.0).path
    assert odd.unique
    assert_array_equal(odd.moves(slice(None)), np.zeros((2, 5)))
    assert not odd.unique_.any()
    tied = Fit(np.ones((5, 1)), [1, 3, 3, 3, 5], alpha=1.0, q=0.45).path
    assert tied.unique and tied.degenerate
    assert_array_equal(tied.moves(slice(None)), np.zeros((2, 5)))
    assert tied.unique_.all()


def test_copies_have_the_same_influence():
    X, y, _ = copies(0)
    moves = Fit(X, y, q=0.3).path.moves(slice(None))
    assert_allclose(moves[:, ::3], moves[:, 1::3], rtol=1e-12, atol=1e-13)


# -- weights and groups -------------------------------------------------------------------------


def test_a_row_of_weight_0_changes_nothing():
    full = drawn(30, 3)
    weights = np.where(np.arange(30) % 5 == 0, 0.0, full.weights)
    X = np.where(weights[:, None] == 0, 1e9, full.X)  # nor do its values
    path = Fit(X, full.y, weights).path
    counted = weights > 0
    smaller = Fit(full.X[counted], full.y[counted], weights[counted]).path
    moves = path.moves(slice(None))
    assert_array_equal(moves[:, ~counted], 0.0)
    assert_array_equal(moves[:, counted], smaller.moves(slice(None)))
    assert_array_equal(path.unique_, True)
    assert_array_equal(path.move([0, 5]), 0.0)


def test_integer_weights_are_repeated_rows():
    rng = np.random.default_rng(0)
    X, y, counts = rng.normal(size=(25, 3)), rng.normal(size=25), rng.integers(1, 4, size=25)
    weighted = Fit(X, y, counts, q=0.4, alpha=0.03).path
    repeated = Fit(np.repeat(X, counts, axis=0), np.repeat(y, counts), q=0.4, alpha=0.03).path
    owner = np.repeat(np.arange(25), counts)
    together = [repeated.move(np.flatnonzero(owner == i)) for i in range(25)]
    moves = weighted.moves(slice(None))
    only = weighted.unique_
    assert only.mean() > 0.5
    assert_allclose(moves[:, only], np.transpose(together)[:, only], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("alpha", [0.0, 0.05])
def test_groups_are_deleted_as_by_refits(alpha):
    fit = drawn(60, 4, q=0.4, alpha=alpha)
    for size in (2, 10, 30, 50):
        rows = np.random.default_rng(size).choice(60, size=size, replace=False)
        fit.check(rows, fit.path.move(rows), unique=True)


def test_rows_may_be_asked_for_in_any_way():
    path = drawn(20, 2).path
    moves = path.moves(slice(None))
    assert_allclose(path.moves([7, 3, 3]), moves[:, [7, 3, 3]], rtol=1e-13)
    parts = [path.moves(slice(0, 9)), path.moves(slice(9, 20))]
    assert_allclose(np.hstack(parts), moves, rtol=1e-13)
    assert_allclose(path.move([3]), moves[:, 3], rtol=1e-13)
    assert_array_equal(path.move([3, 7, 3]), path.move([7, 3]))
    assert path.moves([]).shape == (3, 0)


# -- units, formats, starts ---------------------------------------------------------------------


@pytest.mark.parametrize("form", [sparse.csr_array, sparse.csc_array, sparse.coo_matrix])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sparse_rows(form, fit_intercept):
    fit = drawn(50, 4, alpha=0.02, fit_intercept=fit_intercept)
    fit.X[fit.X < 0.3] = 0.0
    start = fit.parameters(np.arange(50))
    dense, path = fit.path_from(*start), fit.path_from(*start, X=form(fit.X))
    assert_allclose(path.theta, dense.theta, rtol=1e-11, atol=1e-12)
    assert_allclose(path.moves(slice(None)), dense.moves(slice(None)), rtol=1e-10, atol=1e-12)


def test_moves_follow_the_units():
    fit = drawn(40, 3)
    size, shift = np.array([1e6, 1e-4, 30.0]), np.array([1e7, 0.0, 1e3])
    other = Fit(fit.X * size + shift, 100 * fit.y - 1e4, fit.weights).path
    moves, expected = other.moves(slice(None)), fit.path.moves(slice(None))
    assert_allclose(moves[:-1], 100 * expected[:-1] / size[:, None], rtol=1e-7, atol=1e-9)
    intercept = 100 * (expected[-1] - (shift / size) @ expected[:-1])
    assert_allclose(moves[-1], intercept, rtol=1e-7, atol=1e-6)


def test_any_start_leads_to_the_same_fit():
    fit = drawn(50, 3, q=0.7, alpha=0.02)
    far = fit.path_from(np.array([3.0, -4.0, 0.0]), 100.0)
    assert_allclose(far.theta, fit.path.theta, rtol=1e-11, atol=1e-13)
    assert far.gap > 1.0
    assert abs(fit.path.gap) < 1e-12
    assert_allclose(far.moves(slice(None)), fit.path.moves(slice(None)), rtol=1e-10, atol=1e-13)


def test_the_multipliers_balance_all_slopes():
    """Optimality in its own words: all slopes, those of the basis within their kinks, cancel."""
    path = drawn(30, 3, q=0.3, alpha=0.02).path
    programme, vertex, slopes = path._programme, path._vertex, path._slopes()
    slope = np.where(vertex.side > 0, slopes.up, -slopes.down)
    slope[vertex.basis] = programme.multipliers(vertex, slopes)
    assert (slope <= slopes.up).all() and (slope >= -slopes.down).all()
    pull = programme.A.T @ slope[:30] + slope[30:]
    assert_allclose(pull, 0.0, rtol=0.0, atol=1e-12)
    # An edge keeps all residuals of the basis at 0 but one.
    for place in range(4):
        pace = -programme.products(vertex.edge(place, -1.0))[vertex.basis]
        assert_allclose(pace, -np.eye(4)[place], rtol=0.0, atol=1e-13)


# -- refusals and the way out -------------------------------------------------------------------


def test_linprog_answers_where_pivots_do_not_end(monkeypatch):
    fit = drawn(30, 3, alpha=0.02)
    expected, moved = fit.path.moves(slice(None)), fit.path.pivots_ > 0
    path = fit.path_from(fit.path.theta[:-1], fit.path.theta[-1])
    monkeypatch.setattr(vertices, "max_pivots", lambda n_params: 0)
    assert_allclose(path.moves(slice(None)), expected, rtol=1e-8, atol=1e-9)
    assert path.n_fallbacks == moved.sum() > 0
    assert_array_equal(path.pivots_, np.where(moved, -1, 0))
    assert not path.unique_[moved].any()
    with pytest.raises(ValueError, match="no vertex that rounding leaves"):
        fit.path_from(fit.path.theta[:-1], fit.path.theta[-1])


def test_linprog_is_a_better_start_than_none(monkeypatch):
    fit = drawn(30, 3, alpha=0.02)
    monkeypatch.setattr(vertices, "max_pivots", lambda n_params: 1)
    path = fit.path_from(np.array([3.0, -4.0, 5.0]), 100.0)
    assert_allclose(path.theta, fit.path.theta, rtol=1e-11)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("alpha", [0.0, 0.1, 10.0])
def test_the_last_row_stays(alpha, fit_intercept):
    X, weights = [[1.0], [2.0], [3.0]], [0.0, 0.3, 0.0]
    path = Fit(X, [1.0, 2.0, 4.0], weights, alpha=alpha, fit_intercept=fit_intercept).path
    assert_array_equal(path.moves([0, 2]), np.zeros((1 + fit_intercept, 2)))
    with pytest.raises(ValueError, match=r"Deleting 1 row\(s\) leaves none of positive weight"):
        path.moves(slice(None))
    path = drawn(9, 2).path
    with pytest.raises(ValueError, match=r"Deleting 9 row\(s\) leaves none"):
        path.move(slice(None))


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, np.nan], [0.0, 0.0]])
def test_weights_are_checked(weights):
    with pytest.raises(ValueError, match="sample_weight lies between"):
        QuantilePath(
            np.eye(2),
            np.ones(2),
            weights,
            quantile=0.5,
            alpha=0.0,
            fit_intercept=True,
            coef=np.zeros(2),
            intercept=0.0,
        )

"""Random projections: what they span, how full they are, and that seeds make them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from skinfluence.engines.sketch.projections import draw, gram, project

KINDS = ("sparse", "gaussian", "countsketch")


def dense(omega):
    return omega.toarray() if sparse.issparse(omega) else omega


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_make_them(kind):
    first, again, other = (
        dense(draw(kind, 50, 20, np.random.RandomState(seed))) for seed in (0, 0, 1)
    )
    assert first.shape == (50, 20)
    assert_array_equal(first, again)
    assert (first != other).any()


def test_sparse_signs():
    omega = draw("sparse", 10_000, 50, np.random.RandomState(0))
    assert_array_equal(np.unique(omega.data), [-1.0, 1.0])
    # A share 1 / sqrt(p) of the places: 5,000 of them, give or take 70.
    assert abs(omega.nnz - 5_000) < 300
    assert abs(omega.data.mean()) < 0.05
    assert omega.has_canonical_format or omega.sum_duplicates() is None


def test_countsketch_has_one_sign_a_feature():
    omega = draw("countsketch", 1_000, 30, np.random.RandomState(0))
    assert_array_equal(np.diff(omega.indptr), 1)
    assert_array_equal(np.abs(omega.data), 1.0)
    assert_array_equal(np.sort(np.unique(omega.indices)), np.arange(30))


@pytest.mark.parametrize("k", [5, 40])
def test_gaussian_is_well_conditioned(k):
    omega = draw("gaussian", 40, k, np.random.RandomState(0))
    assert np.linalg.cond(omega) < 4.0


def test_gaussian_spans_what_the_normal_draws_do():
    omega = draw("gaussian", 40, 25, np.random.RandomState(3))
    normal = np.random.RandomState(3).standard_normal((40, 25))
    assert_allclose(omega @ (omega.T @ normal), normal, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", ["dense", "sparse"])
def test_products(kind, rows):
    omega = draw(kind, 40, 12, np.random.RandomState(0))
    X = np.random.default_rng(0).normal(size=(9, 40))
    given = X if rows == "dense" else sparse.csr_array(X)
    found = project(given, omega)
    assert type(found) is np.ndarray and found.dtype == np.float64
    assert_allclose(found, X @ dense(omega), rtol=1e-12, atol=1e-13)
    weights = np.arange(40.0)
    wanted = dense(omega).T @ (weights[:, None] * dense(omega))
    assert_allclose(gram(omega, weights), wanted, rtol=1e-12, atol=1e-11)


def test_memory_of_a_large_one():
    """Of the sparse one 100,000 x 200 places hold less than a megabyte."""
    omega = draw("sparse", 100_000, 200, np.random.RandomState(0))
    assert omega.data.nbytes + omega.indices.nbytes + omega.indptr.nbytes < 2**21

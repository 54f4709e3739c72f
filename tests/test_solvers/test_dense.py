"""The inverse of a matrix at hand agrees with the pseudo-inverse, whatever the matrix is."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg

from skinfluence.solvers import DenseInverse

RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(6, 6))
SHIFT = np.full((6, 1), 6**-0.5)
CENTRED = np.eye(6) - SHIFT @ SHIFT.T
MATRICES = {
    "positive": HALF @ HALF.T,
    "badly scaled": np.outer(*[10.0 ** np.arange(-6, 6, 2)] * 2) * (HALF @ HALF.T),
    "indefinite": HALF + HALF.T,
    "singular": HALF[:, :4] @ HALF[:, :4].T,
    "zero": np.zeros((6, 6)),
    "one": np.array([[4.0]]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_it_is_the_pseudo_inverse(name):
    matrix = MATRICES[name]
    columns = matrix @ RNG.normal(size=(len(matrix), 3))
    solved = DenseInverse(matrix)(columns)
    assert_allclose(matrix @ solved, columns, rtol=1e-8, atol=1e-9 * np.abs(columns).max())


@pytest.mark.parametrize("name", ["positive", "indefinite", "singular"])
def test_it_says_what_it_saw(name):
    inverse = DenseInverse(MATRICES[name])
    values = np.linalg.eigvalsh(MATRICES[name])
    seen = np.abs(values) > 1e-10
    assert inverse.null_dim == (~seen).sum()
    assert inverse.definite == (values[seen] > 0).all()
    report = inverse.report()
    assert report["condition"] == inverse.condition >= 1.0
    if name != "positive":  # of a factor it is an estimate in another norm
        sizes = np.abs(values[seen])
        assert_allclose(inverse.condition, sizes.max() / sizes.min(), rtol=1e-6)


def test_a_known_null_space_takes_no_part():
    """As the shift common to all classes in a softmax."""
    matrix = CENTRED @ MATRICES["positive"] @ CENTRED
    columns = CENTRED @ RNG.normal(size=(6, 2))
    inverse = DenseInverse(matrix, SHIFT)
    assert inverse.null_dim == 1
    solved = inverse(columns)
    assert_allclose(solved, linalg.pinvh(matrix) @ columns, rtol=1e-9, atol=1e-12)
    assert_allclose(SHIFT.T @ solved, 0.0, rtol=0, atol=1e-12)


def test_entries_that_do_not_move():
    embed = np.array([True, False, True, True, False, True, True, True])
    inverse = DenseInverse(MATRICES["positive"], embed=embed)
    columns = RNG.normal(size=(8, 3))
    solved = inverse(columns)
    assert_array_equal(solved[~embed], 0.0)
    expected = np.linalg.solve(MATRICES["positive"], columns[embed])
    assert_allclose(solved[embed], expected, rtol=1e-9)
    assert_allclose(inverse.matrix(8)[np.ix_(embed, embed)] @ columns[embed], expected, rtol=1e-8)


@pytest.mark.parametrize("name", ["positive", "singular", "badly scaled"])
def test_products_of_halves_are_products_by_the_inverse(name):
    matrix = MATRICES[name]
    inverse = DenseInverse(matrix)
    columns = matrix @ RNG.normal(size=(6, 4))
    half = inverse.half(columns)
    expected = columns.T @ inverse(columns)
    assert_allclose(half.T @ half, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


def test_an_indefinite_matrix_has_no_half():
    with pytest.raises(ValueError, match="not positive, so it is no inner product"):
        DenseInverse(MATRICES["indefinite"]).half(np.eye(6))


def test_directions_that_nothing_holds():
    basis = DenseInverse(MATRICES["singular"]).null_basis()
    assert basis.shape == (6, 2)
    assert_allclose(MATRICES["singular"] @ basis, 0.0, rtol=0, atol=1e-12)
    assert_allclose(basis.T @ basis, np.eye(2), rtol=0, atol=1e-12)
    embed = np.append(np.ones(6, dtype=bool), False)
    assert DenseInverse(MATRICES["singular"], embed=embed).null_basis().shape == (7, 2)
    assert DenseInverse(MATRICES["positive"]).null_basis() is None


def test_nothing_at_all():
    inverse = DenseInverse(np.zeros((0, 0)))
    assert inverse(np.zeros((0, 3))).shape == (0, 3)
    assert inverse.half(np.zeros((0, 3))).shape == (0, 3)

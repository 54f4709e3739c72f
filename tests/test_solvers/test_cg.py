"""Conjugate gradients solve what they are given, all columns side by side."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence.solvers import ConjugateGradients

RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(30, 12))
SCALES = 10.0 ** np.linspace(-3, 3, 12)
MATRIX = np.outer(SCALES, SCALES) * (HALF.T @ HALF)


def solver(matrix=MATRIX, **options):
    return ConjugateGradients(lambda columns: matrix @ columns, np.diag(matrix).copy(), **options)


def test_it_is_the_inverse():
    columns = MATRIX @ (RNG.normal(size=(12, 5)) / SCALES[:, None])
    inverse = solver(tol=1e-13)
    assert_allclose(inverse(columns), np.linalg.solve(MATRIX, columns), rtol=1e-6)
    assert inverse.residual <= 1e-13
    assert inverse.report()["n_iter"] == inverse.n_iter > 0


def test_columns_do_not_know_of_each_other():
    columns = SCALES[:, None] * RNG.normal(size=(12, 4))
    together = solver()(columns)
    alone = np.hstack([solver()(columns[:, [k]]) for k in range(4)])
    assert_allclose(together, alone, rtol=1e-9, atol=1e-12 * np.abs(alone).max())


def test_a_column_of_zeros_costs_nothing():
    inverse = solver()
    assert_array_equal(inverse(np.zeros((12, 2))), 0.0)
    assert inverse.n_iter == 0
    assert inverse(np.zeros((12, 0))).shape == (12, 0)


def test_entries_that_never_move_stay_zero():
    held = MATRIX.copy()
    held[3] = held[:, 3] = 0.0
    solved = solver(held)(SCALES[:, None] * RNG.normal(size=(12, 2)))
    assert_array_equal(solved[3], 0.0)


def test_a_singular_matrix_on_its_range():
    matrix = HALF[:8].T @ HALF[:8]
    columns = matrix @ RNG.normal(size=(12, 3))
    solved = solver(matrix, tol=1e-12)(columns)
    assert_allclose(matrix @ solved, columns, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("max_iter", [1, 3])
def test_it_reports_what_it_did_not_reach(max_iter):
    inverse = solver(tol=1e-14, max_iter=max_iter)
    inverse(SCALES[:, None] * RNG.normal(size=(12, 2)))
    assert inverse.residual > 1e-14
    assert inverse.n_iter == max_iter

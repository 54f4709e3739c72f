"""Eigenpairs of a diagonal matrix less a rank-one matrix equal those of whole decompositions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.deletion.closed.secular import leading_pairs

_rng = np.random.default_rng(5)
APART = np.array([0.1, 0.3, 1.0, 2.0, 5.0])


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        (APART, 1e-4),
        (APART, 0.02),
        (APART, 0.2),  # the iteration does not come to rest everywhere
        (np.array([1.0, 1.0, 1.0, 2.0, 2.0]), 0.01),  # no gaps
        (np.array([0.0, 1e-9, 1.0, 1e3, 1e6]), 1e-3),
    ],
)
@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_pairs(values, gone, k):
    u = _rng.normal(size=(40, 5)) * np.sqrt(values)
    u[0] = 0.0
    u[1, 2] = 0.0
    u[2] = [0.0, 0.0, 0.0, 0.0, 0.1]
    kept, axes = leading_pairs(values, u, gone, k)
    assert kept.shape == (40, k)
    for i in range(40):
        matrix = np.diag(values) - gone * np.outer(u[i], u[i])
        truth = np.linalg.eigvalsh(matrix)[::-1][:k]
        assert_allclose(kept[i], truth, rtol=1e-12, atol=1e-13 * values[-1])
        assert_allclose(axes[i] @ axes[i].T, np.eye(k), rtol=0, atol=1e-10)
        residual = matrix @ axes[i].T - axes[i].T * kept[i]
        assert_allclose(residual, 0.0, rtol=0, atol=1e-12 * values[-1])


def test_small_moves_keep_their_digits():
    u = np.array([[1e-9, 1.0, 1e-7]])
    kept, _ = leading_pairs(np.array([1.0, 2.0, 3.0]), u, 1e-3, 1)
    assert_allclose(3.0 - kept, 0.0, rtol=0, atol=1e-15)

"""Shapley values of rows in the order of their distance to a query.

Conventions: rows are sorted by distance along the last axis, nearest first; ``k`` stays k where a
subset holds fewer rows; values are (q, N), in the same order.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def shares_of_votes(agrees: Array, k: int) -> Array:
    """Values of rows for ``v(S)``, the share of k votes that a subset S casts for a label.

    ``v(S) = sum of a over the k nearest rows of S / k``. With N rows, ranks i from 1 and
    ``s_N = a_N min(k, N) / (k N)``, ``s_i = s_{i+1} + (a_i - a_{i+1}) min(k, i) / (k i)`` [1]_.

    Parameters
    ----------
    agrees : ndarray of shape (q, N)
        a: 1 where a row has the query's label, else 0.
    k : int

    References
    ----------
    .. [1] R. Jia et al. (2019), Efficient task-specific data valuation for nearest neighbor
       algorithms, PVLDB 12, theorem 1.
    """
    rank = np.arange(1.0, agrees.shape[1] + 1.0)
    weight = np.minimum(k, rank) / (k * rank)
    steps = np.empty_like(agrees)
    steps[:, :-1] = (agrees[:, :-1] - agrees[:, 1:]) * weight[:-1]
    steps[:, -1] = agrees[:, -1] * weight[-1]
    return _from_the_far_end(steps)


def squared_errors(targets: Array, y: Array, k: int) -> Array:
    """Values of rows for ``v(S) = -(sum of t over the k nearest rows of S / k - y)^2``.

    The recursion of [1]_, theorem 2, with sums over the nearer and the farther rows: two rows that
    are neighbours in the order exchange what the rows around them leave open.

    Parameters
    ----------
    targets : ndarray of shape (q, N)
        t.
    y : ndarray of shape (q,)
    k : int

    References
    ----------
    .. [1] R. Jia et al. (2019), Efficient task-specific data valuation for nearest neighbor
       algorithms, PVLDB 12.
    """
    t, y = targets / k, y[:, None]
    n = t.shape[1]
    if n == 1:
        return y**2 - (t - y) ** 2
    rank = np.arange(1.0, n + 1.0)
    single = np.minimum(k, rank) / rank
    pairs = np.zeros(n)  # min(k, i) min(k - 1, i - 1) / (i (i - 1)), 0 at i = 1
    pairs[1:] = single[1:] * np.minimum(k - 1.0, rank[1:] - 1.0) / (rank[1:] - 1.0)
    steps = np.empty_like(t)
    # Of rows i and i + 1: those before i, and those after i + 1, whose pairs are of rank l - 1.
    nearer = np.zeros_like(t)
    np.cumsum(t[:, :-1], axis=1, out=nearer[:, 1:])
    farther = np.zeros_like(t)
    farther[:, :-2] = _from_the_far_end(t[:, 2:] * pairs[1:-1])
    around = single[:-1] * (t[:, :-1] + t[:, 1:] - 2.0 * y)
    around += pairs[:-1] * nearer[:, :-1] + farther[:, :-1]
    steps[:, :-1] = (t[:, 1:] - t[:, :-1]) * around
    last, before = min(k, n) / n, (min(k, n) - 1.0) / (n - 1.0)
    steps[:, -1] = last * t[:, -1] * (2.0 * y[:, 0] - t[:, -1] - before * nearer[:, -1])
    return _from_the_far_end(steps)


def _from_the_far_end(steps):
    """Sums over each entry and all after it."""
    return np.cumsum(steps[:, ::-1], axis=1)[:, ::-1]

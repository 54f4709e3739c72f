"""Eigenpairs of a diagonal matrix less many rank-one matrices, all at once."""

from __future__ import annotations

import numpy as np

from skinfluence.deletion.closed.base import Array

# A root is found when a step no longer moves it by more than this share of itself.
DONE = 1e-15
MAX_STEPS = 12
# Share of the gap to the next eigenvalue that a root may have moved for its branch to be safe.
GAP = 0.5


def leading_pairs(values: Array, u: Array, gone: float, k: int) -> tuple[Array, Array]:
    """The k largest eigenvalues of ``diag(values) - gone u u'`` and their vectors, for each u.

    The eigenvalues ``values_j - d_j`` solve the secular equation
    ``1 = gone sum_m u_m^2 / (values_m - values_j + d_j)``, that is
    ``d_j = gone u_j^2 / (1 - gone sum_{m != j} u_m^2 / (values_m - values_j + d_j))``, which is
    iterated; its eigenvector has the entries ``u_m / (values_m - values_j + d_j)`` [1]_. One row
    of many moves an eigenvalue by little of the gap to the next, and three or four steps do.
    Where one does not come to rest, or leaves its gap, that matrix is decomposed as a whole.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Ascending.
    u : ndarray of shape (b, p)
    gone : float
    k : int

    Returns
    -------
    pairs : ndarray of shape (b, k) and (b, k, p)
        Largest eigenvalue first; vectors of length 1, in rows.

    References
    ----------
    .. [1] G. H. Golub (1973), Some modified matrix eigenvalue problems, SIAM Review 15.
    """
    p = len(values)
    squares = gone * u**2
    kept, axes = np.empty((len(u), k)), np.empty((len(u), k, p))
    failed = np.zeros(len(u), dtype=bool)
    for i in range(k):
        j = p - 1 - i
        gaps = values - values[j]
        moved, bad = _root(squares, gaps, j)
        failed |= bad
        kept[:, i] = values[j] - moved
        axes[:, i] = _axis(u, gone, gaps, moved, j)
    alone = np.flatnonzero(failed)
    if len(alone):
        matrices = np.diag(values) - gone * u[alone, :, None] * u[alone, None, :]
        found, vectors = np.linalg.eigh(matrices)
        kept[alone] = found[:, ::-1][:, :k]
        axes[alone] = np.swapaxes(vectors[:, :, ::-1][:, :, :k], 1, 2)
    return kept, axes


def _root(squares, gaps, j):
    """By how much the j-th eigenvalue falls, (b,), and where that is not sure."""
    others = np.delete(np.arange(len(gaps)), j)
    own, rest, distances = squares[:, j], squares[:, others], gaps[others]
    moved = own.copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for _ in range(MAX_STEPS):
            before = moved
            moved = own / (1.0 - (rest / (distances + moved[:, None])).sum(axis=1))
            if (np.abs(moved - before) <= DONE * np.abs(moved)).all():
                break
        below = -gaps[j - 1] if j else np.inf
        still = np.abs(moved - before) <= 8.0 * DONE * np.abs(moved)
        sure = still & (moved >= 0.0) & (moved <= GAP * below)
    return np.where(sure, moved, 0.0), ~sure


def _axis(u, gone, gaps, moved, j):
    """Its eigenvector, scaled by ``gone u_j``: well defined where u has no part in it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1.0 / (gaps + moved[:, None])
        inverse[:, j] = 0.0
        axis = gone * u[:, j : j + 1] * u * inverse
        axis[:, j] = 1.0 - gone * np.einsum("bp,bp,bp->b", u, u, inverse)
        return axis / np.sqrt(np.einsum("bp,bp->b", axis, axis))[:, None]

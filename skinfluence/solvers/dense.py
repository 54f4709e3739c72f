"""Inverse of a matrix that is at hand: Cholesky, else eigenvalues."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skinfluence.solvers.base import Array, Inverse

# Below this reciprocal condition number a Cholesky factor may hide a null space.
TRUSTED = 1e-13


class DenseInverse(Inverse):
    """Inverse of a symmetric (n, n) matrix with a known or unknown null space.

    Parameters
    ----------
    matrix : ndarray of shape (n, n)
    null : ndarray of shape (n, q) or None, default=None
        Orthonormal basis of directions known to be in the null space, each with equal entries on
        a set of its own. Right-hand sides are taken to be orthogonal to them, and so are
        solutions.
    embed : ndarray of bool of shape (N,) or None, default=None
        Where the n entries lie among N, the others of which are 0 in every solution. Columns are
        then (N, M).
    """

    def __init__(
        self,
        matrix: Array,
        null: NDArray[np.float64] | None = None,
        *,
        embed: NDArray[np.bool_] | None = None,
    ):
        self.size = len(matrix)
        self._matrix: Array | None = None
        self._inner: Array | None = None
        self._embed = None if embed is None or embed.all() else np.flatnonzero(embed)
        self._n_entries = self.size if embed is None else len(embed)
        self.null_dim = 0 if null is None else null.shape[1]
        if not self._cholesky(matrix, null):
            self._eigen(matrix)

    def _cholesky(self, matrix, null):
        scale = _scales(matrix, null)
        scaled = matrix * np.outer(scale, scale)
        if self.null_dim:
            # Filled in, these directions cannot spoil the factor, and take no part.
            scaled += null @ null.T
        factor, failed = linalg.lapack.dpotrf(scaled, lower=1, clean=0)
        if failed or not self.size:
            return not self.size
        norm = np.abs(scaled).sum(axis=0).max()
        rcond, _ = linalg.lapack.dpocon(factor, norm, uplo="L")
        if not rcond > TRUSTED:
            return False
        self.condition = 1.0 / rcond
        self._factor, self._scale = factor, scale[:, None]
        return True

    def _eigen(self, matrix):
        values, vectors = linalg.eigh(matrix)
        size = np.abs(values)
        # Null directions come out a few rounding errors of the largest eigenvalue high.
        seen = size > size.max() * max(10.0 * self.size * np.finfo(float).eps, TRUSTED)
        self.null_dim = int((~seen).sum())
        self.definite = bool((values[seen] > 0).all())
        self.condition = float(size[seen].max() / size[seen].min()) if seen.any() else 1.0
        self._factor = None
        self._values, self._vectors = values[seen], vectors[:, seen]
        self._idle = vectors[:, ~seen]

    def __call__(self, columns: Array) -> Array:
        if self._embed is None:
            return self._solve(columns)
        solved = np.zeros_like(columns)
        solved[self._embed] = self._solve(columns[self._embed])
        return solved

    def _solve(self, columns):
        if not self.size:
            return np.zeros_like(columns)
        if self._factor is None:
            return self._vectors @ ((self._vectors.T @ columns) / self._values[:, None])
        if columns.shape[1] >= self.size:
            # One product by the inverse is as accurate as two triangular solves, and faster.
            return self._full() @ columns
        solved = linalg.cho_solve((self._factor, True), self._scale * columns, check_finite=False)
        return self._scale * solved

    def _full(self):
        if self._inner is None:
            lower, _ = linalg.lapack.dpotri(self._factor, lower=1)
            inner = np.tril(lower) + np.tril(lower, -1).T
            self._inner = inner * self._scale * self._scale.T
        return self._inner

    def half(self, columns: Array) -> Array:
        """``L^-1 columns`` with matrix = L L', (rank, M): products become those by the inverse.

        Raises
        ------
        ValueError
            If the matrix is not positive.
        """
        inner = columns if self._embed is None else columns[self._embed]
        if not self.size:
            return np.zeros((0, columns.shape[1]))
        if self._factor is not None:
            return linalg.solve_triangular(self._factor, self._scale * inner, lower=True)
        if not self.definite:
            raise ValueError(
                "The Hessian at the fitted parameters is not positive, so it is no inner product "
                "and gives no embedding. Use hessian='expected', or score_influence."
            )
        return (self._vectors.T @ inner) / np.sqrt(self._values)[:, None]

    def null_basis(self) -> Array | None:
        """Directions that were found not to be seen, orthonormal, (N, q); None if there are none.

        Those given as `null` are not among them where the rest is well conditioned.
        """
        if not self.size or self._factor is not None or not self._idle.shape[1]:
            return None
        if self._embed is None:
            return self._idle
        basis = np.zeros((self._n_entries, self._idle.shape[1]))
        basis[self._embed] = self._idle
        return basis

    def matrix(self, size: int) -> Array:
        if self._matrix is None:
            self._matrix = self(np.eye(size))
        return self._matrix


def _scales(matrix, null):
    """What makes the diagonal 1, alike on the entries of a null direction, which so stays one."""
    squares = np.abs(np.diag(matrix))
    for direction in () if null is None else null.T:
        own = direction != 0
        squares = np.where(own, squares[own].mean(), squares)
    return 1.0 / np.sqrt(np.where(squares > 0, squares, 1.0))

"""Kernel ridge regression and Gaussian processes of which a training row becomes another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.closed.replaced.base import NewRows, Replaced

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Share of a new row's own kernel that must be left beside the other rows.
LEFT = 1e-12
# Product of the norms of a matrix and its inverse from which on solutions are refined.
ILL = 1e4
# New rows whose kernel with each other is evaluated at once, for its diagonal.
TOGETHER = 32


class Bordered:
    """Matrices A of which row and column i are replaced, solved by means of ``M = A^-1``.

    Without row i, ``M - M e_i e_i' M / M_ii`` is the inverse of what is left, padded with zeros.
    A border (k, kappa) around that has the Schur complement ``s = kappa - k'v``, ``v`` being that
    inverse times k. Where A is ill-conditioned, M has lost digits that the matrix itself has, and
    solutions are refined by it once.

    Parameters
    ----------
    matrix : callable
        Returns A, (n, n); called where it is ill-conditioned.
    inverse : ndarray of shape (n, n)
        M, symmetric.
    size : float
        A norm of A.
    rows : ndarray of int of shape (b,)
    border : ndarray of shape (b, n)
        Kernel of each new row with the training rows; its entry with the row that goes is ignored.
    corner : ndarray of shape (b,)
        Its diagonal entry.
    """

    def __init__(
        self, matrix: Any, inverse: Array, size: float, rows: Positions, border: Array, corner: Any
    ):
        self.rows, self.each = rows, np.arange(len(rows))
        self.inverse, self.corner = inverse, np.asarray(corner, dtype=np.float64)
        self.columns, self.diagonal = inverse[rows], inverse.diagonal()[rows]
        self.border = border.copy()
        self.border[self.each, rows] = 0.0
        self.matrix = matrix() if is_ill(inverse, size) else None
        self.solved = self._without(self.border)
        if self.matrix is not None:
            self.solved += self._without(self.border - self.solved @ self.matrix)
        self.schur = self.corner - self._products(self.border, self.solved)
        self.broken = ~(np.abs(self.schur) > LEFT * np.abs(self.corner))

    def _without(self, right):
        """What the inverses without row i make of right sides (b, n); their i-th entry is left."""
        right = right.copy()
        right[self.each, self.rows] = 0.0
        return self._reduced(right @ self.inverse)

    def _reduced(self, found):
        share = found[self.each, self.rows] / self.diagonal
        found = found - share[:, None] * self.columns
        found[self.each, self.rows] = 0.0
        return found

    def _products(self, a, b):
        return np.einsum("bn,bn->b", a, b)

    def solve(self, targets: Array, dual: Array, own: Array) -> tuple[Array, Array]:
        """Coefficients of the rows that stay, (b, n), and of the new ones, (b,).

        Parameters
        ----------
        targets : ndarray of shape (n,)
            Of the training rows.
        dual : ndarray of shape (n,)
            ``M targets``.
        own : ndarray of shape (b,)
            Of the new rows.
        """
        found = self._bordered(self._reduced(np.tile(dual, (len(self.rows), 1))), own)
        if self.matrix is None:
            return found
        stay, new = found
        right = targets - stay @ self.matrix - new[:, None] * self.border
        left = own - self._products(self.border, stay) - self.corner * new
        more = self._bordered(self._without(right), left)
        return stay + more[0], new + more[1]

    def _bordered(self, stay, own):
        new = (own - self._products(self.border, stay)) / self.schur
        return stay - new[:, None] * self.solved, new


def is_ill(inverse: Array, size: float) -> bool:
    """Whether solutions by an inverse are to be refined by a matrix of that size."""
    return size * size_of(inverse) > ILL


def refined(right: Array, solved: Array, matrix: Array, inverse: Array) -> Array:
    """Solutions (b, n) of symmetric systems, of right sides (b, n), after a step of refinement."""
    return np.asarray(solved + (right - solved @ matrix) @ inverse)


def size_of(matrix: Array) -> float:
    """The largest sum of absolute values of a row."""
    return float(np.abs(matrix).sum(axis=0).max())


def no_zeros(scale: Array) -> Array:
    """Scales as scikit-learn has them: 1 for a target that is constant."""
    return np.where(scale < 10 * np.finfo(np.float64).eps, 1.0, scale)


class ReplacedRidge(Replaced):
    """Kernel ridge regression with each new row."""

    def __init__(self, model: Any, new: NewRows):
        self.model, self.new = model, new
        root = self._root = model.root[new.rows]
        border = model.kernel(new.X) * model.root * root[:, None]
        corner = root**2 * self._corner(new)
        borders = [
            Bordered(
                lambda alpha=alpha: model.matrix() + alpha * np.eye(model.n_train),
                M,
                model.size + alpha,
                new.rows,
                border,
                corner + alpha,
            )
            for M, alpha in zip(model.inverses, model.alphas, strict=True)
        ]
        self.broken = np.any([b.broken for b in borders], axis=0)
        self.solutions = [
            borders[a].solve(model.targets[:, t], model.dual[:, t], root * new.encoded[:, t])
            for t, a in enumerate(model.alpha_of)
        ]

    @property
    def degenerate(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.new), dtype=bool)  # there is always a fit

    def _corner(self, new):
        model, parts = self.model, []
        if model.between is None:
            return new.X[np.arange(len(new)), new.rows]
        for start in range(0, len(new), TOGETHER):
            X = new.X[start : start + TOGETHER]
            parts.append(np.diagonal(model.between(X, X)))
        return np.concatenate(parts)

    def outputs(self, X: Any) -> Array:
        model, rows = self.model, self.new.rows
        plain = model.kernel(X)
        with_new = plain[:, rows] if model.between is None else model.between(X, self.new.X)
        K = plain * model.root
        found = [K @ stay.T + with_new * (self._root * own) for stay, own in self.solutions]
        return np.stack(found, axis=-1)


class ReplacedProcess(Replaced):
    """Gaussian process regression with each new row.

    Where targets are normalised, the mean of all of them moves with the new one, and the means
    are solved for a shift of the targets too.
    """

    def __init__(self, model: Any, new: NewRows):
        self.model, self.new = model, new
        noise = np.broadcast_to(model.noise, model.n_train)[new.rows]
        border = model.kernel(new.X, model.X)
        corner = model.kernel.diag(new.X) + noise
        self.border = Bordered(model.matrix, model.inverse, model.size, new.rows, border, corner)
        self.broken = self.border.broken
        own = new.encoded - model.mean
        self.solutions = [
            self.border.solve(model.centred[:, t], model.dual[:, t], own[:, t])
            for t in range(model.n_targets)
        ]
        self._scales, self._moved = np.ones_like(own), np.zeros_like(own)
        if model.normalize:
            self._normalise(own)

    @property
    def degenerate(self) -> NDArray[np.bool_]:
        return np.zeros(len(self.new), dtype=bool)  # there is always a fit

    def _normalise(self, own):
        model, n = self.model, self.model.n_train
        before = model.centred[self.new.rows]
        self._moved = (own - before) / n
        squares = np.sum(model.centred**2, axis=0) - before**2 + own**2
        variances = np.maximum(squares / n - self._moved**2, 0.0)
        self._scales = no_zeros(np.sqrt(variances))
        ones = np.ones(n)
        self._ones = self.border.solve(ones, model.ones, np.ones(len(own)))

    def outputs(self, X: Any) -> Array:
        model, n_targets = self.model, self.model.n_targets
        K, with_new = model.kernel(X, model.X), model.kernel(X, self.new.X)
        found = np.empty((X.shape[0], len(self.new), model.n_outputs))
        for t, (stay, own) in enumerate(self.solutions):
            found[..., t] = K @ stay.T + with_new * own + model.mean[t]
        if model.normalize:
            uncovered = 1.0 - K @ self._ones[0].T - with_new * self._ones[1]
            found[..., :n_targets] += self._moved * uncovered[..., None]
        if model.variance:
            reduced = self._reduced(K, with_new, X)
            found[..., n_targets:] = reduced[..., None] * np.square(self._scales)
        return found

    def _reduced(self, K, with_new, X):
        """``k(z, z) - k_z' A^-1 k_z`` of each new row's matrix, (q, b)."""
        border = self.border
        found = self.model.reduced(K, X)[:, None] + (K @ border.columns.T) ** 2 / border.diagonal
        return np.maximum(found - (with_new - K @ border.solved.T) ** 2 / border.schur, 0.0)

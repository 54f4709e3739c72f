"""Kernel ridge regression and Gaussian processes of which a training row becomes another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.closed.replaced.base import NewRows, Replaced

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Share of a new row's own kernel that must be left beside the other rows.
LEFT = 1e-9
# New rows whose kernel with each other is evaluated at once, for its diagonal.
TOGETHER = 32


class Bordered:
    """Inverses of matrices A of which row and column i are replaced, from ``M = A^-1``.

    Without row i, ``M - M e_i e_i' M / M_ii`` is the inverse of what is left, padded with zeros.
    A border (k, kappa) around that has the Schur complement ``s = kappa - k'v``, ``v`` being that
    inverse times k.

    Parameters
    ----------
    inverse : ndarray of shape (n, n)
        M, symmetric.
    rows : ndarray of int of shape (b,)
    border : ndarray of shape (b, n)
        Kernel of each new row with the training rows; its entry with the row that goes is ignored.
    corner : ndarray of shape (b,)
        Its diagonal entry.
    """

    def __init__(self, inverse: Array, rows: Positions, border: Array, corner: Array):
        each = np.arange(len(rows))
        self.rows, self.border = rows, border.copy()
        self.border[each, rows] = 0.0
        self.columns = inverse[rows]
        self.diagonal = inverse.diagonal()[rows]
        seen = self.border @ inverse
        self.solved = seen - (seen[each, rows] / self.diagonal)[:, None] * self.columns
        self.schur = corner - np.einsum("bn,bn->b", self.border, self.solved)
        self.broken = ~(np.abs(self.schur) > LEFT * np.abs(corner))

    def coefficients(self, dual: Array, targets: Array) -> tuple[Array, Array]:
        """What a solution ``M t`` loses with row i, relative to M e_i, and the new row's part.

        Parameters
        ----------
        dual : ndarray of shape (n,)
            ``M t``.
        targets : ndarray of shape (b,)
            Of the new rows.
        """
        lost = dual[self.rows] / self.diagonal
        seen = self.border @ dual - lost * np.einsum("bn,bn->b", self.border, self.columns)
        return lost, (targets - seen) / self.schur

    def meet(self, K: Array, with_new: Array) -> tuple[Array, Array]:
        """What queries see of M e_i, and of the new row beside all others, (q, b) each.

        Parameters
        ----------
        K : ndarray of shape (q, n)
        with_new : ndarray of shape (q, b)
            Kernels of queries with training rows, and with new rows.
        """
        return K @ self.columns.T, with_new - K @ self.solved.T


def no_zeros(scale: Array) -> Array:
    """Scales as scikit-learn has them: 1 for a target that is constant."""
    return np.where(scale < 10 * np.finfo(np.float64).eps, 1.0, scale)


class ReplacedRidge(Replaced):
    """Kernel ridge regression with each new row."""

    def __init__(self, model: Any, new: NewRows):
        self.model, self.new = model, new
        root = model.root[new.rows]
        self._root = root
        border = model.kernel(new.X) * model.root * root[:, None]
        corner = root**2 * self._corner(new)
        self.borders = [
            Bordered(M, new.rows, border, corner + alpha)
            for M, alpha in zip(model.inverses, model.alphas, strict=True)
        ]
        self.broken = np.any([b.broken for b in self.borders], axis=0)

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
        before = K @ model.dual
        met = [border.meet(K, with_new * self._root) for border in self.borders]
        found = np.empty((X.shape[0], len(rows), model.n_outputs))
        for t, a in enumerate(model.alpha_of):
            targets = self._root * self.new.encoded[:, t]
            lost, gained = self.borders[a].coefficients(model.dual[:, t], targets)
            found[..., t] = before[:, t, None] - met[a][0] * lost + met[a][1] * gained
        return found


class ReplacedProcess(Replaced):
    """Gaussian process regression with each new row.

    Where targets are normalised, the mean of all of them moves with the new one, and the means
    are solved for a shift of the targets too.
    """

    def __init__(self, model: Any, new: NewRows):
        self.model, self.new = model, new
        noise = np.broadcast_to(model.noise, model.n_train)[new.rows]
        corner = model.kernel.diag(new.X) + noise
        self.border = Bordered(
            model.inverse, new.rows, model.kernel(new.X, model.X), np.asarray(corner)
        )
        self.broken = self.border.broken
        self._centred = new.encoded - model.mean
        self._means, self._scales = model.mean + 0.0 * self._centred, 1.0 + 0.0 * self._centred
        if model.normalize:
            self._means, self._scales = self._normalised()

    def _normalised(self):
        model, n = self.model, self.model.n_train
        before, after = model.centred[self.new.rows], self._centred
        moved = (after - before) / n
        squares = np.sum(model.centred**2, axis=0) - before**2 + after**2
        scales = no_zeros(np.sqrt(np.maximum(squares / n - moved**2, 0.0)))
        return model.mean + moved, scales

    def outputs(self, X: Any) -> Array:
        model, border, rows = self.model, self.border, self.new.rows
        K = model.kernel(X, model.X)
        gone, added = border.meet(K, model.kernel(X, self.new.X))
        found = np.empty((X.shape[0], len(rows), model.n_outputs))
        before, ones = K @ model.dual, K @ model.ones
        lost, gained = border.coefficients(model.ones, np.ones(len(rows)))
        ones = ones[:, None] - gone * lost + added * gained
        for t in range(model.n_targets):
            lost, gained = border.coefficients(model.dual[:, t], self._centred[:, t])
            mean = before[:, t, None] - gone * lost + added * gained
            shift = self._means[:, t] - model.mean[t]
            found[..., t] = mean + model.mean[t] + shift * (1.0 - ones)
        if model.variance:
            reduced = model.reduced(K, X)[:, None] + gone**2 / border.diagonal
            reduced = np.maximum(reduced - added**2 / border.schur, 0.0)
            for t in range(model.n_targets):
                found[..., model.n_targets + t] = reduced * self._scales[:, t] ** 2
        return found

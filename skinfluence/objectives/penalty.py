"""The penalty Omega of an objective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Penalty:
    """``Omega = sum l2 theta^2 / 2 + sum l1 |theta| + sum_j l21_j |theta_j|_2``.

    Parameters
    ----------
    l2, l1 : ndarray of shape (n_rows, n_outputs)
        Strengths for each entry of theta; zero in the row of a free intercept.
    l21 : ndarray of shape (n_rows,)
        Strength of the Euclidean norm of a row of theta over the outputs (MultiTaskLasso).
    """

    l2: Array
    l1: Array
    l21: Array

    def take(self, rows: NDArray[np.intp]) -> Penalty:
        """The penalty of some rows of theta."""
        return Penalty(self.l2[rows], self.l1[rows], self.l21[rows])

    def value(self, theta: Array) -> float:
        """Omega at theta of shape (n_rows, n_outputs)."""
        norms = np.sqrt(np.square(theta).sum(axis=1))
        quadratic = 0.5 * (self.l2 * np.square(theta)).sum()
        return float(quadratic + (self.l1 * np.abs(theta)).sum() + (self.l21 * norms).sum())

    def change(self, theta: Array, moved: Array) -> float:
        """``value(theta + moved) - value(theta)``, precise for small moves of the quadratic."""
        end = theta + moved
        quadratic = (self.l2 * moved * (theta + 0.5 * moved)).sum()
        sizes = (self.l1 * (np.abs(end) - np.abs(theta))).sum()
        norms = np.linalg.norm(end, axis=1) - np.linalg.norm(theta, axis=1)
        return float(quadratic + sizes + (self.l21 * norms).sum())

    def gradient(self, theta: Array) -> Array:
        """Gradient at theta of shape (n_rows, n_outputs[, b]); 0 for the norms at theta = 0."""
        extra = (slice(None), slice(None), *[None] * (theta.ndim - 2))
        gradient = self.l2[extra] * theta
        if self.l1.any():
            gradient = gradient + self.l1[extra] * np.sign(theta)
        if self.l21.any():
            shape = (-1, *[1] * (theta.ndim - 1))
            gradient = gradient + self.l21.reshape(shape) * _unit(theta)
        return gradient

    def bent(self, theta: Array, moves: Array) -> Array:
        """The Hessian at theta times moves of shape (n_rows, n_outputs[, b])."""
        extra = (slice(None), slice(None), *[None] * (moves.ndim - 2))
        bent = self.l2[extra] * moves
        if self.l21.any():
            unit, bend = _unit(theta)[extra], self._bend(theta)
            along = (unit * moves).sum(axis=1, keepdims=True)
            bent += bend.reshape(-1, *[1] * (moves.ndim - 1)) * (moves - unit * along)
        return bent

    def bend_diagonal(self, theta: Array) -> Array:
        """Diagonal of the Hessian at theta, (n_rows, n_outputs)."""
        return self.l2 + self._bend(theta)[:, None] * (1.0 - _unit(theta) ** 2)

    def _bend(self, theta):
        norms = np.linalg.norm(theta, axis=1)
        return np.divide(self.l21, norms, out=np.zeros_like(norms), where=norms > 0)

    def hessian(self, theta: Array) -> Array:
        """Hessian at theta, (n_rows * n_outputs, n_rows * n_outputs), rows of theta first."""
        hessian = np.diag(self.l2.ravel())
        n_outputs = theta.shape[1]
        for j in np.flatnonzero(self.l21):
            norm = np.linalg.norm(theta[j])
            if norm:
                unit = theta[j] / norm
                block = self.l21[j] / norm * (np.eye(n_outputs) - np.outer(unit, unit))
                own = slice(j * n_outputs, (j + 1) * n_outputs)
                hessian[own, own] += block
        return hessian


def _unit(theta):
    norms = np.sqrt(np.square(theta).sum(axis=1, keepdims=True))
    return np.divide(theta, norms, out=np.zeros_like(theta), where=norms > 0)

"""Conjugate gradients, all right-hand sides at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.solvers.base import Array, Inverse


class ConjugateGradients(Inverse):
    """Inverse of a positive semidefinite operator by conjugate gradients, Jacobi-preconditioned.

    Columns run side by side, each with its own step, so that one product with the rows serves
    them all; a column that has converged is left alone.

    Parameters
    ----------
    product : callable
        (N, M) to (N, M).
    diagonal : ndarray of shape (N,)
        Diagonal of the operator; 0 for an entry that never moves.
    tol : float, default=1e-10
        Relative residual at which a column has converged.
    max_iter : int, default=2000
        Iterations at most.
    project : callable or None, default=None
        (N, M) to (N, M): takes out the directions that the operator does not see, of right-hand
        sides, which have no solution there, and of solutions, where the preconditioner puts them.

    Attributes
    ----------
    residual : float
        Largest relative residual over all columns solved so far.
    n_iter : int
        Most iterations that a call took.
    """

    def __init__(
        self,
        product: Callable[[Array], Array],
        diagonal: NDArray[np.float64],
        *,
        tol: float = 1e-10,
        max_iter: int = 2000,
        project: Callable[[Array], Array] | None = None,
    ):
        self.product, self.project = product, project
        self.scale = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
        self.tol, self.max_iter = tol, max_iter
        self.residual, self.n_iter = 0.0, 0

    def __call__(self, columns: Array) -> Array:
        if self.project is not None:
            return self.project(self._solve(self.project(columns)))
        return self._solve(columns)

    def _solve(self, columns):
        solved = np.zeros_like(columns)
        residual = np.where(self.scale[:, None] > 0, columns, 0.0)
        size = np.linalg.norm(residual, axis=0)
        live = np.flatnonzero(size > 0)
        left = residual[:, live]
        ahead = self.scale[:, None] * left
        power = (left * ahead).sum(axis=0)
        direction = ahead
        for n_iter in range(self.max_iter):
            if not live.size:
                break
            image = self.product(direction)
            bend = (direction * image).sum(axis=0)
            length = np.divide(power, bend, out=np.zeros_like(power), where=bend > 0)
            solved[:, live] += length * direction
            left = left - length * image
            reached = np.linalg.norm(left, axis=0) / size[live]
            going = (reached > self.tol) & (bend > 0)
            if not going.all():
                self.residual = max(self.residual, float(reached[~going].max()))
            ahead = self.scale[:, None] * left
            grown = (left * ahead).sum(axis=0)
            direction = ahead + np.where(power > 0, grown / power, 0.0) * direction
            power = grown
            if not going.all():
                live, left = live[going], left[:, going]
                direction, power = direction[:, going], power[going]
            self.n_iter = max(self.n_iter, n_iter + 1)
        if live.size:
            self.residual = max(
                self.residual, float((np.linalg.norm(left, axis=0) / size[live]).max())
            )
        return solved

    def report(self) -> dict[str, Any]:
        return {**super().report(), "residual": self.residual, "n_iter": self.n_iter}

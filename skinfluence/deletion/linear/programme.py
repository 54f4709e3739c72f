"""A fit that is a vertex of a linear programme, as a part whose rows can be deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.changes import Incoming
from skinfluence.deletion.linear.part import BasePart, Notes
from skinfluence.deletion.linear.spans import stacked
from skinfluence.deletion.quantile import QuantilePath
from skinfluence.objectives import Objective, Problem

Array = NDArray[np.float64]

# Vertices that differ by less than this share of their parameters are one.
SAME = 1e-13


class ProgrammePart(BasePart):
    """Moves of a quantile regression: exactly 0, or from vertex to vertex.

    Parameters
    ----------
    problem : Problem
        With a pinball loss.
    objective : Objective
        The same in coordinates, where queries live.
    path : QuantilePath
        Deletions in the user's parameters.
    notes : Notes
    """

    def __init__(self, problem: Problem, objective: Objective, path: QuantilePath, notes: Notes):
        theta = objective.coordinates.from_user(path.theta[:, None])
        super().__init__(problem, objective, theta, "exact", notes)
        self.path = path

    def moves(self, rows: NDArray[np.intp]) -> Array:
        moved = self.path.moves(rows)
        self.notes.not_unique.update(rows[~self.path.unique_[rows]].tolist())
        return self._inner(moved)

    def drags(self, rows: NDArray[np.intp]) -> Array:
        """Change of theta per unit by which the output of each row is pushed up, (P, 1, b)."""
        return self._inner(self.path.drags(rows))

    def group_moves(self, rows: NDArray[np.intp]) -> Array:
        return self._inner(self.path.move(rows)[:, None])

    def replaced(
        self, X: Any, rows: NDArray[np.intp], new: Any, incoming: Incoming
    ) -> tuple[Array, NDArray[np.bool_]]:
        """Moves of the user's parameters by warm refits with each row replaced.

        Returns
        -------
        moves : ndarray of shape (p [+ 1], 1, b)
        unique : ndarray of bool of shape (b,)
            Whether each refit is known to be the only minimum.
        """
        both, n, path = stacked(X, new), X.shape[0], self.path
        moves, unique = np.zeros((len(path.theta), 1, len(rows))), np.zeros(len(rows), dtype=bool)
        for column, row in enumerate(rows):
            order, y, weights = np.arange(n), self.problem.y.copy(), self.problem.weights.copy()
            order[row] = n + column
            y[row], weights[row] = incoming.y[column], incoming.weights[column]
            found = path.fitted_to(both[order], y, weights)
            moves[:, 0, column], unique[column] = found.theta - path.theta, found.unique
        # The same vertex in other units is rounded differently.
        still = np.abs(moves).max(axis=(0, 1)) <= SAME * np.abs(path.theta).max()
        moves[:, :, still] = 0.0
        return moves, unique

    def _inner(self, moved):
        return self.objective.coordinates.from_user(moved)[:, None, :]

    def leverage(self, rows: NDArray[np.intp]) -> Array:
        # The rows that the vertex passes through are those that can move it most.
        residual = (
            self.objective.y[rows] - self.objective.design.take(rows).times(self.theta)[:, 0]
        )
        return 1.0 / (np.abs(residual) + np.finfo(float).tiny ** 0.5)

    def report(self) -> dict[str, Any]:
        return {"unique": self.path.unique, "n_programmes": self.path.n_fallbacks}

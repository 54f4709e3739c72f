"""A fit that is a vertex of a linear programme, as a part whose rows can be deleted."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.part import BasePart, Notes
from skinfluence.deletion.quantile import QuantilePath
from skinfluence.objectives import Objective, Problem

Array = NDArray[np.float64]


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

    def group_moves(self, rows: NDArray[np.intp]) -> Array:
        return self._inner(self.path.move(rows)[:, None])

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

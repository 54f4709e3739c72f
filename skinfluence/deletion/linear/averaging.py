"""Rows that take other values, seen by the mean of many queries: one solve for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.deletion.linear.changes import replacing
from skinfluence.deletion.linear.part import Part
from skinfluence.deletion.linear.queries import Queries, known
from skinfluence.deletion.linear.replacement import Exchange
from skinfluence.deletion.linear.spans import outside_parts
from skinfluence.deletion.linear.targets import Target
from skinfluence.objectives.coordinates import RowSpace

Array = NDArray[np.float64]


class MeanReplacement:
    """Mean over queries of the first-order change when a training row is replaced.

    ``-w_i <H^-1 sum_z g_z / m, g_new - g_i>``: the queries are summed before anything is solved.

    Parameters
    ----------
    parts : sequence of Part
    target : Target or None
    queries : Queries
    """

    def __init__(self, parts: Sequence[Part], target: Target | None, queries: Queries):
        gradients = known(target).gradient(queries)
        self.parts = parts
        self.solved = [
            part.solved_sum(design, gradient)[:, 0] / queries.shape[0]
            for part, design, gradient in zip(parts, queries.designs, gradients, strict=True)
        ]

    def serves(self, exchange: Exchange) -> bool:
        """Whether all new rows lie in the coordinates of every part."""
        return not any(
            isinstance(part.objective.coordinates, RowSpace)
            and outside_parts(part.objective.coordinates, exchange.new).any()
            for part in self.parts
        )

    def __call__(self, exchange: Exchange) -> Array:
        """Mean change under each replacement, (n_rows,)."""
        total = np.zeros(len(exchange.rows))
        for block in _loops.slices(len(total), self._block()):
            own, stays = exchange.of(block), exchange.of(block).stays()
            for part, solved, incoming in zip(self.parts, self.solved, own.incoming, strict=True):
                design = part.objective.design
                new = design.take(own.rows)
                if not stays:
                    new = part.objective.coordinates.design(own.new)
                change = replacing(part.curvature, own.rows, new.dense(), incoming)
                total[block] += solved @ change.gradient(part.curvature)
        return total

    def _block(self):
        floats = max(12 * part.theta.size for part in self.parts)
        return _loops.memory_budget() / (8.0 * floats)

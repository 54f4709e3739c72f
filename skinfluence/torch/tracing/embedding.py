"""Rows as points whose dot products are scores, and their random projections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.gradients import GradientBlock
from skinfluence.torch.influence.projection import SJLT, Gaussian, Projection, TwoSided
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import as_array
from skinfluence.torch.tracing.metric import Kernel, Metric, Products
from skinfluence.torch.tracing.scores import checked, dense_rows
from skinfluence.torch.tracing.sums import check_finite
from skinfluence.torch.tracing.trajectory import Point, Trajectory

# Copies of the gradients of a block that forming, scaling and projecting them hold.
COPIES = 8.0


@dataclass
class Embedded(Kernel):
    """Products of ``P D^1/2 g``, or of ``D^1/2 g`` where nothing is projected.

    Parameters
    ----------
    metric : Metric
    projection : Projection, TwoSided or None
    """

    metric: Metric
    projection: Projection | TwoSided | None

    def embed(self, block: GradientBlock) -> Tensor:
        """Rows of a block, (b, k)."""
        scaled = self.metric.root(block)
        if isinstance(self.projection, TwoSided):
            return self.projection.of_block(scaled)
        found = scaled.dense()
        return found if self.projection is None else self.projection(found)

    def products(self, held: Sequence[GradientBlock]) -> Products:
        Z = torch.cat([self.embed(block) for block in held]).double()
        return lambda rows: Z @ self.embed(rows).double().T

    def bytes_held(self, held: GradientBlock) -> float:
        # Queries are formed before they are projected.
        return COPIES * held.network.n_params * held.values.element_size()


def embedded(point: Point, projection: Any) -> Embedded:
    """How a point's gradients are embedded: each checkpoint has a projection of its own.

    Errors of independent projections average out over the checkpoints.
    """
    return Embedded(point.metric, _of_step(projection, point.step))


def _of_step(projection: Any, step: int) -> Any:
    if isinstance(projection, SJLT):
        seed = _seed(projection, step)
        return SJLT(projection.width, n_nonzero=projection.n_nonzero, seed=seed)
    if isinstance(projection, Gaussian):
        return Gaussian(projection.width, seed=_seed(projection, step))
    if isinstance(projection, TwoSided):
        return TwoSided(projection.inner, seed=_seed(projection, step))
    return projection


def _seed(projection: Any, step: int) -> int:
    return int((projection.seed + 15_485_863 * (step + 1)) % 2**31)


class Embedding:
    """``D_c^1/2 g`` of every checkpoint beside each other, projected where asked.

    Parameters
    ----------
    trajectory : Trajectory
    weights : ndarray of shape (n_train,)
        What each training row is multiplied by.
    projection : Projection, TwoSided or None
    """

    def __init__(self, trajectory: Trajectory, weights: np.ndarray, projection: Any = None):
        self.trajectory, self.weights, self.projection = trajectory, weights, projection

    def width(self) -> int:
        """Number of dimensions, of all checkpoints."""
        return self._width_at() * sum(1 for rate in self.trajectory.rates if any(rate.values()))

    def _width_at(self) -> int:
        if isinstance(self.projection, Projection):
            return self.projection.width
        point = next(self.trajectory.points())[1]
        return int(embedded(point, self.projection).embed(point.block(slice(0, 1))).shape[1])

    def of_queries(self, queries: Queries) -> np.ndarray:
        """Embed queries, (m, width)."""
        out = np.empty((queries.shape[0], self.width()))

        def blocks(point):
            asked = point.asked(queries)
            for rows in _loops.slices(len(out), dense_rows(point, COPIES)):
                block = asked.gradients.block(asked.take(rows))
                check_finite(block.values, point, "The value of query", rows.start)
                yield rows, block

        return self._write(out, blocks, np.ones(len(out)))

    def of_training(self, out: Any = None) -> Any:
        """Embed training rows times their weights, (n_train, width), into `out` where given."""
        n = len(self.weights)
        out = np.empty((n, self.width())) if out is None else out

        def blocks(point):
            for rows in _loops.slices(n, dense_rows(point, COPIES)):
                yield rows, checked(point, rows)

        return self._write(out, blocks, self.weights)

    def _write(self, out, blocks, weights):
        start, width = 0, self._width_at()
        for _, point in self.trajectory.points():
            kernel = embedded(point, self.projection)
            columns = slice(start, start + width)
            for rows, block in blocks(point):
                out[rows, columns] = weights[rows, None] * as_array(kernel.embed(block))
            start += width
        return out

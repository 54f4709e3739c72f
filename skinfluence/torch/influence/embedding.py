"""Rows as points whose dot products are first-order scores."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.influence.leaving import Leaving
from skinfluence.torch.influence.projection import Projection, TwoSided
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import Trained, as_array


class Embedding:
    """``L^-1 g_z`` and ``L^-1 gbar_i`` with ``A = L L'``, projected where asked.

    Parameters
    ----------
    trained : Trained
        Its inverse has a square root.
    projection : Projection or None
    """

    def __init__(self, trained: Trained, projection: Projection | None = None):
        self.trained, self.projection = trained, projection

    def width(self) -> int:
        """Number of dimensions."""
        if self.projection is not None:
            return self.projection.width
        nothing = self.trained.network.theta.new_zeros(1, self.trained.network.n_params)
        return int(self.trained.inverse.half(nothing).shape[1])

    def of_queries(self, queries: Queries) -> np.ndarray:
        """Embed queries, (m, width)."""
        found = np.empty((queries.shape[0], self.width()))
        for part in self.trained.dense_slices(queries.shape[0]):
            found[part] = as_array(self._embedded(queries.dense(part)))
        return found

    def of_training(self, out: Any = None) -> Any:
        """Embed what each deletion takes away, (n_train, width), into `out` where given."""
        n = self.trained.n_train
        found = np.empty((n, self.width())) if out is None else out
        for part in self.trained.dense_slices(n):
            found[part] = as_array(self._embedded(self.trained.leaving(part).dense()))
        return found

    def _embedded(self, V):
        half = self.trained.inverse.half(V)
        return half if self.projection is None else self.projection(half)


class FactorEmbedding:
    """The same in a projected space, where no gradient of a linear layer is ever formed.

    Gradients are projected from both sides of each layer, and the curvature is the empirical
    Fisher matrix of the projections with the damping and the mean penalty on its diagonal: what
    it costs does not grow with the number of parameters, and no solver is needed. Dot products
    are scores of that curvature, up to the error of the projection.

    Parameters
    ----------
    trained : Trained
        Its inverse says the damping alone.
    projection : TwoSided
    """

    def __init__(self, trained: Trained, projection: TwoSided):
        self.trained, self.projection = trained, projection
        self._factor: Tensor | None = None

    def width(self) -> int:
        """Number of dimensions."""
        block = self.trained.gradients.block(self.trained.batch(slice(0, 1)))
        return self.projection.of_block(block).shape[1]

    def of_queries(self, queries: Queries) -> np.ndarray:
        """Embed queries, (m, width)."""
        found = np.empty((queries.shape[0], self.width()))
        size = queries.gradients.block_size()
        for start in range(0, len(found), size):
            part = slice(start, min(start + size, len(found)))
            block = queries.gradients.block(queries.take(part))
            found[part] = self._solved(self.projection.of_block(block))
        return found

    def of_training(self, out: Any = None) -> Any:
        """Embed what each deletion takes away, (n_train, width), into `out` where given."""
        found = np.empty((self.trained.n_train, self.width())) if out is None else out
        for rows, leaving in self._blocks():
            found[rows] = self._solved(self._gone(leaving))
        return found

    def _blocks(self) -> Iterator[tuple[slice, Leaving]]:
        n, size = self.trained.n_train, self.trained.gradients.block_size()
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            yield rows, self.trained.leaving(rows)

    def _gone(self, leaving):
        found = self.projection.of_block(leaving.block).double()
        if leaving.penalty is not None:
            found = found + self.projection.of_vector(leaving.block, leaving.penalty).double()
        return leaving.weights[:, None] * found

    def _solved(self, projected):
        if self._factor is None:
            self._factor = torch.linalg.cholesky(self._curvature())
        solved = torch.linalg.solve_triangular(self._factor, projected.double().T, upper=False)
        return as_array(solved.T)

    def _curvature(self):
        objective, width = self.trained.objective, self.width()
        device = self.trained.network.device
        total = torch.zeros(width, width, dtype=torch.float64, device=device)
        for _, leaving in self._blocks():
            projected = self.projection.of_block(leaving.block).double()
            total += projected.T @ (leaving.weights[:, None] * projected)
        decay = 0.0 if objective.decay is None else float(objective.decay.double().mean())
        mean = float(total.diagonal().mean()) / objective.total_weight
        # Fewer rows than dimensions leave it singular: the least damping is that of rounding.
        damping = max(self.trained.inverse.damping + decay, 1e-10 * mean)
        total.diagonal().add_(objective.total_weight * damping)
        return total


def make_embedding(
    trained: Trained, projection: Projection | TwoSided | None
) -> Embedding | FactorEmbedding:
    """The embedding that belongs to a projection."""
    if isinstance(projection, TwoSided):
        return FactorEmbedding(trained, projection)
    return Embedding(trained, projection)

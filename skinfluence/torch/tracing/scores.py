"""Scores of all pairs of queries and training rows, in tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.attribution import Block
from skinfluence.torch.gradients import GradientBlock
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import gradient_blocks
from skinfluence.torch.tracing.metric import Kernel, Products
from skinfluence.torch.tracing.sums import Sums, Ticks, check_finite
from skinfluence.torch.tracing.trajectory import Point

# Shares of the memory for the scores of a tile, for the queries' gradients, and for products.
TILE, HELD, PRODUCTS = 4.0, 4.0, 4.0


class Scores:
    """``sum_c <t_z, D_c g_i>`` of queries and training rows.

    A tile holds as many queries and rows as the memory does; inside it every checkpoint is loaded
    once and the queries are differentiated once, while the rows stream past.

    Parameters
    ----------
    sums : Sums
    weights : ndarray of shape (n_train,)
        What each row's scores are multiplied by.
    kernel : callable
        From a point to how gradients are multiplied there.
    """

    def __init__(self, sums: Sums, weights: np.ndarray, kernel: Callable[[Point], Kernel]):
        self.sums, self.weights, self.kernel = sums, weights, kernel

    def tiles(self, queries: Queries, name: str, *, progress: bool, desc: str) -> Iterator[Block]:
        """Blocks of scores.

        Parameters
        ----------
        queries : Queries
        name : str
            Of the queries, in the record.
        progress : bool
        desc : str

        Yields
        ------
        queries, rows : slice
        values : ndarray
            float64.
        """
        pairs = [(q, r) for q in self._query_slices(queries) for r in self._row_slices(queries, q)]
        total = sum(rows.stop - rows.start for _, rows in pairs) * len(self.sums.trajectory)
        ticks = Ticks(total, enabled=progress, desc=desc)
        for part, rows in pairs:
            label = f"{name}-{part.start}-{part.stop}-{rows.start}-{rows.stop}"
            found = self.sums.over(
                label,
                rows.stop - rows.start,
                partial(self._of_point, queries=queries[part], tile=rows),
                lead=(part.stop - part.start,),
                ticks=ticks,
            )
            yield part, rows, found * self.weights[rows]
        ticks.close()

    def over_queries(self, queries: Queries, name: str, *, progress: bool) -> np.ndarray:
        """Sum of the scores over the queries, (n_train,): of their summed gradient."""
        n = len(self.weights)
        ticks = Ticks(n * len(self.sums.trajectory), enabled=progress, desc="score_influence")

        def of_point(point: Point) -> tuple[int, Callable[[slice], Tensor]]:
            V = point.metric.times(_summed(point, point.asked(queries)))
            size = product_rows(point, 1)
            return size, lambda rows: checked(point, rows).times(V)[:, 0]

        found = self.sums.over(f"{name}-sum", n, of_point, ticks=ticks)
        ticks.close()
        return found * self.weights

    # -- inside a tile ----------------------------------------------------------------------------

    def _of_point(self, point, queries, tile):
        asked = point.asked(queries)
        products = self._products(point, asked)
        size = product_rows(point, queries.shape[0])

        def of_rows(rows):
            at = slice(tile.start + rows.start, tile.start + rows.stop)
            found = products(checked(point, at))
            check_finite(found, point, "The gradient of training row", at.start)
            return found

        return size, of_rows

    def _products(self, point: Point, asked: Queries) -> Products:
        return self.kernel(point).products(list(query_blocks(point, asked)))

    # -- sizes ------------------------------------------------------------------------------------

    def _query_slices(self, queries):
        point = next(self.sums.trajectory.points())[1]
        probe = point.asked(queries[:4])
        block = probe.gradients.block(probe.take(slice(0, 4)))
        each = max(1.0, self.kernel(point).bytes_held(block))
        return _loops.slices(queries.shape[0], int(_loops.memory_budget() / (HELD * each)))

    def _row_slices(self, queries, part):
        each = TILE * 8.0 * (part.stop - part.start)
        return _loops.slices(len(self.weights), int(_loops.memory_budget() / each))


def query_blocks(point: Point, asked: Queries) -> Iterator[GradientBlock]:
    """Gradients of queries, one block after the other, whose values are numbers."""
    for part, block in gradient_blocks(asked.gradients, asked.take, asked.shape[0]):
        check_finite(block.values, point, "The value of query", part.start)
        yield block


def _summed(point, asked):
    """Sum of the gradients of all queries, (1, p)."""
    network = point.objective.network
    total = torch.zeros(1, network.n_params, dtype=torch.float64, device=network.device)
    for block in query_blocks(point, asked):
        total += block.adjoint(network.theta.new_ones(1, len(block)))
    return total


def checked(point: Point, at: slice | np.ndarray) -> GradientBlock:
    """Gradients of some training rows, whose losses are numbers."""
    block = point.block(at)
    start = at.start if isinstance(at, slice) else at
    check_finite(block.values, point, "The loss of training row", start)
    return block


def product_rows(point: Point, n_queries: int) -> int:
    """Rows of a block whose gradients are multiplied with those of some queries."""
    network = point.objective.network
    width = 1
    if point.metric.dense:  # the narrower side of a weight stays with every pair
        shapes = [s for s in network.shapes.values() if len(s) > 1]
        width = max((min(s[0], s.numel() // s[0]) for s in shapes), default=1)
    each = PRODUCTS * network.theta.element_size() * n_queries * (width + 4)
    return max(1, min(point.gradients.block_size(), int(_loops.memory_budget() / each)))


def dense_rows(point: Point, copies: float) -> int:
    """Rows of a block whose gradients are formed."""
    network = point.objective.network
    each = copies * network.n_params * network.theta.element_size()
    return max(1, min(point.gradients.block_size(), int(_loops.memory_budget() / each)))

"""Influence of rows on their own value: the diagonal, without the matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from torch import Tensor

from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.targets import OfLoss
from skinfluence.torch.tracing.scores import checked, dense_rows
from skinfluence.torch.tracing.sums import Sums, Ticks, check_finite
from skinfluence.torch.tracing.trajectory import Point

OfRows = Callable[[slice], Tensor]


def of_training(
    sums: Sums, queries: Queries, at: np.ndarray, name: str, *, progress: bool
) -> np.ndarray:
    """``sum_c <t_i, D_c g_i>`` of training rows at some positions, (len(at),).

    Parameters
    ----------
    sums : Sums
    queries : Queries
        All training rows, as they are asked about.
    at : ndarray of int
    name : str
        In the record.
    progress : bool
    """

    def of_loss(point: Point) -> tuple[int, OfRows]:
        def of_rows(rows: slice) -> Tensor:
            return _squares(point, checked(point, at[rows]), at[rows])

        return point.gradients.block_size(), of_rows

    def of_value(point: Point) -> tuple[int, OfRows]:
        asked = point.asked(queries)

        def of_rows(rows: slice) -> Tensor:
            values = asked.gradients.block(asked.take(at[rows]))
            check_finite(values.values, point, "The value of query", at[rows])
            own = point.metric.times(values.dense()).double()
            return (own * checked(point, at[rows]).dense().double()).sum(1)

        return dense_rows(point, 6.0), of_rows

    of_point = of_loss if isinstance(sums.trajectory.target, OfLoss) else of_value
    return _over(sums, name, len(at), of_point, progress=progress)


def of_queries(sums: Sums, queries: Queries, name: str, *, progress: bool) -> np.ndarray:
    """``sum_c <g_z, D_c g_z>`` of rows asked about by their loss, (n_queries,)."""

    def of_point(point: Point) -> tuple[int, OfRows]:
        asked = point.asked(queries)

        def of_rows(rows: slice) -> Tensor:
            block = asked.gradients.block(asked.take(rows))
            check_finite(block.values, point, "The loss of query", rows.start)
            return _squares(point, block, rows.start)

        return point.gradients.block_size(), of_rows

    return _over(sums, name, queries.shape[0], of_point, progress=progress)


def _squares(point, block, start):
    found = point.metric.squares(block)
    check_finite(found, point, "The gradient of row", start)
    return found


def _over(sums, name, n, of_point, *, progress):
    ticks = Ticks(n * len(sums.trajectory), enabled=progress, desc="self_influence")
    found = sums.over(name, n, of_point, ticks=ticks)
    ticks.close()
    return found

"""Influence of rows on their own value: the diagonal, without the matrix."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.targets import OfLoss
from skinfluence.torch.tracing.draws import DrawnRows
from skinfluence.torch.tracing.scores import checked, dense_rows
from skinfluence.torch.tracing.sums import Sums, Ticks, check_finite
from skinfluence.torch.tracing.trajectory import Point, at_step

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


def of_draws(
    sums: Sums, rows: DrawnRows, name: str, *, progress: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Self influence of rows whose loss is a mean over draws, and its standard error, (n,) each.

    Unbiased: products of different draws only. Checkpoints have independent draws, so that their
    variances add up.

    Parameters
    ----------
    sums : Sums
    rows : DrawnRows
        With a number of draws that is at least 2.
    name : str
        In the record.
    progress : bool
    """

    def of_point(point: Point) -> tuple[int, OfRows]:
        own = at_step(rows, point.step)

        def of_rows(at: slice) -> Tensor:
            found = torch.stack(point.metric.unbiased(point.gradients, own[at]))  # type: ignore[arg-type]
            check_finite(found[:1], point, "The squared gradient of row", at.start)
            return found

        return point.gradients.block_size(), of_rows

    n = rows.shape[0]
    values, variances = _over(sums, name, n, of_point, progress=progress, lead=(2,))
    return values, np.sqrt(variances)


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


def _over(sums, name, n, of_point, *, progress, lead=()):
    ticks = Ticks(n * len(sums.trajectory), enabled=progress, desc="self_influence")
    found = sums.over(name, n, of_point, lead=lead, ticks=ticks)
    ticks.close()
    return found

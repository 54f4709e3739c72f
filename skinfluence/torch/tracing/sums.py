"""Sums over checkpoints, block of rows by block, which can be stopped and go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.influence.trained import as_array
from skinfluence.torch.resume import NoRecord
from skinfluence.torch.tracing.trajectory import Point, Trajectory

# From positions of rows to their part of a sum, with rows on the last axis.
OfRows = Callable[[slice], Tensor]
# What one checkpoint adds: how many rows at a time, and the part of some rows.
OfPoint = Callable[[Point], tuple[int, OfRows]]


class Ticks:
    """A progress bar that is moved by hand."""

    def __init__(self, total: int, *, enabled: bool, desc: str):
        self._ticks: Iterator[Any] = iter(
            _loops.progress_bar(range(total), total=total, enabled=enabled, desc=desc)
        )

    def move(self, n: int) -> None:
        """Forward by n."""
        for _ in range(n):
            next(self._ticks, None)

    def close(self) -> None:
        """To the end, where it stops."""
        for _ in self._ticks:
            pass


@dataclass
class Sums:
    """Adds up over the checkpoints of a training.

    Parameters
    ----------
    trajectory : Trajectory
    record : NoRecord, default=NoRecord()
        Where states of sums are kept.
    """

    trajectory: Trajectory
    record: NoRecord = field(default_factory=NoRecord)

    def over(
        self, part: str, n: int, of_point: OfPoint, *, lead: tuple[int, ...] = (), ticks: Ticks
    ) -> np.ndarray:
        """Sum over the checkpoints for n rows, (\\*lead, n).

        Parameters
        ----------
        part : str
            Name of the sum in the record.
        n : int
        of_point : callable
        lead : tuple of int
            Shape of a row's part.
        ticks : Ticks
            Moved by n for each checkpoint.
        """
        total, (done, row) = self._started(part, (*lead, n))
        ticks.move(done * n + row)
        for c, point in self.trajectory.points(done):
            size, of_rows = of_point(point)
            for rows in _slices(row if c == done else 0, n, size):
                total[..., rows] += as_array(of_rows(rows))
                ticks.move(rows.stop - rows.start)
                self._keep(part, total, c, rows.stop, last=False)
        self._keep(part, total, len(self.trajectory), 0, last=True)
        return total

    def _started(self, part, shape):
        found = self.record.load(part)
        if found is None:
            return np.zeros(shape), (0, 0)
        tensors, facts = found
        return tensors["sum"].numpy(), (facts["checkpoint"], facts["row"])

    def _keep(self, part, total, checkpoint, row, *, last):
        def tensors():
            return {"sum": torch.from_numpy(total)}

        self.record.keep(part, tensors, {"checkpoint": checkpoint, "row": row}, last=last)


def _slices(start: int, stop: int, size: int) -> Iterator[slice]:
    for first in range(start, stop, size):
        yield slice(first, min(first + size, stop))


def check_finite(values: Tensor, point: Point, what: str, start: Any = 0) -> None:
    """Refuse values of rows, on the last axis, that are no numbers.

    Parameters
    ----------
    values : Tensor of shape (..., b)
    point : Point
    what : str
        What they are of, as "The loss of training row".
    start : int or ndarray of int of shape (b,)
        Position of the first row, or those of all.
    """
    good = values.isfinite().reshape(-1, values.shape[-1]).all(0)
    if bool(good.all()):
        return
    i = int((~good).nonzero()[0, 0])
    row = start + i if isinstance(start, int) else int(start[i])
    raise ValueError(
        f"{what} {row} is no finite number at the checkpoint of step {point.step}: training "
        "diverged there, or the row is broken. Leave it out: checkpoints.at([...]) keeps the "
        "steps that are named."
    )

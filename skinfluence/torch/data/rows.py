"""Rows of a network: inputs and targets, taken block by block."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Some rows: positional and named inputs of the module, and targets; rows come first."""

    args: tuple[Tensor, ...]
    y: Tensor | None = None
    kwargs: dict[str, Tensor] = field(default_factory=dict)

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All inputs, the positional ones first."""
        return (*self.args, *self.kwargs.values())

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(self.inputs[0])

    def map(self, function: Any) -> Batch:
        """The batch with `function` applied to every tensor."""
        return Batch(
            tuple(map(function, self.args)),
            None if self.y is None else function(self.y),
            {name: function(value) for name, value in self.kwargs.items()},
        )

    def __getitem__(self, rows: Any) -> Batch:
        return self.map(lambda values: values[rows])


class Rows:
    """Rows that are at hand as tensors.

    Parameters
    ----------
    X : Tensor, or tuple or dict of Tensor
        Input, or inputs, rows first.
    y : Tensor or None, default=None
    device : torch.device
        Where blocks are wanted; the rows themselves stay where they are.
    """

    def __init__(self, X: Any, y: Tensor | None = None, *, device: torch.device | str = "cpu"):
        args = X if isinstance(X, tuple) else () if isinstance(X, dict) else (X,)
        self.everything = Batch(args, y, X if isinstance(X, dict) else {})
        self.device = device

    @property
    def shape(self) -> tuple[int, ...]:
        """(n_rows,)."""
        return (self.everything.size,)

    def take(self, rows: slice | np.ndarray | Tensor) -> Batch:
        """Rows at some positions, on the network's device."""
        if isinstance(rows, np.ndarray):
            rows = torch.as_tensor(rows)
        return self.everything.map(lambda values: _at(values, rows).to(self.device))

    def __getitem__(self, rows: slice) -> Rows:
        part = self.everything[rows]
        return Rows(part.kwargs or part.args, part.y, device=self.device)


class FetchedRows(Rows):
    """Rows that are fetched when they are wanted, and never all at once.

    Parameters
    ----------
    fetch : callable
        From positions, a sequence of int, to a Batch on the CPU.
    positions : range or ndarray of int
        Which rows these are, as `fetch` counts them.
    device : torch.device
    """

    def __init__(
        self,
        fetch: Callable[[Any], Batch],
        positions: range | np.ndarray,
        *,
        device: torch.device | str = "cpu",
    ):
        self.fetch, self.positions, self.device = fetch, positions, device

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.positions),)

    def take(self, rows: slice | np.ndarray | Tensor) -> Batch:
        if isinstance(rows, Tensor):
            rows = rows.cpu().numpy()
        if isinstance(rows, slice):
            wanted = self.positions[rows]
        else:
            wanted = np.asarray(self.positions)[rows]
        return self.fetch(wanted).map(lambda values: values.to(self.device))

    def __getitem__(self, rows: slice) -> FetchedRows:
        return FetchedRows(self.fetch, self.positions[rows], device=self.device)


def _at(values: Tensor, rows: slice | Tensor) -> Tensor:
    """Rows where they lie: positions must be on the same device as what they index."""
    return values[rows.to(values.device) if isinstance(rows, Tensor) else rows]

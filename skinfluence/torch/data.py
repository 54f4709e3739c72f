"""Rows of a network: inputs and targets, taken block by block."""

from __future__ import annotations

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
    def size(self) -> int:
        """Number of rows."""
        return len(self.args[0] if self.args else next(iter(self.kwargs.values())))

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
        """(n_rows, ...)."""
        return (self.everything.size,)

    def take(self, rows: slice | np.ndarray | Tensor) -> Batch:
        """Rows at some positions, on the network's device."""
        if isinstance(rows, np.ndarray):
            rows = torch.as_tensor(rows)
        return self.everything[rows].map(lambda values: values.to(self.device))

    def __getitem__(self, rows: slice) -> Rows:
        part = self.everything[rows]
        return Rows(part.kwargs or part.args, part.y, device=self.device)

"""Weights and targets of training rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence._compat import check_weights
from skinfluence.torch.data import Rows
from skinfluence.torch.data.arrays import as_tensor
from skinfluence.torch.losses.classes import IGNORED


def row_weights(sample_weight: Any, n: int) -> Tensor:
    """Weights of n rows, float64 on the CPU."""
    found = check_weights(sample_weight, np.empty(n))
    return torch.ones(n, dtype=torch.float64) if found is None else torch.from_numpy(found)


def all_targets(rows: Rows, size: int = 1024) -> Tensor:
    """Targets of all rows, on the CPU."""
    n = rows.shape[0]
    blocks = [rows.take(slice(start, start + size)).y for start in range(0, n, size)]
    return torch.cat([y.cpu() for y in blocks if y is not None])


@dataclass
class Positions:
    """Targets of a loss that looks up classes: whole numbers as int64, (n,) for a column.

    Probabilities of the classes, which are no whole numbers and have a column each, stay.

    Parameters
    ----------
    ignored : int or None, default=None
        A number that stands for no class.
    n_classes : int or None, default=None
        Known once the network has run; a class that no output is for is refused from then on,
        before the loss looks it up (on a GPU that would end the process's use of it).
    """

    ignored: int | None = None
    n_classes: int | None = None

    def __call__(self, y: Any) -> Tensor:
        found = as_tensor(y, torch.float64, "y")
        if found.ndim == 2 and found.shape[1] == 1:
            found = found[:, 0]
        self.check(found)
        return found if _of_all_classes(found) else found.long()

    def check(self, y: Tensor) -> None:
        """Refuse what is no position of a class."""
        if _of_all_classes(y):
            return
        wrong = y != y.round() if y.is_floating_point() else torch.zeros_like(y, dtype=torch.bool)
        if self.n_classes is not None:
            wrong |= (y < 0) | (y >= self.n_classes)
        # Of sequences, torch's own mark of padding is known without being told.
        skipped = self.ignored if y.ndim == 1 else self.ignored or IGNORED
        if skipped is not None:
            wrong &= y != skipped
        if bool(wrong.any()):
            last = "..." if self.n_classes is None else f"..., {self.n_classes - 1}."
            raise ValueError(
                f"y holds {y[wrong][0].item()!r}, and cross entropy needs the position of each "
                f"row's class among the outputs: 0, 1, {last} Pass these, or another loss."
            )


def _of_all_classes(y: Tensor) -> bool:
    """Whether targets are probabilities, a column for each class."""
    return y.is_floating_point() and y.ndim > 1


def probabilities(y: Any) -> Tensor:
    """Targets of a loss of two classes: 0, 1, or a probability between them."""
    found = as_tensor(y, torch.float64, "y")
    wrong = ~((found >= 0) & (found <= 1)) if found.dtype != torch.bool else found & ~found
    if bool(wrong.any()):
        raise ValueError(
            f"y holds {found[wrong][0].item()!r}, and binary cross entropy needs 0 and 1 (or "
            "probabilities). Pass (y + 1) / 2 for labels -1 and 1, or another loss."
        )
    return found.double()

"""Weights and targets of training rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence._compat import check_weights
from skinfluence.torch.data import Rows
from skinfluence.torch.data.arrays import as_tensor


def row_weights(sample_weight: Any, n: int) -> Tensor:
    """Weights of n rows, float64 on the CPU."""
    found = check_weights(sample_weight, np.empty(n))
    return torch.ones(n, dtype=torch.float64) if found is None else torch.from_numpy(found)


def all_targets(rows: Rows, size: int = 1024) -> Tensor:
    """Targets of all rows, on the CPU."""
    n = rows.shape[0]
    blocks = [rows.take(slice(start, start + size)).y for start in range(0, n, size)]
    return torch.cat([y.cpu() for y in blocks if y is not None])


def positions(y: Any) -> Tensor:
    """Targets of a loss that looks up classes: whole numbers as int64, (n,) for a column.

    Probabilities of the classes, which are no whole numbers and have a column each, stay.
    """
    found = as_tensor(y, torch.float64, "y")
    if found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if not found.is_floating_point():
        return found.long()
    if found.ndim > 1:
        return found
    if not bool((found == found.round()).all()):
        raise ValueError(
            f"y holds {float(found[found != found.round()][0])!r}, and cross entropy needs the "
            "position of each row's class among the outputs: 0, 1, ... Pass these, or another "
            "loss."
        )
    return found.long()

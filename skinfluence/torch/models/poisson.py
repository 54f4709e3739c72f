"""Poisson loss of a log-rate."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skinfluence.torch.losses import RowLoss


class Poisson(RowLoss):
    """Half the Poisson deviance, ``y log(y / exp(f)) - y + exp(f)``, summed over outputs."""

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        if y is None:
            raise ValueError("This loss compares outputs with y, and y is missing. Pass y.")
        y = y.to(outputs.dtype).reshape(outputs.shape)
        values = torch.xlogy(y, y) - y * outputs - y + outputs.exp()
        return values.flatten(1).sum(1) if values.ndim > 1 else values

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        rate = outputs.exp()
        return lambda V: rate * V

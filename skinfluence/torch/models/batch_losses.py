"""Losses of torch without the mean that they take over a batch."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from skinfluence.torch.losses import RowLoss

# Losses that look up classes.
OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
# Reductions that add up what one row has several of; "batchmean" averages over rows alone.
SUMMED = ("sum", "batchmean")


def to_log(outputs: Tensor) -> Tensor:
    """``log(p + eps)``, as skorch takes it of a classifier's probabilities."""
    return torch.log(outputs + torch.finfo(outputs.dtype).eps)


def to_logit(outputs: Tensor) -> Tensor:
    """``log(p / (1 - p))``, finite where a probability rounds to 0 or 1."""
    return torch.logit(outputs, eps=torch.finfo(outputs.dtype).eps)


def shares(loss: nn.CrossEntropyLoss, y: Tensor) -> Tensor:
    """What each target counts in the mean over a batch: its class's weight, 0 if it is skipped."""
    seen = y != loss.ignore_index
    if loss.weight is None:
        return seen
    return seen * loss.weight.to(y.device)[torch.where(seen, y, 0)]


def summed(loss: nn.Module) -> bool:
    """Whether a loss module adds up over the outputs of a row, and does not average them."""
    return getattr(loss, "reduction", "mean") in SUMMED


class TorchLoss(RowLoss):
    """A loss module of torch, row by row: the mean over what one row has several of, or the sum.

    The module's own reduction says which.
    """

    def __init__(self, loss: nn.Module):
        self.summed = summed(loss)
        self.module = copy.deepcopy(loss)
        self.module.reduction = "none"

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        if y is None:
            raise ValueError(f"{type(self.module).__name__} needs y, and y is missing. Pass y.")
        if not isinstance(self.module, OF_CLASSES):
            y = y.to(outputs.dtype).reshape(outputs.shape)
        values = self.module(outputs, y)
        if not values.ndim or len(values) != len(outputs):
            raise ValueError(
                f"{type(self.module).__name__}(reduction='none') returned shape "
                f"{tuple(values.shape)} for {len(outputs)} rows, and one loss a row is needed. "
                "Pass a function of (outputs, y) that returns it."
            )
        if values.ndim == 1:
            return values
        return values.flatten(1).sum(1) if self.summed else values.flatten(1).mean(1)


class OverPositions(TorchLoss):
    """Cross entropy of a row that has several targets: their mean, as each counts in a batch.

    Or their sum. It is also the loss of probabilities of classes that have weights, which weigh
    the terms of one row.
    """

    convex = True

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        if y is None or y.is_floating_point():
            return super().__call__(outputs, y)
        values = self.module(outputs, y)
        if values.ndim == 1:
            return values
        if self.summed:
            return values.flatten(1).sum(1)
        mass = shares(self.module, y).to(values.dtype).flatten(1).sum(1)
        return values.flatten(1).sum(1) / mass.clamp_min(torch.finfo(mass.dtype).tiny)

    def probabilities(self, outputs: Tensor) -> Tensor:
        """Those of the classes, in columns; positions of a sequence one after the other."""
        return outputs.softmax(1).reshape(len(outputs), -1)

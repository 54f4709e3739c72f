"""Losses of torch, which average over a batch, as losses of a row."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch.data import Rows
from skinfluence.torch.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    RowLoss,
    SquaredError,
    UserLoss,
    make_loss,
)
from skinfluence.torch.models.rows import all_targets, positions
from skinfluence.torch.network import Network

# Losses that look up classes.
OF_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss, nn.MultiMarginLoss)
# How far from one the probabilities of a row may add up to.
NEAR_ONE = 1e-3


@dataclass(frozen=True)
class Criterion:
    """A loss a row, and what a torch loss does beside it.

    Parameters
    ----------
    loss : RowLoss
    head : callable or None
        From the module's outputs to those that the loss takes (probabilities to their logarithm).
    encode : callable or None
        Targets to tensors.
    class_weight : Tensor of shape (K,) or None
        A batch's loss is the mean weighted by these, so they weight rows.
    ignored : int or None
        Position of a class whose rows do not count.
    normalised : bool
        Whether the outputs of the head must be logarithms of probabilities.
    mean_over_outputs : bool
        Whether one row's loss is the mean over its outputs, and not their sum.
    """

    loss: RowLoss
    head: Callable[[Tensor], Tensor] | None = None
    encode: Callable[[Any], Tensor] | None = None
    class_weight: Tensor | None = None
    ignored: int | None = None
    normalised: bool = False
    mean_over_outputs: bool = False

    def weigh(self, weights: Tensor, rows: Rows) -> Tensor:
        """Weights of the rows, those of their classes included."""
        if self.ignored is None:
            return weights
        y = all_targets(rows)
        if y.ndim > 1:
            return weights
        seen = y != self.ignored
        if self.class_weight is not None:
            seen = seen * self.class_weight.double().cpu()[torch.where(seen, y, 0)]
        return weights * seen

    def checked(self, network: Network, rows: Rows) -> Criterion:
        """The criterion for outputs as the network has them, on a few rows."""
        if not (self.normalised or self.mean_over_outputs):
            return self
        with torch.no_grad():
            outputs = network.outputs(rows.take(slice(0, 4)))
        if self.normalised and bool((outputs.logsumexp(1).abs() > NEAR_ONE).any()):
            raise ValueError(
                "NLLLoss needs probabilities that add up to one (skorch classifiers) or their "
                f"logarithms (elsewhere); those of the first row add up to "
                f"{float(outputs[0].exp().sum()):.3g}. Use CrossEntropyLoss on logits."
            )
        n_outputs = outputs[0].numel()
        if self.normalised or n_outputs == 1:
            return self
        if isinstance(self.loss, SquaredError):
            return replace(self, loss=SquaredError(self.loss.scale / n_outputs))
        return replace(self, loss=TorchLoss(nn.BCEWithLogitsLoss()))


def read_criterion(loss: Any) -> Criterion:
    """Criterion of a loss by name, a function, or a loss module of torch."""
    if isinstance(loss, nn.Module):
        return _of_module(loss)
    found = make_loss(loss)
    return Criterion(found, encode=positions if isinstance(found, CrossEntropy) else None)


def _of_module(loss: nn.Module) -> Criterion:
    if next(loss.parameters(), None) is not None:
        raise UnsupportedEstimatorError(
            f"{type(loss).__name__} has parameters of its own, which are not explained. Make them "
            "parameters of the module, and pass a function of (outputs, y)."
        )
    if type(loss) in CRITERIA:
        return CRITERIA[type(loss)](loss)
    if not hasattr(loss, "reduction"):
        return Criterion(UserLoss(loss))
    return Criterion(TorchLoss(loss), encode=positions if isinstance(loss, OF_CLASSES) else None)


def _cross_entropy(loss: nn.CrossEntropyLoss) -> Criterion:
    if not loss.label_smoothing:
        return Criterion(
            CrossEntropy(),
            encode=positions,
            class_weight=loss.weight,
            ignored=loss.ignore_index,
        )
    if loss.weight is not None:
        raise UnsupportedEstimatorError(
            "CrossEntropyLoss has weight and label_smoothing, whose mean over a batch is no sum "
            "over its rows. Pass a function of (outputs, y), and the weights as sample_weight."
        )
    return Criterion(TorchLoss(loss), encode=positions)


def _nll(loss: nn.NLLLoss) -> Criterion:
    # Cross entropy of log-probabilities is the same number, and has the curvature of the logits,
    # where -f_y has none.
    return Criterion(
        CrossEntropy(),
        encode=positions,
        class_weight=loss.weight,
        ignored=loss.ignore_index,
        normalised=True,
    )


def _mean_squared(loss: nn.MSELoss) -> Criterion:
    return Criterion(SquaredError(), mean_over_outputs=True)


def _binary(loss: nn.BCEWithLogitsLoss) -> Criterion:
    if loss.weight is not None or loss.pos_weight is not None:
        return Criterion(TorchLoss(loss))
    return Criterion(BinaryCrossEntropy(), mean_over_outputs=True)


def _binary_of_probabilities(loss: nn.BCELoss) -> Criterion:
    if loss.weight is not None:
        return Criterion(TorchLoss(loss))
    return Criterion(BinaryCrossEntropy(), head=to_logit, mean_over_outputs=True)


CRITERIA: dict[type, Callable[[Any], Criterion]] = {
    nn.CrossEntropyLoss: _cross_entropy,
    nn.NLLLoss: _nll,
    nn.MSELoss: _mean_squared,
    nn.BCEWithLogitsLoss: _binary,
    nn.BCELoss: _binary_of_probabilities,
}


def to_log(outputs: Tensor) -> Tensor:
    """``log(p + eps)``, as skorch takes it of a classifier's probabilities."""
    return torch.log(outputs + torch.finfo(outputs.dtype).eps)


def to_logit(outputs: Tensor) -> Tensor:
    """``log(p / (1 - p))``, finite where a probability rounds to 0 or 1."""
    return torch.logit(outputs, eps=torch.finfo(outputs.dtype).eps)


class TorchLoss(RowLoss):
    """A loss module of torch, row by row: the mean over what one row has several of."""

    def __init__(self, loss: nn.Module):
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
        return values.flatten(1).mean(1) if values.ndim > 1 else values

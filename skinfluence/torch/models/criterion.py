"""Losses of torch, which average over a batch, as losses of a row."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch.data import FetchedRows, Rows
from skinfluence.torch.faults import PROBE, outputs_of
from skinfluence.torch.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    MeanSquaredError,
    RowLoss,
    SquaredError,
    UserLoss,
    make_loss,
)
from skinfluence.torch.models.batch_losses import (
    OF_CLASSES,
    OverPositions,
    TorchLoss,
    shares,
    summed,
    to_logit,
)
from skinfluence.torch.models.rows import Positions, all_targets, probabilities
from skinfluence.torch.network import Network

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
    averaged : nn.CrossEntropyLoss or None
        What a batch's mean is weighted by, and which targets it skips: these weight the rows.
    normalised : bool
        Whether the outputs of the head must be logarithms of probabilities.
    per_output : RowLoss or None
        The loss where a row has several outputs, over which torch takes the mean.
    """

    loss: RowLoss
    head: Callable[[Tensor], Tensor] | None = None
    encode: Callable[[Any], Tensor] | None = None
    averaged: nn.CrossEntropyLoss | None = None
    normalised: bool = False
    per_output: RowLoss | None = None

    def weigh(self, weights: Tensor, rows: Rows) -> Tensor:
        """Weights of the rows, those of their classes and positions included."""
        if self.averaged is None or rows.take(slice(0, 1)).y is None:
            return weights
        y = all_targets(rows)
        if y.is_floating_point():
            return weights
        own = shares(self.averaged, y).double()
        if own.ndim > 1 and summed(self.averaged):
            return weights  # the loss has them in its sum
        return weights * (own.flatten(1).mean(1) if own.ndim > 1 else own)

    def checked(self, network: Network, rows: Rows) -> Criterion:
        """The criterion for outputs as the network has them, on a few rows."""
        for loss in (self.loss, self.per_output):
            if isinstance(loss, TorchLoss):
                loss.module.to(network.device)
        if network.flat and isinstance(self.loss, UserLoss):
            return replace(self, loss=UserLoss(self.loss.function, flat=True))
        if self.encode is None and self.per_output is None:
            return self
        with torch.no_grad():
            # Logarithms of what is no probability are NaN, which is said with what to do below.
            outputs = outputs_of(network, rows.take(slice(0, PROBE)), finite=not self.normalised)
        if isinstance(self.encode, Positions):
            self._check_classes(outputs, self.encode, rows)
        return self._for_outputs(outputs, rows.take(slice(0, 1)).y)

    def _check_classes(self, outputs: Tensor, encode: Positions, rows: Rows) -> None:
        n_classes = outputs.shape[1] if outputs.ndim > 1 else 1
        if n_classes == 1:
            raise ValueError(
                f"Cross entropy needs an output for each class, and outputs have shape "
                f"{tuple(outputs.shape)}. Pass loss='binary_cross_entropy' for one logit."
            )
        if self.normalised and not bool((outputs.logsumexp(1).abs() <= NEAR_ONE).all()):
            total = float(outputs[0].exp().sum())
            raise ValueError(
                "NLLLoss needs probabilities that add up to one (skorch classifiers) or their "
                f"logarithms (elsewhere); those of the first row "
                f"{'are none' if total != total else f'add up to {total:.3g}'}. Use "
                "CrossEntropyLoss on logits, or end the module in a softmax, and train again."
            )
        if outputs.ndim == 2:
            encode.n_classes = n_classes
        # What is fetched later is checked when it is.
        if not isinstance(rows, FetchedRows) and rows.everything.y is not None:
            encode.check(rows.everything.y)

    def _for_outputs(self, outputs: Tensor, y: Tensor | None) -> Criterion:
        if isinstance(self.loss, CrossEntropy):
            if self.averaged is None:
                return self
            # Weights of classes weigh rows, but of probabilities each term of a row.
            soft = y is not None and y.is_floating_point() and self.averaged.weight is not None
            loss = OverPositions(self.averaged)
            loss.module.to(outputs.device)
            return replace(self, loss=loss) if soft or outputs.ndim > 2 else self
        if self.per_output is None or outputs[0].numel() == 1:
            return self
        return replace(self, loss=self.per_output)


def read_criterion(loss: Any) -> Criterion:
    """Criterion of a loss by name, a function, or a loss module of torch."""
    if isinstance(loss, type):
        raise ValueError(
            f"loss is the class {loss.__name__}, and an instance is needed. Write "
            f"loss={loss.__name__}()."
        )
    if isinstance(loss, Hashable) and loss in FUNCTIONS:
        # Torch's own functions, which average over the batch as its modules do.
        loss = FUNCTIONS[loss]()
    if isinstance(loss, nn.Module):
        return _of_module(loss)
    found = make_loss(loss)
    if isinstance(found, CrossEntropy):
        return Criterion(found, encode=Positions())
    return Criterion(
        found, encode=probabilities if isinstance(found, BinaryCrossEntropy) else None
    )


def _of_module(loss: nn.Module) -> Criterion:
    if isinstance(loss, nn.MultiMarginLoss | nn.MultiLabelMarginLoss):
        raise UnsupportedEstimatorError(
            f"{type(loss).__name__} has no second derivative in torch, and curvature needs one. "
            "Pass a function of (outputs, y) a row that computes it by clamp() and sum(1)."
        )
    if next(loss.parameters(), None) is not None:
        raise UnsupportedEstimatorError(
            f"{type(loss).__name__} has parameters of its own, which are not explained. Make them "
            "parameters of the module, and pass a function of (outputs, y)."
        )
    if type(loss) in CRITERIA:
        return CRITERIA[type(loss)](loss)
    if not hasattr(loss, "reduction"):
        return Criterion(UserLoss(loss))
    return Criterion(TorchLoss(loss), encode=Positions() if isinstance(loss, OF_CLASSES) else None)


def _cross_entropy(loss: nn.CrossEntropyLoss) -> Criterion:
    encode = Positions(loss.ignore_index)
    if not loss.label_smoothing:
        return Criterion(CrossEntropy(), encode=encode, averaged=loss)
    if loss.weight is not None:
        raise UnsupportedEstimatorError(
            "CrossEntropyLoss has weight and label_smoothing, whose mean over a batch is no sum "
            "over its rows. Pass a function of (outputs, y), and the weights as sample_weight."
        )
    return Criterion(OverPositions(loss), encode=encode, averaged=loss)


def _nll(loss: nn.NLLLoss) -> Criterion:
    # Cross entropy of log-probabilities is the same number, and has the curvature of the logits,
    # where -f_y has none.
    averaged = nn.CrossEntropyLoss(
        loss.weight, ignore_index=loss.ignore_index, reduction=loss.reduction
    )
    return replace(_cross_entropy(averaged), normalised=True)


def _mean_squared(loss: nn.MSELoss) -> Criterion:
    return Criterion(SquaredError() if summed(loss) else MeanSquaredError())


def _binary(loss: nn.BCEWithLogitsLoss) -> Criterion:
    if loss.weight is not None or loss.pos_weight is not None:
        return Criterion(TorchLoss(loss))
    per_output = None if summed(loss) else TorchLoss(loss)
    return Criterion(BinaryCrossEntropy(), encode=probabilities, per_output=per_output)


def _binary_of_probabilities(loss: nn.BCELoss) -> Criterion:
    if loss.weight is not None:
        return Criterion(TorchLoss(loss))
    return replace(_binary(nn.BCEWithLogitsLoss(reduction=loss.reduction)), head=to_logit)


CRITERIA: dict[type, Callable[[Any], Criterion]] = {
    nn.CrossEntropyLoss: _cross_entropy,
    nn.NLLLoss: _nll,
    nn.MSELoss: _mean_squared,
    nn.BCEWithLogitsLoss: _binary,
    nn.BCELoss: _binary_of_probabilities,
}

FUNCTIONS: dict[Any, type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
    F.poisson_nll_loss: nn.PoissonNLLLoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.binary_cross_entropy: nn.BCELoss,
}

"""What follows a last layer: what of its outputs is seen, and the loss that matches it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from skinfluence.engines.representers.reconstruction import Activation, Array
from skinfluence.objectives import Problem
from skinfluence.objectives.losses import (
    Logistic,
    PointLoss,
    Rectified,
    SoftLogistic,
    Softmax,
    SoftSoftmax,
    SquaredError,
)
from skinfluence.objectives.losses.logistic import sigmoid, softmax


def _centred(outputs: Array) -> Array:
    return outputs - outputs.mean(axis=1, keepdims=True)


def _rectified(outputs: Array) -> Array:
    return np.maximum(outputs, 0.0)


def _as_it_is(outputs: Array) -> Array:
    return outputs


ACTIVATIONS: dict[str, Activation] = {
    "softmax": Activation(_centred, softmax),
    "sigmoid": Activation(_as_it_is, sigmoid),
    "relu": Activation(_rectified, _rectified),
    "squared": Activation(_as_it_is, _as_it_is),
}

_LOSSES: dict[str, Callable[[int], PointLoss]] = {
    "softmax": SoftSoftmax,
    "sigmoid": SoftLogistic,
    "relu": Rectified,
    "squared": lambda n_outputs: SquaredError(0.5, n_outputs),
}


def matching_loss(activation: str, n_outputs: int) -> PointLoss:
    """The loss that is smallest where a layer has given outputs, as far as they are seen."""
    return _LOSSES[activation](n_outputs)


def activation_of(problems: Sequence[Problem]) -> str:
    """What the losses of a fit make of its outputs: "softmax", "sigmoid" or "squared"."""
    losses = [problem.loss for problem in problems]
    if len(losses) == 1 and isinstance(losses[0], Softmax):
        return "softmax"
    return "sigmoid" if all(isinstance(loss, Logistic) for loss in losses) else "squared"

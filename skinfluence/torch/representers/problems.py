"""The last layer of a trained network as a linear model's own problem."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logit
from torch import nn
from torch.nn import functional as F

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.losses import (
    Logistic,
    PointLoss,
    SoftLogistic,
    Softmax,
    SoftSoftmax,
    SquaredError,
)
from skinfluence.objectives.problem import Problem
from skinfluence.torch import losses
from skinfluence.torch.models.batch_losses import OverPositions, TorchLoss
from skinfluence.torch.models.rows import all_targets
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.representers.layers import Layer

Array = NDArray[np.float64]

# How far from one probabilities may add up to.
NEAR_ONE = 1e-6


def own_penalty(objective: NetworkObjective, layer: Layer) -> tuple[float, float]:
    """The l2 of a layer's weight and of its bias in sum units, as training had them."""
    curvature = objective.penalty_curvature()
    if curvature is None:
        return 0.0, 0.0
    spans = objective.network.spans
    prefix = f"{layer.name}." if layer.name else ""
    found = [
        float(curvature[spans[name]][0]) if (name := f"{prefix}{part}") in spans else 0.0
        for part in ("weight", "bias")
    ]
    return found[0], found[1]


def trained_problem(
    objective: NetworkObjective, layer: Layer, l2: float, intercept_l2: float = 0.0
) -> Problem:
    """``sum_i w_i l_i(f_i W + b) + (l2 / 2) |W|^2`` of a layer.

    Parameters
    ----------
    objective : NetworkObjective
    layer : Layer
    l2, intercept_l2 : float
        In sum units.

    Raises
    ------
    UnsupportedEstimatorError
        If the loss is none of cross entropy, binary cross entropy and squared error.
    """
    loss, weights = objective.loss, objective.weights.numpy()
    K = layer.module.out_features
    y = all_targets(objective.rows)
    penalties = (l2, intercept_l2)
    if isinstance(loss, losses.CrossEntropy | OverPositions):
        point, target = _of_classes(loss, y, K)
        return _problem(point, target, weights, layer, penalties)
    numbers = y.double().reshape(len(y), -1).numpy()
    numbers = numbers[:, 0] if K == 1 else numbers
    scale = _scale(loss, K)
    if isinstance(loss, losses.BinaryCrossEntropy | TorchLoss):
        point, target = _of_two(numbers, K)
        return _problem(point, target, scale * weights, layer, penalties)
    return _problem(SquaredError(scale, K), numbers, weights, layer, penalties)


def _problem(
    loss: PointLoss, y: Array, weights: Array, layer: Layer, penalties: tuple[float, float]
) -> Problem:
    l2, intercept_l2 = penalties
    intercept = layer.intercept()
    free = 0.0 if intercept is None else intercept_l2
    return Problem(loss, y, weights, layer.coef(), intercept, l2=l2, intercept_l2=free)


def _of_classes(loss: Any, y: torch.Tensor, K: int) -> tuple[PointLoss, Array]:
    if not y.is_floating_point():
        if y.ndim > 1:
            raise _unknown(loss, "of several positions of a row")
        smoothing = getattr(getattr(loss, "module", None), "label_smoothing", 0.0)
        y = y.clamp_min(0)  # what torch skips has no weight
        if not smoothing:
            return Softmax(K), y.numpy()
        y = (1 - smoothing) * F.one_hot(y, K).double() + smoothing / K
    elif isinstance(loss, OverPositions) and loss.module.weight is not None:
        raise _unknown(loss, "with a weight for each class")
    if bool(((y < 0) | ((y.sum(1, keepdim=True) - 1).abs() > NEAR_ONE)).any()):
        raise _unknown(loss, "of targets that are no probabilities")
    with np.errstate(divide="ignore"):
        return SoftSoftmax(K), np.log(y.double().numpy())


def _of_two(y: Array, K: int) -> tuple[PointLoss, Array]:
    if K == 1 and bool(np.isin(y, (0.0, 1.0)).all()):
        return Logistic(), y
    return SoftLogistic(K), logit(y)


def _scale(loss: Any, K: int) -> float:
    """What the sum over a row's outputs is multiplied by."""
    if isinstance(loss, losses.SquaredError):
        return loss.scale
    if isinstance(loss, losses.MeanSquaredError):
        return 1.0 / K
    if isinstance(loss, losses.BinaryCrossEntropy):
        return 1.0
    module = getattr(loss, "module", None)
    if isinstance(module, nn.BCEWithLogitsLoss):
        if module.weight is None and module.pos_weight is None:
            return 1.0 if loss.summed else 1.0 / K
        raise _unknown(loss, "with weights")
    raise _unknown(loss, "")


def _unknown(loss: Any, what: str) -> UnsupportedEstimatorError:
    name = type(getattr(loss, "module", getattr(loss, "function", loss))).__name__
    return UnsupportedEstimatorError(
        f"mode='trained' fits the last layer by cross entropy, binary cross entropy or squared "
        f"error of one vector a row, and the loss is {name} {what}".rstrip()
        + ". Use mode='pretrained', which fits it to the model's own outputs."
    )

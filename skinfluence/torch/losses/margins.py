"""Losses of scikit-learn's SGD estimators, one number or several a row."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from skinfluence.torch.losses.base import RowLoss, as_outputs


class Margins(RowLoss):
    """Sum of the binary losses of a row, of labels 1 and -1, one for each output.

    Several classes are as many problems, each against the rest, whose losses add up: problem k
    moves column k of the coefficients only.

    Parameters
    ----------
    name : str
        scikit-learn's name of the loss.
    positive, negative : Tensor of shape (K,)
        Weights of the two classes of each problem, which ``class_weight`` asks for.
    epsilon : float, default=0.1
        Of "huber" and the epsilon-insensitive losses.
    """

    def __init__(self, name: str, positive: Tensor, negative: Tensor, epsilon: float = 0.1):
        self.name, self.epsilon = name, epsilon
        self.positive, self.negative = positive, negative
        self.smooth = name in ("log_loss", "squared_error")
        self.convex = name != "modified_huber" or None

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        signs = as_outputs(y, outputs)
        weights = torch.where(signs > 0, self.positive.to(outputs), self.negative.to(outputs))
        return (weights * LOSSES[self.name](outputs, signs, self.epsilon)).sum(1)


class Numbers(RowLoss):
    """Loss of SGDRegressor, of one output.

    Parameters
    ----------
    name : str
    epsilon : float, default=0.1
    """

    convex = True

    def __init__(self, name: str, epsilon: float = 0.1):
        self.name, self.epsilon = name, epsilon
        self.smooth = name == "squared_error"

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return LOSSES[self.name](outputs, as_outputs(y, outputs), self.epsilon).sum(1)


def _hinge(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    # Unlike relu's, the derivative of clamp at the kink is that of the side that loses, as
    # scikit-learn's is: a perceptron begins there, with all margins 0.
    return (1 - y * outputs).clamp(min=0)


def _perceptron(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    return (-y * outputs).clamp(min=0)


def _squared_hinge(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    return _hinge(outputs, y, epsilon).square()


def _log_loss(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    # Not softplus, which is linear from 20 on and so wrong by 2e-9.
    return -F.logsigmoid(y * outputs)


def _modified_huber(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    margin = y * outputs
    return torch.where(margin >= -1, (1 - margin).clamp(min=0).square(), -4 * margin)


def _squared_error(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    return (outputs - y).square() / 2


def _huber(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    return F.huber_loss(outputs, y, reduction="none", delta=epsilon)


def _epsilon_insensitive(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    return F.relu((outputs - y).abs() - epsilon)


def _squared_epsilon_insensitive(outputs: Tensor, y: Tensor, epsilon: float) -> Tensor:
    return _epsilon_insensitive(outputs, y, epsilon).square()


LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "hinge": _hinge,
    "perceptron": _perceptron,
    "squared_hinge": _squared_hinge,
    "log_loss": _log_loss,
    "modified_huber": _modified_huber,
    "squared_error": _squared_error,
    "huber": _huber,
    "epsilon_insensitive": _epsilon_insensitive,
    "squared_epsilon_insensitive": _squared_epsilon_insensitive,
}

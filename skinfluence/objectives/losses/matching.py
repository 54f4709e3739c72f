"""Losses whose minimum over the outputs is at those of another model: layers are fitted by them.

Targets are that model's outputs before its activation, (..., K), or (...) for K = 1, and the
loss is smallest where both activations agree.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

from skinfluence.objectives.losses.base import Array, PointLoss
from skinfluence.objectives.losses.logistic import OverClasses, sigmoid, softmax
from skinfluence.objectives.losses.ramp import ramp, ramp_change, softplus_change, square_change


class SoftSoftmax(OverClasses):
    """``logsumexp(eta) - q'eta`` with the soft labels q = softmax(y).

    Parameters
    ----------
    n_outputs : int
        Number of classes.

    References
    ----------
    Yeh, Kim, Yen and Ravikumar (2018), Representer point selection for explaining deep neural
    networks, equation 4.
    """

    def _likeliest(self, y):
        """Whether a class is the likeliest of the labels, (..., K)."""
        return np.argmax(y, axis=-1, keepdims=True) == np.arange(self.n_outputs)

    @staticmethod
    def _less(z, own):
        """`z` less its entry at the class that `own` marks."""
        return z - np.where(own, z, 0.0).sum(axis=-1, keepdims=True)

    def value(self, eta: Array, y: Any) -> Array:
        above = self._less(eta, self._likeliest(y))
        return logsumexp(above, axis=-1) - (softmax(y) * above).sum(axis=-1)

    def gradient(self, eta: Array, y: Any) -> Array:
        slope = softmax(eta) - softmax(y)
        own = self._likeliest(y)
        # That of the likeliest class is what the others leave: exact where its p is nearly 1.
        others = np.where(own, 0.0, slope)
        return np.where(own, -others.sum(axis=-1, keepdims=True), slope)

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        own = self._likeliest(y)
        move = self._less(delta, own)
        others = np.where(own, 0.0, softmax(eta))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            inner = (others * np.expm1(move)).sum(axis=-1)
            changed = np.log1p(inner) - (softmax(y) * move).sum(axis=-1)
        # Overflow, or digits lost near -1: the change is large and plain values are accurate.
        trusted = np.isfinite(changed) & (inner > -0.5)
        if trusted.all():
            return changed
        return np.where(trusted, changed, super().change(eta, delta, y))


class Separate(PointLoss):
    """A sum over outputs of losses that know nothing of one another.

    Parameters
    ----------
    n_outputs : int, default=1
    """

    def __init__(self, n_outputs: int = 1):
        self.n_outputs = n_outputs

    def _own(self, y):
        y = np.asarray(y, dtype=np.float64)
        return y[..., None] if self.n_outputs == 1 else y

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        return self.curvature_diagonal(eta, y)[..., None] * np.eye(self.n_outputs)

    def curvature_product(self, eta: Array, y: Any) -> Callable[[Array], Array]:
        bend = self.curvature_diagonal(eta, y)
        return lambda moves: bend * moves


class SoftLogistic(Separate):
    """``log(1 + exp(eta)) - q eta`` with the soft label q = sigmoid(y), of each output."""

    def value(self, eta: Array, y: Any) -> Array:
        y = self._own(y)
        # From the side where the label is, so that neither term is large where the loss is not.
        sign = np.where(y > 0, -1.0, 1.0)
        own = np.logaddexp(0.0, sign * eta) - sigmoid(sign * y) * sign * eta
        return own.sum(axis=-1)

    def gradient(self, eta: Array, y: Any) -> Array:
        y = self._own(y)
        sign = np.where(y > 0, -1.0, 1.0)
        return sign * (sigmoid(sign * eta) - sigmoid(sign * y))

    def curvature_diagonal(self, eta: Array, y: Any) -> Array:
        return sigmoid(eta) * sigmoid(-eta)

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        y = self._own(y)
        sign = np.where(y > 0, -1.0, 1.0)
        move = sign * delta
        return (softplus_change(sign * eta, move) - sigmoid(sign * y) * move).sum(axis=-1)


class Rectified(Separate):
    """``max(0, eta)^2 / 2 - max(0, y) eta``, of each output: it compares what ReLU lets through.

    References
    ----------
    Yeh, Kim, Yen and Ravikumar (2018), Representer point selection for explaining deep neural
    networks, section 3.
    """

    smooth = False

    def value(self, eta: Array, y: Any) -> Array:
        own = 0.5 * np.square(ramp(eta, 0)) - ramp(self._own(y), 0) * eta
        return own.sum(axis=-1)

    def gradient(self, eta: Array, y: Any) -> Array:
        return ramp(eta, 0) - ramp(self._own(y), 0)

    def curvature_diagonal(self, eta: Array, y: Any) -> Array:
        return np.where(eta > 0, 1.0, 0.0)

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        moved = ramp_change(eta, delta, 0)
        squares = square_change(ramp(eta, 0), ramp(eta + delta, 0), moved)
        return (0.5 * squares - ramp(self._own(y), 0) * delta).sum(axis=-1)

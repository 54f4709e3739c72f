"""Log-loss of two classes and of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp

from skinfluence.objectives.losses.base import Array, PointLoss
from skinfluence.objectives.losses.ramp import softplus_change


def sigmoid(u: Array) -> Array:
    """``1 / (1 + exp(-u))``, to full relative precision in both tails."""
    # NumPy's exponential is vectorised, which the one behind scipy.special.expit is not: 20 times.
    with np.errstate(over="ignore"):
        value = np.exp(-u)
    value += 1.0
    return np.divide(1.0, value, out=value)


def softmax(eta: Array) -> Array:
    """Exponentials over their sum along the last axis."""
    value = np.exp(eta - eta.max(axis=-1, keepdims=True))
    value /= value.sum(axis=-1, keepdims=True)
    return value


class Logistic(PointLoss):
    """``log(1 + exp(-s eta))`` with s = 1 for target 1 and s = -1 for target 0."""

    def value(self, eta: Array, y: Any) -> Array:
        return np.logaddexp(0.0, -(2.0 * y - 1.0) * eta[..., 0])

    def gradient(self, eta: Array, y: Any) -> Array:
        sign = 2.0 * y - 1.0
        # -s sigma(-s eta): exact in both tails, which p - y is not.
        return (-sign * sigmoid(-sign * eta[..., 0]))[..., None]

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        p = sigmoid(eta[..., 0])
        return (p * sigmoid(-eta[..., 0]))[..., None, None]

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        sign = 2.0 * y - 1.0
        u, move = -sign * eta[..., 0], -sign * delta[..., 0]
        inner = np.empty(np.broadcast_shapes(u.shape, move.shape))
        with np.errstate(over="ignore", invalid="ignore"):
            np.multiply(np.expm1(move), sigmoid(u), out=inner)
        # Near -1 the logarithm loses digits, and at inf the value: rare, and worth more passes.
        if inner.size and inner.min() > -0.5 and inner.max() < np.inf:
            return np.log1p(inner, out=inner)
        return softplus_change(u, move)


class OverClasses(PointLoss):
    """A loss that is ``logsumexp(eta)`` less something linear in eta, whose curvature is that.

    Parameters
    ----------
    n_outputs : int
        Number of classes.
    """

    shift_invariant = True

    def __init__(self, n_outputs: int):
        self.n_outputs = n_outputs

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        p = softmax(eta)
        outer = -p[..., :, None] * p[..., None, :]
        diagonal = np.arange(self.n_outputs)
        outer[..., diagonal, diagonal] += p
        return outer

    def curvature_diagonal(self, eta: Array, y: Any) -> Array:
        p = softmax(eta)
        return p * (1.0 - p)

    def curvature_product(self, eta: Array, y: Any) -> Callable[[Array], Array]:
        p = softmax(eta)
        return lambda moves: p * (moves - (p * moves).sum(axis=-1, keepdims=True))


class Softmax(OverClasses):
    """``logsumexp(eta) - eta[y]`` with y the position of the class.

    Parameters
    ----------
    n_outputs : int
        Number of classes.
    """

    def _indicator(self, y):
        return np.asarray(y)[..., None] == np.arange(self.n_outputs)

    def value(self, eta: Array, y: Any) -> Array:
        chosen = np.where(self._indicator(y), eta, 0.0).sum(axis=-1)
        return logsumexp(eta, axis=-1) - chosen

    def gradient(self, eta: Array, y: Any) -> Array:
        p = softmax(eta)
        own = self._indicator(y)
        # 1 - p of the own class is the sum of the others: exact where p is nearly 1.
        others = np.where(own, 0.0, p)
        return np.where(own, -others.sum(axis=-1, keepdims=True), p)

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        own = self._indicator(y)
        # Relative to the move of the own class only the others count, and their p is accurate.
        # Class by class, so that memory is walked as outputs of many moves lie in it.
        others = np.where(own, 0.0, softmax(eta))
        chosen = own[..., 0] * delta[..., 0]
        for k in range(1, self.n_outputs):
            chosen += own[..., k] * delta[..., k]
        inner = np.zeros(np.broadcast_shapes(chosen.shape, others.shape[:-1]))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for k in range(self.n_outputs):
                move = delta[..., k] - chosen
                np.expm1(move, out=move)
                inner += others[..., k] * move
            changed = np.log1p(inner)
        # Overflow, or digits lost near -1: the change is large and plain values are accurate.
        trusted = np.isfinite(changed) & (inner > -0.5)
        if trusted.all():
            return changed
        return np.where(trusted, changed, super().change(eta, delta, y))

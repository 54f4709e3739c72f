"""Losses of one number: the margin y eta of a label +-1, or the residual eta - y."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np

from skinfluence.objectives.losses.base import Array, PointLoss
from skinfluence.objectives.losses.ramp import (
    ramp,
    ramp_change,
    ramp_curvature,
    ramp_slope,
    square_change,
)


class ScalarLoss(PointLoss):
    """``l = phi(u)``, with u the margin ``y eta`` or the residual ``eta - y``.

    Attributes
    ----------
    of_margin : bool
        Whether u is the margin.
    """

    of_margin: bool = False

    def _split(self, eta, y):
        """u, and its derivative by eta."""
        if self.of_margin:
            return y * eta[..., 0], y
        return eta[..., 0] - y, 1.0

    @abstractmethod
    def phi(self, u: Array) -> Array:
        """The loss."""

    @abstractmethod
    def slope(self, u: Array) -> Array:
        """Its derivative."""

    @abstractmethod
    def second(self, u: Array) -> Array:
        """Its second derivative."""

    @abstractmethod
    def moved(self, u: Array, move: Array) -> Array:
        """``phi(u + move) - phi(u)`` without cancellation."""

    def value(self, eta: Array, y: Any) -> Array:
        return self.phi(self._split(eta, y)[0])

    def gradient(self, eta: Array, y: Any) -> Array:
        u, sign = self._split(eta, y)
        return (sign * self.slope(u))[..., None]

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        return self.second(self._split(eta, y)[0])[..., None, None]

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        u, sign = self._split(eta, y)
        return self.moved(u, sign * delta[..., 0])

    @property
    def raw(self) -> ScalarLoss:
        """The loss without smoothing, which the estimator minimised."""
        if not self.temperature:
            return self
        plain = object.__new__(type(self))
        plain.__dict__.update(self.__dict__, temperature=0.0, smooth=False)
        return plain


class Hinge(ScalarLoss):
    """``max(0, 1 - y eta)``, smoothed as ``t log(1 + exp((1 - y eta) / t))``.

    Parameters
    ----------
    temperature : float, default=0
        t; the loss rises by at most t log 2, at the kink. 0 leaves the kink.

    References
    ----------
    Koh and Liang (2017), Understanding black-box predictions via influence functions, section 4.2.
    """

    of_margin = True

    def __init__(self, temperature: float = 0.0):
        self.temperature = temperature
        self.smooth = temperature > 0

    def phi(self, u: Array) -> Array:
        return ramp(1.0 - u, self.temperature)

    def slope(self, u: Array) -> Array:
        return -ramp_slope(1.0 - u, self.temperature)

    def second(self, u: Array) -> Array:
        return ramp_curvature(1.0 - u, self.temperature)

    def moved(self, u: Array, move: Array) -> Array:
        return ramp_change(1.0 - u, -move, self.temperature)


class SquaredHinge(ScalarLoss):
    """``max(0, 1 - y eta)^2``."""

    of_margin = True
    smooth = False

    def phi(self, u: Array) -> Array:
        return np.square(ramp(1.0 - u, 0))

    def slope(self, u: Array) -> Array:
        return -2.0 * ramp(1.0 - u, 0)

    def second(self, u: Array) -> Array:
        return 2.0 * ramp_slope(1.0 - u, 0)

    def moved(self, u: Array, move: Array) -> Array:
        return _squared_ramp_change(1.0 - u, -move)


class ModifiedHuber(ScalarLoss):
    """``max(0, 1 - u)^2 - max(0, -1 - u)^2`` of the margin u: linear, -4 u, below -1."""

    of_margin = True
    smooth = False

    def phi(self, u: Array) -> Array:
        return np.where(u < -1.0, -4.0 * u, np.square(ramp(1.0 - u, 0)))

    def slope(self, u: Array) -> Array:
        return -2.0 * np.minimum(ramp(1.0 - u, 0), 2.0)

    def second(self, u: Array) -> Array:
        return np.where((u < 1.0) & (u >= -1.0), 2.0, 0.0)

    def moved(self, u: Array, move: Array) -> Array:
        bent = _squared_ramp_change(1.0 - u, -move) - _squared_ramp_change(-1.0 - u, -move)
        # Both squares are large and nearly alike where both ends are on the line.
        return np.where((u < -1.0) & (u + move < -1.0), -4.0 * move, bent)


class EpsilonInsensitive(ScalarLoss):
    """``max(0, |r| - epsilon)``, smoothed at its kinks as :class:`Hinge` is.

    Parameters
    ----------
    epsilon : float
    temperature : float, default=0
        In the units of the targets.
    """

    def __init__(self, epsilon: float, temperature: float = 0.0):
        self.epsilon = epsilon
        self.temperature = temperature
        self.smooth = temperature > 0

    def _both(self, function, u, *moves):
        t = self.temperature
        right = function(u - self.epsilon, *moves, t)
        left = function(-u - self.epsilon, *(-move for move in moves), t)
        return right, left

    def phi(self, u: Array) -> Array:
        return sum(self._both(ramp, u))

    def slope(self, u: Array) -> Array:
        right, left = self._both(ramp_slope, u)
        return right - left

    def second(self, u: Array) -> Array:
        return sum(self._both(ramp_curvature, u))

    def moved(self, u: Array, move: Array) -> Array:
        return sum(self._both(ramp_change, u, move))


class SquaredEpsilonInsensitive(ScalarLoss):
    """``max(0, |r| - epsilon)^2``.

    Parameters
    ----------
    epsilon : float
    """

    smooth = False

    def __init__(self, epsilon: float):
        self.epsilon = epsilon

    def phi(self, u: Array) -> Array:
        return np.square(ramp(np.abs(u) - self.epsilon, 0))

    def slope(self, u: Array) -> Array:
        return 2.0 * np.sign(u) * ramp(np.abs(u) - self.epsilon, 0)

    def second(self, u: Array) -> Array:
        return 2.0 * ramp_slope(np.abs(u) - self.epsilon, 0)

    def moved(self, u: Array, move: Array) -> Array:
        right = _squared_ramp_change(u - self.epsilon, move)
        return right + _squared_ramp_change(-u - self.epsilon, -move)


class Huber(ScalarLoss):
    """``r^2 / 2`` up to epsilon, ``epsilon |r| - epsilon^2 / 2`` beyond (SGD's "huber").

    Parameters
    ----------
    epsilon : float
    """

    smooth = False

    def __init__(self, epsilon: float):
        self.epsilon = epsilon

    def phi(self, u: Array) -> Array:
        inside = np.minimum(np.abs(u), self.epsilon)
        return inside * (np.abs(u) - 0.5 * inside)

    def slope(self, u: Array) -> Array:
        return np.clip(u, -self.epsilon, self.epsilon)

    def second(self, u: Array) -> Array:
        return np.where(np.abs(u) <= self.epsilon, 1.0, 0.0)

    def moved(self, u: Array, move: Array) -> Array:
        # phi is the integral of its slope, which is a difference of two ramps less epsilon.
        up = _squared_ramp_change(u + self.epsilon, move)
        down = _squared_ramp_change(u - self.epsilon, move)
        bent = 0.5 * (up - down) - self.epsilon * move
        inner, after = np.abs(u) <= self.epsilon, np.abs(u + move) <= self.epsilon
        square = 0.5 * square_change(u, u + move, move)
        outer = (np.minimum(np.abs(u), np.abs(u + move)) > self.epsilon) & (u * (u + move) > 0)
        line = self.epsilon * np.sign(u) * move
        return np.where(inner & after, square, np.where(outer, line, bent))


class Pinball(ScalarLoss):
    """``q e + max(0, -e)`` with e = y - eta, smoothed as ``q e + t log(1 + exp(-e / t))``.

    Parameters
    ----------
    quantile : float
        q.
    temperature : float, default=0
        t, in the units of the targets.
    """

    def __init__(self, quantile: float, temperature: float = 0.0):
        self.quantile = quantile
        self.temperature = temperature
        self.smooth = temperature > 0

    def phi(self, u: Array) -> Array:
        return ramp(u, self.temperature) - self.quantile * u

    def slope(self, u: Array) -> Array:
        return ramp_slope(u, self.temperature) - self.quantile

    def second(self, u: Array) -> Array:
        return ramp_curvature(u, self.temperature)

    def moved(self, u: Array, move: Array) -> Array:
        return ramp_change(u, move, self.temperature) - self.quantile * move


def _squared_ramp_change(u, move):
    difference = ramp_change(u, move, 0)
    return square_change(ramp(u, 0), ramp(u + move, 0), difference)

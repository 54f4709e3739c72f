"""Half deviances of the Tweedie family: Poisson, gamma, and every other power."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
from scipy.special import xlogy

from skinfluence.objectives.losses.base import Array, PointLoss

# Where the exponents are below this, a series of this many terms has all digits.
SERIES_BELOW, SERIES_TERMS = 0.5, 16


class HalfDeviance(PointLoss):
    """Half the deviance of variance function ``mu^power``: 1 is Poisson, 2 gamma, 3 inverse Gauss.

    ``y^(2-p) / ((1-p)(2-p)) - y mu^(1-p) / (1-p) + mu^(2-p) / (2-p)``, and its limits
    ``y log(y / mu) - y + mu`` for p = 1 and ``log(mu / y) + y / mu - 1`` for p = 2.

    Parameters
    ----------
    power : float
        p; not in (0, 1), where no such distribution exists.
    link : {"log", "identity"}, default="log"
        mu is ``exp(eta)`` or eta. The deviance is ``+inf`` where the mean is not positive (for
        p = 0 too: use :class:`SquaredError` with the identity).

    References
    ----------
    McCullagh and Nelder (1989), Generalized Linear Models, chapter 2; Jorgensen (1997), The Theory
    of Dispersion Models, chapter 4.
    """

    def __init__(self, power: float, link: str = "log"):
        self.power = float(power)
        self.link = link
        canonical = {"log": 1.0, "identity": 0.0}[link]
        self.has_expected = self.power != canonical

    def _mean(self, eta):
        """The mean (1 where it would not be positive), and where it is."""
        with np.errstate(over="ignore", under="ignore"):
            mu = np.exp(eta[..., 0]) if self.link == "log" else eta[..., 0]
        valid = mu > 0
        return np.where(valid, mu, 1.0), valid

    def _power(self, mu, exponent):
        with np.errstate(over="ignore", under="ignore"):
            return np.power(mu, exponent)

    def value(self, eta: Array, y: Any) -> Array:
        p = self.power
        mu, valid = self._mean(eta)
        log_mu = eta[..., 0] if self.link == "log" else np.log(mu)
        y = np.asarray(y, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            if p == 1:
                loss = xlogy(y, y) - y * log_mu - y + mu
            elif p == 2:
                loss = log_mu - np.log(y) + y / mu - 1.0
            else:
                own = np.power(np.maximum(y, 0.0), 2 - p) / ((1 - p) * (2 - p))
                pull = np.where(y == 0, 0.0, y * self._power(mu, 1 - p) / (1 - p))
                loss = own - pull + self._power(mu, 2 - p) / (2 - p)
        # Two infinite terms: one of them is of higher order, and it is positive.
        return np.where(valid & ~np.isnan(loss), loss, np.inf)

    def gradient(self, eta: Array, y: Any) -> Array:
        mu, valid = self._mean(eta)
        exponent = 1 - self.power if self.link == "log" else -self.power
        # An infinite loss has no slope to follow.
        return np.where(valid, (mu - y) * self._power(mu, exponent), 0.0)[..., None]

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        p = self.power
        mu, valid = self._mean(eta)
        if self.link == "log":
            c = self._power(mu, 2 - p)
            if not expected:
                c = c + (1 - p) * (mu - y) * self._power(mu, 1 - p)
        else:
            c = self._power(mu, -p)
            if not expected:
                c = c - p * (mu - y) * self._power(mu, -p - 1)
        return np.where(valid, c, 0.0)[..., None, None]

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        mu, valid = self._mean(eta)
        if self.link == "log":
            changed = self._log_change(mu, delta[..., 0], y)
        else:
            after = eta[..., 0] + delta[..., 0]
            valid_after = after > 0
            # The same loss, moved by log(after / before) on the scale of the logarithm.
            ratio = np.where(valid & valid_after, delta[..., 0] / mu, 0.0)
            changed = self._log_change(mu, np.log1p(ratio), y)
            changed = np.where(valid & ~valid_after, np.inf, changed)
            changed = np.where(~valid & valid_after, -np.inf, changed)
            changed = np.where(~valid & ~valid_after, 0.0, changed)
        if not np.isnan(changed).any():
            return changed
        with np.errstate(invalid="ignore"):
            plain = super().change(eta, delta, y)
        plain = np.where(np.isnan(plain), 0.0, plain)
        return np.where(np.isnan(changed), plain, changed)

    def _log_change(self, mu, move, y):
        """Change when log mu moves: ``mu^b ((mu - y) e_b(move) + mu (e_a - e_b)(move))``.

        With a = 2 - p, b = 1 - p and ``e_c(t) = (exp(c t) - 1) / c``.
        """
        a, b = 2 - self.power, 1 - self.power
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            near = (mu - y) * _growth(b, move) + mu * _growth_difference(a, b, move)
            return self._power(mu, b) * near


def _growth(c, t):
    return t if c == 0 else np.expm1(c * t) / c


def _growth_difference(a, b, t):
    """``e_a(t) - e_b(t)`` for a = b + 1, which is t^2 / 2 for small t."""
    small = np.abs(t) * max(abs(a), abs(b)) < SERIES_BELOW
    inner = np.where(small, t, 0.0)
    total = np.zeros_like(inner)
    for k in range(SERIES_TERMS, 1, -1):
        total = total * inner + (a ** (k - 1) - b ** (k - 1)) / factorial(k)
    total = total * inner * inner
    return total if small.all() else np.where(small, total, _growth(a, t) - _growth(b, t))

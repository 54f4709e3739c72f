"""Half deviances of the Tweedie family: Poisson, gamma, and every other power."""

from __future__ import annotations

from math import factorial
from typing import Any

import numpy as np
from scipy.special import xlogy

from skinfluence.objectives.losses.base import Array, PointLoss

# Exponents below this lose more than a digit in a difference; so many terms have them all.
SERIES_BELOW, SERIES_TERMS = 0.1, 11


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

    def _log_mean(self, eta):
        """Logarithm of the mean (0 where it would not be positive), and where it is."""
        if self.link == "log":
            return eta[..., 0], np.ones(eta.shape[:-1], dtype=bool)
        valid = eta[..., 0] > 0
        return np.log(np.where(valid, eta[..., 0], 1.0)), valid

    def value(self, eta: Array, y: Any) -> Array:
        p = self.power
        log_mu, valid = self._log_mean(eta)
        y = np.asarray(y, dtype=np.float64)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            if p == 1:
                loss = xlogy(y, y) - y * log_mu - y + np.exp(log_mu)
            elif p == 2:
                loss = log_mu - np.log(y) + y * np.exp(-log_mu) - 1.0
            else:
                own = np.power(np.maximum(y, 0.0), 2 - p) / ((1 - p) * (2 - p))
                pull = np.where(y == 0, 0.0, y * np.exp((1 - p) * log_mu) / (1 - p))
                loss = own - pull + np.exp((2 - p) * log_mu) / (2 - p)
        # Of two infinite terms the one of higher order is positive.
        return np.where(valid & ~np.isnan(loss), loss, np.inf)

    def gradient(self, eta: Array, y: Any) -> Array:
        log_mu, valid = self._log_mean(eta)
        a, b = self._exponents()
        with np.errstate(over="ignore", under="ignore"):
            slope = np.exp(a * log_mu) - y * np.exp(b * log_mu)
        # An infinite loss has no slope to follow.
        return np.where(valid, slope, 0.0)[..., None]

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        log_mu, valid = self._log_mean(eta)
        a, b = self._exponents()
        shift = 0.0 if self.link == "log" else 1.0  # a derivative by mu takes a power away
        y = np.exp(log_mu) if expected else y
        with np.errstate(over="ignore", under="ignore"):
            c = a * np.exp((a - shift) * log_mu) - b * y * np.exp((b - shift) * log_mu)
        return np.where(valid, c, 0.0)[..., None, None]

    def _exponents(self):
        """a and b of the slope ``mu^a - y mu^b``."""
        if self.link == "log":
            return 2 - self.power, 1 - self.power
        return 1 - self.power, -self.power

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        log_mu, valid = self._log_mean(eta)
        move, valid_after = delta[..., 0], valid
        if self.link == "identity":
            # The same loss, moved by log(after / before) on the scale of the logarithm.
            valid_after = eta[..., 0] + move > 0
            before = np.where(valid, eta[..., 0], 1.0)
            move = np.log1p(np.where(valid & valid_after, move / before, 0.0))
        changed = self._log_change(log_mu, move, y)
        trusted = np.isfinite(changed)
        if trusted.all() and valid.all() and valid_after.all():
            return changed
        with np.errstate(invalid="ignore"):
            plain = super().change(eta, delta, y)
        plain = np.where(np.isnan(plain), 0.0, plain)  # infinite before and after
        return np.where(trusted & valid & valid_after, changed, plain)

    def _log_change(self, log_mu, move, y):
        """Change when log mu moves: ``mu^b ((mu - y) e_b(move) + mu (e_a - e_b)(move))``.

        With a = 2 - p, b = 1 - p and ``e_c(t) = (exp(c t) - 1) / c``.
        """
        a, b = 2 - self.power, 1 - self.power
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            mu = np.exp(log_mu)
            inner = (mu - y) * _growth(b, move) + mu * _growth_difference(a, b, move)
            return np.exp(b * log_mu) * inner


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

"""Huber's loss with the scale as a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence.objectives.losses.base import Array, PointLoss
from skinfluence.objectives.losses.ramp import ramp, ramp_change, square_change


class ConcomitantHuber(PointLoss):
    """``sigma + H(r / sigma) sigma`` with outputs (eta, sigma), r = y - eta.

    H is a square up to epsilon and the line ``2 epsilon |z| - epsilon^2`` beyond. The loss is
    convex in both outputs, and ``+inf`` where sigma is not positive.

    Parameters
    ----------
    epsilon : float

    References
    ----------
    Huber and Ronchetti (2009), Robust Statistics, section 7.7; Owen (2007), A robust hybrid of
    lasso and ridge regression.
    """

    n_outputs = 2
    smooth = False

    def __init__(self, epsilon: float):
        self.epsilon = epsilon

    def _split(self, eta, y):
        sigma = eta[..., 1]
        valid = sigma > 0
        return y - eta[..., 0], np.where(valid, sigma, 1.0), valid

    def value(self, eta: Array, y: Any) -> Array:
        r, sigma, valid = self._split(eta, y)
        inside = np.minimum(np.abs(r), self.epsilon * sigma)
        return np.where(valid, sigma + inside * (2.0 * np.abs(r) - inside) / sigma, np.inf)

    def gradient(self, eta: Array, y: Any) -> Array:
        r, sigma, _ = self._split(eta, y)
        z = np.clip(r / sigma, -self.epsilon, self.epsilon)
        return np.stack([-2.0 * z, 1.0 - np.square(z)], axis=-1)

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        r, sigma, _ = self._split(eta, y)
        z = r / sigma
        direction = np.stack([np.ones_like(z), z], axis=-1)
        c = np.where(np.abs(z) <= self.epsilon, 2.0 / sigma, 0.0)
        return c[..., None, None] * direction[..., :, None] * direction[..., None, :]

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        r, sigma, valid = self._split(eta, y)
        r_after, sigma_after, valid_after = self._split(eta + delta, y)
        r_move, sigma_move = -delta[..., 0], delta[..., 1]
        # A part of the loss is the square r^2 / sigma, from which the square of what lies beyond
        # epsilon sigma is taken away.
        square = _over(r, r_after, r_move, sigma, sigma_after, sigma_move)
        for side in (1.0, -1.0):
            beyond = side * r - self.epsilon * sigma
            move = side * r_move - self.epsilon * sigma_move
            ends = ramp(beyond, 0), ramp(beyond + move, 0), ramp_change(beyond, move, 0)
            square = square - _over(*ends, sigma, sigma_after, sigma_move)
        line = 2.0 * self.epsilon * np.sign(r) * r_move - self.epsilon**2 * sigma_move
        outside = (np.abs(r) > self.epsilon * sigma) & (r * r_after > 0)
        outside &= np.abs(r_after) > self.epsilon * sigma_after
        changed = sigma_move + np.where(outside, line, square)
        changed = np.where(valid & ~valid_after, np.inf, changed)
        changed = np.where(~valid & valid_after, -np.inf, changed)
        return np.where(~valid & ~valid_after, 0.0, changed)


def _over(before, after, move, sigma, sigma_after, sigma_move):
    """``after^2 / sigma_after - before^2 / sigma`` from accurate differences."""
    grown = square_change(before, after, move) / sigma_after
    return grown - np.square(before) * sigma_move / (sigma * sigma_after)

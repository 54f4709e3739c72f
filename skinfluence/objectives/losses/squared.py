"""Squared error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skinfluence.objectives.losses.base import Array, PointLoss


class SquaredError(PointLoss):
    """``scale * |y - eta|^2``, summed over the outputs; targets are (..., K) if K > 1.

    Parameters
    ----------
    scale : float
        1 for Ridge and LinearRegression, 1/2 for Lasso, ElasticNet and SGD.
    n_outputs : int
    """

    def __init__(self, scale: float = 1.0, n_outputs: int = 1):
        self.scale = scale
        self.n_outputs = n_outputs

    def _residual(self, eta, y):
        return eta - (y[..., None] if self.n_outputs == 1 else y)

    def value(self, eta: Array, y: Any) -> Array:
        return self.scale * np.square(self._residual(eta, y)).sum(axis=-1)

    def gradient(self, eta: Array, y: Any) -> Array:
        return 2.0 * self.scale * self._residual(eta, y)

    def curvature(self, eta: Array, y: Any, *, expected: bool = False) -> Array:
        c = 2.0 * self.scale * np.eye(self.n_outputs)
        return np.broadcast_to(c, (*eta.shape, self.n_outputs))

    def curvature_diagonal(self, eta: Array, y: Any) -> Array:
        return np.broadcast_to(2.0 * self.scale, eta.shape)

    def curvature_product(self, eta: Array, y: Any) -> Callable[[Array], Array]:
        return lambda moves: 2.0 * self.scale * moves

    def change(self, eta: Array, delta: Array, y: Any) -> Array:
        # (r + d)^2 - r^2 = d (2 r + d)
        moved = 2.0 * self._residual(eta, y) + delta
        return self.scale * (moved * delta).sum(axis=-1)

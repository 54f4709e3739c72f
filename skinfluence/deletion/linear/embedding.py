"""Rows as points whose dot products are first-order scores."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.moves import leaving
from skinfluence.deletion.linear.part import BasePart, Part
from skinfluence.objectives import build
from skinfluence.objectives.coordinates import Coordinates, RowSpace, Standardised

Array = NDArray[np.float64]

# More parameters than this are left in the coordinates that were convenient.
CANONICAL = 2000


class Embedding:
    """``H^-1/2 g`` in the parameters of the user, for gradients of one part.

    The symmetric root, unlike a Cholesky factor, does not depend on the coordinates. With T from
    coordinates to the user's parameters and H = L L', ``W = T L^-T`` has H^-1 = W W' there; W =
    U s V' gives the root U s U', and it turns ``L^-1 g`` by U V'.

    Parameters
    ----------
    part : Part
    X : ndarray or sparse array of shape (n_train, p)
        Its rows.
    """

    def __init__(self, part: BasePart, X: Any):
        n_user = int(np.prod(part.user_moves(np.zeros((*part.theta.shape, 1))).shape[:2]))
        assert isinstance(part, Part)  # a linear programme is refused before
        self.curvature = part.curvature
        if isinstance(part.objective.coordinates, RowSpace) and n_user <= CANONICAL:
            # What lies outside the span of the rows moves no training row, but tells rows apart.
            user = part.objective.coordinates.to_user(part.theta)
            objective, _ = build(part.problem, X, kind=Standardised)
            theta = objective.coordinates.from_user(user)
            self.curvature = LinearCurvature(objective, theta, expected=part.curvature.expected)
        self._turn = self._turned() if n_user <= CANONICAL else None

    @property
    def coordinates(self) -> Coordinates:
        """Where queries have to be put."""
        return self.curvature.objective.coordinates

    def _turned(self):
        size, n_outputs = self.curvature.theta.shape
        units = self.curvature.half(np.eye(size * n_outputs))  # L^-1, (r, P K)
        lifted = self.coordinates.to_user(units.T.reshape(size, -1))
        lifted = lifted.reshape(len(lifted) * n_outputs, len(units))
        left, _, right = np.linalg.svd(lifted, full_matrices=False)
        return left @ right

    def __call__(self, rows: Array, slopes: Array) -> Array:
        """Embed ``x_z (x) phi'_z``, from dense rows (q, P) in `coordinates` and slopes (q, K)."""
        return self._embed(self.curvature.spread(rows, slopes))

    def training(self) -> Array:
        """Embed what the deletion of each training row takes away."""
        rows = np.arange(self.curvature.objective.n_train)
        return self._embed(leaving(self.curvature, rows).gradient(self.curvature))

    def size(self) -> int:
        """Number of dimensions."""
        return self._embed(np.zeros((self.curvature.theta.size, 0))).shape[1]

    def _embed(self, gradients):
        half = self.curvature.half(gradients)
        return (half if self._turn is None else self._turn @ half).T

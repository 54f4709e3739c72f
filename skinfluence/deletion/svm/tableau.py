"""The system of the variables near a path, solved for those that are free at its start."""

from __future__ import annotations

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices
from skinfluence.deletion.svm.point import LOWER, UPPER, Point, gradient_size, near
from skinfluence.deletion.svm.programme import Programme


class Tableau:
    """What every path from one point starts with.

    With M the kernel of the watched variables, bordered by a row for each sum that is given,
    ``r = M x + q``: x are multipliers and coefficients, r what the sums lack and gradients. Swept
    over the multipliers and the free variables, T says how everything else answers when one of
    them moves, and a right side q becomes h: minus the speeds of what is swept, and the speeds of
    the gradients of what is not.

    Parameters
    ----------
    programme : Programme
    point : Point
        Its optimum, with a free variable for every sum.

    Attributes
    ----------
    variables : ndarray of int of shape (v,)
        The watched ones, the free ones first.
    T : ndarray of shape (k + v, k + v)
        The sums come first.
    n_swept : int
        How many of its rows are swept.
    fading, growing : ndarray of shape (k + v,), (2, k + v)
        h where targets fade, and where the lower or the upper bounds grow, by a unit.
    """

    def __init__(self, programme: Programme, point: Point):
        self.programme, self.point = programme, point
        watched = near(programme, point, everything=True) if point.near is None else point.near
        free = point.free.members
        self.variables = np.concatenate([free, watched.variables[len(free) :]])
        self.place_of = np.full(len(point.beta), -1)
        self.place_of[self.variables] = np.arange(len(self.variables))
        self.k = programme.n_sums
        self.n_swept = self.k + len(free)
        self.rows, self.row = np.unique(programme.row[self.variables], return_inverse=True)
        self.kernel = programme.kernel.block(self.rows)
        self._sweep()
        self.size = gradient_size(programme, point)
        self.products = point.products[self.rows]
        self.g = self.products[self.row] + self.offsets(point.offset) - self.targets
        self.g[: len(free)] = 0.0
        self.fading = self.swept(np.append(np.zeros(self.k), self.targets))
        held = np.zeros((2, programme.kernel.n)) if point.held is None else point.held
        self.held = held[:, self.rows]
        self.sums = np.stack(
            [
                programme.sums(np.where(point.place == place, point.beta, 0.0))[: self.k]
                for place in (LOWER, UPPER)
            ]
        )
        self.growing = self.swept(np.hstack([self.sums, self.held[:, self.row]]))

    @property
    def targets(self) -> Array:
        """p of the watched variables, (v,)."""
        return self.programme.p[self.variables]

    def offsets(self, offset: Array) -> Array:
        """Multipliers of the watched variables, (..., v), from those of the groups."""
        return offset[..., self.programme.group[self.variables]]

    def border(self, variables: Indices) -> Array:
        """Which sum each variable belongs to, (k, len(variables))."""
        return (self.programme.group[variables] == np.arange(self.k)[:, None]).astype(float)

    def swept(self, q: Array) -> Array:
        """Right sides q, (..., k + v), swept."""
        s = self.n_swept
        right = q[..., :s] @ -self.T[:s, :s]
        return np.concatenate([right, q[..., s:] - q[..., :s] @ self.T[:s, s:]], axis=-1)

    def outside(self, variables: Indices) -> Array:
        """h of variables that are not watched, when they move by a unit, (m, k + v)."""
        programme = self.programme
        rows = programme.kernel.rows(programme.row[variables])[:, self.rows]
        return self.swept(np.hstack([self.border(variables).T, rows[:, self.row]]))

    def _sweep(self):
        k, s = self.k, self.n_swept
        M = np.zeros((k + len(self.variables),) * 2)
        M[k:, k:] = self.kernel[np.ix_(self.row, self.row)]
        M[:k, k:] = self.border(self.variables)
        M[k:, :k] = M[:k, k:].T
        inverse = np.linalg.inv(M[:s, :s])
        inverse = 0.5 * (inverse + inverse.T)
        self.T = M
        cross = M[s:, :s] @ inverse
        M[s:, s:] -= cross @ M[:s, s:]
        M[:s, :s], M[s:, :s], M[:s, s:] = -inverse, cross, cross.T

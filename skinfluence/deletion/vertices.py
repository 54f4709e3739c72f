"""Vertices of a piecewise linear objective, and the pivots that lead from one to the best.

The objective is ``sum_j max(up_j r_j, -down_j r_j)`` with ``r = b - [A; I] theta``: one pinball
loss a row of A, and one for every parameter, a row of the identity with target 0. So an L1
penalty is a set of rows, and a parameter without one has a row of slope 0. A minimum is at a
vertex, where the residuals of k independent rows are 0; these rows are its basis.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from skinfluence.deletion.base import Array

Indices = NDArray[np.intp]

# Residuals below this share of the target's scale are ties: rounding, a few hundred terms long.
ZERO_RESIDUAL = 256 * np.finfo(np.float64).eps
# Multipliers this share of all weight outside their bounds cost less than any refit can see.
DUAL_TOLERANCE = 1e-12
# A row that an edge meets at so flat an angle would make the next basis singular.
FLATTEST_CROSSING = 1e-9
# Breakpoints sorted at first: a warm start crosses a handful.
NEAREST = 64


def max_pivots(n_params: int) -> int:
    """Pivots after which rounding, not distance, is to blame. Warm starts need about k."""
    return 1000 + 50 * n_params


@dataclass(frozen=True)
class Slopes:
    """Slopes of the losses of rows, then of parameters, each of shape (n_rows + k,).

    A row without weight has slopes 0: it stays where it is and counts for nothing.
    """

    up: Array
    down: Array
    n_rows: int

    @cached_property
    def bend(self) -> Array:
        """By how much the slope grows where a residual passes 0."""
        return self.up + self.down

    @cached_property
    def tolerance(self) -> float:
        """What a multiplier may be outside its bounds."""
        return DUAL_TOLERANCE * float(self.bend[: self.n_rows].sum())


@dataclass(frozen=True)
class Vertex:
    """A point where the residuals of k independent rows are 0.

    Attributes
    ----------
    basis : ndarray of shape (k,)
        These rows: first rows of A, then rows of the identity (numbers from n on).
    free, fixed : ndarray
        Parameters without and with their row in the basis; the latter are 0.
    active : ndarray of shape (n_free, k)
        The basis' rows of A.
    inverse : ndarray of shape (n_free, n_free)
        Of ``active[:, free]``.
    residuals : ndarray of shape (n + k,)
    ties : ndarray of shape (n + k,)
        Residuals of the generic targets, which order ties between the true ones.
    side : ndarray of shape (n + k,)
        Sign of the residual, ties broken; 0 in the basis.
    theta : ndarray of shape (k,)
    """

    basis: Indices
    free: Indices
    fixed: Indices
    active: Array
    inverse: Array
    residuals: Array
    ties: Array
    side: Array
    theta: Array

    def pull(self, directions: Array) -> Array:
        """``B^-T v`` for each row v of `directions` (m, k), B the basis' rows; (m, k)."""
        rows = directions[:, self.free] @ self.inverse
        return np.hstack([rows, directions[:, self.fixed] - rows @ self.active[:, self.fixed]])

    def edge(self, place: int, side: float) -> Array:
        """Direction in which one residual of the basis grows at rate `side`, others staying 0."""
        direction = np.zeros(len(self.theta))
        if place < len(self.free):
            direction[self.free] = -side * self.inverse[:, place]
            return direction
        parameter = self.fixed[place - len(self.free)]
        direction[parameter] = -side
        direction[self.free] = side * (self.inverse @ self.active[:, parameter])
        return direction


class Programme:
    """Rows and targets of a piecewise linear objective; the slopes come with each question.

    The simplex of Barrodale & Roberts (1973) for weighted, asymmetric losses: leave the basis by
    the worst multiplier and follow the edge past all breakpoints up to the one where the
    objective stops falling. Ties are ordered as if each target had been moved by a generic
    infinitesimal amount, the lexicographic rule, under which no basis can come back.

    Parameters
    ----------
    A : ndarray or CSR matrix of shape (n, k)
        Entries at most about 1 in size, by columns.
    b : ndarray of shape (n,)
        Targets.

    References
    ----------
    Barrodale, I. and Roberts, F. D. K. (1973). An improved algorithm for discrete l1 linear
    approximation. SIAM Journal on Numerical Analysis 10.

    Dantzig, G. B., Orden, A. and Wolfe, P. (1955). The generalized simplex method for minimizing
    a linear form under linear inequality restraints. Pacific Journal of Mathematics 5.
    """

    def __init__(self, A: Any, b: Array) -> None:
        # By columns, products with a vector or two are several times faster.
        self.A = A if sparse.issparse(A) else np.asfortranarray(A)
        self.n_rows, self.n_params = A.shape
        generic = np.random.default_rng(0).uniform(1.0, 2.0, self.n_rows + self.n_params)
        targets = np.concatenate([b, np.zeros(self.n_params)])
        self.targets = np.stack([targets, generic])
        self._size = np.abs(b).max()

    def residuals(self, theta: Array) -> Array:
        """Of rows, then of parameters, (n + k,)."""
        return self.targets[0] - self.products(theta)

    def products(self, theta: Array) -> Array:
        """``[A; I] theta``."""
        return np.concatenate([self.A @ theta, theta])

    def noise(self, theta: Array) -> float:
        """Size below which a residual at `theta` is rounding."""
        return float(ZERO_RESIDUAL * (self._size + np.abs(theta).sum()))

    def objective(self, theta: Array, slopes: Slopes) -> float:
        """Sum of all losses at `theta`."""
        r = self.residuals(theta)
        return float(np.maximum(slopes.up * r, -slopes.down * r).sum())

    # -- vertices ---------------------------------------------------------------------------

    def vertex(self, basis: Indices) -> Vertex:
        """The vertex of a basis of k independent rows."""
        n, k = self.n_rows, self.n_params
        basis = np.concatenate([basis[basis < n], np.sort(basis[basis >= n])])
        rows, fixed = basis[basis < n], basis[basis >= n] - n
        free = np.delete(np.arange(k), fixed)
        active = self.rows(rows)
        inverse: Any = np.linalg.inv(active[:, free])
        points: Array = np.zeros((2, k))  # for the true targets and for the generic ones
        points[:, fixed] = self.targets[:, n + fixed]
        for _ in range(2):  # the second round refines the first
            points[:, free] += (self.targets[:, rows] - points @ active.T) @ inverse.T
        theta, generic = points[0], points[1]
        residuals, ties = self.residuals(theta), self.targets[1] - self.products(generic)
        residuals[np.abs(residuals) <= self.noise(theta)] = 0.0
        residuals[basis] = ties[basis] = 0.0
        side = np.sign(np.where(residuals != 0.0, residuals, ties))
        return Vertex(basis, free, fixed, active, inverse, residuals, ties, side, theta)

    def rows(self, rows: Indices) -> Array:
        """Rows of A, dense."""
        active: Any = self.A[rows]
        return active.toarray() if sparse.issparse(active) else active

    def vertex_near(self, theta: Array) -> Vertex:
        """A vertex whose rows have small residuals at `theta`: its own, if it is one."""
        noise = 1e-9 * (self._size + np.abs(theta).sum())
        is_free = np.abs(theta) > noise
        free = np.flatnonzero(is_free)
        distances = np.abs(self.residuals(theta)[: self.n_rows])
        n_near = min(self.n_rows, 100 + 10 * len(free))
        near = np.argpartition(distances, n_near - 1)[:n_near]
        # Scaled by their nearness, rows at distance 0 win over all others, and among them those
        # that are most independent. Parameters complete the basis where there are too few rows.
        scaled = self.rows(near)[:, free] / (distances[near, None] + noise)
        stand_ins = np.diag(1.0 / (np.abs(theta[free]) + noise))
        candidates = np.concatenate([near, self.n_rows + free])
        if len(free):
            _, order = linalg.qr(np.vstack([scaled, stand_ins]).T, mode="r", pivoting=True)
            candidates = candidates[order[: len(free)]]
        else:
            candidates = candidates[:0]
        return self.vertex(np.concatenate([candidates, self.n_rows + np.flatnonzero(~is_free)]))

    # -- pivots -----------------------------------------------------------------------------

    def gradient(self, vertex: Vertex, slopes: Slopes) -> Array:
        """Minus the gradient of all losses outside the basis, (k,)."""
        slope = np.where(vertex.side > 0, slopes.up, -slopes.down)
        slope[vertex.basis] = 0.0
        return self.A.T @ slope[: self.n_rows] + slope[self.n_rows :]

    def multipliers(self, vertex: Vertex, slopes: Slopes) -> Array:
        """Slopes that the basis' rows must have for the gradient to vanish, (k,).

        The vertex is a minimum if each lies in ``[-down, up]`` of its row, and the only one if
        each lies strictly inside.
        """
        return -vertex.pull(self.gradient(vertex, slopes)[None])[0]

    def descend(self, vertex: Vertex, slopes: Slopes) -> tuple[Vertex, float, int] | None:
        """A minimum, the room its multipliers have, and the pivots that led there.

        The room is the distance of the multipliers from their bounds: positive where the minimum
        is known to be the only one. None where rounding kept the pivots from ending.
        """
        for n_pivots in range(max_pivots(self.n_params)):
            u = self.multipliers(vertex, slopes)
            up, down = slopes.up[vertex.basis], slopes.down[vertex.basis]
            excess = np.maximum(u - up, -down - u)
            place = int(np.argmax(excess))
            if excess[place] <= slopes.tolerance:
                return vertex, -float(excess[place]), n_pivots
            direction = vertex.edge(place, 1.0 if u[place] > up[place] else -1.0)
            entering = self._stop(vertex, direction, -float(excess[place]), slopes)
            if entering is None:
                return None
            basis = vertex.basis.copy()
            basis[place] = entering
            try:
                vertex = self.vertex(basis)
            except np.linalg.LinAlgError:
                return None
        return None

    def _stop(self, vertex, direction, slope, slopes):
        """Row where the objective, falling at `slope` along `direction`, stops falling."""
        speed = self.products(direction)
        flat = FLATTEST_CROSSING * np.abs(direction).max()
        ahead = np.flatnonzero((vertex.side * speed > flat) & (slopes.bend > 0))
        steps = vertex.residuals[ahead] / speed[ahead]
        for n_nearest in (NEAREST, len(steps)):
            near = _nearest(steps, n_nearest)
            rows = ahead[near]
            order = np.lexsort((vertex.ties[rows] / speed[rows], steps[near]))
            rows = rows[order]
            reached = slope + np.cumsum(slopes.bend[rows] * np.abs(speed[rows]))
            stops = np.flatnonzero(reached >= -slopes.tolerance)
            if len(stops):
                return rows[stops[0]]
        return None


def _nearest(steps: Array, n_nearest: int) -> Indices:
    """Places of the `n_nearest` smallest steps, and of those that tie with the last of them."""
    if n_nearest >= len(steps):
        return np.arange(len(steps))
    return np.flatnonzero(steps <= np.partition(steps, n_nearest)[n_nearest])

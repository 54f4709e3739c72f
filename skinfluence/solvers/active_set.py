"""Which entries of theta move, where to, and what stops at zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skinfluence.objectives.objective import Objective
from skinfluence.solvers.dense import DenseInverse

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

# A gradient outside the range of the curvature counts from this share of its terms on.
OUTSIDE = 1e-9
# So does what a step leaves of the gradient: all of it is solved for unless there is no curvature.
UNSOLVED = 1e-3
# Curvature below this share of the largest is rounding error.
FLAT = 1e-13
EPS = float(np.finfo(np.float64).eps)
# Entries that may leave zero at once, however few are off zero.
ENTERING = 10


def feasible(objective: Objective, theta: Array) -> Array:
    """The nearest theta that the constraints allow."""
    theta = np.where(objective.free, theta, 0.0)
    return np.where(objective.positive, np.maximum(theta, 0.0), theta)


def active_entries(objective: Objective, theta: Array, violated: Array) -> Mask:
    """Smooth entries, those off zero, and the worst of those that want to leave it, (P, K)."""
    kink = objective.kinked
    group = (objective.penalty.l21 > 0)[:, None]
    active = objective.moving(theta)
    # A group leaves zero by another step: its norm has no second derivative there.
    wanting = np.where(active | group, 0.0, np.abs(violated)).ravel()
    limit = max(ENTERING, int((active & kink).sum()))
    if not objective.penalty.l2[kink].all():
        # More entries than outputs have directions that no output sees: they come one by one.
        limit = min(limit, max(1, objective.n_train * theta.shape[1] - int(active.sum())))
    if np.count_nonzero(wanting) > limit:
        wanting[np.argpartition(wanting, -limit)[:-limit]] = 0.0
    return active | (wanting > 0).reshape(active.shape)


class Curvature:
    """The Hessian over the active entries, inverted so that steps go down.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (P, K)
    active : ndarray of bool of shape (P, K)
    """

    def __init__(self, objective: Objective, theta: Array, active: Mask):
        self.active = active
        null = objective.unseen_shifts(active)
        matrix = objective.hessian(theta, entries=active)
        self.inverse = DenseInverse(matrix, null)
        if not self.inverse.definite and objective.loss.has_expected:
            matrix = objective.hessian(theta, expected=True, entries=active)
            self.inverse = DenseInverse(matrix, null)
        self.objective, self.matrix, self.null = objective, matrix, null
        self.straight = False  # whether the last step is a direction rather than a length

    def step(self, theta: Array, violated: Array, scale: Array, *, trusted: bool = True) -> Array:
        """The Newton step of all entries, (P, K), from the violation and the size of its terms.

        Where it is not `trusted`, or leaves much of the gradient, or the matrix is indefinite,
        it follows what has no curvature first.
        """
        slope = violated[self.active]
        slope -= self.null @ (self.null.T @ slope)
        room = np.maximum(OUTSIDE * scale[self.active], UNSOLVED * np.abs(slope).max(initial=0.0))
        self.straight = False
        if trusted and self.inverse.definite:
            move = -self.inverse(slope[:, None])[:, 0]
            left = np.abs(self.matrix @ move + slope)
            if not (left > room).any():
                return self._embedded(move)
        values, vectors = linalg.eigh(self.matrix)
        size, along = np.abs(values), vectors.T @ slope
        flat = size <= FLAT * size.max()
        down = vectors[:, flat] @ along[flat]
        if not (np.abs(down) > room).any():
            size[flat] = np.inf
            return self._embedded(-vectors @ (along / size))
        return self._straight_down(theta, down, 1.0 / max(size.max(), EPS))

    def _straight_down(self, theta, down, unit):
        """To the next kink, where nothing curves, or who knows how far."""
        step = self._embedded(-down)
        step[np.abs(step) <= 1e-12 * np.abs(step).max(initial=0.0)] = 0.0
        length = first_kink(self.objective, theta, step)
        self.straight = length == np.inf
        return step * (length if length < np.inf else unit)

    def _embedded(self, move):
        step = np.zeros(self.active.shape)
        step[self.active] = move - self.null @ (self.null.T @ move)
        return step


def newton_step(
    objective: Objective, theta: Array, violated: Array, scale: Array
) -> tuple[Curvature, Array]:
    """The curvature over the entries that can move together, and their step.

    An entry that wants to leave zero downhill alone may be sent uphill by the others: it stays.
    """
    active = active_entries(objective, theta, violated)
    single = objective.kinked & (objective.penalty.l21 == 0)[:, None]
    while True:
        curvature = Curvature(objective, theta, active)
        step = curvature.step(theta, violated, scale)
        wrong = single & active & (theta == 0) & (step * violated >= 0)
        if not wrong.any():
            return curvature, step
        active = active & ~wrong


def project(objective: Objective, theta: Array, step: Array) -> Array:
    """theta + step, where what would pass its kink stops there."""
    moved = theta + step
    single = objective.kinked & (objective.penalty.l21 == 0)[:, None]
    moved[single & (theta * moved < 0)] = 0.0
    groups = (objective.penalty.l21 > 0) & (theta != 0).any(axis=1)
    moved[groups & ((theta * moved).sum(axis=1) <= 0)] = 0.0
    return moved


def first_kink(objective: Objective, theta: Array, step: Array) -> float:
    """Length of `step` at which the first entry off zero meets its kink; infinite if none does."""
    single = objective.kinked & (objective.penalty.l21 == 0)[:, None]
    ahead = single & (theta * step < 0)
    # A little beyond, so that it stops at zero exactly.
    return float((-theta[ahead] / step[ahead]).min(initial=np.inf)) * (1.0 + 1e-12)


def lengths(kink: float) -> Iterator[float]:
    """1, 1/2, 1/4, ..., soon in tenths, and the length at which the first entry meets its kink.

    Where curvature has all but died out a step may be too long by many orders of magnitude.
    """
    length = 1.0
    while length > 1e-60:
        yield length
        next_length = length * (0.5 if length > 1e-3 else 0.1)
        length = kink if next_length < kink < length else next_length


def entering_groups(
    objective: Objective, theta: Array, violated: Array, scale: Array
) -> Array | None:
    """The step of groups of outputs that leave zero; None while others are further off.

    Each alone would go by its violation over its largest curvature; together they share that.
    """
    group = (objective.penalty.l21 > 0) & ~(theta != 0).any(axis=1)
    size = np.abs(violated)
    ratio = np.divide(size, scale, out=np.zeros_like(size), where=size > 0).max(axis=1)
    if not group.any() or ratio[group].max() < ratio[~group].max(initial=0.0):
        return None
    wanting = np.flatnonzero(group & (ratio > 0))
    limit = max(ENTERING, int((theta != 0).any(axis=1).sum()))
    wanting = np.sort(wanting[np.argsort(-ratio[wanting], kind="stable")[:limit]])
    if not len(wanting):
        return None
    entries = np.zeros(theta.shape, dtype=bool)
    entries[wanting] = True
    blocks = objective.hessian(theta, entries=entries)
    step, k = np.zeros_like(theta), theta.shape[1]
    for number, row in enumerate(wanting):
        own = slice(number * k, (number + 1) * k)
        step[row] = -violated[row] / (len(wanting) * np.trace(blocks[own, own]))
    return step

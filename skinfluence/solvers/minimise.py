"""The minimum of an objective to the rounding floor: Newton on the entries that are off zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinfluence.objectives.objective import Objective
from skinfluence.solvers.active_set import (
    Curvature,
    active_entries,
    entering_groups,
    feasible,
    first_kink,
    lengths,
    newton_step,
    project,
)
from skinfluence.solvers.stationarity import gradient_scale, largest_ratio, violation

Array = NDArray[np.float64]

EPS = float(np.finfo(np.float64).eps)
# What a step must gain, as a share of what its slope promises (Armijo).
GAIN = 1e-4
# A point that cannot be improved is a minimum below this stationarity.
RESOLVED = 1e-7
# A full step that cuts the violation to this share leaves a curvature that is good for another.
KEEP = 1e-2
# Near a minimum steps are small against the outputs. Three that are not: there is none.
SMALL, NEAR, LARGE_STEPS = 1e-2, 1e-8, 3
# All losses together, against those of theta = 0, where classes are separated.
VANISHED = 1e-13
# A step without curvature is not stretched beyond this.
FAR = 1e18
BISECTIONS = 8
# Unmatched by progress, so many trials or steps among rounding errors end the search.
IDLE = 3


@dataclass(frozen=True)
class Minimum:
    """Where minimisation ended.

    Parameters
    ----------
    theta : ndarray of shape (P, K)
        Entries that a penalty or a constraint holds at zero are 0.0 exactly.
    start, stationarity : float
        Of the start and of `theta`; see :func:`~skinfluence.solvers.stationarity.stationarity`.
    n_iter : int
        Newton steps.
    converged : bool
        False where the steps ran out or where there is no minimum (separable classes without a
        penalty, whose parameters grow without end).
    """

    theta: Array
    start: float
    stationarity: float
    n_iter: int
    converged: bool


def minimise(
    objective: Objective, theta: Array, *, max_iter: int = 200, tol: float = 1e-14
) -> Minimum:
    """Minimise F from `theta`.

    Newton's method with backtracking. With an l1 or group penalty or theta >= 0 it acts on the
    entries off zero, with signs held: those that would change sign stop at zero, and the worst of
    those whose slope exceeds the penalty join. Near the minimum, where differences of F are
    rounding errors, a step counts if it lowers the violation. Where the loss is not convex,
    negative curvature is replaced by its expectation, or by its size.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (P, K)
        A start; that of the full fit saves steps.
    max_iter : int, default=200
    tol : float, default=1e-14
        Stationarity at which to stop. Where rounding does not allow it, the smallest is taken.

    Returns
    -------
    minimum : Minimum
    """
    with np.errstate(all="ignore"):  # trials may be infeasible
        return _Search(objective, theta, tol).run(max_iter)


@dataclass(frozen=True)
class _Point:
    """Parameters, and how far from a minimum they are."""

    theta: Array
    violated: Array
    scale: Array
    ratio: float

    @classmethod
    def at(cls, objective: Objective, theta: Array, floor: Array | float = 0.0) -> _Point:
        violated = violation(objective, theta)
        scale = gradient_scale(objective, theta) + floor
        return cls(theta, violated, scale, largest_ratio(violated, scale))


class _Search:
    """State of one minimisation."""

    def __init__(self, objective: Objective, theta: Array, tol: float):
        self.objective, self.tol = objective, tol
        self.point = self.best = _Point.at(objective, feasible(objective, theta))
        # Targets of zero leave nothing to compare to but where we came from.
        self.floor = EPS * self.point.scale
        self.curvature: Curvature | None = None
        self.idle = self.large_steps = 0
        self.endless = False  # whether F has been seen to have no minimum

    def run(self, max_iter: int) -> Minimum:
        n_iter, start = 0, self.point.ratio
        while self.point.ratio > self.tol and n_iter < max_iter and self._advance():
            n_iter += 1
        resolved = self.best.ratio <= max(RESOLVED, self.tol) and not self.endless
        end = self.best if resolved else self.point
        return Minimum(end.theta, start, end.ratio, n_iter, resolved)

    def _advance(self) -> bool:
        """Take one step; False where there is none, or no minimum to step to."""
        before, reused = self.point, self.curvature is not None
        moved = self._line_search(self._step())
        if moved is None and not reused:
            moved = self._line_search(self._cautious_step())
        if moved is None:
            self.curvature = None
            return reused
        self.point, share, full, rounding = moved
        refining = before.ratio < NEAR and share < SMALL
        quick = full and self.point.ratio < KEEP * before.ratio
        if not ((refining or quick) and self._same_entries()):
            self.curvature = None
        self.large_steps = self.large_steps + 1 if before.ratio < NEAR and share > SMALL else 0
        self.endless |= self.large_steps >= LARGE_STEPS or self._vanishes()
        better = self.point.ratio < 0.5 * self.best.ratio
        # Where F all but vanishes its gains can be noise and not look it.
        still = rounding or self.best.ratio < RESOLVED
        self.idle = self.idle + 1 if still and not better else 0
        if self.point.ratio < self.best.ratio:
            self.best = self.point
        return self.idle < IDLE and not self.endless

    def _step(self) -> Array:
        point = self.point
        if self.curvature is not None:
            return self.curvature.step(point.theta, point.violated, point.scale)
        entering = entering_groups(self.objective, point.theta, point.violated, point.scale)
        if entering is not None:
            return entering
        self.curvature, step = newton_step(
            self.objective, point.theta, point.violated, point.scale
        )
        return step

    def _cautious_step(self) -> Array:
        """The step for a curvature that nearly died out in some direction, and misled Newton's."""
        point = self.point
        if self.curvature is None or point.ratio <= RESOLVED:
            return np.zeros_like(point.theta)
        return self.curvature.step(point.theta, point.violated, point.scale, trusted=False)

    def _same_entries(self) -> bool:
        """Whether the curvature at hand is that of the entries that can still move."""
        if self.curvature is None or not self.objective.loss.smooth:
            return False
        active = active_entries(self.objective, self.point.theta, self.point.violated)
        at_kink = active & self.objective.kinked & (self.point.theta == 0)
        return np.array_equal(active, self.curvature.active) and not at_kink.any()

    def _line_search(self, step: Array) -> tuple[_Point, float, bool, bool] | None:
        """The new point, its step against the outputs, whether all of it, and of rounding size."""
        objective, theta = self.objective, self.point.theta
        rounding = 4.0 * EPS * objective.size(theta)
        blurred, rejected = 0, 1.0
        for length in lengths(first_kink(objective, theta, step)):
            moved, slope, change = self._trial(step, length)
            gains = slope < 0 and change <= GAIN * slope
            if not gains and not change <= rounding:
                rejected = length
                continue
            if gains and length < 1.0 and not objective.loss.smooth:
                moved = self._between(step, length, rejected)
            if gains and length == 1.0 and self.curvature is not None and self.curvature.straight:
                moved = self._further(step, moved, change, rounding)
            point = _Point.at(objective, theta + moved, self.floor)
            if gains or point.ratio < self.point.ratio:
                return point, _share(objective, theta, moved), length == 1.0, -slope <= rounding
            blurred += 1
            if blurred > IDLE:
                return None
        return None

    def _trial(self, step: Array, length: float) -> tuple[Array, float, float]:
        """The move by a length of `step`, what its slope promises, and by how much F changes."""
        theta = self.point.theta
        moved = project(self.objective, theta, length * step) - theta
        slope = float((self.point.violated * moved).sum())
        return moved, slope, self.objective.change(theta, moved)

    def _further(self, step: Array, moved: Array, change: float, rounding: float) -> Array:
        """The move as far along a step without curvature as F goes on falling."""
        length = 2.0
        while length < FAR:
            further, slope, total = self._trial(step, length)
            if not total <= change + GAIN * slope:
                break
            moved, change, length = further, total, 2.0 * length
        # A smooth loss that levels out does so for ever.
        level = length >= FAR or total <= change + rounding
        self.endless |= level and self.objective.loss.smooth
        return moved

    def _between(self, step: Array, length: float, rejected: float) -> Array:
        """The best move up to the last length that was too much, where curvature jumps between."""
        moved, _, change = self._trial(step, length)
        for _ in range(BISECTIONS):
            middle = 0.5 * (length + rejected)
            further, _, total = self._trial(step, middle)
            if total < change:
                length, moved, change = middle, further, total
            else:
                rejected = middle
        return moved

    def _vanishes(self) -> bool:
        """Whether all losses die out where no minimum is."""
        start = self.objective.value(np.zeros_like(self.point.theta))
        value = self.objective.value(self.point.theta)
        vanished = 0.0 <= value < VANISHED * start < np.inf
        return self.point.ratio > RESOLVED and vanished


def _share(objective, theta, moved):
    size = np.abs(objective.outputs(theta)).max(initial=0.0)
    change = np.abs(objective.outputs(moved)).max(initial=0.0)
    return change / size if size else 0.0

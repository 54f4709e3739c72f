"""Linear models with a kinked loss and an l2 penalty, deleted along the path of their optimum."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence import _loops
from skinfluence.deletion.linear.part import BasePart, Notes
from skinfluence.deletion.linear.queries import known
from skinfluence.deletion.svm.each import follow_each
from skinfluence.deletion.svm.features import FeatureRows
from skinfluence.deletion.svm.point import gradient_size, violation
from skinfluence.deletion.svm.polish import polish
from skinfluence.deletion.svm.programme import Motion, Programme
from skinfluence.objectives import Objective, Problem
from skinfluence.objectives.design import Design, SparseDesign
from skinfluence.objectives.losses import EpsilonInsensitive, Hinge

Array = NDArray[np.float64]

# Shares of a box within which a coefficient of the smoothed fit is taken to be at its end.
NEAR = 0.01


def has_path(problem: Problem) -> bool:
    """Whether the kinked problem is a quadratic programme whose optimum can be followed."""
    kinked = isinstance(problem.loss, Hinge | EpsilonInsensitive)
    smooth = np.all(np.asarray(problem.l2) > 0) and not (problem.l21 or problem.positive)
    l1 = np.any(problem.l1) or problem.intercept_l1
    return bool(kinked and smooth and not l1)


class KinkedFit:
    """The exact minimum of ``sum_i w_i l(f_i) + m sum_p l2_p theta_p^2 / 2``, l with kinks.

    With ``beta_i = -w_i l'_i`` from the slopes that a kink has, ``m l2_p theta_p = (X'beta)_p``:
    beta is the optimum of the programme of a support vector machine with the kernel
    ``K = X diag(1 / l2) X'``, whose targets p and multiplier b are m times those of the outputs f,

        m f = K beta + m b.

    A parameter without a penalty is an intercept, and makes the coefficients sum to 0. Where the
    loss is a mean, m falls with a row, so that all targets move while it goes.

    Parameters
    ----------
    objective : Objective
        In coordinates; its loss kinked or smoothed.
    theta : ndarray of shape (P, 1)
        Near the minimum, such as that of the smoothed loss.
    start : ndarray of shape (n,), default=None
        Coefficients to start from, where there are better ones than `theta` says.

    Attributes
    ----------
    theta : ndarray of shape (P, 1)
        The minimum.
    point : Point
    gap : float
        By how much `theta` violates the conditions of optimality, relative to the size of the
        gradients: rounding.
    """

    def __init__(self, objective: Objective, theta: Array, *, start: Array | None = None):
        self.objective = objective
        self.held = np.flatnonzero(objective.weights > 0)
        l2 = objective.penalty.l2[:, 0]
        self._penalised = l2 > 0
        self._scale = 1.0 / np.sqrt(l2[self._penalised])
        self.kernel = FeatureRows(self._features(objective.design.take(self.held)))
        self.programme = self._programme()
        beta = self._coefficients(theta) if start is None else start
        self.point, _ = polish(self.programme, self._in_boxes(beta[self.held]))
        beta = self.programme.on_rows(self.point.beta)[:, None]
        self.theta = self._theta(beta, self.point.offset[:, None], np.array(objective.m))
        size = gradient_size(self.programme, self.point)
        self.gap = violation(self.programme, self.point) / size if size else 0.0

    # -- the programme ----------------------------------------------------------------------------

    def _features(self, design: Design) -> Any:
        """Coordinates with a penalty, in its units: rows whose products are the kernel."""
        if isinstance(design, SparseDesign):
            rows = sparse.csr_array(design.rows, copy=True)
            p = rows.shape[1]
            rows.data *= self._scale[:p][rows.indices]
            if design.intercept and self._penalised[-1]:
                column = np.full((rows.shape[0], 1), self._scale[-1])
                rows = sparse.csr_array(sparse.hstack([rows, column]))
            return rows
        return design.dense()[:, self._penalised] * self._scale

    def features(self, rows: Array) -> Array:
        """Dense rows in coordinates, (b, P), in the units of the kernel."""
        return rows[:, self._penalised] * self._scale

    def features_of(self, places: NDArray[np.intp]) -> Array:
        """Rows of the programme in the units of the kernel, dense."""
        rows = self.kernel.Z[places]
        return rows if isinstance(rows, np.ndarray) else rows.toarray()

    def user_coefficients(self, features: Array) -> Array:
        """The user's coefficients of functions of the features, (b, p [+ 1])."""
        theta = np.zeros((len(features), len(self._penalised)))
        theta[:, self._penalised] = features * self._scale
        return self.objective.coordinates.to_user(theta.T).T

    @property
    def _loss(self):
        return self.objective.loss

    def _programme(self):
        objective, m = self.objective, self.objective.m
        y, limits = objective.y[self.held], objective.weights[self.held]
        if isinstance(self._loss, Hinge):
            side, row, p = y, np.arange(len(y)), y
        elif self._loss.epsilon == 0:
            side, row, p = np.zeros(len(y)), np.arange(len(y)), y
        else:
            side, row = np.repeat([1.0, -1.0], len(y)), np.tile(np.arange(len(y)), 2)
            p = np.concatenate([y - self._loss.epsilon, y + self._loss.epsilon])
        return Programme(
            self.kernel,
            row=row,
            group=np.zeros(len(row), dtype=np.intp),
            p=m * p,
            lo=np.where(side > 0, 0.0, -limits[row]),
            hi=np.where(side < 0, 0.0, limits[row]),
            c=np.zeros(1),
            summed=not self._penalised.all(),
        )

    def _coefficients(self, theta):
        """Coefficients of the rows at a point near the minimum of the smoothed loss, (n,)."""
        objective = self.objective
        slopes = self._loss.gradient(objective.outputs(theta), objective.y)[:, 0]
        return -objective.weights * slopes

    def _in_boxes(self, beta):
        """Coefficients of the variables, from those of the rows."""
        programme = self.programme
        beta = np.clip(beta[programme.row], programme.lo, programme.hi)
        near = NEAR * (programme.hi - programme.lo)
        beta = np.where(beta - programme.lo < near, programme.lo, beta)
        return np.where(programme.hi - beta < near, programme.hi, beta)

    def _theta(self, beta: Array, offset: Array, m: Array) -> Array:
        """Parameters, (P, b), from coefficients of rows, multipliers, and the m of each."""
        theta = np.zeros((len(self._penalised), beta.shape[1]))
        theta[self._penalised] = self._scale[:, None] * self.kernel.features(beta) / m
        theta[~self._penalised] = offset[0] / m
        return theta

    # -- deletions --------------------------------------------------------------------------------

    def motion(self, rows: NDArray[np.intp]) -> Motion:
        """How the programme changes when training rows go."""
        objective, programme = self.objective, self.programme
        own = np.searchsorted(self.held, rows[np.isin(rows, self.held)])
        motion = Motion(np.zeros(1), programme.variables_of(own))
        motion.fade = objective.m_share[rows].sum() / objective.m
        if objective.rebalance is not None:
            removed = objective.rebalance.removed_by(rows).sum(axis=1, keepdims=True)
            self._grow(motion, objective.rebalance.ratios(removed)[:, 0] - 1.0)
        return motion

    @cached_property
    def _weight_group(self):
        return known(self.objective.rebalance).group_of_row[self.held]

    def _grow(self, motion, rates):
        """Boxes follow class weights, which are those of signs where the loss is of margins."""
        programme = self.programme
        each = rates[self._weight_group][programme.row]
        if isinstance(self._loss, Hinge):
            positive = programme.hi > 0
            negative_rate, positive_rate = each[~positive][:1].sum(), each[positive][:1].sum()
            motion.growth = float(negative_rate), float(positive_rate)
            return
        motion.dlo, motion.dhi = each * programme.lo, each * programme.hi

    def idle(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Which of `rows` change nothing at all when they go, (b,)."""
        objective, programme = self.objective, self.programme
        settled = len(self.point.free.groups) == programme.n_sums
        if objective.rebalance is not None or not settled:
            return np.zeros(len(rows), dtype=bool)
        size = np.zeros(objective.n_train)
        size[self.held] = programme.on_rows(np.abs(self.point.beta))
        return (size[rows] == 0.0) & (objective.m_share[rows] == 0.0)

    def moves(self, groups: Sequence[NDArray[np.intp]]) -> tuple[Array, NDArray[np.bool_]]:
        """Change of theta without each of some groups of rows, (P, b), and whether it ends."""
        point, programme = self.point, self.programme
        ends = follow_each(programme, point, [self.motion(rows) for rows in groups])
        m = self.objective.m
        left = m - np.array([self.objective.m_share[rows].sum() for rows in groups])
        moved = self._theta(ends.beta, ends.offset, left)
        return moved + self.theta * (m / left - 1.0), ends.complete


class KinkedPart(BasePart):
    """Exact moves of a problem with a kinked loss.

    Parameters
    ----------
    problem, objective, notes
        As in :class:`BasePart`.
    fit : KinkedFit
    """

    def __init__(self, problem: Problem, objective: Objective, fit: KinkedFit, notes: Notes):
        super().__init__(problem, objective, fit.theta, "exact", notes)
        self.fit = fit

    def moves(self, rows: NDArray[np.intp]) -> Array:
        found = np.zeros((len(self.theta), 1, len(rows)))
        moving = np.flatnonzero(~self.fit.idle(rows))
        for part in _loops.slices(len(moving), self._block()):
            here = moving[part]
            found[:, 0, here], complete = self.fit.moves(list(rows[here, None]))
            self.notes.failed.update(rows[here[~complete]].tolist())
        return found

    def _block(self):
        """Rows whose changes of all coefficients fit into a part of the memory."""
        return int(0.25 * _loops.memory_budget() / (8.0 * len(self.fit.held)))

    def group_moves(self, rows: NDArray[np.intp]) -> Array:
        move, complete = self.fit.moves([rows])
        if not complete[0]:
            self.notes.failed_groups.add(rows.tobytes())
        return move[:, :, None]

    def leverage(self, rows: NDArray[np.intp]) -> Array:
        # How hard a row pulls times how far it stands out.
        fit = self.fit
        pull = np.zeros(self.objective.n_train)
        size = fit.programme.on_rows(np.abs(fit.point.beta))
        pull[fit.held] = size * np.sqrt(fit.kernel.squares())
        return pull[rows]

    def report(self) -> dict[str, Any]:
        return {"n_free": len(self.fit.point.free)}

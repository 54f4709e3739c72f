"""Replacements for which the coordinates of the training rows were not made."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.changes import Incoming
from skinfluence.deletion.linear.part import BasePart, Part
from skinfluence.objectives import Objective, Problem, build
from skinfluence.objectives.coordinates import Coordinates, RowSpace
from skinfluence.objectives.design import DenseDesign, Design, SparseDesign
from skinfluence.solvers.minimise import minimise

Array = NDArray[np.float64]

# A row lies in the span of others if no more than this share of it is left outside.
OUTSIDE = 1e-10
# A direction is no other one if it lies in the span but for this share.
LITTLE = 0.1


class Plain(Coordinates):
    """The parameters of the user, as coordinates."""

    def __init__(self, n_features: int, *, intercept: bool):
        self.intercept = intercept
        self.options = {"intercept": intercept, "centre": False}
        self.scales = np.append(np.ones(n_features), [0.0] * intercept)

    def design(self, X: Any) -> Design:
        if sparse.issparse(X):
            return SparseDesign(X, self.intercept)
        return DenseDesign(np.hstack([X, np.ones((X.shape[0], 1))]) if self.intercept else X)

    def to_user(self, theta: Array) -> Array:
        return theta

    def from_user(self, theta: Array) -> Array:
        return theta


def stacked(X: Any, new: Any) -> Any:
    """Training rows, and new ones behind them."""
    if sparse.issparse(X):
        return sparse.vstack([X, sparse.csr_array(new)], format="csr")
    return np.vstack([X, new.toarray() if sparse.issparse(new) else new])


def outside_parts(coordinates: RowSpace, X: Any) -> Array:
    """What of the rows of X, shifted as the coordinates shift them, they do not see, (b, p)."""
    rows = X.toarray() if sparse.issparse(X) else np.asarray(X)
    return beyond(coordinates, rows if coordinates.shift is None else rows - coordinates.shift)


def beyond(coordinates: RowSpace, vectors: Array) -> Array:
    """What of vectors (b, p) lies outside the span; 0 where it is rounding."""
    last = np.zeros((int(coordinates.intercept), len(vectors)))
    within = coordinates.to_user(coordinates.from_user(np.vstack([vectors.T, last])))
    left = vectors - within[: vectors.shape[1]].T
    left[np.linalg.norm(left, axis=1) <= OUTSIDE * np.linalg.norm(vectors, axis=1)] = 0.0
    return left


def unpenalised(objective: Objective) -> bool:
    """Whether nothing but rows holds the coefficients."""
    penalty = objective.penalty
    held = penalty.l2.any() or penalty.l1.any() or penalty.l21.any() or objective.positive.any()
    return not held


class Widened(Coordinates):
    """Coordinates of a row space, and of what other rows have outside of it.

    Parameters
    ----------
    base : RowSpace
    outside : ndarray of shape (b, p)
        From :func:`outside_parts`.
    """

    def __init__(self, base: RowSpace, outside: Array):
        self.base, self.intercept, self.options = base, base.intercept, base.options
        size = np.linalg.norm(outside, axis=1, keepdims=True)
        units = outside / np.where(size > 0, size, 1.0)
        directions, sizes, _ = linalg.svd(units.T, full_matrices=False)
        # The difference of nearly parallel parts is rounding, much of which lies inside: of that
        # only what is outside, and not little, is another direction.
        clean = beyond(base, directions[:, sizes > OUTSIDE].T).T
        directions, sizes, _ = linalg.svd(clean, full_matrices=False)
        self.extra = directions[:, sizes > LITTLE]
        self.unit = float(np.sqrt(np.mean(base.spread**2)))
        self.middle = len(base.spread)
        units = np.full(self.extra.shape[1], self.unit)
        self.scales = np.insert(base.scales, self.middle, units)

    def design(self, X: Any) -> Design:
        own, seen = self.base.design(X).dense(), np.asarray(X @ self.extra)
        if self.base.shift is not None:
            seen -= self.base.shift @ self.extra
        return DenseDesign(
            np.hstack([own[:, : self.middle], seen / self.unit, self._last(own.T).T])
        )

    def _last(self, rows):
        return rows[len(rows) - self.intercept :]

    def to_user(self, theta: Array) -> Array:
        end = self.middle + self.extra.shape[1]
        user = self.base.to_user(np.vstack([theta[: self.middle], theta[end:]]))
        coef = self.extra @ (theta[self.middle : end] / self.unit)
        user[: len(coef)] += coef
        if self.intercept and self.base.shift is not None:
            user[-1] -= self.base.shift @ coef
        return user

    def from_user(self, theta: Array) -> Array:
        own, coef = self.base.from_user(theta), theta[: len(self.extra)]
        beside = self.unit * (self.extra.T @ coef)
        return np.vstack([own[: self.middle], beside, self._last(own)])


def widened(
    part: Part, X: Any, outside: Array, known: list[tuple[Coordinates, Design]]
) -> LinearCurvature:
    """The same fit in coordinates that hold what new rows have outside the span, (b, p), too.

    A penalty holds the coefficients at 0 along what the training rows do not span. Coordinates
    in `known` are those of other problems on the same rows; new ones are added.
    """
    old, problem = part.objective.coordinates, part.problem
    assert isinstance(old, RowSpace)
    if not known:
        wide = Widened(old, outside)
        known.append((wide, wide.design(X)))
    objective, _ = build(problem, X, known, kind=Widened)
    objective = dataclasses.replace(objective, rebalance=part.objective.rebalance)
    theta = objective.coordinates.from_user(old.to_user(part.theta))
    return like(part.curvature, objective, np.where(objective.free, theta, 0.0))


def like(curvature: LinearCurvature, objective: Objective, theta: Array) -> LinearCurvature:
    """The curvature of another objective by the same solver."""
    return LinearCurvature(
        objective,
        theta,
        expected=curvature.expected,
        solver=curvature.solver,
        tol=curvature.tol,
        max_iter=curvature.max_iter,
    )


def in_its_own_span(
    part: Part, X: Any, both: Any, row: int, place: int, incoming: Incoming
) -> tuple[Array, bool]:
    """Move of the user's parameters when one row is replaced, in coordinates for these rows.

    Without a penalty nothing holds coefficients along what no row spans: like the estimator, which
    starts at 0 or takes the solution of least norm, the fit then has no part there.

    Parameters
    ----------
    part : Part
    X : ndarray or sparse array of shape (n, p)
    both : ndarray or sparse array
        Training rows, and new ones behind them.
    row, place : int
        Position of the row that goes, and in `both` of the one that comes.
    incoming : Incoming
        Of this new row alone.

    Returns
    -------
    move : ndarray of shape (p [+ 1], K)
    converged : bool
    """
    order = np.arange(X.shape[0])
    order[row] = place
    rows = both[order]
    before = part.objective.coordinates.to_user(part.theta)
    objective, theta = build(problem_with(part, before, row, incoming), rows)
    converged = True
    if part.method == "refit":
        found = minimise(objective, _start(objective, theta, before, X.shape[1]))
        end, converged = found.theta, found.converged
    else:
        end = theta + _newton_step(part.curvature, objective, theta, row)
    return objective.coordinates.to_user(end) - before, converged


def _start(objective: Objective, theta: Array, before: Array, n_features: int) -> Array:
    """The fitted parameters, or their intercept alone where that is nearer to a minimum."""
    alone = before.copy()
    alone[:n_features] = 0.0
    without = np.where(objective.free, objective.coordinates.from_user(alone), 0.0)
    with np.errstate(all="ignore"):
        return theta if objective.value(theta) <= objective.value(without) else without


def _newton_step(
    curvature: LinearCurvature, objective: Objective, theta: Array, row: int
) -> Array:
    with np.errstate(all="ignore"):
        gradient = np.where(objective.moving(theta), objective.gradient(theta), 0.0)
    if not np.isfinite(gradient).all():
        raise ValueError(
            f"The loss of what takes the place of row {row} is infinite at the fitted parameters, "
            "from which a Newton step would start. Use method='refit', or a row nearer to the "
            "others."
        )
    own = like(curvature, objective, theta)
    return -own.inverse()(gradient.reshape(-1, 1)).reshape(theta.shape)


def problem_with(part: BasePart, theta: Array, row: int, incoming: Incoming) -> Problem:
    """The problem with the target and the weight of a new row in the place of another."""
    problem, rebalance = part.problem, part.objective.rebalance
    ratios, _, arriving = incoming.ratios(rebalance, np.array([row]))
    y, weights = problem.y.copy(), problem.weights.copy()
    if ratios is not None and rebalance is not None:
        weights *= ratios[rebalance.group_of_row, 0]
    y[row], weights[row] = incoming.y[0], arriving[0] * incoming.weights[0]
    p = len(problem.coef)
    return dataclasses.replace(
        problem,
        y=y,
        weights=weights,
        coef=theta[:p],
        intercept=None if problem.intercept is None else theta[p],
        rebalance=None,
    )

"""An objective in coordinates where it can be differentiated, moved and inverted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.objectives.coordinates import (
    ColumnSpace,
    Coordinates,
    RowSpace,
    Standardised,
)
from skinfluence.objectives.design import Design
from skinfluence.objectives.losses.base import PointLoss
from skinfluence.objectives.penalty import Penalty
from skinfluence.objectives.problem import Problem
from skinfluence.objectives.rebalance import Rebalance

Array = NDArray[np.float64]

# The eigenvalues of the Gram matrix of more rows than this, (n, n), take too long.
ROW_SPACE_ROWS = 4_000


@dataclass(frozen=True)
class Objective:
    """``F(theta) = sum_i w_i l(eta_i, y_i) + m Omega(theta)``, eta_i = x~_i'theta, theta (P, K).

    Conventions. theta is flattened rows first: entry (p, k) is number p K + k. F is a sum over
    rows; only `m` and `m_share` know how the estimator normalises it.

    Parameters
    ----------
    design : Design
        Training rows x~ in `coordinates`.
    loss, y, weights, rebalance
        As in :class:`~skinfluence.objectives.problem.Problem`.
    penalty : Penalty
        Omega in `coordinates`.
    m : float
    m_share : ndarray of shape (n,)
        By how much deleting each row lowers m.
    free : ndarray of bool of shape (P, K)
        Entries of theta that are parameters at all.
    positive : ndarray of bool of shape (P, K)
        Entries that may not become negative.
    coordinates : Coordinates
    """

    design: Design
    loss: PointLoss
    y: Array
    weights: Array
    penalty: Penalty
    m: float
    m_share: Array
    free: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    coordinates: Coordinates
    rebalance: Rebalance | None = None
    _latest: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def n_train(self) -> int:
        """Number of rows."""
        return self.design.shape[0]

    @property
    def n_outputs(self) -> int:
        """Number K of outputs."""
        return self.loss.n_outputs

    @property
    def kinked(self) -> NDArray[np.bool_]:
        """Entries of theta at whose zero F has a kink or a wall, (P, K)."""
        penalty = self.penalty
        return (penalty.l1 > 0) | (penalty.l21 > 0)[:, None] | self.positive

    def moving(self, theta: Array) -> NDArray[np.bool_]:
        """Entries that a small change of the data moves, (P, K): none that is held at zero."""
        group = (self.penalty.l21 > 0)[:, None]
        off = np.where(group, (theta != 0).any(axis=1, keepdims=True), theta != 0)
        return self.free & (~self.kinked | off)

    def shifting(self, entries: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Rows of theta that may shift by the same in all outputs without F seeing it, (P,).

        Softmax does not feel a shift common to all classes, nor does a penalty of 0.
        """
        if not self.loss.shift_invariant:
            return np.zeros(len(entries), dtype=bool)
        penalty = self.penalty
        held = self.m * (penalty.l2 + penalty.l1 + penalty.l21[:, None]) != 0
        return entries.all(axis=1) & ~held.any(axis=1)

    def unseen_shifts(self, entries: NDArray[np.bool_]) -> Array:
        """Those shifts as orthonormal columns over `entries` (P, K): (a, q)."""
        rows = self.shifting(entries)
        number = np.flatnonzero(entries.ravel()) // entries.shape[1]
        return (number[:, None] == np.flatnonzero(rows)) / np.sqrt(entries.shape[1])

    def outputs(self, theta: Array) -> Array:
        """eta of all rows, (n, K); not to be written to."""
        # Value, gradient, Hessian and their scales are asked for at the same parameters.
        key = theta.tobytes()
        latest = self._latest.get("outputs")
        if latest is None or latest[0] != key:
            # One assignment, so that threads never see one's key with another's outputs.
            self._latest["outputs"] = latest = (key, self.design.times(theta))
        return latest[1]

    def value(self, theta: Array) -> float:
        """F."""
        losses = self.loss.value(self.outputs(theta), self.y)
        return float(self.weights @ losses + self.m * self.penalty.value(theta))

    def size(self, theta: Array) -> float:
        """Sum of the sizes of the terms of F: what the rounding error of F is relative to."""
        losses = np.abs(self.loss.value(self.outputs(theta), self.y))
        return float(self.weights @ losses + self.m * self.penalty.value(theta))

    def change(self, theta: Array, moved: Array) -> float:
        """``value(theta + moved) - value(theta)``, as precise as the loss gives it."""
        losses = self.loss.change(self.outputs(theta), self.outputs(moved), self.y)
        return float(self.weights @ losses + self.m * self.penalty.change(theta, moved))

    def gradient(self, theta: Array) -> Array:
        """Gradient of F, (P, K)."""
        slopes = self.weights[:, None] * self.loss.gradient(self.outputs(theta), self.y)
        return self.design.adjoint(slopes) + self.m * self.penalty.gradient(theta)

    def hessian(
        self, theta: Array, *, expected: bool = False, entries: NDArray[np.bool_] | None = None
    ) -> Array:
        """Hessian of F over all entries of theta, (P K, P K), or over `entries`, a mask (P, K)."""
        c = self.loss.curvature(self.outputs(theta), self.y, expected=expected)
        c = self.weights[:, None, None] * c
        if entries is None:
            return gram_blocks(self.design, c) + self.m * self.penalty.hessian(theta)
        rows = np.flatnonzero(entries.any(axis=1))
        design = self.design if len(rows) == len(entries) else self.design.columns(rows)
        total = gram_blocks(design, c) + self.m * self.penalty.take(rows).hessian(theta[rows])
        chosen = entries[rows].ravel()
        return total if chosen.all() else total[np.ix_(chosen, chosen)]

    def without(self, rows: NDArray[np.intp]) -> Objective:
        """The objective that a refit without `rows` minimises."""
        kept = np.delete(np.arange(self.n_train), rows)
        weights, rebalance = self.weights, self.rebalance
        if rebalance is not None:
            removed = rebalance.removed_by(rows).sum(axis=1, keepdims=True)
            weights = weights * rebalance.ratios(removed)[rebalance.group_of_row, 0]
            rebalance = Rebalance(
                rebalance.class_of_row[kept], rebalance.mass[kept], rebalance.positives
            )
        return Objective(
            design=self.design.take(kept),
            loss=self.loss,
            y=self.y[kept],
            weights=weights[kept],
            penalty=self.penalty,
            m=self.m - self.m_share[rows].sum(),
            m_share=self.m_share[kept],
            free=self.free,
            positive=self.positive,
            coordinates=self.coordinates,
            rebalance=rebalance,
        )


def gram_blocks(design: Design, c: Array) -> Array:
    """``sum_i C_i (x) x~_i x~_i'`` with C of shape (n, K, K), rows of theta first."""
    n_outputs = c.shape[1]
    size = design.shape[1]
    total = np.empty((size, n_outputs, size, n_outputs))
    for k in range(n_outputs):
        blocks = np.zeros((size, k + 1, size))
        seen = np.flatnonzero(c[:, k, : k + 1].any(axis=0))
        if n_outputs == 1:
            blocks[:, 0] = design.gram(c[:, 0, 0])
        elif seen.size:
            blocks[:, seen] = design.grams(c[:, k, seen])
        total[:, k, :, : k + 1] = blocks.transpose(0, 2, 1)
        total[:, : k + 1, :, k] = blocks.transpose(2, 1, 0)
    return total.reshape(size * n_outputs, size * n_outputs)


def build_all(problems: Sequence[Problem], X: Any) -> list[tuple[Objective, Array]]:
    """Put problems into coordinates, which they share where they can: rows are stored once."""
    known: list[tuple[Coordinates, Design]] = []
    return [build(problem, X, known) for problem in problems]


def build(
    problem: Problem,
    X: Any,
    known: list[tuple[Coordinates, Design]] | None = None,
    *,
    kind: type[Coordinates] | None = None,
) -> tuple[Objective, Array]:
    """Put a problem into coordinates.

    Parameters
    ----------
    problem : Problem
    X : ndarray or sparse array of shape (n, p)
        The rows it was fitted on.
    known : list of (Coordinates, Design) or None, default=None
        Those of other problems on the same rows; new ones are added.
    kind : type or None, default=None
        Which coordinates to use; None for the best.

    Returns
    -------
    objective : Objective
    theta : ndarray of shape (P, K)
        The fitted parameters, in its coordinates.
    """
    if len(problem.coef) != X.shape[1]:
        raise ValueError(
            f"X has {X.shape[1]} columns, and the estimator was fitted on {len(problem.coef)}. "
            "Pass the rows it was fitted on."
        )
    coordinates, design = _coordinates_and_design(problem, X, [] if known is None else known, kind)
    n_outputs = problem.loss.n_outputs
    shape = (len(coordinates.scales), n_outputs)
    parameters = problem.coef
    if problem.intercept is not None:
        parameters = np.vstack([problem.coef, problem.intercept[None]])
    free = np.ones(shape, dtype=bool)
    inner = slice(None, -1) if coordinates.intercept else slice(None)
    for k in problem.constant_outputs:
        free[inner, k] = False
    if problem.intercept_free is not None:
        free[-1] = problem.intercept_free
    positive = np.zeros(shape, dtype=bool)
    positive[inner] = problem.positive
    m, m_share = _multiplier(problem, X.shape[0])
    objective = Objective(
        design=design,
        loss=problem.loss,
        y=problem.y,
        weights=problem.weights,
        penalty=_penalty(problem, coordinates, shape),
        m=m,
        m_share=m_share,
        free=free,
        positive=positive,
        coordinates=coordinates,
        rebalance=problem.rebalance,
    )
    return objective, np.where(free, coordinates.from_user(parameters), 0.0)


def _coordinates_and_design(problem, X, known, kind):
    best, options = choose_coordinates(problem, X)
    kind = best if kind is None else kind
    for coordinates, design in known:
        # Class weights of one-vs-rest problems differ, but coordinates only have to be good.
        if type(coordinates) is kind and coordinates.options == options:
            return coordinates, design
    coordinates = kind(X, problem.weights, **options)
    known.append((coordinates, coordinates.design(X)))
    return known[-1]


def choose_coordinates(problem: Problem, X: Any) -> tuple[type[Coordinates], dict[str, bool]]:
    """The row space where it is smaller than the columns and the objective lives in it."""
    intercept = problem.intercept is not None
    centre = intercept and not (problem.intercept_l2 or problem.intercept_l1)
    centre = centre and (problem.intercept_free is None or all(problem.intercept_free))
    options = {"intercept": intercept, "centre": centre}
    held = np.flatnonzero(problem.weights)
    n, p = len(held), X.shape[1]
    l2 = np.unique(problem.l2)
    isotropic = len(l2) == 1 and not (np.any(problem.l1) or problem.l21 or problem.positive)
    if isotropic and p >= n and n <= ROW_SPACE_ROWS:
        return RowSpace, options
    if isotropic and l2[0] == 0 and p < n and _deficient(X, held, centre):
        return ColumnSpace, options
    return Standardised, options


def _deficient(X, held, centre):
    # Some of the rows show most full ranks at a small price.
    some = held[:: max(1, len(held) // ROW_SPACE_ROWS)]
    if _rank(X[some], centre) == X.shape[1]:
        return False
    return len(some) == len(held) or _rank(X[held], centre) < X.shape[1]


def _rank(X, centre):
    centred = X
    if sparse.issparse(X):
        gram = _sparse_gram(X, centre)
    else:
        centred = X - X.mean(axis=0) if centre else X
        gram = centred.T @ centred
    scale = np.sqrt(np.diag(gram))
    if not scale.all():
        return 0
    values = np.linalg.eigvalsh(gram / np.outer(scale, scale))
    if values[0] > 1e-9 * values[-1]:
        return X.shape[1]
    if sparse.issparse(X) or len(X) > 2 * ROW_SPACE_ROWS:
        return int((values > len(values) * 1e-14 * values[-1]).sum())
    # The Gram matrix squares the condition number; look at the rows themselves.
    return np.linalg.matrix_rank(centred / scale)


def _sparse_gram(X, centre):
    gram = (X.T @ X).toarray()
    if centre:
        whole = np.diag(gram).copy()
        total = np.asarray(X.sum(axis=0)).ravel()
        gram -= np.outer(total, total) / X.shape[0]
        # A constant column less its mean is rounding.
        gram[:, np.diag(gram) <= 1e-13 * whole] = 0.0
    return gram


def _multiplier(problem, n):
    if problem.normalisation == "sum":
        return 1.0, np.zeros(n)
    if problem.normalisation == "weight":
        return float(problem.weights.sum()), problem.weights
    return float(n), np.ones(n)


def _penalty(problem, coordinates, shape):
    inner = slice(None, -1) if coordinates.intercept else slice(None)
    scales = coordinates.scales[inner]
    l2, l1, l21 = np.zeros(shape), np.zeros(shape), np.zeros(shape[0])
    l2[inner] = _per_coordinate(problem.l2, scales, shape[1]) / scales[:, None] ** 2
    l1[inner] = _per_coordinate(problem.l1, scales, shape[1]) / scales[:, None]
    l21[inner] = problem.l21 / scales
    if coordinates.intercept:
        l2[-1], l1[-1] = problem.intercept_l2, problem.intercept_l1
    for k in problem.constant_outputs:
        l2[:, k] = l1[:, k] = 0.0
    return Penalty(l2, l1, l21)


def _per_coordinate(strength, scales, n_outputs):
    strength = np.asarray(strength, dtype=np.float64)
    if strength.ndim == 0 or strength.size == 1:
        return np.full((len(scales), n_outputs), strength.reshape(-1)[0])
    return np.broadcast_to(strength, (len(scales), n_outputs))

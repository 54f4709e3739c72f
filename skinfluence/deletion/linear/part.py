"""One problem of a fit, with everything that its deletions need."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.groups import group_newton, group_refit
from skinfluence.deletion.linear.moves import NewtonInverse, first_order, leaving
from skinfluence.deletion.linear.refit import refit
from skinfluence.objectives import Objective, Problem
from skinfluence.objectives.design import Design

Array = NDArray[np.float64]


@dataclass
class Notes:
    """What happened to which rows while deletions were computed; shared by all parts."""

    alone: set[int] = field(default_factory=set)
    indefinite: set[int] = field(default_factory=set)
    refitted_alone: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    not_unique: set[int] = field(default_factory=set)
    last_of_class: set[int] = field(default_factory=set)
    failed_groups: set[bytes] = field(default_factory=set)
    n_sweeps: int = 0


class BasePart(ABC):
    """Moves of one problem's parameters when rows are deleted.

    Parameters
    ----------
    problem : Problem
        In the user's parameters.
    objective : Objective
    theta : ndarray of shape (P, K)
        Polished parameters.
    method : str
    notes : Notes

    Attributes
    ----------
    iterates : bool
        Whether moves are solved for by products with all rows.
    """

    iterates: bool = False

    def __init__(
        self, problem: Problem, objective: Objective, theta: Array, method: str, notes: Notes
    ):
        self.problem, self.objective, self.theta = problem, objective, theta
        self.method, self.notes = method, notes

    @abstractmethod
    def moves(self, rows: NDArray[np.intp]) -> Array:
        """Change of theta when each of `rows` is deleted, (P, K, b)."""

    @abstractmethod
    def group_moves(self, rows: NDArray[np.intp]) -> Array:
        """Change of theta when all of `rows` are deleted together, (P, K, 1)."""

    @abstractmethod
    def leverage(self, rows: NDArray[np.intp]) -> Array:
        """How strongly each of `rows` moves the fit, in any unit, (b,)."""

    @abstractmethod
    def report(self) -> dict[str, Any]:
        """How the moves were reached."""

    def user_moves(self, moves: Array) -> Array:
        """Moves in the user's coefficients (and intercepts, last), (p [+ 1], K, b)."""
        size, n_outputs, b = moves.shape
        user = self.objective.coordinates.to_user(moves.reshape(size, n_outputs * b))
        return user.reshape(-1, n_outputs, b)


class Part(BasePart):
    """Moves by the curvature at the fitted parameters.

    Parameters
    ----------
    problem, objective, theta, notes
        As in :class:`BasePart`.
    curvature : LinearCurvature
    method : {"first_order", "newton", "refit"}
    """

    def __init__(
        self,
        problem: Problem,
        objective: Objective,
        theta: Array,
        curvature: LinearCurvature,
        method: str,
        notes: Notes,
    ):
        super().__init__(problem, objective, theta, method, notes)
        self.curvature = curvature
        self.iterates = curvature.solver == "cg"

    def moves(self, rows: NDArray[np.intp]) -> Array:
        gone = leaving(self.curvature, rows)
        if self.method == "first_order":
            flat = first_order(self.curvature, gone)
        elif self.method == "newton":
            flat = self._newton(gone)
        else:
            flat = self._refit(gone)
        return flat.reshape(*self.theta.shape, len(rows))

    def _newton(self, gone):
        inverse = NewtonInverse(self.curvature, gone)
        self.notes.alone.update(gone.rows[inverse.alone & ~inverse.exact].tolist())
        self.notes.indefinite.update(gone.rows[inverse.indefinite].tolist())
        return inverse.move()

    def _refit(self, gone):
        result = refit(self.curvature, gone)
        self.notes.n_sweeps = max(self.notes.n_sweeps, result.n_sweeps)
        self.notes.refitted_alone.update(result.alone)
        self.notes.failed.update(result.failed)
        return result.moves

    def leverage(self, rows: NDArray[np.intp]) -> Array:
        gradient = self.leaving_gradients(rows)
        return np.abs((gradient * self.curvature.inverse()(gradient)).sum(axis=0))

    def group_moves(self, rows: NDArray[np.intp]) -> Array:
        if self.method == "first_order":
            total = self.leaving_gradients(rows).sum(axis=1, keepdims=True)
            return self.first_order_moves(total)
        if self.method == "newton":
            return group_newton(self.curvature, rows)[:, :, None]
        move, converged = group_refit(self.curvature, rows)
        if not converged:
            self.notes.failed_groups.add(rows.tobytes())
        return move[:, :, None]

    def leaving_gradients(self, rows: NDArray[np.intp]) -> Array:
        """gbar of each row, (P K, b): what first-order scores of all queries share."""
        return leaving(self.curvature, rows).gradient(self.curvature)

    def solved(self, rows: Array, gradient: Array) -> Array:
        """``H^-1 (x_z (x) phi'_z)`` of queries, (P K, q), from dense rows and slopes (q, K)."""
        return self.curvature.inverse()(self.curvature.spread(rows, gradient))

    def solved_sum(self, design: Design, gradient: Array) -> Array:
        """``H^-1 sum_z x_z (x) phi'_z`` of all queries, (P K, 1)."""
        total = np.where(self.curvature.moving, design.adjoint(gradient), 0.0)
        return self.curvature.inverse()(total.reshape(-1, 1))

    def first_order_moves(self, gradients: Array) -> Array:
        """``H^-1 gbar`` of leaving gradients, (P, K, b)."""
        moves = self.curvature.inverse()(gradients)
        return moves.reshape(*self.theta.shape, -1)

    def report(self) -> dict[str, Any]:
        return self.curvature.report()

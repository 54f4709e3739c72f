"""Deletion from a support vector machine: one path a row and a problem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.base import (
    EVERY,
    Evaluate,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
)
from skinfluence.deletion.svm.each import follow_each
from skinfluence.deletion.svm.point import Point, gradient_size
from skinfluence.deletion.svm.polish import polish
from skinfluence.deletion.svm.problems import Problem
from skinfluence.deletion.svm.reading import Machine, last_of_their_class
from skinfluence.deletion.svm.replacement import ReplacedMachine
from skinfluence.deletion.svm.slopes import machine_slopes


@dataclass(frozen=True)
class Moved:
    """Where a problem goes without each of some rows.

    Parameters
    ----------
    columns : ndarray of int of shape (c,)
        Which of the deletions move it at all.
    beta : ndarray of shape (n, c)
        Change of the coefficients of its rows.
    offset : ndarray of shape (n_groups, c)
        Change of its multipliers.
    """

    columns: Positions
    beta: Array
    offset: Array


class SVMDeletion(ExactModel):
    """Deletion of rows of a support vector machine, by the path of its optimum.

    The coefficient of a row is driven to 0, and the optimum is followed on the way (Cauwenberghs &
    Poggio 2001). A row whose coefficient is 0 changes nothing, exactly; it has no path. Where
    other terms follow the row (class weights that are balanced, the nu-forms, outlier detection)
    every row has one.

    Outputs are the decisions of the problems: one, or one a pair of classes.

    Parameters
    ----------
    machine : Machine

    Attributes
    ----------
    points : list of Point
        The exact optimum of each problem.
    gap : float
        By how much the fit violates the conditions of optimality, at worst, relative to the size
        of the gradients: at most the estimator's `tol` or so.
    """

    without_an_end = True

    def __init__(self, machine: Machine):
        self.machine = machine
        self.n_train = machine.kernel.n_train
        self.n_outputs = len(machine.problems)
        self.points: list[Point] = []
        self.gap = 0.0
        for problem in machine.problems:
            point, gap = polish(problem.programme, problem.fitted)
            self.points.append(point)
            size = gradient_size(problem.programme, point)
            self.gap = max(self.gap, gap / size if size else 0.0)
        self.ends: set[int] = set()
        self._last = last_of_their_class(machine.codes) if len(machine.pairs) else []

    @property
    def alone(self) -> Positions:  # type: ignore[override]
        """Rows without which a class is gone, or no optimum was found."""
        return np.array(sorted({*self._last, *self.ends}), dtype=np.intp)

    @property
    def row_block(self) -> int:
        floats = sum(len(problem.positions) for problem in self.machine.problems)
        rows = 0.25 * _loops.memory_budget() / (8.0 * floats)
        return int(np.clip(rows, 1, max(self.n_train, 1)))

    def floats_a_query(self, n_rows: int) -> int:
        return 2 * self.n_train + (3 * self.n_outputs + 2) * n_rows

    # -- deletions --------------------------------------------------------------------------------

    def idle(self, rows: Positions) -> NDArray[np.bool_]:
        """Which deletions change nothing at all, (len(rows),)."""
        pairs = zip(self.machine.problems, self.points, strict=True)
        moved = [_moves(problem, point, self.n_train) for problem, point in pairs]
        return ~np.any(moved, axis=0)[rows]

    def delete(self, rows: Positions) -> Any:
        pairs = zip(self.machine.problems, self.points, strict=True)
        return len(rows), [self._moved(problem, point, rows) for problem, point in pairs]

    def _moved(self, problem, point, rows):
        columns = np.flatnonzero(_moves(problem, point, self.n_train)[rows])
        motions = [problem.motion(rows[[column]]) for column in columns]
        ends = follow_each(problem.programme, point, motions)
        self.ends.update(rows[columns[_undetermined(problem, point, ends)]].tolist())
        return Moved(columns, ends.beta, ends.offset)

    @property
    def replaced_block(self) -> int:
        return int(np.clip(self.n_train // 2, 16, 128))

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedMachine(self, new)

    def slopes(self, X: Any, rows: Positions, features: Positions) -> Array:
        return machine_slopes(self, X, rows, features)

    def change(self, X: Any, deleted: Any, before: Array, evaluate: Evaluate) -> Array:
        changes = super().change(X, deleted, before, evaluate)
        moved = [move.columns for move in deleted[1]]
        changes[:, np.delete(np.arange(deleted[0]), np.unique(np.concatenate(moved)))] = 0.0
        return changes

    # -- outputs ----------------------------------------------------------------------------------

    @property
    def margin(self) -> float:
        """The smallest margin that decisions are divided by; inf where they are by none."""
        pairs = zip(self.machine.problems, self.points, strict=True)
        return min(problem.margin(point.offset) for problem, point in pairs)

    def outputs(self, X: Any) -> Array:
        return self._decisions(X, 1, [None] * self.n_outputs, EVERY)[:, 0]

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        n_rows, moved = deleted
        return self._decisions(X, n_rows, moved, meeting)

    def without_group(self, X: Any, rows: Positions) -> Array | None:
        moved: list[Moved | None] = []
        for problem, point in zip(self.machine.problems, self.points, strict=True):
            moves = _moves(problem, point, self.n_train)[rows].any()
            moved.append(self._moved_by(problem, point, rows) if moves else None)
        return self._decisions(X, 1, moved, EVERY)[:, 0]

    def _moved_by(self, problem, point, group):
        ends = follow_each(problem.programme, point, [problem.motion(group)])
        self.ends.update(group[: None if _undetermined(problem, point, ends)[0] else 0].tolist())
        return Moved(np.zeros(1, dtype=np.intp), ends.beta, ends.offset)

    def _decisions(self, X, n_rows, moved, meeting):
        """Decisions of every problem, (n_queries, n_rows, n_outputs), or (n_rows, n_outputs)."""
        kernels = self._kernels(X, moved)
        shape = (X.shape[0], n_rows) if meeting is EVERY else (n_rows,)
        found = np.empty((*shape, self.n_outputs))
        triples = zip(self.machine.problems, self.points, moved, strict=True)
        for k, ((problem, point, move), (used, K)) in enumerate(
            zip(triples, kernels, strict=True)
        ):
            beta = problem.programme.on_rows(point.beta)[used]
            products = np.broadcast_to(meeting.query(K @ beta), shape)
            offset = np.repeat(point.offset[:, None], n_rows, axis=1)
            if move is not None and len(move.columns):
                products = products.copy()
                queries = K if meeting is EVERY else K[move.columns]
                products[..., move.columns] += meeting.dot(queries, move.beta[used].T)
                offset[:, move.columns] += move.offset
            found[..., k] = problem.decision(products, offset)
        return found

    def _kernels(self, X, moved):
        """Rows of each problem that matter, and the kernel of the queries with them."""
        used = [
            np.flatnonzero(_matters(problem, point, move))
            for problem, point, move in zip(self.machine.problems, self.points, moved, strict=True)
        ]
        places = [
            problem.positions[rows]
            for problem, rows in zip(self.machine.problems, used, strict=True)
        ]
        every = np.unique(np.concatenate(places))
        whole = self.machine.kernel.between(X, every)
        for rows, place in zip(used, places, strict=True):
            if len(place) == len(every):
                yield rows, whole
            else:
                yield rows, whole[:, np.searchsorted(every, place)]


def _moves(problem: Problem, point: Point, n_train: int) -> NDArray[np.bool_]:
    """Rows whose deletion moves a problem, (n_train,)."""
    found = np.full(n_train, problem.follows)
    # Where a multiplier is the middle of an interval, a row of coefficient 0 may be its end.
    if len(point.free.groups) < problem.programme.n_groups:
        found[problem.positions] = True
    else:
        found[problem.positions] |= problem.programme.on_rows(np.abs(point.beta)) > 0
    return found


def _undetermined(problem, point, ends):
    """Which ends of paths are no optimum, or have no margin to divide decisions by, (b,)."""
    found = ~ends.complete
    for j, offset in enumerate((point.offset[:, None] + ends.offset).T):
        found[j] |= problem.has_no_margin(offset)
    return found


def _matters(problem, point, moved):
    """Rows of a problem with a coefficient before or after, (n,)."""
    found = problem.programme.on_rows(np.abs(point.beta)) > 0
    if moved is not None and moved.beta.size:
        found |= moved.beta.any(axis=1)
    return found

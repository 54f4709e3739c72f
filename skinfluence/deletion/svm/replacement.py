"""Support vector machines of which a training row becomes another one: one path a problem."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.base import NewRows, Replaced
from skinfluence.deletion.svm.free import FreeSet
from skinfluence.deletion.svm.kernel import Gram, Indices, Kernel
from skinfluence.deletion.svm.path import follow
from skinfluence.deletion.svm.point import GONE, LOWER, UPPER, Point, gradient, near
from skinfluence.deletion.svm.polish import MANY
from skinfluence.deletion.svm.problems import Margin, Problem
from skinfluence.deletion.svm.programme import Motion


class RowsAndNew:
    """Rows of the kernel matrix of a problem, and of new rows behind them.

    Parameters
    ----------
    rows : Gram
        Of the n rows of the problem.
    across : ndarray of shape (b, n)
        Kernel of the new rows with them.
    own : ndarray of shape (b, b)
        Kernel of the new rows with each other.
    """

    def __init__(self, rows: Gram, across: Array, own: Array):
        self.base, self.across, self.own = rows, across, own
        self.n = rows.n + len(own)

    @cached_property
    def largest(self) -> float:
        """Size of the kernel's entries."""
        return max(self.base.largest, float(np.abs(self.own).max(initial=0.0)))

    def row(self, j: int) -> Array:
        """Kernel of row j with all rows, (n + b,)."""
        return self.rows(np.array([j]))[0]

    def rows(self, which: Indices) -> Array:
        """Several rows at once, (len(which), n + b)."""
        n, which = self.base.n, np.asarray(which, dtype=np.intp)
        found = np.empty((len(which), self.n))
        new = which >= n
        old = which[~new]
        if len(old):
            found[~new, :n] = self.base.rows(old)
            found[~new, n:] = self.across[:, old].T
        found[new, :n], found[new, n:] = self.across[which[new] - n], self.own[which[new] - n]
        return found

    def mixed(self, which: Indices, weights: Array) -> Array:
        """Sum of a few rows, weighted, (n + b,); or several such sums."""
        return np.asarray(weights @ self.rows(which))

    def apart(self, row: Any, others: Indices, weights: Array) -> float | None:
        """None: there are no features to subtract from each other."""
        return None

    def block(self, which: Indices) -> Array:
        """Kernel of some rows with each other, (len(which), len(which))."""
        return self.rows(which)[:, which]

    def products(self, beta: Array) -> Array:
        """``K beta``, (n + b,)."""
        n = self.base.n
        old = self.base.products(beta[:n]) + beta[n:] @ self.across
        return np.concatenate([old, self.across @ beta[:n] + self.own @ beta[n:]])


class Extended:
    """A problem with the variables of new rows, whose boxes are empty.

    What the variables of a row are, a row of the same kind says: one of the new row's class, or
    any row where there are none.

    Parameters
    ----------
    problem : Problem
    point : Point
        Its optimum.
    kernel : Kernel
    new : NewRows
    weights : ndarray of shape (b,)
        Sample weights of the new rows.
    like : ndarray of int of shape (b,)
        A row of the problem of the kind of each new one; -1 for new rows that are none of its.
    numbers : bool
        Whether targets are numbers.
    """

    def __init__(
        self,
        problem: Problem,
        point: Point,
        kernel: Kernel,
        new: NewRows,
        weights: Array,
        like: Indices,
        *,
        numbers: bool,
    ):
        self.problem, self.new, self.weights, self.like = problem, new, weights, like
        programme = problem.programme
        n, b = programme.kernel.n, len(new)
        own = kernel.among_new(new.X, new.rows)
        rows = RowsAndNew(programme.kernel, kernel.between(new.X, problem.positions), own)
        each = len(programme.p) // n  # variables of a row
        model = np.maximum(like, 0) + n * np.arange(each)[:, None]  # (each, b)
        p = programme.p[model]
        if numbers:
            p = p - p.mean(axis=0) + new.encoded
        # Boxes open while rows go: (each, b).
        share = weights / problem.weights[np.maximum(like, 0)]
        self.opens = share * programme.lo[model], share * programme.hi[model]
        self.n_old, self.each = len(programme.p), each
        self.programme = replace(
            programme,
            kernel=rows,
            row=np.concatenate([programme.row, np.tile(n + np.arange(b), each)]),
            group=np.concatenate([programme.group, programme.group[model].ravel()]),
            p=np.concatenate([programme.p, p.ravel()]),
            lo=np.concatenate([programme.lo, np.zeros(each * b)]),
            hi=np.concatenate([programme.hi, np.zeros(each * b)]),
        )
        self.start = self._start(point, rows, each * b)
        self._near = near(self.programme, self.start) if self.n_old > MANY else None
        self.start.near = self._near

    def _start(self, point, rows, n_new):
        beta = np.concatenate([point.beta, np.zeros(n_new)])
        coefficients = self.problem.programme.on_rows(point.beta)
        products = rows.across @ coefficients
        return Point(
            beta,
            np.concatenate([point.place, np.full(n_new, GONE)]).astype(np.int8),
            np.concatenate([point.products, products]),
            point.offset,
            FreeSet(self.programme, point.free.members),
        )

    def follow(self, j: int) -> Point | None:
        """The optimum with the j-th new row; None where the problem sees nothing of it."""
        own = self.problem.own(self.new.rows[[j]])
        joins = self.like[j] >= 0 and self.weights[j] > 0
        ratios = self._ratios(j)
        if not len(own) and not joins and ratios is None:
            return None
        dc = self.problem.lost(own)
        n_all = len(self.programme.p)
        dlo, dhi = np.zeros((2, n_all))
        grow = 1.0
        if ratios is not None:
            classes = self.problem.rebalance.class_of_row  # type: ignore[attr-defined]
            rates = ratios[classes[self.problem.positions]] - 1.0
            dlo[: self.n_old] = rates * self.problem.programme.lo
            dhi[: self.n_old] = rates * self.problem.programme.hi
            grow = ratios[self.new.encoded[j]]
        start = self.start
        if joins:
            like = self.like[[j]]
            gain = self.weights[j] / self.problem.weights[like[0]]
            dc = dc - gain * self.problem.lost(like)
            mine = self.n_old + j + len(self.new) * np.arange(self.each)
            dlo[mine], dhi[mine] = grow * self.opens[0][:, j], grow * self.opens[1][:, j]
            place = start.place.copy()
            place[mine] = np.where(gradient(self.programme, start)[mine] < 0, UPPER, LOWER)
            start = replace(start, place=place, near=self._watching(j, mine))
        gone = self.problem.programme.variables_of(own)
        return follow(self.programme, start, Motion(dc, gone, dlo=dlo, dhi=dhi))

    def _watching(self, j, mine):
        """What is watched on the way: what is near, and the variables of the new row."""
        seen = self._near
        if seen is None:
            return None
        row = self.programme.row[mine[:1]]
        place_of = seen.place_of.copy()
        place_of[mine] = len(seen.variables) + np.arange(len(mine))
        return replace(
            seen,
            variables=np.append(seen.variables, mine),
            rows=np.append(seen.rows, row),
            row=np.append(seen.row, np.full(len(mine), len(seen.rows))),
            place_of=place_of,
            base=np.hstack([seen.base, self.start.free.part_of_base(row)]),
        )

    def _ratios(self, j):
        """By how much class weights change that follow the rows; None where they do not."""
        rebalance = self.problem.rebalance if isinstance(self.problem, Margin) else None
        if rebalance is None:
            return None
        row, code = self.new.rows[j], self.new.encoded[j]
        if rebalance.class_of_row[row] == code:
            return None
        removed = rebalance.removed_by(np.array([row]))
        removed[code] -= rebalance.mass[row]
        return rebalance.ratios(removed)[:, 0]


@dataclass(frozen=True)
class _Moved:
    """Where a problem is with each of some new rows.

    Parameters
    ----------
    beta : ndarray of shape (n, b)
        Change of the coefficients of its rows.
    of_new : ndarray of shape (b,)
        Coefficient of the new row.
    offset : ndarray of shape (n_groups, b)
    """

    beta: Array
    of_new: Array
    offset: Array


class ReplacedMachine(Replaced):
    """Decisions of a support vector machine with each new row.

    The box of the new row opens from nothing to its width while the coefficient of the row that
    goes is driven to 0, and the optimum is followed on the way: the incremental and the
    decremental path of Cauwenberghs and Poggio (2001) at once.

    Parameters
    ----------
    model : SVMDeletion
    new : NewRows
    """

    def __init__(self, model: Any, new: NewRows):
        self.model, self.new = model, new
        self.broken = np.zeros(len(new), dtype=bool)
        self.moved = [
            self._follow(k, problem, point)
            for k, (problem, point) in enumerate(
                zip(model.machine.problems, model.points, strict=True)
            )
        ]

    def _follow(self, k, problem, point):
        machine, new = self.model.machine, self.new
        weights = np.zeros(self.model.n_train)
        for every in machine.problems:
            weights[every.positions] = every.weights
        like = np.zeros(len(new), dtype=np.intp)
        if machine.pairs:
            codes = machine.codes[problem.positions]
            like = np.array([_first(codes, code) for code in new.encoded])
        extended = Extended(
            problem,
            point,
            machine.kernel,
            new,
            weights[new.rows],
            like,
            numbers=not machine.pairs and new.encoded is not None,
        )
        n, b = len(problem.positions), len(new)
        before = problem.programme.on_rows(point.beta)
        beta, of_new = np.zeros((n, b)), np.zeros(b)
        offset = np.repeat(point.offset[:, None], b, axis=1)
        for j in range(b):
            end = extended.follow(j)
            if end is None:
                continue
            self.broken[j] |= not end.complete or problem.has_no_margin(end.offset)
            coefficients = extended.programme.on_rows(end.beta)
            beta[:, j], of_new[j] = coefficients[:n] - before, coefficients[n + j]
            offset[:, j] = end.offset
        return _Moved(beta, of_new, offset)

    def outputs(self, X: Any) -> Array:
        model, kernel = self.model, self.model.machine.kernel
        found = np.empty((X.shape[0], len(self.new), model.n_outputs))
        with_new = kernel.between_new(X, self.new.X, self.new.rows)
        triples = zip(model.machine.problems, model.points, self.moved, strict=True)
        for k, (problem, point, moved) in enumerate(triples):
            beta = problem.programme.on_rows(point.beta)
            used = np.flatnonzero((beta != 0) | moved.beta.any(axis=1))
            K = kernel.between(X, problem.positions[used])
            products = (K @ beta[used])[:, None] + K @ moved.beta[used]
            found[..., k] = problem.decision(products + with_new * moved.of_new, moved.offset)
        return found


def _first(codes, code):
    at = np.flatnonzero(codes == code)
    return at[0] if len(at) else -1

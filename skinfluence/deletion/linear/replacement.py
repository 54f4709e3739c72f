"""Training rows that take other values: first order, Newton step, exact refit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence import _loops
from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.changes import Incoming, ReplacementInverse, replacing
from skinfluence.deletion.linear.coefficients import Coefficients
from skinfluence.deletion.linear.deletion import outputs_moved
from skinfluence.deletion.linear.kink_changes import replaced
from skinfluence.deletion.linear.kinks import KinkedPart
from skinfluence.deletion.linear.part import BasePart, Notes, Part
from skinfluence.deletion.linear.programme import ProgrammePart
from skinfluence.deletion.linear.queries import Queries, known
from skinfluence.deletion.linear.refit import refit
from skinfluence.deletion.linear.spans import (
    Plain,
    in_its_own_span,
    outside_parts,
    stacked,
    unpenalised,
    widened,
)
from skinfluence.deletion.linear.targets import Target
from skinfluence.objectives.coordinates import Coordinates, RowSpace

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Most new rows that share coordinates of their own, where they need some.
WIDE = 256
# Slopes above this have overflowed, or their squares will.
ENDLESS = 1e100


@dataclass(frozen=True)
class Moved:
    """Moves of one part's parameters under some of the replacements of a block.

    Parameters
    ----------
    columns : ndarray of int of shape (b,)
        Which of them.
    coordinates : Coordinates
    moves : ndarray of shape (P, K, b)
        In `coordinates`.
    """

    columns: Positions
    coordinates: Coordinates
    moves: Array


@dataclass(frozen=True)
class Exchange:
    """Training rows and the new rows that take their places, one at a time.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n_train, p)
    rows : ndarray of int of shape (b,)
    new : ndarray or sparse array of shape (b, p)
    incoming : list of Incoming
        One a part.
    """

    X: Any
    rows: Positions
    new: Any
    incoming: Sequence[Incoming]

    def of(self, index: slice | Positions) -> Exchange:
        """Some of the replacements."""
        incoming = [one.of(index) for one in self.incoming]
        return Exchange(self.X, self.rows[index], self.new[index], incoming)

    def stays(self) -> bool:
        """Whether all rows keep their inputs."""
        old = self.X[self.rows]
        if sparse.issparse(self.X):
            return (old != sparse.csr_array(self.new)).nnz == 0
        return np.array_equal(old, self.new)


class LinearReplacement:
    """Change of a target at queries when a training row is replaced.

    Parameters
    ----------
    parts : sequence of BasePart
    target : Target or None
        None where parameters are the target.

    Attributes
    ----------
    notes : Notes
        Training rows whose replacement left no minimum, or not a known one.
    """

    def __init__(self, parts: Sequence[BasePart], target: Target | None):
        self.parts, self.target = parts, target
        self.notes = Notes()

    def change(self, queries: Queries | Coefficients, exchange: Exchange) -> Array:
        """Value after the replacement minus before, (n_queries, n_rows)."""
        b, stays = len(exchange.rows), exchange.stays()
        changes = np.zeros((queries.shape[0], b))
        for block in _loops.slices(b, self._block(queries.shape[0], exchange, stays)):
            changes[:, block] = self._change(queries, exchange.of(block), stays)
        return changes

    def _block(self, n_queries, exchange, stays):
        floats = 4 * n_queries
        for part in self.parts:
            size, n_outputs = part.theta.shape
            floats += size * n_outputs * (8 + 6 * n_outputs) + 4 * n_queries * n_outputs
            if part.iterates:
                floats += 6 * part.objective.n_train * n_outputs
        block = int(_loops.memory_budget() / (8.0 * (floats + 4 * exchange.X.shape[1])))
        wide = any(isinstance(part.objective.coordinates, RowSpace) for part in self.parts)
        return max(1, block if stays or not wide else min(block, WIDE))

    def _change(self, queries, exchange, stays):
        wide: dict[int, list[Any]] = {}
        moved = [self._moved(k, exchange, stays, wide) for k in range(len(self.parts))]
        b = len(exchange.rows)
        if isinstance(queries, Coefficients):
            return self._of_coefficients(queries, moved, b)
        seen: dict[int, Any] = {}
        deltas = [self._deltas(queries, k, own, b, seen) for k, own in enumerate(moved)]
        target = known(self.target)
        if self.parts[0].method != "first_order":
            return target.change(queries, deltas)
        pairs = zip(target.gradient(queries), deltas, strict=True)
        return sum(np.einsum("qk,qbk->qb", gradient, delta) for gradient, delta in pairs)

    def _deltas(self, queries, index, moved, b, seen):
        """Changes of the outputs of one part, (q, b, K)."""
        part = self.parts[index]
        deltas = np.zeros((queries.shape[0], b, part.theta.shape[1]))
        for own in moved:
            design = queries.designs[index]
            if own.coordinates is not part.objective.coordinates:
                key = id(own.coordinates)
                if key not in seen:
                    seen[key] = own.coordinates.design(queries.rows)
                design = seen[key]
            deltas[:, own.columns] = outputs_moved(design, own.moves)
        return deltas

    def _of_coefficients(self, wanted, moved, b):
        changes = np.zeros((wanted.shape[0], b))
        for index, parts in enumerate(moved):
            mine = np.flatnonzero(wanted.part == index)
            for own in parts if mine.size else ():
                size, n_outputs, some = own.moves.shape
                user = own.coordinates.to_user(own.moves.reshape(size, n_outputs * some))
                user = user.reshape(-1, n_outputs, some)
                changes[np.ix_(mine, own.columns)] = user[wanted.row[mine], wanted.output[mine]]
        return changes

    # -- moves ----------------------------------------------------------------------------------

    def _moved(self, index, exchange, stays, wide) -> list[Moved]:
        part, incoming = self.parts[index], exchange.incoming[index]
        every = np.arange(len(exchange.rows))
        if isinstance(part, ProgrammePart):
            moves, unique = part.replaced(exchange.X, exchange.rows, exchange.new, incoming)
            self.notes.not_unique.update(exchange.rows[~unique].tolist())
            return [Moved(every, _plain(part), moves)]
        if isinstance(part, KinkedPart):
            moves, ends = replaced(part, exchange.X, exchange.rows, exchange.new, incoming)
            self.notes.failed.update(exchange.rows[~ends].tolist())
            return [Moved(every, _plain(part), moves)]
        assert isinstance(part, Part)
        beyond = self._beyond(part.objective.coordinates, exchange, stays)
        outside = beyond.any(axis=1)
        free = unpenalised(part.objective)
        if part.method == "first_order" and free:
            outside[:] = False  # what nothing holds has no derivative
        moved, aside = self._by_the_curvature(part, exchange, incoming, every[~outside], stays)
        found = [moved]
        if outside.any() and free:
            aside = np.append(aside, every[outside])
        elif outside.any():
            left = every[outside], beyond[outside]
            moved, far = self._widened(part, exchange, incoming, *left, wide)
            found, aside = [*found, moved], np.append(aside, far)
        if aside.size:
            found.append(self._one_by_one(part, exchange, incoming, aside))
        return [own for own in found if own.columns.size]

    def _beyond(self, coordinates, exchange, stays):
        if stays or not isinstance(coordinates, RowSpace):
            return np.zeros((len(exchange.rows), 1))
        return outside_parts(coordinates, exchange.new)

    def _by_the_curvature(self, part, exchange, incoming, columns, stays):
        """Moves of replacements within the span, and those that have to be looked at alone."""
        own, objective = exchange.of(columns), part.objective
        new = objective.design.take(own.rows) if stays else objective.coordinates.design(own.new)
        return self._moves(part, part.curvature, own.rows, new, incoming, columns)

    def _widened(self, part, exchange, incoming, columns, beyond, wide):
        shared = wide.setdefault(id(part.objective.coordinates), [])
        curvature = widened(part, exchange.X, beyond, shared)
        own = exchange.of(columns)
        new = curvature.objective.coordinates.design(own.new)
        return self._moves(part, curvature, own.rows, new, incoming, columns)

    def _moves(
        self,
        part: Part,
        curvature: LinearCurvature,
        rows: Positions,
        new: Any,
        incoming: Incoming,
        columns: Positions,
    ) -> tuple[Moved, Positions]:
        """Moves of `columns` by one curvature, and those columns that it cannot tell."""
        change = replacing(curvature, rows, new.dense(), incoming.of(columns))
        aside = _infinite(change) & (part.method != "first_order")
        kept = np.flatnonzero(~aside)
        flat, alone = self._flat_moves(part, curvature, change.of(kept))
        if unpenalised(curvature.objective):
            # A minimum is there, but which of them the estimator takes is another question.
            aside[kept[alone]] = True
            flat, kept = flat[:, ~alone], kept[~alone]
        else:
            self.notes.alone.update(rows[kept[alone]].tolist())
        moves = flat.reshape(*curvature.theta.shape, len(kept))
        found = Moved(columns[kept], curvature.objective.coordinates, moves)
        return found, columns[aside]

    def _flat_moves(self, part, curvature, change):
        """Moves (P K, b), and where a direction is left without curvature."""
        alone = np.zeros(len(change.rows), dtype=bool)
        if not len(alone):
            return np.zeros((curvature.theta.size, 0)), alone
        if part.method == "first_order":
            return curvature.inverse()(change.gradient(curvature)), alone
        inverse = ReplacementInverse(curvature, change)
        if part.method == "newton":
            self.notes.indefinite.update(change.rows[inverse.indefinite].tolist())
            return inverse.move(), inverse.alone
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is searched for alone
            result = refit(curvature, change, inverse)
        self.notes.failed.update(result.failed)
        # Where there is a penalty, the search has found what a Newton step misses.
        return result.moves, inverse.alone & unpenalised(curvature.objective)

    def _one_by_one(self, part, exchange, incoming, columns):
        both, n = stacked(exchange.X, exchange.new), exchange.X.shape[0]
        moves = []
        for column in columns:
            row = int(exchange.rows[column])
            one = incoming.of(np.array([column]))
            move, converged = in_its_own_span(part, exchange.X, both, row, n + column, one)
            moves.append(move)
            if not converged:
                self.notes.failed.add(row)
        return Moved(columns, _plain(part), np.stack(moves, axis=2))


def _infinite(change):
    """Which rows have no derivatives at the fitted parameters: their loss overflows there."""
    largest = np.abs(change.new_bends).max(axis=(1, 2), initial=0.0)
    return ~(np.maximum(largest, np.abs(change.new_slopes).max(axis=1)) <= ENDLESS)


def _plain(part):
    return Plain(len(part.problem.coef), intercept=part.problem.intercept is not None)

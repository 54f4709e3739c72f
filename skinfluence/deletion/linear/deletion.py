"""Deletion of rows of a fitted linear model, as blocks of scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.deletion.base import Deletion
from skinfluence.deletion.linear.coefficients import Coefficients
from skinfluence.deletion.linear.moves import class_gradients, weight_ratios
from skinfluence.deletion.linear.part import Notes
from skinfluence.deletion.linear.queries import Queries, known
from skinfluence.deletion.linear.targets import Target
from skinfluence.objectives.design import DenseDesign

Array = NDArray[np.float64]


# Bytes of temporaries of one block of queries: what stays in the cache is not fetched twice.
TILE = 2**23
# Moved outputs in a tile of theirs, and queries at most.
CACHED, CACHED_QUERIES = 2**16, 256


class LinearDeletion(Deletion):
    """Change of a target at queries when a training row is deleted.

    Parameters
    ----------
    parts : sequence of BasePart
    target : Target or None
        None where parameters are the target.
    train : Queries or None
        The training rows as queries, for self influence; None where parameters are the target.
    n_train : int
    method : {"first_order", "newton", "refit"}
    relative : {None, "parameters", "loss"}
        RelatIF: divide by how far the parameters move, or by how far the losses do.
    """

    # The products are large and few: BLAS threads pay.
    one_blas_thread = False

    def __init__(
        self,
        parts: Sequence[Any],
        target: Target | None,
        train: Queries | None,
        *,
        n_train: int,
        method: str,
        relative: str | None,
        notes: Notes,
    ):
        self.parts, self.target, self.train = parts, target, train
        self.method, self.relative, self.notes = method, relative, notes
        self.n_train = n_train
        self.row_block = self._rows_within(self._floats_a_row())
        self.move_block = self._rows_within(self._floats_a_move())

    # -- memory ---------------------------------------------------------------------------------

    def _rows_within(self, floats):
        return int(np.clip(_loops.memory_budget() / (8.0 * floats), 1, max(self.n_train, 1)))

    def _floats_a_move(self):
        """float64 numbers that the move of one row keeps alive."""
        total = 0
        for part in self.parts:
            size, n_outputs = part.theta.shape
            total += size * n_outputs * (4 + 3 * n_outputs)
            if self.method == "refit":
                total += 4 * size * n_outputs
        return total + self._products()

    def _floats_a_row(self):
        if self.method == "first_order" and not self._dense:
            return 1  # nothing is kept but the rows' own slopes
        return self._floats_a_move()

    def _products(self):
        """Outputs of all training rows, which conjugate gradients need for each column."""
        by_products = any(part.iterates for part in self.parts)
        n_outputs = sum(part.theta.shape[1] for part in self.parts)
        return 3 * self.n_train * n_outputs if by_products else 0

    @property
    def _dense(self):
        return isinstance(self.parts[0].objective.design, DenseDesign)

    def query_block(self, n_rows: int, budget: float) -> int:
        n_outputs = sum(part.theta.shape[1] for part in self.parts)
        size = sum(part.theta.size for part in self.parts)
        inner = 2 + n_outputs if self.method != "first_order" and not self._dense else 1
        a_query = n_rows * inner + 3 * size
        # Several workers need blocks to share. One needs none: they would only be copied, and
        # where a block costs a run of conjugate gradients, few large ones are better.
        alone = self._products() or budget >= _loops.memory_budget()
        tile = budget if alone else min(budget, TILE)
        return max(1, int(tile / (8.0 * (a_query + self._products()))))

    # -- scores ---------------------------------------------------------------------------------

    def delete(self, rows: slice) -> Any:
        positions = np.arange(rows.start, rows.stop)
        if self.method == "first_order":
            state = [self._first_order_state(part, positions) for part in self.parts]
        else:
            state = [part.moves(positions) for part in self.parts]
        return state, self._sizes(positions)

    def _first_order_state(self, part, positions):
        if self._dense:
            return part.leaving_gradients(positions)
        return positions

    def change(self, X: Queries | Coefficients, deleted: Any) -> Array:
        state, sizes = deleted
        if isinstance(X, Coefficients):
            changes = self._coefficients(X, state)
        elif self.method == "first_order":
            changes = self._linear(X, state)
        else:
            changes = self._moved(X, state)
        return changes if sizes is None else _divided(changes, sizes)

    def _moved(self, queries, moves):
        """Changes of the target, in tiles that stay in the cache from the product on."""
        target = known(self.target)
        n_queries, n_rows = queries.shape[0], moves[0].shape[2]
        n_outputs = sum(move.shape[1] for move in moves)
        height = CACHED_QUERIES if self._dense else n_queries  # slices of sparse rows are copies
        width = max(16, CACHED // max(1, min(height, n_queries) * n_outputs))
        tiles = [(part, queries[part]) for part in _loops.slices(n_queries, height)]
        changes = np.empty((n_queries, n_rows))
        for rows in _loops.slices(n_rows, width):
            here = [np.ascontiguousarray(move[:, :, rows]) for move in moves]
            for part, own in tiles:
                pairs = zip(own.designs, here, strict=True)
                deltas = [outputs_moved(design, move) for design, move in pairs]
                changes[part, rows] = target.change(own, deltas)
        return changes

    def _coefficients(self, wanted, state):
        pairs = zip(self.parts, state, strict=True)
        return self._user_coefficients(wanted, [self._moves_of(part, own) for part, own in pairs])

    def _user_coefficients(self, wanted, moves):
        changes = np.empty((wanted.shape[0], moves[0].shape[2]))
        for index, (part, move) in enumerate(zip(self.parts, moves, strict=True)):
            own = np.flatnonzero(wanted.part == index)
            if own.size:
                moved = part.user_moves(move)
                changes[own] = moved[wanted.row[own], wanted.output[own]]
        return changes

    def _moves_of(self, part, kept):
        if self.method != "first_order":
            return kept
        return part.moves(kept) if kept.ndim == 1 else part.first_order_moves(kept)

    def _linear(self, queries, state):
        gradients = known(self.target).gradient(queries)
        total = None
        for part, design, gradient, kept in zip(
            self.parts, queries.designs, gradients, state, strict=True
        ):
            if not gradient.any():
                continue
            solved = part.solved(design.dense(), gradient)
            scores = solved.T @ kept if self._dense else self._sparse_scores(part, solved, kept)
            total = scores if total is None else np.add(total, scores, out=total)
        if total is None:
            n_rows = state[0].shape[1] if self._dense else len(state[0])
            return np.zeros((queries.shape[0], n_rows))
        return total

    def _sparse_scores(self, part, solved, positions):
        curvature = part.curvature
        objective = part.objective
        size, n_outputs = part.theta.shape
        seen = objective.design.take(positions).times(solved.reshape(size, -1))
        seen = seen.reshape(len(positions), n_outputs, -1)
        ratios, own = weight_ratios(objective, positions)
        slopes = own[:, None] * curvature.slopes[positions]
        scores = np.einsum("bk,bkq->qb", slopes, seen)
        if ratios is not None:
            scores -= (class_gradients(curvature).T @ solved).T @ (ratios - 1.0)
        share = objective.m_share[positions]
        if share.any():
            along = np.where(curvature.moving, curvature.penalty_gradient, 0.0).ravel() @ solved
            scores += along[:, None] * share
        return scores

    def self_change(self, rows: slice) -> Array:
        return self.self_change_at(np.arange(rows.start, rows.stop))

    def self_change_at(self, positions: NDArray[np.intp]) -> Array:
        """As :meth:`self_change`, at any positions."""
        own = known(self.train).at(positions)
        moves = [part.moves(positions) for part in self.parts]
        deltas = [
            np.einsum("ip,pki->ik", design.dense(), move)[:, None]
            for design, move in zip(own.designs, moves, strict=True)
        ]
        changes, sizes = self._one_move_each(own, deltas), self._sizes(positions)
        return changes if sizes is None else _divided(changes, sizes)

    def group_change(self, X: Queries | Coefficients, rows: NDArray[np.intp]) -> Array:
        """Change at each query when all of `rows` are deleted together, (n_queries,)."""
        if not len(rows):
            return np.zeros(X.shape[0])
        changes, size = self._group_change(X, rows), self._group_size(rows)
        return changes if size is None else _divided(changes, np.broadcast_to(size, changes.shape))

    def _group_change(self, X, rows):
        moves = [part.group_moves(rows) for part in self.parts]
        if isinstance(X, Coefficients):
            return self._user_coefficients(X, moves)[:, 0]
        deltas = [outputs_moved(d, move) for d, move in zip(X.designs, moves, strict=True)]
        return self._one_move_each(X, deltas)

    def _one_move_each(self, queries, deltas):
        """Change of the target at each query under its one move, (q, 1, K) a part."""
        target = known(self.target)
        if self.method != "first_order":
            return target.change(queries, deltas)[:, 0]
        pairs = zip(target.gradient(queries), deltas, strict=True)
        return sum((gradient * delta[:, 0]).sum(axis=1) for gradient, delta in pairs)

    def group_self_change(self, rows: NDArray[np.intp]) -> float:
        """Sum over `rows` of how each one's value changes when all of them are deleted."""
        return float(self.group_change(known(self.train).at(rows), rows).sum())

    def nothing_left(self, rows: NDArray[np.intp]) -> bool:
        """Whether deleting `rows` leaves some problem without any weight."""
        for part in self.parts:
            weights = part.objective.weights.copy()
            weights[rows] = 0.0
            if not weights.any():
                return True
        return False

    def over_queries(self, queries: Queries) -> Array:
        """Sum of the first-order scores over all queries, (n_train,): one solve a part."""
        gradients = known(self.target).gradient(queries)
        total = np.zeros(self.n_train)
        for part, design, gradient in zip(self.parts, queries.designs, gradients, strict=True):
            solved = part.solved_sum(design, gradient)
            for rows in _loops.slices(self.n_train, self.row_block):
                positions = np.arange(rows.start, rows.stop)
                total[rows] += self._sparse_scores(part, solved, positions)[0]
        return total

    # -- RelatIF --------------------------------------------------------------------------------

    def _sizes(self, positions):
        """What RelatIF divides by, (b,): first-order sizes, whatever the method."""
        if self.relative is None:
            return None
        total = np.zeros(len(positions))
        for part in self.parts:
            total += self._squared_size(part, part.leaving_gradients(positions))
        return np.sqrt(np.maximum(total, 0.0))

    def _group_size(self, rows):
        """The same for rows that go together, (1,): the size of their sum."""
        if self.relative is None:
            return None
        total = np.zeros(1)
        for part in self.parts:
            gone = part.leaving_gradients(rows).sum(axis=1, keepdims=True)
            total += self._squared_size(part, gone)
        return np.sqrt(np.maximum(total, 0.0))

    def _squared_size(self, part, gradient):
        moved = part.curvature.inverse()(gradient)
        if self.relative == "loss":
            return (gradient * moved).sum(axis=0)
        shaped = moved.reshape(*part.theta.shape, -1)
        return np.square(part.user_moves(shaped)).sum(axis=(0, 1))

    def leverage(self) -> Array:
        """How strongly each row moves the fit, over all parts, (n_train,)."""
        total = np.zeros(self.n_train)
        for rows in _loops.slices(self.n_train, self.move_block):
            positions = np.arange(rows.start, rows.stop)
            for part in self.parts:
                total[rows] += part.leverage(positions)
        return total

    def report(self) -> dict[str, Any]:
        notes = self.notes
        flagged = sorted(
            notes.alone | notes.indefinite | notes.failed | notes.not_unique | notes.last_of_class
        )
        return {
            "method": self.method,
            "flagged_rows": np.asarray(flagged, dtype=np.intp),
            "n_sweeps": notes.n_sweeps,
            "n_refitted_alone": len(notes.refitted_alone),
            **self.parts[0].report(),
        }


def outputs_moved(design: Any, moves: Array) -> Array:
    """Change of each query's outputs under each move, (q, b, K)."""
    size, n_outputs, b = moves.shape
    moved = design.times(moves.reshape(size, n_outputs * b)).reshape(-1, n_outputs, b)
    return np.moveaxis(moved, 1, 2)


def _divided(changes, sizes):
    """Scores over sizes; a row that moves nothing scores 0."""
    return np.divide(changes, sizes, out=np.zeros_like(changes), where=sizes > 0)

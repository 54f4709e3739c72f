"""A target of an exact model, as blocks of scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skinfluence.deletion.base import Deletion
from skinfluence.deletion.closed.base import (
    EVERY,
    OWN,
    TILE,
    Array,
    ExactModel,
    Positions,
    by_blocks,
    difference,
)


@dataclass(frozen=True)
class ExactQueries:
    """Queries, and what the target needs to know of them.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n_queries, p)
        In model space.
    before : ndarray of shape (n_queries,)
        Value of the target at the fitted model.
    asked : ndarray of shape (n_queries, ...), or None
        Target or choice of each query, as the value takes it.
    """

    X: Any
    before: Array
    asked: Any

    @property
    def shape(self) -> tuple[int]:
        """Number of queries."""
        return (self.X.shape[0],)

    def __getitem__(self, part: Any) -> ExactQueries:
        asked = None if self.asked is None else self.asked[part]
        return ExactQueries(self.X[part], self.before[part], asked)


class ExactDeletion(Deletion):
    """Change of a target at queries when a row of an exact model is deleted.

    Parameters
    ----------
    model : ExactModel
    value : callable
        ``value(outputs, asked)`` of outputs (q, b, n_outputs) is (q, b).
    train : ExactQueries
        The training rows.
    slope : callable, default=None
        ``slope(outputs, asked)`` of outputs (q, n_outputs) is its derivative by them, for models
        that are `linear`.
    """

    one_blas_thread = False

    def __init__(
        self,
        model: ExactModel,
        value: Callable[[Array, Any], Array],
        train: ExactQueries,
        slope: Callable[[Array, Any], Array] | None = None,
    ):
        self.model, self.value, self.train, self.slope = model, value, train, slope
        self.n_train = model.n_train
        self.row_block = min(model.row_block, self.n_train)

    def query_block(self, n_rows: int, budget: float) -> int:
        tile = min(budget / 8.0, TILE) if n_rows * self.model.n_outputs < TILE else budget / 8.0
        return max(1, int(tile / self.model.floats_a_query(n_rows)))

    def delete(self, rows: slice) -> Any:
        positions = np.arange(rows.start, rows.stop)
        return positions, self.model.delete(positions)

    def change(self, X: Any, deleted: Any) -> Array:
        positions, state = deleted
        if self.slope is None:
            changes = self.model.change(X.X, state, X.before, lambda out: self.value(out, X.asked))
        else:
            changes = self.moved(X, self.model.without(X.X, state, EVERY))
        changes[:, self.model.idle(positions)] = 0.0
        return changes

    def self_change(self, rows: slice) -> Array:
        return self.self_change_at(np.arange(rows.start, rows.stop))

    def self_change_at(self, positions: Positions) -> Array:
        """As :meth:`self_change`, at any positions."""
        own = self.train[positions]
        outputs = self.model.without(own.X, self.model.delete(positions), OWN)
        changes = self.moved(own, outputs[:, None])[:, 0]
        changes[self.model.idle(positions)] = 0.0
        return changes

    def moved(self, queries: ExactQueries, outputs: Array) -> Array:
        """Change of the value from the fitted model to outputs (q, b, n_outputs), (q, b)."""
        if self.slope is None:
            return difference(self.value(outputs, queries.asked), queries.before[:, None])
        before = self.model.outputs(queries.X)
        slope = self.slope(before, queries.asked)
        return np.einsum("qbk,qk->qb", outputs - before[:, None], slope)

    def report(self) -> dict[str, Any]:
        return {"method": self.model.method, "flagged_rows": np.sort(self.model.alone)}


def values_of(
    outputs: Callable[[Any], Array], X: Any, asked: Any, value: Callable[[Array, Any], Array]
) -> Array:
    """Value at each query of the outputs of one model, (n_queries,), block by block."""

    def of(part: slice) -> Array:
        here = None if asked is None else asked[part]
        return value(outputs(X[part])[:, None], here)[:, 0]

    return by_blocks(of, X.shape[0], 4096)

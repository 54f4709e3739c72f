"""The contract of exact deletion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Deletion(ABC):
    """How the loss at a query changes when one training row is deleted.

    Conventions (they hold for every member):

    - the loss is ``-log p``; a change is the loss *without* the row minus the loss *with* it, so a
      positive change means that the row helps the query;
    - rows are positions in the training set, queries are rows of a float64 array in the space the
      model was fitted in (after the head of a pipeline);
    - changes may be ``+inf`` or ``-inf``, never NaN.

    The law: every member equals brute-force refits to 1e-8 (``refit_loss`` is that truth, by code
    that shares nothing with ``change``), or says how far it is (mixtures, by method).

    Attributes
    ----------
    n_train : int
        Number of training rows.
    row_block : int
        How many rows are deleted together: all of them where the deleted models need no state of
        their own, fewer where they do.
    weights : ndarray of shape (n_train,) or None
        Weights of the training rows; None for models that have none.
    infinite_change : float
        What a change is where the loss is infinite before and after.
    """

    n_train: int
    row_block: int
    weights: Array | None = None
    infinite_change: float = 0.0

    @abstractmethod
    def query_block(self, n_rows: int, budget: float) -> int:
        """Number of queries (at least 1) whose temporaries fit into `budget` bytes."""

    @abstractmethod
    def delete(self, rows: slice) -> Any:
        """State of the models without each of `rows`, shared by all blocks of queries."""

    @abstractmethod
    def change(self, X: Array, deleted: Any) -> Array:
        """Change of the loss at each query, of shape (n_queries, n_rows)."""

    @abstractmethod
    def self_change(self, rows: slice) -> Array:
        """Change of the loss at each of `rows` when that row itself is deleted, (n_rows,)."""

    @abstractmethod
    def addition(self, X: Array) -> Array:
        """Self influence each query would have if it were added with weight 1, (n_queries,)."""

    @abstractmethod
    def log_density(self, X: Array) -> Array:
        """Log density of the fitted model at each query, (n_queries,)."""

    @abstractmethod
    def refit_loss(self, row: int | None, X: Array) -> Array:
        """Loss at each query of a model really refitted without `row`, (n_queries,).

        None refits with all rows, so that both sides of a difference are reached alike.
        """

    def report(self) -> dict[str, Any]:
        """How changes are computed, and the rows whose change deserves distrust."""
        return {"method": "exact", "flagged_rows": np.empty(0, dtype=np.intp)}

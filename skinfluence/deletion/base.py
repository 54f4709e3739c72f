"""The contract of deletion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Deletion(ABC):
    """How a value at a query changes when one training row is deleted.

    Conventions (they hold for every member):

    - a change is the value *without* the row minus the value *with* it: where the value is a loss,
      a positive change means that the row helps the query;
    - rows are positions in the training set; queries are rows in the space the model was fitted in
      (after the head of a pipeline), an array or anything with ``shape[0]`` and slices;
    - changes may be ``+inf`` or ``-inf``, never NaN.

    Attributes
    ----------
    n_train : int
        Number of training rows.
    row_block : int
        How many rows are deleted together: all of them where the deleted models need no state of
        their own, fewer where they do.
    one_blas_thread : bool
        Whether a block is too small for BLAS to share.
    """

    n_train: int
    row_block: int
    one_blas_thread: bool = True

    @abstractmethod
    def query_block(self, n_rows: int, budget: float) -> int:
        """Number of queries (at least 1) whose temporaries fit into `budget` bytes."""

    @abstractmethod
    def delete(self, rows: slice) -> Any:
        """State of the models without each of `rows`, shared by all blocks of queries."""

    @abstractmethod
    def change(self, X: Any, deleted: Any) -> Array:
        """Change of the value at each query, of shape (n_queries, n_rows)."""

    @abstractmethod
    def self_change(self, rows: slice) -> Array:
        """Change of the value at each of `rows` when that row itself is deleted, (n_rows,)."""

    def report(self) -> dict[str, Any]:
        """How changes are computed, and the rows whose change deserves distrust."""
        return {"method": "exact", "flagged_rows": np.empty(0, dtype=np.intp)}


class DensityDeletion(Deletion):
    """Deletion from a density, whose loss is ``-log p``.

    The law: every member equals brute-force refits to 1e-8 (``refit_loss`` is that truth, by code
    that shares nothing with ``change``), or says how far it is (mixtures, by method).

    Attributes
    ----------
    weights : ndarray of shape (n_train,) or None
        Weights of the training rows; None for models that have none.
    infinite_change : float
        What a change is where the loss is infinite before and after.
    """

    weights: Array | None = None
    infinite_change: float = 0.0

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

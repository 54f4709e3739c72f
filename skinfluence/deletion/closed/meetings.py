"""Which query meets which deletion."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]


class Meeting(ABC):
    """Which query meets which deletion.

    A formula that is written with :meth:`dot` and :meth:`query` holds for both members: arrays of
    deletions are (b,), and results (q, b) or, where each query meets its own row, (b,).

    Attributes
    ----------
    pairs : bool
        Whether each query meets its own row only.
    """

    pairs: bool = False

    @abstractmethod
    def dot(self, queries: Any, rows: Any) -> Array:
        """Dot products of rows of two matrices that meet."""

    @abstractmethod
    def query(self, values: Array) -> Array:
        """Values of queries, shaped to meet values of deletions."""


class _Every(Meeting):
    def dot(self, queries: Any, rows: Any) -> Array:
        product = queries @ rows.T
        return product.toarray() if sparse.issparse(product) else np.asarray(product)

    def query(self, values: Array) -> Array:
        return values[:, None]


class _Own(Meeting):
    pairs = True

    def dot(self, queries: Any, rows: Any) -> Array:
        if sparse.issparse(queries) or sparse.issparse(rows):
            queries = sparse.csr_array(queries) if sparse.issparse(rows) else queries
            product = queries * rows if sparse.issparse(rows) else queries.multiply(rows)
            return np.asarray(product.sum(axis=1)).ravel()
        return np.einsum("ij,ij->i", queries, rows)

    def query(self, values: Array) -> Array:
        return values


EVERY, OWN = _Every(), _Own()

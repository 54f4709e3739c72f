"""The rows of a linear model as an operator: dense, or sparse with the intercept as a border."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.linalg import blas

from skinfluence import _loops

Array = NDArray[np.float64]

# Rows a block of a Gram product: the scaled copy stays in the cache.
GRAM_ROWS = 4096
# Numbers in a block of several Gram products.
GRAMS = 2**17


class Design(ABC):
    """Rows x~ = (x, 1) of a linear model, or x alone where it has no intercept.

    Conventions. There are n rows and P columns, the last of which is the intercept's; parameters
    have shape (P, M), one column for each of M outputs or moves.

    The laws: `adjoint` is the adjoint of `times`, `gram` is both together, and `dense` gives the
    rows that they act by.
    """

    shape: tuple[int, int]

    @abstractmethod
    def times(self, theta: Array) -> Array:
        """Outputs of all rows, (n, M)."""

    @abstractmethod
    def adjoint(self, values: Array) -> Array:
        """Sum of the rows times `values` of shape (n, M): (P, M)."""

    @abstractmethod
    def absolute(self) -> Design:
        """The design of the absolute values of the rows."""

    @abstractmethod
    def gram(self, c: Array) -> Array:
        """``sum_i c_i x~_i x~_i'``, (P, P)."""

    def grams(self, c: Array) -> Array:
        """``sum_i c_il x~_i x~_i'`` for every column l of c, (P, L, P)."""
        return np.stack([self.gram(own) for own in c.T], axis=1)

    @abstractmethod
    def squares(self, c: Array) -> Array:
        """``sum_i c_ik x~_ip^2``, (P, K), for c of shape (n, K)."""

    @abstractmethod
    def take(self, rows: Any) -> Design:
        """The design of some rows, by slice or positions."""

    @abstractmethod
    def columns(self, index: NDArray[np.intp]) -> Design:
        """The design of some coordinates, by increasing positions; the intercept stays last."""

    @abstractmethod
    def dense(self) -> Array:
        """All rows as an array (n, P); take few."""

    def __len__(self) -> int:
        return self.shape[0]


class DenseDesign(Design):
    """Rows as an array that holds the intercept's column of ones, where there is one."""

    def __init__(self, rows: Array):
        self.rows = rows
        self.shape = rows.shape

    def times(self, theta: Array) -> Array:
        return self.rows @ theta

    def adjoint(self, values: Array) -> Array:
        return self.rows.T @ values

    def absolute(self) -> DenseDesign:
        return DenseDesign(np.abs(self.rows))

    def gram(self, c: Array) -> Array:
        size = self.shape[1]
        total = np.zeros((size, size), order="F")
        if size == 0:  # which BLAS does not take
            return total
        positive = len(c) == 0 or c.min() >= 0
        for start in range(0, len(self), GRAM_ROWS):
            block = slice(start, start + GRAM_ROWS)
            part = self.rows[block]
            if positive:
                # A symmetric product costs half: only the upper triangle is filled.
                root = (part * np.sqrt(c[block, None])).T
                total = blas.dsyrk(1.0, root, beta=1.0, c=total, overwrite_c=1)
            else:
                total += (part * c[block, None]).T @ part
        if positive:
            lower = np.tril_indices(size, -1)
            total[lower] = total.T[lower]
        return total

    def grams(self, c: Array) -> Array:
        size, several = self.shape[1], c.shape[1]
        total = np.zeros((size, several * size))
        for part in _loops.slices(len(self), max(64, GRAMS // max(several * size, 1))):
            scaled = c[part, :, None] * self.rows[part, None, :]
            total += self.rows[part].T @ scaled.reshape(len(scaled), several * size)
        return total.reshape(size, several, size)

    def squares(self, c: Array) -> Array:
        return np.square(self.rows).T @ c

    def take(self, rows: Any) -> DenseDesign:
        return DenseDesign(self.rows[rows])

    def columns(self, index: NDArray[np.intp]) -> DenseDesign:
        return DenseDesign(self.rows[:, index])

    def dense(self) -> Array:
        return self.rows


class SparseDesign(Design):
    """Rows in CSR, and the intercept as a border that is never stored."""

    def __init__(self, rows: Any, intercept: bool):
        self.rows = sparse.csr_array(rows)
        self.intercept = intercept
        n, p = self.rows.shape
        self.shape = (n, p + intercept)

    def times(self, theta: Array) -> Array:
        if not self.intercept:
            return self.rows @ theta
        return self.rows @ theta[:-1] + theta[-1]

    def adjoint(self, values: Array) -> Array:
        inner = self.rows.T @ values
        return np.vstack([inner, values.sum(axis=0)[None]]) if self.intercept else inner

    def absolute(self) -> SparseDesign:
        return SparseDesign(abs(self.rows), self.intercept)

    def gram(self, c: Array) -> Array:
        scaled = sparse.csr_array(self.rows.multiply(c[:, None]))
        inner = (self.rows.T @ scaled).toarray()
        if not self.intercept:
            return inner
        border = np.asarray(scaled.sum(axis=0)).ravel()
        return np.block([[inner, border[:, None]], [border[None], np.array([[c.sum()]])]])

    def squares(self, c: Array) -> Array:
        inner = self.rows.multiply(self.rows).T @ c
        return np.vstack([inner, c.sum(axis=0)[None]]) if self.intercept else inner

    def take(self, rows: Any) -> SparseDesign:
        return SparseDesign(self.rows[rows], self.intercept)

    def columns(self, index: NDArray[np.intp]) -> SparseDesign:
        p = self.rows.shape[1]
        inner = index[index < p]
        return SparseDesign(self.rows[:, inner], self.intercept and len(inner) < len(index))

    def dense(self) -> Array:
        rows = self.rows.toarray()
        return np.hstack([rows, np.ones((len(self), 1))]) if self.intercept else rows

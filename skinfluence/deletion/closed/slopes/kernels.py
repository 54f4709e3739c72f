"""Derivatives of kernels in one of their rows, and of what is solved with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics.pairwise import laplacian_kernel

from skinfluence.deletion.closed.slopes.generic import POINTS, WEIGHTS, spreads

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Names of kernels whose derivatives are written out here.
NAMED = ("linear", "rbf", "poly", "polynomial", "sigmoid", "cosine", "laplacian")
# Steps of differences of other kernels, relative to the spread of a column: so short that they
# hardly ever cross a corner.
STEP = 1e-4


class KernelSlopes(ABC):
    """Derivatives of a kernel in its first row, in some features.

    Parameters
    ----------
    features : ndarray of int of shape (f,)
    """

    def __init__(self, features: Positions):
        self.features = features

    @abstractmethod
    def along(self, x: Array, Y: Any) -> Array:
        """``d k(x, y) / dx`` of one row x (p,) at rows Y (m, p), (m, f)."""

    @abstractmethod
    def own(self, x: Array) -> Array:
        """``d k(x, x) / dx``, (f,): twice as much, where k is symmetric and smooth."""


class NamedSlopes(KernelSlopes):
    """Of kernels that are functions of products and distances: ``a y + c x``, a number each.

    Parameters
    ----------
    features
        As for every kernel.
    name : str
        One of `NAMED`.
    gamma, degree, coef0 : float
        As scikit-learn has them.
    """

    def __init__(
        self,
        features: Positions,
        name: str,
        *,
        gamma: float = 1.0,
        degree: float = 3.0,
        coef0: float = 1.0,
    ):
        super().__init__(features)
        self.name, self.gamma, self.degree, self.coef0 = name, gamma, degree, coef0

    def along(self, x: Array, Y: Any) -> Array:
        if self.name == "laplacian":
            return self._of_absolute_distances(x, Y)
        products = np.asarray(Y @ x).ravel()
        squares = _squares(Y)
        on_y, on_x = self._factors(products, squares, x @ x)
        columns = _dense(Y[:, self.features])
        return on_y[:, None] * columns + on_x[:, None] * x[self.features]

    def _of_absolute_distances(self, x, Y):
        row = sparse.csr_array(x[None]) if sparse.issparse(Y) else x[None]
        K = laplacian_kernel(row, Y, gamma=self.gamma)[0]
        return -self.gamma * K[:, None] * np.sign(x[self.features] - _dense(Y[:, self.features]))

    def own(self, x: Array) -> Array:
        if self.name == "laplacian":
            return np.zeros(len(self.features))
        square = np.array([x @ x])
        on_y, on_x = self._factors(square, square, x @ x)
        return 2.0 * (on_y + on_x) * x[self.features]

    def _factors(self, products, squares, square):
        """Factors of y and of x in the derivative."""
        nothing = np.zeros_like(products)
        if self.name == "linear":
            return nothing + 1.0, nothing
        if self.name == "rbf":
            distances = np.maximum(squares + square - 2.0 * products, 0.0)
            slope = 2.0 * self.gamma * np.exp(-self.gamma * distances)
            return slope, -slope
        if self.name == "cosine":
            norms = np.sqrt(squares * square)
            inverse = np.divide(1.0, norms, out=nothing, where=norms > 0)
            return inverse, -products * inverse / (square or 1.0)
        inner = self.gamma * products + self.coef0
        if self.name == "sigmoid":
            return self.gamma * (1.0 - np.tanh(inner) ** 2), nothing
        return self.gamma * self.degree * inner ** (self.degree - 1.0), nothing


class DifferenceSlopes(KernelSlopes):
    """Of any kernel, by central differences of order six of the kernel alone.

    Parameters
    ----------
    features
        As for every kernel.
    kernel : callable
        ``kernel(A, B)``, (n_a, n_b).
    diagonal : callable
        ``diagonal(A)``, (n_a,).
    X : ndarray or sparse array of shape (n, p)
        Training rows: steps are relative to the spreads of their columns.
    """

    def __init__(self, features: Positions, kernel: Any, diagonal: Any, X: Any):
        super().__init__(features)
        self.kernel, self.diagonal = kernel, diagonal
        self.steps = STEP * spreads(X)[features]
        self.sparse = sparse.issparse(X)

    def _points(self, x):
        points = np.tile(x, (len(self.features), len(POINTS), 1))
        at = np.arange(len(self.features))
        points[at, :, self.features] += self.steps[:, None] * POINTS
        points = points.reshape(-1, len(x))
        return sparse.csr_array(points) if self.sparse else points

    def _reduced(self, values):
        values = values.reshape(len(self.features), len(POINTS), -1)
        return np.einsum("fsm,s->mf", values, WEIGHTS) / self.steps

    def along(self, x: Array, Y: Any) -> Array:
        found = self.kernel(self._points(x), Y)
        return self._reduced(found.toarray() if sparse.issparse(found) else np.asarray(found))

    def own(self, x: Array) -> Array:
        return self._reduced(np.asarray(self.diagonal(self._points(x))))[0]


def _dense(Y):
    return Y.toarray() if sparse.issparse(Y) else Y


def _squares(Y):
    if sparse.issparse(Y):
        return np.asarray(Y.multiply(Y).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", Y, Y)


def dense_row(X: Any, i: int) -> Array:
    """One row of a matrix, (p,)."""
    return X[[i]].toarray()[0] if sparse.issparse(X) else X[i]


def solved_slopes(
    G: Array, of_queries: Array, own: Array, i: int, seen: Array, dual: Array
) -> Array:
    """Derivative of ``k_z' A^-1 t`` in row i, (q, f), where A is a kernel matrix plus noise.

    ``dk_z' d - a_z' dA d`` with ``d = A^-1 t`` and ``a_z = A^-1 k_z``; dA is zero but for row and
    column i.

    Parameters
    ----------
    G : ndarray of shape (n, f)
        ``d k(x_i, x_j) / d x_i``, zero for j = i.
    of_queries : ndarray of shape (q, f)
        ``d k(x_i, z) / d x_i``.
    own : ndarray of shape (f,)
        ``d k(x_i, x_i) / d x_i``.
    i : int
    seen : ndarray of shape (q, n)
        a_z of each query.
    dual : ndarray of shape (n,)
        d.
    """
    pull = dual @ G + dual[i] * own
    return dual[i] * (of_queries - seen @ G) - seen[:, i, None] * pull

"""The kernel of a fitted support vector machine, and rows of its matrix."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.metrics.pairwise import (
    linear_kernel,
    polynomial_kernel,
    rbf_kernel,
    sigmoid_kernel,
)

from skinfluence import _loops
from skinfluence._compat import libsvm_gamma
from skinfluence.deletion.base import Array
from skinfluence.exceptions import UnsupportedEstimatorError

Indices = NDArray[np.intp]

# Eigenvalues below minus this share of the largest diagonal entry are no rounding.
NEGATIVE = 1e-8
# Rows that are kept even where the memory is smaller.
LEAST_ROWS = 64


class Kernel:
    """Kernel between queries and training rows, with the fit's own gamma.

    Parameters
    ----------
    model : SVC, NuSVC, SVR, NuSVR or OneClassSVM
        Fitted.
    X : ndarray or sparse array of shape (n_train, p)
        Training rows; the kernel matrix itself where it is precomputed.

    Attributes
    ----------
    name : str
        "callable" where it is `function`.
    options : dict
        What a named kernel takes beside rows.
    X : ndarray or sparse array
        The training rows less `shift`, where there is one.
    """

    def __init__(self, model: Any, X: Any):
        self.name = "callable" if callable(model.kernel) else model.kernel
        self.function = model.kernel if callable(model.kernel) else None
        self.options = _options(model)
        # Distances come from products, which lose the digits that a common shift takes up.
        shifted = self.name == "rbf" and not sparse.issparse(X)
        self.shift = np.mean(X, axis=0) if shifted else None
        self.X = X if self.shift is None else X - self.shift
        self.n_train = X.shape[0]

    @property
    def surely_psd(self) -> bool:
        """Whether the kernel has no negative eigenvalues whatever the rows are."""
        if self.name == "poly":
            return self.options["coef0"] >= 0
        return self.name in ("linear", "rbf")

    def between(self, queries: Any, rows: Indices) -> Array:
        """Kernel of each query with some training rows, (n_queries, n_rows)."""
        if self.name == "precomputed":
            return np.asarray(queries[:, rows], dtype=np.float64)
        if self.function is not None:
            found = self.function(queries, self.X)
            found = found.toarray() if sparse.issparse(found) else np.asarray(found)
            return found[:, rows].astype(np.float64)
        if self.shift is not None:
            queries = queries - self.shift
        return self._named(queries, self.X[rows])

    def among(self, rows: Indices, others: Indices) -> Array:
        """Kernel of some training rows with others, (n_rows, n_others)."""
        if self.name == "precomputed":
            return np.asarray(self.X[np.ix_(rows, others)], dtype=np.float64)
        if self.function is not None:
            return self.between(self.X[rows], others)
        return self._named(self.X[rows], self.X[others])

    def between_new(self, queries: Any, X: Any, rows: Indices) -> Array:
        """Kernel of queries with new rows, (n_queries, b), that take the places of `rows`."""
        if self.name == "precomputed":  # new rows are the old ones, with other targets
            return np.asarray(queries[:, rows], dtype=np.float64)
        if self.function is not None:
            found = self.function(queries, X)
            found = found.toarray() if sparse.issparse(found) else np.asarray(found)
            return found.astype(np.float64)
        if self.shift is not None:
            queries, X = queries - self.shift, X - self.shift
        return self._named(queries, X)

    def among_new(self, X: Any, rows: Indices) -> Array:
        """Kernel of new rows with each other, (b, b)."""
        return self.between_new(X, X, rows)

    def _named(self, A, B):
        if not (A.shape[0] and B.shape[0]):  # no support vectors, say
            return np.zeros((A.shape[0], B.shape[0]))
        if self.name == "linear":
            return linear_kernel(A, B, dense_output=True)
        if self.name == "rbf":
            return rbf_kernel(A, B, **self.options)
        if self.name == "poly":
            return polynomial_kernel(A, B, **self.options)
        return sigmoid_kernel(A, B, **self.options)


def _options(model):
    gamma = libsvm_gamma(model)
    return {
        "rbf": {"gamma": gamma},
        "poly": {"gamma": gamma, "degree": model.degree, "coef0": model.coef0},
        "sigmoid": {"gamma": gamma, "coef0": model.coef0},
    }.get(model.kernel if isinstance(model.kernel, str) else "", {})


class Gram(Protocol):
    """What a programme knows of the kernel matrix of its n rows."""

    @property
    def n(self) -> int:
        """Number of rows."""

    @property
    def largest(self) -> float:
        """Size of the kernel's entries."""

    def row(self, j: int) -> Array:
        """Kernel of row j with all of the problem's rows, (n,)."""

    def rows(self, which: Indices) -> Array:
        """Several rows at once, (len(which), n)."""

    def block(self, which: Indices) -> Array:
        """Kernel of some rows with each other, (len(which), len(which))."""

    def products(self, beta: Array) -> Array:
        """``K beta``, (n,)."""

    def mixed(self, which: Indices, weights: Array) -> Array:
        """Sum of a few rows, weighted, (n,); or several such sums, (b, n)."""

    def apart(self, row: Any, others: Indices, weights: Array) -> float | None:
        """Squared distance of a row from a combination of others; None where only K is known."""


class KernelRows:
    """Rows of the kernel matrix of one problem.

    The matrix is formed once where it fits into half of scikit-learn's ``working_memory``;
    otherwise rows are computed as they are asked for, and as many are kept as fit there.

    Parameters
    ----------
    kernel : Kernel
    positions : ndarray of int of shape (n,)
        Training rows of the problem.
    share : float, default=1.0
        Part of the memory that this problem may take.
    """

    def __init__(self, kernel: Kernel, positions: Indices, share: float = 1.0):
        self.kernel, self.positions = kernel, positions
        self.n = len(positions)
        budget = 0.5 * share * _loops.memory_budget()
        self._kept: OrderedDict[int, Array] = OrderedDict()
        self._capacity = max(LEAST_ROWS, int(budget / (8.0 * max(self.n, 1))))
        self._matrix: Array | None = None
        if self._capacity >= self.n:
            self._matrix = kernel.among(positions, positions)
            check_symmetric(self._matrix)
            # libsvm reads rows, and so do we; rounding may differ across the diagonal.
            self._matrix = 0.5 * (self._matrix + self._matrix.T)
            if not kernel.surely_psd:
                check_psd(self._matrix, kernel.name)

    @cached_property
    def largest(self) -> float:
        """Size of the kernel's entries."""
        if self._matrix is not None:
            return float(np.abs(self._matrix).max(initial=0.0))
        some = np.linspace(0, self.n - 1, 8).astype(np.intp)
        return float(np.abs(self.rows(some)).max())

    def row(self, j: int) -> Array:
        """Kernel of row j with all of the problem's rows, (n,)."""
        if self._matrix is not None:
            return self._matrix[j]
        row = self._kept.get(j)
        if row is None:
            row = self.kernel.among(self.positions[[j]], self.positions)[0]
            self._kept[j] = row
        with contextlib.suppress(KeyError):  # another thread may have dropped it
            self._kept.move_to_end(j)
            if len(self._kept) > self._capacity:
                self._kept.popitem(last=False)
        return row

    def rows(self, which: Indices) -> Array:
        """Several rows at once, (len(which), n)."""
        if self._matrix is not None:
            return self._matrix[which]
        missing = [j for j in which.tolist() if j not in self._kept]
        if len(missing) > 1:
            return self.kernel.among(self.positions[which], self.positions)
        return np.stack([self.row(j) for j in which]) if len(which) else np.empty((0, self.n))

    def block(self, which: Indices) -> Array:
        """Kernel of some rows with each other, (len(which), len(which))."""
        if self._matrix is not None:
            return self._matrix[np.ix_(which, which)]
        if not len(which):  # scikit-learn's kernels refuse nothing
            return np.zeros((0, 0))
        return self.kernel.among(self.positions[which], self.positions[which])

    def products(self, beta: Array) -> Array:
        """``K beta``, (n,), by blocks of rows where the matrix is not held."""
        used = np.flatnonzero(beta)
        total = np.zeros(self.n)
        for part in _loops.slices(len(used), self._capacity):
            if len(used):
                total += beta[used[part]] @ self.rows(used[part])
        return total

    def mixed(self, which: Indices, weights: Array) -> Array:
        """Sum of a few rows, weighted, (n,); or several such sums, (b, n)."""
        return weights @ self.rows(which)

    def apart(self, row: Any, others: Indices, weights: Array) -> float | None:
        """None: there are no features to subtract from each other."""
        return None


def check_symmetric(matrix: Array) -> None:
    """Refuse a kernel matrix that is not one."""
    size = np.abs(matrix).max(initial=0.0)
    worst = np.abs(matrix - matrix.T).max(initial=0.0)
    if not worst <= 1e-6 * size:
        raise ValueError(
            f"The kernel matrix of the training rows is not symmetric (differences up to "
            f"{worst:.1e}), so it is no kernel. Pass the matrix between the rows that the "
            "estimator was fitted on, or symmetrise it and refit."
        )


def check_psd(matrix: Array, name: str) -> None:
    """Refuse a kernel with a negative eigenvalue beside the constants, on these rows.

    The dual has several optima then, and a refit may end in another: no deletion is exact.
    Constants are held by the sum of the coefficients, so that they are projected out.
    """
    centred = matrix - matrix.mean(axis=0)
    centred -= centred.mean(axis=1)[:, None]
    floor = NEGATIVE * np.abs(np.diag(matrix)).max(initial=0.0)
    centred[np.diag_indices_from(centred)] += floor
    try:
        np.linalg.cholesky(centred)
    except np.linalg.LinAlgError:
        raise UnsupportedEstimatorError(
            f"The {name} kernel has negative eigenvalues on the training rows, so the fit is one "
            "of several optima, and a refit without a row may end in another. Use a kernel that "
            "is positive semi-definite, such as 'rbf'."
        ) from None

"""Exact deletion from kernel ridge regression."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import pairwise_kernels

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Family,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head, Numbers
from skinfluence.deletion.closed.replaced.kernels import ReplacedRidge, is_ill, refined, size_of
from skinfluence.deletion.closed.slopes.kernels import (
    NAMED,
    DifferenceSlopes,
    NamedSlopes,
    dense_row,
    solved_slopes,
)


class KernelRidgeDeletion(ExactModel):
    """Deletion of one row of ``f(z) = k_z' S b``, ``b = (S K S + alpha I)^-1 S y``, S^2 = diag(w).

    Without row i, ``b`` loses ``M e_i b_i / M_ii`` with M that inverse, so that
    ``f(z)`` loses ``k_z' S M e_i b_i / M_ii``: the block inverse of a symmetric matrix. A row of
    weight 0 has ``b_i = 0`` and changes nothing.

    Parameters
    ----------
    kernel : callable
        ``kernel(X)`` is (n_queries, n_train).
    X : ndarray or sparse array of shape (n_train, p)
    y : ndarray of shape (n_train, n_targets)
    weights : ndarray of shape (n_train,)
    alpha : ndarray of shape (n_targets,)
    between : callable, default=None
        ``between(X, Y)`` is the kernel of any rows; None where it is known only as a matrix.
    slopes_of : callable, default=None
        ``slopes_of(features)`` is a KernelSlopes; None likewise.
    """

    def __init__(
        self,
        kernel: Any,
        X: Any,
        y: Array,
        weights: Array,
        alpha: Array,
        between: Any = None,
        slopes_of: Any = None,
    ):
        self.slopes_of = slopes_of
        self.kernel, self.between, self.root = kernel, between, np.sqrt(weights)
        self.X = X
        self.n_train, self.n_outputs = y.shape
        K = self.matrix()
        self.size = size_of(K)
        # One inverse an alpha, not one a target.
        self.alphas, self.alpha_of = np.unique(alpha, return_inverse=True)
        self.inverses = [inverse(K, a) for a in self.alphas]
        scaled = self.targets = self.root[:, None] * y
        self.dual = np.column_stack(
            [self.inverses[a] @ scaled[:, t] for t, a in enumerate(self.alpha_of)]
        )

    def matrix(self) -> Array:
        """``S K S``, (n_train, n_train)."""
        K = np.array(self.kernel(self.X), dtype=np.float64)
        K *= self.root
        K *= self.root[:, None]
        return K

    @property
    def row_block(self) -> int:
        return self.n_train  # a kernel would be evaluated again for each block

    def idle(self, rows: Positions) -> NDArray[np.bool_]:
        return self.root[rows] == 0.0

    def floats_a_query(self, n_rows: int) -> int:
        return 2 * self.n_train + 3 * n_rows * self.n_outputs

    def outputs(self, X: Any) -> Array:
        return (self.kernel(X) * self.root) @ self.dual

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        K = self.kernel(X) * self.root
        before = K @ self.dual
        # Symmetric, so that its rows are its columns.
        seen = [meeting.dot(K, rows_at(M, deleted)) for M in self.inverses]
        found = np.empty((*seen[0].shape, self.n_outputs))
        for t, a in enumerate(self.alpha_of):
            share = self.dual[deleted, t] / self.inverses[a].diagonal()[deleted]
            found[..., t] = meeting.query(before[:, t]) - seen[a] * share
        return found

    def without_group(self, X: Any, rows: Positions) -> Array:
        K = self.kernel(X) * self.root
        found = K @ self.dual
        for t, a in enumerate(self.alpha_of):
            M = self.inverses[a][:, rows]
            found[:, t] -= K @ (M @ np.linalg.solve(M[rows], self.dual[rows, t]))
        return found

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedRidge(self, new)

    def slopes(self, X: Any, rows: Positions, features: Positions) -> Array:
        assert self.slopes_of is not None, "a kernel matrix has no features"
        kernel = self.slopes_of(features)
        K = self.kernel(X) * self.root
        seen, duals = [K @ M for M in self.inverses], self.dual
        if any(is_ill(M, self.size) for M in self.inverses):
            seen, duals = self._refined(K, seen)
        found = np.empty((X.shape[0], len(rows), len(features), self.n_outputs))
        for j, i in enumerate(rows):
            x, w = dense_row(self.X, i), self.root[i]
            G = w * self.root[:, None] * kernel.along(x, self.X)
            G[i] = 0.0
            of_queries, own = w * kernel.along(x, X), w**2 * kernel.own(x)
            for t, a in enumerate(self.alpha_of):
                dual = duals[:, t]
                found[:, j, :, t] = solved_slopes(G, of_queries, own, i, seen[a], dual)
        return found

    def _refined(self, K, seen):
        matrix, duals = self.matrix(), self.dual.T.copy()
        matrices = [matrix + alpha * np.eye(self.n_train) for alpha in self.alphas]
        for t, a in enumerate(self.alpha_of):
            duals[t] = refined(self.targets[:, t], duals[t], matrices[a], self.inverses[a])
        triples = zip(seen, matrices, self.inverses, strict=True)
        return [refined(K, *triple) for triple in triples], duals.T


def rows_at(matrix: Array, positions: Positions) -> Array:
    """Rows at positions, not copied where they are all."""
    return matrix if len(positions) == len(matrix) else matrix[positions]


def inverse(K: Array, alpha: Any) -> Array:
    """Inverse of ``K + alpha I``, of one alpha or one a row; refused where there is none."""
    A = K.copy()
    A[np.diag_indices_from(A)] += alpha
    try:
        return inverse_of_positive(A)
    except linalg.LinAlgError:
        pass  # kernels need not be positive
    condition = np.linalg.cond(A, 1)
    if not condition < 1e13:
        raise linalg.LinAlgError(
            f"The kernel matrix plus alpha is singular (condition number {condition:.1e}), so "
            "that single rows have no influence of their own. Raise alpha."
        )
    return linalg.inv(A)


def inverse_of_positive(A: Array) -> Array:
    """Inverse of a positive definite matrix through its Cholesky factor; overwrites `A`."""
    factor, info = linalg.lapack.dpotrf(A, lower=True, clean=False, overwrite_a=True)
    if info:
        raise linalg.LinAlgError("not positive definite")
    found, info = linalg.lapack.dpotri(factor, lower=True, overwrite_c=True)
    if info:
        raise linalg.LinAlgError("not positive definite")
    _mirror(found)
    return found


def _mirror(lower):
    """Copy the lower triangle above the diagonal, in blocks that stay in the cache."""
    n, size = len(lower), 256
    for a in range(0, n, size):
        rows = slice(a, min(a + size, n))
        own = np.tril(lower[rows, rows], -1)
        lower[rows, rows] = own + own.T + np.diag(lower[rows, rows].diagonal())
        lower[rows, rows.stop :] = lower[rows.stop :, rows].T


class _KernelRidgeFamily(Family):
    estimators = (KernelRidge,)
    sparse = True

    def head(self, estimator: Any) -> Head:
        return Numbers(estimator.dual_coef_.reshape(len(estimator.dual_coef_), -1).shape[1])

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel:
        y = np.asarray(rows.y, dtype=np.float64).reshape(rows.n, -1)
        alpha = np.broadcast_to(np.asarray(estimator.alpha, dtype=np.float64), y.shape[1:])
        between = None if is_precomputed(estimator) else kernel_of(estimator)
        kernel = np.asarray if between is None else partial(between, Y=rows.X)
        slopes_of = None if between is None else partial(_slopes_of, estimator, between, rows.X)
        return KernelRidgeDeletion(kernel, rows.X, y, rows.ones(), alpha, between, slopes_of)

    def outputs(self, estimator: Any, X: Any) -> Array:
        predicted = np.asarray(estimator.predict(X), dtype=np.float64)
        return predicted.reshape(X.shape[0], -1)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        left = rows.kept(kept)
        if is_precomputed(estimator):
            left = TrainingRows(left.X[:, kept], left.y, left.weights)
        return self.fresh(estimator, kept).fit(left.X, left.y, left.weights)

    def seen_by(self, estimator: Any, X: Any, kept: Positions) -> Any:
        return X[:, kept] if is_precomputed(estimator) else X


def is_precomputed(estimator: Any) -> bool:
    """Whether the rows are rows of a kernel matrix."""
    return estimator.kernel == "precomputed"


def kernel_of(estimator: KernelRidge) -> Any:
    """Its kernel as a function of queries and other rows, ``kernel(X, Y=Y)``."""
    if callable(estimator.kernel):
        params = estimator.kernel_params or {}
    else:
        params = {name: getattr(estimator, name) for name in ("gamma", "degree", "coef0")}
    return partial(pairwise_kernels, metric=estimator.kernel, filter_params=True, **params)


def _slopes_of(estimator, between, X, features):
    """Derivatives of its kernel."""
    if estimator.kernel in NAMED:
        gamma = 1.0 / X.shape[1] if estimator.gamma is None else estimator.gamma
        return NamedSlopes(
            features,
            estimator.kernel,
            gamma=gamma,
            degree=estimator.degree,
            coef0=estimator.coef0,
        )
    return DifferenceSlopes(
        features,
        between,
        lambda A: np.concatenate([between(A[[j]], A[[j]])[0] for j in range(A.shape[0])]),
        X,
    )


register(_KernelRidgeFamily())

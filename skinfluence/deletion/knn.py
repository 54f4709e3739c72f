"""Exact deletion from a k-nearest-neighbour density estimate (Kong & Chaudhuri 2021, eq. 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.spatial.distance import cdist
from scipy.special import gammaln
from sklearn.base import clone
from sklearn.neighbors import NearestNeighbors
from sklearn.utils.extmath import row_norms

from skinfluence._compat import searches_by_brute_force
from skinfluence.deletion.base import DensityDeletion

# Candidates beyond the k + 1 that count, so that a GEMM distance cannot misplace a neighbour.
SPARE = 3
EUCLIDEAN = ("euclidean", "l2")
# Relative rounding of |z|^2 - 2 z.x + |x|^2, for up to a few hundred features.
GEMM_NOISE = 16 * np.finfo(np.float64).eps


class KNNDeletion(DensityDeletion):
    """Deletion of one row of the density ``p(z) = k / (N V_d R_k(z)^d)``.

    R_k is the distance to the k-th nearest training row, copies counted. Deleting row i changes
    the loss at z by ``log((N - 1) / N)``, plus ``d log(R_{k+1}(z) / R_k(z))`` if i is one of the k
    nearest rows. A tie at R_k means R_{k+1} = R_k and needs no case of its own, and 0/0 counts as
    1: with more than k copies at z the density is infinite before and after.

    Parameters
    ----------
    model : NearestNeighbors
        For its metric and algorithm.
    X : ndarray or sparse matrix of shape (n_train, n_features)
    n_neighbors : int
        k, less than n_train.
    dim : float
        d, the dimension that distances grow with.
    n_jobs : int or None
        Threads of the neighbour queries; None for the model's own.
    """

    def __init__(
        self,
        model: NearestNeighbors,
        X: Any,
        *,
        n_neighbors: int,
        dim: float,
        n_jobs: int | None = None,
    ) -> None:
        X = _short_indices(X)
        self.X = X
        self.n_train, self.n_features = X.shape
        self.row_block = self.n_train
        self.k = n_neighbors
        self.dim = dim
        self.infinite_change = self._log_smaller()
        index = clone(model).set_params(n_jobs=model.n_jobs if n_jobs is None else n_jobs)
        self.index = index.fit(X)
        euclidean = _is_euclidean(model.metric, model.p, **(model.metric_params or {}))
        self.subtracts_norms = euclidean and searches_by_brute_force(index)
        self.center = 0.0
        if self.subtracts_norms and not sparse.issparse(X):
            # Moving the origin changes no difference and keeps the norms small.
            self.center = X.mean(axis=0)
            X = X - self.center
            self.index.fit(X)
        self._largest_square = row_norms(X, squared=True).max()

    # -- neighbours -------------------------------------------------------------------------

    def _nearest(self, X, k):
        """Sorted distances (n_queries, k) to the k nearest rows, and their positions.

        Trees measure by differences. Brute force subtracts squared Euclidean norms, and its error
        would be multiplied by d and by 1 / R: there the distances of a few more candidates than
        needed are measured anew.
        """
        X = self._as_stored(X)
        if not self.subtracts_norms:
            return self.index.kneighbors(X, n_neighbors=k)
        queries = X if sparse.issparse(X) else X - self.center
        candidates = min(k + SPARE, self.n_train)
        found, indices = self.index.kneighbors(queries, n_neighbors=candidates)
        distances = self._differences(X, indices)
        order = np.lexsort((indices, distances), axis=1)[:, :k]
        distances = np.take_along_axis(distances, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
        if candidates < self.n_train:
            for query in self._misplaced(queries, found[:, -1], distances[:, -1]):
                every = self._all_distances(X[[query]])
                indices[query] = np.argsort(every, kind="stable")[:k]
                distances[query] = every[indices[query]]
        return distances, indices

    def _as_stored(self, X):
        """Sparse queries for sparse training rows, dense ones for dense."""
        if sparse.issparse(self.X):
            return _short_indices(X if sparse.issparse(X) else type(self.X)(X))
        return X.toarray() if sparse.issparse(X) else X

    def _misplaced(self, queries, last_found, last):
        """Queries where rounding may have kept a near row from the candidates.

        Rows that were left out lie at least at `last_found`, up to the rounding of squared norms.
        That matters where it is large beside the distance: among rows that are nearly copies.
        """
        noise = GEMM_NOISE * (row_norms(queries, squared=True) + self._largest_square)
        possible = last_found**2 - last**2 < noise
        matters = (last > 0) & (self.dim * noise > 1e-9 * last**2)
        return np.flatnonzero(possible & matters)

    def _all_distances(self, query):
        """Euclidean distances of one query (1, n_features) to all training rows."""
        if not sparse.issparse(self.X):
            return cdist(query, self.X)[0]
        copies = type(self.X)(np.ones((self.n_train, 1))) @ query
        return row_norms(copies - self.X)

    def _differences(self, X, indices):
        distances = np.empty(indices.shape)
        for j, column in enumerate(indices.T):
            difference: Any = X - self.X[column]
            if sparse.issparse(difference):
                squares = difference.multiply(difference).sum(axis=1)
                distances[:, j] = np.sqrt(np.asarray(squares).ravel())
            else:
                # hypot would not overflow, but neither do distances that a density survives.
                distances[:, j] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        return distances

    def _growth(self, inner, outer):
        """d log(outer / inner) with 0/0 = 1."""
        with np.errstate(divide="ignore", invalid="ignore"):
            growth = self.dim * (np.log(outer) - np.log(inner))
        return np.where(outer == inner, 0.0, growth)

    # -- changes ----------------------------------------------------------------------------

    def query_block(self, n_rows, budget):
        return max(1, int(budget // (8 * max(n_rows, 4 * (self.k + SPARE)))))

    def delete(self, rows):
        return rows

    def change(self, X, deleted):
        distances, indices = self._nearest(X, self.k + 1)
        growth = self._growth(distances[:, self.k - 1], distances[:, self.k])
        changes = np.full((X.shape[0], deleted.stop - deleted.start), self._log_smaller())
        queries, places = np.nonzero(
            (indices[:, : self.k] >= deleted.start) & (indices[:, : self.k] < deleted.stop)
        )
        changes[queries, indices[queries, places] - deleted.start] += growth[queries]
        return changes

    def self_change(self, rows):
        # The row is its own first neighbour; a copy that stands in for it changes no distance.
        distances, _ = self._nearest(self.X[rows], self.k + 1)
        return self._log_smaller() + self._growth(distances[:, self.k - 1], distances[:, self.k])

    def _log_smaller(self):
        return np.log1p(-1.0 / self.n_train)

    def addition(self, X):
        distances, _ = self._nearest(X, self.k)
        inner = distances[:, self.k - 2] if self.k > 1 else np.zeros(len(distances))
        return self._growth(inner, distances[:, self.k - 1]) - np.log1p(1.0 / self.n_train)

    def log_density(self, X):
        distances, _ = self._nearest(X, self.k)
        return self._log_density(distances[:, -1], self.n_train)

    def _log_density(self, radius, n_train):
        log_ball = 0.5 * self.dim * np.log(np.pi) - gammaln(0.5 * self.dim + 1.0)
        with np.errstate(divide="ignore"):
            return np.log(self.k / n_train) - log_ball - self.dim * np.log(radius)

    def refit_loss(self, row, X):
        kept = np.arange(self.n_train) if row is None else np.delete(np.arange(self.n_train), row)
        refitted = clone(self.index)
        if self.subtracts_norms and not sparse.issparse(self.X):
            refitted.set_params(algorithm="kd_tree")
        refitted.fit(self.X[kept])
        distances, _ = refitted.kneighbors(X, n_neighbors=self.k)
        return -self._log_density(distances[:, -1], len(kept))


def _is_euclidean(metric, estimator_p, *, p=None, w=None, **metric_params):
    # A p among the metric_params wins over the estimator's own.
    p = estimator_p if p is None else p
    return w is None and (metric in EUCLIDEAN or (metric == "minkowski" and p == 2))


def _short_indices(X: Any) -> Any:
    # Some of scikit-learn's sparse distances take 32-bit indices only.
    if sparse.issparse(X) and X.indices.dtype != np.int32 and X.nnz < 2**31:
        X = X.copy()
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X

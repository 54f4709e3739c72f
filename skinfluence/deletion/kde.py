"""Exact deletion from a kernel density estimate (Kong & Chaudhuri 2021, eq. 2, with weights)."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.metrics import DistanceMetric
from sklearn.neighbors import KernelDensity

from skinfluence import _loops
from skinfluence.deletion import kernels
from skinfluence.deletion.base import Array, DensityDeletion

# Sums of kernels below this have lost rows to underflow and are done again in log space.
SMALLEST_SUM = 1e-250
LOG_SMALLEST_SUM = np.log(SMALLEST_SUM)
# Side of the square tiles of the leave-one-out sums, and shape of the tiles of other sums: 2 MB
# of float64, so that a tile stays in the second-level cache from GEMM to sum.
TILE = 512
WIDE_TILE = (64, 4096)
STRIPE = 2**21
# |z|^2 + |x|^2, in bandwidths, above which subtracting 2 z.x loses more than 1e-10.
FAR = 1e5


class KernelValues:
    """Kernels ``K(|z - x_j| / h)`` between queries and training rows, K(0) = 1.

    Gaussian kernels with the Euclidean metric come from one GEMM: the exponent is an inner
    product of the rows extended by their squared norms. Where that would cancel (both points far
    from the centre, in bandwidths) and for every other kernel or metric, distances are
    differences, of the rows as they are: a row on the edge of a compact support stays there.

    Parameters
    ----------
    model : KernelDensity
        Fitted, for its kernel, bandwidth and metric.
    X : ndarray of shape (n_train, n_features)
    """

    def __init__(self, model: KernelDensity, X: Array) -> None:
        self.kernel = model.kernel
        self.bandwidth = float(model.bandwidth_)
        self.metric = None
        self.X = X
        if model.metric not in ("euclidean", "l2"):
            self.metric = DistanceMetric.get_metric(model.metric, **(model.metric_params or {}))
        self.by_gemm = self.metric is None and self.kernel == "gaussian"
        if self.by_gemm:
            # Moving the origin changes no difference and keeps the norms small.
            self.center = X.mean(axis=0)
            self.X = (X - self.center) / self.bandwidth
            half = _half_square(self.X)
            self.extended = np.vstack([self.X.T, np.ones_like(half), -half])  # (d + 2, n_train)
            self.far = np.flatnonzero(2.0 * half > FAR)

    def scaled(self, Z: Array) -> Array:
        """Queries in the coordinates that the training rows are kept in."""
        return (Z - self.center) / self.bandwidth if self.by_gemm else Z

    def values(self, Z: Array, columns: slice) -> Array:
        """K for scaled queries and some training rows, (n_queries, n_columns)."""
        if self.by_gemm:
            return kernels.exp_values(self._exponents(Z, columns))
        return kernels.values(self.kernel, self._distances(Z, self.X[columns]))

    def log_values(self, Z: Array) -> Array:
        """log K for scaled queries and all training rows; slower, right at any distance."""
        return kernels.log_values(self.kernel, self._distances(Z, self.X))

    def _exponents(self, Z, columns):
        half = _half_square(Z)
        # What overflows here is far from the centre; if both points are, it is done again below.
        with np.errstate(over="ignore", invalid="ignore"):
            exponents = np.column_stack([Z, -half, np.ones_like(half)]) @ self.extended[:, columns]
        far_queries = np.flatnonzero(2.0 * half > FAR)
        if far_queries.size and self.far.size:
            far = self.far[(self.far >= columns.start) & (self.far < columns.stop)]
            exact = cdist(Z[far_queries], self.X[far], "sqeuclidean")
            exponents[np.ix_(far_queries, far - columns.start)] = -0.5 * exact
        return exponents

    def _distances(self, Z, X):
        u = self.distances(Z, X)
        return u if self.by_gemm else np.divide(u, self.bandwidth, out=u)

    def distances(self, Z, X):
        """Distances by differences, in the metric of the model."""
        return cdist(Z, X) if self.metric is None else self.metric.pairwise(Z, X)


class KDEDeletion(DensityDeletion):
    """Deletion of one row of a kernel density estimate, any kernel, metric and weights.

    With ``p(z) = sum_j w_j K(z - x_j) / W`` and the share
    ``q_i(z) = w_i K(z - x_i) / sum_j w_j K(z - x_j)``, deleting row i changes the loss at z by
    ``log1p(-w_i / W) - log1p(-q_i(z))``. A query that no row covers has infinite loss before and
    after: the change is 0.

    Where ``q_i > 1/2``, which is one row a query at most, ``log(1 - q_i)`` comes from the sum
    without row i instead, in log space if need be: right for rows thousands of nats out.

    Parameters
    ----------
    model : KernelDensity
        Fitted on `X` and `weights`.
    X : ndarray of shape (n_train, n_features)
    weights : ndarray of shape (n_train,) or None
    n_jobs : int or None
    progress : bool
    """

    def __init__(self, model, X, weights=None, *, n_jobs=None, progress=False):
        self.model = model
        self.weights = weights
        self.n_train, self.n_features = X.shape
        self.row_block = self.n_train
        # In units of the largest weight no sum of weights overflows.
        self._log_unit = 0.0 if weights is None else float(np.log(weights.max()))
        self._w = np.ones(self.n_train) if weights is None else weights / weights.max()
        self._log_w = _log(self._w)
        self._log_total_weight = np.log(self._w.sum())
        self._log_kept = self._log_kept_weight()
        self._kernel = KernelValues(model, X)
        self._X = X
        self._n_jobs, self._progress = n_jobs, progress
        self._log_others: Array | None = None

    def _log_kept_weight(self):
        """log((W - w_i) / W), where one row may hold nearly all the weight."""
        w, total = self._w, self._w.sum()
        if np.count_nonzero(w) < 2:
            raise ValueError(
                "Only 1 sample has a positive weight, and deleting it leaves no density. "
                "Give at least two rows a positive weight."
            )
        with np.errstate(divide="ignore"):
            log_kept = np.log1p(-w / total)
        heaviest = int(np.argmax(w))
        # Rows of equal weight must keep equal values, or rounding would order what ties.
        if w[heaviest] > 0.5 * total:
            log_kept[heaviest] = np.log(np.delete(w, heaviest).sum() / total)
        return log_kept

    # -- leave-one-out sums -----------------------------------------------------------------

    def keep_leave_one_out(self):
        """Compute the leave-one-out sums now, once, and keep them."""
        self._log_others = self._others()

    def _others(self):
        return self._leave_one_out() if self._log_others is None else self._log_others

    def _leave_one_out(self):
        """log sum_{j != i} w_j K(x_i - x_j), (n_train,), every pair of rows visited once."""
        n = self.n_train
        tile_rows = _loops.slices(n, TILE)
        parts = _loops.in_threads(self._tile_row, tile_rows, n_jobs=self._n_jobs)
        others = np.zeros(n)
        bar = _loops.progress_bar(
            parts, total=len(tile_rows), enabled=self._progress, desc="leave one out"
        )
        for rows, sums in zip(tile_rows, bar, strict=True):
            others[rows.start :] += sums
        log_others = _log(others)
        deep = np.flatnonzero(others < SMALLEST_SUM)
        for some in _loops.slices(len(deep), STRIPE // (8 * n)):
            Z = self._kernel.X[deep[some]]
            log_others[deep[some]] = self._log_sums_without(Z, deep[some])
        return log_others

    def _tile_row(self, rows: slice) -> Array:
        """Kernel sums over a row of tiles right of the diagonal, for both rows of each pair."""
        Z = self._kernel.X[rows]
        sums = np.zeros(self.n_train - rows.start)
        for start in range(rows.start, self.n_train, TILE):
            columns = slice(start, min(start + TILE, self.n_train))
            K = self._kernel.values(Z, columns)
            if start == rows.start:
                # The row itself is masked, never subtracted.
                np.fill_diagonal(K, 0.0)
            else:
                sums[start - rows.start : columns.stop - rows.start] += self._w[rows] @ K
            sums[: len(Z)] += K @ self._w[columns]
        return sums

    def _log_sums_without(self, Z, excluded):
        """log of the kernel sum at each scaled query without one row each, in log space."""
        L = self._kernel.log_values(Z) + self._log_w
        L[np.arange(len(excluded)), excluded] = -np.inf
        with np.errstate(divide="ignore"):
            return logsumexp(L, axis=1)

    # -- changes ----------------------------------------------------------------------------

    def query_block(self, n_rows, budget):
        return max(1, int(min(budget, STRIPE) // (8 * n_rows)))

    def delete(self, rows):
        return rows

    def change(self, X, deleted):
        Z = self._kernel.scaled(X)
        minus_q, log_total = self._stripe(Z)
        top = minus_q.argmin(axis=1)
        dominated = np.flatnonzero(minus_q[np.arange(len(Z)), top] < -0.5)
        log_rest = self._log_rest(
            Z[dominated], -minus_q[dominated], top[dominated], log_total[dominated]
        )
        log_left = minus_q[:, deleted]
        with np.errstate(divide="ignore"):
            np.log1p(log_left, out=log_left)
        changes = np.subtract(self._log_kept[deleted], log_left, out=log_left)
        inside = (top[dominated] >= deleted.start) & (top[dominated] < deleted.stop)
        row, column = dominated[inside], top[dominated][inside]
        changes[row, column - deleted.start] = self._log_kept[column] - log_rest[inside]
        changes[log_total == -np.inf] = 0.0
        return changes

    def _stripe(self, Z):
        """Minus the shares q_j(z) of all training rows, and the log of the kernel sums."""
        K = self._kernel.values(Z, slice(0, self.n_train))
        if self.weights is not None:
            K *= self._w
        total = K.sum(axis=1)
        log_total = _log(total)
        deep = np.flatnonzero(total < SMALLEST_SUM)
        if deep.size:
            L = self._kernel.log_values(Z[deep]) + self._log_w
            highest = L.max(axis=1)
            uncovered = highest == -np.inf
            highest[uncovered] = 0.0
            K[deep] = np.exp(L - highest[:, None])
            total[deep] = K[deep].sum(axis=1)
            log_total[deep] = highest + _log(total[deep])
            total[deep[uncovered]] = 1.0
        K *= (-1.0 / total)[:, None]
        return K, log_total

    def _log_rest(self, Z, shares, top, log_total):
        """log(1 - q) for the one row of each query that holds more than half of its sum."""
        shares[np.arange(len(top)), top] = 0.0
        log_rest = _log(shares.sum(axis=1))
        # The sum without the row is what underflows, and a share is in units of the total.
        deep = np.flatnonzero(log_rest + log_total < LOG_SMALLEST_SUM)
        if deep.size:
            log_rest[deep] = self._log_sums_without(Z[deep], top[deep]) - log_total[deep]
        return log_rest

    def self_change(self, rows):
        log_w, log_others = self._log_w[rows], self._others()[rows]
        # A row of weight 0 changes nothing, even where no other row covers it.
        ratio = np.subtract(
            log_w, log_others, out=np.full_like(log_w, -np.inf), where=log_w > -np.inf
        )
        return self._log_kept[rows] + np.logaddexp(0.0, ratio)

    # -- density ----------------------------------------------------------------------------

    def log_sums(self, X):
        """log sum_j w_j K(z - x_j), in units of the largest weight, without an n x m array."""
        Z = self._kernel.scaled(X)
        height, width = WIDE_TILE
        totals = np.zeros(len(Z))
        for queries in _loops.slices(len(Z), height):
            for columns in _loops.slices(self.n_train, width):
                totals[queries] += self._kernel.values(Z[queries], columns) @ self._w[columns]
        log_totals = _log(totals)
        deep = np.flatnonzero(totals < SMALLEST_SUM)
        for some in _loops.slices(len(deep), STRIPE // (8 * self.n_train)):
            L = self._kernel.log_values(Z[deep[some]]) + self._log_w
            with np.errstate(divide="ignore"):
                log_totals[deep[some]] = logsumexp(L, axis=1)
        return log_totals

    def log_density(self, X):
        normalizer = kernels.log_normalizer(
            self._kernel.kernel, self._kernel.bandwidth, self.n_features
        )
        return self.log_sums(X) - self._log_total_weight - normalizer

    def addition(self, X):
        return _added(self.log_sums(X) + self._log_unit, self._log_total_weight + self._log_unit)

    def training_addition(self):
        """``addition`` of each training row to the others, (n_train,).

        A row of weight w counts as w copies, of which one is judged against the rest; so integer
        weights are repeated rows, and for weight 1 this is the self influence.
        """
        raw = 1.0 if self.weights is None else self.weights
        log_copies = _log(np.maximum(raw - 1.0, 0.0))
        log_weight = self._log_kept + self._log_total_weight + self._log_unit
        return _added(
            np.logaddexp(self._others() + self._log_unit, log_copies),
            np.logaddexp(log_weight, log_copies),
        )

    # -- shortcuts and truth ----------------------------------------------------------------

    def nearest(self, X, k):
        """The k strongest proponents of each query by a tree, where nearest means strongest.

        Returns
        -------
        distances : ndarray of shape (n_queries, k)
        indices : ndarray of int of shape (n_queries, k)
            Sorted by distance, ties by position.
        """
        more = min(k + 1, self.n_train)
        distances, indices = self.model.tree_.query(X, k=more)
        settled = np.ones(len(X), dtype=bool)
        if more > k:
            # A tie at the k-th place: the tree keeps any of the tied rows.
            settled &= distances[:, k] > distances[:, k - 1] * (1 + 1e-12)
        if self._kernel.kernel in kernels.COMPACT_KERNELS:
            settled &= distances[:, k - 1] < self._kernel.bandwidth
        distances, indices = distances[:, :k], indices[:, :k]
        order = np.lexsort((indices, distances), axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
        indices = np.take_along_axis(indices, order, axis=1)
        unsettled = np.flatnonzero(~settled)
        for some in _loops.slices(len(unsettled), STRIPE // (8 * self.n_train)):
            which = unsettled[some]
            distances[which], indices[which] = self._nearest_of_all(X[which], k)
        return distances, indices

    def _nearest_of_all(self, X, k):
        """``nearest`` by a pass over all rows, where rows out of a compact support tie."""
        distances = self._kernel.distances(X, self._X)
        if self._kernel.kernel in kernels.COMPACT_KERNELS:
            distances[distances >= self._kernel.bandwidth] = self._kernel.bandwidth
        order = np.argsort(distances, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(distances, order, axis=1), order

    def change_at(self, log_sums, distances):
        """Changes by rows of equal weight at given distances, NaN where a row dominates.

        NaN also where no row covers the query.
        """
        log_K = kernels.log_values(self._kernel.kernel, distances / self._kernel.bandwidth)
        # -inf - -inf where no row covers the query; huge exponents may round to a share above 1.
        with np.errstate(invalid="ignore", over="ignore"):
            share = np.exp(log_K - log_sums[:, None])
        changes = self._log_kept[0] - np.log1p(-np.minimum(share, 0.5))
        return np.where(share > 0.5, np.nan, changes)

    def refit_loss(self, row, X):
        kept = np.arange(self.n_train) if row is None else np.delete(np.arange(self.n_train), row)
        weights = None if self.weights is None else self.weights[kept]
        if self._kernel.kernel == "cosine":
            return self._plain_cosine_loss(kept, weights, X)
        # One leaf: KernelDensity's tree is inexact in the tail, its leaves are not.
        exact = clone(self.model).set_params(
            bandwidth=self._kernel.bandwidth, leaf_size=self.n_train, rtol=0.0, atol=0.0
        )
        exact.fit(self._X[kept], sample_weight=weights)
        with np.errstate(divide="ignore"):
            return -exact.score_samples(X)

    def _plain_cosine_loss(self, kept, weights, X):
        # scikit-learn's constant of the cosine kernel is NaN in dimension 4, 8, ...
        name, params = self.model.metric, self.model.metric_params or {}
        u = DistanceMetric.get_metric(name, **params).pairwise(X, self._X[kept])
        u /= self._kernel.bandwidth
        K = np.where(u < 1.0, np.cos(0.5 * np.pi * u), 0.0)
        return -_log(np.average(K, axis=1, weights=weights))


def _added(log_sums, log_weight):
    # log(W / (W + 1)) + log1p(1 / sum), the new row having weight 1 and K(0) = 1.
    return np.logaddexp(0.0, -log_sums) - np.logaddexp(0.0, -log_weight)


def _half_square(X):
    return 0.5 * np.einsum("ij,ij->i", X, X)


def _log(values):
    with np.errstate(divide="ignore"):
        return np.log(values)

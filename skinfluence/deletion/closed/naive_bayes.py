"""Exact deletion from naive Bayes models of counts."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.preprocessing import binarize

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
)
from skinfluence.deletion.closed.replaced.moments import block_of
from skinfluence.deletion.closed.replaced.tables import ReplacedComplements, ReplacedCounts


class BayesDeletion(ExactModel):
    """Classes, their weights and priors; subclasses know the densities of features.

    Parameters
    ----------
    codes : ndarray of int of shape (n_train,)
        Class of each row.
    weights : ndarray of shape (n_train,)
    log_priors : ndarray of shape (n_classes,) or None
        None where they are the shares of the weights.
    n_classes : int
    """

    def __init__(self, codes: Positions, weights: Array, log_priors: Array | None, n_classes: int):
        self.codes, self.weights = codes, weights
        self.n_train, self.n_outputs = len(codes), n_classes
        self.totals = np.bincount(codes, weights, minlength=n_classes)
        self.given = log_priors
        # A class that only rows without weight would be left to counts as gone too.
        self.lasts = (self.totals[codes] - weights) <= 1e-12 * self.totals[codes]
        self.lasts &= weights > 0
        self.alone = np.flatnonzero(self.lasts)
        with np.errstate(divide="ignore"):
            shares = np.log(self.totals) - np.log(self.totals.sum())
        self.log_priors = shares if log_priors is None else log_priors

    complex_rows = True

    @property
    def replaced_block(self) -> int:
        return block_of(self.n_columns * self.n_outputs)

    @property
    @abstractmethod
    def n_columns(self) -> int:
        """Columns of a table of one class."""

    def idle(self, rows: Positions) -> NDArray[np.bool_]:
        return self.weights[rows] == 0.0

    def log_priors_without(self, rows: Positions) -> Array:
        """Log prior of each class without each of `rows`, (b, n_classes)."""
        own, each = self.codes[rows], np.arange(len(rows))
        if self.given is None:
            totals = np.tile(self.totals, (len(rows), 1))
            totals[each, own] = np.maximum(totals[each, own] - self.weights[rows], 0.0)
            totals[each[self.lasts[rows]], own[self.lasts[rows]]] = 0.0
            with np.errstate(divide="ignore"):
                return np.log(totals) - np.log(totals.sum(axis=1, keepdims=True))
        logs = np.tile(self.given, (len(rows), 1))
        logs[each[self.lasts[rows]], own[self.lasts[rows]]] = -np.inf
        return logs


class CountsDeletion(BayesDeletion):
    """Deletion where only the row's own class changes its density.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n_train, n_columns)
        What is counted.
    codes, weights, log_priors, n_classes
        As for every model.
    """

    def __init__(self, X: Any, codes, weights, log_priors, n_classes):
        super().__init__(codes, weights, log_priors, n_classes)
        self.X = X
        indicator = sparse.csr_array(
            (weights, (codes, np.arange(len(codes)))), shape=(n_classes, len(codes))
        )
        counts = indicator @ X
        self.counts = counts.toarray() if sparse.issparse(counts) else np.asarray(counts)

    @property
    def n_columns(self) -> int:
        return self.counts.shape[1]

    def prepared(self, X: Any) -> Any:
        """Queries as they are counted."""
        return X

    @abstractmethod
    def density_of(self, X: Any, counts: Array, totals: Array) -> Array:
        """Log density of prepared queries in classes of these counts and weights, (q, b)."""

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedCounts(self, new)

    @abstractmethod
    def log_density(self, X: Any) -> Array:
        """Log density of prepared queries in each class, (n_queries, n_classes)."""

    @abstractmethod
    def own_change(self, X: Any, rows: Positions, meeting: Meeting) -> Array:
        """Change of the log density in the class of each row when it goes, (q, b) or (b,)."""

    def outputs(self, X: Any) -> Array:
        return self.log_density(self.prepared(X)) + self.log_priors

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        X = self.prepared(X)
        density = self.log_density(X)
        change = self.own_change(X, deleted, meeting)
        found = density if meeting.pairs else np.repeat(density[:, None], len(deleted), axis=1)
        each = np.arange(len(deleted))
        found[..., each, self.codes[deleted]] += np.where(self.lasts[deleted], 0.0, change)
        found += self.log_priors_without(deleted)
        return found


def log_less(X: Any, weights: Array, base: Array) -> Any:
    """``log((base - w x) / base)`` of each row of X, as sparse as X.

    Parameters
    ----------
    X : ndarray or sparse array of shape (b, n_columns)
    weights : ndarray of shape (b,)
    base : function of the positions of entries (rows, columns), or their values
        Here an ndarray of shape (b, n_columns) for dense X; for sparse X, of its entries.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        if not sparse.issparse(X):
            return np.log1p(-weights[:, None] * X / base)
        found = X.copy()
        found.data = np.log1p(-np.repeat(weights, np.diff(X.indptr)) * X.data / base)
        return found


def entries(X: Any, table: Array, codes: Positions) -> Array:
    """Values of `table` (n_classes, n_columns) where X (b, n_columns) has entries."""
    if not sparse.issparse(X):
        return table[codes]
    return table[np.repeat(codes, np.diff(X.indptr)), X.indices]


def row_sums(X: Any) -> Array:
    """Sum of each row."""
    return np.asarray(X.sum(axis=1)).ravel()


class MultinomialDeletion(CountsDeletion):
    """Deletion from ``sum_j z_j (log(N_cj + a_j) - log(sum_j N_cj + a_j))``.

    Parameters
    ----------
    alpha : ndarray of shape (n_columns,)
    """

    def __init__(self, X, codes, weights, log_priors, n_classes, *, alpha: Array):
        super().__init__(X, codes, weights, log_priors, n_classes)
        self.alpha = alpha
        self.smooth = self.counts + alpha
        self.sums = self.smooth.sum(axis=1)

    def log_density(self, X: Any) -> Array:
        return np.asarray(X @ (np.log(self.smooth) - np.log(self.sums)[:, None]).T)

    def density_of(self, X: Any, counts: Array, totals: Array) -> Array:
        smooth = counts + self.alpha
        return np.asarray(X @ (np.log(smooth) - np.log(smooth.sum(axis=1))[:, None]).T)

    def own_change(self, X: Any, rows: Positions, meeting: Meeting) -> Array:
        gone, codes, weights = self.X[rows], self.codes[rows], self.weights[rows]
        less = log_less(gone, weights, entries(gone, self.smooth, codes))
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.log1p(-weights * row_sums(gone) / self.sums[codes])
        return meeting.dot(X, less) - meeting.query(row_sums(X)) * total


class ComplementDeletion(CountsDeletion):
    """Deletion from the complement rule: each class is scored by the counts of all others.

    Parameters
    ----------
    alpha : ndarray of shape (n_columns,)
    norm : bool
    """

    def __init__(self, X, codes, weights, log_priors, n_classes, *, alpha: Array, norm: bool):
        super().__init__(X, codes, weights, log_priors, n_classes)
        self.norm = norm
        self.smooth = self.counts.sum(axis=0) + alpha - self.counts
        self.sums = self.smooth.sum(axis=1)
        self.logged = np.log(self.smooth) - np.log(self.sums)[:, None]

    def log_density(self, X: Any) -> Array:
        raw = np.asarray(X @ self.logged.T)
        return raw / self.logged.sum(axis=1) if self.norm else -raw

    def outputs(self, X: Any) -> Array:
        return self.log_density(X)  # priors have no say

    def density_of(self, X: Any, counts: Array, totals: Array) -> Array:
        raise NotImplementedError

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedComplements(self, new)

    def own_change(self, X: Any, rows: Positions, meeting: Meeting) -> Array:
        raise NotImplementedError

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        raw = np.asarray(X @ self.logged.T)
        sums = meeting.query(row_sums(X))
        gone, codes, weights = self.X[deleted], self.codes[deleted], self.weights[deleted]
        shape = (len(deleted),) if meeting.pairs else (X.shape[0], len(deleted))
        found = np.empty((*shape, self.n_outputs))
        for k in range(self.n_outputs):
            table = np.where(np.arange(self.n_outputs)[:, None] == k, np.inf, self.smooth[k])
            less = log_less(gone, weights, entries(gone, table, codes))  # 0 in its own class
            total = np.where(codes == k, 0.0, -weights * row_sums(gone) / self.sums[k])
            total = np.log1p(total)
            out = meeting.query(raw[:, k]) + meeting.dot(X, less) - sums * total
            if self.norm:
                n_columns = self.logged.shape[1]
                out /= self.logged[k].sum() + row_sums(less) - n_columns * total
            found[..., k] = out if self.norm else -out
        each = np.flatnonzero(self.lasts[deleted])
        found[..., each, codes[each]] = -np.inf
        return found


class BernoulliDeletion(CountsDeletion):
    """Deletion from ``sum_j z_j log p_cj + (1 - z_j) log(1 - p_cj)``, p = (N_cj + a)/(N_c + 2a).

    Parameters
    ----------
    alpha : float
    threshold : float or None
        From which on a feature counts as present; None where rows are of 0 and 1 already.
    """

    def __init__(
        self, X, codes, weights, log_priors, n_classes, *, alpha: float, threshold: float | None
    ):
        super().__init__(X, codes, weights, log_priors, n_classes)
        self.alpha, self.threshold = alpha, threshold
        self.present = self.counts + alpha
        self.absent = self.totals[:, None] - self.counts + alpha
        self.sums = self.totals + 2.0 * alpha

    def prepared(self, X: Any) -> Any:
        return X if self.threshold is None else binarize(X, threshold=self.threshold)

    def log_density(self, X: Any) -> Array:
        return self.density_of(X, self.counts, np.asarray(self.totals, dtype=np.float64))

    def density_of(self, X: Any, counts: Array, totals: Array) -> Array:
        absent = totals[:, None] - counts + self.alpha
        slopes = np.log(counts + self.alpha) - np.log(absent)
        constant = np.log(absent).sum(axis=1) - self.n_columns * np.log(totals + 2.0 * self.alpha)
        return np.asarray(X @ slopes.T) + constant

    def own_change(self, X: Any, rows: Positions, meeting: Meeting) -> Array:
        gone, codes, weights = self.X[rows], self.codes[rows], self.weights[rows]
        # Of rows of one class and weight, what an absent feature loses is the same.
        pairs, which = np.unique(np.stack([codes, weights]), axis=1, return_inverse=True)
        which = which.ravel()
        kinds, weight = pairs[0].astype(np.intp), pairs[1][:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            absent = np.log1p(-weight / self.absent[kinds])
            present = np.log1p(-weight / self.present[kinds])
            total = np.log1p(-weights / self.sums[codes])
        absent = np.where(np.isfinite(absent), absent, 0.0)  # of a class that is gone
        present = np.where(np.isfinite(present), present, 0.0)
        both = entries(gone, absent + present, which)
        if sparse.issparse(gone):
            turned = gone.copy()
            turned.data = both * gone.data
        else:
            turned = both * gone
        seen = np.asarray(X @ absent.T)
        seen = seen[np.arange(len(rows)), which] if meeting.pairs else seen[:, which]
        lost = absent.sum(axis=1)[which] - _own_sums(gone, absent, which)
        return meeting.dot(X, turned) - seen + lost - self.counts.shape[1] * total


def _own_sums(X, table, which):
    """Sum of each row's entries times its own row of `table`."""
    if sparse.issparse(X):
        scaled = X.copy()
        scaled.data = entries(X, table, which) * X.data
        return row_sums(scaled)
    return np.einsum("bj,bj->b", X, table[which])


class CategoricalDeletion(CountsDeletion):
    """Deletion from ``sum_j log((N_cj[z_j] + a) / (N_c + a n_j))``, n_j held fixed.

    Rows are counted as indicators of their categories, side by side.

    Parameters
    ----------
    alpha : float
    sizes : ndarray of int of shape (p,)
        Number of categories of each feature.
    """

    def __init__(
        self, X, codes, weights, log_priors, n_classes, *, alpha: float, sizes: Positions
    ):
        self.alpha = alpha
        self.sizes, self.offsets = sizes, np.concatenate([[0], np.cumsum(sizes)])
        super().__init__(self.prepared(X), codes, weights, log_priors, n_classes)
        self.smooth = self.counts + alpha
        self.sums = self.totals[:, None] + alpha * sizes  # (K, p)

    def prepared(self, X: Any) -> Any:
        categories = X.astype(np.intp)
        if (categories < 0).any() or (categories >= self.sizes).any():
            raise ValueError(
                "X holds a category that no training row had, and CategoricalNB has no "
                "probability for it. Set min_categories in the estimator, or leave such rows out."
            )
        n, p = categories.shape
        columns = (categories + self.offsets[:-1]).ravel()
        starts = np.arange(0, n * p + 1, p)
        return sparse.csr_array((np.ones(n * p), columns, starts), shape=(n, self.offsets[-1]))

    def log_density(self, X: Any) -> Array:
        return np.asarray(X @ np.log(self.smooth).T) - np.log(self.sums).sum(axis=1)

    def density_of(self, X: Any, counts: Array, totals: Array) -> Array:
        sums = totals[:, None] + self.alpha * self.sizes
        return np.asarray(X @ np.log(counts + self.alpha).T) - np.log(sums).sum(axis=1)

    def own_change(self, X: Any, rows: Positions, meeting: Meeting) -> Array:
        gone, codes, weights = self.X[rows], self.codes[rows], self.weights[rows]
        less = log_less(gone, weights, entries(gone, self.smooth, codes))
        with np.errstate(divide="ignore", invalid="ignore"):
            total = np.log1p(-weights[:, None] / self.sums[codes]).sum(axis=1)
        return meeting.dot(X, less) - total

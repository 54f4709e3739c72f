"""Naive Bayes and nearest centroids of which a training row becomes another one.

Everything here holds for complex new rows as well, of which derivatives are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.deletion.closed.replaced.base import NewRows, Replaced
from skinfluence.deletion.closed.replaced.moments import Exchange

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


def log_shares(totals: Array, given: Array | None) -> Array:
    """Log priors of classes, (b, n_classes): their shares, or given; -inf of no rows."""
    with np.errstate(divide="ignore"):
        if given is None:
            return np.log(totals) - np.log(totals.sum(axis=1, keepdims=True))
        return np.where(totals > 0, given, -np.inf)


class _Gaps:
    """Sums ``sum_j h_bj (z_j - m_bj)^2`` where m is near a point, around which nothing cancels."""

    def __init__(self, X: Array, center: Array):
        self.gaps = X - center
        self.squares = np.square(self.gaps)

    def distances(self, inverse: Array, moved: Array) -> Array:
        """(q, b) of h and of m less the point, (b, p) each."""
        found = self.squares @ inverse.T - 2.0 * self.gaps @ (moved * inverse).T
        return found + np.einsum("bj,bj,bj->b", moved, moved, inverse)


class ReplacedGaussians(Replaced):
    """Gaussian naive Bayes with each new row."""

    def __init__(self, model: Any, new: NewRows):
        self.model = model
        moved = Exchange(model.X, model.codes, model.totals, model.means, new, model.weights)
        each = np.arange(len(new))
        scatters = np.repeat(model.scatters[None].astype(new.X.dtype), len(new), axis=0)
        scatters[each, moved.old] -= moved.lost[:, None] * moved.u**2
        scatters[each, moved.now] += moved.gained[:, None] * moved.v**2
        with np.errstate(invalid="ignore", divide="ignore"):
            variances = scatters / moved.totals[..., None]
        gone = moved.totals == 0
        # Of a class that is gone nothing is seen but its prior, which is 0.
        variances = np.where(gone[..., None], 1.0, variances)
        self.variances = variances + self._smooth(new)[:, None, None]
        self.moved = moved.means - model.means
        self.log_priors = log_shares(moved.totals, model.given)
        self.broken = ~(self.variances.real > 0).all(axis=(1, 2))

    def _smooth(self, new):
        """What is added to all variances: a share of the largest one over all rows, unweighted."""
        model, n = self.model, self.model.n_train
        mean = model.X.mean(axis=0)
        before, after = model.X[new.rows] - mean, new.X - mean
        spread = np.square(model.X - mean).sum(axis=0) - before**2 + after**2
        spread = spread / n - ((after - before) / n) ** 2
        largest = spread.real.argmax(axis=1)
        return model.smoothing * spread[np.arange(len(new)), largest]

    def outputs(self, X: Any) -> Array:
        found = np.empty((len(X), *self.log_priors.shape), dtype=self.variances.dtype)
        for k, mean in enumerate(self.model.means):
            distances = _Gaps(X, mean).distances(1.0 / self.variances[:, k], self.moved[:, k])
            found[..., k] = -0.5 * (distances + np.log(self.variances[:, k]).sum(axis=1))
        return found - 0.5 * X.shape[1] * np.log(2.0 * np.pi) + self.log_priors


class ReplacedCentroids(Replaced):
    """Nearest centroids with each new row."""

    def __init__(self, model: Any, new: NewRows):
        self.model = model
        moved = Exchange(model.X, model.codes, model.counts, model.means, new)
        squares = model.squares - moved.lost[:, None] * moved.u**2
        squares = squares + moved.gained[:, None] * moved.v**2
        freedom = model.n_train - (moved.totals > 0).sum(axis=1)
        self.broken = ~(squares.real > 1e-12 * model.squares).all(axis=1)
        self.inverse = freedom[:, None] / squares
        self.moved = moved.means - model.means
        self.log_priors = log_shares(moved.totals, model.given)

    def outputs(self, X: Any) -> Array:
        gaps = [
            _Gaps(X, mean).distances(self.inverse, self.moved[:, k])
            for k, mean in enumerate(self.model.means)
        ]
        return 2.0 * self.log_priors - np.stack(gaps, axis=-1)


class ReplacedCounts(Replaced):
    """Naive Bayes of counts with each new row.

    Parameters
    ----------
    model : CountsDeletion
    new : NewRows

    Attributes
    ----------
    counts : tuple of ndarray of shape (b, n_columns)
        Of the class of the row that goes, and of the one that comes.
    """

    def __init__(self, model: Any, new: NewRows):
        self.model = model
        self.broken = np.zeros(len(new), dtype=bool)
        self.each = np.arange(len(new))
        self.old, self.now = model.codes[new.rows], new.encoded
        w = model.weights[new.rows]
        self.gone = w[:, None] * _dense(model.X[new.rows])
        self.come = w[:, None] * _dense(model.prepared(new.X))
        totals = np.tile(model.totals, (len(new), 1))
        left = totals[self.each, self.old] - w
        left[left <= 1e-12 * totals[self.each, self.old]] = 0.0
        totals[self.each, self.old] = left
        totals[self.each, self.now] += w
        self.totals = totals
        same = (self.old == self.now)[:, None]
        # Rounding must not leave less than nothing.
        before = _no_less(model.counts[self.old] - self.gone)
        self.counts = (
            before + same * self.come,
            np.where(same, before, model.counts[self.now]) + self.come,
        )
        self.log_priors = log_shares(totals, model.given)

    def outputs(self, X: Any) -> Array:
        model, X = self.model, self.model.prepared(X)
        found = np.repeat(model.log_density(X)[:, None], len(self.each), axis=1)
        found = found.astype(self.come.dtype)
        for codes, counts in zip((self.old, self.now), self.counts, strict=True):
            totals = self.totals[self.each, codes]
            found[:, self.each, codes] = model.density_of(X, counts, totals)
        return found + self.log_priors


class ReplacedComplements(ReplacedCounts):
    """The complement rule with each new row, of which all other classes see something."""

    def outputs(self, X: Any) -> Array:
        model = self.model
        found = []
        for k in range(model.n_outputs):
            left = _no_less(model.smooth[k] - np.where((self.old == k)[:, None], 0.0, self.gone))
            table = left + np.where((self.now == k)[:, None], 0.0, self.come)
            logged = np.log(table) - np.log(table.sum(axis=1, keepdims=True))
            raw = np.asarray(X @ logged.T)
            found.append(raw / logged.sum(axis=1) if model.norm else -raw)
        return np.where(self.totals > 0, np.stack(found, axis=-1), -np.inf)


def _dense(X):
    return X.toarray() if sparse.issparse(X) else np.asarray(X)


def _no_less(left):
    return np.where(left.real < 0, 0.0, left)

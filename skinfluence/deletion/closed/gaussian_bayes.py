"""Exact deletion from Gaussian naive Bayes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.naive_bayes import GaussianNB

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.bayes_families import BayesFamily
from skinfluence.deletion.closed.naive_bayes import BayesDeletion
from skinfluence.deletion.closed.replaced.tables import ReplacedGaussians
from skinfluence.objectives.encoding import class_positions


class GaussianBayesDeletion(BayesDeletion):
    """Deletion of one row of normal densities, one a feature and class.

    Without row i of class c, N - w is what is left of its weight N, the mean moves by
    ``-w / (N - w) u``, the scatter loses ``w N / (N - w) u^2``. What is added to all variances is
    a share of the largest variance of a feature over all rows, unweighted, and follows too.

    Parameters
    ----------
    X : ndarray of shape (n_train, p)
    codes, weights, log_priors, n_classes
        As for every model.
    smoothing : float
        That share.
    """

    def __init__(self, X: Array, codes, weights, log_priors, n_classes, *, smoothing: float):
        super().__init__(codes, weights, log_priors, n_classes)
        self.X, n = X, len(X)
        self.means = np.stack(
            [
                np.average(X[codes == k], axis=0, weights=weights[codes == k])
                for k in range(n_classes)
            ]
        )
        squares = [
            weights[codes == k] @ (X[codes == k] - self.means[k]) ** 2 for k in range(n_classes)
        ]
        self.scatters = np.stack(squares)
        gaps = (X - X.mean(axis=0)) ** 2
        spread = gaps.sum(axis=0)
        self.smoothing = smoothing
        self.smooth = smoothing * spread.max() / n
        self._smoothed = smoothing > 0
        left = np.maximum(spread - n / (n - 1.0) * gaps, 0.0).max(axis=1)
        self.smooth_without = smoothing * left / (n - 1.0)
        self.variances = self.scatters / self.totals[:, None]

    @property
    def n_columns(self) -> int:
        return self.X.shape[1]

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedGaussians(self, new)

    @property
    def row_block(self) -> int:
        return max(64, min(2048, 2**21 // (self.n_outputs * self.X.shape[1])))

    def idle(self, rows: Positions) -> NDArray[np.bool_]:
        # Rows of weight 0 count in the largest variance.
        return super().idle(rows) & (not self._smoothed)

    def outputs(self, X: Any) -> Array:
        variances = self.variances + self.smooth
        found = np.empty((X.shape[0], self.n_outputs))
        for k, (mean, variance) in enumerate(zip(self.means, variances, strict=True)):
            found[:, k] = np.square(X - mean) @ (1.0 / variance)
        return self.log_priors - 0.5 * (found + np.log(2.0 * np.pi * variances).sum(axis=1))

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        codes, extra = self.codes[deleted], self.smooth_without[deleted]
        shape = (len(deleted),) if meeting.pairs else (X.shape[0], len(deleted))
        found = np.empty((*shape, self.n_outputs))
        for k in range(self.n_outputs):
            gaps = X - self.means[k]
            own = np.flatnonzero((codes == k) & ~self.lasts[deleted])
            other = np.flatnonzero((codes != k) | self.lasts[deleted])
            found[..., other, k] = self._of_others(
                k, _met(gaps, other, meeting), extra[other], meeting
            )
            found[..., own, k] = self._of_own(
                k, _met(gaps, own, meeting), deleted[own], extra[own], meeting
            )
        found *= -0.5
        found -= 0.5 * self.X.shape[1] * np.log(2.0 * np.pi)
        found += self.log_priors_without(deleted)
        return found

    def _of_others(self, k, gaps, extra, meeting):
        """Minus twice the log density in a class that loses no row."""
        variances = self.variances[k] + self.smooth
        # Ratios of variances are near 1, so that their product is safe and has one logarithm.
        ratios = (self.variances[k] + extra[:, None]) / variances
        log_det = np.log(variances).sum() + np.log(ratios.prod(axis=1))
        return meeting.dot(np.square(gaps), 1.0 / (ratios * variances)) + log_det

    def _of_own(self, k, gaps, rows, extra, meeting):
        """The same in the class of the rows that go."""
        u, w = self.X[rows] - self.means[k], self.weights[rows]
        left = self.totals[k] - w
        step = (w / left)[:, None] * u
        scatter = self.scatters[k] - (w * self.totals[k] / left)[:, None] * u**2
        variances = np.maximum(scatter, 0.0) / left[:, None] + extra[:, None]
        inverse = 1.0 / variances
        distances = meeting.dot(np.square(gaps), inverse)
        distances += 2.0 * meeting.dot(gaps, step * inverse)
        distances += np.einsum("bj,bj->b", step**2, inverse)
        return distances + np.log(variances).sum(axis=1)


def _met(queries, at, meeting):
    return queries[at] if meeting.pairs else queries


class _GaussianBayesFamily(BayesFamily):
    estimators = (GaussianNB,)
    prior_option = "priors"

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel:
        codes = class_positions(rows.y, estimator.classes_)
        log_priors = None if estimator.priors is None else np.log(estimator.class_prior_)
        return GaussianBayesDeletion(
            rows.X,
            codes,
            rows.ones(),
            log_priors,
            len(estimator.classes_),
            smoothing=estimator.var_smoothing,
        )


register(_GaussianBayesFamily())

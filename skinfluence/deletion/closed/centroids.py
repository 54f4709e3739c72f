"""Exact deletion from nearest centroids."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.neighbors import NearestCentroid

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
from skinfluence.deletion.closed.heads import Head, LogJoint
from skinfluence.deletion.closed.replaced.moments import block_of
from skinfluence.deletion.closed.replaced.tables import ReplacedCentroids
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import class_positions


class CentroidsDeletion(ExactModel):
    """Deletion of one row from ``2 log prior_k - sum_j (z_j - mu_kj)^2 / s_j^2``.

    s_j^2 is the variance of feature j within classes, over n - K; it loses
    ``N_c / (N_c - 1) u_j^2`` of its sum, and the mean of the row's class moves by
    ``-u / (N_c - 1)``.

    Parameters
    ----------
    X : ndarray of shape (n_train, p)
    codes : ndarray of int of shape (n_train,)
    n_classes : int
    log_priors : ndarray of shape (n_classes,) or None
        None where they are the shares of the rows.
    """

    def __init__(self, X: Array, codes: Positions, n_classes: int, log_priors: Array | None):
        self.X, self.codes = X, codes
        self.n_train, self.n_outputs = len(X), n_classes
        self.counts = np.bincount(codes, minlength=n_classes).astype(np.float64)
        self.alone = np.flatnonzero(self.counts[codes] == 1)
        self.means = np.stack([X[codes == k].mean(axis=0) for k in range(n_classes)])
        self.squares = np.square(X - self.means[codes]).sum(axis=0)
        self.given = log_priors

    def _log_priors(self, counts):
        with np.errstate(divide="ignore"):
            if self.given is None:
                return np.log(counts) - np.log(counts.sum(axis=-1, keepdims=True))
            return np.where(counts > 0, self.given, -np.inf)

    def outputs(self, X: Any) -> Array:
        inverse = (self.n_train - self.n_outputs) / self.squares
        gaps = [np.square(X - mean) @ inverse for mean in self.means]
        return 2.0 * self._log_priors(self.counts) - np.column_stack(gaps)

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        codes, each = self.codes[deleted], np.arange(len(deleted))
        u = self.X[deleted] - self.means[codes]
        counts = np.tile(self.counts, (len(deleted), 1))
        counts[each, codes] -= 1.0
        left = counts[each, codes]
        # A class that is gone takes a degree of freedom with it, and had no variance.
        step = np.where(left > 0, 1.0 / np.maximum(left, 1.0), 0.0)[:, None] * u
        squares = self.squares - (self.counts[codes] / np.maximum(left, 1.0))[:, None] * u**2
        freedom = self.n_train - 1.0 - (counts > 0).sum(axis=1)
        inverse = freedom[:, None] / squares
        shape = (len(deleted),) if meeting.pairs else (X.shape[0], len(deleted))
        found = np.empty((*shape, self.n_outputs))
        for k in range(self.n_outputs):
            gaps, moved = X - self.means[k], np.where((codes == k)[:, None], step, 0.0)
            found[..., k] = -meeting.dot(np.square(gaps), inverse)
            found[..., k] -= 2.0 * meeting.dot(gaps, moved * inverse)
            found[..., k] -= np.einsum("bj,bj->b", moved**2, inverse)
        return found + 2.0 * self._log_priors(counts)

    complex_rows = True

    @property
    def replaced_block(self) -> int:
        return block_of(self.X.shape[1] * self.n_outputs)

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedCentroids(self, new)


class _CentroidsFamily(Family):
    estimators = (NearestCentroid,)
    # Of classes that are alike a priori, the nearest centroid in distances that are not scaled.
    predicts_apart = True

    def check(self, estimator: Any) -> None:
        if estimator.metric != "euclidean":
            raise UnsupportedEstimatorError(
                f"NearestCentroid has metric={estimator.metric!r}, and with it neither "
                "probabilities nor a decision function. Set metric='euclidean'."
            )

    def jumps(self, estimator: Any) -> str:
        if estimator.shrink_threshold:
            return "shrinks its centroids by a threshold, at which its outputs have corners"
        return ""

    def head(self, estimator: Any) -> Head:
        return LogJoint(estimator.classes_, has_decision=True)

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        codes = class_positions(rows.y, estimator.classes_)
        empirical = isinstance(estimator.priors, str) and estimator.priors == "empirical"
        log_priors = None if empirical else np.log(estimator.class_prior_)
        closed = CentroidsDeletion(rows.X, codes, len(estimator.classes_), log_priors)
        # Shrunken centroids jump, and features without variance count otherwise.
        if estimator.shrink_threshold or not closed.squares.min() > 0:
            return None
        return closed

    def outputs(self, estimator: Any, X: Any) -> Array:
        decision = np.asarray(estimator.decision_function(X), dtype=np.float64)
        if decision.ndim == 2:
            return decision
        return np.column_stack([np.zeros_like(decision), decision])

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        if theirs.shape[1] == 2:
            theirs, ours = theirs[:, 1:] - theirs[:, :1], ours[:, 1:] - ours[:, :1]
        return super().deviation(estimator, rows, theirs, ours)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        left = rows.kept(kept)
        fresh, classes = clone(estimator), np.unique(left.y)
        given = not isinstance(estimator.priors, str)
        if given and len(classes) < len(estimator.classes_):
            priors = np.asarray(estimator.priors)[np.isin(estimator.classes_, classes)]
            fresh.set_params(priors=list(priors / priors.sum()))
        return fresh.fit(left.X, left.y)


register(_CentroidsFamily())

"""Exact deletion from models that do not look at X: the baselines that others are held against."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Meeting,
    Positions,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head, Numbers
from skinfluence.deletion.closed.means import Means, MeansOfNumbers, MeansOfVotes
from skinfluence.exceptions import UnsupportedEstimatorError


class MeanDeletion(ExactModel):
    """Deletion of one row from a weighted mean: ``(S m - w_i t_i) / (S - w_i)``.

    Parameters
    ----------
    targets : ndarray of shape (n_train, n_outputs)
        Of classes, their indicators, whose means are their shares.
    weights : ndarray of shape (n_train,)
    """

    def __init__(self, targets: Array, weights: Array):
        self.n_train, self.n_outputs = targets.shape
        self.mean = np.average(targets, axis=0, weights=weights)
        left = weights.sum() - weights
        self.alone = np.flatnonzero(left <= 0)
        # The step from the mean, so that a row of weight 0 moves it by exactly 0.
        share = np.divide(weights, left, out=np.zeros_like(left), where=left > 0)
        self.means = self.mean - share[:, None] * (targets - self.mean)
        weighted = weights[:, None] * targets
        # Of a class without another row nothing is left, rounding included.
        self.means[weighted == weighted.sum(axis=0)] = 0.0

    def outputs(self, X: Any) -> Array:
        return np.tile(self.mean, (X.shape[0], 1))

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        means = self.means[deleted]
        return means if meeting.pairs else np.tile(means, (X.shape[0], 1, 1))


class _DummyFamily(Means):
    sparse = True
    # The strategy that is a mean; the others are fitted again.
    mean: str

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        if estimator.strategy != self.mean:
            return None
        return MeanDeletion(self.targets(estimator, rows.y), rows.ones())


class _ClassifierFamily(MeansOfVotes, _DummyFamily):
    estimators = (DummyClassifier,)
    mean = "prior"

    def check(self, estimator: Any) -> None:
        if estimator.strategy == "stratified":
            raise UnsupportedEstimatorError(
                "DummyClassifier has strategy='stratified', which draws a class for each query "
                "and has no probabilities but 0 and 1. Set strategy='prior': these are what it "
                "draws by."
            )


class _RegressorFamily(MeansOfNumbers, _DummyFamily):
    estimators = (DummyRegressor,)
    mean = "mean"

    def head(self, estimator: Any) -> Head:
        return Numbers(np.size(estimator.constant_))


register(_ClassifierFamily())
register(_RegressorFamily())

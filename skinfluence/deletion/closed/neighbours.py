"""Exact deletion from nearest-neighbour classification and regression."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from skinfluence._compat import stored_rows
from skinfluence.deletion.closed.base import (
    Array,
    Evaluate,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    difference,
    register,
)
from skinfluence.deletion.closed.heads import Head, Numbers
from skinfluence.deletion.closed.means import Means, MeansOfNumbers, MeansOfVotes
from skinfluence.deletion.closed.replaced.neighbours import ReplacedNeighbours
from skinfluence.deletion.closed.slopes.neighbours import neighbour_slopes
from skinfluence.exceptions import UnsupportedEstimatorError


class NeighboursDeletion(ExactModel):
    """Deletion from means of the targets of the k nearest rows.

    A row that is none of them changes nothing; where one of them goes, the next one takes its
    place. Rows at the same distance count in the order of the neighbour search.

    Parameters
    ----------
    estimator : KNeighborsClassifier or KNeighborsRegressor
        For its neighbours and weights.
    targets : ndarray of shape (n_train, n_outputs)
        Indicators of classes, or numbers.
    """

    def __init__(self, estimator: Any, targets: Array):
        self.estimator, self.targets = estimator, targets
        self.X = stored_rows(estimator)
        self.k = estimator.n_neighbors
        self.n_train, self.n_outputs = targets.shape
        # Which of the k + 1 nearest are left when the j-th goes.
        every = np.arange(self.k + 1)
        self._left = np.stack([np.delete(every, j) for j in range(self.k)])

    @property
    def row_block(self) -> int:
        return self.n_train  # neighbours are searched once a query

    def floats_a_query(self, n_rows: int) -> int:
        return 2 * n_rows + 4 * (self.k + 1) ** 2 + 3 * self.k**2 * self.n_outputs

    def targets_of(self, encoded: Any) -> Array:
        """Targets whose means are the outputs, from classes or numbers, (b, n_outputs)."""
        return np.eye(self.n_outputs)[encoded] if encoded.ndim == 1 else encoded

    def means(self, distances: Array, targets: Array) -> Array:
        """Weighted means of targets (..., k, n_outputs) of neighbours at some distances."""
        weights = self._weights(distances)
        if weights is None:
            return targets.mean(axis=-2)
        total = weights.sum(axis=-1, keepdims=True)
        return np.einsum("...k,...ko->...o", weights, targets) / total

    def _weights(self, distances):
        kind = self.estimator.weights
        if kind in (None, "uniform"):
            return None
        if callable(kind):
            flat = distances.reshape(-1, distances.shape[-1])
            return np.asarray(kind(flat), dtype=np.float64).reshape(distances.shape)
        with np.errstate(divide="ignore"):
            weights = 1.0 / distances
        # Rows at distance 0 outweigh all others.
        infinite = np.isinf(weights)
        return np.where(infinite.any(axis=-1, keepdims=True), infinite, weights)

    def outputs(self, X: Any) -> Array:
        distances, indices = self.estimator.kneighbors(X, n_neighbors=self.k)
        return self.means(distances, self.targets[indices])

    def variations(self, X: Any) -> tuple[Positions, Array]:
        """The k nearest rows of each query, and the outputs without each of them.

        (q, k) and (q, k, n_outputs).
        """
        distances, indices = self.estimator.kneighbors(X, n_neighbors=self.k + 1)
        targets = self.targets[indices[:, self._left]]
        return indices[:, : self.k], self.means(distances[:, self._left], targets)

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        near, varied = self.variations(X)
        before = self.outputs(X)
        if meeting.pairs:
            query, place = np.nonzero(near == deleted[:, None])
            before[query] = varied[query, place]
            return before
        found = np.repeat(before[:, None], len(deleted), axis=1)
        query, place, column = _meetings(near, deleted)
        found[query, column] = varied[query, place]
        return found

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedNeighbours(self, new)

    def slopes(self, X: Any, rows: Positions, features: Positions) -> Array:
        return neighbour_slopes(self, X, rows, features)

    def change(self, X: Any, deleted: Positions, before: Array, evaluate: Evaluate) -> Array:
        near, varied = self.variations(X)
        changes = difference(evaluate(varied), before[:, None])  # of k rows only
        found = np.zeros((X.shape[0], len(deleted)))
        query, place, column = _meetings(near, deleted)
        found[query, column] = changes[query, place]
        return found


def _meetings(near, deleted):
    """Queries and places at which a deleted row is a neighbour, and its column."""
    first = deleted[0]  # blocks of rows are consecutive
    inside = (near >= first) & (near < first + len(deleted))
    query, place = np.nonzero(inside)
    return query, place, near[query, place] - first


class _NeighboursFamily(Means):
    sparse = True

    def check(self, estimator: Any) -> None:
        if estimator.metric == "precomputed":
            raise UnsupportedEstimatorError(
                f'{type(estimator).__name__} has metric="precomputed", and distances between '
                "training rows and later queries cannot be looked up. Pass the rows and a metric "
                "on them."
            )

    def jumps(self, estimator: Any) -> str:
        if estimator.weights in (None, "uniform"):
            return "averages its neighbours alike, whose means jump when one becomes another"
        return ""

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel:
        if rows.n <= estimator.n_neighbors:
            raise ValueError(
                f"Deleting one of n_samples = {rows.n} rows leaves fewer than n_neighbors = "
                f"{estimator.n_neighbors} neighbours. Use fewer neighbours or more rows."
            )
        return NeighboursDeletion(estimator, self.targets(estimator, rows.y))

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        # Equal distances may be ordered in any way, so that outputs may differ where rows do not.
        stored = stored_rows(estimator)
        if stored.shape != rows.X.shape or sparse.issparse(stored) != sparse.issparse(rows.X):
            return np.inf
        gap = abs(stored - rows.X).max() / (abs(stored).max() or 1.0)
        agree = (np.abs(theirs - ours) <= 1e-6 * (np.abs(theirs).max() or 1.0)).all(axis=1)
        return float(gap) if agree.mean() > 0.5 else np.inf


class _ClassifierFamily(MeansOfVotes, _NeighboursFamily):
    estimators = (KNeighborsClassifier,)


class _RegressorFamily(MeansOfNumbers, _NeighboursFamily):
    estimators = (KNeighborsRegressor,)

    def head(self, estimator: Any) -> Head:
        predicted = estimator.predict(stored_rows(estimator)[:1])
        return Numbers(np.reshape(predicted, (1, -1)).shape[1])


register(_ClassifierFamily())
register(_RegressorFamily())

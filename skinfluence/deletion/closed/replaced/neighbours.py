"""Nearest neighbours of which one becomes another row."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import NearestNeighbors

from skinfluence._compat import searches_by_brute_force, stored_rows
from skinfluence.deletion.closed.replaced.base import NewRows, Replaced, same_rows

Array = NDArray[np.float64]


class ReplacedNeighbours(Replaced):
    """Means over the k nearest rows with each new row.

    Of the k + 1 nearest rows of a query, the one that goes is left out, or the last one; the new
    row takes the place of the last one that is left, if it is nearer. A row with new targets only
    keeps its place, whatever is at the same distance.

    Parameters
    ----------
    model : NeighboursDeletion
    new : NewRows
    """

    def __init__(self, model: Any, new: NewRows):
        self.model, self.new = model, new
        self.broken = np.zeros(len(new), dtype=bool)
        self.targets = model.targets_of(new.encoded)
        self.same = same_rows(stored_rows(model.estimator)[new.rows], new.X)
        every = np.arange(model.k + 1)
        self._left = np.stack([np.delete(every, j) for j in every])
        fitted = model.estimator
        # Distances to be compared are to be rounded alike.
        algorithm = "brute" if searches_by_brute_force(fitted) else "ball_tree"
        search = NearestNeighbors(
            algorithm=algorithm,
            metric=fitted.metric,
            p=fitted.p,
            metric_params=fitted.metric_params,
        )
        self.search = search.fit(new.X)

    def _distances(self, X):
        """From queries to new rows, (q, b)."""
        distances, order = self.search.kneighbors(X, n_neighbors=len(self.new))
        found = np.empty_like(distances)
        np.put_along_axis(found, order, distances, axis=1)
        return found

    def outputs(self, X: Any) -> Array:
        model, k = self.model, self.model.k
        near, indices = model.estimator.kneighbors(X, n_neighbors=k + 1)
        found = np.repeat(model.outputs(X)[:, None], len(self.new), axis=1)
        away = self._distances(X)
        inside = (indices[:, None, :k] == self.new.rows[:, None]).any(axis=2)
        touched = np.where(self.same, inside, inside | (away < near[:, k - 1, None]))
        query, column = np.nonzero(touched)
        rows, distances = indices[query], near[query]
        gone = rows == self.new.rows[column, None]
        left = self._left[np.where(gone.any(axis=1), gone.argmax(axis=1), k)]
        rows = np.take_along_axis(rows, left, axis=1)
        distances = np.take_along_axis(distances, left, axis=1)
        added, targets = away[query, column], model.targets[rows]
        takes = self.same[column] | (added < distances[:, -1])
        distances[takes, -1] = added[takes]
        targets[takes, -1] = self.targets[column[takes]]
        found[query, column] = model.means(distances, targets)
        return found

"""Derivatives of weighted means over nearest neighbours, which stay the same all the while."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import VALID_METRICS, NearestNeighbors

from skinfluence.deletion.closed.slopes.generic import POINTS, WEIGHTS, spreads
from skinfluence.deletion.closed.slopes.kernels import dense_row

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Steps relative to the spread of a column, and to a distance.
STEP = 1e-3


def neighbour_slopes(model: Any, X: Any, rows: Positions, features: Positions) -> Array:
    """Derivatives of the outputs in features of training rows, (q, r, f, n_outputs).

    Only rows among the k nearest have any: the derivative of the weighted mean in the distance,
    times that of the distance in the row. A query that lies on the row sees a corner, and no
    derivative.

    Parameters
    ----------
    model : NeighboursDeletion
    X : ndarray or sparse array of shape (q, p)
    rows, features : ndarray of int
    """
    distances, near = model.estimator.kneighbors(X, n_neighbors=model.k)
    found = np.zeros((X.shape[0], len(rows), len(features), model.n_outputs))
    steps = STEP * spreads(model.X)[features]
    for j, i in enumerate(rows):
        query, place = np.nonzero((near == i) & (distances > 0))
        if len(query):
            slope = _in_distance(model, distances[query], near[query], place)
            own = _of_distances(model, dense_row(model.X, i), X[query], features, steps)
            found[query, j] = own[:, :, None] * slope[:, None]
    return found


def _in_distance(model, distances, near, place):
    """Derivative of the outputs in the distance of one neighbour of each query, (m, K)."""
    each = np.arange(len(place))
    h = STEP * distances[each, place]
    moved = np.repeat(distances[:, None], len(POINTS), axis=1)
    moved[each, :, place] += h[:, None] * POINTS
    targets = np.repeat(model.targets[near][:, None], len(POINTS), axis=1)
    return np.einsum("msk,s->mk", model.means(moved, targets), WEIGHTS) / h[:, None]


def _of_distances(model, x, X, features, steps):
    """Derivative of the distance from each query to a row, in features of the row, (m, f)."""
    points = np.tile(x, (len(features), len(POINTS), 1))
    points[np.arange(len(features)), :, features] += steps[:, None] * POINTS
    fitted = model.estimator
    tree = not callable(fitted.metric) and fitted.metric in VALID_METRICS["ball_tree"]
    search = NearestNeighbors(
        n_neighbors=len(features) * len(POINTS),
        # Other searches take distances from products, which lose digits.
        algorithm="ball_tree" if tree or callable(fitted.metric) else "brute",
        metric=fitted.metric,
        p=fitted.p,
        metric_params=fitted.metric_params,
    ).fit(points.reshape(-1, len(x)))
    dense = X.toarray() if hasattr(X, "toarray") else X
    distances, order = search.kneighbors(dense)
    values = np.empty_like(distances)
    np.put_along_axis(values, order, distances, axis=1)
    return values.reshape(len(dense), len(features), len(POINTS)) @ WEIGHTS / steps

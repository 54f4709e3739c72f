"""Weights of the neighbours of queries, as a nearest-neighbour model has them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def weights_of(model: Any, distances: Array) -> Array:
    """Weight of each row at each query, (q, N); infinite at distance 0 of ``weights="distance"``.

    Parameters
    ----------
    model : KNeighborsClassifier or KNeighborsRegressor
        Whose ``weights`` are "distance" or a function.
    distances : ndarray of shape (q, N)
        Ascending.

    Raises
    ------
    ValueError
        If a function gives a weight that is not positive, or not the row's own.
    """
    if not callable(model.weights):
        with np.errstate(divide="ignore", over="ignore"):
            return 1.0 / distances
    weights = np.asarray(model.weights(distances), dtype=np.float64)
    if not (weights > 0).all() or not np.isfinite(weights).all():
        raise ValueError(
            "The function passed as weights gives weights that are not positive numbers, so that "
            "some subsets of the rows predict nothing. Let it return positive numbers at all "
            "distances, a Gaussian with a wider bandwidth say."
        )
    few = np.asarray(model.weights(distances[:, :2]), dtype=np.float64)
    if not np.isclose(few / few[:, :1], weights[:, :2] / weights[:, :1], rtol=1e-9).all():
        raise ValueError(
            "The function passed as weights gives a neighbour another weight when there are other "
            "neighbours, and Shapley values are computed for weights of one distance each. Let it "
            "be a function of each distance alone."
        )
    return weights

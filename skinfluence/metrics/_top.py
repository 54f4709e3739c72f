"""Do the strongest rows agree with the truth?"""

from __future__ import annotations

import warnings
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


def top_k_overlap(
    estimated: ArrayLike,
    actual: ArrayLike,
    k: int = 10,
    *,
    by: Literal["largest", "smallest", "magnitude"] = "largest",
) -> float | Array:
    """Share of the true top k rows that are among the estimated top k.

    What a reader of the first k rows gets, however the other rows are ranked. A random order
    reaches ``k / n_rows`` on average, so read it beside that.

    Parameters
    ----------
    estimated : array-like of shape (n_rows,) or (n_queries, n_rows)
        Scores. Infinities are allowed, NaN is not.
    actual : array-like of the same shape
        The truth, e.g. from `leave_one_out`.
    k : int, default=10
        How many rows are read, at most ``n_rows``.
    by : {"largest", "smallest", "magnitude"}, default="largest"
        The strongest proponents, the strongest opponents, or both by absolute value.

    Returns
    -------
    overlap : float or ndarray of shape (n_queries,)
        Between 0 and 1, one number a query; NaN where one side is constant.

    Raises
    ------
    ValueError
        If the shapes differ or are empty, something is NaN, `k` is no number of rows, or `by` is
        unknown.

    Warns
    -----
    sklearn.exceptions.UndefinedMetricWarning
        If one side is constant at a query, and so has no top.

    See Also
    --------
    agreement : Compares all rows, in units and ranks.
    sklearn.metrics.ndcg_score : Weighs the places within the top.

    Notes
    -----
    Ties go to the smaller position on both sides, as in ``proponents``. Estimates that are exact
    but for rounding can break a tie at the k-th place the other way round.

    Examples
    --------
    >>> from skinfluence.metrics import top_k_overlap
    >>> top_k_overlap([3.0, 2.0, 1.0, -9.0], [3.0, 1.0, 2.0, -8.0], k=2)
    0.5
    >>> top_k_overlap([3.0, 2.0, 1.0, -9.0], [3.0, 1.0, 2.0, -8.0], k=2, by="magnitude")
    1.0
    """
    given = np.asarray(estimated)
    one, other = np.atleast_2d(given).astype(np.float64), np.atleast_2d(actual).astype(np.float64)
    _check_pair(one, other, np.shape(actual) == given.shape)
    check_k(k, one.shape[1])
    order = _direction(by)
    tops = top_rows(order(one), k)[:, :, None] == top_rows(order(other), k)[:, None, :]
    overlap = tops.any(axis=2).mean(axis=1)
    constant = (one == one[:, :1]).all(axis=1) | (other == other[:, :1]).all(axis=1)
    if constant.any():
        overlap[constant] = np.nan
        warnings.warn(
            f"Estimated or actual changes are constant at {int(constant.sum())} of {len(one)} "
            "queries, which so have no top rows; their overlap is undefined and set to NaN. "
            "Compare at other queries.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
    return overlap if given.ndim == 2 else float(overlap[0])


def top_rows(scores: Array, k: int) -> Positions:
    """Positions of the k largest scores of each query, (n_queries, k); ties to the smaller."""
    if k == 1:
        return np.argmax(scores, axis=1)[:, None]
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]


def _direction(by: str):
    directions = {"largest": np.positive, "smallest": np.negative, "magnitude": np.abs}
    if by not in directions:
        raise ValueError(f"by is {by!r}, but it must be one of {list(directions)}. Pass one.")
    return directions[by]


def _check_pair(one: Array, other: Array, same_shape: bool) -> None:
    if not same_shape or one.ndim != 2 or one.size == 0:
        raise ValueError(
            f"estimated has shape {one.shape} and actual {other.shape}, but both must be "
            "(n_rows,) or (n_queries, n_rows) and not empty. Score what was refitted, in the "
            "same order."
        )
    n_nan = int(np.isnan(one).sum() + np.isnan(other).sum())
    if n_nan:
        raise ValueError(
            f"{n_nan} of the changes are NaN, which have no place in an order. Find the "
            "deletions that gave them, or leave these out."
        )


def check_k(k: int, n_rows: int) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= n_rows:
        raise ValueError(
            f"k is {k!r}, but it must be an integer from 1 to the {n_rows} rows. Pass fewer."
        )

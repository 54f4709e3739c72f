"""Are the strongest proponents of the query's class, and is a row its own?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skinfluence.metrics._top import Positions, check_k, top_rows


def identical_class_rate(
    scores: ArrayLike | None,
    y_query: ArrayLike,
    y_train: ArrayLike,
    *,
    k: int = 1,
    indices: ArrayLike | None = None,
) -> float:
    """How often the strongest proponents of a query are of its class.

    The identical class test of [1]_: an explanation "because of this training row" convinces
    only if the row is of the class that was predicted. Given subclasses that the model was never
    told (cats and dogs under the label "animal") as `y_query` and `y_train`, it is their
    identical subclass test: does the explanation see what the label does not say?

    A necessary condition, no measure of quality: scores that look at the label alone pass the
    first test. By chance the rate is ``sum over c of share_query(c) * share_train(c)``.

    Parameters
    ----------
    scores : array-like of shape (n_queries, n_train), or None
        High means that the row helps. None if `indices` are given instead.
    y_query : array-like of shape (n_queries,)
        Classes of the queries; the *predicted* ones in the paper's class test, and the true
        subclasses of correctly predicted queries in a subclass test.
    y_train : array-like of shape (n_train,)
        Classes, or subclasses, of the training rows.
    k : int, default=1
        How many proponents of each query count, each as 1/k. The paper takes one.
    indices : array-like of int of shape (n_queries, k), default=None
        Training positions of the strongest proponents, strongest first, e.g.
        ``explainer.proponents(X, k=1)[1]``: the score matrix is then not needed.

    Returns
    -------
    rate : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If neither or both of `scores` and `indices` are given, shapes do not fit, a score is
        NaN, or `k` is larger than the number of rows.

    See Also
    --------
    self_proponent_rate : Asks for the row itself.

    Notes
    -----
    Ties go to the smaller training position, as in ``proponents``.

    References
    ----------
    .. [1] K. Hanawa, S. Yokoi, S. Hara and K. Inui (2021), Evaluation of similarity-based
       explanations, ICLR.

    Examples
    --------
    >>> from skinfluence.metrics import identical_class_rate
    >>> scores = [[0.9, 0.1, 0.5], [0.2, 0.1, 0.3]]
    >>> identical_class_rate(scores, ["cat", "dog"], ["cat", "dog", "cat"])
    0.5
    >>> identical_class_rate(None, ["cat", "dog"], ["cat", "dog", "cat"], indices=[[0], [2]])
    0.5
    """
    y_query, y_train = np.asarray(y_query), np.asarray(y_train)
    n_queries, n_train = len(y_query), len(y_train)
    top = _tops(scores, indices, k, (n_queries, n_train))
    return float(np.mean(y_train[top] == y_query[:, None]))


def self_proponent_rate(
    scores: ArrayLike | None = None,
    *,
    indices: ArrayLike | None = None,
    rows: ArrayLike | None = None,
) -> float:
    """How often a training row is its own strongest proponent.

    A sanity check of [1]_: nothing should explain a training row better than the row itself.
    Exact deletion scores need not reach 1: the deletion of an outlier or of a row of high
    leverage can raise the loss of its neighbours by more than theirs would.

    Parameters
    ----------
    scores : array-like of shape (n_queries, n_train), default=None
        Scores whose queries are training rows: square, unless `rows` says which.
    indices : array-like of int of shape (n_queries,) or (n_queries, 1), default=None
        Instead of `scores`: the strongest proponent of each query, e.g.
        ``explainer.proponents(X_train, k=1)[1]``, which needs no matrix.
    rows : array-like of int of shape (n_queries,), default=None
        Training positions of the queries; ``0, 1, 2, ...`` by default.

    Returns
    -------
    rate : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If neither or both of `scores` and `indices` are given, shapes do not fit, or a score is
        NaN.

    See Also
    --------
    identical_class_rate : Asks for the class only.

    Notes
    -----
    Ties go to the smaller training position, as in ``proponents``. So of several equal rows,
    whose scores are equal, only the first is its own strongest proponent: each further copy
    lowers the rate. Drop duplicates first if they are not the point.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34.

    Examples
    --------
    >>> from skinfluence.metrics import self_proponent_rate
    >>> self_proponent_rate([[2.0, 1.0, 0.0], [1.0, 3.0, 0.0], [0.0, 9.0, 5.0]])
    0.6667
    >>> self_proponent_rate(indices=[0, 1, 1])
    0.6667
    """
    if indices is not None:
        indices = np.asarray(indices).reshape(len(np.asarray(indices)), -1)
    known = scores if scores is not None else indices
    n_queries = 0 if known is None else len(np.asarray(known))
    rows = np.arange(n_queries) if rows is None else np.asarray(rows)
    if rows.shape != (n_queries,):
        raise ValueError(
            f"rows has shape {rows.shape}, but there are {n_queries} queries. Pass the training "
            "position of every query."
        )
    n_train = None if scores is None else np.shape(scores)[-1]
    if n_train is not None and rows.size and rows.max() >= n_train:
        raise ValueError(
            f"Query {int(rows.argmax())} is training row {rows.max()}, but the scores have "
            f"{n_train} columns. Score training rows against all training rows, or pass `rows`."
        )
    top = _tops(scores, indices, 1, (n_queries, n_train))
    return float(np.mean(top[:, 0] == rows))


def _tops(
    scores: ArrayLike | None, indices: ArrayLike | None, k: int, shape: tuple[int, int | None]
) -> Positions:
    """Top k positions, from either source, checked against (n_queries, n_train)."""
    n_queries, n_train = shape
    if (scores is None) == (indices is None):
        raise ValueError(
            "Pass either `scores` or the `indices` of the strongest proponents: there were "
            f"{'neither' if scores is None else 'both'}."
        )
    if n_queries == 0:
        raise ValueError("There are no queries, and a share of nothing is undefined. Pass one.")
    if indices is not None:
        return _checked_indices(np.asarray(indices), k, n_queries, n_train)
    values = np.asarray(scores, dtype=np.float64)
    if values.shape != (n_queries, n_train):
        raise ValueError(
            f"scores have shape {values.shape}, but there are {n_queries} queries and {n_train} "
            "training rows. Pass an array of shape (n_queries, n_train)."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"{int(np.isnan(values).sum())} of the scores are NaN, which have no place in an "
            "order. Find where they come from, or leave these queries out."
        )
    check_k(k, values[0].size)
    return top_rows(values, k)


def _checked_indices(indices: NDArray, k: int, n_queries: int, n_train: int | None) -> Positions:
    if indices.ndim == 1:
        indices = indices[:, None]
    if indices.ndim != 2 or len(indices) != n_queries or indices.shape[1] < k or k < 1:
        raise ValueError(
            f"indices have shape {indices.shape}, but there are {n_queries} queries and k={k}. "
            "Pass the positions of at least k proponents of every query, strongest first."
        )
    largest = indices.max() if n_train is None else n_train - 1
    if indices.dtype.kind not in "iu" or indices.min() < 0 or indices.max() > largest:
        raise ValueError(
            f"indices have dtype {indices.dtype} and lie between {indices.min()} and "
            f"{indices.max()}, but they must be positions of training rows. Pass the second "
            "result of `proponents`."
        )
    return indices[:, :k]

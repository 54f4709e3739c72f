"""Blocks of scores, and the sinks they flow into.

Nothing here knows a model. :func:`blocks` walks over (queries, training rows) in tiles that fit
scikit-learn's ``working_memory``; a sink keeps what was asked for: the matrix, a caller's
``out``, the strongest rows of each query, or sums over queries or over groups of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from skinfluence import _loops
from skinfluence.deletion.base import Deletion

Block = tuple[slice, slice, np.ndarray]


def blocks(
    deletion: Deletion,
    X: Any,
    *,
    n_jobs: int | None = None,
    progress: bool = False,
    desc: str = "score_influence",
) -> Iterator[Block]:
    """Score every query against every training row, tile by tile.

    Yields
    ------
    queries, rows : slice
        Where the tile lies in the (n_queries, n_train) matrix.
    values : ndarray of shape (n_queries in tile, n_rows in tile)
        Changes of the loss. Never NaN: a NaN stops the loop with a FloatingPointError.
    """
    n_queries = X.shape[0]
    budget = _loops.memory_budget(_loops.n_workers(n_jobs))
    row_slices = _loops.slices(deletion.n_train, deletion.row_block)
    n_rows = row_slices[0].stop
    query_slices = _loops.slices(n_queries, deletion.query_block(n_rows, budget))

    def walk():
        for rows in row_slices:
            deleted = deletion.delete(rows)
            changes = _loops.in_threads(
                lambda queries, deleted=deleted: deletion.change(X[queries], deleted),
                query_slices,
                n_jobs=n_jobs,
                one_thread=deletion.one_blas_thread,
            )
            for queries, values in zip(query_slices, changes, strict=True):
                yield queries, rows, values

    total = len(row_slices) * len(query_slices)
    for queries, rows, values in _loops.progress_bar(
        walk(), total=total, enabled=progress, desc=desc
    ):
        check_no_nan(values)
        yield queries, rows, values


def check_count(name: str, value: Any, least: int, n_train: int) -> None:
    """Refuse a number of training rows that is no integer or out of range."""
    integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not integer or not least <= int(value) <= n_train:
        raise ValueError(
            f"{name} must lie between {least} and the {n_train} training rows. Got {value!r}. "
            f"Pass {name}={n_train} for all of them."
        )


def check_no_nan(values: np.ndarray) -> None:
    """Stop rather than hand out a NaN."""
    # min carries a NaN along and needs no temporary.
    if values.size and np.isnan(values.min()):
        raise FloatingPointError(
            "A score came out as NaN, which no deletion can give. The rows or queries are too "
            "extreme for float64; rescale them, and please report the case."
        )


def check_out(out: Any, shape: tuple[int, int]) -> Any:
    """`out` as the caller gave it, or a new array; anything with slice assignment will do."""
    if out is None:
        return np.empty(shape)
    given = tuple(getattr(out, "shape", ()))
    if given != shape:
        raise ValueError(
            f"out has shape {given}; the scores need {shape}, which is "
            "(n_queries, n_train). Allocate out with that shape."
        )
    if isinstance(out, np.ndarray) and out.dtype.kind != "f":
        raise ValueError(
            f"out holds {out.dtype} values, and scores are floats that may be infinite. "
            "Allocate out with dtype float64."
        )
    return out


def dense(tiles: Iterable[Block], out: Any) -> Any:
    """Write every tile into `out` and return it."""
    for queries, rows, values in tiles:
        out[queries, rows] = values
    return out


def matrix(tiles: Iterable[Block], shape: tuple[int, int]) -> np.ndarray:
    """All tiles together; a tile that is the whole matrix is not copied."""
    out = None
    for queries, rows, values in tiles:  # to the end: what follows the last tile may warn
        if values.shape == shape:
            out = values
            continue
        out = np.empty(shape) if out is None else out
        out[queries, rows] = values
    return np.empty(shape) if out is None else out


def over_queries(tiles: Iterable[Block], n_queries: int, n_train: int, how: str) -> np.ndarray:
    """Sum or mean over the queries, (n_train,), without the matrix."""
    total = np.zeros(n_train)
    for _, rows, values in tiles:
        total[rows] += values.sum(axis=0)
    return total / n_queries if how == "mean" else total


def over_groups(
    tiles: Iterable[Block], n_queries: int, membership: Sequence[np.ndarray]
) -> np.ndarray:
    """Sums over groups of training rows, (n_queries, n_groups).

    Parameters
    ----------
    tiles : iterable of (slice, slice, ndarray)
    n_queries : int
    membership : sequence of ndarray of int
        Positions of the training rows of each group.
    """
    total = np.zeros((n_queries, len(membership)))
    for queries, rows, values in tiles:
        for g, members in enumerate(membership):
            inside = members[(members >= rows.start) & (members < rows.stop)] - rows.start
            total[queries, g] += values[:, inside].sum(axis=1)
    return total


def top_k(
    tiles: Iterable[Block], n_queries: int, k: int, *, largest: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The k largest (or smallest) scores of each query, most extreme first, in constant memory.

    Ties go to the smaller training index.

    Returns
    -------
    scores : ndarray of shape (n_queries, k)
    indices : ndarray of int of shape (n_queries, k)
    """
    sign = 1.0 if largest else -1.0
    scores = np.full((n_queries, k), -sign * np.inf)
    indices = np.full((n_queries, k), -1, dtype=np.intp)
    for queries, rows, values in tiles:
        found = _strongest(sign * values, k)
        here = np.take_along_axis(values, found, axis=1), found + rows.start
        seen = min(k, rows.start)  # how many of the k places earlier tiles have filled
        old = scores[queries, :seen], indices[queries, :seen]
        best = _merge(old, here, k, sign)
        filled = best[0].shape[1]
        scores[queries, :filled], indices[queries, :filled] = best
    return scores, indices


def _merge(old, new, k, sign):
    # Earlier tiles hold smaller indices, so a stable order keeps ties right.
    values = np.concatenate([old[0], new[0]], axis=1)
    positions = np.concatenate([old[1], new[1]], axis=1)
    order = np.argsort(-sign * values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(positions, order, axis=1)


def _strongest(values: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k largest of each row, descending, ties to the smaller position."""
    n = values.shape[1]
    k = min(k, n)
    if 4 * k >= n:
        return np.argsort(-values, axis=1, kind="stable")[:, :k]
    # A partition is linear in n; only what reaches the k-th value is sorted.
    threshold = np.partition(values, n - k, axis=1)[:, n - k, None]
    row, position = np.nonzero(values >= threshold)
    order = np.lexsort((position, -values[row, position], row))
    row, position = row[order], position[order]
    first = np.searchsorted(row, np.arange(values.shape[0]))
    return position[first[:, None] + np.arange(k)]


def group_members(groups: Any, n_train: int) -> tuple[np.ndarray, list[np.ndarray]]:
    """Names and member positions of groups given as labels or as lists of positions."""
    # An array of shape (n_train, 1) is a column of labels gone wrong, not n_train groups.
    if isinstance(groups, list | tuple) and groups and all(np.ndim(g) == 1 for g in groups):
        return np.arange(len(groups)), [positions(group, n_train) for group in groups]
    labels = np.asarray(groups)
    if labels.shape != (n_train,):
        raise ValueError(
            f"groups has shape {labels.shape}; labels need one entry for each of the {n_train} "
            "training rows. Pass that, or a list of arrays of positions."
        )
    try:
        names, codes = np.unique(labels, return_inverse=True)
    except TypeError:
        raise ValueError(
            "groups holds labels that cannot be sorted, such as a missing one among strings. "
            "Make them all of one type, e.g. with fillna."
        ) from None
    return names, [np.flatnonzero(codes == g) for g in range(len(names))]


def positions(group: Any, n_train: int, what: str = "A group") -> np.ndarray:
    """Positions of training rows, checked; a mask over them is turned into positions."""
    positions = np.asarray(group)
    if positions.dtype == bool and positions.shape == (n_train,):
        return np.flatnonzero(positions)
    if positions.size and positions.dtype.kind not in "iu":
        raise ValueError(
            f"{what} holds {positions.dtype} values where positions of training rows are "
            f"integers. Pass positions (labels are in train_index_), or a mask of all {n_train} "
            "rows."
        )
    if ((positions < 0) | (positions >= n_train)).any():
        raise ValueError(
            f"There is a position outside the {n_train} training rows. Give positions from 0 on; "
            "groups may also be one label a training row."
        )
    return positions.astype(np.intp)

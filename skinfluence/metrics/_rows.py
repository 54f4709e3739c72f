"""Rows by position, whatever holds them, and score vectors under their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]


def take_rows(rows: Any, positions: NDArray[np.intp]) -> Any:
    """Rows of an array, frame, series, sparse matrix or list by position; None stays None."""
    if rows is None:
        return None
    if hasattr(rows, "iloc"):
        return rows.iloc[positions]
    if isinstance(rows, list | tuple):
        return [rows[i] for i in positions]
    # Of sparse formats not all can be sliced.
    return rows.tocsr()[positions] if sparse.issparse(rows) else rows[positions]


def named_scores(scores: Any, n_rows: int, default: str = "score") -> dict[str, Array]:
    """Score vectors by name, each (n_rows,) without NaN; a lone vector is called `default`."""
    if scores is None:
        return {}
    # A DataFrame is a mapping of columns in all but name.
    by_name = isinstance(scores, Mapping) or hasattr(scores, "columns")
    named = dict(scores.items()) if by_name else {default: scores}
    checked = {}
    for name, vector in named.items():
        values = np.asarray(vector, dtype=np.float64)
        if values.shape != (n_rows,):
            raise ValueError(
                f"The scores {name!r} have shape {values.shape}, but there are {n_rows} rows. "
                "Pass one score per row, or a dict of such vectors."
            )
        if np.isnan(values).any():
            raise ValueError(
                f"{int(np.isnan(values).sum())} of the scores {name!r} are NaN, which have no "
                "place in an order. Score every row; use inf or -inf for 'first' and 'last'."
            )
        checked[str(name)] = values
    return checked


def without_reserved(*groups: dict[str, Array], reserved: str = "random") -> dict[str, Array]:
    """One dict of all `groups`; a name that occurs twice or is `reserved` is refused."""
    merged: dict[str, Array] = {}
    for group in groups:
        for name, values in group.items():
            if name in merged or name == reserved:
                raise ValueError(
                    f"The name {name!r} is taken: {reserved!r} is added by itself, and every "
                    "other name must occur once. Rename these scores."
                )
            merged[name] = values
    return merged


def order_of(score: Array) -> NDArray[np.intp]:
    """Positions, highest score first; ties go to the smaller position."""
    return np.argsort(-score, kind="stable")

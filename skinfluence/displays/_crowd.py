"""Pictures of very many rows: which of them to draw so that the picture stays the same."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Rows = NDArray[np.intp]

MANY = 20_000  # beyond this many rows some are left out, and the drawn ones become pixels


def one_per_cell(points: Array, weight: Array, keep: Rows) -> Rows:
    """Positions of the rows to draw as points: of each cell of a fine grid the heaviest.

    A cell is 1/300 of the width and 1/200 of the height, about the size of a small marker, so
    that a row left out would have been drawn below the one that stays. Rows in `keep` stay in
    any case. Few rows all stay.
    """
    n = points.shape[0]
    if n <= MANY:
        return np.arange(n)
    low, size = points.min(axis=0), np.ptp(points, axis=0)
    shape = np.array([300, 200])
    cell = np.minimum((points - low) / np.where(size > 0, size, 1) * shape, shape - 1).astype(int)
    order = np.argsort(-weight, kind="stable")
    _, first = np.unique(cell[order] @ np.array([200, 1]), return_index=True)
    return np.union1d(order[first], keep)


def extremes(values: Array, keep: Rows) -> Rows:
    """Positions of the rows to draw as stems: of neighbours the highest and the lowest.

    With 2,000 groups of neighbours each is narrower than a stem. Rows in `keep` stay in any
    case. Few rows all stay.
    """
    n = values.size
    if n <= MANY:
        return np.arange(n)
    group = np.arange(n) * 2000 // n
    starts = np.searchsorted(group, np.arange(2000))
    order = np.lexsort((values, group))  # each group from low to high
    ends = np.append(starts[1:], n) - 1
    return np.unique(np.concatenate([order[starts], order[ends], keep]))

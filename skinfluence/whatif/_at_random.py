"""How many rows have to go where they are chosen at random."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skinfluence.whatif._refits import Tried, bisected

# A size at random varies by more than this share of itself from one order to the next.
WITHIN = 16


def random_sizes(
    tried: Tried, orders: Sequence[NDArray[np.intp]], size: int
) -> NDArray[np.float64]:
    """Rows that have to go in each order, to within a sixteenth; inf where the label stays.

    Powers of two are tried first, from `size` on, so that queries share most of the refits.
    """
    return np.array([_size(tried, order, size) for order in orders], dtype=np.float64)


def shortest_at_random(
    tried: Tried, orders: Sequence[NDArray[np.intp]]
) -> NDArray[np.intp] | None:
    """The shortest set that an order gives; None where the label stays in all of them."""
    sizes = random_sizes(tried, orders, 1)
    if not np.isfinite(sizes).any():
        return None
    best = int(sizes.argmin())
    return orders[best][: int(sizes[best])]


def n_random_flips(tried: Tried, orders: Sequence[NDArray[np.intp]], size: int) -> int:
    """In how many orders the first `size` rows change the label."""
    return sum(len(order) >= size and tried.flips(order[:size]) for order in orders)


def _size(tried, order, size):
    grid = [*(2**k for k in range(len(order).bit_length()) if 2**k < len(order)), len(order)]
    at = int(np.searchsorted(grid, max(1, size)).clip(0, len(grid) - 1))

    def flips(k: int) -> bool:
        return tried.flips(order[:k])

    if flips(grid[at]):
        while at and flips(grid[at - 1]):
            at -= 1
    else:
        while at < len(grid) and not flips(grid[at]):
            at += 1
    if at == len(grid):
        return np.inf
    return bisected(flips, grid[at - 1] if at else 0, grid[at], WITHIN)

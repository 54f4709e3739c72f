"""Labels without sets of rows, each found once."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.engines.labels import Labels, NoModel

Positions = NDArray[np.intp]


class Tried:
    """Which sets of rows change the label of one query.

    Parameters
    ----------
    labels : Labels
    known : dict
        Labels of all queries without a set, by its bytes: queries share their refits.
    query : int
    """

    def __init__(self, labels: Labels, known: dict[bytes, Positions | None], query: int):
        self.labels, self.query = labels, query
        self._known = known
        self._asked: set[bytes] = set()
        self.before = int(labels.without(np.empty(0, dtype=np.intp))[query])

    @property
    def n_refits(self) -> int:
        """How many sets were tried for this query."""
        return len(self._asked)

    def label(self, removed: Positions) -> int:
        """Its label without some rows; the old one where nothing can be fitted without them."""
        removed = np.sort(removed)
        key = removed.tobytes()
        self._asked.add(key)
        if key not in self._known:
            self._known[key] = self._without(removed)
        found = self._known[key]
        return self.before if found is None else int(found[self.query])

    def _without(self, removed):
        try:
            return self.labels.without(removed)
        except NoModel:
            return None

    def flips(self, removed: Positions) -> bool:
        """Whether its label is another one without some rows."""
        return self.label(removed) != self.before


def deletable(order: Positions, class_of_row: Positions, removed: Positions) -> Positions:
    """The rows of an order that carry weight, are there, and leave every class a row."""
    there = class_of_row.copy()
    there[removed] = -1
    order = order[there[order] >= 0]
    own = there[order]
    left = np.bincount(there[there >= 0], minlength=own.max(initial=0) + 1)
    kept = np.ones(len(order), dtype=bool)
    for code in np.unique(own):
        at = np.flatnonzero(own == code)
        if len(at) == left[code]:
            kept[at[-1]] = False
    return order[kept]


def shortest_prefix(flips: Any, n: int, guess: int) -> int | None:
    """Length of a shortest prefix that flips, of at most n, by galloping from a guess.

    Prefixes that flip are taken to be all beyond some length, as they nearly are.
    """
    if n < 1:
        return None
    high = int(np.clip(guess, 1, n))
    step = max(1, high // 16)
    low = 0
    if flips(high):
        while high > 1 and flips(max(1, high - step)):
            high, step = max(1, high - step), 2 * step
        low = max(0, high - step)
    else:
        while True:
            low = high
            if low == n:
                return None
            high, step = min(n, high + step), 2 * step
            if flips(high):
                break
    return bisected(flips, low, high)


def bisected(flips: Any, low: int, high: int, within: int = 0) -> int:
    """A length at which prefixes flip and those shorter by a `within`-th (0: by one) do not."""
    while high - low > max(1, high // within if within else 1):
        middle = (low + high) // 2
        low, high = (low, middle) if flips(middle) else (middle, high)
    return high

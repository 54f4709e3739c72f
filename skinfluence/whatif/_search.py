"""The search for a small set of rows whose deletion changes a label.

Rows are put in the order in which their deletions lower the margin of the predicted class over a
rival, and the shortest prefix that changes the label of a refit is found by bisection [1]_ [2]_.
An order that was right for the full fit is wrong after many deletions, so that the last rows of a
set are then exchanged for fewer, by the margins of a refit without the others; the more of them
at a time the earlier. Small sets are also chosen row by row. At last every row is put back once,
the weakest first.

.. [1] J. Yang, S. Jain and B. C. Wallace (2023), How many and which training points would need to
   be removed to flip this prediction?, EACL.
.. [2] T. Broderick, R. Giordano and R. Meager (2020), An automatic finite-sample robustness
   metric: when can dropping a little data make a big difference?, arXiv 2011.14999.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinfluence.engines.labels import NoModel
from skinfluence.whatif._refits import Tried, deletable, shortest_prefix

Positions = NDArray[np.intp]
NONE = np.empty(0, dtype=np.intp)

# Rivals whose orders are searched, those that seem to need fewest rows first.
RIVALS = 3
# How often a set that is still too small may be continued by fresh margins, and how often the
# last rows of one that is large enough may be exchanged.
CONTINUED, EXCHANGES = 10, 30
# Rows at most that are chosen one by one, by fresh margins for each.
GREEDY = 15


def search(tried: Tried) -> Positions | None:
    """A small set of rows that changes the label, the weightiest first; None where none is."""
    best = tried.labels.best_order(tried.query, tried.before)
    if best is not None:
        best = deletable(best, tried.labels.class_of_row, NONE)
        return _prefix(tried, NONE, best, 1, len(best))
    found = _first(tried)
    if tried.labels.again:
        found = found if found is None else _exchanged(tried, found)
        found = _one_by_one(tried, found)
    return found


def pruned(tried: Tried, found: Positions) -> Positions:
    """A subset in which no row is idle: with any one of them put back, the old label is back."""
    smaller = True
    while smaller and len(found) > 1:
        smaller = False
        for i in reversed(range(len(found))):
            left = np.delete(found, i)
            if len(left) and tried.flips(left):
                found, smaller = left, True
    return found


def _first(tried):
    """The shortest of the rivals' prefixes, continued by fresh margins where none is enough."""
    gone, limit = NONE, len(tried.labels.class_of_row)
    for _ in range(CONTINUED):
        orders = _orders(tried, gone)
        found = _shortest(tried, gone, orders, limit)
        if found is not None:
            return found
        if not orders or not len(orders[0][1]):
            break
        gone = np.concatenate([gone, orders[0][1]])
        if not tried.labels.again:
            break
    return _of_the_class(tried, gone)


def _of_the_class(tried, gone):
    """What margins name and then all that is left of the class, where that is needed.

    Margins may also have named rows of the rival without which it no longer wins: at last only
    rows of the class go.
    """
    labels = tried.labels
    own = labels.class_of_row == tried.before
    left = np.setdiff1d(np.flatnonzero(own), gone)
    for first, then in ((gone, left), (NONE, np.concatenate([gone[own[gone]], left]))):
        order = deletable(then, labels.class_of_row, first)
        found = _prefix(tried, first, order, len(order), len(labels.class_of_row))
        if found is not None:
            return found
    return None


def _exchanged(tried, found):
    """The last rows of a set exchanged for fewer, by margins without the others."""
    last = len(found) // 2
    for _ in range(EXCHANGES):
        if last < 2:
            break
        gone = found[:-last]
        shorter = _shortest(tried, gone, _orders(tried, gone)[:1], len(found) - 1)
        if shorter is None:
            last //= 2
        else:
            found = shorter
            last = min(last, len(found) // 2)
    return found


def _one_by_one(tried, found):
    """A set whose every row is the worst after the others are gone, where it is smaller."""
    if found is not None and len(found) > 2 * GREEDY:
        return found  # it is not that bad
    gone = NONE
    for _ in range(GREEDY if found is None else min(GREEDY, len(found) - 1)):
        orders = _orders(tried, gone)
        if not orders or not len(orders[0][1]):
            break
        gone = np.append(gone, orders[0][1][0])
        if tried.flips(gone):
            return gone
    return found


def _orders(tried, gone):
    """For each rival, how many rows its margin says are needed, and an order of rows.

    The rows whose deletion lowers the margin, those that lower it most first; the rival that
    seems to need fewest first.
    """
    labels = tried.labels
    try:
        margins, changes = labels.margins(tried.query, tried.before, gone)
    except NoModel:
        return []
    found = []
    for margin, change in zip(margins, changes, strict=True):
        order = np.argsort(change, kind="stable")
        order = deletable(order[change[order] < 0], labels.class_of_row, gone)
        below = np.flatnonzero(margin + np.cumsum(change[order]) < 0)
        needed = int(below[0]) + 1 if len(below) else 0
        found.append((needed or len(order), order, needed == 0))
    found.sort(key=lambda one: (one[2], one[0] if one[1].size else np.inf))
    return [(guess, order) for guess, order, _ in found]


def _shortest(tried, gone, orders, limit):
    """The shortest set of `gone` and a prefix of one of the orders, of at most `limit` rows."""
    found = None
    for guess, order in orders[:RIVALS]:
        shorter = _prefix(tried, gone, order, guess, limit)
        if shorter is not None:
            found, limit = shorter, len(shorter) - 1
    return found


def _prefix(tried, gone, order, guess, limit):
    room = min(len(order), limit - len(gone))
    size = shortest_prefix(lambda k: tried.flips(np.concatenate([gone, order[:k]])), room, guess)
    return None if size is None else np.concatenate([gone, order[:size]])

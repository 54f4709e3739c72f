"""Answers for several queries, which share the refits that they can."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from skinfluence.engines.labels import Labels
from skinfluence.whatif._at_random import n_random_flips, random_sizes, shortest_at_random
from skinfluence.whatif._flip import Flip
from skinfluence.whatif._refits import Tried, deletable
from skinfluence.whatif._search import NONE, pruned, search


def flips(
    labels: Labels,
    queries: Iterable[int],
    *,
    max_rows: int | None,
    n_random: int,
    minimal: bool,
    rng: np.random.RandomState,
    train_index: Any,
) -> Iterator[Flip]:
    """Smallest sets found, one a query.

    Parameters
    ----------
    labels : Labels
    queries : iterable of int
        Their positions.
    max_rows, n_random, minimal
        As the explainer has them.
    rng : RandomState
        Draws the random orders, which are the same for all queries.
    train_index : ndarray of shape (n_train,)
    """
    n_train = len(labels.class_of_row)
    orders = [
        deletable(rng.permutation(n_train), labels.class_of_row, NONE) for _ in range(n_random)
    ]
    known: dict[bytes, Any] = {}
    for query in queries:
        tried = Tried(labels, known, query)
        found, reason = _found(tried, orders, max_rows)
        if found is not None:
            found = pruned(tried, found) if minimal else found
            if labels.confirmed(found)[query] == tried.before:
                found, reason = None, _not_confirmed(found)
        yield _answer(tried, found, reason, orders, minimal, train_index)


def _found(tried, orders, max_rows):
    """A set of rows, or None and why there is none."""
    again = tried.labels.trained_again()
    if again is not None and again[tried.query] != tried.before:
        return None, (
            "trained again on all rows, the model predicts "
            f"{tried.labels.classes[again[tried.query]]} already"
        )
    found = search(tried)
    if found is None:
        with tried.labels.firmer() as firmer:
            found = search(tried) if firmer else None
    found = shortest_at_random(tried, orders) if found is None else found
    if found is None:
        return None, f"no set was found that leaves every class a row{tried.labels.hint}"
    if max_rows is not None and len(found) > max_rows:
        return None, f"the smallest set found has {len(found)} rows, and max_rows is {max_rows}"
    return found, ""


def _not_confirmed(found):
    return (
        f"without the {len(found)} rows found the minimum has another label, and the estimator's "
        "own fit has not"
    )


def _answer(tried, found, reason, orders, minimal, train_index):
    classes = tried.labels.classes
    rows = NONE if found is None else found
    sizes = random_sizes(tried, orders, len(rows))
    same = n_random_flips(tried, orders, len(rows)) if len(rows) else 0
    after = tried.before if found is None else tried.label(rows)
    return Flip(
        rows=rows,
        labels=train_index[rows],
        label_before=_plain(classes[tried.before]),
        label_after=_plain(classes[after]),
        random_sizes=sizes,
        n_random_flips=same,
        found=found is not None,
        minimal=found is not None and minimal,
        n_refits=tried.n_refits,
        n_train=len(train_index),
        reason=reason,
    )


def _plain(label):
    return label.item() if isinstance(label, np.generic) else label

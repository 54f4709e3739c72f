"""Training rows that are deleted or become others, and real refits to what is left of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone

from skinfluence import InfluenceExplainer
from skinfluence.deletion.closed.base import Family, TrainingRows, difference
from skinfluence.deletion.closed.deletion import values_of
from skinfluence.engines.linear import refits

DELETIONS, INPUTS, FAR, LABELS = "deletion", "other inputs", "far inputs", "other label"
# How far other inputs lie on the way to another row, and beyond.
SHARES = {INPUTS: (0.5, 1.0), FAR: (1.0, 2.0)}
# Changes below this are rounding.
NOTHING = 1e-12


@dataclass
class Changes:
    """Single changes of training rows: which rows, and what takes their place.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    y : ndarray of shape (n,) or None
    rows : ndarray of int of shape (b,)
    new, new_y : ndarray of b rows or None
        None keeps inputs or targets; both None deletes.
    """

    X: np.ndarray
    y: np.ndarray | None
    rows: np.ndarray
    new: np.ndarray | None = None
    new_y: np.ndarray | None = None

    def scores(self, explainer: InfluenceExplainer) -> np.ndarray:
        """By the explainer, at all rows, (n, b)."""
        queries = (self.X,) if self.y is None else (self.X, self.y)
        if self.new is None and self.new_y is None:
            return explainer.score_influence(*queries)[:, self.rows]
        asked = {"rows": self.rows, "queries": queries if self.y is not None else self.X}
        return explainer.score_replacement(self.new, self.new_y, **asked)

    def sets(self) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
        """The rows and targets after each change."""
        for j, row in enumerate(self.rows):
            if self.new is None and self.new_y is None:
                kept = np.delete(np.arange(len(self.X)), row)
                yield self.X[kept], None if self.y is None else self.y[kept]
                continue
            X, y = self.X.copy(), None if self.y is None else self.y.copy()
            if self.new is not None:
                X[row] = self.new[j]
            if self.new_y is not None:
                y[row] = self.new_y[j]
            yield X, y


def changes_of(
    kind: str, X: np.ndarray, y: np.ndarray | None, n_changes: int, *, whole: bool = False
) -> Changes:
    """Changes of one kind, of rows drawn at random.

    Other inputs lie half-way to another row or nearer to it, far ones up to as far behind it; with
    `whole` they are those of another row, as counts and categories have to be. Other labels are
    another class, or another row's number.
    """
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(len(X), min(len(X), n_changes), replace=False))
    if kind == DELETIONS:
        return Changes(X, y, rows)
    others = (rows + rng.integers(1, len(X), len(rows))) % len(X)
    if kind == LABELS:
        return Changes(X, y, rows, new_y=_other_targets(y, rows, others, rng))
    if whole:
        return Changes(X, y, rows, new=X[others])
    noise = 0.1 * X.std(axis=0) * rng.standard_normal((len(rows), X.shape[1]))
    share = rng.uniform(*SHARES[kind], (len(rows), 1))
    return Changes(X, y, rows, new=X[rows] + share * (X[others] - X[rows]) + noise)


def _other_targets(y, rows, others, rng):
    if y.dtype.kind == "f" and len(np.unique(y)) > 20:
        return y[others]
    classes, codes = np.unique(y, return_inverse=True)
    return classes[(codes[rows] + rng.integers(1, len(classes), len(rows))) % len(classes)]


# -- truth ----------------------------------------------------------------------------------------


def truth(explainer: InfluenceExplainer, changes: Changes) -> np.ndarray:
    """Changes of the target at all rows by polished refits, (n, b)."""
    find = exact_refits if hasattr(explainer._engine, "exact") else linear_refits
    value = find(explainer, changes.X, changes.y)
    before = value(changes.X, changes.y)
    after = [value(X, y) for X, y in changes.sets()]
    return np.transpose([difference(each.copy(), before) for each in after])


def linear_refits(
    explainer: InfluenceExplainer, queries: np.ndarray, y: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Value at queries, up to a constant, of the linear model fitted to rows and polished."""
    asked, rows = explainer._queries_and_rows(queries, y)

    def value(X, targets):
        engine = copy.copy(explainer._engine)
        engine.X, engine.y = X, targets
        return refits.moved(engine, asked, rows, np.arange(len(X)))

    return value


def exact_refits(
    explainer: InfluenceExplainer, queries: np.ndarray, y: np.ndarray | None
) -> Callable[[np.ndarray, Any], np.ndarray]:
    """Value at queries of the estimator fitted to rows, where its own iteration would end."""
    engine = explainer._engine
    asked = engine.queries(queries, y)

    def value(X, targets):
        fitted = np.arange(len(X)), _fit(engine, TrainingRows(X, targets, None))
        return values_of(
            lambda part: engine.refits.outputs_of(fitted, part), asked.X, asked.asked, engine.value
        )

    return value


def _fit(engine, rows):
    family, every = engine.family, np.arange(rows.n)
    if type(family).at_rest is Family.at_rest:
        return family.refitted(engine.model, rows, every)
    given = (rows.X,) if rows.y is None else (rows.X, rows.y)
    return family.at_rest(clone(engine.model).fit(*given), rows)


def largest_error(scores: np.ndarray, actual: np.ndarray) -> float:
    """Largest difference over the largest finite change; infinities have to be the same."""
    finite = np.isfinite(actual)
    if (scores[~finite] != actual[~finite]).any() or not np.isfinite(scores[finite]).all():
        return np.inf
    error = np.abs(scores - actual)[finite].max(initial=0.0)
    scale = np.abs(actual[finite]).max(initial=0.0)
    # Where nothing changes, nothing may be said to.
    return float(error / (scale if scale > NOTHING else 1.0))

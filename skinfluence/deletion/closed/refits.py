"""Deletion by fitting the estimator again: the truth, and the way where no form is closed."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy import linalg

from skinfluence.deletion.closed.base import (
    EVERY,
    OWN,
    Array,
    ExactModel,
    Family,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
)

# Refits that are kept at once: each is a whole model.
KEPT = 64


class Refits(ExactModel):
    """The estimator, fitted again without each row.

    Parameters
    ----------
    family : Family
    estimator : estimator
        Fitted.
    rows : TrainingRows
    """

    method = "refit"

    def __init__(self, family: Family, estimator: Any, rows: TrainingRows):
        self.family, self.estimator, self.rows = family, estimator, rows
        self.head = family.head(estimator)
        self.n_train = rows.n
        self._unfitted: set[int] = set()

    @property
    def alone(self) -> Positions:  # type: ignore[override]
        """Rows without which the estimator could not be fitted."""
        return np.array(sorted(self._unfitted), dtype=np.intp)

    @cached_property
    def _all(self):
        # Most closed forms never need it.
        return self.fit(np.arange(self.n_train))

    @cached_property
    def n_outputs(self) -> int:  # type: ignore[override]
        return self.outputs(self.rows.X[:1]).shape[1]

    @property
    def row_block(self) -> int:
        return KEPT

    def fit(self, kept: Positions) -> tuple[Positions, Any]:
        """A model of the rows `kept`, and their positions."""
        return kept, self.family.refitted(self.estimator, self.rows, kept)

    def outputs_of(self, fitted: tuple[Positions, Any], X: Any) -> Array:
        """Outputs of a model from :meth:`fit`, (n_queries, n_outputs)."""
        kept, model = fitted
        if model is None:
            return self.of_none(np.setdiff1d(np.arange(self.n_train), kept)[0], X)
        outputs = self.family.outputs(model, self.family.seen_by(self.estimator, X, kept))
        classes = self.head.classes
        if classes is None or len(model.classes_) == len(classes):
            return outputs
        return self.head.of_classes_left(outputs, np.searchsorted(classes, model.classes_))

    def outputs(self, X: Any) -> Array:
        return self.outputs_of(self._all, X)

    def delete(self, rows: Positions) -> Any:
        return [self._without(int(row)) for row in rows]

    def _without(self, row):
        kept = np.delete(np.arange(self.n_train), row)
        if not self._one_class(kept):
            return self.fit(kept)
        try:
            fitted = self.fit(kept)
            self.outputs_of(fitted, self.rows.X[:1])
        except (ValueError, linalg.LinAlgError):
            self._unfitted.add(row)
            return kept, None
        return fitted

    def _one_class(self, kept):
        """Whether rows of one class are all that is left, which many classifiers refuse."""
        if self.head.classes is None:
            return False
        weighs = self.rows.ones()[kept] > 0
        return len(np.unique(self.rows.y[kept][weighs])) == 1

    def of_none(self, row: int, X: Any) -> Array:
        """Outputs where the row that went was needed by its class, or by the density."""
        head = self.head
        if head.classes is None:
            return np.full_like(self.outputs(X), head.of_no_rows)
        gone = np.searchsorted(head.classes, self.rows.y[row])
        left = np.delete(np.arange(len(head.classes)), gone)
        # One that is alone is certain, with whatever log joint density.
        outputs = np.ones((X.shape[0], 1)) if len(left) == 1 else self.outputs(X)[:, left]
        return head.of_classes_left(outputs, left)

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        if meeting is OWN:
            pairs = enumerate(deleted)
            return np.concatenate([self.outputs_of(own, X[j : j + 1]) for j, own in pairs])
        return np.stack([self.outputs_of(own, X) for own in deleted], axis=1)

    def replace(self, new: NewRows, *, needed: bool = True) -> Replaced:
        return _Refitted(self, new, needed=needed)


class _Refitted(Replaced):
    """The estimator, fitted again with each new row.

    Parameters
    ----------
    refits : Refits
    new : NewRows
    needed : bool
        Whether there is nothing else where a fit fails.
    """

    def __init__(self, refits: Refits, new: NewRows, *, needed: bool):
        self.refits, self.new = refits, new
        head = refits.head
        self._raises = needed and head.supervised and head.classes is None
        self.broken = np.zeros(len(new), dtype=bool)
        self.fitted = [self._or_none(self._fit, new[[j]]) for j in range(len(new))]
        self.failed = np.array([fitted is None for fitted in self.fitted], dtype=bool)

    def _fit(self, new):
        refits, every = self.refits, np.arange(self.refits.n_train)
        rows = refits.rows.with_other(int(new.rows[0]), new.X, new.y)
        return every, refits.family.refitted(refits.estimator, rows, every)

    def _or_none(self, function, *given):
        """None where there is no such model, of rows that may have none."""
        try:
            return function(*given)
        except (ValueError, linalg.LinAlgError):
            if self._raises:
                raise
            return None

    def outputs(self, X: Any) -> Array:
        return np.stack([self._of(j, X) for j in range(len(self.new))], axis=1)

    def _of(self, j, X):
        fitted, refits = self.fitted[j], self.refits
        found = None if fitted is None else self._or_none(refits.outputs_of, fitted, X)
        return refits.of_none(self.new.rows[j], X) if found is None else found


class Patched(ExactModel):
    """A closed form, and refits in place of the rows without which it breaks down.

    Parameters
    ----------
    closed : ExactModel
    refits : Refits
    broken : ndarray of int
        These rows.
    code_of_row : ndarray of int of shape (n_train,), or None
        Class of each row: left out where nothing can be fitted without the row.
    """

    def __init__(
        self, closed: ExactModel, refits: Refits, broken: Positions, code_of_row: Positions | None
    ):
        self.closed, self.refits, self.code_of_row = closed, refits, code_of_row
        self.n_train, self.n_outputs = closed.n_train, closed.n_outputs
        self.alone = np.union1d(closed.alone, broken)
        self._broken = np.zeros(self.n_train, dtype=bool)
        self._broken[broken] = True

    @property
    def row_block(self) -> int:
        return self.closed.row_block

    def floats_a_query(self, n_rows: int) -> int:
        return self.closed.floats_a_query(n_rows)

    def outputs(self, X: Any) -> Array:
        return self.closed.outputs(X)

    def delete(self, rows: Positions) -> Any:
        return rows, self.closed.delete(rows)

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        rows, state = deleted
        with np.errstate(all="ignore"):
            found = self.closed.without(X, state, meeting)
        for j in np.flatnonzero(self._broken[rows]):
            at = slice(j, j + 1) if meeting is OWN else slice(None)
            found[(j,) if meeting is OWN else (at, j)] = self._refit(rows[j], X[at], meeting)
        return found

    @property
    def replaced_block(self) -> int:
        return self.closed.replaced_block

    @property
    def complex_rows(self) -> bool:  # type: ignore[override]
        return self.closed.complex_rows

    def replace(self, new: NewRows) -> Replaced | None:
        return self.closed.replace(new)

    def _refit(self, row, X, meeting):
        try:
            outputs = self.refits.without(X, self.refits.delete(np.array([row])), EVERY)[:, 0]
        except (ValueError, linalg.LinAlgError):
            outputs = self.closed.outputs(X).copy()
            gone = slice(None) if self.code_of_row is None else self.code_of_row[row]
            outputs[:, gone] = self.refits.head.of_no_rows
        return outputs[0] if meeting is OWN else outputs

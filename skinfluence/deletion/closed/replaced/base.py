"""New rows that take the place of training rows, and the models that they would have made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class NewRows:
    """Row j takes the place, and the weight, of the training row at ``rows[j]``, one at a time.

    Parameters
    ----------
    rows : ndarray of int of shape (b,)
        Positions of training rows; one may come several times.
    X : ndarray or sparse array of shape (b, p)
        In model space. Models that say so take complex rows too, of which derivatives are read.
    y : ndarray of shape (b, ...), or None
        Their targets as the training rows have them; None for models without targets.
    encoded : ndarray of shape (b, ...), or None
        The same as the head of the model encodes them: positions of classes, or numbers.
    """

    rows: Positions
    X: Any
    y: Any
    encoded: Any

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: Any) -> NewRows:
        y = None if self.y is None else self.y[part]
        encoded = None if self.encoded is None else self.encoded[part]
        return NewRows(self.rows[part], take_rows(self.X, part), y, encoded)

    def having(self, X: Any) -> NewRows:
        """The same with other inputs."""
        return replace(self, X=X)


class Replaced(ABC):
    """The models that each of some new rows would have made.

    Attributes
    ----------
    broken : ndarray of bool of shape (b,)
        Which of them have no such closed form, because a covariance is singular, a class has no
        rows, or an optimum was lost on the way: the estimator is fitted again for these.
    failed : ndarray of bool of shape (b,)
        Of refits, which of them have no fit either.
    """

    broken: NDArray[np.bool_]
    failed: NDArray[np.bool_]

    @property
    def degenerate(self) -> NDArray[np.bool_]:
        """Which of them the user is to be warned of, (b,): the broken ones."""
        return self.broken

    @abstractmethod
    def outputs(self, X: Any) -> Array:
        """Outputs of each of the models, (n_queries, b, n_outputs)."""


class Mended(Replaced):
    """Closed forms, with refits in place of those that broke down.

    Parameters
    ----------
    closed : Replaced
    refitted : Replaced
        Of the broken ones, in their order.
    keep : bool
        Whether closed forms stay where a refit fails.
    """

    def __init__(self, closed: Replaced, refitted: Replaced, *, keep: bool):
        self.closed, self.refitted, self.broken = closed, refitted, closed.broken
        self.mended = np.flatnonzero(self.broken)
        self._used = ~refitted.failed if keep else np.ones(len(self.mended), dtype=bool)

    @property
    def degenerate(self) -> NDArray[np.bool_]:
        return self.closed.degenerate

    def outputs(self, X: Any) -> Array:
        with np.errstate(all="ignore"):
            found = self.closed.outputs(X)
        if self._used.any():
            found[:, self.mended[self._used]] = self.refitted.outputs(X)[:, self._used]
        return found


def same_rows(before: Any, after: Any) -> NDArray[np.bool_]:
    """Which rows of two matrices are equal, (b,)."""
    if sparse.issparse(before) or sparse.issparse(after):
        gaps = abs(sparse.csr_array(before) - sparse.csr_array(after))
        return np.asarray(gaps.sum(axis=1)).ravel() == 0
    return np.asarray((before == after).all(axis=1))

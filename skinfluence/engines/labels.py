"""Labels that a classifier predicts without some of its training rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


class NoModel(Exception):
    """Without some rows the estimator cannot be fitted."""


class Labels(ABC):
    """Labels predicted at some queries, with all training rows and without some.

    Conventions: labels are positions in `classes`. A margin is how far the decision for the
    predicted class is above that of a rival: where the first goes below 0, the label has changed.

    Attributes
    ----------
    classes : ndarray of shape (n_classes,)
    class_of_row : ndarray of int of shape (n_train,)
        Class of each training row; -1 where it carries no weight.
    n_queries : int
    again : bool
        Whether margins are known after rows have gone, and not only at the fitted model.
    hint : str
        What else can be tried where no set was found, after a semicolon; else empty.
    """

    classes: NDArray[Any]
    class_of_row: Positions
    n_queries: int
    again: bool = True
    hint: str = ""

    @abstractmethod
    def without(self, removed: Positions) -> Positions:
        """Labels of a model fitted without the rows `removed`, (n_queries,).

        Raises
        ------
        NoModel
            If the estimator cannot be fitted to what is left.
        """

    def confirmed(self, removed: Positions) -> Positions:
        """The same by the estimator's own ``fit``, where :meth:`without` has a quicker way."""
        return self.without(removed)

    @contextmanager
    def firmer(self) -> Iterator[bool]:
        """Margins nearer to real deletions, while within; False where there are none."""
        yield False

    def trained_again(self) -> Positions | None:
        """Labels of a model trained again on all rows, where that is another one; else None."""
        return None

    @abstractmethod
    def margins(self, query: int, label: int, removed: Positions) -> tuple[Array, Array]:
        """Margins of a label over its rivals without `removed`, and their changes.

        Returns
        -------
        margins : ndarray of shape (n_rivals,)
        changes : ndarray of shape (n_rivals, n_train)
            When one more row is deleted, by the explainer's method; 0 for rows that are gone.

        Raises
        ------
        NoModel
            As :meth:`without`, and if nothing is known of what is left.
        """

    def best_order(self, query: int, label: int) -> Positions | None:
        """Rows in an order whose shortest prefix that changes the label is a smallest set.

        None, as here, where no such order is known.
        """
        return None


def rivals_of(label: int, n_classes: int) -> Positions:
    """All other classes."""
    return np.delete(np.arange(n_classes), label)


def over_all_rows(changes: Array, removed: Positions, n_train: int) -> Array:
    """Changes of the rows that are left as those of all rows, 0 where they are gone."""
    if not len(removed):
        return changes
    found = np.zeros((len(changes), n_train))
    found[:, np.delete(np.arange(n_train), removed)] = changes
    return found

"""Class weights that follow the rows: ``class_weight="balanced"`` when a row goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rebalance:
    """How ``class_weight="balanced"`` recomputes the weights of the rows that stay.

    A balanced class k weighs c_k = S / (K S_k), S_k being the mass of its rows and S that of all
    rows. Deleting a row of mass s_i and class y_i makes it
    c'_k = (S - s_i) / (K (S_k - s_i [y_i = k])), for every row of every class.

    Parameters
    ----------
    class_of_row : ndarray of int of shape (n,)
    mass : ndarray of shape (n,)
        What the estimator counts: sample weights, or 1 a row.
    positives : int or None
        None where every row is weighted by its class. One-vs-rest problem k of LinearSVC and
        SGDClassifier weights its positives by c_k and its negatives by 1.
    """

    class_of_row: NDArray[np.intp]
    mass: Array
    positives: int | None = None

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return int(self.class_of_row.max()) + 1

    @property
    def group_of_row(self) -> NDArray[np.intp]:
        """Which of the ratios holds for each row, (n,)."""
        if self.positives is None:
            return self.class_of_row
        return (self.class_of_row == self.positives).astype(np.intp)

    @property
    def n_groups(self) -> int:
        """Number of ratios."""
        return self.n_classes if self.positives is None else 2

    def ratios(self, removed: Array) -> Array:
        """Weights after a deletion over weights before.

        Parameters
        ----------
        removed : ndarray of shape (n_classes, b)
            Mass that each of b deletions takes from each class.

        Returns
        -------
        ratios : ndarray of shape (n_groups, b)
            1 for a class that loses its last row: it has no rows left to weigh.
        """
        total = np.bincount(self.class_of_row, self.mass, minlength=self.n_classes)[:, None]
        left = total - removed
        gone = left <= 1e-12 * total
        share = left / left.sum(axis=0)
        ratios = np.where(gone, 1.0, total / total.sum() / np.where(gone, 1.0, share))
        if self.positives is None:
            return ratios
        return np.stack([np.ones(removed.shape[1]), ratios[self.positives]])

    def removed_by(self, rows: NDArray[np.intp]) -> Array:
        """Mass that deleting each of `rows` alone takes from each class, (n_classes, b)."""
        removed = np.zeros((self.n_classes, len(rows)))
        removed[self.class_of_row[rows], np.arange(len(rows))] = self.mass[rows]
        return removed

"""The answer to: which rows would have to go for this prediction to change?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Flip:
    """A smallest set found of training rows whose deletion changes a predicted label.

    It is what :meth:`InfluenceExplainer.smallest_flip` returns for each query. No smaller set is
    known; one may exist. That the label changes is verified by a refit without these rows.

    Parameters
    ----------
    rows : ndarray of int of shape (size,)
        Positions of the training rows; empty where no set was found.
    labels : ndarray of shape (size,)
        Their labels in ``train_index_``.
    label_before, label_after : object
        Predicted label of the query with all rows, and without these; both are the same where no
        set was found.
    random_sizes : ndarray of float of shape (n_random,)
        How many rows had to go in each random order, to within a sixteenth; inf where the
        label stayed to the end.
    n_random_flips : int
        How many random sets of as many rows as were found change the label.
    found : bool
        Whether there is such a set.
    minimal : bool
        Whether no row is idle: with any one of them put back, the label is the old one again.
    n_refits : int
        Sets of rows without which a model was fitted.
    n_train : int
        Number of training rows.
    reason : str
        Why no set was found.

    See Also
    --------
    InfluenceExplainer.score_groups : What a set that you name does.

    Examples
    --------
    >>> from sklearn.datasets import load_breast_cancer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skinfluence import InfluenceExplainer
    >>> X, y = load_breast_cancer(return_X_y=True)
    >>> model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    >>> flip = InfluenceExplainer(model).fit(X, y).smallest_flip(X[73:74], random_state=0)[0]
    >>> flip.label_before, flip.label_after
    (1, 0)
    """

    rows: NDArray[np.intp]
    labels: NDArray[Any]
    label_before: Any
    label_after: Any
    random_sizes: NDArray[np.float64]
    n_random_flips: int
    found: bool
    minimal: bool
    n_refits: int
    n_train: int
    reason: str = ""

    @property
    def size(self) -> int:
        """Number of rows that have to go; 0 where no set was found."""
        return len(self.rows)

    @property
    def share(self) -> float:
        """Their share of the training rows."""
        return self.size / self.n_train

    @property
    def random_size(self) -> float:
        """Median number of rows that have to go at random; NaN where none were drawn."""
        if not len(self.random_sizes):
            return float("nan")
        ordered = np.sort(self.random_sizes)
        middle = (len(ordered) - 1) // 2  # the mean of two infinities, or of one, says nothing
        return float(ordered[middle])

    def __repr__(self) -> str:
        refits = "1 refit" if self.n_refits == 1 else f"{self.n_refits} refits"
        return f"Flip({self._what()}{self._at_random()}; {refits})"

    def _what(self):
        if not self.found:
            return f"none found from {self.label_before!s}: {self.reason}"
        return (
            f"{self.size} of {self.n_train} rows, from {self.label_before!s} to "
            f"{self.label_after!s}"
        )

    def _at_random(self):
        if not len(self.random_sizes):
            return ""
        size = self.random_size
        needed = f"{size:.0f}" if np.isfinite(size) else "never"
        drawn = len(self.random_sizes)
        same = f", {self.n_random_flips} of {drawn} sets of the same size" if self.found else ""
        return f"; at random {needed}{same}"

"""Training rows of models whose deletions are exact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class TrainingRows:
    """Training rows as the model saw them.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, p)
        float64, in model space.
    y : ndarray of shape (n,) or (n, n_targets), or None
        As the user passed them; None for models without targets.
    weights : ndarray of shape (n,) or None
        None where there were none.
    """

    X: Any
    y: Any
    weights: Array | None

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.X.shape[0]

    def ones(self) -> Array:
        """Weights, ones where there were none."""
        return np.ones(self.n) if self.weights is None else self.weights

    def kept(self, positions: Positions) -> TrainingRows:
        """Some of the rows."""
        weights = None if self.weights is None else self.weights[positions]
        return TrainingRows(take_rows(self.X, positions), take_rows(self.y, positions), weights)

    def with_other(self, row: int, X: Any, y: Any) -> TrainingRows:
        """The rows with another one at the position `row`, of the same weight.

        `X` is (1, p), and `y` (1, ...), or None where there are no targets.
        """
        targets = self.y
        if targets is not None:
            targets = np.array(targets)
            targets[row] = y[0]
        if not sparse.issparse(self.X):
            rows = self.X.copy()
            rows[row] = X.toarray()[0] if sparse.issparse(X) else X[0]
            return TrainingRows(rows, targets, self.weights)
        parts = [self.X[:row], sparse.csr_array(X), self.X[row + 1 :]]
        held = [part for part in parts if part.shape[0]]
        return TrainingRows(sparse.vstack(held, format="csr"), targets, self.weights)

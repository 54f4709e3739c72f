"""The contract of an inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Inverse(ABC):
    """(Pseudo-)inverse of a symmetric matrix, applied to columns.

    The law: it agrees with the dense pseudo-inverse on the range of the matrix.

    Attributes
    ----------
    condition : float
        Condition number on the range (an estimate), NaN if unknown.
    null_dim : int
        Number of directions that the matrix does not see.
    definite : bool
        Whether the matrix is positive (semi)definite.
    """

    condition: float = float("nan")
    null_dim: int = 0
    definite: bool = True

    @abstractmethod
    def __call__(self, columns: Array) -> Array:
        """Solve for each column of an array (n, M)."""

    def matrix(self, size: int) -> Array:
        """The inverse itself, (size, size)."""
        return self(np.eye(size))

    def report(self) -> dict[str, Any]:
        """How the systems were solved."""
        return {
            "condition": self.condition,
            "null_dim": self.null_dim,
            "definite": self.definite,
        }

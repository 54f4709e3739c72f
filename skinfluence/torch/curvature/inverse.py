"""The contract of an inverse of a curvature, its own or one that a solver makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor

from skinfluence.torch.gradients import GradientBlock


class Inverse(ABC):
    """``(A + W damping I)^-1``, exactly or nearly, applied to vectors that are rows.

    The law: it agrees with the dense inverse as closely as its report says.

    Attributes
    ----------
    damping : float
        In units of a mean loss; W times it is added to every eigenvalue.
    """

    damping: float = 0.0

    @abstractmethod
    def __call__(self, V: Tensor) -> Tensor:
        """Solve for each row of V, (M, p)."""

    def quadratic(self, block: GradientBlock) -> Tensor:
        """``g_i' (A + ...)^-1 g_i`` of the rows of a block, (b,), float64."""
        G = block.dense()
        return (G.double() * self(G).double()).sum(1)

    def half(self, V: Tensor) -> Tensor:
        """``L^-1 v`` with ``A + ... = L L'``, (M, rank): dot products become those by the inverse.

        Raises
        ------
        ValueError
            If this inverse has no such factor.
        """
        raise ValueError(
            f"{type(self).__name__} has no square root, which an embedding needs. Use "
            "solver='dense' (small networks), 'arnoldi', 'nystroem', or curvature='ekfac'."
        )

    def report(self) -> dict[str, Any]:
        """How the systems of all calls so far were solved, as numbers that JSON can hold."""
        return {"damping": self.damping}

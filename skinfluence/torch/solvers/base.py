"""The contract of a solver."""

from __future__ import annotations

from abc import ABC, abstractmethod

from skinfluence.torch.curvature import Curvature, Inverse


class Solver(ABC):
    """A way to invert a curvature."""

    @abstractmethod
    def invert(self, curvature: Curvature, damping: float) -> Inverse:
        """Inverse of the curvature with ``W damping`` added to its diagonal.

        Raises
        ------
        ValueError
            If this solver cannot invert this curvature: the message says what can.
        """

"""Curvatures that know their own inverse."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.operator import require_damping


@runtime_checkable
class HasInverse(Protocol):
    """A curvature whose structure inverts it: K-FAC, EK-FAC."""

    def inverse(self, damping: float) -> Inverse:
        """Inverse with ``W damping`` added to the diagonal."""


class Structured(Solver):
    """Ask the curvature for its inverse."""

    def invert(self, curvature: Curvature, damping: float) -> Inverse:
        if not isinstance(curvature, HasInverse):
            raise ValueError(
                f"{type(curvature).__name__} has no inverse of its own, which solver='structured' "
                "asks for. Use curvature='ekfac' or 'kfac', or leave solver='auto'."
            )
        return curvature.inverse(require_damping(damping))

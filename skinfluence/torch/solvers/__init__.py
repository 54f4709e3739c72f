"""How a curvature is inverted."""

from skinfluence.torch.solvers.base import Inverse, Solver
from skinfluence.torch.solvers.dense import Dense

__all__ = ["Dense", "Inverse", "Solver"]

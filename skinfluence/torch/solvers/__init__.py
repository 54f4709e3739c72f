"""How a curvature is inverted."""

from skinfluence.torch.solvers.base import Inverse, Solver
from skinfluence.torch.solvers.cg import ConjugateGradients
from skinfluence.torch.solvers.dense import Dense

__all__ = ["ConjugateGradients", "Dense", "Inverse", "Solver"]

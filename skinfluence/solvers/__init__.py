"""How a curvature is inverted."""

from skinfluence.solvers.base import Inverse
from skinfluence.solvers.cg import ConjugateGradients
from skinfluence.solvers.dense import DenseInverse

__all__ = ["ConjugateGradients", "DenseInverse", "Inverse"]

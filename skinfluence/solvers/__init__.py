"""How a curvature is inverted, and how an objective is minimised."""

from skinfluence.solvers.base import Inverse
from skinfluence.solvers.cg import ConjugateGradients
from skinfluence.solvers.dense import DenseInverse
from skinfluence.solvers.minimise import Minimum, minimise
from skinfluence.solvers.stationarity import stationarity

__all__ = [
    "ConjugateGradients",
    "DenseInverse",
    "Inverse",
    "Minimum",
    "minimise",
    "stationarity",
]

"""How a curvature is inverted."""

from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.arnoldi import Arnoldi
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.cg import ConjugateGradients
from skinfluence.torch.solvers.choose import SOLVERS, Choice, choose, choose_solver, invert
from skinfluence.torch.solvers.corrected import Corrected
from skinfluence.torch.solvers.datainf import DataInf
from skinfluence.torch.solvers.dense import Dense, DenseInverse
from skinfluence.torch.solvers.lissa import Lissa
from skinfluence.torch.solvers.nystroem import Nystroem
from skinfluence.torch.solvers.structured import HasInverse, Structured

__all__ = [
    "SOLVERS",
    "Arnoldi",
    "Choice",
    "ConjugateGradients",
    "Corrected",
    "DataInf",
    "Dense",
    "DenseInverse",
    "HasInverse",
    "Inverse",
    "Lissa",
    "Nystroem",
    "Solver",
    "Structured",
    "choose",
    "choose_solver",
    "invert",
]

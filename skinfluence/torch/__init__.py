"""Influence on networks: the only part of the package that imports torch."""

from skinfluence.torch.curvature import (
    Curvature,
    Ekfac,
    EmpiricalFisher,
    GaussNewton,
    Hessian,
    Inverse,
    Kfac,
    SumOfRows,
)
from skinfluence.torch.solvers import (
    Arnoldi,
    ConjugateGradients,
    Corrected,
    DataInf,
    Dense,
    Lissa,
    Nystroem,
    Solver,
    choose_solver,
)
from skinfluence.torch.vae import VAE, BetaVAE

__all__ = [
    "VAE",
    "Arnoldi",
    "BetaVAE",
    "ConjugateGradients",
    "Corrected",
    "Curvature",
    "DataInf",
    "Dense",
    "Ekfac",
    "EmpiricalFisher",
    "GaussNewton",
    "Hessian",
    "Inverse",
    "Kfac",
    "Lissa",
    "Nystroem",
    "Solver",
    "SumOfRows",
    "choose_solver",
]

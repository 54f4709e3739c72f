"""Curvature of a network's objective, as products with vectors."""

from skinfluence.torch.curvature.base import Curvature
from skinfluence.torch.curvature.fisher import EmpiricalFisher
from skinfluence.torch.curvature.ggn import GaussNewton
from skinfluence.torch.curvature.hessian import Hessian
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.curvature.kfac import Ekfac, Kfac
from skinfluence.torch.curvature.sum_of_rows import SumOfRows

# By the name the explainer knows them by.
CURVATURES: dict[str, type[Curvature]] = {
    "hessian": Hessian,
    "ggn": GaussNewton,
    "fisher": EmpiricalFisher,
    "kfac": Kfac,
    "ekfac": Ekfac,
}

__all__ = [
    "CURVATURES",
    "Curvature",
    "Ekfac",
    "EmpiricalFisher",
    "GaussNewton",
    "Hessian",
    "Inverse",
    "Kfac",
    "SumOfRows",
]

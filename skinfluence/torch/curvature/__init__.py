"""Curvature of a network's objective, as products with vectors."""

from skinfluence.torch.curvature.base import Curvature
from skinfluence.torch.curvature.ggn import GaussNewton
from skinfluence.torch.curvature.kfac import Ekfac, Kfac

# The curvatures by name, as the explainers take them.
CURVATURES: dict[str, type[Curvature]] = {"ggn": GaussNewton, "kfac": Kfac, "ekfac": Ekfac}

__all__ = ["CURVATURES", "Curvature", "Ekfac", "GaussNewton", "Kfac"]

"""Curvature of a network's objective, as products with vectors."""

from skinfluence.torch.curvature.base import Curvature
from skinfluence.torch.curvature.ggn import GaussNewton

__all__ = ["Curvature", "GaussNewton"]

"""How the derivatives of an objective act, with all rows and without some."""

from skinfluence.curvature.linear import LinearCurvature

__all__ = ["LinearCurvature"]

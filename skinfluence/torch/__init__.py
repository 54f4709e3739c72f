"""Influence on networks: the only part of the package that imports torch."""

from skinfluence.torch.solvers import choose_solver

__all__ = ["choose_solver"]

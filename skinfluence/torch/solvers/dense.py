"""The matrix itself, factorised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.solvers.base import Inverse, Solver


class Dense(Solver):
    """Form the matrix in float64 and factorise it: exact, for up to some thousand parameters."""

    def invert(self, curvature: Curvature, damping: float) -> Inverse:
        matrix = curvature.matrix().double()
        matrix.diagonal().add_(curvature.objective.total_weight * damping)
        return DenseInverse(matrix, damping)


class DenseInverse(Inverse):
    """Inverse of a matrix (p, p) by its Cholesky factor, else by its eigenvalues."""

    def __init__(self, matrix: Tensor, damping: float):
        self.damping = damping
        factor, failed = torch.linalg.cholesky_ex(matrix)
        self.definite = not bool(failed)
        self._factor = factor if self.definite else None
        if not self.definite:
            self._values, self._vectors = torch.linalg.eigh(matrix)

    def __call__(self, V: Tensor) -> Tensor:
        if self._factor is not None:
            solved = torch.cholesky_solve(V.T.double(), self._factor).T
        else:
            inner = self._vectors.T @ V.T.double()
            size = self._values.abs()
            seen = size > size.max() * 1e-12
            inner = torch.where(seen[:, None], inner / self._values[:, None], 0.0)
            solved = (self._vectors @ inner).T
        return solved.to(V.dtype)

    def half(self, V: Tensor) -> Tensor:
        if self._factor is None:
            return super().half(V)
        solved = torch.linalg.solve_triangular(self._factor, V.T.double(), upper=False)
        return solved.T.to(V.dtype)

    def report(self) -> dict[str, Any]:
        return {**super().report(), "definite": self.definite}

"""The matrix itself, factorised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.convergence import warn_indefinite
from skinfluence.torch.solvers.operator import gaussian, require_damping, require_finite

# Share of the largest eigenvalue that products in this type get wrong.
NOISE = {torch.float64: 1e-13, torch.float32: 1e-6}


class Dense(Solver):
    """Form the matrix in float64 and factorise it: exact, for up to some thousand parameters.

    Without damping, directions that the matrix does not see take no part: the inverse is the
    pseudo-inverse, and the report says how many they are.
    """

    def invert(self, curvature: Curvature, damping: float) -> DenseInverse:
        matrix = curvature.matrix().double()
        require_finite(matrix, "The curvature")
        return DenseInverse(
            matrix,
            require_damping(damping),
            total_weight=curvature.objective.total_weight,
            noise=NOISE.get(curvature.network.dtype, 1e-6),
            psd=curvature.psd,
        )


class DenseInverse(Inverse):
    """Inverse of a symmetric matrix by its Cholesky factor, else by its eigenvalues.

    Parameters
    ----------
    matrix : Tensor of shape (p, p)
        Float64, without the damping; it is overwritten.
    damping : float
        In units of a mean loss.
    total_weight : float, default=1.0
        W: W times the damping is added to the diagonal.
    noise : float, default=1e-13
        Eigenvalues of the matrix below this share of the largest are taken for zero.
    psd : bool, default=False
        Whether negative eigenvalues can be rounding errors only.

    Attributes
    ----------
    definite : bool
        Whether no eigenvalue is negative.
    null_dim : int
        Directions that are not seen, with the damping.
    n_negative : int
        Negative eigenvalues, with the damping; `lowest` is the lowest of them, else NaN.
    condition : float
        Condition number on the range, an estimate.
    """

    def __init__(
        self,
        matrix: Tensor,
        damping: float,
        *,
        total_weight: float = 1.0,
        noise: float = 1e-13,
        psd: bool = False,
    ):
        self.damping, self.total_weight = damping, total_weight
        self.null_dim, self.n_negative = 0, 0
        self.lowest, self.n_rhs = float("nan"), 0
        self._factor: Tensor | None = None
        shift = total_weight * damping
        if not self._cholesky(matrix, shift, noise):
            self._eigen(matrix, shift, max(noise, len(matrix) * 2e-15), psd)
        self.definite = not self.n_negative

    def _cholesky(self, matrix: Tensor, shift: float, noise: float) -> bool:
        """Factorise the matrix, its diagonal scaled to ones; False where that is not trusted."""
        diagonal = matrix.diagonal() + shift
        if not bool((diagonal > 0).all()):
            return False
        scale = diagonal.rsqrt()
        scaled = matrix * scale * scale[:, None]
        scaled.diagonal().fill_(1.0)
        norm = float(torch.linalg.matrix_norm(scaled, 1))
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if bool(failed):
            return False
        self.condition = norm * _inverse_norm(factor)
        if not self.condition * noise < 1.0:
            return False
        self._factor, self._scale = factor, scale[:, None]
        return True

    def _eigen(self, matrix: Tensor, shift: float, noise: float, psd: bool) -> None:
        values, vectors = torch.linalg.eigh(matrix)
        top = float(values.abs().max()) if len(values) else 0.0
        # Rounding errors are cleared before the damping is added, which may be of their size.
        clear = values.abs() <= noise * top
        if psd:
            clear |= values < 0
        values = torch.where(clear, 0.0, values) + shift
        seen = values != 0
        self.null_dim = int((~seen).sum())
        self._values, self._vectors = values[seen], vectors[:, seen]
        self.n_negative = int((self._values < 0).sum())
        size = self._values.abs()
        self.condition = float(size.max() / size.min()) if len(size) else 1.0
        if self.n_negative:
            self.lowest = float(self._values.min())
            warn_indefinite(
                f"{self.n_negative} of {len(values)} eigenvalues are negative",
                self.lowest,
                self.damping,
                self.total_weight,
            )

    def __call__(self, V: Tensor) -> Tensor:
        self.n_rhs += len(V)
        columns = V.T.double()
        if self._factor is not None:
            solved = self._scale * torch.cholesky_solve(self._scale * columns, self._factor)
        else:
            solved = self._vectors @ ((self._vectors.T @ columns) / self._values[:, None])
        return solved.T.to(V.dtype)

    def half(self, V: Tensor) -> Tensor:
        columns = V.T.double()
        if self._factor is not None:
            columns = self._scale * columns
            solved = torch.linalg.solve_triangular(self._factor, columns, upper=False)
        elif self.definite:
            solved = (self._vectors.T @ columns) / self._values.sqrt()[:, None]
        else:
            raise ValueError(
                f"The curvature has {self.n_negative} negative eigenvalues, so it is no inner "
                "product and has no square root, which an embedding needs. Use curvature='ggn', "
                "or a larger damping."
            )
        return solved.T.to(V.dtype)

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "n_rhs": self.n_rhs,
            "definite": self.definite,
            "null_dim": self.null_dim,
            "n_negative": self.n_negative,
            "lowest": self.lowest if self.n_negative else None,
            "condition": self.condition,
        }


def _inverse_norm(factor: Tensor) -> float:
    """Largest eigenvalue of ``(L L')^-1`` by some power iterations: a lower bound, near it."""
    v = gaussian(1, len(factor), 0, factor).T
    size = 0.0
    for _ in range(4):
        v = torch.cholesky_solve(v / v.norm(), factor)
        size = float(v.norm())
    return size

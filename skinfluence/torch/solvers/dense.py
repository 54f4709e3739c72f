"""The matrix itself, factorised."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.convergence import warn_faint, warn_indefinite
from skinfluence.torch.solvers.damping import share_of_mean
from skinfluence.torch.solvers.operator import gaussian, require_damping, require_finite

# Share of the largest eigenvalue that products in this type get wrong.
NOISE = {torch.float64: 1e-13, torch.float32: 1e-6}
# Condition number from which on a matrix is damped, unless the user says by how much.
ILL = 1e10

# Share of the largest entry below which a curvature is taken for rounding errors of another.
ROUNDING = 1e-12


class Dense(Solver):
    """Form the matrix in float64 and factorise it: exact, for up to some thousand parameters.

    Without damping, directions that the matrix does not see take no part: the inverse is the
    pseudo-inverse, and the report says how many they are. With ``damping=None`` it is damped only
    where it is not definite, see `DenseInverse`.

    See Also
    --------
    ConjugateGradients : As exact as is asked for, at any size.
    choose_solver : Which of them ``solver="auto"`` stands for.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Dense
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> exact, near = (
    ...     InfluenceExplainer(net, damping=0.01, solver=solver).fit(X, y).self_influence()
    ...     for solver in ("auto", Dense())
    ... )
    >>> bool(np.corrcoef(exact, near)[0, 1] > 1 - 1e-12)
    True
    """

    def invert(self, curvature: Curvature, damping: float | None) -> DenseInverse:
        matrix = curvature.matrix().double()
        require_finite(matrix, "The curvature")
        inverse = DenseInverse(
            matrix,
            None if damping is None else require_damping(damping),
            null=None if damping else curvature.null_directions(),
            total_weight=curvature.objective.total_weight,
            noise=NOISE.get(curvature.network.dtype, 1e-6),
            psd=curvature.psd,
        )
        if bool(inverse.faint.any()):
            _warn_uneven(inverse.faint, matrix.diagonal(), curvature)
        return inverse


def _warn_uneven(faint: Tensor, diagonal: Tensor, curvature: Curvature) -> None:
    """Warn of parameters left out beside others of their unit, which is then not cut off."""
    network, penalty = curvature.network, curvature.objective.penalty_curvature()
    own = diagonal if penalty is None else diagonal - penalty
    # What is left of a difference is no less than its rounding errors.
    lively = own > ROUNDING * diagonal.max()
    units: dict[Any, list[Tensor]] = {}
    for name, shape in network.shapes.items():
        if shape:
            own = torch.stack([faint[network.spans[name]], lively[network.spans[name]]])
            key = (name.rpartition(".")[0], shape[0])
            units.setdefault(key, []).append(own.view(2, shape[0], -1))
    found = 0
    for parts in units.values():
        left_out, seen = torch.cat(parts, 2)
        found += int((left_out & seen.any(1, keepdim=True)).sum())
    if found:
        warn_faint(found, len(faint))


class DenseInverse(Inverse):
    """Inverse of a symmetric matrix by its Cholesky factor, else by its eigenvalues.

    Parameters
    ----------
    matrix : Tensor of shape (p, p)
        Float64, without the damping.
    damping : float or None
        In units of a mean loss. None is none where the matrix is definite, the null directions
        apart: where it has a Cholesky factor, and a condition number (its diagonal scaled to
        ones) below 1e10 in float64, 1e6 in float32. Otherwise it is a tenth of the mean
        eigenvalue.
    null : Tensor of shape (q, p) or None, default=None
        Orthonormal directions known to have no curvature, each with equal entries on a set of its
        own. Without damping they take no part.
    total_weight : float, default=1.0
        W: W times the damping is added to the diagonal.
    noise : float, default=1e-13
        Eigenvalues of the matrix below this share of the largest are taken for zero.
    psd : bool, default=False
        Whether negative eigenvalues can be rounding errors only.

    Attributes
    ----------
    damping : float
        What was added.
    definite : bool
        Whether no eigenvalue is negative.
    null_dim : int
        Directions that are not seen, with the damping.
    n_negative : int
        Negative eigenvalues, with the damping; `lowest` is the lowest of them, else NaN.
    condition : float
        Condition number on the range, an estimate.
    faint : Tensor of bool of shape (p,)
        Parameters with a share of the derivatives so small that they are not seen.
    """

    def __init__(
        self,
        matrix: Tensor,
        damping: float | None,
        *,
        null: Tensor | None = None,
        total_weight: float = 1.0,
        noise: float = 1e-13,
        psd: bool = False,
    ):
        self.total_weight = total_weight
        self.null_dim, self.n_negative = 0, 0
        self.lowest, self.n_rhs = float("nan"), 0
        self.faint = torch.zeros(len(matrix), dtype=torch.bool, device=matrix.device)
        self._factor: Tensor | None = None
        self._null: Tensor | None = None
        trusted = 1.0 / noise
        factorised = not damping and self._cholesky(
            matrix,
            0.0,
            trusted if damping is not None else min(ILL, trusted),
            null=null,
            unseen=noise / 10 if psd else 0.0,
        )
        if damping is None:
            mean = share_of_mean(float(matrix.trace()), len(matrix), total_weight)
            damping = 0.0 if factorised else mean
        self.damping, shift = damping, total_weight * damping
        if shift and not factorised:
            factorised = self._cholesky(matrix, shift, trusted)
        if not factorised:
            self._eigen(matrix, shift, max(noise, len(matrix) * 2e-15), psd)
        self.definite = not self.n_negative

    def _cholesky(
        self,
        matrix: Tensor,
        shift: float,
        trusted: float,
        *,
        null: Tensor | None = None,
        unseen: float = 0.0,
    ) -> bool:
        """Factorise the matrix, its diagonal scaled to ones; False where that is not trusted.

        Null directions are filled in, so that they cannot spoil the factor; so are parameters
        whose share of the derivatives is below `unseen`.
        """
        diagonal = matrix.diagonal() + shift
        seen = diagonal > unseen**2 * diagonal.max()
        if not unseen and not bool(seen.all()):
            return False
        null = _within(null, seen)
        scale = torch.where(seen, _scales(diagonal, null), 0.0)
        scaled = matrix * scale * scale[:, None]
        scaled.diagonal().copy_(torch.where(seen, diagonal * scale.square(), 1.0))
        if null is not None:
            scaled += null.T @ null
        norm = float(torch.linalg.matrix_norm(scaled, 1))
        factor, failed = torch.linalg.cholesky_ex(scaled)
        if bool(failed):
            return False
        self.condition = norm * _inverse_norm(factor)
        if not self.condition < trusted:
            return False
        self._factor, self._scale, self._null = factor, scale[:, None], null
        self.faint = ~seen & (diagonal > 0)
        self.null_dim = int((~seen).sum()) + (0 if null is None else len(null))
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
            columns = self._scale * self._seen(columns)
            solved = self._scale * torch.cholesky_solve(columns, self._factor)
        else:
            solved = self._vectors @ ((self._vectors.T @ columns) / self._values[:, None])
        return solved.T.to(V.dtype)

    def half(self, V: Tensor) -> Tensor:
        columns = V.T.double()
        if self._factor is not None:
            columns = self._scale * self._seen(columns)
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

    def _seen(self, columns: Tensor) -> Tensor:
        """Columns without their part in null directions; solutions then have none either."""
        if self._null is None:
            return columns
        return columns - self._null.T @ (self._null @ columns)

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


def _within(null: Tensor | None, seen: Tensor) -> Tensor | None:
    """Null directions on the parameters that are seen, those of them that are left."""
    if null is None:
        return None
    left = torch.where(seen, null, 0.0)
    sizes = torch.linalg.vector_norm(left, dim=1)
    kept = sizes > 0
    return left[kept] / sizes[kept, None] if bool(kept.any()) else None


def _scales(diagonal: Tensor, null: Tensor | None) -> Tensor:
    """What makes the diagonal 1, alike on the entries of a null direction, which so stays one."""
    squares = diagonal.clone()
    for direction in () if null is None else null:
        own = direction != 0
        squares[own] = diagonal[own].mean()
    return squares.rsqrt()


def _inverse_norm(factor: Tensor) -> float:
    """Largest eigenvalue of ``(L L')^-1`` by some power iterations: a lower bound, near it."""
    v = gaussian(1, len(factor), 0, factor).T
    size = 0.0
    for _ in range(4):
        v = torch.cholesky_solve(v / v.norm(), factor)
        size = float(v.norm())
    return size

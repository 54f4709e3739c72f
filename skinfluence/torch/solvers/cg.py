"""Conjugate gradients, all right-hand sides side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature
from skinfluence.torch.solvers.base import Inverse, Solver
from skinfluence.torch.solvers.convergence import Convergence
from skinfluence.torch.solvers.operator import Damped, dots, norms, require_finite
from skinfluence.torch.solvers.preconditioners import PRECONDITIONERS, sketch_pays

# Relative residuals that the types of numbers reach without effort.
TOL = {torch.float64: 1e-6, torch.float32: 1e-4}
# In float32 the residual of the recurrence drifts from the true one, which replaces it so often.
REFRESH = 20

Product = Callable[[Tensor], Tensor]


class ConjugateGradients(Solver):
    """Solve by conjugate gradients; each right-hand side stops by its own true residual.

    Good for positive curvatures (Gauss-Newton, Fisher) of any size. A Hessian at a network's
    parameters is usually indefinite: right-hand sides that meet negative curvature stop there,
    and are named in a warning.

    Parameters
    ----------
    tol : float or None, default=None
        Relative residual ``|b - (A + W damping) x| / |b|``, recomputed from its definition.
        None is 1e-6 in float64 and 1e-4 in float32.
    max_iter : int, default=200
        Iterations at most, however many parameters there are.
    preconditioner : {"auto", None, "jacobi", "nystroem"} or Inverse, default="auto"
        "auto" is "nystroem" where the curvature is positive semidefinite and a call has enough
        right-hand sides to repay the sketch, else None. An inverse of a near-by curvature, such as
        EK-FAC's, can be passed.
    rank : int, default=50
        Of the Nystroem preconditioner.
    random_state : int or None, default=0
        Of the Nystroem preconditioner.

    References
    ----------
    .. [1] M. R. Hestenes and E. Stiefel (1952), Methods of conjugate gradients for solving linear
       systems.
    .. [2] Z. Frangella, J. A. Tropp and M. Udell (2023), Randomized Nyström preconditioning,
       SIAM J. Matrix Anal. Appl. 44.
    """

    def __init__(
        self,
        *,
        tol: float | None = None,
        max_iter: int = 200,
        preconditioner: str | Inverse | None = "auto",
        rank: int = 50,
        random_state: int | None = 0,
    ):
        self.tol, self.max_iter = tol, max_iter
        self.preconditioner, self.rank, self.random_state = preconditioner, rank, random_state

    def invert(self, curvature: Curvature, damping: float) -> CGInverse:
        known = (None, "auto", *PRECONDITIONERS)
        if not isinstance(self.preconditioner, Inverse) and self.preconditioner not in known:
            raise ValueError(
                f"preconditioner={self.preconditioner!r} is none of "
                f"{', '.join(map(repr, known))}, nor an inverse. Name one of them."
            )
        return CGInverse(self, Damped(curvature, damping))


class CGInverse(Inverse):
    """Inverse by conjugate gradients; nothing is factorised, every call solves anew."""

    def __init__(self, solver: ConjugateGradients, operator: Damped):
        self.solver, self.operator, self.damping = solver, operator, operator.damping
        tol = TOL.get(operator.like.dtype, 1e-4) if solver.tol is None else solver.tol
        self.convergence = Convergence(tol)
        self.preconditioner = "none"
        self._precondition: Product | None = None
        self._may_sketch = solver.preconditioner == "auto" and operator.curvature.psd
        if solver.preconditioner != "auto":
            self._prepare(solver.preconditioner)

    def _prepare(self, chosen: str | Inverse | None) -> None:
        if isinstance(chosen, Inverse):
            self._precondition, self.preconditioner = chosen, type(chosen).__name__
        elif chosen is not None:
            make = PRECONDITIONERS[chosen]
            self._precondition = make(self.operator, self.solver.rank, self.solver.random_state)
            self.preconditioner = chosen

    def __call__(self, V: Tensor) -> Tensor:
        B = V.to(self.operator.like)
        require_finite(B, "A right-hand side")
        if self._may_sketch and sketch_pays(len(B), self.solver.rank, self.operator.n_params):
            self._may_sketch = False
            self._prepare("nystroem")
        solution = conjugate_gradients(
            self.operator,
            B,
            self._precondition,
            tol=self.convergence.tol,
            max_iter=self.solver.max_iter,
        )
        self.convergence.add(
            solution.residual,
            solution.n_iter,
            not_positive=solution.not_positive,
            psd=self.operator.curvature.psd,
            cure=f"Raise max_iter ({self.solver.max_iter}) or damping ({self.damping:.3g}), "
            "precondition, use float64, or solver='dense' for small networks.",
        )
        return solution.X.to(V.dtype)

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            **self.convergence.report(),
            "products": self.operator.products,
            "preconditioner": self.preconditioner,
        }


@dataclass
class Solution:
    """Solutions X (M, p), their true relative residuals, and which met no positive curvature."""

    X: Tensor
    residual: Tensor
    not_positive: Tensor
    n_iter: int


def conjugate_gradients(
    operator: Damped, B: Tensor, precondition: Product | None, *, tol: float, max_iter: int
) -> Solution:
    """Solve for each row of B, in rounds that start from the true residual.

    Who has converged by the recurrence is measured; who has not in truth goes another round, as
    in iterative refinement, unless rounding errors leave nothing to gain.
    """
    size = norms(B)
    found = Solution(torch.zeros_like(B), (size > 0).double(), size < 0, 0)
    todo = torch.nonzero(size > 0)[:, 0]
    R = B
    while len(todo) and found.n_iter < max_iter:
        left = max_iter - found.n_iter
        step, bent, n_iter = _round(operator, R[todo], precondition, tol * size[todo], left)
        before = found.residual[todo]
        tried = found.X[todo] + step
        R_tried = B[todo] - operator(tried)
        reached = norms(R_tried) / size[todo]
        # The residual may well grow while the error falls, so a first round is always kept; later
        # ones correct rounding errors only.
        kept = (reached < before) | (found.n_iter == 0)
        found.X[todo[kept]], found.residual[todo[kept]] = tried[kept], reached[kept]
        found.not_positive[todo] |= bent
        found.n_iter += n_iter
        again = kept & ~bent & (reached > tol) & (reached < 0.5 * before)
        R = torch.zeros_like(B).index_copy(0, todo, R_tried)
        todo = todo[again]
    return found


def _round(operator, B, precondition, target, max_iter):
    """Steps (M, p) from zero until ``|b - A x| <= target`` by the recurrence, row by row."""
    X = torch.zeros_like(B)
    bent = torch.zeros(len(B), dtype=torch.bool, device=B.device)
    live = torch.arange(len(B), device=B.device)
    precondition = _identity if precondition is None else precondition
    operator.scale()
    R, Z = B, precondition(B)
    power, P = dots(R, Z), Z
    for n_iter in range(1, max_iter + 1):
        Q = operator(P)
        length, flat = _lengths(operator, P, Q, power)
        X[live] += length * P
        if n_iter % REFRESH == 0 and X.dtype != torch.float64:
            R = B[live] - operator(X[live])
        else:
            R = R - length * Q
        bent[live[flat]] = True
        going = ~flat & (norms(R) > target[live])
        if not bool(going.all()):
            live, R, P, power = live[going], R[going], P[going], power[going]
        if not len(live):
            break
        Z = precondition(R)
        grown = dots(R, Z)
        P = Z + (grown / power)[:, None].to(Z) * P
        power = grown
    return X, bent, n_iter


def _lengths(operator, P, Q, power):
    """How far to go along each row of P, (M, 1), and which rows have no curvature to stop them."""
    bend, size = dots(P, Q), dots(P, P)
    operator.steepest = max(operator.steepest, float((bend / size).abs().max()))
    flat = bend <= operator.noise() * operator.steepest * size
    length = torch.where(flat, 0.0, power / bend)
    return length[:, None].to(P), flat


def _identity(V: Tensor) -> Tensor:
    return V

"""Conjugate gradients for a block of right-hand sides, and for each by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from skinfluence.torch.solvers.operator import Damped, dots, norms

Product = Callable[[Tensor], Tensor]

# Right-hand sides that share a search space: orthogonalising costs the square of their number.
BLOCK = 128
# Share of the tolerance that a direction may add to residuals before it is searched no more.
NEGLIGIBLE = 0.03


@dataclass
class Solution:
    """Solutions X (M, p), their true relative residuals, and which met no positive curvature."""

    X: Tensor
    residual: Tensor
    not_positive: Tensor
    n_iter: int


def conjugate_gradients(
    operator: Damped,
    B: Tensor,
    precondition: Product | None,
    *,
    tol: float,
    max_iter: int,
    progress: bool = False,
) -> Solution:
    """Solve for each row of B, as far as `max_iter` iterations go."""
    size = norms(B)
    found = Solution(torch.zeros_like(B), (size > 0).double(), size < 0, 0)
    todo = torch.nonzero(size > 0)[:, 0]
    for rows in todo.split(BLOCK) if len(todo) else ():
        desc = f"conjugate gradients, {len(rows)} of {len(B)} right-hand sides"
        with operator.watched(max_iter, desc, enabled=progress):
            part = _in_rounds(operator, B[rows], precondition or _identity, tol, max_iter)
        found.X[rows], found.residual[rows] = part.X, part.residual
        found.not_positive[rows] = part.not_positive
        found.n_iter = max(found.n_iter, part.n_iter)
    return found


def _in_rounds(operator, B, precondition, tol, max_iter):
    """Each round starts from the true residual of the last, as in iterative refinement.

    Who has converged by the recurrence is measured; who has not in truth goes another round,
    unless rounding errors leave nothing to gain. Where a block meets negative curvature, its
    right-hand sides go on by themselves, to find out whose it is.
    """
    size = norms(B)
    found = Solution(torch.zeros_like(B), torch.ones_like(size), size < 0, 0)
    rows, R, search = torch.arange(len(B), device=B.device), B, block_search
    while len(rows) and found.n_iter < max_iter:
        left = max_iter - found.n_iter
        step, bent, n_iter = search(operator, R, precondition, tol * size[rows], left)
        before, tried = found.residual[rows], found.X[rows] + step
        left_over = B[rows] - operator(tried)
        reached = norms(left_over) / size[rows]
        # The residual may well grow while the error falls, so that a first round is always kept;
        # later ones correct rounding errors only.
        kept = (reached < before) | (found.n_iter == 0) | bent
        found.X[rows[kept]], found.residual[rows[kept]] = tried[kept], reached[kept]
        found.n_iter += n_iter
        if search is block_search and bool(bent.any()):
            search, again = column_search, reached > tol
        else:
            found.not_positive[rows] |= bent
            again = ~bent & (reached > tol) & (reached < 0.5 * before)
        rows, R = rows[again], left_over[again]
    return found


def block_search(
    operator: Damped, B: Tensor, precondition: Product, target: Tensor, max_iter: int
) -> tuple[Tensor, Tensor, int]:
    """Conjugate gradients in the sum of all rows' Krylov spaces: few iterations, one space.

    Directions are orthonormal in the metric of the preconditioner, which keeps rows of unlike
    size and unlike progress apart [1]_. Directions that no residual has much of are dropped, so
    that equal or dependent rows, and those that have converged, cost nothing.

    Returns
    -------
    X : Tensor of shape (M, p)
        From zero until ``|b - A x| <= target``, by the recurrence.
    bent : Tensor of bool of shape (M,)
        Rows that were still sought for when the space had a direction without positive
        curvature; they stop before it.
    n_iter : int

    References
    ----------
    .. [1] A. A. Dubrulle (2001), Retooling the method of block conjugate gradients, ETNA 12.
    """
    X, live = torch.zeros_like(B), torch.arange(len(B), device=B.device)
    bent = torch.zeros(len(B), dtype=torch.bool, device=B.device)
    size, n_iter = norms(B), 0
    goal = target / size
    operator.scale()
    eye = torch.eye(len(B), dtype=torch.float64, device=B.device)
    going, basis = _Basis.of(B / size[:, None].to(B), eye, goal, precondition)
    live, S = live[going], basis.Y
    while len(live) and n_iter < max_iter:
        image = operator(S)
        n_iter += 1
        bend = _products(S, image)
        if _is_flat(operator, bend, _products(S, S)):
            bent[live] = True
            break
        length = torch.linalg.solve(bend, _products(S, basis.Q)).T
        X[live] += (basis.C @ length).to(B) @ S
        left = basis.Q - length.to(B) @ image
        going, basis = _Basis.of(left, basis.C, goal[live], precondition)
        live, S = live[going], basis.Y + basis.change.T.to(B) @ S
    return X * size[:, None].to(B), bent, n_iter


@dataclass
class _Basis:
    """Residuals as C Q: C (m, r) float64, Q (r, p), ``Q Y' = I`` with Y = M^-1 Q.

    ``change @ Q`` is what the basis was made from, but for the directions that were dropped.
    """

    C: Tensor
    Q: Tensor
    Y: Tensor
    change: Tensor

    @classmethod
    def of(
        cls, N: Tensor, C: Tensor, goal: Tensor, precondition: Product
    ) -> tuple[Tensor, _Basis]:
        """Basis of those residuals C N that are above their goals, and which they are."""
        Q, R = torch.linalg.qr(N.T)
        change = R.T.double()
        C = C @ change
        going = C.norm(dim=1) > goal
        C, V = _principal(C[going], NEGLIGIBLE * goal[going], torch.finfo(N.dtype).eps)
        Q = V.to(N) @ Q.T
        Y = precondition(Q)
        metric = _products(Q, Y)
        factor, failed = torch.linalg.cholesky_ex(0.5 * (metric + metric.T))
        if bool(failed):
            raise ValueError(
                "The preconditioner is not positive definite, and conjugate gradients need a "
                "metric. Use preconditioner='nystroem' or None."
            )
        Q, Y = (_solved(factor, part) for part in (Q, Y))
        return going, cls(C @ factor, Q, Y, change @ V.T @ factor)


def _principal(C, negligible, eps):
    """C (m, k) in the few directions V (r, k) that its rows have much of."""
    if not len(C):
        return C[:, :0], C.new_zeros(0, C.shape[1])
    _, size, V = torch.linalg.svd(C, full_matrices=False)
    V = V[size > torch.maximum(negligible.min(), 4.0 * eps * size[0])]
    return C @ V.T, V


def _solved(factor, rows):
    solved = torch.linalg.solve_triangular(factor, rows.double(), upper=False)
    return solved.to(rows)


def _products(U, V):
    """``U V'`` in float64."""
    return U.double() @ V.double().T


def _is_flat(operator, bend, size):
    """Whether some combination of directions has no curvature to stop it."""
    factor, failed = torch.linalg.cholesky_ex(size)
    if bool(failed):  # directions that rounding errors have made dependent say nothing
        return True
    inner = torch.linalg.solve_triangular(factor, 0.5 * (bend + bend.T), upper=False)
    inner = torch.linalg.solve_triangular(factor, inner.T, upper=False)
    quotients = torch.linalg.eigvalsh(0.5 * (inner + inner.T))
    operator.steepest = max(operator.steepest, float(quotients.abs().max()))
    return float(quotients[0]) <= operator.noise() * operator.steepest


def column_search(
    operator: Damped, B: Tensor, precondition: Product, target: Tensor, max_iter: int
) -> tuple[Tensor, Tensor, int]:
    """Conjugate gradients for every row in its own Krylov space.

    Returns
    -------
    X : Tensor of shape (M, p)
        From zero until ``|b - A x| <= target``, by the recurrence.
    bent : Tensor of bool of shape (M,)
        Rows that met a direction without positive curvature; they stop before it.
    n_iter : int
    """
    X = torch.zeros_like(B)
    bent = torch.zeros(len(B), dtype=torch.bool, device=B.device)
    live = torch.arange(len(B), device=B.device)
    R, Z = B, precondition(B)
    power, P, n_iter = dots(R, Z), Z, 0
    while len(live) and n_iter < max_iter:
        Q = operator(P)
        n_iter += 1
        length, flat = _lengths(operator, P, Q, power)
        X[live] += length * P
        R = R - length * Q
        bent[live[flat]] = True
        going = ~flat & (norms(R) > target[live])
        live, R, P, power = live[going], R[going], P[going], power[going]
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

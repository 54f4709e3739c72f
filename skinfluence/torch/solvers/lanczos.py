"""Extreme eigenpairs from products with single vectors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skinfluence.torch.solvers.operator import dots, gaussian, generator, norms

Product = Callable[[Tensor], Tensor]

# Share of the largest product below which the Krylov space is exhausted: rounding errors only.
BREAKDOWN = {torch.float64: 1e-12, torch.float32: 1e-5}


def lanczos(
    product: Product, like: Tensor, steps: int, random_state: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Ritz pairs of a symmetric product (1, p) -> (1, p).

    Every new direction is orthogonalised against all former ones, twice, so that no eigenvalue
    comes up again [1]_. Where the Krylov space is exhausted, as it is when p is small or
    eigenvalues are repeated, a new random direction starts the next one.

    Returns
    -------
    values : Tensor of shape (m,)
        Rising, float64; m = min(steps, p).
    vectors : Tensor of shape (m, p)
        Orthonormal rows, in the type of `like`.
    residuals : Tensor of shape (m,)
        ``|A q - value q|``, float64.

    References
    ----------
    .. [1] B. N. Parlett (1998), The Symmetric Eigenvalue Problem, chapter 13.
    """
    p, source = len(like), generator(random_state)
    m = min(steps, p)
    Q = like.new_zeros(m, p)
    diagonal = torch.zeros(m, dtype=torch.float64)
    beside = torch.zeros(m, dtype=torch.float64)
    scale = 0.0
    Q[0] = _fresh(Q[:0], source, like)
    for k in range(m):
        image = product(Q[k : k + 1])
        scale = max(scale, float(norms(image)))
        diagonal[k] = float(dots(Q[k : k + 1], image))
        left = _without(image, Q[: k + 1])
        size = float(norms(left))
        if size <= BREAKDOWN.get(like.dtype, 1e-5) * scale:
            left, size = None, 0.0
        beside[k] = size
        if k + 1 < m:
            Q[k + 1] = _fresh(Q[: k + 1], source, like) if left is None else left / size
    T = torch.diag(diagonal) + torch.diag(beside[:-1], 1) + torch.diag(beside[:-1], -1)
    values, inner = torch.linalg.eigh(T)
    residuals = (beside[-1] * inner[-1]).abs()
    inner = inner.to(like)
    return values.to(like.device), inner.T @ Q, residuals.to(like.device)


def extremes(product: Product, like: Tensor, random_state: int | None) -> tuple[float, float]:
    """Estimates of the lowest and the largest eigenvalue, from inside the spectrum."""
    values, _, _ = lanczos(product, like, 30, random_state)
    return float(values[0]), float(values[-1])


def _without(V: Tensor, Q: Tensor) -> Tensor:
    """V (1, p) less its parts along the rows of Q; once leaves rounding errors, twice none."""
    for _ in range(2):
        V = V - (V @ Q.T) @ Q
    return V


def _fresh(Q: Tensor, source: torch.Generator, like: Tensor) -> Tensor:
    """A random unit vector that is orthogonal to the rows of Q, (p,)."""
    v = gaussian(1, len(like), source, like)
    for _ in range(2):
        v = _without(v / norms(v).to(like), Q)
    return (v / norms(v).to(like))[0]

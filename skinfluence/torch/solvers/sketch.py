"""Randomised low-rank approximation of a positive semidefinite operator."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skinfluence.torch.curvature import CURVATURES, Curvature
from skinfluence.torch.solvers.operator import gaussian, require_finite

# Vectors a product, so that the temporaries of the curvature stay small.
BLOCK = 64


def nystroem(curvature: Curvature, rank: int, random_state: int | None) -> tuple[Tensor, Tensor]:
    """Nystroem approximation ``U' diag(values) U`` from `rank` products.

    Returns
    -------
    values : Tensor of shape (r,)
        Positive, falling, float64; r <= rank, fewer where the operator has no more.
    U : Tensor of shape (r, p)
        Orthonormal rows, float64.

    Raises
    ------
    ValueError
        If the curvature is not positive semidefinite.
    """
    require_psd(curvature)
    return sketched(curvature, curvature.network.theta, rank, random_state)


def require_psd(curvature: Curvature, what: str = "A Nystroem approximation") -> None:
    """Refuse a curvature that may be indefinite."""
    if not curvature.psd:
        known = (f"curvature={n!r}" for n, kind in CURVATURES.items() if kind is type(curvature))
        raise ValueError(
            f"{what} needs a positive semidefinite curvature, and "
            f"{next(known, type(curvature).__name__)} may be indefinite. Use curvature='ggn', or "
            "solver='arnoldi'."
        )


def sketched(
    product: Callable[[Tensor], Tensor],
    like: Tensor,
    rank: int,
    random_state: int | None,
    *,
    floor: float = 0.0,
) -> tuple[Tensor, Tensor]:
    """Nystroem approximation of a positive semidefinite product (M, p) -> (M, p).

    Tropp, Yurtsever, Udell and Cevher (2017), algorithm 3: the operator is shifted by a few
    rounding errors so that the core has a Cholesky factor, and the shift is taken out again.
    Rounding errors are those of numbers as large as the operator or as `floor`.
    """
    p = len(like)
    test = gaussian(min(rank, p), p, random_state, like).double()
    test = torch.linalg.qr(test.T).Q.T
    image = torch.cat([product(part.to(like)).double() for part in test.split(BLOCK)])
    require_finite(image, "The curvature times a vector")
    size = float(torch.linalg.matrix_norm(image, 2))
    # The products' own rounding errors, which float64 does not undo.
    nudge = max(size, floor) * torch.finfo(like.dtype).eps * p**0.5
    core = test @ image.T
    core = 0.5 * (core + core.T)
    low = float(torch.linalg.eigvalsh(core)[0])
    if low < -10.0 * nudge:
        raise ValueError(
            f"The curvature is not positive semidefinite: a Rayleigh quotient of it is at most "
            f"{low:.3g}, beside a norm of {size:.3g}. Use curvature='ggn', or solver='arnoldi'."
        )
    nudge += 2.0 * max(0.0, -low)
    if not nudge:
        return test.new_zeros(0), test.new_zeros(0, p)
    core.diagonal().add_(nudge)
    factor = torch.linalg.cholesky(core)
    half = torch.linalg.solve_triangular(factor, image + nudge * test, upper=False)
    _, roots, U = torch.linalg.svd(half, full_matrices=False)
    values = roots.square() - nudge
    # What is not above the nudge is its own rounding error.
    real = values > nudge
    return values[real], U[real]

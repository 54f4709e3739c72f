"""Cheap inverses near the true one, which conjugate gradients start from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skinfluence.torch.solvers.operator import Damped
from skinfluence.torch.solvers.sketch import nystroem

# A sketch of rank r is r products. It saves a right-hand side that shares its search directions
# with others less than one of its own (a network of 2,400 parameters: 0 to 1.5 at rank 50).
REPAID = 4


def jacobi(operator: Damped, rank: int, random_state: int | None) -> Callable[[Tensor], Tensor]:
    """Division by the diagonal of the damped curvature.

    Raises
    ------
    ValueError
        If the curvature does not know its diagonal.
    """
    diagonal = operator.curvature.diagonal()
    if diagonal is None:
        raise ValueError(
            f"{type(operator.curvature).__name__} does not know its diagonal, which "
            "preconditioner='jacobi' divides by. Use preconditioner='nystroem'."
        )
    diagonal = (diagonal + operator.shift).to(operator.like)
    # An entry that nothing curves, or that curves downwards, is left as it is.
    scale = torch.where(diagonal > 0, 1.0 / diagonal, 1.0)
    return lambda V: V * scale


def nystroem_preconditioner(
    operator: Damped, rank: int, random_state: int | None
) -> Callable[[Tensor], Tensor]:
    """``(l_r + d) U (L + d)^-1 U' + I - U U'``: the top of the spectrum is brought down to l_r.

    Frangella, Tropp and Udell (2023), eq. (5.3); U, L are a Nystroem sketch of the undamped
    curvature, d the damping's share of the diagonal.

    Raises
    ------
    ValueError
        If the curvature is not positive semidefinite.
    """
    values, U = nystroem(operator.curvature, rank, random_state)
    operator.products += min(rank, operator.n_params)
    if not len(values):
        return lambda V: V
    damped = values + operator.shift
    gain = (damped.min() / damped - 1.0).to(operator.like)
    U = U.to(operator.like)
    return lambda V: V + (V @ U.T * gain) @ U


PRECONDITIONERS = {"jacobi": jacobi, "nystroem": nystroem_preconditioner}


def sketch_pays(n_rhs: int, rank: int) -> bool:
    """Whether a Nystroem preconditioner is worth its products for a call."""
    return n_rhs >= REPAID * rank

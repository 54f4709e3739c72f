"""What is known of the systems that an inverse has solved, and when to warn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skinfluence._warn import warn
from skinfluence.torch.solvers.operator import Damped, norms

# Right-hand sides that a message names.
NAMED = 8
# And of a first call, whose residual is measured where it costs a product of its own.
MEASURED = 8
SINGULAR = ("singular to rounding errors", "Give a damping, or a weight decay of all parameters.")
INDEFINITE = (
    "not positive",
    "Use curvature='ggn', which is never negative, or a damping above minus the lowest eigenvalue "
    "of the mean loss.",
)


@dataclass
class Convergence:
    """Record over all calls of an inverse; right-hand sides are counted through them.

    Parameters
    ----------
    tol : float
        Relative residual ``|b - A x| / |b|`` that was asked for.

    Attributes
    ----------
    n_rhs : int
        Right-hand sides so far.
    n_iter : int
        Most iterations that one took.
    residual : float
        Largest true relative residual of those that were measured.
    unconverged : list of int
        Positions of right-hand sides whose residual is above `tol`.
    not_positive : list of int
        Positions of right-hand sides that met a direction without positive curvature.
    """

    tol: float
    n_rhs: int = 0
    n_iter: int = 0
    residual: float = 0.0
    unconverged: list[int] = field(default_factory=list)
    not_positive: list[int] = field(default_factory=list)

    def add(
        self,
        residual: Tensor,
        n_iter: int,
        *,
        cure: str,
        not_positive: Tensor | None = None,
        psd: bool = False,
    ) -> None:
        """Note the right-hand sides of one call, and warn of those that did not converge."""
        bent = torch.zeros_like(residual, dtype=torch.bool)
        bent = bent if not_positive is None else not_positive
        missed = ~(residual <= self.tol)
        before, self.n_rhs = self.n_rhs, self.n_rhs + len(residual)
        self.n_iter = max(self.n_iter, n_iter)
        worst = float(residual.max()) if len(residual) else 0.0
        self.residual = max(self.residual, worst)
        late, saddle = (before + torch.nonzero(m)[:, 0].cpu() for m in (missed & ~bent, bent))
        self.unconverged += (before + torch.nonzero(missed)[:, 0].cpu()).tolist()
        self.not_positive += saddle.tolist()
        if len(late):
            self._warn_late(late, len(residual), float(residual[missed & ~bent].max()), cure)
        if len(saddle):
            self._warn_saddle(saddle, len(residual), float(residual[bent].max()), psd)

    def _warn_late(self, late: Tensor, n: int, worst: float, cure: str) -> None:
        _warn(
            f"{len(late)} of {n} right-hand sides ({_named(late)}) did not reach a relative "
            f"residual of {self.tol:.3g}: the largest is {worst:.3g}. {cure}"
        )

    def _warn_saddle(self, saddle: Tensor, n: int, worst: float, psd: bool) -> None:
        what, cure = SINGULAR if psd else INDEFINITE
        _warn(
            f"The curvature is {what}: {len(saddle)} of {n} right-hand sides ({_named(saddle)}) "
            f"met a direction that it does not curve upwards, and stopped there with a relative "
            f"residual of up to {worst:.3g}. {cure}"
        )

    def report(self) -> dict[str, Any]:
        """The record as numbers and lists of them."""
        return {
            "tol": self.tol,
            "n_rhs": self.n_rhs,
            "n_iter": self.n_iter,
            "residual": self.residual,
            "unconverged": list(self.unconverged),
            "not_positive": list(self.not_positive),
        }


def measure(
    convergence: Convergence, operator: Damped, B: Tensor, X: Tensor, *, cure: str
) -> None:
    """Note the residuals of solutions X (M, p) of a few right-hand sides, and warn of large ones.

    They are not counted: the call that they are from counts all of its own.
    """
    size = norms(B)
    left = norms(B - operator(X)) / torch.where(size > 0, size, 1.0)
    before = convergence.n_rhs
    convergence.add(left, 0, cure=cure)
    convergence.n_rhs = before


def _named(positions: Tensor) -> str:
    first = ", ".join(str(int(i)) for i in positions[:NAMED])
    return f"number {first}{', ...' if len(positions) > NAMED else ''}"


def warn_indefinite(what: str, lowest: float, damping: float, total_weight: float) -> None:
    """Warn of negative eigenvalues; `lowest` is of the sum over rows, with the damping in it."""
    needed = damping - lowest / total_weight
    _warn(
        f"The curvature is indefinite: {what}, the lowest about {lowest:.3g} as a sum over rows. "
        "Scores along them have the wrong sign and may be of any size. Use curvature='ggn', or a "
        f"damping above {needed:.3g}."
    )


def warn_faint(n: int, n_params: int) -> None:
    """Warn of parameters that are left out, though they may count on another scale."""
    _warn(
        f"{n} of {n_params} parameters take no part: their derivatives are below the rounding "
        "errors of the largest, though not those of their unit: inputs differ a million times "
        "in scale. Standardise them, or use net.double()."
    )


def _warn(message: str) -> None:
    warn(message, ConvergenceWarning)

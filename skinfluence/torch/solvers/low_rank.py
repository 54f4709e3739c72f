"""Inverses of a diagonal plus a few eigenpairs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.gradients import GradientBlock
from skinfluence.torch.solvers.convergence import (
    MEASURED,
    Convergence,
    measure,
    warn_indefinite,
)
from skinfluence.torch.solvers.operator import Damped, require_finite

COMPLEMENTS = ("damped", "drop")


class Whitened:
    """``S (A - diag(c)) S``, where ``S = (c + W damping)^-1/2`` on the diagonal.

    Then ``A + W damping I = S^-1 (I + S (A - diag(c)) S) S^-1``: what a few eigenpairs leave out
    is the identity, so that the penalty and the damping are exact in all directions.

    Parameters
    ----------
    operator : Damped
    rank : int
        Eigenpairs wanted.
    complement : {"damped", "drop"}
        With "drop", and where the eigenpairs are all there are, nothing is whitened: S = 1 and
        c = 0.

    Attributes
    ----------
    scale : Tensor of shape (p,)
        S.
    floor : float
        What is to be added to eigenvalues: 1, or ``W damping`` where nothing is whitened.
    unit : float
        Mean of the diagonal that eigenvalues are in units of.
    kept : bool
        Whether the inverse of the complement is kept.
    """

    def __init__(self, operator: Damped, rank: int, complement: str):
        if complement not in COMPLEMENTS:
            raise ValueError(f"complement={complement!r} is none of 'damped', 'drop'.")
        penalty = operator.curvature.objective.penalty_curvature()
        c = torch.zeros_like(operator.like, dtype=torch.float64)
        c = c if penalty is None else penalty.double()
        D = c + operator.shift
        self.operator = operator
        self.kept = complement == "damped" and bool((D > 0).all())
        if self.kept:
            self.scale, self.base, self.floor = D.rsqrt().to(operator.like), c, 1.0
            self.unit = float(D.mean())
        elif complement == "drop" or rank >= operator.n_params:
            self.scale, self.floor = torch.ones_like(operator.like), operator.shift
            self.base, self.unit = torch.zeros_like(c), 1.0
        else:
            raise ValueError(
                f"{rank} eigenpairs leave {operator.n_params - rank} of {operator.n_params} "
                "directions to the damping, and with damping=0 some have no curvature at all. "
                "Give a damping, or a weight decay of all parameters, or leave those directions "
                "out with complement='drop'."
            )
        self.base = self.base.to(operator.like)

    def __call__(self, V: Tensor) -> Tensor:
        U = V * self.scale
        return (self.operator.undamped(U) - self.base * U) * self.scale


class LowRankInverse(Inverse):
    """``S (Q' (values + floor)^-1 Q + (I - Q'Q) / floor) S``.

    Parameters
    ----------
    whitened : Whitened
    values : Tensor of shape (r,)
    Q : Tensor of shape (r, p)
        Orthonormal rows.
    tol : float
        Relative residual above which a warning says that the rank is too small.
    about : dict
        For the report.
    seen : Tensor or None, default=None
        All eigenvalues that were met, kept or not; None is `values`.
    """

    def __init__(
        self,
        whitened: Whitened,
        values: Tensor,
        Q: Tensor,
        *,
        tol: float,
        about: dict[str, Any],
        seen: Tensor | None = None,
    ):
        operator = whitened.operator
        self.operator, self.whitened, self.damping = operator, whitened, operator.damping
        # Leaving out the complement leaves out a residual below 1, as was asked for.
        self.convergence, self._about = Convergence(tol if whitened.kept else 1.01), about
        damped, noise = values.double() + whitened.floor, operator.noise()
        real = damped.abs() > noise * damped.abs().max() if len(damped) else damped > 0
        self.values, self.Q = damped[real], Q[real].to(operator.like)
        self._rest = 1.0 / whitened.floor if whitened.kept else 0.0
        self.n_negative, self.lowest = 0, float("nan")
        self._look_below_zero(values if seen is None else seen, noise)

    def _look_below_zero(self, seen, noise):
        low = seen.double() + self.whitened.floor
        low = low[low < -noise * seen.abs().max()] if len(seen) else low
        if len(low):
            self.n_negative, self.lowest = len(low), float(low.min()) * self.whitened.unit
            warn_indefinite(
                f"{self.n_negative} of {len(seen)} eigenvalues found are negative",
                self.lowest,
                self.damping,
                self.operator.curvature.objective.total_weight,
            )

    def __call__(self, V: Tensor) -> Tensor:
        B = V.to(self.operator.like)
        require_finite(B, "A right-hand side")
        X = self._power(B, -1.0) * self.whitened.scale
        if not self.convergence.n_rhs and len(B):
            measure(
                self.convergence,
                self.operator,
                B[:MEASURED],
                X[:MEASURED],
                cure=f"Raise rank ({len(self.values)}) or damping ({self.damping:.3g}), or use "
                "solver='cg', which has no rank.",
            )
        self.convergence.n_rhs += len(B)
        return X.to(V.dtype)

    def _power(self, V, exponent):
        """``(Q' (values + floor)^exponent Q + (I - Q'Q) floor^exponent) S v`` of rows."""
        U = V * self.whitened.scale
        rest = self._rest**-exponent if self._rest else 0.0
        along = U @ self.Q.T
        found = (along * self.values.pow(exponent).to(U)) @ self.Q
        # The complement by itself: the difference of two large numbers would cost digits.
        return found + rest * (U - along @ self.Q) if rest else found

    def half(self, V: Tensor) -> Tensor:
        if self.n_negative:
            raise ValueError(
                f"The curvature has {self.n_negative} negative eigenvalues among those found, so "
                "it is no inner product and has no square root, which an embedding needs. Use "
                "curvature='ggn', or a larger damping."
            )
        B = V.to(self.operator.like)
        if self.whitened.kept:
            return self._power(B, -0.5).to(V.dtype)
        along = (B * self.whitened.scale) @ self.Q.T
        return (along * self.values.rsqrt().to(B)).to(V.dtype)

    def quadratic(self, block: GradientBlock) -> Tensor:
        scale = self.whitened.scale
        uniform = bool((scale == scale[0]).all())
        lost = float(self.values.abs().max()) * self._rest if len(self.values) else 0.0
        if not uniform or lost * self.operator.noise() > 1e-5:
            return super().quadratic(block)
        along = block.times(self.Q * scale)
        found = (along.square() * (1.0 / self.values - self._rest)).sum(1)
        return found + self._rest * float(scale[0]) ** 2 * block.squares()

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            **self.convergence.report(),
            **self._about,
            "products": self.operator.products,
            "measured": min(MEASURED, self.convergence.n_rhs),
            "rank": len(self.values),
            "n_negative": self.n_negative,
            "lowest": self.lowest if self.n_negative else None,
            "complement": "damped" if self.whitened.kept else "drop",
        }

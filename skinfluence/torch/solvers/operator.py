"""The damped curvature as the solvers see it: checked, and counted."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator

import torch
from sklearn.utils import check_random_state
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.curvature import Curvature

# Share of the norm that a Rayleigh quotient in these types may be off by.
NOISE = {torch.float64: 1e-14, torch.float32: 5e-7}


class Damped:
    """``A + W damping I`` times vectors that are rows.

    Parameters
    ----------
    curvature : Curvature
    damping : float
        In units of a mean loss.

    Attributes
    ----------
    shift : float
        ``W damping``.
    products : int
        Vectors multiplied so far.
    steepest : float
        Largest Rayleigh quotient seen, in absolute value: a lower bound of the norm.
    """

    def __init__(self, curvature: Curvature, damping: float):
        self.curvature, self.damping = curvature, require_damping(damping)
        self.shift = curvature.objective.total_weight * damping
        self.products, self.steepest = 0, 0.0
        self._ticks: Iterator | None = None

    @property
    def like(self) -> Tensor:
        """The network's parameters, (p,): the type and the device of vectors."""
        return self.curvature.network.theta

    @property
    def n_params(self) -> int:
        return self.curvature.n_params

    def __call__(self, V: Tensor) -> Tensor:
        """Products, (M, p).

        Raises
        ------
        ValueError
            If one of them is not finite.
        """
        found = self.undamped(V)
        return found + self.shift * V if self.shift else found

    @contextlib.contextmanager
    def watched(self, total: int, desc: str, *, enabled: bool) -> Iterator[None]:
        """Show a bar that moves on with every block of products."""
        if not enabled:
            yield
            return
        # Steps without end: how many are needed is not known before, `total` is the most.
        bar = _loops.progress_bar(itertools.repeat(None), total=total, enabled=True, desc=desc)
        with contextlib.closing(iter(bar)) as self._ticks:  # type: ignore[type-var]
            try:
                next(self._ticks)
                yield
            finally:
                self._ticks = None

    def undamped(self, V: Tensor) -> Tensor:
        """Products with A alone."""
        found = self.curvature(V)
        self.products += len(V)
        if self._ticks is not None:
            next(self._ticks)
        require_finite(found, "The curvature times a vector")
        return found

    def scale(self) -> float:
        """``steepest``, after one product with a random vector where there was none yet."""
        if not self.steepest:
            probe = gaussian(1, self.n_params, 0, self.like)
            self.steepest = float(dots(probe, self(probe)).abs() / dots(probe, probe))
        return self.steepest

    def noise(self) -> float:
        """Share of the norm below which a Rayleigh quotient is rounding error."""
        return NOISE.get(self.like.dtype, 1e-6)


def require_damping(damping: float) -> float:
    """Refuse a damping that would take curvature away."""
    if not 0 <= damping < float("inf"):
        raise ValueError(
            f"damping={damping!r} is negative or not finite, and would take curvature away. "
            "Use 0, or a positive number in units of a mean loss."
        )
    return damping


def require_finite(values: Tensor, what: str) -> None:
    """Refuse NaN and infinities with a sentence."""
    finite = torch.isfinite(values).all(1)
    if not bool(finite.all()):
        raise ValueError(
            f"{what} is NaN or infinite for {int((~finite).sum())} of {len(values)} vectors, so "
            "no system can be solved. Look for NaN or very large numbers in the rows and in the "
            "module's parameters, and use float64 where float32 overflows."
        )


def dots(U: Tensor, V: Tensor) -> Tensor:
    """``<u_m, v_m>`` of two sets of rows, (M,), summed in float64."""
    return (U * V).sum(1, dtype=torch.float64)


def norms(V: Tensor) -> Tensor:
    """``|v_m|``, (M,), float64."""
    return dots(V, V).sqrt()


def generator(random_state: int | None) -> torch.Generator:
    """Random numbers that are the same on every device."""
    return torch.Generator().manual_seed(int(check_random_state(random_state).randint(2**31 - 1)))


def gaussian(n: int, p: int, random_state: int | torch.Generator | None, like: Tensor) -> Tensor:
    """Standard normal vectors, (n, p), in the type and on the device of `like`."""
    seeded = isinstance(random_state, torch.Generator)
    source = random_state if seeded else generator(random_state)
    return torch.randn(n, p, generator=source, dtype=torch.float64).to(like)

"""The quadratic programme of support vector machines."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Gram, Indices


@dataclass
class Programme:
    """``min 1/2 beta'K beta - p'beta`` in boxes, with the sum of each group of variables given.

    A variable belongs to a row and to a group; ``sum_{v in group} beta_v = c_group``. With the
    multiplier b of each group, at the optimum

        g_v = (K beta)_row(v) + b_group(v) - p_v   is >= 0 at lo, <= 0 at hi, and 0 in between.

    Classification and outlier detection have a variable a row; regression has two, one for
    residuals above the tube and one for those below. The nu-forms have two groups, whose
    multipliers differ by what nu stands for: the margin, or the width of the tube.

    Where nothing is said of sums (a machine without an intercept, or whose intercept is penalised
    like a coefficient and so belongs to the kernel), all multipliers are 0.

    Parameters
    ----------
    kernel : Gram
        Of the n rows of the problem.
    row, group : ndarray of int of shape (N,)
    p, lo, hi : ndarray of shape (N,)
    c : ndarray of shape (n_groups,)
    summed : bool, default=True
        Whether sums are given.
    """

    kernel: Gram
    row: Indices
    group: Indices
    p: Array
    lo: Array
    hi: Array
    c: Array
    summed: bool = True

    @property
    def n_groups(self) -> int:
        """Number of groups of variables."""
        return len(self.c)

    @property
    def n_sums(self) -> int:
        """Number of groups whose sum is given."""
        return self.n_groups if self.summed else 0

    def unmet(self, beta: Array, c: Array) -> Array:
        """What the sums still lack, (n_groups,); 0 where none are given."""
        return c - self.sums(beta) if self.summed else np.zeros(self.n_groups)

    def groups_of(self, variables: Indices) -> Indices:
        """Groups of some variables whose sum is given."""
        return np.unique(self.group[variables])[: self.n_sums]

    @property
    def size(self) -> float:
        """The widest box."""
        return float(np.max(self.hi - self.lo, initial=0.0))

    def on_rows(self, beta: Array) -> Array:
        """Coefficients of the rows, (n,), from those of the variables."""
        return np.asarray(np.bincount(self.row, beta, minlength=self.kernel.n), dtype=np.float64)

    def sums(self, beta: Array) -> Array:
        """Sum of each group, (n_groups,)."""
        return np.asarray(np.bincount(self.group, beta, minlength=self.n_groups), dtype=np.float64)

    def variables_of(self, rows: Indices) -> Indices:
        """Variables of some rows."""
        mask = np.zeros(self.kernel.n, dtype=bool)
        mask[rows] = True
        return np.flatnonzero(mask[self.row])


@dataclass
class Motion:
    """How a programme changes, per unit of time.

    Parameters
    ----------
    dc : ndarray of shape (n_groups,)
    gone : ndarray of int
        Variables that are driven to 0, whatever their gradient.
    dp, dlo, dhi : ndarray of shape (N,) or None
        None where they stay, or where `fade` or `growth` says how they move.
    growth : tuple of float, default=None
        Rate ``dlo / lo`` of the lower bounds that are not 0, and ``dhi / hi`` of the upper ones,
        where these are the same for all.
    fade : float, default=0
        Rate ``-dp / p``, where it is the same for all.
    """

    dc: Array
    gone: Indices = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    dp: Array | None = None
    dlo: Array | None = None
    dhi: Array | None = None
    growth: tuple[float, float] | None = None
    fade: float = 0.0

    @property
    def even(self) -> bool:
        """Whether rates say all: nothing moves by itself but what is driven."""
        return self.dp is None and self.dlo is None and self.dhi is None

    def spelt_out(self, programme: Programme) -> Motion:
        """The same with the speed of every variable."""
        dp, dlo, dhi = self.dp, self.dlo, self.dhi
        if self.fade:
            dp = -self.fade * programme.p
        if self.growth is not None:
            dlo, dhi = self.growth[0] * programme.lo, self.growth[1] * programme.hi
        return replace(self, dp=dp, dlo=dlo, dhi=dhi)

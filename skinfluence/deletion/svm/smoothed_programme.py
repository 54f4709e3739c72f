"""The primal problem of a support vector machine, its kinks smoothed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices
from skinfluence.deletion.svm.programme import Programme
from skinfluence.objectives.losses.ramp import ramp, ramp_curvature, ramp_slope

# Curvatures below this share of the largest are raised to it: divided by, they must not be 0.
# Coefficients of such sites do not move, whatever the number is.
LEAST = 1e-100
# Temperatures beyond the outermost kink where there is nothing to find, and what is left of
# bounds that sum to their sum.
OUTSIDE, ROUNDING = 700.0, 1e-13


class SmoothedProgramme:
    """``min 1/2 |f|^2 + sum_v [hi_v r(-g_v) - lo_v r(g_v)] + c'b`` over f and the offsets b.

    ``g_v = f(row_v) + b_group(v) - p_v``. With ``r(u) = max(0, u)`` this is the dual of a
    :class:`~skinfluence.deletion.svm.programme.Programme`. Here
    ``r(u) = t log(1 + exp(u / t))`` (Koh & Liang 2017, section 4.2), which has derivatives; at
    the minimum ``f = sum_v beta_v k(row_v, .)``, ``beta_v = hi_v r'(-g_v) + lo_v r'(g_v)``.

    Variables of one row and one group move together: they are one *site*, and everything here is
    by site. Only nu-regression has two sites a row.

    Parameters
    ----------
    programme : Programme
    temperature : float
        t, in units of f; 0 for the programme itself.
    matrix : ndarray of shape (n, n)
        Kernel of its rows.
    """

    def __init__(self, programme: Programme, temperature: float, matrix: Array):
        self.programme, self.temperature = programme, temperature
        code = programme.row * programme.n_groups + programme.group
        sites, self._site = np.unique(code, return_inverse=True)
        self.row, self.group = sites // programme.n_groups, sites % programme.n_groups
        plain = len(sites) == len(matrix)
        self.matrix = matrix if plain else matrix[np.ix_(self.row, self.row)]
        self.members = np.zeros((len(sites), programme.n_groups))
        self.members[np.arange(len(sites)), self.group] = 1.0

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return len(self.row)

    def on_sites(self, values: Array) -> Array:
        """Sums over the variables of each site."""
        total = np.bincount(self._site, values, minlength=self.n_sites)
        return np.asarray(total, dtype=np.float64)

    def on_rows(self, values: Array) -> Array:
        """Sums over the sites of each row, (n, ...), from (N, ...)."""
        if self.n_sites == self.programme.kernel.n:
            return values
        total = np.zeros((self.programme.kernel.n, *values.shape[1:]))
        np.add.at(total, self.row, values)
        return total

    def sites_of(self, variables: Indices) -> Indices:
        """Sites of some variables."""
        return np.unique(self._site[variables])

    def gaps(self, products: Array, offset: Array) -> Array:
        """g of each variable, from products and offsets, (V,)."""
        return products[self._site] + offset[self.programme.group] - self.programme.p

    def value(self, beta: Array, products: Array, offset: Array) -> float:
        """The objective, at coefficients of the sites and their products with the kernel."""
        quadratic, penalty, linear = self.terms(beta, products, offset)
        return quadratic + penalty + linear

    def terms(self, beta: Array, products: Array, offset: Array) -> tuple[float, float, float]:
        """Its parts: ``1/2 |f|^2``, the losses, and what is linear in the offsets."""
        programme, t = self.programme, self.temperature
        g = self.gaps(products, offset)
        losses = programme.hi @ ramp(-g, t) - programme.lo @ ramp(g, t)
        return 0.5 * float(beta @ products), float(losses), float(programme.c @ offset)

    def derivatives(self, g: Array, lo: Array, hi: Array) -> tuple[Array, Array]:
        """Coefficients and curvatures that the losses ask of the sites, under these bounds."""
        t = self.temperature
        wanted = hi * ramp_slope(-g, t) + lo * ramp_slope(g, t)
        return self.on_sites(wanted), self.on_sites((hi - lo) * ramp_curvature(g, t))

    def best_offsets(self, products: Array) -> Array:
        """Offsets that minimise the objective at these products, (n_groups,)."""
        programme = self.programme
        found = np.zeros(programme.n_groups)
        for group in range(programme.n_groups):
            own = np.flatnonzero(programme.group == group)
            kinks = programme.p[own] - products[self._site[own]]
            bounds = programme.lo[own], programme.hi[own], programme.c[group]
            find = _kinked_offset if self.temperature == 0 else _smooth_offset
            found[group] = find(kinks, *bounds, self.temperature)
        return found


def _kinked_offset(kinks, lo, hi, c, t):
    order = np.argsort(kinks, kind="stable")
    # The slope below the first kink, and how it grows from one to the next.
    slope = c - hi.sum() + np.cumsum((hi - lo)[order])
    return kinks[order[min(int(np.searchsorted(slope, 0.0)), len(order) - 1)]]


def _smooth_offset(kinks, lo, hi, c, t):
    """Where the coefficients sum to c: they fall with the offset, so that halving finds it."""
    low, high = kinks.min() - OUTSIDE * t, kinks.max() + OUTSIDE * t
    while True:
        middle = 0.5 * (low + high)
        if not low < middle < high:
            return middle
        g = middle - kinks
        # Bounds cancel by themselves, so that tails count which are less than their rounding.
        held = np.where(g < 0, hi, lo).sum() - c
        held = 0.0 if abs(held) < ROUNDING * np.abs(hi - lo).sum() else held
        tails = np.where(g < 0, -1.0, 1.0) * (hi - lo) * ramp_slope(-np.abs(g), t)
        low, high = (middle, high) if held + tails.sum() > 0 else (low, middle)


@dataclass(frozen=True)
class SmoothPoint:
    """The minimum of a smoothed programme.

    Parameters
    ----------
    beta : ndarray of shape (N,)
        Coefficients of the sites.
    products : ndarray of shape (N,)
    offset : ndarray of shape (n_groups,)
    stationarity : float
        What is left of the gradient, relative to the coefficients.
    """

    beta: Array
    products: Array
    offset: Array
    stationarity: float


class Bordered:
    """Inverse of ``[[I + sqrt(D) K sqrt(D), V], [V', 0]]``, ``V = sqrt(D) A``.

    With A the groups of the sites, this is the Hessian for coefficients ``sqrt(D) z`` and offsets.
    The diagonal of the inverse is one less the leverage, with all its digits where D is large.

    Parameters
    ----------
    matrix : ndarray of shape (N, N)
    curvature : ndarray of shape (N,)
        D.
    members : ndarray of shape (N, n_groups)
        A.
    """

    def __init__(self, matrix: Array, curvature: Array, members: Array):
        self.root = np.sqrt(np.maximum(curvature, LEAST * max(curvature.max(initial=0.0), LEAST)))
        scaled = self.root[:, None] * matrix * self.root
        scaled[np.diag_indices_from(scaled)] += 1.0
        self._factor = cho_factor(scaled, lower=True, overwrite_a=True, check_finite=False)
        self._border = self.root[:, None] * members
        self._solved = self._inner(self._border)
        self._schur = np.linalg.inv(self._border.T @ self._solved)

    def _inner(self, columns):
        return cho_solve(self._factor, columns, check_finite=False)

    def solve(self, upper: Array, lower: Array) -> tuple[Array, Array]:
        """z and offsets, from right-hand sides of shape (N, ...) and (n_groups, ...)."""
        z = self._inner(upper)
        offset = self._schur @ (self._border.T @ z - lower)
        return z - self._solved @ offset, offset

    def dense(self) -> tuple[Array, Array, Array]:
        """P, Q and G with ``z = P u + Q l`` and ``offset = Q'u - G l``."""
        Q = self._solved @ self._schur
        P = self._inner(np.eye(len(self.root))) - Q @ self._solved.T
        return P, Q, self._schur

"""Maximum likelihood of factor analysis, for many covariance matrices at once.

With noise variances psi, the loadings that maximise the likelihood are closed: of the eigenpairs
``(theta_j, omega_j)`` of ``psi^-1/2 S psi^-1/2``, the k largest above 1 are followed exactly, and
the likelihood left is a function of psi alone [1]_, [2]_. Up to what does not depend on psi, minus
twice the mean log likelihood is ``f = sum_j (theta_j - log theta_j)`` over the others, the
*residual* pairs. In ``x = log psi``, where ``d theta_j = -theta_j omega_ij^2 dx_i``,

- the gradient is ``sum_j (1 - theta_j) omega_ij^2`` over residual pairs j;
- the Hessian is ``(Omega theta Omega')_il (Omega Omega')_il`` over residual pairs, plus
  ``(1 - theta_j) (theta_m + theta_j) / (theta_m - theta_j)`` times the product of
  ``omega_ij omega_lj omega_im omega_lm``, summed over residual j and followed m.

The pairs are taken from the *inverse* ``psi^1/2 S^-1 psi^1/2`` with eigenvalues ``gamma = 1 /
theta``, which exists where a noise variance is 0, as it is at many optima (Heywood cases).

References
----------
.. [1] K. G. Joreskog (1967), Some contributions to maximum likelihood factor analysis,
   Psychometrika 32.
.. [2] D. N. Lawley and A. E. Maxwell (1971), Factor analysis as a statistical method, 2nd edition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.closed.base import Array

# A step in log psi that moves nothing by more than this is the last one.
DONE = 1e-10
MAX_STEPS = 200
# Most that one step may change log psi.
REACH = 2.0
# Noise variance, relative to the variance of its column, below which 0 is tried.
SMALL = 1e-3
# Decrease of the likelihood that is rounding.
ROUNDING = 1e-13


@dataclass
class Factors:
    """Where the likelihoods of some covariance matrices are largest.

    Attributes
    ----------
    noise : ndarray of shape (b, p)
        psi.
    precision : ndarray of shape (b, p, p)
        Inverse covariances of the models.
    log_det : ndarray of shape (b,)
        Log determinants of the covariances, less those of S.
    settled : ndarray of bool of shape (b,)
        Whether the iteration came to rest.
    """

    noise: Array
    precision: Array
    log_det: Array
    settled: NDArray[np.bool_]

    @property
    def improper(self) -> NDArray[np.bool_]:
        """Whether some noise variance is 0, (b,)."""
        return (self.noise == 0.0).any(axis=1)


@dataclass
class _Point:
    """The likelihood at some psi, with its eigenpairs; residual pairs are marked."""

    value: Array  # (b,)
    gamma: Array  # (b, p)
    omega: Array  # (b, p, p), eigenvectors in columns
    residual: NDArray[np.bool_]  # (b, p)

    def __getitem__(self, part):
        return _Point(self.value[part], self.gamma[part], self.omega[part], self.residual[part])

    def __setitem__(self, part, other):
        for name in ("value", "gamma", "omega", "residual"):
            getattr(self, name)[part] = getattr(other, name)


def _look(inverse, psi, k):
    s = np.sqrt(psi)
    gamma, omega = np.linalg.eigh(s[:, :, None] * inverse * s[:, None, :])
    residual = np.arange(gamma.shape[1]) >= k
    residual = residual | (gamma >= 1.0)
    safe = np.where(residual, np.maximum(gamma, 1e-300), 1.0)
    value = np.where(residual, 1.0 / safe + np.log(safe), 0.0).sum(axis=1)
    return _Point(value, gamma, omega, residual)


def _slopes(point):
    """Gradient in log psi, (b, p), and theta of residual pairs, 0 of others."""
    theta = np.where(point.residual, 1.0 / np.where(point.residual, point.gamma, 1.0), 0.0)
    weights = np.where(point.residual, 1.0 - theta, 0.0)
    return np.einsum("bj,bij->bi", weights, point.omega**2), theta


def _curvature(point, theta, k):
    """Hessian in log psi, and the part of it that is always positive, both (b, p, p)."""
    omega, residual = point.omega, point.residual
    across = np.swapaxes(omega, 1, 2)
    spread = np.matmul(omega * residual[:, None, :], across)
    exact = np.matmul(omega * theta[:, None, :], across) * spread
    weights = np.where(residual, 1.0 - theta, 0.0)
    for m in range(k):
        gap = np.where(residual, point.gamma - point.gamma[:, m : m + 1], 1.0)
        total = point.gamma + point.gamma[:, m : m + 1]
        share = np.where(residual[:, m : m + 1], 0.0, weights * total / np.where(gap, gap, 1.0))
        follow = np.matmul(omega * share[:, None, :], across)
        exact += follow * omega[:, :, m, None] * omega[:, None, :, m]
    return exact, spread**2


def _step(slopes, exact, safe, free):
    """Newton step of the free variables; along the safe Hessian where that is no minimum."""
    both = free[:, :, None] & free[:, None, :]
    exact, slopes = np.where(both, exact, np.eye(free.shape[1])), np.where(free, slopes, 0.0)
    try:
        np.linalg.cholesky(exact)
        step = -np.linalg.solve(exact, slopes[..., None])[..., 0]
    except np.linalg.LinAlgError:
        step = _safe_step(slopes, exact, np.where(both, safe, np.eye(free.shape[1])))
    longest = np.abs(step).max(axis=1, keepdims=True)
    return step * np.minimum(1.0, REACH / np.maximum(longest, 1e-300))


def _safe_step(slopes, exact, safe):
    values, axes = np.linalg.eigh(exact)
    wrong = values[:, 0] <= 1e-9 * values[:, -1]
    values[wrong], axes[wrong] = np.linalg.eigh(safe[wrong])
    values[wrong] = np.maximum(values[wrong], 1e-6 * values[wrong, -1:])
    along = np.einsum("bij,bi->bj", axes, slopes) / values
    return -np.einsum("bij,bj->bi", axes, along)


def maximise(inverse: Array, start: Array, k: int) -> Factors:
    """Noise variances of largest likelihood, near where each search starts.

    Parameters
    ----------
    inverse : ndarray of shape (b, p, p)
        Inverse covariances of rows, of columns of variance about 1.
    start : ndarray of shape (b, p)
        Noise variances; those that are 0 are held there while that is an optimum.
    k : int
        Number of factors.
    """
    psi, b = start.copy(), len(start)
    point = _look(inverse, psi, k)
    active, settled = np.arange(b), np.zeros(b, dtype=bool)
    for _ in range(MAX_STEPS):
        here, at = point[active], psi[active]
        moved, rest = _advance(inverse[active], at, here, k)
        psi[active], point[active] = at, here
        settled[active] = rest & ~moved
        active = active[moved | ~rest]
        if not len(active):
            break
    return _finished(inverse, psi, point, settled)


def _advance(inverse, psi, point, k):
    """One step, in place: which searches went to or from a bound, and which came to rest."""
    moved = _release(inverse, psi, point, k) | _fall(inverse, psi, point, k)
    slopes, theta = _slopes(point)
    free = psi > 0.0
    exact, safe = _curvature(point, theta, k)
    step = _step(slopes, exact, safe, free)
    length = np.abs(step).max(axis=1)
    fall = np.einsum("bi,bi->b", slopes, step)
    open_, share = np.arange(len(psi)), np.ones(len(psi))
    for _ in range(30):
        tried = psi[open_] * np.exp(share[open_, None] * step[open_])
        found = _look(inverse[open_], tried, k)
        limit = point.value[open_] + 1e-4 * share[open_] * fall[open_]
        slack = ROUNDING * np.abs(point.value[open_]) * 100.0
        good = (found.value <= limit + slack) & np.isfinite(found.value)
        psi[open_[good]], point[open_[good]] = tried[good], found[good]
        open_ = open_[~good]
        if not len(open_):
            break
        share[open_] *= 0.5
    rest = length <= DONE
    rest[open_] = length[open_] <= 1e-6
    return moved, rest


def _fall(inverse, psi, point, k):
    """Put to 0, in place, the smallest noise variance of a search where that is better."""
    smallest = np.where(psi > 0.0, psi, np.inf).argmin(axis=1)
    every = np.arange(len(psi))
    near = np.flatnonzero(psi[every, smallest] < SMALL)
    moved = np.zeros(len(psi), dtype=bool)
    if not len(near) or k == 0:
        return moved
    tried = psi[near].copy()
    tried[np.arange(len(near)), smallest[near]] = 0.0
    found = _look(inverse[near], tried, k)
    better = found.value < point.value[near]
    better &= ~(_pull(inverse[near], tried, found)[np.arange(len(near)), smallest[near]] < 0.0)
    psi[near[better]], point[near[better]] = tried[better], found[better]
    moved[near[better]] = True
    return moved


def _release(inverse, psi, point, k):
    """Free, in place, noise variances of 0 that want to grow."""
    moved = np.zeros(len(psi), dtype=bool)
    held = np.flatnonzero((psi == 0.0).any(axis=1))
    if not len(held):
        return moved
    pull = np.where(psi[held] == 0.0, _pull(inverse[held], psi[held], point[held]), 0.0)
    worst = pull.argmin(axis=1)
    for share in (1e-2, 1e-4, 1e-6, 1e-8):
        left = np.flatnonzero((pull[np.arange(len(held)), worst] < 0.0) & ~moved[held])
        if not len(left):
            break
        tried = psi[held[left]].copy()
        tried[np.arange(len(left)), worst[left]] = share
        found = _look(inverse[held[left]], tried, k)
        good = found.value < point.value[held[left]]
        at = held[left[good]]
        psi[at], point[at], moved[at] = tried[good], found[good], True
    return moved


def _directions(inverse, psi, point):
    """``psi^-1/2 omega_j`` of residual pairs, (b, p, p) in columns: finite where psi is 0."""
    theta = np.where(point.residual, 1.0 / np.where(point.residual, point.gamma, 1.0), 0.0)
    return np.matmul(inverse, np.sqrt(psi)[:, :, None] * point.omega) * theta[:, None, :], theta


def _pull(inverse, psi, point):
    """Gradient in psi itself, (b, p)."""
    along, theta = _directions(inverse, psi, point)
    return np.einsum("bj,bij->bi", np.where(point.residual, 1.0 - theta, 0.0), along**2)


def _finished(inverse, psi, point, settled):
    along, _ = _directions(inverse, psi, point)
    weights = np.where(point.residual, 1.0 - point.gamma, 0.0)
    precision = inverse + np.matmul(along * weights[:, None, :], np.swapaxes(along, 1, 2))
    safe = np.where(point.residual, point.gamma, 1.0)
    return Factors(psi, precision, np.log(safe).sum(axis=1), settled)

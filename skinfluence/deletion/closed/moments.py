"""Moments without one row, and what follows from them: covariances less a rank-one matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg

from skinfluence.deletion.closed.base import Array, Meeting, Positions

# Share of its variance along a row that must be left for a covariance to be inverted without it.
LEFT = 1e-8
# Condition number from which on a covariance counts as singular.
SINGULAR = 1e12
# And from which on its spectrum is that of the rows themselves, to as many digits.
ILL = 1e6


@dataclass(frozen=True)
class Spectrum:
    """A covariance matrix in its own basis, around a point.

    Parameters
    ----------
    center : ndarray of shape (p,)
    basis : ndarray of shape (p, p)
        Eigenvectors, in columns.
    values : ndarray of shape (p,)
        Eigenvalues, not negative.
    """

    center: Array
    basis: Array
    values: Array

    @classmethod
    def of(cls, covariance: Array, center: Array) -> Spectrum:
        """Of a matrix."""
        values, basis = linalg.eigh(covariance)
        return cls(center, basis, np.maximum(values, 0.0))

    @classmethod
    def of_rows(cls, gaps: Array, center: Array) -> Spectrum:
        """Of the rows around their centre: the small of very different values are kept apart."""
        n, p = gaps.shape
        found = cls.of(gaps.T @ gaps / n, center)
        if n < p or found.values[0] * ILL > found.values[-1]:
            return found
        _, sizes, axes = linalg.svd(gaps, full_matrices=False)
        return cls(center, axes[::-1].T, sizes[::-1] ** 2 / n)

    def coordinates(self, X: Array) -> Array:
        """Rows around the centre, in the basis."""
        return (X - self.center) @ self.basis


class Downdated:
    """Matrices ``a_i S + s_i I - c_i u_i u_i'`` of some deletions, inverted and multiplied.

    All vectors are in the basis of S, where ``D_i = a_i S + s_i I`` is diagonal:
    ``B_i^-1 = D_i^-1 + t_i D_i^-1 u_i u_i' D_i^-1``, ``t_i = c_i / (1 - c_i u_i'D_i^-1 u_i)``.

    Parameters
    ----------
    values : ndarray of shape (p,)
        Eigenvalues of S.
    u : ndarray of shape (b, p)
        What each row adds to the scatter.
    scale, ridge, gone : float or ndarray of shape (b,)
        a, s and c. Where a and s are numbers, D is the same for all deletions, and cheaper.
    """

    def __init__(self, values: Array, u: Array, *, scale: Array | float, ridge, gone):
        scale, ridge = np.atleast_1d(scale)[:, None], np.atleast_1d(ridge)[:, None]
        diagonal = scale * values + ridge  # (1 or b, p)
        self.u, self.shared = u, len(diagonal) == 1
        with np.errstate(divide="ignore"):
            self.inverse = 1.0 / diagonal
            self._log_diagonal = np.log(diagonal).sum(axis=1)
        self.solved = u * self.inverse  # D^-1 u
        self.height = np.einsum("bp,bp->b", u, self.solved)  # u'D^-1 u
        self.left = 1.0 - gone * self.height
        with np.errstate(divide="ignore", invalid="ignore"):
            self.t = gone / self.left
            self.log_det = self._log_diagonal + np.log(self.left)

    @property
    def broken(self) -> Array:
        """Deletions after which the matrix is singular, or nearly so, (b,)."""
        return ~(self.left > LEFT)

    def along(self, Z: Array, meeting: Meeting) -> Array:
        """``z'D^-1 u``."""
        return meeting.dot(Z, self.solved)

    def squares(self, Z: Array, meeting: Meeting) -> Array:
        """``z'D^-1 z``."""
        if self.shared:
            return meeting.query(np.square(Z) @ self.inverse[0])
        return meeting.dot(np.square(Z), self.inverse)

    def with_fixed(self, Z: Array, v: Array, meeting: Meeting) -> Array:
        """``z'D^-1 v`` for one vector v of shape (p,)."""
        if self.shared:
            return meeting.query(Z @ (v * self.inverse[0]))
        return meeting.dot(Z, v * self.inverse)

    def distances(self, Z: Array, step: Array | float, meeting: Meeting) -> Array:
        """``(z + g u)'B^-1 (z + g u)``: around a mean that lost ``g u`` with the row."""
        along, square = self.along(Z, meeting), self.squares(Z, meeting)
        square = square + 2.0 * step * along + step**2 * self.height
        along += step * self.height
        return square + self.t * along**2


def refuse_singular(name: str, covariance: Array) -> None:
    """Refuse a fitted covariance that is no density's."""
    values = linalg.eigvalsh(covariance)
    if values[0] * SINGULAR > values[-1]:
        return
    raise linalg.LinAlgError(
        f"The covariance of {name} is singular (eigenvalues from {values[0]:.1e} to "
        f"{values[-1]:.1e}), so that no row has a density. Drop columns that follow from "
        "others or are constant, bring them to one scale, or shrink: ShrunkCovariance, "
        "LedoitWolf, or PCA with fewer components."
    )


def log_normal(distances: Array, log_det: Any, n_features: int) -> Array:
    """Log density of a normal distribution from squared distances."""
    return -0.5 * (distances + log_det + n_features * np.log(2.0 * np.pi))


def class_moments(X: Array, codes: Positions, n_classes: int) -> tuple[Array, Array, list[Array]]:
    """Number of rows, mean and scatter of each class: (K,), (K, p) and K of (p, p)."""
    counts = np.bincount(codes, minlength=n_classes).astype(np.float64)
    means = np.stack([X[codes == k].mean(axis=0) for k in range(n_classes)])
    scatters = []
    for k in range(n_classes):
        gaps = X[codes == k] - means[k]
        scatters.append(gaps.T @ gaps)
    return counts, means, scatters

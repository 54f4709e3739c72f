"""Exact deletion from linear and quadratic discriminant analysis."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence._compat import QDA_DIVIDES_BY_N
from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
)
from skinfluence.deletion.closed.moments import Downdated, Spectrum, class_moments
from skinfluence.deletion.closed.replaced.moments import (
    ReplacedLinear,
    ReplacedQuadratic,
    block_of,
    ill,
)


class _Discriminant(ExactModel):
    """Counts, means and priors of classes; subclasses know the covariances.

    Parameters
    ----------
    X : ndarray of shape (n_train, p)
    codes : ndarray of int of shape (n_train,)
        Class of each row.
    priors : ndarray of shape (n_classes,) or None
        None where they are the shares of the rows.
    """

    complex_rows = True

    def __init__(self, X: Array, codes: Positions, n_classes: int, priors: Array | None):
        self.X, self.codes = X, codes
        self.n_train, self.n_outputs = len(X), n_classes
        self.counts, self.means, self.scatters = class_moments(X, codes, n_classes)
        self.alone = np.flatnonzero(self.counts[codes] == 1)
        self.priors = priors
        given = self.counts / self.n_train if priors is None else priors
        with np.errstate(divide="ignore"):
            self.log_priors = np.log(given)

    def log_priors_without(self, rows: Positions) -> Array:
        """Log prior of each class without each of `rows`, (b, n_classes)."""
        own = self.codes[rows]
        if self.priors is not None:
            logs = np.tile(self.log_priors, (len(rows), 1))
            logs[np.arange(len(rows))[self.counts[own] == 1], own[self.counts[own] == 1]] = -np.inf
            return logs
        counts = np.tile(self.counts, (len(rows), 1))
        counts[np.arange(len(rows)), own] -= 1.0
        with np.errstate(divide="ignore"):
            return np.log(counts / (self.n_train - 1.0))

    @property
    def replaced_block(self) -> int:
        return block_of(self.X.shape[1] ** 2)

    def steps(self, k: int) -> float:
        """By which multiple of u the mean of class k moves when one of its rows goes."""
        return 1.0 / (self.counts[k] - 1.0) if self.counts[k] > 1 else 0.0


class LinearDiscriminantDeletion(_Discriminant):
    """Deletion of one row of linear discriminant analysis.

    The outputs are ``log prior_k + (z - r)'C^-1 (mu_k - r) - (mu_k - r)'C^-1 (mu_k - r) / 2``,
    where C is the covariance within classes and r what the solver centres on. Without row i of
    class c, C is a fixed matrix of that class less a rank-one matrix (plus a multiple of I, under
    shrinkage), and of the means only that of c moves.

    Parameters
    ----------
    X, codes, n_classes, priors
        As for every discriminant.
    pooled : bool
        Whether C is the pooled scatter over n, whatever the priors.
    lost : int
        By how much less than n the pooled scatter is divided.
    shrinkage : float
    centred : bool
        Whether r is the mean of the class means, weighted by the priors, instead of the origin.
    """

    def __init__(
        self,
        X: Array,
        codes: Positions,
        n_classes: int,
        priors: Array | None,
        *,
        pooled: bool,
        lost: int,
        shrinkage: float,
        centred: bool,
    ):
        super().__init__(X, codes, n_classes, priors)
        self.lost, self.shrinkage, self.centred = lost, shrinkage, centred
        self.pooled = pooled or priors is None
        shares = self.counts / self.n_train if self.pooled else np.asarray(priors)
        covariance = sum(
            share * scatter / count
            for share, scatter, count in zip(shares, self.scatters, self.counts, strict=True)
        )
        covariance = covariance * (self.n_train / (self.n_train - lost))
        self.origin = X.mean(axis=0)
        self.centre = (np.exp(self.log_priors) @ self.means) if centred else 0.0 * self.origin
        self.full = Spectrum.of(covariance, self.origin)
        self._shares = shares
        self._bases = [self._base(k, covariance) for k in range(n_classes)]

    # -- covariances ------------------------------------------------------------------------------

    def _base(self, k, covariance):
        """What C without a row of class k is, but for its rank-one part."""
        if self.pooled:
            grown = (self.n_train - self.lost) / self._size_without(k)
            return Spectrum(self.origin, self.full.basis, self.full.values * grown)
        if self.counts[k] == 1:
            return self.full  # the class is left out by a refit
        count = self.counts[k]
        grown = covariance + self._shares[k] / (count - 1.0) * self.scatters[k] / count
        return Spectrum.of(grown, self.origin)

    def _size_without(self, k: int) -> float:
        """What the pooled scatter without a row of class k is divided by."""
        gone = min(self.lost, 1) if self.counts[k] == 1 else 0
        return self.n_train - 1.0 - (self.lost - gone)

    def _downdated(self, k: int, u: Array) -> Downdated:
        """C without each row of class k whose distances to the mean are `u`, in the basis."""
        base, count = self._bases[k], self.counts[k]
        gone = 0.0
        if count > 1:
            gone = count / (count - 1.0)
            gone *= 1.0 / self._size_without(k) if self.pooled else self._shares[k] / (count - 1.0)
        s = self.shrinkage
        ridge: Any = 0.0
        if s:
            trace = base.values.sum() - gone * np.einsum("bp,bp->b", u, u)
            ridge = s * trace / len(base.values)
        return Downdated(base.values, u, scale=1.0 - s, ridge=ridge, gone=(1.0 - s) * gone)

    def broken(self) -> Positions:
        """Rows without which C is singular, or which need other priors."""
        found = []
        for k in range(self.n_outputs):
            rows = np.flatnonzero(self.codes == k)
            u = (self.X[rows] - self.means[k]) @ self._bases[k].basis
            lost = self._downdated(k, u).broken
            if len(rows) == 1 and self.priors is not None:
                lost[:] = True
            found.append(rows[lost])
        return np.concatenate(found)

    def replace(self, new: NewRows) -> Replaced | None:
        s, values = self.shrinkage, self.full.values
        if ill((1.0 - s) * values + s * values.mean()):
            return None
        return ReplacedLinear(self, new)

    # -- outputs ----------------------------------------------------------------------------------

    def outputs(self, X: Any) -> Array:
        full, s = self.full, self.shrinkage
        inverse = 1.0 / ((1.0 - s) * full.values + s * full.values.mean())
        Z, means = full.coordinates(X), full.coordinates(self.means)
        centre = full.coordinates(self.centre[None])[0]
        Z, means = Z - centre, means - centre
        scaled = means * inverse
        return Z @ scaled.T - 0.5 * np.einsum("kp,kp->k", means, scaled) + self.log_priors

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        codes = self.codes[deleted]
        log_priors = self.log_priors_without(deleted)
        shape = (len(deleted),) if meeting.pairs else (X.shape[0], len(deleted))
        found = np.empty((*shape, self.n_outputs))
        for k in np.unique(codes):
            at = np.flatnonzero(codes == k)
            base = self._bases[k]
            Z = base.coordinates(X[at] if meeting.pairs else X)
            found[..., at, :] = self._of_class(k, deleted[at], Z, log_priors[at], meeting)
        return found

    def _of_class(self, k, rows, Z, log_priors, meeting):
        """Outputs without each of `rows`, all of class k."""
        base, g = self._bases[k], self.steps(k)
        means = base.coordinates(self.means)
        u = (self.X[rows] - self.means[k]) @ base.basis
        B = self._downdated(k, u)
        along, turn = B.along(Z, meeting), 1.0 / B.left  # z'D^-1 u; z'B^-1 u = along * turn
        sees = [self._products(B, mean) for mean in means]  # u'D^-1 mu, mu'D^-1 mu
        out = np.empty((*along.shape, self.n_outputs))
        for j, (mean, (across, square)) in enumerate(zip(means, sees, strict=True)):
            slope, constant = B.t * across, square + B.t * across**2
            if j == k:
                constant = constant + g * turn * (g * B.height - 2.0 * across)
                slope = slope - g * turn
            with np.errstate(invalid="ignore"):
                out[..., j] = B.with_fixed(Z, mean, meeting) + slope * along
                out[..., j] += log_priors[:, j] - 0.5 * constant
        out += self._centring(k, rows, Z, means, B, along, sees, meeting)[..., None]
        return out

    def _products(self, B, mean):
        return B.solved @ mean, B.inverse @ np.square(mean)

    def _centring(self, k, rows, Z, means, B, along, sees, meeting):
        """What centring on r adds to the outputs of all classes: ``-z'B^-1 r + r'B^-1 r / 2``.

        r is a fixed vector plus multiples of u and of one that belongs to the class.
        """
        base, g = self._bases[k], self.steps(k)
        r = base.coordinates(self.centre[None])[0]
        step = 0.0
        if self.centred and self.priors is None:
            # The mean of all rows, less a share of x_i - r = u + (mu_k - r).
            r = r - (means[k] - r) / (self.n_train - 1.0)
            step = -1.0 / (self.n_train - 1.0)
        elif self.centred:
            step = -np.exp(self.log_priors[k]) * g
        across, square = self._products(B, r)
        turn = 1.0 / B.left
        inner = B.with_fixed(Z, r, meeting) + (B.t * across + step * turn) * along
        norm = square + B.t * across**2 + step * turn * (2.0 * across + step * B.height)
        return 0.5 * norm - inner


class QuadraticDiscriminantDeletion(_Discriminant):
    """Deletion of one row of quadratic discriminant analysis.

    The outputs are ``log prior_k - (log det C_k + (z - mu_k)'C_k^-1 (z - mu_k)) / 2``. Without
    row i of class c, ``C_c`` is a fixed matrix less a rank-one matrix; of the other classes only
    the priors change.

    Parameters
    ----------
    X, codes, n_classes, priors
        As for every discriminant.
    reg_param : float
        r of ``(1 - r) C + r I``.
    shrinkage : float
        s of ``(1 - s) C + s tr(C) / p I``.
    least : int
        Rows that a class needs.
    """

    def __init__(
        self,
        X: Array,
        codes: Positions,
        n_classes: int,
        priors: Array | None,
        *,
        reg_param: float,
        shrinkage: float,
        least: int,
    ):
        super().__init__(X, codes, n_classes, priors)
        self.reg_param, self.shrinkage, self.least = reg_param, shrinkage, least
        # Of n or of n - 1 rows, as the release of scikit-learn has it.
        self.lost = 0.0 if QDA_DIVIDES_BY_N else 1.0
        self._spectra = [
            Spectrum.of(scatter, mean)
            for scatter, mean in zip(self.scatters, self.means, strict=True)
        ]

    def _downdated(self, k: int, u: Array | None) -> Downdated:
        """``C_k`` without each row whose distances to the mean are `u`; None for all rows."""
        count, values = self.counts[k], self._spectra[k].values
        size = count - self.lost - (u is not None)
        gone = 0.0 if u is None else count / (count - 1.0)
        u = np.zeros((1, len(values))) if u is None else u
        shrunk = self.shrinkage or self.reg_param
        ridge: Any = self.reg_param
        if self.shrinkage:
            trace = (values.sum() - gone * np.einsum("bp,bp->b", u, u)) / size
            ridge = self.shrinkage * trace / len(values)
        scale = (1.0 - shrunk) / size
        return Downdated(values, u, scale=scale, ridge=ridge, gone=scale * gone)

    def broken(self) -> Positions:
        """Rows without which the covariance of their class is singular, or of one row."""
        found = []
        for k in range(self.n_outputs):
            rows = np.flatnonzero(self.codes == k)
            if len(rows) - 1 < self.least:
                found.append(rows)
                continue
            u = self._spectra[k].coordinates(self.X[rows])
            found.append(rows[self._downdated(k, u).broken])
        return np.concatenate(found)

    def outputs(self, X: Any) -> Array:
        found = np.empty((X.shape[0], self.n_outputs))
        for k, spectrum in enumerate(self._spectra):
            B = self._downdated(k, None)
            Z = spectrum.coordinates(X)
            found[:, k] = np.square(Z) @ B.inverse[0] + B.log_det
        return self.log_priors - 0.5 * found

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        codes = self.codes[deleted]
        kept = self.outputs(X) - self.log_priors
        found = kept.copy() if meeting.pairs else np.repeat(kept[:, None], len(deleted), axis=1)
        for k in np.unique(codes):
            at = np.flatnonzero(codes == k)
            spectrum = self._spectra[k]
            Z = spectrum.coordinates(X[at] if meeting.pairs else X)
            B = self._downdated(k, spectrum.coordinates(self.X[deleted[at]]))
            found[..., at, k] = -0.5 * (B.distances(Z, self.steps(k), meeting) + B.log_det)
        found += self.log_priors_without(deleted)
        return found

    def replace(self, new: NewRows) -> Replaced | None:
        if any(ill(1.0 / self._downdated(k, None).inverse[0]) for k in range(self.n_outputs)):
            return None
        return ReplacedQuadratic(self, new)

"""Exact deletion from normal densities whose covariance has a closed form."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf, ShrunkCovariance

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Family,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head, LogDensity
from skinfluence.deletion.closed.moments import Downdated, Spectrum, log_normal, refuse_singular
from skinfluence.deletion.closed.refits import Patched, Refits
from skinfluence.deletion.closed.replaced.moments import ReplacedCovariance, block_of, ill


class Scatter:
    """Mean and covariance (over n) of all rows, and moments of what is left without one.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    centred : bool
        Whether the mean is taken off; otherwise it counts as 0.
    """

    def __init__(self, X: Array, *, centred: bool):
        self.n, self.p = X.shape
        self.centred = centred
        mean = X.mean(axis=0) if centred else np.zeros(self.p)
        gaps = X - mean
        self.spectrum = Spectrum.of_rows(gaps, mean)
        # By which multiple of u the mean moves, and by which of uu' the scatter shrinks.
        self.step = 1.0 / (self.n - 1.0) if centred else 0.0
        self.share = self.n / (self.n - 1.0) if centred else 1.0
        self.rows = self.spectrum.coordinates(X)
        # Sums of |x|^4 and of |x|^2 x.
        norms = np.einsum("np,np->n", self.rows, self.rows)
        self.fourth, self.third = np.sum(norms**2), norms @ self.rows

    def traces(self, u: Array | None) -> tuple[Any, Any]:
        """Trace of the covariance without each row, and of its square, (b,); None for all rows."""
        values, m = self.spectrum.values, self.n - 1.0
        if u is None:
            return values.sum(), np.sum(values**2)
        norms = np.einsum("bp,bp->b", u, u)
        first = (self.n * values.sum() - self.share * norms) / m
        # tr (a S - c uu')^2
        a, c = self.n / m, self.share / m
        second = a**2 * np.sum(values**2) - 2.0 * a * c * (u**2 @ values) + (c * norms) ** 2
        return first, second


class ShrunkDeletion(ExactModel):
    """Deletion of one row of a normal density with covariance ``(1 - s) S + s tr(S) / p I``.

    S loses a rank-one matrix and is scaled, its trace is a number a row, and s may be one too: in
    the basis of S, what is left is a diagonal matrix less a rank-one matrix.

    Parameters
    ----------
    scatter : Scatter
    shrinkage : callable
        ``shrinkage(u)``: s without each row that is u away from the mean, (b,); of None, s of all
        rows.
    of_covariance : callable
        ``of_covariance(S, u, v, mean)``: s where rows u have become v, and S is the covariance
        then.
    """

    complex_rows = True

    def __init__(self, scatter: Scatter, shrinkage: Any, of_covariance: Any):
        self.scatter, self.shrinkage, self.of_covariance = scatter, shrinkage, of_covariance
        self.n_train, self.n_outputs = scatter.n, 1
        values, s = scatter.spectrum.values, float(shrinkage(None))
        self.values = (1.0 - s) * values + s * values.mean()

    def _downdated(self, u):
        scatter, m = self.scatter, self.n_train - 1.0
        s = self.shrinkage(u)
        ridge = s * scatter.traces(u)[0] / scatter.p if np.any(s) else 0.0
        scale = (1.0 - s) * self.n_train / m
        gone = (1.0 - s) * scatter.share / m
        return Downdated(scatter.spectrum.values, u, scale=scale, ridge=ridge, gone=gone)

    def broken(self) -> Positions:
        """Rows without which the covariance is singular."""
        return np.flatnonzero(self._downdated(self.scatter.rows).broken)

    def outputs(self, X: Any) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        distances = np.square(Z) @ (1.0 / self.values)
        return log_normal(distances, np.log(self.values).sum(), self.scatter.p)[:, None]

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        B = self._downdated(self.scatter.rows[deleted])
        distances = B.distances(Z, self.scatter.step, meeting)
        return log_normal(distances, B.log_det, self.scatter.p)[..., None]

    @property
    def replaced_block(self) -> int:
        return block_of(self.scatter.p**2)

    def replace(self, new: NewRows) -> Replaced | None:
        if ill(self.values):
            return None
        return ReplacedCovariance(self.scatter, self.of_covariance, new, float(self.n_train))


# -- how much is shrunk, by rows that go ----------------------------------------------------------


def fixed(s: float, u: Array | None) -> Any:
    """The same for all deletions."""
    return s if u is None else np.full(1, s)


def oracle(scatter: Scatter, u: Array | None) -> Any:
    """Oracle approximating shrinkage: a function of the traces of S and of its square."""
    return _oracle(scatter.n - (u is not None), scatter.p, *scatter.traces(u))


def _oracle(n, p, first, second):
    top = second + first**2
    bottom = (n + 1.0) * (second - first**2 / p)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bottom == 0.0, 1.0, np.minimum(top / bottom, 1.0))


def ledoit_wolf(scatter: Scatter, u: Array | None) -> Any:
    """Ledoit and Wolf's: the traces, and the sum of fourth powers of distances to the mean."""
    n = scatter.n - (u is not None)
    first, second = scatter.traces(u)
    return _ledoit_wolf(n, scatter.p, first, second, _fourth_powers(scatter, u))


def _ledoit_wolf(n, p, first, second, fourth):
    beta = (fourth / n - second) / (p * n)
    delta = (second - first**2 / p) / p
    beta = np.minimum(beta, delta)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(beta == 0.0, 0.0, beta / delta)


def _fourth_powers(scatter, u):
    """Sum of ``|x - mean|^4`` over the rows that are left.

    Around a mean that lost ``g u`` it is
    ``sum |x|^4 + 4 g t'u + 4 g^2 u'Wu + 2 g^2 |u|^2 tr W + n g^4 |u|^4`` with
    ``t = sum |x|^2 x`` and the scatter W, less the row's own ``(1 + g)^4 |u|^4``.
    """
    g, n, total = scatter.step, scatter.n, scatter.fourth
    if u is None:
        return total
    size, W = np.einsum("bp,bp->b", u, u), n * scatter.spectrum.values
    total = total + 4.0 * g * (u @ scatter.third) + 4.0 * g**2 * (u**2 @ W)
    return total + 2.0 * g**2 * size * W.sum() + (n * g**4 - (1.0 + g) ** 4) * size**2


# -- how much is shrunk, when rows become others --------------------------------------------------


def fixed_of(s: float, S: Array, u: Array, v: Array, mean: Array) -> Any:
    """The same for all."""
    return np.full(len(S), s)


def oracle_of(scatter: Scatter, S: Array, u: Array, v: Array, mean: Array) -> Any:
    """:func:`oracle` of covariances."""
    return _oracle(scatter.n, scatter.p, *_traces(S))


def ledoit_wolf_of(scatter: Scatter, S: Array, u: Array, v: Array, mean: Array) -> Any:
    """:func:`ledoit_wolf` of covariances.

    Around a mean d, ``sum |x - d|^4 = sum |x|^4 - 4 d't + 4 d'Qd + 2 |d|^2 tr Q - 4 |d|^2 d's +
    n |d|^4`` with ``t = sum |x|^2 x``, ``Q = sum xx'`` and ``s = sum x``, of all rows as they are
    now.
    """
    n = scatter.n
    size_u, size_v, size = (np.einsum("bp,bp->b", x, x) for x in (u, v, mean))
    fourth = scatter.fourth - size_u**2 + size_v**2
    third = scatter.third - size_u[:, None] * u + size_v[:, None] * v
    Q = n * S + n * mean[:, :, None] * mean[:, None, :]
    fourth = fourth - 4.0 * np.einsum("bp,bp->b", mean, third)
    fourth = fourth + 4.0 * np.einsum("bp,bpr,br->b", mean, Q, mean)
    # The sum of all rows is n times their mean.
    fourth = fourth + 2.0 * size * np.einsum("bpp->b", Q) - 3.0 * n * size**2
    first, second = _traces(S)
    return _ledoit_wolf(n, scatter.p, first, second, fourth)


def _traces(S):
    return np.einsum("bpp->b", S), np.einsum("bpr,brp->b", S, S)


# -- families -------------------------------------------------------------------------------------


class _CovarianceFamily(Family):
    """Their ``score`` is the mean of the log densities that are explained here."""

    estimators = (EmpiricalCovariance, ShrunkCovariance, OAS, LedoitWolf)
    supervised = False

    def head(self, estimator: Any) -> Head:
        return LogDensity()

    def outputs(self, estimator: Any, X: Any) -> Array:
        refuse_singular(type(estimator).__name__, estimator.covariance_)
        log_det = np.linalg.slogdet(estimator.covariance_)[1]
        return log_normal(estimator.mahalanobis(X), log_det, X.shape[1])[:, None]

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        scatter = Scatter(rows.X, centred=not estimator.assume_centered)
        closed = ShrunkDeletion(scatter, *_shrinkage(estimator, scatter))
        broken = closed.broken()
        return (
            Patched(closed, Refits(self, estimator, rows), broken, None) if len(broken) else closed
        )


def _shrinkage(estimator, scatter):
    """How much is shrunk when rows go, and when they become others."""
    if scatter.p > 1 and isinstance(estimator, LedoitWolf):
        return partial(ledoit_wolf, scatter), partial(ledoit_wolf_of, scatter)
    if scatter.p > 1 and isinstance(estimator, OAS):
        return partial(oracle, scatter), partial(oracle_of, scatter)
    s = estimator.shrinkage if isinstance(estimator, ShrunkCovariance) else 0.0
    return partial(fixed, s), partial(fixed_of, s)


register(_CovarianceFamily())

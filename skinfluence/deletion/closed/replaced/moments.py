"""Moments of classes of which a row becomes another one, and densities that follow from them.

Everything here holds for complex new rows as well, of which derivatives are read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.deletion.closed.replaced.base import NewRows, Replaced

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Condition number from which on a covariance counts as singular.
SINGULAR = 1e12
# The same, from which on inverses of moments have lost too many digits: there are refits then.
ILL = 1e8
# Numbers of a block of matrices, or of tables.
MATRICES = 2**21


def block_of(size: int) -> int:
    """How many new rows are handled together, whose models take `size` numbers each."""
    return int(np.clip(MATRICES // max(size, 1), 16, 2048))


def ill(values: Array) -> bool:
    """Whether eigenvalues of a covariance are too far apart for what is read off its moments."""
    return bool(values.min() * ILL < values.max())


class Exchange:
    """Weights, means and scatters of classes when rows leave theirs and new ones join another.

    Without row i of weight w, the weight N of its class is ``M = N - w``, the mean moves by
    ``-w / M u`` and the scatter loses ``w N / M uu'``, with u from the mean to the row. A new row
    that is v away from the mean of a class of weight M moves it by ``w / N v``, ``N = M + w``, and
    the scatter gains ``w M / N vv'``.

    Parameters
    ----------
    X : ndarray of shape (n_train, p)
    codes : ndarray of int of shape (n_train,)
    totals : ndarray of shape (n_classes,)
        Weights of the classes.
    means : ndarray of shape (n_classes, p)
    new : NewRows
    weights : ndarray of shape (n_train,) or None

    Attributes
    ----------
    old, now : ndarray of int of shape (b,)
        Class of the row that goes, and of the one that comes.
    u, v : ndarray of shape (b, p)
    lost, gained : ndarray of shape (b,)
        What the scatters lose and gain of uu' and vv'.
    totals : ndarray of shape (b, n_classes)
    means : ndarray of shape (b, n_classes, p)
    """

    def __init__(self, X, codes, totals, means, new: NewRows, weights: Array | None = None):
        each = np.arange(len(new))
        w = np.ones(len(new)) if weights is None else weights[new.rows]
        a, b = self.old, self.now = codes[new.rows], new.encoded
        self.u = X[new.rows] - means[a]
        left = _no_less_than_0(totals[a] - w, totals[a])
        share = _over(w, left)
        self.lost = share * totals[a]
        self.totals = np.tile(totals, (len(new), 1))
        self.totals[each, a] = left
        self.means = np.repeat(np.asarray(means, dtype=new.X.dtype)[None], len(new), axis=0)
        self.means[each, a] -= share[:, None] * self.u
        before = self.totals[each, b]
        self.v = new.X - self.means[each, b]
        share = _over(w, before + w)
        self.gained = share * before
        self.totals[each, b] += w
        self.means[each, b] += share[:, None] * self.v

    def scatters(self, scatter: Array, old: Any = 1.0, now: Any = 1.0) -> Array:
        """A scatter less the rows that go times `old`, and with the new ones times `now`.

        (b, p, p) from (p, p), or from (b, p, p).
        """
        lost, gained = old * self.lost, now * self.gained
        found = scatter - _outer(self.u, lost)
        return found + _outer(self.v, gained)


def _no_less_than_0(left, total):
    return np.where(left <= 1e-12 * total, 0.0, left)


def _over(a, b):
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), 0.0)


def _outer(u, scale):
    return (scale[:, None] * u)[:, :, None] * u[:, None, :]


class Inverted:
    """Inverses and determinants of some covariances, and which of them are singular.

    Parameters
    ----------
    matrices : ndarray of shape (b, p, p)
    """

    def __init__(self, matrices: Array):
        usable = np.asarray(np.isfinite(matrices).all(axis=(1, 2)))
        identity = np.eye(matrices.shape[1])
        matrices = np.where(usable[:, None, None], matrices, identity)
        values = np.linalg.eigvalsh(matrices.real)
        self.broken = np.asarray(~usable | ~(values[:, 0] * SINGULAR > values[:, -1]))
        matrices = np.where(self.broken[:, None, None], identity, matrices)
        self.inverse = np.linalg.inv(matrices)
        sign, log_det = np.linalg.slogdet(matrices)
        self.log_det = log_det + (np.log(sign) if np.iscomplexobj(sign) else 0.0)

    def distances(self, Z: Array, means: Array, at: Any = slice(None)) -> Array:
        """``(z - m)'C^-1 (z - m)``, (q, b), best around a point that is near the means.

        Parameters
        ----------
        Z : ndarray of shape (q, p)
        means : ndarray of shape (b, p)
        at : slice or ndarray of int, default=slice(None)
            Which of the matrices.
        """
        inverse = self.inverse[at]
        turned = np.einsum("bpr,br->bp", inverse, means)
        p = Z.shape[1]
        found = by_blocks(
            lambda part: _squares(Z[part]) @ inverse.reshape(-1, p * p).T,
            len(Z),
            MATRICES // p**2,
        )
        return found - 2.0 * Z @ turned.T + np.einsum("bp,bp->b", turned, means)


def _squares(Z):
    """Products of the columns of each row with each other, (q, p * p)."""
    return (Z[:, :, None] * Z[:, None, :]).reshape(len(Z), -1)


def by_blocks(function, n, size):
    """Results of a function of slices of n rows, one below the other."""
    return np.concatenate([function(part) for part in _loops.slices(n, size)])


def log_normal(distances: Array, log_det: Array, n_features: int) -> Array:
    """Log density of a normal distribution from squared distances."""
    return -0.5 * (distances + log_det + n_features * np.log(2.0 * np.pi))


class ReplacedCovariance(Replaced):
    """Normal densities whose covariance is that of all rows, shrunk or not, with each new row.

    Parameters
    ----------
    scatter : Scatter
        In whose basis everything is.
    shrinkage : callable
        ``shrinkage(S, u, v, mean)`` is the share of the identity, (b,).
    new : NewRows
    freedom : float
        By which the scatter is divided.
    """

    def __init__(self, scatter: Any, shrinkage: Any, new: NewRows, freedom: float):
        self.scatter = scatter
        n, p = scatter.n, scatter.p
        u, v = scatter.rows[new.rows], scatter.spectrum.coordinates(new.X)
        self.means = (v - u) / n if scatter.centred else 0.0 * v
        ones = np.ones(len(new))
        S = np.diag(scatter.spectrum.values) - _outer(u, ones / n) + _outer(v, ones / n)
        S = (S - _outer(self.means, ones)) * (n / freedom)
        s = shrinkage(S, u, v, self.means)
        trace = np.einsum("bpp->b", S) / p
        S = (1.0 - s)[:, None, None] * S + (s * trace)[:, None, None] * np.eye(p)
        self.inverted = Inverted(S)
        self.broken = self.inverted.broken

    def outputs(self, X: Any) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        distances = self.inverted.distances(Z, self.means)
        return log_normal(distances, self.inverted.log_det, self.scatter.p)[..., None]


class ReplacedComponents(Replaced):
    """Probabilistic principal components with each new row.

    Parameters
    ----------
    model : ComponentsDeletion
    new : NewRows
    """

    def __init__(self, model: Any, new: NewRows):
        self.scatter = scatter = model.scatter
        n, p, K = scatter.n, scatter.p, model.n_components
        u, v = scatter.rows[new.rows], scatter.spectrum.coordinates(new.X)
        self.means = (v - u) / n
        ones = np.ones(len(new))
        S = n * np.diag(scatter.spectrum.values) - _outer(u, ones) + _outer(v, ones)
        S = (S - _outer(self.means, n * ones)) / (n - 1.0)
        values, vectors = np.linalg.eigh(S)
        self.kept, self.axes = values[:, p - K :], vectors[:, :, p - K :]
        self.noise = np.maximum(values[:, : p - K], 0.0).sum(axis=1) / (min(p, n) - K)
        self.broken = ~(self.noise * SINGULAR > values[:, -1])
        self.log_det = np.log(self.kept).sum(axis=1) + (p - K) * np.log(self.noise)

    def outputs(self, X: Any) -> Array:
        Z, p = self.scatter.spectrum.coordinates(X), self.scatter.p
        squares = np.einsum("qp,qp->q", Z, Z)[:, None] - 2.0 * Z @ self.means.T
        squares = (squares + np.einsum("bp,bp->b", self.means, self.means)) / self.noise
        for k in range(self.axes.shape[2]):
            axis = self.axes[:, :, k]
            along = Z @ axis.T - np.einsum("bp,bp->b", axis, self.means)
            squares += (1.0 / self.kept[:, k] - 1.0 / self.noise) * along**2
        return log_normal(squares, self.log_det, p)[..., None]


class ReplacedLinear(Replaced):
    """Linear discriminants with each new row."""

    def __init__(self, model: Any, new: NewRows):
        self.model = model
        moved = Exchange(model.X, model.codes, model.counts, model.means, new)
        self.broken = (moved.totals == 0).any(axis=1)
        covariances = self._covariances(moved, len(new))
        self.inverted = Inverted(covariances)
        if not model.shrinkage:
            self.broken |= self.inverted.broken
        priors = moved.totals / model.n_train if model.priors is None else model.priors
        priors = np.broadcast_to(priors, moved.totals.shape)
        # Around the mean of all rows, so that nothing cancels.
        means = moved.means - model.origin
        centre = 0.0 * means[:, 0]
        if model.centred:
            centre = np.einsum("bk,bkp->bp", priors, means)
        means = means - centre[:, None]
        self.slopes = np.einsum("bpr,bkr->bkp", self.inverted.inverse, means)
        self.constants = -0.5 * np.einsum("bkp,bkp->bk", self.slopes, means)
        self.constants = self.constants - np.einsum("bkp,bp->bk", self.slopes, centre)
        with np.errstate(divide="ignore"):
            self.constants = self.constants + np.log(priors)

    def _covariances(self, moved, b):
        model, each = self.model, np.arange(b)
        if model.pooled:
            pooled = np.sum(model.scatters, axis=0)
            found = moved.scatters(pooled) / (model.n_train - model.lost)
        else:
            shares = np.asarray(model.priors) / np.maximum(moved.totals, 1.0)
            within = np.einsum("bk,kpr->bpr", shares, np.stack(model.scatters))
            found = moved.scatters(within, shares[each, moved.old], shares[each, moved.now])
        s, p = model.shrinkage, model.X.shape[1]
        trace = np.einsum("bpp->b", found) / p
        return (1.0 - s) * found + (s * trace)[:, None, None] * np.eye(p)

    def outputs(self, X: Any) -> Array:
        b, K, p = self.slopes.shape
        found = (X - self.model.origin) @ self.slopes.reshape(b * K, p).T
        return found.reshape(len(X), b, K) + self.constants


class ReplacedQuadratic(Replaced):
    """Quadratic discriminants with each new row, of which only two classes see anything."""

    def __init__(self, model: Any, new: NewRows):
        self.model = model
        self.moved = moved = Exchange(model.X, model.codes, model.counts, model.means, new)
        self.each = each = np.arange(len(new))
        self.broken = np.zeros(len(new), dtype=bool)
        same = moved.old == moved.now
        self.changed = []
        for codes, old, now in ((moved.old, 1.0, 1.0 * same), (moved.now, 1.0 * same, 1.0)):
            inverted = Inverted(self._covariances(codes, old, now))
            self.broken |= inverted.broken | (moved.totals[each, codes] < model.least)
            self.changed.append((codes, inverted))
        priors = moved.totals / model.n_train if model.priors is None else model.priors
        with np.errstate(divide="ignore"):
            self.log_priors = np.log(np.broadcast_to(priors, moved.totals.shape))

    def _covariances(self, codes, old, now):
        """Covariances of a class of each model, by how much of the two rows it sees."""
        model, p = self.model, self.model.X.shape[1]
        size = self.moved.totals[self.each, codes] - model.lost
        found = self.moved.scatters(np.stack(model.scatters)[codes], old, now)
        found = found / np.maximum(size, 1.0)[:, None, None]
        if model.shrinkage:
            s, ridge = model.shrinkage, np.einsum("bpp->b", found) / p
        else:
            s, ridge = model.reg_param, np.ones(len(codes))
        return (1.0 - s) * found + (s * ridge)[:, None, None] * np.eye(p)

    def outputs(self, X: Any) -> Array:
        model, moved = self.model, self.moved
        kept = model.outputs(X) - model.log_priors
        found = np.repeat(kept[:, None], len(self.each), axis=1).astype(moved.means.dtype)
        for codes, inverted in self.changed:
            for k in np.unique(codes):
                at = np.flatnonzero(codes == k)
                means = moved.means[at, k] - model.means[k]
                distances = inverted.distances(X - model.means[k], means, at)
                found[:, at, k] = -0.5 * (distances + inverted.log_det[at])
        return found + self.log_priors

"""Sufficient statistics of a Gaussian mixture, in coordinates where every component is N(0, I).

Component ``k`` sees a row as ``u = L_k^-1 (x - mu_k)``, ``Sigma_k = L_k L_k'``. There the fitted
component has mean 0 and covariance I, the regularisation ``reg_covar I`` becomes
``Lambda_k = reg_covar L_k^-1 L_k^-T``, and the statistics of the M step,

    T_k = sum_i r_ik t(u_ik),    t(u) = (1, u, second moments of u),

are centred and of the size of the component's row count, so that nothing cancels. Deleted models
are described by the *change* ``dT`` of these statistics, and evaluated through the change of the
natural parameters, ``log joint'_k(x) - log joint_k(x) = f(u) . eta_k``.

Conventions: K components, d features, B models or rows, always the last axis. ``dT`` is
(K, q, B), ``eta`` and the features ``f`` are (K, qf, B). ``t`` is the head ``f[:, :q]``; q = qf
but for tied covariances, whose second moment needs no responsibilities and is therefore known.
"""

from __future__ import annotations

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Index = NDArray[np.intp]

_SQRT2 = np.sqrt(2.0)
DEAD = 1e-9  # rows: a component with less weight than this has died
_NOWHERE = -1e30  # log weight of a dead component: exp gives 0, and inf - inf cannot happen
_THIN = 1e-3  # a scatter below this share of the covariance is regularisation only
FLOOR = 1e-13  # a smaller pivot of a covariance is rounding
_LAPACK = 30  # features from which LAPACK inverts faster than sweeps over all matrices


def spd_inverse(S: Array) -> tuple[Array, Array]:
    """Invert symmetric matrices (d, d, B), in place, by Gauss-Jordan sweeps over all B at once.

    Returns the inverses and the pivots (d, B), which are all positive if and only if the matrix
    is positive definite, and whose product is its determinant. Pivots below 1e-13 are replaced by
    it, so that the result is always finite. For small d this is several times faster than one
    LAPACK call a matrix, and whitened matrices near I need no pivoting. For larger d LAPACK
    inverts those that are positive definite.
    """
    if S.shape[0] < _LAPACK:
        return _sweep_inverse(S)
    pivots = np.empty(S.shape[1:])
    failed = []
    for b, matrix in enumerate(np.ascontiguousarray(np.moveaxis(S, -1, 0))):
        factor, info = scipy.linalg.lapack.dpotrf(matrix, lower=0, clean=0)
        pivots[:, b] = np.diagonal(factor) ** 2
        if info or pivots[:, b].min() < FLOOR:
            failed.append(b)
            continue
        upper = np.triu(scipy.linalg.lapack.dpotri(factor, lower=0, overwrite_c=1)[0])
        S[:, :, b] = upper + np.triu(upper, 1).T
    if failed:
        S[:, :, failed], pivots[:, failed] = _sweep_inverse(S[:, :, failed])
    return S, pivots


def _sweep_inverse(S: Array) -> tuple[Array, Array]:
    d = S.shape[0]
    pivots = np.empty((d, S.shape[2]))
    for j in range(d):
        pivots[j] = S[j, j]
        inverse = 1.0 / np.maximum(pivots[j], FLOOR)
        column = S[:, j].copy()
        row = column * inverse
        S -= column[:, None] * row[None]
        S[j] = row
        S[:, j] = row
        S[j, j] = -inverse
    return np.negative(S, out=S), pivots


class Frame:
    """Parameters of a mixture and the coordinates they define. One subclass a covariance type.

    Parameters
    ----------
    weights : (K,)
    means : (K, d)
    scale : (K, d, d) or (K, d)
        Whitening: ``u = (x - mu_k) @ scale[k]``, or ``* scale[k]`` (scikit-learn's
        `precisions_cholesky_`).
    reg : float
        `reg_covar`.
    n : int
        Number of rows the statistics are sums over.
    """

    covariance_type = "full"
    tied = False  # whether a component's covariance depends on the others' statistics

    def __init__(self, weights: Array, means: Array, scale: Array, reg: float, n: float) -> None:
        self.weights, self.means, self.scale, self.reg, self.n = weights, means, scale, reg, n
        self.n_components, self.n_features = means.shape
        self.counts = n * weights
        self._prepare()

    def _prepare(self) -> None:
        d = self.n_features
        self.upper = np.triu_indices(d)
        self.stretch = np.where(self.upper[0] == self.upper[1], 1.0, _SQRT2)
        self.identity = self.pack(np.eye(d)[:, :, None])[:, 0]
        self.ridge = np.stack([self.reg * s.T @ s for s in self.scale])
        self.spread = self.identity - self.pack(np.moveaxis(self.ridge, 0, -1)).T  # S = I - Lambda
        self.ridge_pivots = _pivots(self.ridge)

    # sizes ---------------------------------------------------------------------------------
    @property
    def n_second(self) -> int:
        """Number of second moments of one component."""
        return len(self.identity)

    @property
    def n_features_out(self) -> int:
        """Length qf of the feature vector in which log densities are linear."""
        return 1 + self.n_features + self.n_second

    @property
    def n_stats(self) -> int:
        """Length q of the statistics of one component."""
        return self.n_features_out

    @property
    def typical_square(self) -> float:
        """Mean of |t(u)|^2 over the rows of a normal component: E|u|^4 = d^2 + 2 d."""
        d = self.n_features
        return 1.0 + d + d * (d + 2.0)

    # coordinates ---------------------------------------------------------------------------
    def whiten(self, X: Array) -> Array:
        """Rows (m, d) in the coordinates of each component, (K, d, m)."""
        return np.matmul(
            self.scale.transpose(0, 2, 1), (X[None] - self.means[:, None]).swapaxes(1, 2)
        )

    def pack(self, S: Array) -> Array:
        """Symmetric matrices (d, d, B) as vectors whose inner product is the trace product."""
        return S[self.upper] * self.stretch[:, None]

    def second(self, U: Array) -> Array:
        """Second moments of u, (..., d, B) -> (..., n_second, B)."""
        d = self.n_features
        out = np.empty((*U.shape[:-2], self.n_second, U.shape[-1]))
        start = 0
        for a in range(d):  # row by row of the triangle: gathering pairs costs twice the time
            here = out[..., start : start + d - a, :]
            np.multiply(U[..., a, None, :], U[..., a:, :], out=here)
            here[..., 1:, :] *= _SQRT2
            start += d - a
        return out

    def features(self, X: Array) -> Array:
        """f(u) = (1, u, second moments), (K, qf, m)."""
        U = self.whiten(X)
        K, d, m = U.shape
        f = np.empty((K, self.n_features_out, m))
        f[:, 0] = 1.0
        f[:, 1 : 1 + d] = U
        for k in range(K):
            f[k, 1 + d :] = self.second(U[k])
        return f

    def log_scale(self) -> Array:
        """Log determinant of the whitening of each component, (K,)."""
        return np.log(np.diagonal(self.scale, axis1=1, axis2=2)).sum(1)

    def log_joint(self, X: Array) -> Array:
        """Log of weight times density, (K, m)."""
        U = self.whiten(X)
        with np.errstate(divide="ignore"):
            constant = np.log(self.weights) + self.log_scale()
        constant = constant - 0.5 * self.n_features * np.log(2 * np.pi)
        return constant[:, None] - 0.5 * np.einsum("kdm,kdm->km", U, U)

    # the M step ----------------------------------------------------------------------------
    def statistics(self, X: Array, r: Array) -> Array:
        """Change dT = sum_i r_ik t(u_ik) - T_k of the statistics, (K, q, 1)."""
        dT = np.empty((self.n_components, self.n_stats, 1))
        U = self.whiten(X)
        dT[:, 0, 0] = r.sum(1) - self.counts
        dT[:, 1 : 1 + self.n_features, 0] = np.einsum("kdm,km->kd", U, r)
        if self.n_stats == self.n_features_out:
            for k in range(self.n_components):
                moments = self._weighted_second(U[k], r[k])
                dT[k, 1 + self.n_features :, 0] = moments - self.counts[k] * self.spread[k]
        return dT

    def _weighted_second(self, U: Array, r: Array) -> Array:
        return self.pack(((U * r) @ U.T)[:, :, None])[:, 0]

    def known(self, X: Array, sign: float) -> Array | None:
        """Change of the known second moment when rows X go (-1) or come (+1): tied only."""
        return None

    def known_gap(self, X: Array) -> Array | None:
        """Known second moment of rows X minus what the parameters imply, (n_second, 1): tied."""
        return None

    def _moments(self, dT: Array, known: Array | None) -> tuple[Array, Array, Array]:
        """Counts (K, B), means (K, d, B) and covariance - I, packed (K, n_second, B)."""
        d = self.n_features
        N = self.counts[:, None] + dT[:, 0]
        safe = np.where(N > DEAD, N, 1.0)
        mean = dT[:, 1 : 1 + d] / safe[:, None]
        excess = dT[:, 1 + d :] - dT[:, :1] * self.spread[:, :, None]
        excess = excess / safe[:, None] - self.second(mean)
        return N, mean, excess

    def natural(self, dT: Array, known: Array | None = None) -> tuple[Array, Mask, Mask]:
        """Change of the natural parameters of the models with statistics T + dT.

        Returns
        -------
        eta : (K, qf, B)
        valid : (B,) bool
            No negative weight, every covariance at least the regularisation.
        frail : (B,) bool
            A component died, or lost a dimension of its scatter that the fit has.
        """
        # A step too far has no model; it may overflow on the way, and `valid` then says so (every
        # comparison with NaN is false).
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            return self._natural(dT, known)

    def _natural(self, dT: Array, known: Array | None) -> tuple[Array, Mask, Mask]:
        K, B = self.n_components, dT.shape[-1]
        N, mean, excess = self._moments(dT, known)
        dead = N <= DEAD
        excess[np.broadcast_to(dead[:, None], excess.shape)] = 0.0
        eta = np.empty((K, self.n_features_out, B))
        valid: Mask = np.all(N > -DEAD, axis=0)
        frail: Mask = np.any(dead, axis=0)
        for k in range(K):
            log_det, low = self._precision(k, mean[k], excess[k], eta[k])
            eta[k, 0] -= 0.5 * log_det
            valid &= dead[k] | (low >= -1e-6)
            if np.min(1.0 - self.ridge_pivots[k]) > _THIN:
                frail |= ~dead[k] & (low < _THIN)
        total = self.n + dT[:, 0].sum(0)
        eta[:, 0] += np.log(np.where(dead, 1.0, N) / self.counts[:, None]) - np.log(total / self.n)
        np.copyto(eta, 0.0, where=dead[:, None])
        np.copyto(eta[:, 0], _NOWHERE, where=dead)
        return eta, valid, frail

    def _precision(self, k: int, mean: Array, excess: Array, eta: Array) -> tuple[Array, Array]:
        """Fill eta of component k; return log det and the smallest pivot margin, (B,) each."""
        d, B = mean.shape
        a, b = self.upper
        log_det, low = np.empty(B), np.empty(B)
        size = max(64, 2**17 // d**2)
        for start in range(0, B, size):
            part = slice(start, start + size)
            S = np.empty((d, d, mean[:, part].shape[1]))
            S[a, b] = (excess[:, part] + self.identity[:, None]) / self.stretch[:, None]
            S[b, a] = S[a, b]
            P, pivots = spd_inverse(S)
            shift = np.einsum("abB,bB->aB", P, mean[:, part])
            eta[0, part] = -0.5 * np.einsum("aB,aB->B", mean[:, part], shift)
            eta[1 : 1 + d, part] = shift
            eta[1 + d :, part] = -0.5 * (self.pack(P) - self.identity[:, None])
            log_det[part] = np.log(np.maximum(pivots, FLOOR)).sum(0)
            low[part] = margin(pivots, self.ridge_pivots[k][:, None])
        return log_det, low

    def slope(self) -> Array:
        """d eta / d T at the fitted statistics, (K, qf, K, q)."""
        K, d, qf = self.n_components, self.n_features, self.n_features_out
        B = np.zeros((K, qf, K, self.n_stats))
        for k in range(K):
            S, N = self.spread[k], self.counts[k]
            B[k, 0, k, 0] = (1.0 + 0.5 * self.identity @ S) / N
            B[k, 0, k, 1 + d :] = -0.5 * self.identity / N
            B[k, 1 : 1 + d, k, 1 : 1 + d] = np.eye(d) / N
            B[k, 1 + d :, k, 0] = -0.5 * S / N
            B[k, 1 + d :, k, 1 + d :] = 0.5 * np.eye(self.n_second) / N
        return B

    def drive(self, moments: Array) -> Array | None:
        """moments (K q, K qf) times d eta / d (known second moment), (K q, n_second): tied."""
        return None

    def eta_known(self, known: Array) -> Array | float:
        """First-order eta of changes of the known second moment, (qf, B), for every k: tied."""
        return 0.0

    def moved(self, dT: Array, known: Array | None = None) -> Frame:
        """The frame of the one model with statistics T + dT, (K, q, 1)."""
        N, mean, excess = self._moments(dT, known)
        N = np.maximum(N[:, 0], 0.0)
        weights = N / N.sum()
        shift, scale = np.empty_like(self.means), np.empty_like(self.scale)
        for k in range(self.n_components):
            shift[k], scale[k] = self._rescale(k, mean[k, :, 0], excess[k, :, 0])
        return type(self)(weights, self.means + shift, scale, self.reg, self.n + dT[:, 0].sum())

    def _rescale(self, k: int, mean: Array, excess: Array) -> tuple[Array, Array]:
        d = self.n_features
        S = np.empty((d, d))
        S[self.upper] = (excess + self.identity) / self.stretch
        S.T[self.upper] = S[self.upper]
        # Sigma'^-1 = scale S^-1 scale', and scale @ inv(chol(S))' keeps the upper triangle.
        factor = np.linalg.inv(np.linalg.cholesky(S)).T
        return np.linalg.solve(self.scale[k].T, mean), self.scale[k] @ factor


def _pivots(S: Array) -> Array:
    """Pivots of (K, d, d) positive semi-definite matrices, (K, d)."""
    return spd_inverse(np.moveaxis(S, 0, -1).copy())[1].T


def margin(pivots: Array, ridge: Array) -> Array:
    """How far the pivots of S' + Lambda lie above those of Lambda, relative to the former, (B,).

    Pivots are Schur complements, hence monotone: S' is positive semi-definite only if no margin
    is negative; a margin near 0 is a scatter without a dimension.
    """
    return np.min((pivots - np.maximum(ridge, 0.0)) / np.maximum(np.abs(pivots), FLOOR), axis=0)

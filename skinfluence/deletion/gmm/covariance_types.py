"""What covariance types other than "full" do differently, and the frame of a fitted mixture."""

from __future__ import annotations

from typing import Any

import numpy as np

from .statistics import DEAD, FLOOR, Array, Frame, margin


class Diagonal(Frame):
    """Covariance type "diag": second moments are the squares, everything is per coordinate."""

    covariance_type = "diag"

    def _prepare(self) -> None:
        self.identity = np.ones(self.n_features)
        self.ridge_pivots = self.reg * self.scale**2
        self.spread = 1.0 - self.ridge_pivots

    @property
    def typical_square(self) -> float:
        return 1.0 + self.n_features + 3.0 * self.n_features

    def whiten(self, X: Array) -> Array:
        U = (X[None] - self.means[:, None]) * self.scale[:, None]
        return np.ascontiguousarray(U.swapaxes(1, 2))

    def second(self, U: Array) -> Array:
        return U * U

    def log_scale(self) -> Array:
        return np.log(self.scale).sum(1)

    def _weighted_second(self, U: Array, r: Array) -> Array:
        return (U * U) @ r

    def _precision(self, k: int, mean: Array, excess: Array, eta: Array) -> tuple[Array, Array]:
        d = len(mean)
        pivots = 1.0 + excess
        variance = np.maximum(pivots, FLOOR)
        eta[1 : 1 + d] = mean / variance
        eta[0] = -0.5 * np.sum(mean * eta[1 : 1 + d], axis=0)
        eta[1 + d :] = 0.5 * (variance - 1.0) / variance
        return np.log(variance).sum(0), margin(pivots, self.ridge_pivots[k][:, None])

    def _rescale(self, k: int, mean: Array, excess: Array) -> tuple[Array, Array]:
        return mean / self.scale[k], self.scale[k] / np.sqrt(1.0 + excess)


class Spherical(Diagonal):
    """Covariance type "spherical": one second moment, |u|^2, of a component."""

    covariance_type = "spherical"

    def _prepare(self) -> None:
        d = self.n_features
        self.identity = np.array([float(d)])
        self.ridge_pivots = self.reg * self.scale[:, :1] ** 2
        self.spread = d * (1.0 - self.ridge_pivots)

    @property
    def typical_square(self) -> float:
        d = self.n_features
        return 1.0 + d + d * (d + 2.0)

    def second(self, U: Array) -> Array:
        return np.sum(U * U, axis=-2, keepdims=True)

    def _weighted_second(self, U: Array, r: Array) -> Array:
        return np.array([np.sum(U * U, axis=0) @ r])

    def _precision(self, k: int, mean: Array, excess: Array, eta: Array) -> tuple[Array, Array]:
        d = len(mean)
        pivot = 1.0 + excess[0] / d
        variance = np.maximum(pivot, FLOOR)
        eta[1 : 1 + d] = mean / variance
        eta[0] = -0.5 * np.sum(mean * eta[1 : 1 + d], axis=0)
        eta[1 + d] = 0.5 * (variance - 1.0) / variance
        return d * np.log(variance), margin(pivot[None], self.ridge_pivots[k][:, None])

    def slope(self) -> Array:
        # The variance is the second moment divided by d; trace S = d s is already in `spread`.
        d = self.n_features
        B = super().slope()
        for k in range(self.n_components):
            N, s = self.counts[k], self.spread[k, 0] / d
            B[k, 0, k, 0] = (1.0 + 0.5 * d * s) / N
            B[k, 0, k, 1 + d] = -0.5 / N
            B[k, 1 + d, k, 0] = -0.5 * s / N
            B[k, 1 + d, k, 1 + d] = 0.5 / (N * d)
        return B

    def _rescale(self, k: int, mean: Array, excess: Array) -> tuple[Array, Array]:
        return super()._rescale(k, mean, np.repeat(excess / self.n_features, self.n_features))


class Tied(Frame):
    """Covariance type "tied": one covariance, whose second moment sum x x' is known.

    Only ``T_k = (N_k, s_k)`` is unknown. With ``m_k`` the fitted mean of component k in the common
    whitened coordinates and ``s_k`` centred at it,

        n' S' = n S + dQ - sum_k (dN_k m_k m_k' + s_k m_k' + m_k s_k' + s_k s_k'/N'_k).
    """

    covariance_type = "tied"
    tied = True

    def _prepare(self) -> None:
        super()._prepare()
        self.centres = self.means @ self.scale[0]

    @property
    def n_stats(self) -> int:
        return 1 + self.n_features

    def known(self, X: Array, sign: float) -> Array | None:
        return sign * self.second((X @ self.scale[0]).T)

    def known_gap(self, X: Array) -> Array | None:
        implied = self.n * self.spread[0] + self.second(self.centres.T) @ self.counts
        Y = (X @ self.scale[0]).T
        return (self._weighted_second(Y, np.ones(len(X))) - implied)[:, None]

    def _cross(self, k: int, s: Array) -> Array:
        """Packed s m_k' + m_k s', (n_second, B)."""
        a, b = self.upper
        m = self.centres[k]
        return (s[a] * m[b][:, None] + m[a][:, None] * s[b]) * self.stretch[:, None]

    def _moments(self, dT: Array, known: Array | None) -> tuple[Array, Array, Array]:
        N = self.counts[:, None] + dT[:, 0]
        safe = np.where(N > DEAD, N, 1.0)
        mean = dT[:, 1:] / safe[:, None]
        gone = dT[:, 0].sum(0)
        excess = -gone * self.spread[0][:, None]
        if known is not None:
            excess = excess + known
        outer = self.second(self.centres.T)  # (n_second, K)
        for k in range(self.n_components):
            excess -= dT[k, 0] * outer[:, k, None] + self._cross(k, dT[k, 1:])
            excess -= self.second(dT[k, 1:]) / safe[k]
        excess /= self.n + gone
        return N, mean, np.repeat(excess[None], self.n_components, axis=0)

    def slope(self) -> Array:
        K, d, q = self.n_components, self.n_features, self.n_stats
        B = np.zeros((K, self.n_features_out, K, q))
        dS = np.zeros((self.n_second, K, q))
        for k in range(K):
            dS[:, k, 0] = -(self.second(self.centres[k][:, None])[:, 0] + self.spread[0])
            dS[:, k, 1:] = -self._cross(k, np.eye(d))
            B[k, 0, k, 0] = 1.0 / self.counts[k]
            B[k, 1 : 1 + d, k, 1:] = np.eye(d) / self.counts[k]
        B[:, 0] -= 0.5 * np.tensordot(self.identity, dS, axes=1) / self.n
        B[:, 1 + d :] += 0.5 * dS / self.n
        return B

    def drive(self, moments: Array) -> Array | None:
        by_feature = moments.reshape(len(moments), self.n_components, -1).sum(1)
        head, second = by_feature[:, :1], by_feature[:, 1 + self.n_features :]
        return (second - head * self.identity) * (0.5 / self.n)

    def eta_known(self, known: Array) -> Array | float:
        head = np.zeros((self.n_features, known.shape[1]))
        return np.vstack([-self.identity @ known, head, known]) * (0.5 / self.n)


FRAMES: dict[str, type[Frame]] = {
    frame.covariance_type: frame for frame in (Frame, Diagonal, Spherical, Tied)
}


def frame_of(model: Any, centre: Array, n: int) -> Frame:
    """The frame of a fitted GaussianMixture, its means moved by -centre."""
    means = np.asarray(model.means_, dtype=float) - centre
    scale = np.asarray(model.precisions_cholesky_, dtype=float)
    K, d = means.shape
    if model.covariance_type == "tied":
        scale = np.repeat(scale[None], K, axis=0)
    elif model.covariance_type == "spherical":
        scale = np.repeat(scale[:, None], d, axis=1)
    weights = np.asarray(model.weights_, dtype=float)
    alive = n * weights > DEAD  # a component that died in the fit has no statistics to change
    weights = weights[alive] / weights[alive].sum()
    make = FRAMES[model.covariance_type]
    return make(weights, means[alive], scale[alive], float(model.reg_covar), n)

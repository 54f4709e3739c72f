"""One step of the deletion equation: how all responsibilities answer when a row goes."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from sklearn import get_config

from .sample import Rows, Sample
from .statistics import Array, Frame, Index

_NEGLIGIBLE = 1e-13  # responsibility that cannot be seen in a score
SINGULAR = 1e-14  # reciprocal condition of A below which EM has no isolated limit


def memory(frame: Frame) -> int:
    """Bytes that a `Propagation` of this frame needs at its peak."""
    P = frame.n_components * frame.n_stats
    return 16 * P * (P + frame.n_components * frame.n_features_out)


def affordable() -> int:
    """Bytes that a `Propagation` may need: 2 GiB, or scikit-learn's working memory if larger."""
    return int(max(get_config()["working_memory"] * 2**20, 2**31))


class Propagation:
    """The linear answer of EM to a change of one row, at a fixed point of EM.

    With the statistics T, the M step m and EM written as ``T -> Phi(T) = sum_j r_j(m(T)) t_j``,
    deleting row i is *exactly* ``T' = Phi(T') - r_i(m(T')) t_i``. Its linearisation is

        (A + t_i V_i c_i') dT = -r_i t_i,     A = I - Phi' = I - sum_j t_j V_j c_j',

    ``V_j = diag(r_j) - r_j r_j'``, ``c_jk = d log joint_jk / dT = B_k' f_jk``. A is factorised
    once; row i's own term, of rank K, is a K x K system a row. Adding a row: ``A dT = r_i t_i``.
    This is the implicit function theorem for EM's fixed point; Phi' is the rate matrix of
    Dempster, Laird and Rubin (1977, section 3.3).
    """

    def __init__(self, sample: Sample) -> None:
        frame = sample.frame
        self.frame = frame
        self.K, self.q, self.qf = frame.n_components, frame.n_stats, frame.n_features_out
        self.P = self.K * self.q
        moments = _moments(sample, frame)
        slope = frame.slope()
        self.A = np.eye(self.P) - _times_slope(moments, slope, frame.tied)
        self._drive = frame.drive(moments)
        del moments  # as large as slope and _slope_inverse, and no more needed
        self.inverse, self.condition = _inverse(self.A)
        self._slope_inverse = _slope_times(slope, self.inverse, frame.tied)  # (K qf, P)

    def step(self, rows: Rows) -> Array:
        """First step dT from the fitted statistics for each of `rows`, (K, q, B)."""
        g = rows.r
        start: Array | float = 0.0
        known = rows.known
        if self._drive is not None and known is not None:
            driven = self._drive @ known
            start = self._propagate(driven.reshape(self.K, self.q, -1))
            if rows.sign < 0:
                eta = (self._slope_inverse @ driven).reshape(rows.f.shape)
                seen = self._observe(rows, eta + self.frame.eta_known(known))
                g = g + _apply_v(rows.r, seen)
        if rows.sign < 0:
            g = _solve(self._coupling(rows), g)
        return start + rows.sign * self._propagate_own(rows, g)

    def solve(self, rows: Rows, R: Array) -> Array:
        """(A + t_i V_i c_i')^-1 R_i for each of `rows`; R is (K, q, B).

        For rows that are added A^-1 R: their own term makes A smaller, which can leave it
        indefinite for an outlier, and steps with it were measured to be the worse ones.
        """
        if rows.sign > 0:
            return self._propagate(R)
        flat = R.reshape(self.P, -1)
        rhs = _apply_v(rows.r, self._observe(rows, self._slope_inverse @ flat))
        g = _solve(self._coupling(rows), rhs)
        return self._propagate(R - rows.f[:, : self.q] * g[:, None])

    def _propagate(self, S: Array) -> Array:
        return (self.inverse @ S.reshape(self.P, -1)).reshape(S.shape)

    def _propagate_own(self, rows: Rows, g: Array) -> Array:
        """A^-1 t_i g_i for each of `rows`, by the components that see the row."""
        out = np.zeros((self.P, rows.size))
        blocks = self.inverse.reshape(self.P, self.K, self.q)
        for j in range(self.K):
            seen = _seen(rows.r[j])
            out[:, seen] += blocks[:, j] @ (rows.f[j, : self.q][:, seen] * g[j, seen])
        return out.reshape(self.K, self.q, -1)

    def _observe(self, rows: Rows, eta: Array) -> Array:
        """f_i . eta_i, (K, B)."""
        return np.einsum("kqB,kqB->kB", rows.f, eta.reshape(rows.f.shape))

    def _coupling(self, rows: Rows) -> Array:
        """I + V_i c_i' A^-1 t_i, (B, K, K)."""
        W = self._slope_inverse.reshape(self.K * self.qf, self.K, self.q)
        G = np.zeros((self.K, self.K, rows.size))
        for j in range(self.K):
            seen = _seen(rows.r[j])
            eta = (W[:, j] @ rows.f[j, : self.q][:, seen]).reshape(self.K, self.qf, -1)
            G[:, j, seen] = np.einsum("kqB,kqB->kB", rows.f[:, :, seen], eta)
        VG = rows.r[:, None] * (G - np.einsum("kB,kjB->jB", rows.r, G)[None])
        return np.eye(self.K) + np.moveaxis(VG, -1, 0)


def _moments(sample: Sample, frame: Frame) -> Array:
    """sum_j t_jk V_jkl f_jl', (K q, K qf): every pair of components in one product a block."""
    K, q, qf = frame.n_components, frame.n_stats, frame.n_features_out
    M = np.zeros((K * q, K * qf))
    by_component = M.reshape(K, q, K, qf)
    for block in sample.blocks():
        f = sample.features(block)
        g = f * sample.r[:, None, block]
        t = g[:, :q]
        M -= t.reshape(K * q, -1) @ g.reshape(K * qf, -1).T
        for k in range(K):
            by_component[k, :, k] += t[k] @ f[k].T
    return M


def _times_slope(M: Array, slope: Array, tied: bool) -> Array:
    """M (P, K qf) @ slope, (P, K q); only tied components see each other's statistics."""
    K, qf, _, q = slope.shape
    if tied:
        return np.asarray(M @ slope.reshape(K * qf, K * q))
    return np.hstack([M[:, k * qf : (k + 1) * qf] @ slope[k, :, k] for k in range(K)])


def _slope_times(slope: Array, M: Array, tied: bool) -> Array:
    """slope @ M (K q, P), (K qf, P)."""
    K, qf, _, q = slope.shape
    if tied:
        return np.asarray(slope.reshape(K * qf, K * q) @ M)
    return np.vstack([slope[k, :, k] @ M[k * q : (k + 1) * q] for k in range(K)])


def _seen(r: Array) -> slice | Index:
    """Rows that a component sees; all of them where gathering the few others gains nothing."""
    seen = np.flatnonzero(r > _NEGLIGIBLE)
    return slice(None) if 2 * len(seen) > len(r) else seen


def _apply_v(r: Array, h: Array) -> Array:
    """(diag(r) - r r') h for each row; both (K, B)."""
    return r * (h - np.sum(r * h, axis=0))


def _solve(M: Array, b: Array) -> Array:
    """Solve (B, K, K) systems for right-hand sides (K, B)."""
    rhs = b.T[:, :, None]
    try:
        x = np.linalg.solve(M, rhs)
    except np.linalg.LinAlgError:
        x = np.linalg.pinv(M) @ rhs
    return np.ascontiguousarray(x[:, :, 0].T)


def _inverse(A: Array) -> tuple[Array, float]:
    """Inverse of A and its reciprocal condition; the pseudo-inverse where A is singular.

    Then EM's fixed points form a valley, as when two components coincide, and the pseudo-inverse
    leaves directions that the data do not fix where they are.
    """
    if not np.isfinite(A).all():
        raise np.linalg.LinAlgError("The rate of EM overflows.")
    lu, pivots, _ = scipy.linalg.lapack.dgetrf(A)
    condition, _ = scipy.linalg.lapack.dgecon(lu, np.linalg.norm(A, 1))
    if condition > SINGULAR:
        lwork = int(scipy.linalg.lapack.dgetri_lwork(len(A))[0])  # the default is unblocked
        return np.asarray(scipy.linalg.lapack.dgetri(lu, pivots, lwork=lwork)[0]), condition
    return np.asarray(np.linalg.pinv(A, rcond=1e-10), dtype=np.float64), condition

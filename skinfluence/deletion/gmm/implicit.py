"""One step of the deletion equation: how all responsibilities answer when a row goes."""

from __future__ import annotations

import warnings

import numpy as np
import scipy.linalg

from .sample import Rows, Sample
from .statistics import Array, Frame

_SINGULAR = 1e-14


class Propagation:
    """The linear answer of EM to a change of one row, at a fixed point of EM.

    With the statistics T, the M step m and EM written as ``T -> Phi(T) = sum_j r_j(m(T)) t_j``,
    deleting row i is *exactly* ``T' = Phi(T') - r_i(m(T')) t_i``. Its linearisation is

        (A + t_i V_i c_i') dT = -r_i t_i,     A = I - Phi' = I - sum_j t_j V_j c_j',

    ``V_j = diag(r_j) - r_j r_j'``, ``c_jk = d log joint_jk / dT = B_k' f_jk``. A is factorised
    once; row i's own term, of rank K, is a K x K system a row. Adding a row turns the signs.
    This is the implicit function theorem for EM's fixed point; Phi' is the rate matrix of
    Dempster, Laird and Rubin (1977, section 3.3).
    """

    def __init__(self, sample: Sample) -> None:
        frame = sample.frame
        self.frame = frame
        self.K, self.q, self.qf = frame.n_components, frame.n_stats, frame.n_features_out
        self.P = self.K * self.q
        slope = frame.slope().reshape(self.K * self.qf, self.P)
        moments = _moments(sample, frame)
        self.A = np.eye(self.P) - moments @ slope
        self.inverse = _inverse(self.A)
        self._slope_inverse = slope @ self.inverse  # (K qf, P)
        known = frame.slope_known()
        self._known = None
        if known is not None:
            spread = np.tile(known, (self.K, 1))  # (K qf, n_second)
            drive = self.inverse @ (moments @ spread)
            self._known = drive, slope @ drive + spread

    def step(self, rows: Rows) -> Array:
        """First step dT from the fitted statistics for each of `rows`, (K, q, B)."""
        rhs = rows.r
        start: Array | float = 0.0
        if self._known is not None:
            drive, seen = self._known
            start = (drive @ rows.known).reshape(self.K, self.q, -1)
            rhs = rhs + _apply_v(rows.r, self._observe(rows, seen @ rows.known))
        g = _solve(self._coupling(rows), rhs)
        return start + rows.sign * self._propagate(rows.f[:, : self.q] * g[:, None])

    def solve(self, rows: Rows, R: Array) -> Array:
        """(A + t_i V_i c_i')^-1 R_i for each of `rows`; R is (K, q, B)."""
        flat = R.reshape(self.P, -1)
        rhs = _apply_v(rows.r, self._observe(rows, self._slope_inverse @ flat))
        g = _solve(self._coupling(rows), rhs)
        return self._propagate(R + rows.sign * rows.f[:, : self.q] * g[:, None])

    def _propagate(self, S: Array) -> Array:
        return (self.inverse @ S.reshape(self.P, -1)).reshape(S.shape)

    def _observe(self, rows: Rows, eta: Array) -> Array:
        """f_i . eta_i, (K, B)."""
        return np.einsum("kqB,kqB->kB", rows.f, eta.reshape(rows.f.shape))

    def _coupling(self, rows: Rows) -> Array:
        """I - sign V_i c_i' A^-1 t_i, (B, K, K)."""
        W = self._slope_inverse.reshape(self.K * self.qf, self.K, self.q)
        G = np.empty((self.K, self.K, rows.size))
        for j in range(self.K):
            G[:, j] = self._observe(rows, W[:, j] @ rows.f[j, : self.q])
        VG = rows.r[:, None] * (G - np.einsum("kB,kjB->jB", rows.r, G)[None])
        return np.eye(self.K) - rows.sign * np.moveaxis(VG, -1, 0)


def _moments(sample: Sample, frame: Frame) -> Array:
    """sum_j t_jk V_jkl f_jl', (K q, K qf): every pair of components in one product a block."""
    K, q, qf = frame.n_components, frame.n_stats, frame.n_features_out
    cross = np.zeros((K * qf, K * qf))
    own = np.zeros((K, qf, qf))
    for block in sample.blocks():
        f = sample.features(block)
        g = f * sample.r[:, None, block]
        own += np.matmul(g, f.swapaxes(1, 2))
        g = g.reshape(K * qf, -1)
        cross += g @ g.T
    M = -cross.reshape(K, qf, K, qf)
    for k in range(K):
        M[k, :, k] += own[k]
    return M[:, :q].reshape(K * q, K * qf)


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


def _inverse(A: Array) -> Array:
    """Inverse of A; its pseudo-inverse, with a warning, where EM's fixed points form a valley."""
    lu, pivots, _ = scipy.linalg.lapack.dgetrf(A)
    condition, _ = scipy.linalg.lapack.dgecon(lu, np.linalg.norm(A, 1))
    if condition > _SINGULAR:
        return np.asarray(scipy.linalg.lapack.dgetri(lu, pivots)[0])
    warnings.warn(
        "The fitted mixture is not an isolated optimum of its likelihood: I - (rate of EM) has "
        f"reciprocal condition {condition:.0e}, as when two components coincide. Directions "
        "that the data do not fix are left where they are; fit fewer components for scores that "
        "mean something.",
        RuntimeWarning,
        stacklevel=2,
    )
    return np.linalg.pinv(A, rcond=1e-10)

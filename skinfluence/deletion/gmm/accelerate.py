"""EM sped up near its limit, for many models at once."""

from __future__ import annotations

import numpy as np

from .equation import residual, statistic_size
from .sample import Rows, Sample
from .statistics import Array, Mask

_MEMORY = 8  # earlier steps that are mixed
_SETTLED = 1e-10  # of the last step, relative to the size of the statistics
_GROWTH = 2.0  # a residual that grows by more calls for a plain step
_PUSH = 1e-5  # size of the perturbation that tells a limit from a saddle
_PUSHES = 12


def accelerated(sample: Sample, rows: Rows, dT: Array, *, steps: int) -> tuple[Array, Mask]:
    """Anderson mixing of EM steps: the combination of the last steps with the least residual.

    Where a mixed step has no model, or its residual grows, one plain EM step is taken instead and
    the memory begins anew. A limit is accepted only if EM leads back to it from nearby: at a
    saddle the perturbation grows, and stays in dT so that EM can go on from there.

    This is type-II mixing (Walker and Ni 2011, "Anderson acceleration for fixed-point
    iterations").

    Returns
    -------
    dT, and which rows converged, (B,) bool.
    """
    dT, done = dT.copy(), np.zeros(rows.size, dtype=bool)
    active = np.arange(rows.size)
    x = dT
    R = residual(sample, rows, x)[0]
    memory = _Memory(sample, x.shape)
    for _ in range(steps):
        mine = rows.take(active)
        step = memory.mix(R)
        x_new, R_new = x + step, R
        plain = ~sample.frame.natural(x_new, mine.known)[1]
        x_new[:, :, plain] = (x + R)[:, :, plain]
        R_new = residual(sample, mine, x_new)[0]
        grown = ~plain & ~(statistic_size(sample, R_new) <= _GROWTH * statistic_size(sample, R))
        if grown.any():
            i = np.flatnonzero(grown)
            x_new[:, :, i] = (x + R)[:, :, i]
            R_new[:, :, i] = residual(sample, mine.take(i), x_new[:, :, i])[0]
        memory.push(x_new - x, R_new - R, forget=plain | grown)
        settled = ~plain & ~grown & (statistic_size(sample, step) <= _SETTLED)
        dT[:, :, active] = x_new
        done[active[settled]] = True
        active, x, R = active[~settled], x_new[:, :, ~settled], R_new[:, :, ~settled]
        if not len(active):
            break
        memory.keep(~settled)
    found = np.flatnonzero(done)
    if len(found):
        dT[:, :, found], done[found] = _pushed(sample, rows.take(found), dT[:, :, found])
    return dT, done


class _Memory:
    """The last differences of iterates and residuals, (m, K, q, B) each."""

    def __init__(self, sample: Sample, shape: tuple[int, ...]) -> None:
        self.dx = np.zeros((_MEMORY, *shape))
        self.dR = np.zeros((_MEMORY, *shape))
        self.metric = 1.0 / sample.frame.counts[:, None, None]
        self.next = 0

    def mix(self, R: Array) -> Array:
        """Step from the current iterate with residual R, (K, q, B)."""
        weighted = self.dR * self.metric
        gram = np.einsum("mkqB,nkqB->Bmn", weighted, self.dR)
        rhs = np.einsum("mkqB,kqB->Bm", weighted, R)
        # Unused places, and differences that repeat each other, get no part in the mixture.
        floor = 1e-13 * np.trace(gram, axis1=1, axis2=2) + np.finfo(float).tiny
        gram += floor[:, None, None] * np.eye(_MEMORY)
        part = np.linalg.solve(gram, rhs[:, :, None])[:, :, 0]
        return R - np.einsum("Bm,mkqB->kqB", part, self.dx + self.dR)

    def push(self, dx: Array, dR: Array, *, forget: Mask) -> None:
        self.dx[self.next], self.dR[self.next] = dx, dR
        self.dx[..., forget] = 0.0
        self.dR[..., forget] = 0.0
        self.next = (self.next + 1) % _MEMORY

    def keep(self, rows: Mask) -> None:
        self.dx, self.dR = self.dx[..., rows], self.dR[..., rows]


def _pushed(sample: Sample, rows: Rows, dT: Array) -> tuple[Array, Mask]:
    """Push every limit a little, and see whether EM comes back; where not, keep the push."""
    rng = np.random.default_rng(0)
    R = residual(sample, rows, dT)[0]
    error = rng.standard_normal(dT.shape) * sample.frame.counts[:, None, None]
    growth = np.ones(rows.size)
    for _ in range(_PUSHES):
        error *= _PUSH / statistic_size(sample, error)
        moved = error + residual(sample, rows, dT + error)[0] - R
        growth = statistic_size(sample, moved) / _PUSH
        error = moved
    stable = growth <= 1.0 + 1e-3
    return np.where(stable, dT, dT + error), stable

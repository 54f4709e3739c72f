"""The equation that the statistics of a mixture without (or with) one row solve."""

from __future__ import annotations

import numpy as np

from .sample import Rows, Sample
from .statistics import Array, Mask


def one_step(sample: Sample, rows: Rows) -> Array:
    """dT of one EM step: the row's own statistics go, nothing answers, (K, q, B)."""
    return rows.sign * rows.r[:, None] * rows.f[:, : sample.frame.n_stats]


def damped(sample: Sample, rows: Rows, dT: Array) -> tuple[Array, Mask]:
    """Halve the propagated part of dT until every covariance is positive definite.

    None of it is the one step, which is an M step and always has a model. Returns dT and which
    rows were halved.
    """
    frame = sample.frame
    bad = ~frame.natural(dT, rows.known)[1]
    halved = np.flatnonzero(bad)
    if not len(halved):
        return dT, bad
    own = one_step(sample, rows.take(halved))
    dT, part, known = dT.copy(), dT[:, :, halved] - own, rows.take(halved).known
    left = np.arange(len(halved))
    for _ in range(30):
        part[:, :, left] *= 0.5
        dT[:, :, halved] = own + part
        left = np.flatnonzero(~frame.natural(dT[:, :, halved], known)[1])
        if not len(left):
            return dT, bad
    dT[:, :, halved[left]] = own[:, :, left]
    return dT, bad


def residual(sample: Sample, rows: Rows, dT: Array) -> tuple[Array, Mask]:
    """What one more EM step would add to dT, and which rows have a model, (K, q, B) and (B,)."""
    eta, valid, _ = sample.frame.natural(dT, rows.known)
    # Where dT has no model eta may hold infinities; callers discard those rows by `valid`, or by
    # comparisons of their size that NaN fails.
    with np.errstate(over="ignore", invalid="ignore"):
        R = sample.e_step(eta)
        R += rows.sign * rows.moved_r(eta)[:, None] * rows.f[:, : sample.frame.n_stats]
        R -= dT
    return R, valid


def statistic_size(sample: Sample, dT: Array) -> Array:
    """Largest change of a component's statistics per row of it, free of axes, (B,)."""
    norms = np.sqrt(np.einsum("kqB,kqB->kB", dT, dT))
    return np.asarray(np.max(norms / sample.frame.counts[:, None], axis=0))

"""The limit of EM without (or with) one row, for many rows at once."""

from __future__ import annotations

import numpy as np

from .accelerate import accelerated
from .equation import residual, statistic_size
from .implicit import Propagation
from .polish import newton_limit
from .sample import Rows, Sample, responsibilities
from .statistics import Array, Mask

_TOL = 1e-11  # of the last chord step, relative to the size of the statistics
_OWN_RATE = 200  # statistics up to which a model's own A is worth factorising
BURST = 48  # EM steps before the first mixing, which is wasted on a plateau
_MIXED = 64  # Anderson steps after a burst
_FAILURES = 2  # chord steps that may fail before they are given up for a row
_FALL = 0.9  # a chord step is accepted if the residual falls by 10 %


def sweep(
    sample: Sample, propagation: Propagation, rows: Rows, dT: Array, *, max_sweeps: int = 20
) -> tuple[Array, Mask]:
    """Chord sweeps ``dT += (A + t_i V_i c_i')^-1 (Phi_{-i}(T) - T)`` from dT, in place.

    Each costs one E step a row. Where the residual does not fall by a tenth, three EM steps are
    taken instead; a row that calls for them twice is left to `finish`, whose steps need no A.
    Returns dT and which rows converged.
    """
    done, failures = np.zeros(rows.size, dtype=bool), np.zeros(rows.size, dtype=int)
    active = np.arange(rows.size)
    R, _ = residual(sample, rows, dT)
    for _ in range(max_sweeps):
        mine, x = rows.take(active), dT[:, :, active]
        step = propagation.solve(mine, R)
        x_new = x + step
        R_new, valid = residual(sample, mine, x_new)
        settled = statistic_size(sample, step) <= _TOL
        falls = settled | (
            valid & (statistic_size(sample, R_new) <= _FALL * statistic_size(sample, R))
        )
        stuck = np.flatnonzero(~falls)
        if len(stuck):
            theirs = mine.take(stuck)
            x_new[:, :, stuck] = x[:, :, stuck] + R[:, :, stuck]
            for _ in range(2):
                x_new[:, :, stuck] += residual(sample, theirs, x_new[:, :, stuck])[0]
            R_new[:, :, stuck] = residual(sample, theirs, x_new[:, :, stuck])[0]
        dT[:, :, active] = x_new
        done[active[settled]] = True
        failures[active[stuck]] += 1
        go_on = ~settled & (failures[active] < _FAILURES)
        active, R = active[go_on], R_new[:, :, go_on]
        if not len(active):
            break
    return dT, done


def finish(
    sample: Sample, rows: Rows, others: list[Array], dT: Array, *, rounds: int, budget: float
) -> tuple[Array, Mask]:
    """EM to its limit for the few rows that a deletion tips into another optimum.

    There A of the fitted model says nothing any more. Bursts of EM steps, batched over rows, carry
    each model past the plateaus; once EM closes in, Newton steps with the model's own A end it,
    or Anderson mixing where factorising A a row would cost more than thousands of EM steps.

    Parameters
    ----------
    others : list of (n', d)
        The training rows of each model.
    dT : (K, q, B), changed in place.
    rounds : int
        Bursts of 48, 96, 192, ... EM steps.

    Returns
    -------
    dT, and which rows converged, (B,) bool.
    """
    done = np.zeros(rows.size, dtype=bool)
    for burst in (BURST * 2**i for i in range(rounds)):
        left = np.flatnonzero(~done)
        if not len(left):
            break
        dT[:, :, left], closing = _em(sample, rows.take(left), dT[:, :, left], burst)
        if not closing.any():
            continue
        i = left[closing]
        dT[:, :, i], done[i] = accelerated(sample, rows.take(i), dT[:, :, i], steps=_MIXED)
        if sample.frame.n_components * sample.frame.n_stats > _OWN_RATE:
            continue
        for i in np.setdiff1d(left[closing], np.flatnonzero(done)):
            limit = _own_limit(sample, rows.take(np.array([i])), others[i], dT[:, :, [i]], budget)
            if limit is not None:
                dT[:, :, i], done[i] = limit, True
    return dT, done


def _em(sample: Sample, rows: Rows, dT: Array, steps: int) -> tuple[Array, Mask]:
    """EM steps, and where they shrank towards the end or have come to rest."""
    early = np.zeros(rows.size)
    for step in range(steps):
        R, _ = residual(sample, rows, dT)
        late = statistic_size(sample, R)
        early = late if step == 3 * steps // 4 else early
        dT = dT + R
    return dT, (late < early) | (late < _TOL)


def _own_limit(sample: Sample, row: Rows, X: Array, dT: Array, budget: float) -> Array | None:
    frame = sample.frame
    try:
        limit = newton_limit(frame.moved(dT, row.known), X, budget)
    except np.linalg.LinAlgError:  # a component has shrunk to one row, and only EM goes on
        return None
    if limit is None:
        return None
    return frame.statistics(X, np.exp(responsibilities(limit, X)[0]))[:, :, 0]

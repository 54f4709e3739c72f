"""EM run to its limit for one model: EM steps far away, Newton steps near the end."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .implicit import SINGULAR, Propagation, affordable, memory
from .sample import Sample, responsibilities
from .statistics import Array, Frame

_TOL = 1e-13
_FLOOR = 1e-10  # a residual below counts as converged
_ROUNDING = 1e-12  # one that stops falling below has reached rounding
_QUICK = 0.3  # factor by which a step of quick EM shrinks the residual
_NEAR = 0.3  # Newton steps are worth trying below this residual
# A residual of 1 is a step as large as the sum of all contributions. After a single EM step from a
# random start it is below, on other rows or another scale of them mostly far above.
_OTHER_ROWS = 1.0
_SADDLE_CHECK = 300  # parameters; the eigenvalues of a larger A cost more than they tell


class Settled(NamedTuple):
    """A polished frame, and the residual |M(theta) - theta| before and after.

    `log_likelihood` is the mean over the rows, before.
    """

    frame: Frame
    log_likelihood: float
    before: float
    after: float
    converged: bool


class _Point(NamedTuple):
    frame: Frame
    log_r: Array
    log_likelihood: float
    dT: Array  # (K, q, 1), what the next EM step adds
    gap: Array | None
    residual: float


def settle(frame: Frame, X: Array, budget: float, *, em_steps: int = 20_000) -> Settled:
    """The limit of EM on rows X started from `frame`.

    The residual is free of scale and of the choice of axes: the change of the statistics by one EM
    step over the sum of the rows' own contributions, |sum_i r_i t_i - T| / sum_i |r_i t_i|, in
    whitened coordinates, as a root mean square over components weighted by their size.

    A Newton step is taken only where it raises the likelihood, halves the residual and leads to
    a point that attracts EM; so the limit is the one that EM itself would reach. Where the
    matrix of a Newton step would not fit into memory, EM alone runs to the limit.
    """
    point = _look(frame, X)
    _check_rows(point.residual)
    before, steps, patience = point.residual, 0, 4
    log_likelihood = point.log_likelihood / len(X)
    quick = True  # EM alone shrinks fast, and factorising A would cost more than it saves
    while point.residual > (_TOL if quick else _FLOOR) and steps < em_steps:
        if point.residual < _NEAR and not quick:
            point = _newton_run(point, X, budget)
        if point.residual > _TOL:
            last, point = point.residual, _em(point, X, patience)
            quick = point.residual < last * _QUICK**patience
        steps, patience = steps + patience, min(2 * patience, 512)
    if point.residual > _ROUNDING:
        point = _newton_run(point, X, budget)
    converged = point.residual <= _FLOOR
    return Settled(point.frame, log_likelihood, before, point.residual, converged)


def newton_limit(frame: Frame, X: Array, budget: float) -> Frame | None:
    """The limit of EM that Newton steps reach from `frame`, or None where they do not settle."""
    point = _newton_run(_look(frame, X), X, budget)
    return point.frame if point.residual <= _FLOOR else None


def _newton_run(point: _Point, X: Array, budget: float) -> _Point:
    """Newton steps for as long as they help; a factorised A serves on while they shrink fast."""
    inverse, fresh = _inverse_rate(point, X, budget), True
    while inverse is not None and point.residual > _TOL:
        better = _newton(point, X, inverse)
        if better is not None:
            slow = better.residual > 0.2 * point.residual
            point, fresh = better, False
        elif fresh or point.residual < _ROUNDING:
            break
        if better is None or slow:
            inverse, fresh = _inverse_rate(point, X, budget), True
    return point


def _check_rows(residual: float) -> None:
    """Refuse rows that `residual` shows to be others than the fitted ones."""
    if not residual <= _OTHER_ROWS:
        raise ValueError(
            f"These are not the rows the mixture was fitted on (residual {residual:.1e}: one EM "
            "step would move it by more than all rows contribute). Pass exactly those, after the "
            "same scaling, or hand over the whole pipeline."
        )


def _look(frame: Frame, X: Array) -> _Point:
    log_r, density = responsibilities(frame, X)
    dT = frame.statistics(X, np.exp(log_r))
    gap = frame.known_gap(X)
    scaled = dT[:, :, 0] / np.maximum(frame.counts, 1.0)[:, None]
    square = frame.weights @ np.sum(scaled**2, axis=1)
    if gap is not None:
        square += np.sum((gap / frame.n) ** 2)
    size = float(np.sqrt(square / frame.typical_square))
    return _Point(frame, log_r, float(density.sum()), dT, gap, size)


def _em(point: _Point, X: Array, n_steps: int) -> _Point:
    for _ in range(n_steps):
        try:
            frame = point.frame.moved(point.dT, point.gap)
        except np.linalg.LinAlgError:  # a scatter lost a dimension, and reg_covar is too small
            break
        point = _look(frame, X)
        if point.residual <= _TOL:
            break
    return point


def _inverse_rate(point: _Point, X: Array, budget: float) -> Array | None:
    """(I - Phi')^-1, or None where EM is not attracted (a saddle, a valley) or it is too large."""
    if memory(point.frame) > affordable():
        return None
    rate = Propagation(Sample(point.frame, X, point.log_r, budget))
    if rate.condition <= SINGULAR:
        return None
    if rate.P <= _SADDLE_CHECK and np.linalg.eigvals(rate.A).real.min() <= 0:
        return None
    return rate.inverse


def _newton(point: _Point, X: Array, inverse: Array) -> _Point | None:
    """The point after a Newton step, or None where it is not clearly better."""
    dT = (inverse @ point.dT.ravel()).reshape(point.dT.shape)
    if not point.frame.natural(dT, point.gap)[1][0]:
        return None
    better = _look(point.frame.moved(dT, point.gap), X)
    rounding = 1e-12 * max(1.0, abs(point.log_likelihood))
    falls = better.residual < 0.5 * point.residual
    rises = better.log_likelihood >= point.log_likelihood - rounding
    return better if falls and rises else None

"""``max(0, u)``, and its smooth version, as the building block of losses with kinks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Array = NDArray[np.float64]


def ramp(u: Array, t: float) -> Array:
    """``t log(1 + exp(u / t))``; ``max(0, u)`` for t = 0."""
    return np.maximum(u, 0.0) if t == 0 else t * np.logaddexp(0.0, u / t)


def ramp_slope(u: Array, t: float) -> Array:
    """Derivative of :func:`ramp`; 0 at the kink."""
    return np.where(u > 0, 1.0, 0.0) if t == 0 else expit(u / t)


def ramp_curvature(u: Array, t: float) -> Array:
    """Second derivative of :func:`ramp`; 0 for t = 0."""
    return np.zeros_like(u) if t == 0 else expit(u / t) * expit(-u / t) / t


def ramp_change(u: Array, move: Array, t: float) -> Array:
    """``ramp(u + move) - ramp(u)`` without cancellation."""
    after = u + move
    if t == 0:
        return np.where((u > 0) & (after > 0), move, np.maximum(after, 0.0) - np.maximum(u, 0.0))
    return t * softplus_change(u / t, move / t)


def softplus_change(u: Array, move: Array) -> Array:
    """``log(1 + exp(u + move)) - log(1 + exp(u))`` without cancellation."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        inner = np.expm1(move) * expit(u)
        trusted = inner > -0.5  # near -1 log1p loses digits
        changed = np.log1p(inner)
    if trusted.all() and np.isfinite(changed.sum()):
        return changed
    return np.where(trusted & np.isfinite(changed), changed, _large_softplus_change(u, move))


def _large_softplus_change(u, move):
    """The same for moves that may be large.

    Seen from the lower of the two ends the exponential grows, so that no digits are lost in
    ``log1p`` near -1.
    """
    after = u + move
    with np.errstate(over="ignore", invalid="ignore"):
        grown = np.log1p(expit(np.minimum(u, after)) * np.expm1(np.abs(move)))
    changed = np.where(move < 0, -grown, grown)
    # The exponential overflows after a very large move, where plain values are accurate.
    return np.where(np.isfinite(changed), changed, np.logaddexp(0, after) - np.logaddexp(0, u))


def square_change(before: Any, after: Any, difference: Any) -> Array:
    """``after^2 - before^2`` from an accurate difference of the two."""
    return difference * (before + after)

"""Derivatives of the losses of support vector machines, their kinks smoothed."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.svm.heads import Margins, Novelty, Tubes
from skinfluence.objectives.losses.ramp import ramp_slope


@singledispatch
def loss_slope(head: Head, outputs: Array, targets: Any, t: float) -> Array:
    """Derivative of the loss smoothed at temperature t by outputs (q, K), (q, K)."""
    raise NotImplementedError(type(head).__name__)


@loss_slope.register
def _(head: Margins, outputs: Array, targets: Any, t: float) -> Array:
    signs = head.signs[:, targets].T
    return -signs * ramp_slope(1.0 - signs * outputs, t)


@loss_slope.register
def _(head: Tubes, outputs: Array, targets: Any, t: float) -> Array:
    gap = outputs[:, 0] - targets
    slope = ramp_slope(gap - head.epsilon, t) - ramp_slope(-gap - head.epsilon, t)
    return slope[:, None]


@loss_slope.register
def _(head: Novelty, outputs: Array, targets: Any, t: float) -> Array:
    return -ramp_slope(-outputs, t)

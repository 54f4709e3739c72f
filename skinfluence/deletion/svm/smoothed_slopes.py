"""Derivatives of what the decisions of support vector machines mean, kinks smoothed."""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.base import Positions
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


def decision_slope(head: Head, outputs: Array, choice: Positions) -> Array:
    """Derivative of the chosen decision, (q, K)."""
    every = np.arange(len(outputs))
    if not isinstance(head, Margins):
        return np.ones_like(outputs)
    if len(head.classes) == 2:
        return head.signs[0, choice][:, None]
    if head.one_vs_one:
        sign = np.where(choice < len(head.pairs), 1.0, -1.0)
        choice = choice % len(head.pairs)
        return sign[:, None] * np.eye(len(head.pairs))[choice]
    return shown_slope(head, outputs)[every, choice]


def shown_slope(head: Head, outputs: Array) -> Array:
    """Derivative of the columns of the estimator's decision function, (q, n_columns, K).

    Votes have none.
    """
    identity = np.broadcast_to(np.eye(outputs.shape[1]), (len(outputs), *[outputs.shape[1]] * 2))
    if not isinstance(head, Margins) or len(head.classes) == 2 or head.one_vs_one:
        return identity
    confidence = outputs @ head.signs  # (q, n_classes)
    return head.signs.T / (3.0 * np.square(np.abs(confidence) + 1.0))[..., None]

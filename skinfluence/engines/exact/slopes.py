"""Derivatives of a target by the outputs of a model, for deletions to first order."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import numpy as np

from skinfluence.deletion.closed.base import Array, ExactModel
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.linear.targets import STEP
from skinfluence.deletion.svm.smoothed_slopes import loss_slope
from skinfluence.engines.exact.values import called

Slope = Callable[[Array, Any], Array]


def slope_of(exact: ExactModel, head: Head, target: Any) -> Slope | None:
    """The derivative of a target by outputs, (q, K) to (q, K); None where values are evaluated."""
    if not exact.linear:
        return None
    if target == "loss":
        return partial(loss_slope, head, t=exact.temperature)
    if not callable(target):
        return cast(Slope, partial(head.slopes, target))
    return partial(_of_user, target, head)


def _of_user(function, head, outputs, y):
    """The chain rule: the user's function is of the columns of the decision function."""
    shown = head.shown(outputs[:, None])[:, 0]
    slope = called(function, shown, y)[1]
    if slope is None:
        slope = _differences(function, shown, y)
    if head.classes is None:
        return slope
    binary = shown.shape[1] == 1  # of two classes the second is shown
    columns = [np.full(len(outputs), k + binary) for k in range(shown.shape[1])]
    decisions = [head.slopes("decision_function", outputs, column) for column in columns]
    return np.einsum("qc,cqk->qk", slope, decisions)


def _differences(function, shown, y):
    slope = np.empty_like(shown)
    for k in range(shown.shape[1]):
        step = STEP * np.maximum(1.0, np.abs(shown[:, k]))
        ahead, behind = shown.copy(), shown.copy()
        ahead[:, k] += step
        behind[:, k] -= step
        rise = called(function, ahead, y)[0] - called(function, behind, y)[0]
        slope[:, k] = rise / (ahead[:, k] - behind[:, k])
    return slope

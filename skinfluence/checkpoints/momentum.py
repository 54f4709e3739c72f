"""When a gradient counts that momentum spends over the steps after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo

Ways = dict[str, NDArray[np.float64]]


def ways(
    items: Sequence[Checkpoint], optimizer: OptimizerInfo | None, end: Mapping[str, float]
) -> Ways:
    """How far along the training is at each checkpoint, by name, (C,).

    Momentum spends a row's gradient later than it was taken, and it is the query's gradient of
    then that it meets. Both are looked at in one place; halfway between the two the errors of
    first order cancel where both gradients change alike. So half of what momentum still carries
    counts at a checkpoint already, and what it carries at the end does not, as nobody spends it.

    Parameters
    ----------
    items : sequence of Checkpoint
        With paths.
    optimizer : OptimizerInfo or None
    end : mapping of str to float
        The path at the end of the training.
    """
    paths: list[Mapping[str, float]] = [item.path or {} for item in items]
    found = {}
    for name in dict.fromkeys(name for path in (*paths, end) for name in path):
        path = np.array([path.get(name, 0.0) for path in paths])
        carried = np.array([_carried(item, optimizer, name) for item in items])
        # A rate that falls leaves momentum less to spend, and no gradient is taken back.
        way = np.maximum.accumulate(path + carried / 2)
        found[name] = np.minimum(way, max(end.get(name, 0.0), path[-1]))
    return found


def _carried(item: Checkpoint, optimizer: OptimizerInfo | None, name: str) -> float:
    """How far momentum alone would still take a parameter: ``r (m + m^2 + ...)``."""
    if optimizer is None or optimizer.name != "SGD" or not item.learning_rate:
        return 0.0
    options = optimizer.options.get(name, {})
    m = options.get("momentum", 0.0)
    if not 0.0 < m < 1.0:
        return 0.0
    # A step by Nesterov has made the first of these moves already.
    ahead = m if options.get("nesterov") else 1.0
    return item.learning_rate.get(name, 0.0) * ahead * m / (1.0 - m)

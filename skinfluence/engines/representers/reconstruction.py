"""How well a polished or refitted layer gives the outputs of the model that it explains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reconstruction:
    """Outputs of the explained layer beside those of the model itself.

    Outputs are those before the activation; of a softmax less their mean over the classes, which
    it does not see. Behind ReLU they are what it lets through.

    Parameters
    ----------
    pearson : float
        Correlation over all rows and outputs. It says nothing of a single row with one output:
        1 where both are constant and alike, 0 where they differ.
    worst_error : float
        Largest difference.
    activated_pearson, activated_worst_error : float
        The same of probabilities, where the activation makes some; else those above again.
    decomposition_error : float
        Largest difference between a sum of representer values and the output that it decomposes.
    """

    pearson: float
    worst_error: float
    activated_pearson: float
    activated_worst_error: float
    decomposition_error: float


def compare(found: Array, own: Array, decomposed: Array, activation: Activation) -> Reconstruction:
    """Compare outputs (m, K) of a layer with the model's own and with sums of its values."""
    mine, theirs = activation.visible(found), activation.visible(own)
    p, q = activation.activated(found), activation.activated(own)
    return Reconstruction(
        pearson=correlation(mine, theirs),
        worst_error=_worst(mine, theirs),
        activated_pearson=correlation(p, q),
        activated_worst_error=_worst(p, q),
        decomposition_error=_worst(found, decomposed),
    )


@dataclass(frozen=True)
class Activation:
    """What follows the layer.

    Parameters
    ----------
    visible : callable
        Outputs (m, K) as far as the activation sees them.
    activated : callable
        What it makes of them.
    """

    visible: Callable[[Array], Array]
    activated: Callable[[Array], Array]


def correlation(first: Array, second: Array) -> float:
    """Pearson correlation of all entries; 1 where both are constant and nearly alike, else 0."""
    a, b = first - first.mean(), second - second.mean()
    scale = np.linalg.norm(a) * np.linalg.norm(b)
    rounding = 1e-12 * max(np.abs(first).max(initial=0.0), np.abs(second).max(initial=0.0))
    if scale <= rounding**2 * first.size:
        return float(_worst(first, second) <= max(1e3 * rounding, 1e-9))
    return float(np.clip((a * b).sum() / scale, -1.0, 1.0))


def _worst(first, second):
    return float(np.abs(first - second).max(initial=0.0))

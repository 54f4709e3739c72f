"""Spearman correlations in resamples, and the errors they give."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from skinfluence.metrics._agreement import rounded_order

Array = NDArray[np.float64]


def resamples(n: int, n_bootstrap: int, rng: np.random.RandomState) -> Array:
    """How often each of n subsets occurs: once each, then in every resample."""
    drawn = rng.multinomial(n, np.full(n, 1 / n), size=n_bootstrap)
    return np.vstack([np.ones(n), drawn])


def rank_correlations(x: Array, y: Array, counts: Array) -> Array:
    """Spearman correlation of x and y in every resample, each (n,), `counts` (n_resamples, n).

    Sorted once and counted, rather than sorted anew in every resample.
    """
    a, b = _counted_ranks(x, counts), _counted_ranks(y, counts)
    middle = (counts.sum(axis=1, keepdims=True) + 1) / 2  # mean of the ranks, ties or not
    a, b = a - middle, b - middle
    with np.errstate(invalid="ignore"):  # 0 / 0: constant in this resample
        raw = (counts * a * b).sum(1) / np.sqrt((counts * a**2).sum(1) * (counts * b**2).sum(1))
    return np.clip(raw, -1.0, 1.0)


def _counted_ranks(values: Array, counts: Array) -> Array:
    """Ranks of values that occur `counts` times, averaged over ties, (n_resamples, n)."""
    order, group = rounded_order(values)
    starts = np.flatnonzero(np.diff(group, prepend=-1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)  # (n_resamples, n_groups)
    ranks = np.empty_like(counts)
    ranks[:, order] = (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]
    return ranks


def mean_of_known(values: Array, axis: int) -> Any:
    """Mean of what is no NaN, and NaN of nothing, without numpy's warnings."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.where(known, values, 0.0).sum(axis=axis) / known.sum(axis=axis)


def fisher_interval(mean: float, means: Array, confidence_level: float) -> tuple[float, float]:
    """Normal interval on the scale of Fisher's z, where correlations spread evenly.

    Not the quantiles of the draws: ties pull these below the mean, so that near 1 the interval
    misses the estimate it belongs to (tried: 90 % coverage instead of 95 at 100 models).
    """
    largest = 1 - 1e-15  # the z of 1 is infinite
    z, drawn = (np.arctanh(np.clip(r, -largest, largest)) for r in (mean, means))
    reach = norm.ppf((1 + confidence_level) / 2) * deviation(drawn)
    low, high = np.tanh([z - reach, z + reach])
    return float(min(low, mean)), float(max(high, mean))  # tanh(arctanh(1 - 1e-15)) rounds


def deviation(values: Array) -> float:
    known = values[~np.isnan(values)]
    return float(known.std(ddof=1)) if known.size > 1 else np.nan

"""Squared lengths of gradients: of deterministic losses exactly, of means over draws unbiased.

The squared length of the mean of m noisy gradients is too large by the mean's variance. Products
of different draws are not: their mean over all pairs,

    U = (|sum_j g_j|^2 - sum_j |g_j|^2) / (m (m - 1)),

is the unbiased estimate of smallest variance (Hoeffding 1948), and may be negative.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.data import Rows
from skinfluence.torch.gradients import GradientBlock, RowGradients
from skinfluence.torch.tracing.draws import DrawnRows, one_by_one, without_noise

# None, a number for each parameter by name, or one for each of their entries, (p,).
Metric: TypeAlias = Mapping[str, float] | Tensor | None

# Draws without which the variance has no unbiased estimate.
FEWEST = 4
# Draws of a row that are multiplied with each other, at least and at most; of more, groups are.
# All pairs of m draws cost m^2 and their memory m, and gain little: with groups of 64 the part of
# the variance that falls as 1/m^2 is divided by 63 m where m (m - 1) could be had.
TOGETHER = 16, 64


def own_squares(
    gradients: RowGradients, rows: Rows, metric: Metric = None
) -> tuple[Tensor, Tensor]:
    """``<g_i, M g_i>`` of every row, and the variance of that estimate.

    Parameters
    ----------
    gradients : RowGradients
        At one network.
    rows : Rows
        With DrawnRows, g_i is the mean over the noise, of which there are `n_draws` draws.
    metric : mapping of str to float, Tensor of shape (p,), or None, default=None
        The diagonal M, by parameter or entry by entry; none is negative.

    Returns
    -------
    values : Tensor of shape (n,)
    variances : Tensor of shape (n,)
        0 of deterministic losses, and NaN of two draws, which say nothing of their spread.
        Unbiased, but for being kept positive; with fewer than four draws, or a metric entry by
        entry, the jackknife's, which is right where the gradient outweighs the noise, and
        2 (m - 1) / (m - 2) times too large where it does not.

    Raises
    ------
    ValueError
        With a single draw.
    """
    if isinstance(rows, DrawnRows):
        return _of_draws(gradients, rows, metric)
    found = [
        _squares(gradients.block(rows.take(part)), metric) for part in _parts(gradients, rows)
    ]
    values = torch.cat([torch.zeros(0, dtype=torch.float64), *found])
    return values, torch.zeros_like(values)


def _parts(gradients: RowGradients, rows: Rows) -> list[slice]:
    return _loops.slices(rows.shape[0], gradients.block_size())


def _squares(block, metric):
    if isinstance(metric, Tensor):
        return block.weighted_squares(metric).cpu()
    return rooted(block, metric).squares().cpu()


def rooted(block: GradientBlock, metric: Mapping[str, float] | None) -> GradientBlock:
    """Gradients whose plain products are those of a metric by parameter."""
    if metric is None:
        return block
    return block.scaled({name: math.sqrt(eta) for name, eta in metric.items()})


def _of_draws(gradients, rows, metric):
    m = rows.n_draws
    if m < 2:
        raise ValueError(
            "The squared length of one noisy gradient is too large by its variance, and n_draws=1 "
            "leaves nothing to correct it with. Pass n_draws=2 or more; 16 is usual."
        )
    size = gradients.block_size(rows.apart(slice(0, 1))[:4])
    groups = _groups(m, size)
    each = max(1, size // (groups[0].stop - groups[0].start))
    found = [
        _of_rows(gradients, rows.take(part), groups, metric)
        for part in _loops.slices(rows.shape[0], each)
    ]
    values, variances = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return values, variances


def _groups(m: int, size: int) -> list[slice]:
    """Draws that are multiplied with each other: all of them, or groups of equal size."""
    most = min(TOGETHER[1], max(TOGETHER[0], size))
    ends = np.linspace(0, m, -(-m // most) + 1).astype(int).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(ends)]


def _of_rows(gradients, batch, groups, metric):
    """Means over the groups, weighted by their draws, and the variances of these means."""
    inputs, noise = without_noise(batch)
    values = variances = 0.0
    for group in groups:
        own = noise[:, group]
        block = gradients.block(one_by_one(inputs, own))
        share = own.shape[1] / noise.shape[1]
        value, variance = _of_block(block, own.shape[1], metric)
        values, variances = values + share * value, variances + share**2 * variance
    return values, variances


def _of_block(block, m, metric):
    if isinstance(metric, Tensor):
        own = block.weighted_squares(metric).view(-1, m)
        return _of_sums(block.weighted_sums(metric, m) - own)
    return unbiased_squares(rooted(block, metric).grams(m))


def unbiased_squares(grams: Tensor) -> tuple[Tensor, Tensor]:
    """U of every row and its variance, from products (b, m, m) of its m draws.

    The variance is ``U^2`` minus the mean of ``K_ij K_kl`` over four different draws, which has
    the expectation ``|g|^4``. A row's own may come out negative, so it is not taken below the
    jackknife's over the largest factor by which that one is too large.
    """
    m = grams.shape[1]
    others = without_own(grams)
    values, jackknife = _of_sums(others.sum(2))
    if m < FEWEST:
        return values, jackknife
    variances = values.square() - fourth_power(others)
    return values, torch.maximum(variances, jackknife * (m - 2) / (2 * (m - 1)))


def without_own(grams: Tensor) -> Tensor:
    """Products (b, m, m) of different draws, zero where a draw meets itself."""
    return grams - torch.diag_embed(grams.diagonal(dim1=1, dim2=2))


def fourth_power(others: Tensor) -> Tensor:
    """Unbiased ``|g|^4``: mean of products of four different draws, (b,)."""
    m = others.shape[1]
    sums = others.sum(2)
    # All pairs of pairs, less those that share one draw, less those that share both.
    apart = sums.sum(1).square() - 4 * sums.square().sum(1) + 2 * others.square().sum((1, 2))
    return apart / (m * (m - 1) * (m - 2) * (m - 3))


def _of_sums(sums: Tensor) -> tuple[Tensor, Tensor]:
    """U and its variance by the jackknife, from each draw's products with the others, (b, m).

    Efron & Stein (1981): the part that falls as 1/m^2 is taken 2 (m - 1) / (m - 2) times, so that
    the variance is right where the gradient outweighs the noise, and too large where it does not.
    """
    m = sums.shape[1]
    values = sums.sum(1) / (m * (m - 1))
    if m < 3:
        return values, torch.full_like(values, float("nan"))
    deviations = 2 * (sums - sums.mean(1, keepdim=True)) / ((m - 1) * (m - 2))
    return values, deviations.square().sum(1) * (m - 1) / m

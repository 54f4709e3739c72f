"""How many draws a wanted error takes: a pilot on a few rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.tracing.draws import PILOT, DrawnRows
from skinfluence.torch.tracing.own import FEWEST, Metric, fourth_power, rooted, without_own

# Rows and draws of a pilot; the most draws that it may ask for.
PILOT_ROWS, PILOT_DRAWS, MOST = 16, 16, 1024


@dataclass(frozen=True)
class Pilot:
    """What a few rows say of the number of draws.

    Attributes
    ----------
    n_draws : int
        The smallest number that reaches the error asked for, from 4 to 1024.
    own_error : float
        Standard error of self influence with so many draws, root mean square over the rows, in
        units of the root mean square self influence.
    score_error : float
        The same, of scores between the rows.
    reached : bool
        Whether both are as small as asked.
    """

    n_draws: int
    own_error: float
    score_error: float
    reached: bool


def pilot(gradients: RowGradients, rows: DrawnRows, tol: float, metric: Metric = None) -> Pilot:
    """Number of draws for which scores have a relative standard error of `tol`.

    Up to 16 rows, evenly spaced, are run with 16 draws each, and the variances of self influence
    and of scores among these rows are taken apart into what falls as 1/m and as 1/m^2.
    Errors are root mean squares over the rows (pairs of rows) relative to the root mean square
    value: single scores near zero have a larger error relative to themselves.

    Parameters
    ----------
    gradients : RowGradients
        At one network, such as the last checkpoint's.
    rows : DrawnRows
        Training rows; their own number of draws is not looked at.
    tol : float
    metric : mapping of str to float, Tensor of shape (p,), or None, default=None

    Returns
    -------
    pilot : Pilot
    """
    grams = _pilot_products(gradients, rows, metric)
    errors = [_Error.of_own(grams.diagonal(dim1=0, dim2=2).permute(2, 0, 1))]
    if len(grams) > 1:
        errors.append(_Error.of_pairs(grams))
    needed = max(error.draws(tol) for error in errors)
    found = [error.at(needed) for error in errors]
    return Pilot(needed, found[0], found[-1], max(found) <= tol)


def _pilot_products(gradients, rows, metric):
    """Products of all draws of all pilot rows, (rows, draws, rows, draws)."""
    n = rows.shape[0]
    # All of them are held at once, so that there are fewer of a large network.
    fit = gradients.block_size(rows.apart(slice(0, 1))[:4]) // PILOT_DRAWS
    count = min(n, PILOT_ROWS, max(2, fit))
    at = np.unique(np.linspace(0, n - 1, count).astype(np.intp))
    # Draws of its own: a number of draws chosen by how these came out would bias the scores.
    few = DrawnRows(
        rows.rows, rows.draws, PILOT_DRAWS, seed=rows.seed, stream=PILOT, step=rows.step
    )
    block = gradients.block(few.apart(at))
    if isinstance(metric, Tensor):
        each = (gradients.block(few.apart(at[k : k + 1])).dense() for k in range(len(at)))
        products = torch.cat([block.times(G * metric.to(G)) for G in each], 1)
    else:
        block = rooted(block, metric)
        products = block.pairs(block)
    return products.double().cpu().view(len(at), PILOT_DRAWS, len(at), PILOT_DRAWS)


@dataclass(frozen=True)
class _Error:
    """Mean square value, and the variance ``linear / m + quadratic / (m (m - 1) or m^2)``."""

    square: float
    linear: float
    quadratic: float
    pairs: bool

    @classmethod
    def of_own(cls, grams: Tensor) -> _Error:
        """Of U: Hoeffding's decomposition, from products (b, m, m)."""
        m = grams.shape[1]
        others = without_own(grams)
        square = fourth_power(others)
        one_shared = others.sum(2).square().sum(1) - others.square().sum((1, 2))
        one_shared /= m * (m - 1) * (m - 2)
        both = others.square().sum((1, 2)) / (m * (m - 1))
        parts = square, one_shared - square, both - 2 * one_shared + square
        mean, linear, quadratic = (max(0.0, float(part.mean())) for part in parts)
        return cls(mean, 4 * linear, 2 * quadratic, pairs=False)

    @classmethod
    def of_pairs(cls, products: Tensor) -> _Error:
        """Of products of two means over independent draws: a two-way analysis of variance."""
        r, m = products.shape[:2]
        K = products.permute(0, 2, 1, 3)[~torch.eye(r, dtype=torch.bool)]  # (pairs, m, m)
        rows, columns, mean = K.mean(2), K.mean(1), K.mean((1, 2))
        rest = K - rows[:, :, None] - columns[:, None] + mean[:, None, None]
        rest = rest.square().sum((1, 2)) / (m - 1) ** 2
        falling = rows.var(1) + columns.var(1) - 2 * rest / m
        parts = mean.square() - falling / m - rest / m**2, falling, rest
        mean, linear, quadratic = (max(0.0, float(part.mean())) for part in parts)
        return cls(mean, linear, quadratic, pairs=True)

    def at(self, m: int) -> float:
        """Relative standard error with m draws."""
        variance = self.linear / m + self.quadratic / (m * m if self.pairs else m * (m - 1))
        if variance == 0.0:
            return 0.0
        return math.sqrt(variance / self.square) if self.square else math.inf

    def draws(self, tol: float) -> int:
        """The fewest that reach an error, within bounds."""
        reached = (m for m in range(FEWEST, MOST) if self.at(m) <= tol)
        return next(reached, MOST)

"""The second pass: leverage and influence of every row from the sums of the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from skinfluence.diagnostics.deletions import LEVERAGE_ONE, delete_each
from skinfluence.diagnostics.measures import cooks
from skinfluence.diagnostics.working import Basis
from skinfluence.engines.sketch.reading import Fixed
from skinfluence.engines.sketch.sketcher import Sketched, Sketcher
from skinfluence.engines.sketch.totals import Totals, most_parameters, multiplier, rounding_of
from skinfluence.engines.sketch.working import basis_of, residuals, working_block

Array = NDArray[np.float64]

# No row that the sums hold has a leverage above 1, but for rounding in directions hardly held.
ABOVE_ONE = 1.01


@dataclass(frozen=True)
class Measures:
    """What one problem says of some rows.

    Parameters
    ----------
    leverages : ndarray of shape (n_sketches, b)
    scores : ndarray of shape (b,)
        c.
    slopes, moment : float
        Sums of the squares of the rows' weighted slopes, and of these times their positions, by
        which rows and their order are known again.
    cooks, residuals : ndarray of shape (b,) or None
        None where the loss is no deviance.
    """

    leverages: Array
    scores: Array
    slopes: float
    moment: float
    cooks: Array | None
    residuals: Array | None

    @classmethod
    def joined(cls, parts: Sequence[Measures]) -> Measures:
        """Those of several blocks, one after the other."""
        return cls(
            np.concatenate([part.leverages for part in parts], axis=1),
            np.concatenate([part.scores for part in parts]),
            sum(part.slopes for part in parts),
            _moment(parts),
            _joined([part.cooks for part in parts]),
            _joined([part.residuals for part in parts]),
        )


def _moment(parts):
    before = np.cumsum([0] + [len(part.scores) for part in parts[:-1]])
    return float(sum(part.moment + n * part.slopes for n, part in zip(before, parts, strict=True)))


def _joined(parts):
    return None if parts[0] is None else np.concatenate(parts)


@dataclass(frozen=True)
class SketchedProblem:
    """One problem in its sketches, after the first pass.

    Parameters
    ----------
    fixed : Fixed
    total : Totals
    bases : tuple of Basis
        One a sketch.
    pulls : tuple of ndarray
        Gradient of the penalty in each.
    n_params : float
        Effective number of parameters of the whole fit, or an upper bound.
    bounded : bool
        Whether it is the bound, as under a penalty.
    """

    fixed: Fixed
    total: Totals
    bases: tuple[Basis, ...]
    pulls: tuple[Array, ...]
    n_params: float
    bounded: bool

    @property
    def n_sketched(self) -> float:
        """Effective parameters of a sketch: what its leverages add up to."""
        return float(np.mean([basis.shares.sum() for basis in self.bases]))

    @property
    def m(self) -> float:
        """Multiplier of the penalty."""
        return multiplier(self.fixed, self.total)

    @property
    def scale(self) -> float:
        """Dispersion phi; NaN without degrees of freedom, and where the loss is no deviance."""
        likelihood, total = self.fixed.likelihood, self.total
        if likelihood is None:
            return np.nan
        if not likelihood.estimated:
            return 1.0
        if likelihood.gaussian and total.perfect:
            return 0.0
        left = total.n_held - self.n_params
        return total.squares / left if left > 1e-8 else np.nan

    def measures(self, part: Sketched) -> Measures:
        """Of the rows of a block."""
        fixed, own, scale = self.fixed, part.slopes, self.scale
        leverages, spreads, moved, distances = [], [], [], []
        for rows, basis, pull in zip(part.rows, self.bases, self.pulls, strict=True):
            working = working_block(fixed, own, rows, basis, self.m, pull)
            steps = delete_each(working, slice(0, len(rows)), np.zeros(len(pull)))
            leverages.append(steps.leverage)
            spreads.append(steps.spread)
            moved.append(steps.own)
            if fixed.likelihood is not None:
                distances.append(cooks(working, steps, scale))
        levers = np.stack(leverages)
        slope = own.weights[:, None] * own.gradient
        if fixed.n_outputs == 1:
            _refuse_strangers(levers)
            scores = _scores(slope[:, 0], np.mean(spreads, axis=0), levers.mean(axis=0))
        else:
            scores = np.einsum("bk,bk->b", slope, np.mean(moved, axis=0))
        distance = _together(distances, levers) if distances else None
        known = own.squares, own.moment
        return Measures(levers, scores, *known, distance, residuals(fixed, own))


def _scores(slope, spread, leverage):
    """r*^2 h / (1 - h), as (w l')^2 x'H^-1 x / (1 - h): where curvature dies out, r* does not."""
    left = 1.0 - leverage
    alone = left <= LEVERAGE_ONE
    return np.where(alone, np.inf, np.square(slope) * spread / np.where(alone, 1.0, left))


def _together(distances, leverages):
    """Distances at the mean leverage: what is averaged is all but 1 / (1 - h)^2."""
    if len(distances) == 1:
        return distances[0]
    left, mean = 1.0 - leverages, 1.0 - leverages.mean(axis=0)
    alone = (left <= LEVERAGE_ONE).any(axis=0)
    ratio = np.where(alone, 1.0, left / np.where(alone, 1.0, mean))
    return np.mean(distances * np.square(ratio), axis=0)


def _refuse_strangers(leverages):
    if leverages.size and leverages.max() > ABOVE_ONE:
        raise ValueError(
            f"A row has a leverage of {leverages.max():.3g}, and rows of the fit have at most 1: "
            "this one, or its weight, was not among those that the sketch was made of. Pass the "
            "rows that were passed to fit or partial_fit, with their weights; blocks have to be "
            "the same in each pass."
        )


def sketched_problems(sketcher: Sketcher, found: Sequence[Totals]) -> list[SketchedProblem]:
    """Every problem after the first pass."""
    return [_sketched(sketcher, number, total) for number, total in enumerate(found)]


def _sketched(sketcher, number, total):
    fixed, projection = sketcher.fixed[number], sketcher.of(number)
    penalty, m = fixed.penalty, multiplier(fixed, total) / fixed.unit
    slope = penalty.gradient(fixed.theta) / fixed.unit
    bases, pulls = [], []
    for sketch, gram in enumerate(total.grams):
        mask = _mask(fixed, projection, sketch)
        if fixed.centred and sketcher.centre is not None:
            mask &= _varying(fixed, projection, sketch, total, sketcher.centre)
        held = m * _penalty(fixed, projection, sketch, penalty.l2)
        data = np.where(np.outer(mask, mask), gram, 0.0)
        basis = basis_of(data, np.where(np.outer(mask, mask), held, 0.0))
        bases.append(basis)
        inner = projection.adjoint(sketch, slope[: sketcher.n_features])
        inner = np.vstack([inner, slope[sketcher.n_features :]]).ravel()
        pulls.append(basis.vectors.T @ np.where(mask, inner, 0.0))
    exact = all(omega is None for omega in projection.omegas)
    n_params = bases[0].n_effective if exact else most_parameters(fixed, total, sketcher.centre)
    bounded = not exact and bases[0].penalised
    return SketchedProblem(fixed, total, tuple(bases), tuple(pulls), n_params, bounded)


def with_params(problems: Sequence[SketchedProblem], number: float) -> list[SketchedProblem]:
    """Problems that have `number` effective parameters in all, which the user knows.

    Each gets as much of the way from what its sketch has to its bound as all of them together.
    """
    low = sum(one.n_sketched for one in problems)
    high = sum(one.n_params for one in problems)
    if high <= low * (1.0 + 1e-9):  # nothing was sketched
        return list(problems)
    if not low <= number <= high * (1.0 + 1e-9):
        raise ValueError(
            f"correct_shrinkage is {number:.6g} effective parameters, and the fit has more than "
            f"the {low:.6g} of its sketch and at most {high:.6g}. Pass the sum of the leverages "
            "of the whole fit, over all classes or outputs, or correct_shrinkage=False."
        )
    share = (number - low) / (high - low)
    return [
        replace(one, n_params=one.n_sketched + share * (one.n_params - one.n_sketched))
        for one in problems
    ]


def _mask(fixed, projection, sketch):
    """Which of a sketch's parameters there are: (r K,), rows first."""
    n_components, active = projection.n_components, projection.active
    free = np.ones((n_components + fixed.has_intercept, fixed.n_outputs), dtype=bool)
    if active is not None and projection.omegas[sketch] is None:
        # Of classes that share a sketch, some may hold a feature at zero that others use.
        free[:n_components] = fixed.problem.coef[active] != 0
    for k in fixed.problem.constant_outputs:
        free[:n_components, k] = False
    if fixed.has_intercept:
        free[-1] = fixed.free[-1]
    return free.ravel()


def _varying(fixed, projection, sketch, total, centre):
    """Which parameters do not belong to a component that is constant up to rounding: (r K,)."""
    rounding = rounding_of(total, np.diag(projection.gram(sketch, np.square(centre))))
    size = np.diag(total.grams[sketch]).reshape(-1, fixed.n_outputs)
    varies = np.ones(size.shape, dtype=bool)
    varies[:-1] = size[:-1].sum(axis=1, keepdims=True) > rounding[:, None]
    return varies.ravel()


def _penalty(fixed, projection, sketch, l2):
    """Hessian of the penalty in a sketch, (r K, r K), rows first."""
    p, n_outputs = len(fixed.problem.coef), fixed.n_outputs
    size = projection.n_components + fixed.has_intercept
    whole = np.zeros((size, n_outputs, size, n_outputs))
    for k in range(n_outputs):
        if l2[:p, k].any():
            inner = projection.gram(sketch, l2[:p, k])
            whole[: len(inner), k, : len(inner), k] = inner
        if fixed.has_intercept:
            whole[-1, k, -1, k] = l2[-1, k]
    return whole.reshape(size * n_outputs, size * n_outputs)


def shift(leverage: Array, odds: float, most: float) -> Array:
    """Leverages whose odds are `odds` times as large, of at most `most`."""
    share = leverage / most
    return leverage * odds / (1.0 - share + share * odds)


def odds_for(leverage: Array, n_params: float, most: float) -> float:
    """By what to multiply the odds h / (1 - h) so that leverages add up to `n_params`."""
    reachable = most * float((leverage > 0).sum())
    if n_params >= reachable * (1.0 - 1e-9):
        raise ValueError(
            f"The fit has about {n_params:.0f} effective parameters and {reachable:.0f} rows "
            "with leverage, so that a corrected leverage would be 1 everywhere. Set "
            "correct_shrinkage=False, pass the number of effective parameters if it is known to "
            "be lower, or add a penalty."
        )

    def excess(log_odds):
        return float(shift(leverage, np.exp(log_odds), most).sum()) - n_params

    return float(np.exp(optimize.brentq(excess, -50.0, 50.0, xtol=1e-13)))


def most_leverage(fixed: Fixed) -> float:
    """Largest leverage that a row can have: the number of its outputs that are free."""
    return fixed.n_outputs - 1.0 if fixed.problem.loss.shift_invariant else float(fixed.n_outputs)

"""The first pass: sums over all rows, from which everything else of a row follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.diagnostics.measures import PERFECT
from skinfluence.engines.sketch.reading import Fixed
from skinfluence.engines.sketch.sketcher import Sketched
from skinfluence.engines.sketch.working import residuals
from skinfluence.objectives.coordinates import CONSTANT
from skinfluence.objectives.design import DenseDesign
from skinfluence.objectives.objective import gram_blocks
from skinfluence.solvers.stationarity import INTERPOLATING, violation

Array = NDArray[np.float64]

# Curvature, over the largest, below which a parameter counts as one that has none.
FLAT = 1e-30


@dataclass
class Totals:
    """Sums over the rows of one problem; two of them add up.

    Parameters
    ----------
    n_rows, n_held : int
        Number of rows, and of those that weigh anything.
    m : float
        What the penalty is multiplied by.
    slopes, moment : float
        Sums of the squares of the rows' weighted slopes, and of these times their positions.
    squares, size : float
        Pearson's statistic, and of targets and outputs what it is rounding of.
    gradient, noise, cross : ndarray of shape (P, K)
        Of the data, along features as they are or centred; the sum of the squares of its terms;
        and of their products with those of the intercept.
    grams : tuple of ndarray of shape (r K, r K)
        Curvature of the data in each sketch.
    columns, means : ndarray of shape (p, K, K)
        Curvature of the data along every feature, and between it and the intercept; of centred
        features where they are.
    mass : ndarray of shape (K, K)
        Curvature along the intercept.
    sizes : ndarray of shape (p,)
        Squares of every feature, of rows that weigh anything: without their curvature.
    """

    n_rows: int
    n_held: int
    m: float
    slopes: float
    moment: float
    squares: float
    size: float
    gradient: Array
    noise: Array
    cross: Array
    grams: tuple[Array, ...]
    columns: Array
    means: Array
    mass: Array
    sizes: Array

    def __add__(self, other: Totals) -> Totals:
        return Totals(**{name: self._sum(other, name) for name in _names()})

    def _sum(self, other, name):
        ours, theirs = getattr(self, name), getattr(other, name)
        if name == "grams":
            return tuple(a + b for a, b in zip(ours, theirs, strict=True))
        if name == "moment":  # the other's rows come behind ours
            return ours + theirs + self.n_rows * other.slopes
        return ours + theirs

    @property
    def perfect(self) -> bool:
        """Whether residuals are rounding errors of a fit that interpolates."""
        return self.squares <= PERFECT**2 * self.size


def _names():
    return [field.name for field in fields(Totals)]


def totals(fixed: Fixed, X: Any, part: Sketched) -> Totals:
    """Sums over the rows of a block `X`, (b, p)."""
    own = part.slopes
    weights, n_outputs = own.weights, fixed.n_outputs
    curvature = weights[:, None, None] * own.curvature
    flat = curvature.reshape(len(weights), -1)
    several = (X.shape[1], n_outputs, n_outputs)
    squares = residuals(fixed, own)
    slope = weights[:, None] * own.gradient
    squared = _entrywise(part.features, np.square)
    chance = np.square(weights[:, None] * _sizes(fixed, X, own))
    return Totals(
        n_rows=len(weights),
        n_held=int((weights > 0).sum()),
        m=_multiplier(fixed, weights),
        slopes=own.squares,
        moment=own.moment,
        squares=0.0 if squares is None else float(np.square(squares).sum()),
        size=_size(own),
        gradient=_adjoint(fixed, part.features, slope),
        noise=_adjoint(fixed, squared, chance),
        cross=_adjoint(fixed, part.features, chance),
        grams=tuple(_gram(rows, curvature) for rows in part.rows),
        columns=(squared.T @ flat).reshape(several),
        means=(part.features.T @ flat).reshape(several),
        mass=curvature.sum(axis=0),
        sizes=squared.T @ (weights > 0).astype(np.float64),
    )


def _gram(rows, curvature):
    if not rows.shape[1]:  # no feature is active, and BLAS refuses nothing
        return np.zeros((0, 0))
    return gram_blocks(DenseDesign(rows), curvature)


def _multiplier(fixed, weights):
    normalisation = fixed.problem.normalisation
    return float(weights.sum()) if normalisation == "weight" else float(len(weights))


def _size(own):
    targets = own.y if own.y.ndim == 2 else own.y[:, None]
    return float(own.weights @ (np.square(targets).sum(axis=1) + np.square(own.eta).sum(axis=1)))


def _entrywise(X, function):
    if sparse.issparse(X):
        return sparse.csr_array((function(X.data), X.indices, X.indptr), shape=X.shape)
    return function(X)


def _adjoint(fixed, X, values):
    inner = X.T @ values
    return np.vstack([inner, values.sum(axis=0)[None]]) if fixed.has_intercept else inner


def _sizes(fixed, X, own):
    """Sizes of the rows' slopes, (b, K), where rounding counts; see ``solvers.stationarity``."""
    bend = np.abs(np.einsum("nkk->nk", own.curvature))
    reach = _entrywise(X, np.abs) @ np.abs(fixed.problem.coef)
    if fixed.has_intercept:
        reach = reach + np.abs(fixed.problem.intercept)
    return np.abs(own.gradient) + INTERPOLATING * bend * reach


def multiplier(fixed: Fixed, total: Totals) -> float:
    """m, which is 1 where the penalty is that of a sum of losses."""
    return 1.0 if fixed.problem.normalisation == "sum" else total.m


def stationarity(fixed: Fixed, total: Totals, centre: Array | None = None) -> float:
    """How far the fitted parameters are from a minimum, over what chance moves them by.

    ``sqrt(sum_j g_j^2 / H_jj  /  sum_j sum_i (w_i l'_i x_ij)^2 / H_jj)``, g the gradient of the
    objective and H its curvature. Above are Newton steps along each parameter in the metric of
    the curvature, below the same of the rows one by one, as if their signs were random. Parameters
    of other rows have about 1, and of other labels up to the root of the number of rows. A column
    that two rows have, and no solver at its usual tolerance gets right, is one of many here,
    where the largest relative gradient of any column is that one's.
    """
    penalty, free = fixed.penalty, fixed.free
    m = multiplier(fixed, total) / fixed.unit
    gradient, noise, curvature = _along(fixed, total, centre)
    positive = np.zeros_like(free)
    positive[: len(fixed.problem.coef)] = fixed.problem.positive
    stub: Any = SimpleNamespace(
        penalty=penalty,
        m=m,
        gradient=lambda theta: gradient + m * penalty.gradient(theta),
        positive=positive,
        free=free,
    )
    violated = np.square(violation(stub, fixed.theta))
    noise = np.where(free, noise, 0.0)
    if not (np.isfinite(violated).all() and np.isfinite(noise).all()):
        return float("inf")
    whole = curvature + m * penalty.l2
    whole = np.maximum(whole / whole.max(initial=FLAT), FLAT)
    pull, chance = float((violated / whole).sum()), float((noise / whole).sum())
    if not pull:
        return 0.0
    return float(np.sqrt(pull / chance)) if chance else float("inf")


def _along(fixed, total, centre):
    """Gradient, its noise and curvature of the data along every parameter, (P, K) each.

    Where the intercept is free, features are taken less their mean, weighted by the curvature,
    whatever they were centred at. What is left of a constant one is rounding, and counts for 0.
    """
    gradient, noise = total.gradient, total.noise
    curvature = np.abs(np.einsum("pkk->pk", total.columns))
    if not fixed.has_intercept:
        return gradient, noise, curvature
    mass = np.abs(np.diag(total.mass))
    if fixed.centred:
        means = np.einsum("pkk->pk", total.means)
        shift = np.divide(means, mass, out=np.zeros_like(means), where=mass > 0)
        left = curvature - np.square(shift) * mass
        inner = gradient[:-1] - shift * gradient[-1]
        spread = noise[:-1] - 2.0 * shift * total.cross[:-1] + np.square(shift) * noise[-1]
        constant = (curvature > 0) & (left <= 1e-13 * curvature)
        if centre is not None:
            constant |= (curvature > 0) & (curvature <= rounding_of(total, centre**2)[:, None])
        curvature = np.where(constant, 0.0, left)
        gradient = np.vstack([np.where(constant, 0.0, inner), gradient[-1]])
        noise = np.vstack([np.where(constant, 0.0, spread.clip(0.0)), noise[-1]])
    return gradient, noise, np.vstack([curvature, mass])


def most_parameters(fixed: Fixed, total: Totals, centre: Array | None = None) -> float:
    """Effective parameters of the whole fit, or an upper bound where a penalty holds them.

    They are the trace of f(A) with A the curvature of the data over that of the penalty and
    f(a) = a / (1 + a), which is concave: dropping the curvature between features does not lower
    it. Without a penalty f counts the features that vary, which is the rank but for columns that
    are combinations of others.
    """
    p = len(fixed.problem.coef)
    active = np.arange(p) if fixed.active is None else fixed.active
    free = fixed.free
    blocks = total.columns[active]
    centred = fixed.has_intercept
    if centred:
        inverse = np.linalg.pinv(total.mass, hermitian=True)
        means = total.means[active]
        left = blocks - means @ inverse @ means.transpose(0, 2, 1)
        # A constant column less its mean is rounding.
        size = np.trace(blocks, axis1=1, axis2=2)
        rest = np.trace(left, axis1=1, axis2=2) > 1e-13 * size
        if fixed.centred and centre is not None:
            rest &= size > rounding_of(total, np.square(centre[active]))
        blocks = np.where(rest[:, None, None], left, 0.0)
    mask = free[active]
    blocks = blocks * (mask[:, :, None] & mask[:, None, :])
    l2 = (
        multiplier(fixed, total)
        / fixed.unit
        * fixed.penalty.l2[active].min(axis=1, initial=np.inf, where=mask)
    )
    found = np.linalg.eigvalsh(blocks)
    found = np.where(found > 1e-13 * found.max(axis=-1, keepdims=True, initial=0.0), found, 0.0)
    held = np.divide(found, found + l2[:, None], out=np.zeros_like(found), where=found > 0)
    most = float(held.sum())
    if centred:
        own = total.mass * (free[-1][:, None] & free[-1][None, :])
        most += np.linalg.matrix_rank(own, hermitian=True)
    seen = fixed.n_outputs - 1 if fixed.problem.loss.shift_invariant else fixed.n_outputs
    return min(most, float(total.n_held * seen))


def rounding_of(total: Totals, squares: Array) -> Array:
    """Curvature that centred features have by rounding, where `squares` are of their centres."""
    return CONSTANT**2 * np.trace(total.mass) * squares


def add_all(found: Sequence[Totals], more: Sequence[Totals]) -> list[Totals]:
    """Sums of several problems, one by one."""
    return [a + b for a, b in zip(found, more, strict=True)]

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
from skinfluence.solvers.stationarity import INTERPOLATING, largest_ratio, violation

Array = NDArray[np.float64]


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
    gradient, scale : ndarray of shape (P, K)
        Of the data, and the sum of the sizes of its terms.
    grams : tuple of ndarray of shape (r K, r K)
        Curvature of the data in each sketch.
    columns, means : ndarray of shape (p, K, K)
        Curvature of the data along every feature, and between it and the intercept; of centred
        features where they are.
    mass : ndarray of shape (K, K)
        Curvature along the intercept.
    """

    n_rows: int
    n_held: int
    m: float
    slopes: float
    moment: float
    squares: float
    size: float
    gradient: Array
    scale: Array
    grams: tuple[Array, ...]
    columns: Array
    means: Array
    mass: Array

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
    return Totals(
        n_rows=len(weights),
        n_held=int((weights > 0).sum()),
        m=_multiplier(fixed, weights),
        slopes=own.squares,
        moment=own.moment,
        squares=0.0 if squares is None else float(np.square(squares).sum()),
        size=_size(own),
        gradient=_adjoint(fixed, X, slope),
        scale=_sizes(fixed, X, own),
        grams=tuple(_gram(rows, curvature) for rows in part.rows),
        columns=(_entrywise(part.features, np.square).T @ flat).reshape(several),
        means=(part.features.T @ flat).reshape(several),
        mass=curvature.sum(axis=0),
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
    """What the gradient's terms add up to in size; see ``solvers.stationarity``."""
    sizes = _entrywise(X, np.abs)
    bend = np.abs(np.einsum("nkk->nk", own.curvature))
    reach = sizes @ np.abs(fixed.problem.coef)
    if fixed.has_intercept:
        reach = reach + np.abs(fixed.problem.intercept)
    slope = np.abs(own.gradient) + INTERPOLATING * bend * reach
    return _adjoint(fixed, sizes, own.weights[:, None] * slope)


def multiplier(fixed: Fixed, total: Totals) -> float:
    """m, which is 1 where the penalty is that of a sum of losses."""
    return 1.0 if fixed.problem.normalisation == "sum" else total.m


def stationarity(fixed: Fixed, total: Totals) -> float:
    """Largest relative gradient of the objective at the fitted parameters; 0 at its minimum."""
    theta, penalty, free = fixed.theta, fixed.penalty, fixed.free
    m = multiplier(fixed, total) / fixed.unit
    positive = np.zeros_like(free)
    positive[: len(fixed.problem.coef)] = fixed.problem.positive
    stub: Any = SimpleNamespace(
        penalty=penalty,
        m=m,
        gradient=lambda theta: total.gradient + m * penalty.gradient(theta),
        positive=positive,
        free=free,
    )
    own = m * (penalty.l2 * np.abs(theta) + penalty.l1)
    data = total.scale
    # As there: a column of zeros has but its penalty, and is compared to the others.
    data = np.where(data > 0, data, data.max(axis=0, initial=0.0))
    return largest_ratio(violation(stub, theta), data + own)


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

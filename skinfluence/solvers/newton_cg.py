"""The minimum of an objective with too many parameters for a Hessian: Newton by products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skinfluence.objectives.design import Design
from skinfluence.objectives.objective import Objective, gram_blocks
from skinfluence.solvers.minimise import Minimum
from skinfluence.solvers.stationarity import stationarity

Array = NDArray[np.float64]

# The relative gradient at which steps stop, and the one they have to reach.
STATIONARY, REACHED = 1e-10, 1e-6
# Rows of theta up to which blocks of the Hessian are factorised, and numbers in all of them.
BLOCK_FEATURES, BLOCK_NUMBERS = 2_500, 3 * 10**7
# Parameters up to which a softmax is factorised as a whole.
WHOLE = 1_500
# Rows a row of theta that are drawn for blocks, or a parameter, where there are more.
SAMPLED = 16
# Relative accuracy of a step: rough far from the minimum, finer as gradients fall.
ROUGH, FINE = 0.1, 1e-4
# Iterations of conjugate gradients a step, and those that a preconditioner is made anew for.
MAX_INNER, TIRED = 200, 40
# What a step must gain, as a share of what its slope promises; or the share gradients fall to.
GAIN, SHRINK = 1e-4, 0.9
# Curvature along a direction, in units of the preconditioner's, that is none: a step along it
# would be as long as rounding makes it (an output of a ReLU that is off for all rows).
FLAT = 1e-12
HALVINGS = 40
# Gains below this share of F are rounding; so many of them in a row, and gradients that do not
# fall either, are the end.
ROUNDING, IDLE = 1e-14, 3


def newton_cg(
    objective: Objective,
    theta: Array,
    *,
    tol: float = STATIONARY,
    max_iter: int = 30,
    enough: Callable[[Array], bool] | None = None,
) -> Minimum:
    """Minimise F from `theta` by Newton steps that conjugate gradients solve for.

    The systems are preconditioned by the Cholesky factors of the Hessian's blocks, one an output
    (or one that all share), as long as these are small, and by its diagonal above. Entries that
    a penalty or a bound holds at zero stay there.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (P, K)
        A start.
    tol : float, default=1e-10
        Stationarity at which to stop.
    max_iter : int, default=30
        Newton steps at most.
    enough : callable or None, default=None
        Whether to stop at a theta, instead of `tol`.

    Returns
    -------
    minimum : Minimum
        Converged where `enough` says so; by default, where the stationarity is 1e-6 or less.
    """
    start = stationarity(objective, theta)
    with np.errstate(all="ignore"):  # trials may be infeasible
        search = _Search(objective, _without_shift(objective, theta))
        stop = enough or (lambda theta: stationarity(objective, theta) <= tol)
        n_iter = 0
        while not (done := stop(search.theta)) and n_iter < max_iter and search.advance():
            n_iter += 1
    reached = stationarity(objective, search.theta)
    converged = done if enough else reached <= REACHED
    return Minimum(search.theta, start, reached, n_iter, bool(converged))


class _Search:
    """State of one minimisation."""

    def __init__(self, objective: Objective, theta: Array):
        self.objective, self.theta = objective, theta
        self.moving = objective.moving(theta)
        self.slope = self._slope(theta)
        self.inverse = _preconditioner(objective, theta, self.moving)
        self.fresh = True  # whether it was made at this theta
        self.size = self.first = self.best = self._length(self.slope)
        self.idle = 0

    def _slope(self, theta):
        return np.where(self.moving, self.objective.gradient(theta), 0.0)

    def advance(self) -> bool:
        """Take one step; False where none leads down."""
        step, n_inner = self._step()
        moved = self._accepted(step)
        if moved is None and self.fresh:
            return False
        if moved is not None:
            self.theta, self.fresh = moved, False
            self.moving = self.objective.moving(moved)
            self.slope = self._slope(moved)
        if moved is None or n_inner > TIRED:
            self.inverse = _preconditioner(self.objective, self.theta, self.moving)
            self.fresh = True
        return self.idle < IDLE

    def _step(self):
        product = _Product(self.objective, self.theta, self.moving)
        self.size = self._length(self.slope)
        rough = np.sqrt(self.size / self.first) if self.first > 0 else FINE
        return _solve(product, self.inverse, self.slope, min(ROUGH, max(FINE, rough)))

    def _length(self, slope):
        """Length of a gradient in units of the preconditioner, that is, of a rough step."""
        return float(np.sqrt((slope * self.inverse(slope)).sum()))

    def _accepted(self, step):
        promised = float((self.slope * step).sum())
        noise = ROUNDING * self.objective.size(self.theta)
        self.idle = self.idle + 1 if promised <= noise and self.size > 0.5 * self.best else 0
        self.best = min(self.best, self.size)
        for halving in range(HALVINGS):
            length = 0.5**halving
            moved = self.theta - length * step
            # Near a minimum differences of F are rounding, and gradients still tell.
            if length * promised <= noise:
                return moved if self._length(self._slope(moved)) < SHRINK * self.size else None
            if self.objective.change(self.theta, moved - self.theta) <= -GAIN * length * promised:
                return moved
        return None


def _solve(product, inverse, slope, tol):
    """Conjugate gradients on one right-hand side (P, K); also, how many iterations it took."""
    solved, left = np.zeros_like(slope), slope
    ahead = inverse(left)
    direction, power = ahead, (left * ahead).sum()
    enough, n_iter = tol**2 * power, 0
    while power > enough and n_iter < MAX_INNER:
        image = product(direction)
        bend = (direction * image).sum()
        if not bend > FLAT * power:
            return (solved if n_iter else direction), n_iter
        length = power / bend
        solved = solved + length * direction
        left = left - length * image
        ahead = inverse(left)
        grown = (left * ahead).sum()
        direction = ahead + grown / power * direction
        power, n_iter = grown, n_iter + 1
    return solved, n_iter


class _Product:
    """The Hessian of F at theta, times moves (P, K)."""

    def __init__(self, objective: Objective, theta: Array, moving: NDArray[np.bool_]):
        self.objective, self.theta, self.moving = objective, theta, moving
        outputs = objective.outputs(theta)
        self.bend = objective.loss.curvature_product(outputs, objective.y)

    def __call__(self, move: Array) -> Array:
        objective = self.objective
        bent = objective.weights[:, None] * self.bend(objective.design.times(move))
        own = objective.penalty.bent(self.theta, move)
        image = objective.design.adjoint(bent) + objective.m * own
        return np.where(self.moving, image, 0.0)


class _Blocks:
    """Inverse of each output's own block of the Hessian, or of their mean where all share one."""

    def __init__(
        self, bends: Array, objective: Objective, design: Design, own: Array, moving: Any
    ):
        self.moving, self.shifts = moving, _held_shifts(objective)
        shared = _shared(bends, own, moving)
        picked = [0] if shared else range(bends.shape[1])
        bends = bends.mean(axis=1, keepdims=True) if shared else bends
        own = own.mean(axis=1, keepdims=True) if shared else own
        self.factors = [_factor(design.gram(bends[:, k]), own[:, k], moving[:, k]) for k in picked]

    def __call__(self, slope: Array) -> Array:
        if len(self.factors) == 1:
            solved = linalg.cho_solve(self.factors[0], slope, check_finite=False)
        else:
            pairs = zip(self.factors, slope.T, strict=True)
            columns = [linalg.cho_solve(own, part, check_finite=False) for own, part in pairs]
            solved = np.stack(columns, axis=1)
        return _projected(np.where(self.moving, solved, 0.0), self.shifts)


class _Whole:
    """Inverse of the Hessian over all outputs of a softmax, which blocks know too little of."""

    def __init__(self, objective: Objective, rows: Any, scale: Array, own: Array, theta: Array):
        self.shifts = _held_shifts(objective)
        eta, y = objective.outputs(theta)[rows], objective.y[rows]
        weights = objective.weights[rows] * scale[:, 0]
        bends = weights[:, None, None] * objective.loss.curvature(eta, y)
        hessian = gram_blocks(objective.design.take(rows), bends)
        self._lift(hessian, own.shape)
        self.factor = _factor(hessian, own.ravel(), np.ones(own.size, dtype=bool))

    def _lift(self, hessian, shape):
        """Hold the shifts, which no loss does: what is orthogonal to them feels nothing of it."""
        blocks, at = hessian.reshape(*shape, *shape), np.flatnonzero(self.shifts)
        level = np.diag(hessian).reshape(shape).mean(axis=1)
        every = np.arange(shape[1])
        picked = at[:, None, None], every[:, None], at[:, None, None], every
        blocks[picked] += level[at, None, None]

    def __call__(self, slope: Array) -> Array:
        solved = linalg.cho_solve(self.factor, slope.ravel(), check_finite=False)
        return _projected(solved.reshape(slope.shape), self.shifts)


class _Diagonal:
    """Inverse of the diagonal of the Hessian."""

    def __init__(self, bends: Array, objective: Objective, own: Array, moving: Any):
        diagonal = objective.design.squares(bends) + own
        self.shifts = _held_shifts(objective)
        held = moving & (diagonal > 0)
        self.scale = np.divide(1.0, diagonal, out=np.zeros_like(diagonal), where=held)

    def __call__(self, slope: Array) -> Array:
        return _projected(self.scale * slope, self.shifts)


def _preconditioner(objective: Objective, theta: Array, moving: Any) -> Any:
    bends = objective.loss.curvature_diagonal(objective.outputs(theta), objective.y)
    bends = np.maximum(objective.weights[:, None] * bends, 0.0)
    own = objective.m * objective.penalty.bend_diagonal(theta)
    if len(theta) > BLOCK_FEATURES or (_many(own) and not moving.all()):
        return _Diagonal(bends, objective, own, moving)
    if theta.size <= WHOLE and objective.loss.shift_invariant and moving.all():
        rows, scale = _sampled(bends, SAMPLED * theta.size)
        return _Whole(objective, rows, scale, own, theta)
    rows, scale = _sampled(bends, SAMPLED * len(theta))
    return _Blocks(bends[rows] * scale, objective, objective.design.take(rows), own, moving)


def _sampled(bends, size):
    """Rows whose blocks are those of all rows in the mean, and by how much more they count.

    They are drawn where rows bend most.
    """
    n = len(bends)
    if n <= size:
        return slice(None), np.ones((n, 1))
    total = bends.sum(axis=1)
    chance = 0.5 / n + 0.5 * total / max(total.sum(), np.finfo(float).tiny)
    chance /= chance.sum()
    drawn = np.sort(np.random.default_rng(0).choice(n, size, p=chance))
    return drawn, 1.0 / (size * chance[drawn, None])


def _many(own):
    """Whether a block for each output takes too much room and time."""
    return len(own) ** 2 * own.shape[1] > BLOCK_NUMBERS


def _shared(bends, own, moving):
    """Whether one block stands for all outputs: they are alike, or too many."""
    if _many(own):
        return True
    alike = (bends == bends[:, :1]).all() and (own == own[:, :1]).all()
    return bool(alike and (moving == moving[:, :1]).all())


def _factor(gram, own, moving):
    gram[np.diag_indices_from(gram)] += own
    gram[~moving] = gram[:, ~moving] = 0.0
    diagonal = np.diag(gram)
    # A direction that nothing holds is left alone; rounding must not make the others indefinite.
    lift = np.where(diagonal > 0, len(gram) * 1e-15 * diagonal, 1.0)
    gram[np.diag_indices_from(gram)] += lift
    try:
        return linalg.cho_factor(gram, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return np.diag(np.sqrt(np.diag(gram))), True


def _held_shifts(objective):
    """Rows of theta whose mean over the outputs is 0 at the minimum, (P,).

    Softmax does not feel a shift common to all outputs, so that an l2 penalty alike for all of
    them holds it at 0, and a free one may stay where it is: no step goes there.
    """
    if not objective.loss.shift_invariant:
        return np.zeros(len(objective.free), dtype=bool)
    penalty = objective.penalty
    alike = (penalty.l2 == penalty.l2[:, :1]).all(axis=1) & ~penalty.l1.any(axis=1)
    alike &= objective.free.all(axis=1) & ~objective.positive.any(axis=1)
    return alike & (penalty.l21 == 0)


def _projected(moves, shifts):
    if shifts.any():
        moves[shifts] -= moves[shifts].mean(axis=1, keepdims=True)
    return moves


def _without_shift(objective, theta):
    """`theta` without the shifts that a penalty holds at 0: F falls, and no output feels it."""
    held = _held_shifts(objective) & objective.penalty.l2.any(axis=1)
    return _projected(np.array(theta), held)

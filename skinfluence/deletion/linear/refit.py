"""Exact refits without each of many rows, all of them swept at once."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.moves import Leaving, NewtonInverse
from skinfluence.objectives import Objective
from skinfluence.solvers.minimise import minimise

Array = NDArray[np.float64]

# A column is done when a step no longer moves it by more than this share of its move.
DONE = 1e-12
# Outputs of some rows under some moves are taken tile by tile: this many columns of moves, and
# so many rows that a tile has this many bytes and stays in the cache.
COLUMNS, TILE = 256, 2**19
# Columns that contract by less than this factor a sweep get a Hessian of their own.
SLOW = 0.5
MAX_SWEEPS = 30


@dataclass
class Refits:
    """Moves of the refitted parameters, and how they were reached.

    Parameters
    ----------
    moves : ndarray of shape (P K, b)
    n_sweeps : int
        Sweeps over the batch.
    alone : list of int
        Rows that were refitted one by one.
    failed : list of int
        Rows whose refit did not converge: without them there may be no minimum.
    """

    moves: Array
    n_sweeps: int = 0
    alone: list[int] = field(default_factory=list)
    failed: list[int] = field(default_factory=list)


def refit(
    curvature: LinearCurvature, gone: Leaving, inverse: NewtonInverse | None = None
) -> Refits:
    """Minimise the objective without each row, by chord sweeps with its Newton inverse.

    ``D_i <- D_i - (H' - w_i h_i)^-1 (gradient of the deleted objective at theta + D_i)``: with
    all D as columns, the outputs are one product X D and the gradients another, and the matrix
    is factorised once. A sweep contracts by about the leverage of the row. For changes other
    than deletions `inverse` is that of the Hessian that they leave.
    """
    inverse = NewtonInverse(curvature, gone) if inverse is None else inverse
    result = Refits(inverse.move())
    # Without a gradient nothing is pulled away: rows of no weight, or outside a margin.
    done = inverse.exact | ~result.moves.any(axis=0)
    arrived = _sweep(curvature, inverse, result, np.flatnonzero(~done & ~inverse.alone))
    done[arrived] = True
    _one_by_one(curvature, gone, result, ~done | _left_its_face(curvature, gone, result.moves))
    return result


def _sweep(curvature, inverse, result, live):
    """Sweep the columns `live` until each has arrived or contracts too slowly; those arrived."""
    floor = 4.0 * np.finfo(float).eps * np.linalg.norm(curvature.theta)
    last = np.full(len(live), np.inf)
    inverse = inverse.of(live)
    arrived = []
    while live.size and result.n_sweeps < MAX_SWEEPS:
        step = inverse(deleted_gradient(curvature, inverse.gone, result.moves[:, live]))
        length = np.linalg.norm(step, axis=0)
        step[:, ~np.isfinite(length)] = 0.0
        result.moves[:, live] -= step
        result.n_sweeps += 1
        ratio = length / last
        # Steps fall geometrically: what is left after this one is as much of it again.
        left = np.where(np.isfinite(last) & (ratio < SLOW), length * ratio / (1 - SLOW), length)
        size = np.linalg.norm(result.moves[:, live], axis=0)
        there = np.isfinite(length) & (left <= DONE * size + floor)
        arrived.append(live[there])
        # A slow column stands still from now on, which is not to have arrived.
        going = np.isfinite(length) & ~there & (ratio <= SLOW)
        if not going.all():
            keep = np.flatnonzero(going)
            live, length, inverse = live[keep], length[keep], inverse.of(keep)
        last = length
    return np.concatenate([np.zeros(0, dtype=np.intp), *arrived])


def deleted_gradient(
    curvature: LinearCurvature,
    gone: Leaving,
    moves: Array,
    entries: NDArray[np.bool_] | None = None,
) -> Array:
    """Gradient of each deleted objective at its own parameters, (P K, b).

    Entries that do not move are 0; `entries` (P, K) names others to be shown.
    """
    shown = curvature.moving if entries is None else entries
    gradient = np.empty_like(moves)
    for block in _loops.slices(len(gone.rows), COLUMNS // curvature.theta.shape[1]):
        found = _gradient_of_block(curvature, gone.of(block), moves[:, block])
        gradient[:, block] = (found * shown[:, :, None]).reshape(len(moves), -1)
    return gradient


def _gradient_of_block(curvature, gone, moves):
    objective = curvature.objective
    shaped = moves.reshape(*curvature.theta.shape, -1)
    flat = np.ascontiguousarray(moves).reshape(len(shaped), -1)
    gradient = gone.m * objective.penalty.gradient(curvature.theta[:, :, None] + shaped)
    for part in _loops.slices(objective.n_train, TILE // (8 * flat.shape[1])):
        slopes = _moved_slopes(curvature, gone, part, flat)
        gradient += objective.design.take(part).adjoint(slopes).reshape(shaped.shape)
    return gradient + gone.entering(curvature, moves)


def _moved_slopes(curvature, gone, part, moves):
    """``w_j l'_j`` of some training rows j under each deletion, without the deleted row's own.

    Of shape (n_part, K b), for moves (P, K b).
    """
    objective = curvature.objective
    n_outputs, b = curvature.theta.shape[1], len(gone.rows)
    outputs = objective.design.take(part).times(moves).reshape(-1, n_outputs, b)
    outputs += curvature.outputs[part, :, None]
    with np.errstate(over="ignore", invalid="ignore"):
        slopes = objective.loss.gradient(np.moveaxis(outputs, 1, 2), objective.y[part, None])
    slopes = np.moveaxis(slopes, 2, 1) * objective.weights[part, None, None]
    if gone.ratios is not None and objective.rebalance is not None:
        slopes *= gone.ratios[objective.rebalance.group_of_row[part]][:, None, :]
    own = np.flatnonzero((gone.rows >= part.start) & (gone.rows < part.stop))
    slopes[gone.rows[own] - part.start, :, own] = 0.0
    return slopes.reshape(-1, n_outputs * b)


def _left_its_face(curvature, gone, moves):
    """Rows whose refit changes which coefficients are held at 0 by a kink or a bound."""
    objective = curvature.objective
    penalty = objective.penalty
    held = objective.kinked & objective.free
    if not held.any():
        return np.zeros(len(gone.rows), dtype=bool)
    shaped = moves.reshape(*curvature.theta.shape, -1)
    crossed = np.sign(curvature.theta)[:, :, None] != np.sign(curvature.theta[:, :, None] + shaped)
    crossed &= (curvature.moving & held & ((penalty.l1 > 0) | objective.positive))[:, :, None]
    return crossed.any(axis=(0, 1)) | _violates(curvature, gone, moves)


def _violates(curvature, gone, moves):
    """Rows whose held coefficients would leave 0: the gradient outgrows what holds them."""
    objective = curvature.objective
    penalty = objective.penalty
    still = objective.free & ~curvature.moving
    if not still.any():
        return np.zeros(len(gone.rows), dtype=bool)
    pull = deleted_gradient(curvature, gone, moves, objective.free)
    pull = pull.reshape(*curvature.theta.shape, -1)
    room = (gone.m * penalty.l1[:, :, None]) * (1.0 + 1e-12)
    over = np.where(objective.positive[:, :, None], -pull - room, np.abs(pull) - room)
    over = np.where((penalty.l21 > 0)[:, None, None], -1.0, over)
    norms = np.sqrt((pull**2).sum(axis=1))
    rows_over = norms - gone.m * penalty.l21[:, None] * (1.0 + 1e-12)
    rows_over = np.where(((penalty.l21 > 0) & still.all(axis=1))[:, None], rows_over, -1.0)
    return ((over > 0) & still[:, :, None]).any(axis=(0, 1)) | (rows_over > 0).any(axis=0)


def _one_by_one(curvature, gone, result, which):
    for i in np.flatnonzero(which):
        row = int(gone.rows[i])
        left = gone.left(curvature.objective, i)
        move = result.moves[:, i].reshape(curvature.theta.shape)
        found = minimise(left, feasible_start(left, curvature.theta, move))
        result.moves[:, i] = (found.theta - curvature.theta).ravel()
        (result.alone if found.converged else result.failed).append(row)


def feasible_start(objective: Objective, theta: Array, move: Array) -> Array:
    """Where a search starts: at the end of `move`, unless it has left the domain of the loss."""
    with np.errstate(all="ignore"):
        inside = np.isfinite(objective.value(theta + move))
    return theta + move if inside else theta

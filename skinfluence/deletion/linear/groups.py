"""Deletion of several rows together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.moves import ALONE, class_gradients, weight_ratios
from skinfluence.deletion.linear.refit import feasible_start
from skinfluence.solvers import DenseInverse
from skinfluence.solvers.minimise import minimise

Array = NDArray[np.float64]


def group_newton(curvature: LinearCurvature, rows: NDArray[np.intp]) -> Array:
    """Newton step of the objective without all of `rows`, (P, K).

    ``(H' - sum_S w_i h_i) Delta = sum_S gbar_i``. With few rows, by their outputs (Woodbury):
    ``Delta = H'^-1 r + T (I - C E'T)^-1 C E'H'^-1 r``, E the rows' unit gradients, T = H'^-1 E and
    C their curvatures; with more rows than parameters, or where nothing else holds one of their
    directions, by a factorisation of its own.
    """
    objective = curvature.objective
    n_outputs = curvature.theta.shape[1]
    if len(rows) * n_outputs >= curvature.moving.sum():
        return _by_its_own_factor(curvature, rows)
    gradient, own, alpha = _gone(curvature, rows)
    dense = objective.design.take(rows).dense()
    units = curvature.units(dense)  # (P K, K b)
    solved = curvature.solve(units, np.tile(alpha, units.shape[1]))
    plain = curvature.solve(gradient[:, None], alpha)[:, 0]
    bends = _block_diagonal(own[:, None, None] * curvature.bends[rows])
    left = np.eye(units.shape[1]) - bends @ (units.T @ solved)
    if np.linalg.svd(left, compute_uv=False)[-1] <= ALONE:
        return _by_its_own_factor(curvature, rows)
    weight = np.linalg.solve(left, bends @ (units.T @ plain))
    return (plain + solved @ weight).reshape(curvature.theta.shape)


def group_refit(curvature: LinearCurvature, rows: NDArray[np.intp]) -> tuple[Array, bool]:
    """Move to the minimum without `rows`, (P, K), and whether there is one."""
    left = curvature.objective.without(rows)
    start = feasible_start(left, curvature.theta, group_newton(curvature, rows))
    found = minimise(left, start)
    return found.theta - curvature.theta, found.converged


def _gone(curvature, rows):
    """Gradient that goes with the group, its rows' weight ratios, and the mixture it leaves."""
    objective = curvature.objective
    ratios, own = weight_ratios(objective, rows, together=True)
    slopes = own[:, None] * curvature.slopes[rows]
    gradient = objective.design.take(rows).adjoint(slopes)
    share = objective.m_share[rows].sum()
    gradient = gradient + share * curvature.penalty_gradient
    gradient = np.where(curvature.moving, gradient, 0.0).ravel()
    if ratios is not None:
        gradient -= class_gradients(curvature) @ (ratios[:, 0] - 1.0)
    return gradient, own, curvature.alphas(ratios, np.array([objective.m - share]))


def _by_its_own_factor(curvature, rows):
    left = curvature.objective.without(rows)
    own = LinearCurvature(
        left,
        curvature.theta,
        expected=curvature.expected,
        solver=curvature.solver,
        tol=curvature.tol,
        max_iter=curvature.max_iter,
    )
    gradient = np.where(curvature.moving, left.gradient(curvature.theta), 0.0)
    step = -own.inverse()(gradient.reshape(-1, 1))[:, 0]
    return _of_least_norm(own, step).reshape(curvature.theta.shape)


def _of_least_norm(curvature, step):
    """The step to the coefficients of least norm, where directions are left that no row holds."""
    inverse = curvature.inverse()
    idle = inverse.null_basis() if isinstance(inverse, DenseInverse) else None
    if idle is None:
        return step
    metric = np.repeat(curvature.objective.coordinates.metric(), curvature.theta.shape[1])
    root = np.sqrt(metric)[:, None]
    here = root[:, 0] * (curvature.theta.ravel() + step)
    along = np.linalg.lstsq(root * idle, here, rcond=None)[0]
    return step - idle @ along


def _block_diagonal(blocks):
    # Output by output, as the columns of `units` are: (k, i), (l, i).
    b, n_outputs, _ = blocks.shape
    total = np.zeros((n_outputs, b, n_outputs, b))
    each = np.arange(b)
    for k in range(n_outputs):
        for l in range(n_outputs):
            total[k, each, l, each] = blocks[:, k, l]
    return total.reshape(n_outputs * b, n_outputs * b)

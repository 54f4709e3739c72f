"""How far parameters are from a minimum, in a number without units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from skinfluence.objectives.objective import Objective

Array = NDArray[np.float64]

# Residuals this far below the outputs they are differences of count as zero.
INTERPOLATING = 1e-4
# Rows whose absolute values are held at a time.
BLOCK = 4096


def violation(objective: Objective, theta: Array) -> Array:
    """The subgradient of least norm of F at feasible `theta`, (P, K): 0 at a minimum.

    For an entry that is off zero, or smooth, it is the derivative. For one at zero it is what the
    slope of the rest exceeds the penalty by, or leads into theta >= 0.
    """
    penalty, m = objective.penalty, objective.m
    slope = objective.gradient(theta)
    zero = theta == 0
    l1 = m * penalty.l1
    soft = np.sign(slope) * np.maximum(np.abs(slope) - l1, 0.0)
    slope = np.where(zero & ~objective.positive, soft, slope)
    slope = np.where(zero & objective.positive, np.minimum(slope + l1, 0.0), slope)
    if penalty.l21.any():
        norm = np.linalg.norm(slope, axis=1)
        excess = 1.0 - np.divide(m * penalty.l21, norm, out=np.ones_like(norm), where=norm > 0)
        shrink = np.where(zero.all(axis=1) & (penalty.l21 > 0), np.maximum(excess, 0.0), 1.0)
        slope = slope * shrink[:, None]
    return np.where(objective.free, slope, 0.0)


def gradient_scale(objective: Objective, theta: Array) -> Array:
    """Sum of the sizes of all terms of the gradient, (P, K): it bounds :func:`violation`.

    ``scale_j = sum_i w_i (|l'_i| + 1e-4 l''_i sum_k |x~_ik theta_k|) |x~_ij| + m |Omega'_j|``.
    The second term is by how much the first moves with the terms of the outputs. It matters where
    residuals are rounding errors of the outputs (a fit that interpolates), whose gradient is a
    rounding error too. It does not where a logistic loss dies out: its curvature dies with it.
    """
    loss, penalty, design = objective.loss, objective.penalty, objective.design
    own = objective.m * (penalty.l2 * np.abs(theta) + penalty.l1 + penalty.l21[:, None])
    data = np.zeros_like(theta)
    for start in range(0, len(design), BLOCK):
        rows = slice(start, start + BLOCK)
        part, y = design.take(rows), objective.y[rows]
        eta, sizes = part.times(theta), part.absolute()
        bend = np.abs(loss.curvature_diagonal(eta, y))
        slope = np.abs(loss.gradient(eta, y)) + INTERPOLATING * bend * sizes.times(np.abs(theta))
        data += sizes.adjoint(objective.weights[rows, None] * slope)
    # A column of zeros (a constant one, centred) has but its penalty: compare it to the others,
    # or any coefficient there, however small, is as far from the minimum as can be. An output that
    # no row bends or pulls (a ReLU that is off for all of them) is compared to other outputs.
    most = data.max(axis=0, initial=0.0)
    most = np.where(most > 0, most, most.max(initial=0.0))
    return np.where(data > 0, data, most) + own


def stationarity(objective: Objective, theta: Array) -> float:
    """Largest violation of the optimality conditions over the size of the terms that cancel.

    Conventions. 0 is a minimum (of a convex F) and 1 the most: no term cancels. Fits to the
    rounding floor have 1e-16 to 1e-12; solvers stopped at their default tolerance 1e-6 to 1e-2,
    and up to 1 where columns are unscaled or sparse; parameters of other rows or of another
    objective 0.1 to 1.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (P, K)

    Returns
    -------
    stationarity : float
        ``max_j |violation_j| / scale_j``; see :func:`gradient_scale`.
    """
    return largest_ratio(violation(objective, theta), gradient_scale(objective, theta))


def largest_ratio(violated: Array, scale: Array) -> float:
    """The largest of |violated| / scale, with 0 / 0 = 0; infinite if there is a NaN."""
    size = np.abs(violated)
    if not (np.isfinite(size).all() and np.isfinite(scale).all()):
        return float("inf")
    ratio = np.divide(size, scale, out=np.zeros_like(size), where=size > 0)
    return float(ratio.max(initial=0.0))

"""The minimum of a smoothed programme, from the fit of the programme itself."""

from __future__ import annotations

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.smoothed_programme import (
    Bordered,
    SmoothedProgramme,
    SmoothPoint,
)

# Temperatures on the way, from this share of the mean distance to a kink: wide valleys first, so
# that Newton steps arrive.
HOT, COOLING = 0.2, 5.0
STEPS, HALVINGS = 100, 40
# What is left of the gradient where the next temperature may come, and at the last; and where
# steps that lead nowhere say that it is all rounding.
ROUGH, TIGHT, RESOLVED, IDLE = 1e-2, 1e-15, 1e-8, 3
# Armijo's share of the promised gain; digits that the objective has.
GAIN, DIGITS = 1e-4, 1e-11


def smooth_optimum(problem: SmoothedProgramme, beta: Array) -> SmoothPoint:
    """The minimum, by Newton steps at temperatures that fall.

    Parameters
    ----------
    problem : SmoothedProgramme
    beta : ndarray of shape (N,)
        Coefficients to start from.
    """
    products = problem.matrix @ beta
    point = SmoothPoint(beta, products, problem.best_offsets(products), np.inf)
    last = problem.temperature
    for t in _temperatures(problem, point):
        at = _at(problem, t)
        point = _newton(at, point, TIGHT if t == last else ROUGH)
    return point


def _at(problem, temperature):
    """The same problem at another temperature."""
    other = object.__new__(SmoothedProgramme)
    other.__dict__.update(problem.__dict__, temperature=temperature)
    return other


def _temperatures(problem, point):
    last = problem.temperature
    size = np.abs(problem.gaps(point.products, point.offset)).mean()
    hotter = int(np.ceil(np.log(max(HOT * size / last, 1.0)) / np.log(COOLING)))
    return [last * COOLING**k for k in range(hotter, -1, -1)]


def _newton(problem, start, tol):
    best, idle = None, 0
    point = _at_best_offset(problem, start.beta, start.products)
    for _ in range(STEPS):
        idle = 0 if best is None or point.stationarity < 0.5 * best.stationarity else idle + 1
        if best is None or point.stationarity < best.stationarity:
            best = point
        if best.stationarity <= tol or (idle >= IDLE and best.stationarity <= RESOLVED):
            break
        point = _searched(problem, point)
    return best


def _at_best_offset(problem, beta, products):
    """The point of these coefficients, and what is left of its gradient."""
    offset = problem.best_offsets(products)
    off, unmet, wanted, _ = _gradient(problem, beta, products, offset)
    left = np.abs(off).sum() + np.abs(unmet).sum()
    return SmoothPoint(beta, products, offset, float(left / (np.abs(wanted).sum() or 1.0)))


def _gradient(problem, beta, products, offset):
    """By coefficients (in the kernel's inner product) and offsets; the curvature of the losses."""
    programme = problem.programme
    g = problem.gaps(products, offset)
    wanted, D = problem.derivatives(g, programme.lo, programme.hi)
    return beta - wanted, programme.c - problem.members.T @ wanted, wanted, D


def _searched(problem, point):
    """A point where the objective is lower.

    Offsets are at their best everywhere: where all rows are far from their kinks a step of theirs
    would be as far. Near the minimum, where digits of the objective end, the step is taken whole.
    """
    off, unmet, _, D = _gradient(problem, point.beta, point.products, point.offset)
    system = Bordered(problem.matrix, D, problem.members)
    z, _ = system.solve(system.root * (problem.matrix @ off), unmet)
    d_beta = system.root * z - off
    d_products = problem.matrix @ d_beta
    slope = float(off @ d_products)
    terms = problem.terms(point.beta, point.products, point.offset)
    before, resolved = sum(terms), DIGITS * float(np.abs(terms).sum())
    length = 1.0
    for _ in range(HALVINGS):
        beta, products = point.beta + length * d_beta, point.products + length * d_products
        found = _at_best_offset(problem, beta, products)
        gain = problem.value(beta, products, found.offset) - before
        if gain <= GAIN * length * slope or abs(slope) < resolved:
            break
        length *= 0.5
    return found

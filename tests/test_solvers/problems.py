"""Problems built by hand, and their optimality conditions, computed in the user's columns."""

import numpy as np

from skinfluence.objectives import Problem, build


def problem_of(loss, X, y, *, intercept=True, **options):
    """A problem whose fitted parameters are zero."""
    n, p = X.shape
    options = {"weights": np.ones(n), **options}
    start = np.zeros(loss.n_outputs) if intercept else None
    return Problem(loss=loss, y=y, coef=np.zeros((p, loss.n_outputs)), intercept=start, **options)


def objective_of(loss, X, y, **options):
    """The objective of a problem, and zeros."""
    return build(problem_of(loss, X, y, **options), X)


def kkt_violation(problem, X, parameters):
    """Largest violation of the optimality conditions, relative to the terms of the gradient.

    `parameters` are (p [+ 1], K), in columns as given: no coordinates, no Objective, no solver.
    """
    n, p = X.shape
    rows = X if problem.intercept is None else np.hstack([X, np.ones((n, 1))])
    slopes = problem.weights[:, None] * problem.loss.gradient(rows @ parameters, problem.y)
    m = {"sum": 1.0, "weight": problem.weights.sum(), "count": n}[problem.normalisation]
    l1, l2 = np.zeros_like(parameters), np.zeros_like(parameters)
    l1[:p], l2[:p] = problem.l1, problem.l2
    l1[p:], l2[p:] = problem.intercept_l1, problem.intercept_l2
    slope = rows.T @ slopes + m * l2 * parameters
    size = np.abs(rows).T @ np.abs(slopes) + m * (l2 * np.abs(parameters) + l1 + problem.l21)
    # Where a fit interpolates, all that is left is the rounding error of the outputs.
    terms = np.abs(rows) @ np.abs(parameters)
    size += 1e-4 * np.abs(rows).T @ (problem.weights[:, None] * terms)
    off = slope + m * l1 * np.sign(parameters)
    at_zero = np.maximum(np.abs(slope) - m * l1, 0.0)
    if problem.positive:
        at_zero[:p] = np.maximum(-slope - m * l1, 0.0)[:p]
    wrong = np.where(parameters == 0, at_zero, np.abs(off))
    if problem.l21:
        norm = np.linalg.norm(parameters[:p], axis=1, keepdims=True)
        unit = parameters[:p] / np.where(norm > 0, norm, 1.0)
        off = np.linalg.norm(slope[:p] + m * problem.l21 * unit, axis=1, keepdims=True)
        held = np.linalg.norm(slope[:p], axis=1, keepdims=True) - m * problem.l21
        wrong[:p] = np.where(norm > 0, off, np.maximum(held, 0.0))
    return (wrong / np.where(size > 0, size, 1.0)).max()

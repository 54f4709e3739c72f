"""From a fitted estimator to the parts whose rows can be deleted."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.kinks import KinkedFit, KinkedPart, has_path
from skinfluence.deletion.linear.part import BasePart, Notes, Part
from skinfluence.deletion.linear.programme import ProgrammePart
from skinfluence.deletion.quantile import QuantilePath
from skinfluence.objectives import LinearFit, Objective, build_all
from skinfluence.solvers.minimise import minimise
from skinfluence.solvers.newton_cg import newton_cg

Array = NDArray[np.float64]

# Parameters above which no Hessian is formed: it would take more than a gigabyte.
DENSE_PARAMETERS = 10_000
# Rows above which kinks are approached by smoothing ever less, and how many times.
MANY, SHARPER = 2_000, 2


@dataclass(frozen=True)
class Fitted:
    """Parts of a fit, and how far the estimator was from the optimum they stand at.

    Parameters
    ----------
    parts : sequence of BasePart
    notes : Notes
    stationarity : tuple of float
        Largest relative gradient over the parts before and after the polish; before, for a loss
        that had to be smoothed, by which share its own objective is above that at the smoothed
        minimum: 0 at its own minimum.
    converged : bool
        Whether every polish reached a minimum.
    solver : {"dense", "cg"}
    method : {"first_order", "newton", "refit", "exact"}
        What "auto" became: the path of the optimum where a loss with kinks has one, else a Newton
        step where its inverses can be afforded.
    n_iter : int
        Most steps that a polish took.
    """

    parts: Sequence[BasePart]
    notes: Notes
    stationarity: tuple[float, float]
    converged: bool
    solver: str
    method: str
    n_iter: int = 0


def fitted_parts(
    fit: LinearFit,
    X: Any,
    *,
    method: str,
    expected: bool = False,
    fixed_class_weights: bool = False,
    solver: str = "auto",
    smooth: bool = False,
    **iteration: Any,
) -> Fitted:
    """Polish every problem of a fit and take its derivatives there.

    Parameters
    ----------
    fit : LinearFit
    X : ndarray or sparse array of shape (n, p)
        Training rows in model space.
    method : {"auto", "first_order", "newton", "refit"}
        How the parts move when rows are deleted.
    expected : bool, default=False
        Take expected curvature where the loss has one.
    fixed_class_weights : bool, default=False
        Hold "balanced" class weights at their fitted values.
    solver : {"auto", "dense", "cg"}, default="auto"
    smooth : bool, default=False
        Stay with the derivatives of smoothed losses where "auto" would follow their kinks.
    **iteration : float or int
        `tol` and `max_iter` of conjugate gradients, where they are not the usual ones.
    """
    if fit.linear_programme:
        return _programme(fit, X, method)
    if method in ("auto", "refit") and not smooth and has_paths(fit):
        return _kinked(fit, X, fixed_class_weights)
    _check_method(fit, method)
    built = build_all(fit.problems, X)
    if solver == "auto":
        solver = _solver_for(built)
    if method == "auto":
        method = "newton" if solver == "dense" else "first_order"
    notes = Notes()
    parts, before, after, converged, n_iter = [], 0.0, 0.0, True, 0
    for problem, (objective, theta) in zip(fit.problems, built, strict=True):
        if fixed_class_weights:
            objective = dataclasses.replace(objective, rebalance=None)
        found = (newton_cg if solver == "cg" else minimise)(objective, theta)
        start = _excess(objective, theta, found.theta) if fit.smoothed else found.start
        before, after = max(before, start), max(after, found.stationarity)
        converged, n_iter = converged and found.converged, max(n_iter, found.n_iter)
        theta = found.theta
        curvature = LinearCurvature(
            objective, theta, expected=expected, solver=solver, **iteration
        )
        parts.append(Part(problem, objective, theta, curvature, method, notes))
    return Fitted(parts, notes, (before, after), converged, solver, method, n_iter)


def _solver_for(built):
    largest = max(int(objective.moving(theta).sum()) for objective, theta in built)
    return "dense" if largest <= DENSE_PARAMETERS else "cg"


def has_paths(fit: LinearFit) -> bool:
    """Whether all losses have kinks, past which the exact minimum can be followed."""
    return fit.smoothed and all(map(has_path, fit.problems))


def exact_minimum(objective: Objective, theta: Array) -> tuple[KinkedFit, int]:
    """The minimum of a kinked loss from one near that of the smoothed loss; steps to there."""
    solve = newton_cg if _solver_for([(objective, theta)]) == "cg" else minimise
    found = solve(objective, theta)
    n_iter, theta, nearer = found.n_iter, found.theta, objective
    for _ in range(SHARPER if objective.n_train > MANY else 0):
        # Of many rows many are in a bend, and each is an event of the path to the minimum.
        loss = copy.copy(nearer.loss)
        loss.temperature *= 0.1
        nearer = dataclasses.replace(nearer, loss=loss)
        found = solve(nearer, theta)
        if not found.converged:
            break
        n_iter, theta = n_iter + found.n_iter, found.theta
    return KinkedFit(nearer, theta), n_iter


def _kinked(fit, X, fixed_class_weights):
    notes = Notes()
    parts, before, after, n_iter = [], 0.0, 0.0, 0
    for problem, (objective, theta) in zip(fit.problems, build_all(fit.problems, X), strict=True):
        if fixed_class_weights:
            objective = dataclasses.replace(objective, rebalance=None)
        found, steps = exact_minimum(objective, theta)
        before = max(before, _excess(objective, theta, found.theta))
        after, n_iter = max(after, found.gap), max(n_iter, steps)
        parts.append(KinkedPart(problem, objective, found, notes))
    return Fitted(parts, notes, (before, after), True, "dense", "exact", n_iter)


def _excess(objective, theta, polished):
    """Share of the objective, kinks and all, that the fit could still have won."""
    raw = dataclasses.replace(objective, loss=objective.loss.raw)
    value = raw.value(theta)
    return max(0.0, value - raw.value(polished)) / value if value > 0 else 0.0


def _check_method(fit, method):
    if method == "refit" and fit.smoothed:
        raise ValueError(
            "method='refit' would refit the smoothed loss, which is not what the estimator "
            "minimised. Leave smoothing=None, relative=None and solver='auto', with which the "
            "kinks of an l2-penalised loss are followed exactly; or use method='newton'."
        )


def _programme(fit, X, method):
    if method in ("first_order", "newton"):
        raise ValueError(
            f"method={method!r} needs derivatives, and a quantile regression is a vertex of a "
            "linear programme, which has none. Use method='auto', which is exact, or set "
            "smoothing to a temperature in units of y."
        )
    (problem,) = fit.problems
    ((objective, _),) = build_all(fit.problems, X)
    path = QuantilePath(
        X,
        problem.y,
        problem.weights,
        quantile=problem.loss.quantile,
        alpha=float(problem.l1),
        fit_intercept=problem.intercept is not None,
        coef=problem.coef[:, 0],
        intercept=0.0 if problem.intercept is None else float(problem.intercept[0]),
    )
    notes = Notes()
    part = ProgrammePart(problem, objective, path, notes)
    return Fitted([part], notes, (path.gap, 0.0), True, "dense", "exact")

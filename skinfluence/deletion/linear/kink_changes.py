"""Other values of the training rows of linear models with kinked losses."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.changes import Incoming, exchanged
from skinfluence.deletion.linear.kinks import KinkedFit, KinkedPart
from skinfluence.deletion.linear.spans import problem_with, stacked
from skinfluence.objectives import Objective, build
from skinfluence.objectives.coordinates import RowSpace

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


def replaced(
    part: KinkedPart, X: Any, rows: Positions, new: Any, incoming: Incoming
) -> tuple[Array, NDArray[np.bool_]]:
    """Change of the user's parameters when each row is replaced, and whether a path ended.

    Parameters
    ----------
    part : KinkedPart
    X : ndarray or sparse array of shape (n, p)
        Training rows.
    rows : ndarray of int of shape (b,)
        Which of them go, one at a time.
    new : ndarray or sparse array of shape (b, p)
        What takes their places.
    incoming : Incoming
        Of the new rows.

    Returns
    -------
    moves : ndarray of shape (p [+ 1], 1, b)
    ends : ndarray of bool of shape (b,)
    """
    before = part.objective.coordinates.to_user(part.theta)
    beta = np.zeros(part.objective.n_train)
    beta[part.fit.held] = part.fit.programme.on_rows(part.fit.point.beta)
    moves, ends = np.empty((*before.shape, len(rows))), np.ones(len(rows), dtype=bool)
    both = stacked(X, new) if isinstance(part.objective.coordinates, RowSpace) else None
    for j, row in enumerate(rows.tolist()):
        objective = _with(part, row, j, new, both, incoming.of(np.array([j])))
        fitted = part.objective.weights
        grown = np.divide(objective.weights, fitted, out=np.ones_like(fitted), where=fitted > 0)
        # The path starts where the coefficients are, those at bounds of boxes that grow with them.
        fit = KinkedFit(objective, part.theta[: len(objective.penalty.l2)], start=beta * grown)
        moves[:, :, j] = objective.coordinates.to_user(fit.theta) - before
        ends[j] = fit.point.complete
    return moves, ends


def _with(part, row, j, new, both, incoming) -> Objective:
    """The objective with a new row in the place of another."""
    old = part.objective
    before = old.coordinates.to_user(part.theta)
    problem = problem_with(part, before, row, incoming)
    if both is None:
        design = exchanged(old.design, row, old.coordinates.design(new[[j]]).dense()[0])
        return dataclasses.replace(
            old, design=design, y=problem.y, weights=problem.weights, rebalance=None
        )
    order = np.arange(old.n_train)
    order[row] = old.n_train + j  # coordinates that hold the new row too
    return build(problem, both[order])[0]


def slopes(
    part: KinkedPart, inner: Array, vectors: Array, offsets: Array, rows: Positions
) -> Array:
    """Derivatives of linear functions of the parameters in the inputs of training rows.

    With u what combination of the free rows a function looks like to them, and a its coefficients
    (beside the intercept), the derivative of its value in x_i is

        beta_i / (m l2) (a - sum_j u_j x_j) - u_i w:

    rows at a bound pull along what the free rows leave of a, and free rows turn the fit so that
    it goes on passing through them.

    Parameters
    ----------
    part : KinkedPart
    inner : ndarray of shape (b, P)
        The functions, in coordinates.
    vectors : ndarray of shape (b, p)
        Their a.
    offsets : ndarray of shape (b,)
        How often each counts the intercept.
    rows : ndarray of int of shape (r,)

    Returns
    -------
    pulls : ndarray of shape (b, r, p)
    """
    fit, objective = part.fit, part.objective
    programme, free = fit.programme, fit.point.free
    members = programme.row[free.members]
    seen = fit.features(inner) @ fit.features_of(members).T
    border = np.ones((len(inner), len(free.groups))) * offsets[:, None]
    u = np.array([free.solve(right) for right in np.hstack([border, seen])])
    u = u.reshape(len(inner), -1)[:, len(free.groups) :]
    p = len(part.problem.coef)
    l2 = np.broadcast_to(np.ravel(part.problem.l2), (p,))
    spanned = fit.user_coefficients(u @ fit.features_of(members))[:, :p]
    shift = getattr(objective.coordinates, "shift", None)
    if shift is not None:
        # Centred rows say nothing of where the centre is.
        vectors = vectors - offsets[:, None] * shift
    left = vectors / l2 - spanned
    beta, share = np.zeros(objective.n_train), np.zeros((len(inner), objective.n_train))
    beta[fit.held] = programme.on_rows(fit.point.beta)
    share[:, fit.held[members]] = u
    coef = objective.coordinates.to_user(part.theta)[:p, 0]
    pulls = (beta[rows] / objective.m)[None, :, None] * left[:, None]
    return pulls - share[:, rows, None] * coef

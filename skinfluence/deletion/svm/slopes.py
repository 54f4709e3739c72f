"""Derivatives of the decisions of support vector machines in the values of training rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.slopes.kernels import (
    DifferenceSlopes,
    KernelSlopes,
    NamedSlopes,
    dense_row,
)
from skinfluence.deletion.svm.kernel import Indices, Kernel
from skinfluence.deletion.svm.point import LOWER, UPPER

# A step along the imaginary axis, for decisions that are quotients of what moves.
TINY = 1e-20


def machine_slopes(model: Any, X: Any, rows: Indices, features: Indices) -> Array:
    """Derivatives of the decisions in features of training rows, (q, r, f, n_outputs).

    Where a row moves, the free coefficients follow so that their conditions keep holding, and
    bounds stay bounds: the derivative of the refitted machine wherever it has one. At a margin
    that touches a row of no weight in the fit, or one at its bound, it is the one from that side.

    Parameters
    ----------
    model : SVMDeletion
    X : ndarray or sparse array of shape (q, p)
    rows, features : ndarray of int
    """
    kernel = model.machine.kernel
    slopes = _slopes_of(kernel, features)
    queries = X if kernel.shift is None else X - kernel.shift
    found = np.zeros((X.shape[0], len(rows), len(features), model.n_outputs))
    for k, (problem, point) in enumerate(zip(model.machine.problems, model.points, strict=True)):
        beta = problem.programme.on_rows(point.beta)
        bound = len(point.free.groups) < problem.programme.n_groups
        K = kernel.between(X, problem.positions)
        before = (K @ beta)[:, None], np.repeat(point.offset[:, None], len(features), axis=1)
        for j, i in enumerate(rows):
            own = problem.own(np.array([i]))
            if not len(own) or not (bound or beta[own[0]]):
                continue
            x = dense_row(kernel.X, i)
            d_products, d_offset = _moved(problem, point, slopes, kernel, x, own[0], K)
            d_products += beta[own[0]] * slopes.along(x, queries)
            after = problem.decision(
                before[0] + 1j * TINY * d_products, before[1] + 1j * TINY * d_offset
            )
            found[:, j, :, k] = after.imag / TINY
    return found


def _moved(problem, point, slopes, kernel, x, row, K):
    """What queries see of coefficients that follow a row, (q, f), and of multipliers."""
    programme = problem.programme
    beta = programme.on_rows(point.beta)
    pull = slopes.along(x, kernel.X[problem.positions])
    at_row = beta @ pull - beta[row] * pull[row] + beta[row] * slopes.own(x)
    pull *= beta[row]
    pull[row] = at_row  # (n, f): change of K beta at the rows
    free = point.free.copy()
    members, groups = free.members, free.groups
    d_beta = np.zeros((programme.kernel.n, pull.shape[1]))
    d_offset = np.zeros((programme.n_groups, pull.shape[1]))
    for f in range(pull.shape[1]):
        right = np.concatenate([np.zeros(len(groups)), -pull[programme.row[members], f]])
        solution = free.solve(right)
        d_offset[groups, f] = solution[: len(groups)]
        np.add.at(d_beta[:, f], programme.row[members], solution[len(groups) :])
    if len(groups) < programme.n_groups:
        rows = np.unique(programme.row[members])
        pull = pull + programme.kernel.rows(rows).T @ d_beta[rows]
        _follow_ends(programme, point, pull, d_offset)
    return K @ d_beta, d_offset


def _follow_ends(programme, point, pull, d_offset):
    """Multipliers of groups without free variables: middles of intervals whose ends move."""
    needed = programme.p - point.products[programme.row]
    for group in np.setdiff1d(np.arange(programme.n_groups), point.free.groups):
        own = programme.group == group
        ends = []
        for place, first in ((LOWER, np.argmax), (UPPER, np.argmin)):
            at = np.flatnonzero(own & (point.place == place))
            if len(at):
                ends.append(-pull[programme.row[at[first(needed[at])]]])
        d_offset[group] = np.mean(ends, axis=0)


def _slopes_of(kernel: Kernel, features: Indices) -> KernelSlopes:
    if kernel.function is None:
        return NamedSlopes(features, kernel.name, **kernel.options)
    function = kernel.function

    def diagonal(A):
        return np.concatenate([np.ravel(function(A[[j]], A[[j]])) for j in range(A.shape[0])])

    return DifferenceSlopes(features, function, diagonal, kernel.X)

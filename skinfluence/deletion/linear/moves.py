"""Where the parameters go when rows are deleted: first order, and one Newton step."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinfluence.curvature import LinearCurvature
from skinfluence.objectives import Objective

Array = NDArray[np.float64]

# A row that keeps less than this share of its own direction for the others is alone in it.
ALONE = 1e-9


@dataclass(frozen=True)
class Leaving:
    """What goes when each of b rows is deleted alone, and what becomes of the others.

    Deleting row i leaves the gradient -gbar_i at the fitted parameters, with
    ``gbar_i = w_i g_i + dm_i grad Omega - sum_j (c'_j / c_j - 1) w_j g_j``: the row's own share,
    that of the penalty's multiplier, and what recomputed class weights put in.

    Parameters
    ----------
    rows : ndarray of int of shape (b,)
    dense : ndarray of shape (b, P)
        The rows x~_i.
    ratios : ndarray of shape (n_groups, b) or None
        Class weights after over class weights before.
    own : ndarray of shape (b,)
        The ratio of the row's own class.
    m : ndarray of shape (b,)
        The penalty's multiplier after the deletion.
    slopes : ndarray of shape (b, K)
        Derivative of the row's own term by its outputs: ``w_i l'_i``, reweighted.
    rest : ndarray of shape (P K, b) or None
        What of gbar is not the row's own; None where that is nothing.
    """

    rows: NDArray[np.intp]
    dense: Array
    ratios: Array | None
    own: Array
    m: Array
    slopes: Array
    rest: Array | None

    def of(self, index: slice | NDArray[np.intp]) -> Leaving:
        """What goes with some of the rows."""
        return Leaving(
            rows=self.rows[index],
            dense=self.dense[index],
            ratios=None if self.ratios is None else self.ratios[:, index],
            own=self.own[index],
            m=self.m[index],
            slopes=self.slopes[index],
            rest=None if self.rest is None else self.rest[:, index],
        )

    def gradient(self, curvature: LinearCurvature) -> Array:
        """gbar, (P K, b), 0 in entries that do not move."""
        own = curvature.spread(self.dense, self.slopes)
        return own if self.rest is None else own + self.rest

    def entering(self, curvature: LinearCurvature, moves: Array) -> Array | float:
        """Gradient after moves (P K, b) of rows in the place of those that left, (P, K, b)."""
        return 0.0

    def left(self, objective: Objective, index: int) -> Objective:
        """What a refit minimises after the change at `index`."""
        return objective.without(self.rows[index : index + 1])


def leaving(curvature: LinearCurvature, rows: NDArray[np.intp]) -> Leaving:
    """What goes with each of `rows`."""
    objective = curvature.objective
    dense = objective.design.take(rows).dense()
    ratios, own = weight_ratios(objective, rows)
    rest = None
    share = objective.m_share[rows]
    if share.any():
        rest = np.multiply.outer(_masked(curvature, curvature.penalty_gradient), share)
    if ratios is not None:
        followed = class_gradients(curvature) @ (ratios - 1.0)
        rest = -followed if rest is None else rest - followed
    slopes = own[:, None] * curvature.slopes[rows]
    return Leaving(rows, dense, ratios, own, objective.m - share, slopes, rest)


def weight_ratios(
    objective: Objective, rows: NDArray[np.intp], *, together: bool = False
) -> tuple[Array | None, Array]:
    """Weights after a deletion over weights before.

    Parameters
    ----------
    objective : Objective
    rows : ndarray of int of shape (b,)
    together : bool, default=False
        Whether all rows go at once, and not each alone.

    Returns
    -------
    ratios : ndarray of shape (n_groups, b), or (n_groups, 1) if together, or None
        For each weight group; None where weights stay as they are.
    own : ndarray of shape (b,)
        For each of `rows` itself.
    """
    rebalance = objective.rebalance
    if rebalance is None:
        return None, np.ones(len(rows))
    removed = rebalance.removed_by(rows)
    if together:
        removed = removed.sum(axis=1, keepdims=True)
    ratios = rebalance.ratios(removed)
    which = 0 if together else np.arange(len(rows))
    return ratios, ratios[rebalance.group_of_row[rows], which]


def class_gradients(curvature: LinearCurvature) -> Array:
    """Gradient of the loss of each weight group, (P K, n_groups)."""
    rebalance, design = curvature.objective.rebalance, curvature.objective.design
    assert rebalance is not None
    groups = rebalance.group_of_row
    sums = []
    for g in range(rebalance.n_groups):
        slopes = np.where((groups == g)[:, None], curvature.slopes, 0.0)
        sums.append(_masked(curvature, design.adjoint(slopes)))
    return np.stack(sums, axis=1)


def _masked(curvature, matrix):
    return np.where(curvature.moving, matrix, 0.0).ravel()


def first_order(curvature: LinearCurvature, gone: Leaving) -> Array:
    """``H^-1 gbar_i``, (P K, b): the infinitesimal jackknife."""
    return curvature.inverse()(gone.gradient(curvature))


class NewtonInverse:
    """Inverse of the Hessian that a deletion leaves, ``H' - w_i h_i``, for b rows at once.

    With ``h_i = C_i (x) x_i x_i'`` and T = H'^-1 (x_i (x) I), S = (x_i (x) I)'T, both K columns,
    ``(H' - w C_i (x) x x')^-1 r = H'^-1 r + T (I - w C S)^-1 w C (x_i (x) I)'H'^-1 r``.

    Attributes
    ----------
    alone : ndarray of bool of shape (b,)
        Rows without which some direction has no curvature left; their correction is left out.
    exact : ndarray of bool of shape (b,)
        Those of them whose step is a refit nevertheless: with one output nothing else feels the
        direction that the row holds, unless a kink or a bound pulls along it.
    indefinite : ndarray of bool of shape (b,)
        Rows without which the Hessian is no longer positive: the step may climb.
    """

    def __init__(self, curvature: LinearCurvature, gone: Leaving):
        self.curvature, self.gone = curvature, gone
        self.alpha = curvature.alphas(gone.ratios, gone.m)
        self.solved, spread = self._units()
        n_outputs = curvature.theta.shape[1]
        bends = gone.own[:, None, None] * curvature.bends[gone.rows]
        left = np.eye(n_outputs) - bends @ spread
        share = left[:, 0, 0] if n_outputs == 1 else smallest_share(left)
        self.alone = np.abs(share) <= ALONE
        objective = curvature.objective
        penalty = objective.penalty
        pulled = penalty.l1.any() or penalty.l21.any() or objective.positive.any()
        self.exact = self.alone & (n_outputs == 1 and not pulled)
        self.indefinite = share < -ALONE
        left[self.alone] = np.eye(n_outputs)
        self._correction = np.linalg.solve(left, bends)
        self._correction[self.alone] = 0.0
        self.spread = spread

    def of(self, index: NDArray[np.intp]) -> NewtonInverse:
        """The inverse of some of the rows."""
        part = copy.copy(self)
        part.gone, part.alpha = self.gone.of(index), self.alpha[:, index]
        part.solved = None if self.solved is None else self.solved[:, :, index]
        for name in ("spread", "alone", "exact", "indefinite", "_correction"):
            setattr(part, name, getattr(self, name)[index])
        return part

    def _units(self):
        """T, (P K, K, b), and S, (b, K, K); no T where it is large and S comes without it."""
        curvature, dense = self.curvature, self.gone.dense
        size, n_outputs = curvature.theta.shape
        same = not (self.alpha != self.alpha[:, :1]).any()
        if n_outputs > 1 and same and curvature.solver == "dense":
            return None, curvature.unit_products(dense, self.alpha[:, 0])
        solved = curvature.solve_units(dense, self.alpha)
        shaped = solved.reshape(size, n_outputs, n_outputs, -1)
        return solved, np.einsum("ip,pkli->ikl", dense, shaped)

    def __call__(self, columns: Array) -> Array:
        """Solve for one right-hand side a row, (P K, b)."""
        plain = self.curvature.solve(columns, self.alpha)
        seen = self.curvature.contract(self.gone.dense, plain)  # (b, K)
        plain += self._along(self._correcting(seen))
        return plain

    def _correcting(self, seen):
        return np.einsum("ikl,il->ik", self._correction, seen)

    def _along(self, weight):
        """``H'^-1 (x_i (x) v_i)`` of weights v, (b, K): a mixture of T's columns."""
        if self.solved is None:
            return self.curvature.solve(self.curvature.spread(self.gone.dense, weight), self.alpha)
        if self.solved.shape[1] == 1:
            return self.solved[:, 0] * weight[:, 0]
        return np.einsum("pki,ik->pi", self.solved, weight)

    def move(self) -> Array:
        """The Newton step from the fitted parameters, (P K, b)."""
        if self.gone.rest is None:
            # All that leaves lies along the row, whose quadratic forms are known: one solve.
            slopes = self.gone.slopes
            seen = np.einsum("ikl,il->ik", self.spread, slopes)
            moves = self._along(slopes + self._correcting(seen))
        else:
            moves = self._along(self.gone.slopes)
            moves += self.curvature.solve(self.gone.rest, self.alpha)
            seen = self.curvature.contract(self.gone.dense, moves)
            moves += self._along(self._correcting(seen))
        if self.exact.any():
            moves[:, self.exact] = self._least_norm(self.exact)
        return moves

    def _least_norm(self, rows):
        # Nobody else feels the direction t = H^-1 x_i, so the refit of least norm has no part of
        # the coefficients along it, and is otherwise where it was.
        curvature = self.curvature
        unit = np.zeros_like(self.gone.slopes)
        unit[:, 0] = 1.0
        direction = self._along(unit)[:, rows]
        metric = np.repeat(curvature.objective.coordinates.metric(), curvature.theta.shape[1])
        along = (metric * curvature.theta.ravel()) @ direction
        size = (metric[:, None] * direction**2).sum(axis=0)
        return -direction * np.divide(along, size, out=np.zeros_like(along), where=size > 0)


def smallest_share(left):
    """Smallest eigenvalue of I - C S: C S is similar to a symmetric matrix, so it is real.

    Where C S is small, the bound 1 - |C S| will do.
    """
    share = 1.0 - np.linalg.norm(left - np.eye(left.shape[1]), axis=(1, 2))
    close = np.flatnonzero(~(share > 0.5))
    share[close] = np.linalg.eigvals(left[close]).real.min(axis=1)
    return share

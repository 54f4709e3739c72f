"""Rows that take the place of others: the gradient and the curvature that a replacement leaves."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.moves import (
    ALONE,
    Leaving,
    NewtonInverse,
    class_gradients,
    smallest_share,
)
from skinfluence.objectives import Objective
from skinfluence.objectives.design import DenseDesign, Design, SparseDesign
from skinfluence.objectives.rebalance import Rebalance

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Incoming:
    """Targets and weights of new rows, as one problem sees them.

    Parameters
    ----------
    y : ndarray of shape (b,) or (b, K)
        As the problem's loss takes them.
    weights : ndarray of shape (b,)
        Sample weights of the rows that they replace, times the fit's weights of their own classes.
    classes : ndarray of int of shape (b,) or None
        As in :class:`~skinfluence.objectives.rebalance.Rebalance`; None where nothing follows.
    mass : ndarray of shape (b,) or None
    """

    y: Array
    weights: Array
    classes: NDArray[np.intp] | None = None
    mass: Array | None = None

    def of(self, index: slice | NDArray[np.intp]) -> Incoming:
        """Some of the new rows."""
        return Incoming(
            self.y[index],
            self.weights[index],
            None if self.classes is None else self.classes[index],
            None if self.mass is None else self.mass[index],
        )

    def ratios(
        self, rebalance: Rebalance | None, rows: NDArray[np.intp]
    ) -> tuple[Array | None, Array, Array]:
        """Class weights after each replacement over those before, as for a deletion.

        Returns
        -------
        ratios : ndarray of shape (n_groups, b) or None
        own, new : ndarray of shape (b,)
            Of the rows that go, and of those that come.
        """
        b = len(rows)
        if rebalance is None or self.classes is None or self.mass is None:
            return None, np.ones(b), np.ones(b)
        removed = rebalance.removed_by(rows)
        np.subtract.at(removed, (self.classes, np.arange(b)), self.mass)
        ratios = rebalance.ratios(removed)
        group = self.classes
        if rebalance.positives is not None:
            group = (group == rebalance.positives).astype(np.intp)
        each = np.arange(b)
        return ratios, ratios[rebalance.group_of_row[rows], each], ratios[group, each]


@dataclass(frozen=True)
class Replacing(Leaving):
    """What goes and comes when each of b rows is replaced alone.

    The gradient that is left at the fitted parameters is minus
    ``w_i g_i - w_i' g_new - sum_j (c'_j / c_j - 1) w_j g_j``; m stays as it is.

    Parameters
    ----------
    new : ndarray of shape (b, P)
        The rows that come.
    y : ndarray of shape (b,) or (b, K)
    weights : ndarray of shape (b,)
        Their weights after the replacement.
    new_slopes : ndarray of shape (b, K)
        ``w' l'`` of the new rows at the fitted parameters.
    new_bends : ndarray of shape (b, K, K)
        ``w' C`` likewise.
    """

    new: Array
    y: Array
    weights: Array
    new_slopes: Array
    new_bends: Array

    def of(self, index: slice | NDArray[np.intp]) -> Replacing:
        own = {
            name: getattr(self, name)[index]
            for name in ("new", "y", "weights", "new_slopes", "new_bends")
        }
        return Replacing(**vars(super().of(index)), **own)

    def gradient(self, curvature: LinearCurvature) -> Array:
        return super().gradient(curvature) - curvature.spread(self.new, self.new_slopes)

    def entering(self, curvature: LinearCurvature, moves: Array) -> Array:
        shaped = moves.reshape(*curvature.theta.shape, -1)
        outputs = np.einsum("ip,pki->ik", self.new, curvature.theta[:, :, None] + shaped)
        with np.errstate(over="ignore", invalid="ignore"):
            slopes = self.weights[:, None] * curvature.objective.loss.gradient(outputs, self.y)
        return self.new.T[:, None, :] * slopes.T[None]

    def left(self, objective: Objective, index: int) -> Objective:
        row, y, weights = self.rows[index], objective.y.copy(), objective.weights.copy()
        if self.ratios is not None and objective.rebalance is not None:
            weights *= self.ratios[objective.rebalance.group_of_row, index]
        y[row], weights[row] = self.y[index], self.weights[index]
        design = exchanged(objective.design, row, self.new[index])
        return dataclasses.replace(objective, design=design, y=y, weights=weights, rebalance=None)


def replacing(
    curvature: LinearCurvature, rows: NDArray[np.intp], new: Array, incoming: Incoming
) -> Replacing:
    """What goes and comes with each of `rows` and of dense `new` rows, (b, P)."""
    objective = curvature.objective
    ratios, own, arriving = incoming.ratios(objective.rebalance, rows)
    weights = arriving * incoming.weights
    outputs = np.einsum("ip,pk->ik", new, curvature.theta)
    loss = objective.loss
    bends = loss.curvature(outputs, incoming.y, expected=curvature.expected)
    rest = None
    if ratios is not None and (ratios != 1.0).any():
        rest = -class_gradients(curvature) @ (ratios - 1.0)
    return Replacing(
        rows=rows,
        dense=objective.design.take(rows).dense(),
        ratios=ratios,
        own=own,
        m=np.full(len(rows), objective.m),
        slopes=own[:, None] * curvature.slopes[rows],
        rest=rest,
        new=new,
        y=incoming.y,
        weights=weights,
        new_slopes=weights[:, None] * loss.gradient(outputs, incoming.y),
        new_bends=weights[:, None, None] * bends,
    )


class ReplacementInverse(NewtonInverse):
    """Inverse of the Hessian that a replacement leaves, for b of them at once.

    It is ``H' + U B U'`` with ``U = (x_i (x) I, x_new (x) I)`` and B the two blocks -w C and w' C
    of the row that goes and of the row that comes, so that, with T = H'^-1 U and S = U'T,
    ``r -> H'^-1 r - T (I + B S)^-1 B U'H'^-1 r``. Under another target alone both rows are one.
    """

    gone: Replacing

    def __init__(self, curvature: LinearCurvature, gone: Replacing):
        self.curvature, self.gone = curvature, gone
        self.alpha = curvature.alphas(gone.ratios, gone.m)
        self._same = np.array_equal(gone.dense, gone.new)
        parts = [curvature.solve_units(rows, self.alpha) for rows in self._rows()]
        self.solved = np.concatenate(parts, axis=1)  # T, (P K, R K, b)
        self.spread = self._contracted(self.solved)  # S, (b, R K, R K)
        blocks = self._blocks()
        left = np.eye(blocks.shape[1]) + blocks @ self.spread
        share = self._share(left)
        self.alone = np.abs(share) <= ALONE
        self.exact = np.zeros_like(self.alone)
        self.indefinite = share < -ALONE
        left[self.alone] = np.eye(left.shape[1])
        self._left, self._correction = left, -np.linalg.solve(left, blocks)
        self._correction[self.alone] = 0.0

    def _rows(self):
        return [self.gone.dense] if self._same else [self.gone.dense, self.gone.new]

    def _contracted(self, columns):
        """U'columns of columns (P K, M, b), (b, R K, M)."""
        size, n_outputs = self.curvature.theta.shape
        shaped = columns.reshape(size, n_outputs, *columns.shape[1:])
        parts = [np.einsum("ip,pkmi->ikm", rows, shaped) for rows in self._rows()]
        return np.concatenate(parts, axis=1)

    def _blocks(self):
        going = -self.gone.own[:, None, None] * self.curvature.bends[self.gone.rows]
        if self._same:
            return going + self.gone.new_bends
        b, n_outputs, _ = going.shape
        blocks = np.zeros((b, 2 * n_outputs, 2 * n_outputs))
        blocks[:, :n_outputs, :n_outputs] = going
        blocks[:, n_outputs:, n_outputs:] = self.gone.new_bends
        return blocks

    def _share(self, left):
        """What the row that goes leaves of its own direction, once the other has come, (b,).

        In this order because nothing is lost when a row comes, however far away it is.
        """
        if self._same:
            return _smallest(left)
        k = left.shape[1] // 2
        grown = left[:, k:, k:]
        bends, mixed = -left[:, :k, k:], left[:, k:, :k]  # C S12 and C'S21
        share = _smallest(left[:, :k, :k] + bends @ np.linalg.solve(grown, mixed))
        return np.minimum(share, _smallest(grown))

    def __call__(self, columns: Array) -> Array:
        plain = self.curvature.solve(columns, self.alpha)
        return plain + self._along(self._seen(plain))

    def _seen(self, columns):
        """Weights of T's columns that correct a solution (P K, b) by H' alone, (b, R K)."""
        return self._correcting(self._contracted(columns[:, None, :])[:, :, 0])

    def _along(self, weight):
        assert self.solved is not None
        return np.einsum("pmi,im->pi", self.solved, weight)

    def move(self) -> Array:
        gone = self.gone
        if self._same:
            slopes = gone.slopes - gone.new_slopes
        else:
            slopes = np.concatenate([gone.slopes, -gone.new_slopes], axis=1)
        # ``(I + B S)^-1 slopes`` at once: of a row far away the two parts of it are huge.
        moves = self._along(np.linalg.solve(self._left, slopes[:, :, None])[:, :, 0])
        if gone.rest is None:
            return moves
        plain = self.curvature.solve(gone.rest, self.alpha)
        return moves + plain + self._along(self._seen(plain))


def _smallest(left):
    return left[:, 0, 0] if left.shape[1] == 1 else smallest_share(left)


def exchanged(design: Design, row, new) -> Design:
    """The design with another row, (P,), at one position."""
    if not isinstance(design, SparseDesign):
        rows = design.dense().copy()
        rows[row] = new
        return DenseDesign(rows)
    inner = new[:-1] if design.intercept else new
    parts = [design.rows[:row], sparse.csr_array(inner[None]), design.rows[row + 1 :]]
    return SparseDesign(sparse.vstack(parts, format="csr"), design.intercept)

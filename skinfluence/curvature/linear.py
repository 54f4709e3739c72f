"""Curvature of a linear model at its parameters, and its inverse without any one row."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.objectives.objective import Objective, gram_blocks
from skinfluence.solvers import ConjugateGradients, DenseInverse, Inverse

Array = NDArray[np.float64]

# More distinct ways in which the rest of the objective follows a deletion than this share one
# factorisation, corrected by iteration.
MAX_FACTORS = 12
# Corrections stop here: further ones are rounding.
CORRECTED = 1e-14
MAX_CORRECTIONS = 60
# Rows in a block of quadratic forms.
CACHED_ROWS = 1024


class LinearCurvature:
    """Hessian H of an objective at theta, as a family of matrices that deletions mix.

    Deleting row i leaves ``sum_a alpha_ai M_a - w_i h_i``: the M_a are the Hessian of the data
    (one a class, where class weights follow the rows) and of the penalty, alpha_a = 1 and m for
    the fit itself, and only mean-normalised objectives and balanced class weights change them.

    Conventions. Parameters are flattened rows first, (P K,); entries that are no parameters, or
    are held at 0 by an l1 penalty or a bound, never move.

    Parameters
    ----------
    objective : Objective
    theta : ndarray of shape (P, K)
        Where derivatives are taken: a stationary point.
    expected : bool, default=False
        Take the expected curvature of the loss instead of the observed one.
    solver : {"dense", "cg"}, default="dense"
        A factorisation, or conjugate gradients with products by the rows alone.
    tol : float, default=1e-10
        Relative residual of conjugate gradients.
    max_iter : int, default=2000
        Iterations of conjugate gradients at most.
    """

    def __init__(
        self,
        objective: Objective,
        theta: Array,
        *,
        expected: bool = False,
        solver: str = "dense",
        tol: float = 1e-10,
        max_iter: int = 2000,
    ):
        self.objective = objective
        self.theta = theta
        self.solver, self.expected = solver, expected
        self.tol, self.max_iter = tol, max_iter
        self.outputs = objective.outputs(theta)
        weights = objective.weights
        loss = objective.loss
        self.slopes = weights[:, None] * loss.gradient(self.outputs, objective.y)
        bends = loss.curvature(self.outputs, objective.y, expected=expected)
        self.bends = weights[:, None, None] * bends
        self.moving = objective.moving(theta)
        self.penalty_gradient = objective.penalty.gradient(theta)
        self._assemble()

    # -- matrices -------------------------------------------------------------------------------

    def _assemble(self):
        objective = self.objective
        groups = self._groups()
        if self.solver == "cg":
            products = [_Products(self, rows) for rows in groups]
            self._matrices: list[Any] = [*products, _PenaltyProducts(self)]
        else:
            self._matrices = [*map(self._data_hessian, groups), self._penalty_hessian()]
        self.full = np.append(np.ones(len(groups)), objective.m)
        self._inverses: dict[bytes, Inverse] = {}

    def _groups(self):
        rebalance = self.objective.rebalance
        if rebalance is None:
            return [slice(None)]
        groups = rebalance.group_of_row
        return [np.flatnonzero(groups == g) for g in range(rebalance.n_groups)]

    def _data_hessian(self, rows):
        design = self.objective.design
        part = design if isinstance(rows, slice) else design.take(rows)
        features = self._moving_features()
        if len(features) < len(self.moving):
            part = part.columns(features)
        return self._between_moving(gram_blocks(part, self.bends[rows]))

    def _penalty_hessian(self):
        features = self._moving_features()
        penalty = self.objective.penalty.take(features)
        return self._between_moving(penalty.hessian(self.theta[features]))

    def _moving_features(self):
        # Of thousands of columns an l1 penalty may leave tens.
        return np.flatnonzero(self.moving.any(axis=1))

    def _between_moving(self, matrix):
        chosen = self.moving[self._moving_features()].ravel()
        return matrix if chosen.all() else matrix[np.ix_(chosen, chosen)]

    def _shifts(self):
        return self.objective.shifting(self.moving).any()

    def _without_shift(self, columns):
        """Columns (P K, b) without their part in the null space, which need not be formed."""
        shaped = columns.reshape(*self.theta.shape, -1).copy()
        idle = self.objective.shifting(self.moving)
        shaped[idle] -= shaped[idle].mean(axis=1, keepdims=True)
        return shaped.reshape(columns.shape)

    def inverse(self, alpha: Array | None = None) -> Inverse:
        """Inverse of ``sum_a alpha_a M_a``; of H itself by default."""
        alpha = self.full if alpha is None else alpha
        key = alpha.tobytes()
        if key not in self._inverses:
            self._inverses[key] = self._invert(alpha)
        return self._inverses[key]

    def _invert(self, alpha):
        if self.solver == "cg":
            parts = zip(alpha, self._matrices, strict=True)
            diagonal = sum(a * matrix.diagonal() for a, matrix in parts)
            return ConjugateGradients(
                partial(self._mixed, alpha),
                np.where(self.moving, diagonal, 0.0).ravel(),
                tol=self.tol,
                max_iter=self.max_iter,
                project=self._without_shift if self._shifts() else None,
            )
        kept = self.moving.ravel()
        total = sum(a * matrix for a, matrix in zip(alpha, self._matrices, strict=True))
        return DenseInverse(total, self.objective.unseen_shifts(self.moving), embed=kept)

    def _mixed(self, alpha, columns):
        """``sum_a alpha_a M_a columns``; alpha is (A,), or (A, b) with one mixture a column."""
        kept = self.moving.ravel()
        if self.solver == "cg" or kept.all():
            return self._sum(alpha, columns)
        mixed = np.zeros_like(columns)
        mixed[kept] = self._sum(alpha, columns[kept])
        return mixed

    def _sum(self, alpha, columns):
        parts = zip(alpha, self._matrices, strict=True)
        return sum(a * (matrix @ columns) for a, matrix in parts)

    # -- rows -----------------------------------------------------------------------------------

    def spread(self, rows: Array, values: Array) -> Array:
        """``x~_i (x) v_i`` as columns, (P K, b), from dense rows (b, P) and values (b, K)."""
        columns = rows.T[:, None, :] * values.T[None]
        columns *= self.moving[:, :, None]
        return columns.reshape(-1, rows.shape[0])

    def units(self, rows: Array) -> Array:
        """``x~_i (x) e_k`` as columns, (P K, K b), from dense rows (b, P)."""
        b, size = rows.shape
        n_outputs = self.theta.shape[1]
        columns = np.zeros((size, n_outputs, n_outputs, b))
        for k in range(n_outputs):
            columns[:, k, k] = rows.T * self.moving[:, k, None]
        return columns.reshape(size * n_outputs, n_outputs * b)

    def contract(self, rows: Array, columns: Array) -> Array:
        """Outputs of row i under column i, (b, K): of columns (P K, b) and dense rows (b, P)."""
        size, n_outputs = self.theta.shape
        inner = columns.reshape(size, n_outputs, -1)
        return np.einsum("ip,pki->ik", rows, inner)

    # -- deletions ------------------------------------------------------------------------------

    def alphas(self, ratios: Array | None, m: Array) -> Array:
        """Mixtures of the matrices after deletions, (A, b).

        Parameters
        ----------
        ratios : ndarray of shape (n_groups, b) or None
            How class weights change.
        m : ndarray of shape (b,)
            The multiplier of the penalty that is left.
        """
        if not self.objective.penalty.l2.any() and not self.objective.penalty.l21.any():
            m = np.full_like(m, self.objective.m)  # it multiplies nothing
        data = np.ones((1, len(m))) if ratios is None else ratios
        return np.vstack([data, m[None]])

    def solve(self, columns: Array, alpha: Array) -> Array:
        """Solve ``sum_a alpha_ai M_a d_i = columns_i`` for each column.

        Parameters
        ----------
        columns : ndarray of shape (P K, b)
        alpha : ndarray of shape (A, b)
        """
        solved = np.empty_like(columns)
        for reference, members in self._references(alpha):
            every = slice(None) if len(members) == alpha.shape[1] else members
            solved[:, every] = self._corrected(columns[:, every], alpha[:, every], reference)
        return solved

    def solve_units(self, rows: Array, alpha: Array) -> Array:
        """Solve for every ``x~_i (x) e_k``, (P K, K, b), from dense rows (b, P)."""
        size, n_outputs = self.theta.shape
        columns = self.solve(self.units(rows), np.tile(alpha, n_outputs))
        return columns.reshape(size * n_outputs, n_outputs, -1)

    def unit_products(self, rows: Array, alpha: Array) -> Array:
        """``(x~_i (x) I)' M^-1 (x~_i (x) I)`` of one mixture, (b, K, K), from dense rows (b, P).

        By the inverse itself: a row costs P^2 K^2, where its K solves would cost P^2 K^3.
        """
        size, n_outputs = self.theta.shape
        blocks = self.inverse(alpha).matrix(size * n_outputs)
        blocks = blocks.reshape(size, n_outputs, size, n_outputs)
        products = np.empty((len(rows), n_outputs, n_outputs))
        for k in range(n_outputs):
            for l in range(k + 1):
                block = np.ascontiguousarray(blocks[:, k, :, l])
                for part in _loops.slices(len(rows), CACHED_ROWS):
                    own = np.einsum("ip,ip->i", rows[part] @ block, rows[part])
                    products[part, k, l] = products[part, l, k] = own
        return products

    def _references(self, alpha):
        distinct, which = np.unique(alpha, axis=1, return_inverse=True)
        which = which.ravel()
        if distinct.shape[1] <= MAX_FACTORS:
            return [(distinct[:, r], np.flatnonzero(which == r)) for r in range(distinct.shape[1])]
        # Weights of all sizes: they hardly move the matrix, so that of the fit will do.
        return [(self.full, np.arange(alpha.shape[1]))]

    def _corrected(self, columns, alpha, reference):
        inverse = self.inverse(reference)
        solved = inverse(columns)
        if (alpha == reference[:, None]).all():
            return solved
        step = solved
        for _ in range(MAX_CORRECTIONS):
            # What the step leaves is only the change of the mixture, never a difference of
            # nearly equal numbers.
            step = -inverse(self._mixed(alpha - reference[:, None], step))
            solved = solved + step
            if np.linalg.norm(step) <= CORRECTED * np.linalg.norm(solved):
                break
        return solved

    def half(self, columns: Array) -> Array:
        """``L^-1 columns`` with H = L L', so that products of columns are those by H^-1."""
        inverse = self.inverse()
        if not isinstance(inverse, DenseInverse):
            raise ValueError(
                "The embedding needs a factor of the Hessian, and solver='cg' makes none. Use "
                "solver='dense', or score_influence, which does without."
            )
        return inverse.half(columns)

    def report(self) -> dict[str, Any]:
        """How the fit's own curvature was inverted."""
        return self.inverse().report()


class _Products:
    """The Hessian of the data by products with its rows."""

    def __init__(self, curvature: LinearCurvature, rows: Any):
        self.curvature = curvature
        design = curvature.objective.design
        self.design = design if isinstance(rows, slice) else design.take(rows)
        self.bends = curvature.bends[rows]

    def __matmul__(self, columns: Array) -> Array:
        moving = self.curvature.moving
        size, n_outputs = moving.shape
        inner = columns.reshape(size, n_outputs, -1) * moving[:, :, None]
        outputs = self.design.times(inner.reshape(size, -1)).reshape(-1, n_outputs, inner.shape[2])
        if n_outputs == 1:
            bent = self.bends[:, :, 0, None] * outputs
        else:
            bent = np.einsum("nkl,nlm->nkm", self.bends, outputs)
        back = self.design.adjoint(bent.reshape(len(bent), -1)).reshape(inner.shape)
        return (back * moving[:, :, None]).reshape(columns.shape)

    def diagonal(self) -> Array:
        """Diagonal, (P, K)."""
        return self.design.squares(np.einsum("nkk->nk", self.bends))


class _PenaltyProducts:
    """The Hessian of the penalty: diagonal, and a block a feature where norms couple outputs."""

    def __init__(self, curvature: LinearCurvature):
        self.penalty, self.theta = curvature.objective.penalty, curvature.theta
        self.moving = curvature.moving

    def __matmul__(self, columns: Array) -> Array:
        inner = columns.reshape(*self.moving.shape, -1)
        bent = self.penalty.bent(self.theta, inner)
        return (bent * self.moving[:, :, None]).reshape(columns.shape)

    def diagonal(self) -> Array:
        """Diagonal, (P, K)."""
        return self.penalty.bend_diagonal(self.theta)

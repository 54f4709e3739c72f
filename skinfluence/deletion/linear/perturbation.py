"""Derivative of queries' values in the inputs of training rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence import _loops
from skinfluence._output import few
from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear import kink_changes
from skinfluence.deletion.linear.coefficients import Coefficients
from skinfluence.deletion.linear.kinks import KinkedPart
from skinfluence.deletion.linear.part import BasePart, Part
from skinfluence.deletion.linear.programme import ProgrammePart
from skinfluence.deletion.linear.queries import Queries, known
from skinfluence.deletion.linear.spans import beyond, unpenalised
from skinfluence.deletion.linear.targets import Target
from skinfluence.objectives.coordinates import ColumnSpace, RowSpace

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


class LinearPerturbation:
    """Derivatives of values in the inputs of training rows, the fit following.

    The gradient of the objective moves by ``w_i (dx (x) l'_i + x_i (x) C_i W'dx)`` with the inputs
    of row i, and the parameters by minus the inverse Hessian times that, so that

        d value(z) / d x_i = -w_i (V_z l'_i + W C_i V_z'x_i),    V_z = H^-1 g_z,

    with the coefficients of V_z and W in the user's columns. H and C are the observed ones.
    Coefficients that an l1 penalty or a bound holds at 0 stay there. A linear programme goes on
    passing through the rows that it passes through, and feels no small change of the others.

    Parameters
    ----------
    parts : sequence of Part
    target : Target or None
        None where parameters are the target.
    feature_names : sequence of str

    References
    ----------
    Koh and Liang (2017), Understanding black-box predictions via influence functions, equation 5.
    """

    def __init__(
        self, parts: Sequence[BasePart], target: Target | None, feature_names: Sequence[str]
    ):
        self.parts, self.target, self.feature_names = parts, target, feature_names

    def __call__(
        self, queries: Queries | Coefficients, rows: Positions, features: Positions
    ) -> Array:
        """Derivatives, (n_queries, n_rows, n_features)."""
        slopes = np.zeros((queries.shape[0], len(rows), len(features)))
        for block in _loops.slices(queries.shape[0], self._block(len(rows), len(features))):
            part = queries[block]
            own = None if isinstance(queries, Coefficients) else queries.rows[block]
            for index in range(len(self.parts)):
                self._subtract(slopes[block], part, own, index, rows, features)
        return slopes

    def _block(self, n_rows, n_features):
        floats = sum(part.theta.size * 3 + n_rows * part.theta.shape[1] for part in self.parts)
        floats += max(part.problem.coef.size for part in self.parts) + n_features * n_rows
        return max(1, int(_loops.memory_budget() / (8.0 * floats)))

    def _subtract(self, slopes, queries, own, index, rows, features):
        part = self.parts[index]
        inner, outer, which = self._functionals(queries, index)
        if not len(which):
            return
        if isinstance(part, ProgrammePart):
            dragged = outer * (inner @ part.drags(rows)[:, 0])  # (b, n_rows)
            coef = part.path.theta[features]
            slopes[which] += dragged[:, :, None] * coef
            return
        if isinstance(part, KinkedPart):
            vectors, offsets = self._user_vectors(queries, own, part, which)
            pulls = kink_changes.slopes(part, inner, vectors, offsets, rows)[:, :, features]
            slopes[which] += outer[:, 0][:, None, None] * pulls
            return
        assert isinstance(part, Part)
        curvature = observed(part.curvature)
        size, n_outputs = part.theta.shape
        p, b = len(part.problem.coef), len(which)
        solved = curvature.inverse()(curvature.spread(inner, outer)).reshape(size, -1)
        seen = part.objective.design.take(rows).times(solved).reshape(-1, n_outputs, b)
        bent = np.einsum("ikl,ilz->zik", curvature.bends[rows], seen)
        coordinates = part.objective.coordinates
        along = coordinates.to_user(solved)[:p].reshape(p, n_outputs, b)[features]
        coef = coordinates.to_user(part.theta)[:p][features]
        pull = curvature.slopes[rows]
        for place, z in enumerate(which):
            slopes[z] -= pull @ along[:, :, place].T + bent[place] @ coef.T
        self._beyond(slopes, queries, own, part, rows, features, inner, outer, which)

    def _functionals(self, queries, index):
        """Value of each query as it depends on one part: rows (b, P), slopes (b, K), which."""
        part = self.parts[index]
        if isinstance(queries, Coefficients):
            which = np.flatnonzero(queries.part == index)
            size, n_outputs = part.theta.shape
            rows = part.objective.coordinates.to_user(np.eye(size))[queries.row[which]]
            return rows, np.eye(n_outputs)[queries.output[which]], which
        gradient = known(self.target).gradient(queries)[index]
        return queries.designs[index].dense(), gradient, np.arange(queries.shape[0])

    def _user_vectors(self, queries, own, part, which):
        """Coefficients (b, p) and intercepts (b,) that each query's value counts."""
        has_intercept = part.problem.intercept is not None
        if not isinstance(queries, Coefficients):
            rows = own.toarray() if sparse.issparse(own) else own
            return rows, np.full(len(rows), float(has_intercept))
        number, p = queries.row[which], len(part.problem.coef)
        vectors = np.zeros((len(number), p))
        of_feature = np.flatnonzero(number < p)
        vectors[of_feature, number[of_feature]] = 1.0
        return vectors, (number == p).astype(np.float64)

    # -- what the training rows do not span -----------------------------------------------------

    def _beyond(self, slopes, queries, own, part, rows, features, inner, outer, which):
        """Coefficients that a row drags along with it out of the span of all rows.

        They are ``sum_i a_i x_i`` there, with ``a_i = -w_i l'_i / (m l2)`` under a penalty.
        """
        coordinates = part.objective.coordinates
        if not isinstance(coordinates, RowSpace):
            return
        if unpenalised(part.objective) and not _independent(coordinates):
            self._refuse_jumps(coordinates, features)
            return
        left = beyond(coordinates, _vectors(queries, own, coordinates, part, which))
        if not left.any():
            return
        share = outer.copy()
        share[:, list(part.problem.constant_outputs)] = 0.0
        pulled = dual(part)[rows]
        for place, z in enumerate(which):
            slopes[z] += (pulled @ share[place])[:, None] * left[place, features]

    def _refuse_jumps(self, coordinates, features):
        p = len(self.feature_names)
        out = beyond(coordinates, np.eye(p)[features]).any(axis=1)
        if not out.any():
            return
        names = [self.feature_names[j] for j in features[out]]
        raise ValueError(
            f"Columns of X determine one another ({few(names)}), and without a penalty the fit "
            "jumps where a row leaves what all rows span, so it has no derivative there. Add a "
            "penalty (alpha, C), leave out columns that others determine, or pass features= "
            "without them."
        )


def observed(curvature: LinearCurvature) -> LinearCurvature:
    """The curvature by observed second derivatives, which the fit follows."""
    if not curvature.expected or not curvature.objective.loss.has_expected:
        return curvature
    return LinearCurvature(
        curvature.objective,
        curvature.theta,
        solver=curvature.solver,
        tol=curvature.tol,
        max_iter=curvature.max_iter,
    )


def dual(part: Part) -> Array:
    """Weights a (n, K) of the rows in the coefficients: ``W = sum_i a_i x_i``, of sum 0 each."""
    objective, coordinates = part.objective, part.objective.coordinates
    assert isinstance(coordinates, RowSpace)
    if not unpenalised(objective):
        return -part.curvature.slopes / (objective.m * np.ravel(part.problem.l2)[0])
    inner = coordinates.lift @ part.theta[: len(coordinates.spread)]
    if coordinates.shift is not None:
        inner = inner - np.outer(coordinates.share, inner.sum(axis=0))
    weights = np.zeros((objective.n_train, inner.shape[1]))
    weights[coordinates.held] = inner
    return weights


def _independent(coordinates):
    """Whether no row that carries weight is a combination of others."""
    if isinstance(coordinates, ColumnSpace):
        return False
    return len(coordinates.spread) == len(coordinates.held) - (coordinates.shift is not None)


def _vectors(queries, own, coordinates, part, which):
    """What each query's value looks at among the coefficients, shifted, (b, p)."""
    p = len(part.problem.coef)
    shift = np.zeros(p) if coordinates.shift is None else coordinates.shift
    if not isinstance(queries, Coefficients):
        return (own.toarray() if sparse.issparse(own) else own) - shift
    number = queries.row[which]
    vectors = np.zeros((len(number), p))
    of_feature = np.flatnonzero(number < p)
    vectors[of_feature, number[of_feature]] = 1.0
    vectors[number == p] = -shift
    return vectors

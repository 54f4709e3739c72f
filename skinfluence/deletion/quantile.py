"""Exact deletion from penalised quantile regression (Koenker & Bassett 1978)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import sparse
from scipy.optimize import linprog

from skinfluence.deletion.base import Array
from skinfluence.deletion.vertices import DUAL_TOLERANCE, Indices, Programme, Slopes


class QuantilePath:
    """Deletion of rows from ``QuantileRegressor``, by pivots between vertices.

    The estimator minimises, with S the sum of the weights and pinball_q(r) = max(q r, (q-1) r),

        (1/S) sum_i s_i pinball_q(y_i - x_i'w - b) + alpha |w|_1.

    Multiplied by S this is a sum in which row i takes part twice: by its own loss, and by a share
    s_i alpha |w|_1 of the penalty. Deleting it takes out both.

    The minimum is a vertex: k residuals or coefficients are exactly 0, and each of these has a
    multiplier, the slope within its kink that balances all others. While the multipliers stay
    within their kinks, deletion changes nothing at all; this is one product for all rows.
    Otherwise the fit jumps to another vertex, which a few pivots from the old one find.

    Where several points are equally good (a median of an even number of rows, collinear features
    without a penalty) a deletion stays at the old one if it can, and a refit from scratch may
    return another. `unique` and `unique_` tell; the objective is the smallest in any case.

    Cost: a product of n x k and k x k numbers for all rows, and per pivot of the rows that jump
    a few of n x k and an inverse of the size of the free parameters. Use refits instead for more
    than a few hundred parameters different from 0.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n_train, p)
        Float64 training rows.
    y : ndarray of shape (n_train,)
        Targets.
    sample_weight : array-like of shape (n_train,) or None
        Non-negative weights; None for equal ones. A row of weight 0 changes nothing.
    quantile : float
        Share of the weight below the fit, q, inside (0, 1).
    alpha : float
        Strength of the penalty, >= 0.
    fit_intercept : bool
        Whether b is fitted; otherwise it is 0.
    coef : ndarray of shape (p,)
        The fitted w. It is a start only: `theta` is the exact vertex.
    intercept : float
        The fitted b.

    Attributes
    ----------
    theta : ndarray of shape (k,)
        The exact minimum, intercept last (if fitted), from which moves are measured;
        k = p + 1, or p without an intercept.
    gap : float
        What the objective at `coef` and `intercept` is above that at `theta`: rounding, up to
        1e-7 of the size of y, for a fit by HiGHS; more if other rows trained the estimator.
    unique : bool
        Whether `theta` is known to be the only minimum: all multipliers strictly inside. Ties
        can hide that it is, never the opposite.
    degenerate : bool
        Whether more residuals and penalised coefficients are 0 than there are parameters: ties,
        which cost pivots and say nothing against the result.
    unique_ : ndarray of shape (n_train,)
        The same for the fit without each row; False as long as it was not asked for.
    pivots_ : ndarray of shape (n_train,)
        Pivots that deleting each row took; -1 as long as it was not asked for, or where
        `linprog` answered.
    n_fallbacks : int
        Deletions, of one row or of several, that were left to `scipy.optimize.linprog`, because
        rounding kept the pivots from ending.

    Raises
    ------
    ValueError
        If the weights are negative, not finite or all 0, or no vertex is found.

    See Also
    --------
    sklearn.linear_model.QuantileRegressor : The estimator; a refit is the slow truth.

    References
    ----------
    Koenker, R. and Bassett, G. (1978). Regression quantiles. Econometrica 46.

    Examples
    --------
    The median of five values is the third. Without the largest, all from the second to the third
    are medians, and it stays. Without the two largest it must move to the second.

    >>> import numpy as np
    >>> from skinfluence.deletion.quantile import QuantilePath
    >>> y = np.array([1.0, 2.0, 3.0, 5.0, 8.0])
    >>> path = QuantilePath(
    ...     np.zeros((5, 1)), y, None, quantile=0.5, alpha=0.0, fit_intercept=True,
    ...     coef=np.zeros(1), intercept=3.0,
    ... )
    >>> path.moves(slice(4, 5))[-1]
    array([0.])
    >>> path.move([3, 4])
    array([ 0., -1.])
    """

    def __init__(
        self,
        X: Any,
        y: Array,
        sample_weight: ArrayLike | None,
        *,
        quantile: float,
        alpha: float,
        fit_intercept: bool,
        coef: Array,
        intercept: float,
    ) -> None:
        self.n_train, self.n_features = X.shape
        self.quantile = quantile
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        X = X.tocsr() if sparse.issparse(X) else X
        weights = _checked_weights(sample_weight, self.n_train)
        counted = np.flatnonzero(weights)
        self._place = np.full(self.n_train, -1)  # of a row among those of positive weight
        self._place[counted] = np.arange(len(counted))
        self._weights = weights[counted]
        self._set_units(X[counted], y[counted])
        self._programme = Programme(self._design(X[counted]), y[counted] - self._y_center)
        self.n_fallbacks = 0
        self.pivots_ = np.full(self.n_train, -1)
        self.unique_ = np.zeros(self.n_train, dtype=bool)
        self._polish(coef, intercept)

    def fitted_to(self, X: Any, y: Array, sample_weight: Array) -> QuantilePath:
        """The same regression of other rows, by pivots from this minimum."""
        p = self.n_features
        return QuantilePath(
            X,
            y,
            sample_weight,
            quantile=self.quantile,
            alpha=self.alpha,
            fit_intercept=self.fit_intercept,
            coef=self.theta[:p],
            intercept=float(self.theta[p]) if self.fit_intercept else 0.0,
        )

    def drags(self, rows: Indices) -> Array:
        """Change of the parameters per unit by which the prediction of each row is pushed up.

        The fit passes through the rows of its basis and goes on doing so, while all others may
        move a little without being felt. Of shape (k, m), intercept last.
        """
        drags = np.zeros((self._programme.n_params, len(rows)))
        where = {int(number): place for place, number in enumerate(self._vertex.basis)}
        for column, place in enumerate(self._place[rows]):
            if place >= 0 and int(place) in where:
                drags[:, column] = self._vertex.edge(where[int(place)], 1.0)
        return self._own_units(drags)

    # -- units ------------------------------------------------------------------------------
    # Entries of X at most 1 in size, and origins near the data. Powers of two and values of the
    # column itself, so that ties between integers stay ties.

    def _set_units(self, X, y):
        self._center = np.zeros(self.n_features)
        self._y_center = 0.0
        if self.fit_intercept:
            self._y_center = _lower_median(y)
            if not sparse.issparse(X):
                self._center = _lower_median(X)
        size = abs(X - self._center if self._center.any() else X).max(axis=0)
        size = np.asarray(size.toarray() if sparse.issparse(size) else size).ravel()
        self._scale = np.exp2(np.round(np.log2(np.where(size > 0, size, 1.0))))

    def _design(self, X):
        if sparse.issparse(X):
            ones = [np.ones((X.shape[0], 1))] * self.fit_intercept
            return sparse.hstack([X @ sparse.diags(1.0 / self._scale), *ones], format="csr")
        ones = [np.ones(X.shape[0])] * self.fit_intercept
        return np.column_stack([(X - self._center) / self._scale, *ones])

    def _own_units(self, theta):
        """Of a change of parameters, (k,) or (k, m)."""
        theta = theta.copy()
        theta[: self.n_features] = (theta[: self.n_features].T / self._scale).T
        if self.fit_intercept:
            theta[-1] -= self._center @ theta[: self.n_features]
        return theta

    def _slopes(self, gone: Indices | None = None) -> Slopes:
        """With the rows `gone`, places among those of positive weight, deleted."""
        weights = self._weights
        if gone is not None:
            weights = weights.copy()
            weights[gone] = 0.0
        penalty = weights.sum() * self._penalty()
        return Slopes(
            up=np.concatenate([self.quantile * weights, penalty]),
            down=np.concatenate([(1.0 - self.quantile) * weights, penalty]),
            n_rows=len(weights),
        )

    def _penalty(self):
        """Penalty of each scaled parameter, per unit of weight."""
        return np.append(self.alpha / self._scale, [0.0] * self.fit_intercept)

    # -- the fit ----------------------------------------------------------------------------

    def _polish(self, coef, intercept):
        slopes = self._slopes()
        start = np.asarray(coef, dtype=np.float64) * self._scale
        if self.fit_intercept:
            start = np.append(start, intercept - self._y_center + self._center @ coef)
        found = self._programme.descend(self._programme.vertex_near(start), slopes)
        if found is None:
            theta = self._linprog(slopes)
            found = self._programme.descend(self._programme.vertex_near(theta), slopes)
        if found is None:
            raise ValueError(
                "The quantile fit has no vertex that rounding leaves recognisable, but exact "
                "deletion starts from one. Rescale the features or drop collinear ones."
            )
        self._vertex, room, _ = found
        self.unique = room > slopes.tolerance
        tied = (self._vertex.residuals == 0.0) & (self._vertex.side != 0.0) & (slopes.bend > 0.0)
        self.degenerate = bool(tied.any())
        self.theta = self._own_units(self._vertex.theta)
        if self.fit_intercept:
            self.theta[-1] += self._y_center
        gap = self._programme.objective(start, slopes)
        gap -= self._programme.objective(self._vertex.theta, slopes)
        self.gap = gap / self._weights.sum()

    # -- deletion ---------------------------------------------------------------------------

    def moves(self, rows: slice | Indices | list[int]) -> Array:
        """Change of the parameters without each of `rows` alone.

        Parameters
        ----------
        rows : slice, ndarray or list of shape (m,)
            Positions in the training set.

        Returns
        -------
        moves : ndarray of shape (k, m)
            theta_{-i} - theta, intercept last; exactly 0 for rows that move nothing.

        Raises
        ------
        ValueError
            If one of `rows` is the only row of positive weight.
        """
        rows = np.atleast_1d(np.arange(self.n_train)[rows])
        moves = np.zeros((self._programme.n_params, len(rows)))
        room = self._room(self._place[rows])
        self.pivots_[rows] = 0
        self.unique_[rows] = room > 1.0
        for column in np.flatnonzero(room < -1.0):
            row = rows[[column]]
            moves[:, column], pivots, unique = self._without(self._place[row])
            self.pivots_[row], self.unique_[row] = pivots, unique
        return self._own_units(moves)

    def move(self, rows: slice | Indices | list[int]) -> Array:
        """Change of the parameters without all of `rows` together.

        Parameters
        ----------
        rows : slice, ndarray or list of shape (m,)
            Positions in the training set.

        Returns
        -------
        move : ndarray of shape (k,)
            Change of `theta`, intercept last.

        Raises
        ------
        ValueError
            If no row of positive weight is left.
        """
        places = self._place[np.unique(np.arange(self.n_train)[rows])]
        move, _, _ = self._without(places[places >= 0])
        return self._own_units(move)

    def _room(self, places: Indices) -> Array:
        """Least distance of the multipliers from their bounds without each row.

        In units of the tolerance: the vertex is the only minimum above 1, and is left below -1.
        """
        room = np.full(len(places), 2.0 if self.unique else 0.0)
        counted = np.flatnonzero(places >= 0)
        if len(counted):
            room[counted] = self._room_of_counted(places[counted])
        return room

    def _room_of_counted(self, places):
        vertex, slopes, programme = self._vertex, self._slopes(), self._programme
        weights = self._weights[places]
        # Minus the gradient loses the row's own part and its share of the penalty's.
        own = np.where(vertex.side > 0, slopes.up, -slopes.down)[places]
        penalty = self._penalty()
        lost = np.outer(weights, vertex.side[programme.n_rows :] * penalty)
        lost += own[:, None] * programme.rows(places)
        u = programme.multipliers(vertex, slopes) + vertex.pull(lost)
        less = np.append(np.zeros(programme.n_rows), penalty)[vertex.basis] * weights[:, None]
        up, down = slopes.up[vertex.basis] - less, slopes.down[vertex.basis] - less
        room = np.minimum(up - u, u + down).min(axis=1)
        # A row of the basis leaves it, if only in the pivots.
        room[np.isin(places, vertex.basis)] = -np.inf
        left = np.maximum(self._weights.sum() - weights, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.nan_to_num(room / (DUAL_TOLERANCE * left), nan=-np.inf)

    def _without(self, gone: Indices) -> tuple[Array, int, bool]:
        """Move in the programme's units, pivots, and whether the new minimum is the only one."""
        if len(gone) == len(self._weights):
            raise ValueError(
                f"Deleting {len(gone)} row(s) leaves none of positive weight, but a quantile fit "
                "needs one. Delete fewer rows."
            )
        slopes = self._slopes(gone)
        found = self._programme.descend(self._vertex, slopes)
        if found is None:
            self.n_fallbacks += 1
            theta, pivots, unique = self._linprog(slopes), -1, False
        else:
            theta, pivots, unique = found[0].theta, found[2], found[1] > slopes.tolerance
        move = theta - self._vertex.theta
        # Another basis of the same vertex is the same point, rounded differently.
        if np.abs(move).max() <= self._programme.noise(theta):
            move = np.zeros_like(move)
        return move, pivots, unique

    def _linprog(self, slopes: Slopes) -> Array:
        """A minimum by HiGHS, up to its tolerance."""
        programme, n = self._programme, self._programme.n_rows
        A, eye = sparse.csr_matrix(programme.A), sparse.eye(n, format="csr")
        up, down = slopes.up, slopes.down
        result = linprog(
            np.concatenate([up[n:], down[n:], up[:n], down[:n]]),
            A_eq=sparse.hstack([A, -A, eye, -eye], format="csc"),
            b_eq=programme.targets[0, :n],
            method="highs",
            options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
        )
        if result.x is None:
            raise ValueError(
                f"scipy.optimize.linprog found no quantile fit: {result.message} Rescale the "
                "features or drop collinear ones."
            )
        positive, negative = np.split(result.x[: 2 * programme.n_params], 2)
        return positive - negative


def _checked_weights(sample_weight, n_train):
    if sample_weight is None:
        return np.ones(n_train)
    weights = np.asarray(sample_weight, dtype=np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"sample_weight lies between {weights.min()} and {weights.max()}, but weights must "
            "be finite and >= 0, and one of them positive. Pass counts or shares."
        )
    return weights


def _lower_median(values):
    return np.quantile(values, 0.5, axis=0, method="inverted_cdf")

"""Coordinates in which a linear model is well conditioned and has no idle directions.

Influence does not depend on the coordinates of the parameters, so the work is done where it is
accurate: columns centred and scaled, or, with more columns than rows, the space that the rows
span. Only what is shown to the user (coefficients) is carried back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from skinfluence.objectives.design import DenseDesign, Design, SparseDesign

Array = NDArray[np.float64]

# A column that varies by less than this share of its size is constant up to rounding.
CONSTANT = 1e-13
# So is a combination of columns, whose products are squares and sums over many rows.
FLAT = 1e-14


class Coordinates(ABC):
    """A linear change of the parameters theta (coefficients, then the intercept).

    Attributes
    ----------
    scales : ndarray of shape (n_coordinates,)
        A penalty of strength 1 on every squared coefficient has strength ``1 / scales^2`` on the
        coordinates; 0 stands for the intercept, which has none.
    intercept : bool
        Whether the last coordinate is the intercept.
    options : dict
        What these coordinates were made with, beside the rows.
    """

    scales: Array
    intercept: bool
    options: dict[str, bool]

    @abstractmethod
    def design(self, X: Any) -> Design:
        """Rows of the user's columns, as the operator that acts on coordinates."""

    @abstractmethod
    def to_user(self, theta: Array) -> Array:
        """Coefficients (and the intercept, last) of coordinates; (P, M) to (p [+ 1], M)."""

    @abstractmethod
    def from_user(self, theta: Array) -> Array:
        """Coordinates of coefficients (and the intercept, last)."""

    def metric(self) -> Array:
        """Diagonal of |w|^2 as a quadratic form of the coordinates, (P,)."""
        squares = np.divide(
            1.0, self.scales, out=np.zeros_like(self.scales), where=self.scales > 0
        )
        return squares**2


class Standardised(Coordinates):
    """Columns divided by their spread, and centred where a free intercept takes that up.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, p)
    weights : ndarray of shape (n,)
        Of the rows, in their mean and spread: a row of weight 0 is none, one of weight 2 is two.
    intercept : bool
    centre : bool
        Only with an intercept that is not penalised, and never for sparse rows.
    """

    def __init__(self, X: Any, weights: Array, *, intercept: bool, centre: bool):
        self.intercept = intercept
        self.options = {"intercept": intercept, "centre": centre}
        share = weights / weights.sum()
        self.shift = np.zeros(X.shape[1])
        if sparse.issparse(X):
            spread = np.sqrt(X.multiply(X).T @ share)
        else:
            if centre:
                self.shift = share @ X
            spread = _spread(X, self.shift, share)
            spread[spread <= CONSTANT * np.abs(self.shift)] = 0.0
        self.spread = np.where(spread > 0, spread, 1.0)
        self.constant = spread == 0
        self.scales = np.append(self.spread, 0.0) if intercept else self.spread

    def design(self, X: Any) -> Design:
        if sparse.issparse(X) and self.shift.any():
            X = X.toarray()  # sparse queries of a model that was fitted on dense rows
        if sparse.issparse(X):
            scaled = sparse.csr_array(X, dtype=np.float64, copy=True)
            scaled.data /= self.spread[scaled.indices]
            return SparseDesign(scaled, self.intercept)
        rows = np.empty((X.shape[0], len(self.scales)))
        inner = rows[:, : X.shape[1]]
        np.subtract(X, self.shift, out=inner)
        inner /= self.spread
        # A constant column less its mean is rounding, which is no information.
        small = np.abs(inner[:, self.constant]) <= CONSTANT * np.abs(self.shift[self.constant])
        inner[:, self.constant] *= ~small
        if self.intercept:
            rows[:, -1] = 1.0
        return DenseDesign(rows)

    def to_user(self, theta: Array) -> Array:
        if not self.intercept:
            return theta / self.spread[:, None]
        coef = theta[:-1] / self.spread[:, None]
        return np.vstack([coef, theta[-1:] - self.shift @ coef])

    def from_user(self, theta: Array) -> Array:
        if not self.intercept:
            return theta * self.spread[:, None]
        return np.vstack([theta[:-1] * self.spread[:, None], theta[-1:] + self.shift @ theta[:-1]])


class RowSpace(Coordinates):
    """An orthonormal basis of what the (centred) rows span, scaled to unit spread.

    Fitted coefficients have no part outside that span, and neither have their changes, where the
    penalty is the same multiple of |w|^2 in all directions or the fit is the one of least norm.
    So p columns become at most n coordinates, without any approximation.

    Parameters
    ----------
    X : ndarray or sparse array of shape (n, p)
    weights, intercept, centre
        As for :class:`Standardised`; rows of weight 0 do not span anything.
    """

    def __init__(self, X: Any, weights: Array, *, intercept: bool, centre: bool):
        self.intercept = intercept
        self.options = {"intercept": intercept, "centre": centre}
        share = weights / weights.sum()
        self.held = np.flatnonzero(share)
        self.rows, self.share = X[self.held], share[self.held]
        root = np.sqrt(self.share)
        self.shift = np.asarray(X.T @ share) if centre else None
        values, vectors = linalg.eigh(self._gram(self.rows) * np.outer(root, root))
        keep = values > values[-1] * 8 * max(X.shape) * np.finfo(float).eps
        if self.shift is not None:
            keep[0] = False  # n centred rows span n - 1 directions; what is left is rounding
        values, vectors = values[keep], vectors[:, keep]
        # sqrt(share) X = U diag(spread) Q', and Q = X' lift diag(spread).
        self.spread = np.sqrt(values)
        self.lift = root[:, None] * vectors / values
        self.scales = np.append(self.spread, 0.0) if intercept else self.spread

    def _centred(self, X):
        if self.shift is None:
            return X
        return (X.toarray() if sparse.issparse(X) else X) - self.shift

    def _gram(self, X):
        if not sparse.issparse(X):
            # Training rows and queries are dense or sparse as they like.
            return np.asarray(self._times(self._centred(X).T)).T
        product = X @ self.rows.T
        product = product.toarray() if sparse.issparse(product) else np.asarray(product)
        if self.shift is not None:
            # (x - s)'(r - s), without the zeros of x and r becoming -s.
            own = self.rows @ self.shift - self.shift @ self.shift
            product -= (X @ self.shift)[:, None] + own
        return product

    def _times(self, columns):
        """Centred training rows times columns, (n, M)."""
        if self.shift is None:
            return np.asarray(self.rows @ columns)
        if not sparse.issparse(self.rows):
            return self._centred(self.rows) @ columns
        return self.rows @ columns - self.shift @ columns

    def _adjoint(self, values):
        """Centred training rows, transposed, times values, (p, M)."""
        if self.shift is None or not sparse.issparse(self.rows):
            return np.asarray(self._centred(self.rows).T @ values)
        return self.rows.T @ values - np.outer(self.shift, values.sum(axis=0))

    def design(self, X: Any) -> Design:
        rows = np.empty((X.shape[0], len(self.scales)))
        rows[:, : len(self.spread)] = self._gram(X) @ self.lift
        if self.intercept:
            rows[:, -1] = 1.0
        return DenseDesign(rows)

    def to_user(self, theta: Array) -> Array:
        inner = self.lift @ theta[: len(self.spread)]
        return self._with_offset(self._adjoint(inner), theta)

    def _with_offset(self, coef, theta):
        if not self.intercept:
            return coef
        offset = 0.0 if self.shift is None else self.shift @ coef
        return np.vstack([coef, theta[-1:] - offset])

    def from_user(self, theta: Array) -> Array:
        coef = theta[:-1] if self.intercept else theta
        # w = X' lift t, and lift' X X' lift = 1 / spread^2.
        inner = self.lift.T @ self._times(coef)
        return self._without_offset(inner * self.spread[:, None] ** 2, coef, theta)

    def _without_offset(self, inner, coef, theta):
        if not self.intercept:
            return inner
        offset = 0.0 if self.shift is None else self.shift @ coef
        return np.vstack([inner, theta[-1:] + offset])


class ColumnSpace(RowSpace):
    """The same span from the columns' own products, where there are more rows than columns.

    Parameters
    ----------
    X, weights, intercept, centre
        As for :class:`RowSpace`.
    """

    def __init__(self, X: Any, weights: Array, *, intercept: bool, centre: bool):
        self.intercept = intercept
        self.options = {"intercept": intercept, "centre": centre}
        share = weights / weights.sum()
        self.shift = np.asarray(X.T @ share) if centre else None
        products = self._products(X, share)
        seen = _complement(products)
        values, vectors = linalg.eigh(seen.T @ products @ seen)
        keep = values > 0
        self.spread = np.sqrt(values[keep])
        self.basis = seen @ vectors[:, keep] / self.spread
        self.scales = np.append(self.spread, 0.0) if intercept else self.spread

    def _products(self, X, share):
        """``sum_i share_i (x_i - s)(x_i - s)'``, (p, p)."""
        if sparse.issparse(X):
            total = (X.T @ X.multiply(share[:, None])).toarray()
            if self.shift is None:
                return total
            whole = np.diag(total)
            total = total - np.outer(self.shift, self.shift)
            rounding = np.diag(total) <= CONSTANT * whole
            total[rounding] = total[:, rounding] = 0.0
            return total
        total = np.zeros((X.shape[1], X.shape[1]))
        for start in range(0, X.shape[0], 4096):
            block = slice(start, start + 4096)
            rows = np.sqrt(share[block])[:, None] * self._centred(X[block])
            total += rows.T @ rows
        if self.shift is not None:
            # A constant column less its mean is rounding, which is no information.
            rounding = np.sqrt(np.diag(total)) <= CONSTANT * np.abs(self.shift)
            total[rounding] = total[:, rounding] = 0.0
        return total

    def design(self, X: Any) -> Design:
        rows = np.empty((X.shape[0], len(self.scales)))
        inner = rows[:, : len(self.spread)]
        if sparse.issparse(X):
            inner[:] = X @ self.basis
            if self.shift is not None:
                inner -= self.shift @ self.basis
        else:
            inner[:] = self._centred(X) @ self.basis
        if self.intercept:
            rows[:, -1] = 1.0
        return DenseDesign(rows)

    def to_user(self, theta: Array) -> Array:
        return self._with_offset(self.basis @ theta[: len(self.spread)], theta)

    def from_user(self, theta: Array) -> Array:
        coef = theta[:-1] if self.intercept else theta
        return self._without_offset((self.basis.T @ coef) * self.spread[:, None] ** 2, coef, theta)


def _complement(products):
    """Orthonormal basis of what is orthogonal to the null space, whatever the columns' units."""
    size = np.sqrt(np.maximum(np.diag(products), 0.0))
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    values, vectors = linalg.eigh(products * np.outer(scale, scale))
    flat = values <= FLAT * len(values) * values[-1]
    # A column without spread is a null direction itself; scaled by 0 it would be none.
    null = np.where(size > 0, scale, 1.0)[:, None] * vectors[:, flat]
    whole, _ = linalg.qr(null / np.linalg.norm(null, axis=0))
    return whole[:, null.shape[1] :]


def _spread(X, shift, share):
    total = np.zeros(X.shape[1])
    for start in range(0, X.shape[0], 4096):
        block = slice(start, start + 4096)
        total += share[block] @ np.square(X[block] - shift)
    return np.sqrt(total)

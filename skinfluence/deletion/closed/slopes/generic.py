"""Derivatives from models with a row moved by a little, or by an imaginary amount."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from skinfluence.deletion.closed.replaced.base import NewRows, Replaced

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Points of central differences in steps, and their weights: exact for polynomials of degree 6.
POINTS = np.array([-3.0, -2.0, -1.0, 1.0, 2.0, 3.0])
WEIGHTS = np.array([-1.0, 9.0, -45.0, 45.0, -9.0, 1.0]) / 60.0
# An imaginary step, relative to the spread of a column: its square is nothing beside 1.
IMAGINARY = 1e-20


def spreads(X: Any) -> Array:
    """Standard deviation of each column; its size, or 1, where it is constant."""
    if sparse.issparse(X):
        mean = np.asarray(X.mean(axis=0)).ravel()
        square = np.asarray(X.multiply(X).mean(axis=0)).ravel()
        found, size = np.sqrt(np.maximum(square - mean**2, 0.0)), np.sqrt(square)
    else:
        found, size = X.std(axis=0), np.abs(X).max(axis=0)
    # Rounding is no spread.
    found = np.where(found > 1e-10 * size, found, size)
    return np.where(found > 0, found, 1.0)


def by_imaginary_steps(
    replace: Callable[[NewRows], Replaced | None],
    new: NewRows,
    X: Any,
    features: Positions,
    steps: Array,
) -> Array | None:
    """Derivatives of outputs by steps along the imaginary axis, exact to rounding.

    The imaginary part of ``f(x + ih)`` is ``h f'(x)`` up to terms in h^3, and no difference is
    taken that would cost digits [1]_.

    Parameters
    ----------
    replace : callable
        Models with complex new rows.
    new : NewRows
        The training rows as they are, in their own places.
    X : ndarray of shape (n_queries, p)
    features : ndarray of int of shape (f,)
    steps : ndarray of shape (p,)
        Spreads of the columns.

    Returns
    -------
    slopes : ndarray of shape (n_queries, b, f, n_outputs), or None
        None where a model has no closed form.

    References
    ----------
    .. [1] W. Squire and G. Trapp (1998), Using complex variables to estimate derivatives of real
       functions, SIAM Review 40.
    """
    moved, h = _moved(new, features, 1j * IMAGINARY * steps, np.ones(1))
    replaced = replace(moved)
    if replaced is None or replaced.broken.any():
        return None
    outputs = replaced.outputs(X).imag / h[:, None]
    return outputs.reshape(outputs.shape[0], len(new), len(features), -1)


def by_differences(
    replace: Callable[[NewRows], Replaced],
    new: NewRows,
    X: Any,
    features: Positions,
    steps: Array,
) -> Array:
    """Derivatives of outputs by central differences of order six, (n_queries, b, f, n_outputs).

    Parameters
    ----------
    replace, new, X, features
        As for :func:`by_imaginary_steps`.
    steps : ndarray of shape (p,)
    """
    moved, h = _moved(new, features, steps, POINTS)
    outputs = replace(moved).outputs(X)
    outputs = outputs.reshape(len(outputs), len(new), len(features), len(POINTS), -1)
    h = h.reshape(len(new), len(features), len(POINTS))[..., 0]
    return np.einsum("qbfsk,s->qbfk", outputs, WEIGHTS) / h[..., None]


def _moved(new, features, steps, points):
    """Each row at each point along each feature, and the size of the steps."""
    dense = new.X.toarray() if sparse.issparse(new.X) else new.X
    each = np.repeat(np.arange(len(new)), len(features) * len(points))
    feature = np.tile(np.repeat(features, len(points)), len(new))
    point = np.tile(points, len(new) * len(features))
    rows = dense[each].astype(np.result_type(dense.dtype, steps.dtype))
    rows[np.arange(len(rows)), feature] += point * steps[feature]
    moved = new[each].having(sparse.csr_array(rows) if sparse.issparse(new.X) else rows)
    return moved, np.abs(steps[feature])


def slopes_of_value(value: Callable[[Array], Array], outputs: Array) -> Array:
    """Derivatives of a value of each query's outputs, (q, K), by central differences.

    Steps are relative to each output, or to its column where it is near 0.

    Parameters
    ----------
    value : callable
        ``value(outputs)`` of outputs (q, b, K) is (q, b).
    outputs : ndarray of shape (q, K)
    """
    found = np.zeros_like(outputs)
    for k in range(outputs.shape[1]):
        column = outputs[:, k]
        usual = np.sqrt(np.mean(np.square(column[np.isfinite(column)]))) or 1.0
        h = 1e-3 * np.where(np.abs(column) > 1e-3 * usual, np.abs(column), usual)
        moved = np.repeat(outputs[:, None], len(POINTS), axis=1)
        moved[..., k] += POINTS * h[:, None]
        with np.errstate(invalid="ignore"):
            found[:, k] = value(moved) @ WEIGHTS / h
    return found

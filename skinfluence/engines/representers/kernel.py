"""Products of features, whether dense or sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Array = NDArray[np.float64]


def products(queries: Any, features: Any) -> Array:
    """``f_z'f_i``, (n_queries, n_train), of rows each dense or in CSR."""
    if sparse.issparse(features):
        if sparse.issparse(queries):
            return (queries @ features.T).toarray()
        return np.asarray(features @ queries.T).T
    return np.asarray(queries @ features.T)


def spanned(features: Any, alpha: Array) -> Array:
    """``sum_i f_i alpha_i'``, (d, K)."""
    return np.asarray(features.T @ alpha)


def applied(features: Any, coef: Array) -> Array:
    """``F W``, (n, K)."""
    return np.asarray(features @ coef)


def square_lengths(features: Any) -> Array:
    """``f_i'f_i``, (n,)."""
    if sparse.issparse(features):
        return np.asarray(features.multiply(features).sum(axis=1)).ravel()
    return np.einsum("ij,ij->i", features, features)


def dense(features: Any) -> Array:
    """Rows as an array."""
    return features.toarray() if sparse.issparse(features) else np.asarray(features)

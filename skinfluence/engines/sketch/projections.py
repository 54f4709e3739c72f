"""Random projections of features, and rows projected by them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from skinfluence import _loops
from skinfluence.objectives.design import GRAM_ROWS

Array = NDArray[np.float64]


def draw(kind: str, n_features: int, n_components: int, rng: np.random.RandomState) -> Any:
    """Omega, (n_features, n_components): dense, or sparse in CSR.

    Only the space that its columns span counts, for leverages as for everything that follows from
    them, so that its scale is free.

    Parameters
    ----------
    kind : {"sparse", "gaussian", "countsketch"}
    n_features, n_components : int
    rng : RandomState
    """
    return _KINDS[kind](n_features, n_components, rng)


def _gaussian(p, k, rng):
    omega = rng.standard_normal((p, k))
    # Nearly square, its condition number is of the order of p; an orthonormal basis spans the
    # same space. Tall ones have a condition number below 3 as they are.
    return linalg.qr(omega, mode="economic", overwrite_a=True)[0] if 4 * k > p else omega


def _sparse(p, k, rng):
    """Signs at a share 1 / sqrt(p) of the places (Li, Hastie and Church, 2006)."""
    counts = rng.binomial(p, 1.0 / np.sqrt(p), size=k)
    indices = np.concatenate([rng.choice(p, size=count, replace=False) for count in counts])
    starts = np.concatenate([[0], np.cumsum(counts)])
    signs = _signs(len(indices), rng)
    return sparse.csc_array((signs, indices, starts), shape=(p, k)).tocsr()


def _countsketch(p, k, rng):
    """One sign a feature, in a column drawn at random (Charikar, Chen and Farach-Colton, 2002)."""
    columns = rng.randint(k, size=p)
    return sparse.csr_array((_signs(p, rng), columns, np.arange(p + 1)), shape=(p, k))


def _signs(n, rng):
    return rng.randint(2, size=n) * 2.0 - 1.0


_KINDS = {"sparse": _sparse, "gaussian": _gaussian, "countsketch": _countsketch}


def gram(omega: Any, weights: Array) -> Array:
    """``Omega' diag(weights) Omega``, dense."""
    if not sparse.issparse(omega):
        total = np.zeros((omega.shape[1], omega.shape[1]))
        for part in _loops.slices(len(omega), GRAM_ROWS):  # no second copy of Omega
            total += (omega[part] * weights[part, None]).T @ omega[part]
        return total
    return (omega.T @ (omega * weights[:, None])).toarray()


def project(X: Any, omega: Any) -> Array:
    """``X Omega`` of a block of rows, dense, in float64."""
    product = X @ omega
    if sparse.issparse(product):
        product = product.toarray()
    return np.asarray(product, dtype=np.float64)

"""The linear kernel of rows of features, through these rows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices


class FeatureRows:
    """Rows of ``Z Z'``, of which no more is formed than is asked for.

    A free set has no more members than there are features, up to one, so that a matrix of their
    rows is never larger than Z.

    Parameters
    ----------
    Z : ndarray or sparse array of shape (n, P)
    """

    def __init__(self, Z: Any):
        self.Z = sparse.csr_array(Z) if sparse.issparse(Z) else np.ascontiguousarray(Z)
        self.n = Z.shape[0]

    @cached_property
    def largest(self) -> float:
        """Size of the kernel's entries."""
        return float(np.max(self.squares(), initial=0.0))

    def squares(self) -> Array:
        """``|z|^2`` of each row, (n,)."""
        if isinstance(self.Z, np.ndarray):
            return np.asarray(np.einsum("ij,ij->i", self.Z, self.Z))
        return np.asarray(self.Z.multiply(self.Z).sum(axis=1)).ravel()

    def row(self, j: int) -> Array:
        """Kernel of row j with all rows, (n,)."""
        return self.rows(np.array([j]))[0]

    def rows(self, which: Indices) -> Array:
        """Several rows at once, (len(which), n)."""
        product = self.Z[which] @ self.Z.T
        return product.toarray() if sparse.issparse(product) else product

    def block(self, which: Indices) -> Array:
        """Kernel of some rows with each other, (len(which), len(which))."""
        product = self.Z[which] @ self.Z[which].T
        return product.toarray() if sparse.issparse(product) else product

    def products(self, beta: Array) -> Array:
        """``K beta``, (n,)."""
        return np.asarray(self.Z @ self.features(beta))

    def mixed(self, which: Indices, weights: Array) -> Array:
        """Sum of a few rows, weighted, (n,); or several such sums, (b, n)."""
        return np.asarray(self.Z @ np.asarray(self.Z[which].T @ weights.T)).T

    def apart(self, row: Any, others: Indices, weights: Array) -> float:
        """Squared distance of a row from a combination of others."""
        places, signs = np.append(others, row), np.append(weights, -1.0)
        return float(np.sum(np.square(np.asarray(self.Z[places].T @ signs))))

    def features(self, beta: Array) -> Array:
        """``Z' beta``, (P,) or (P, b): what a linear function of the rows is made of."""
        return np.asarray(self.Z.T @ beta)

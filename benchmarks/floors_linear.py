"""The least arithmetic of influence on linear models, float64: what the speed is held against.

No weights, no checks, no polish: the parameters are taken as they are.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse
from scipy.special import expit, softmax


def logistic_hessian(X, theta):
    """Cholesky factor of the Hessian of sum of log-losses + |theta|^2 / 2."""
    p = expit(X @ theta)
    hessian = (X * (p * (1.0 - p))[:, None]).T @ X
    hessian[np.diag_indices_from(hessian)] += 1.0
    return linalg.cho_factor(hessian)


def logistic_scores(X, y, theta, Xq, yq):
    """Influence of all rows on all queries: Hessian, Cholesky, one GEMM."""
    factor = logistic_hessian(X, theta)
    solved = linalg.cho_solve(factor, (Xq * (expit(Xq @ theta) - yq)[:, None]).T)
    return solved.T @ (X * (expit(X @ theta) - y)[:, None]).T


def one_solve(X, theta):
    """Hessian, Cholesky, and one solve against all rows."""
    return linalg.cho_solve(logistic_hessian(X, theta), X.T)


def softmax_scores(X, y, theta, Xq, yq):
    """The same for several classes, theta (p, K), targets as positions: an explicit Hessian."""
    p = softmax(X @ theta, axis=1)
    size, n_outputs = theta.shape
    hessian = np.empty((n_outputs, size, n_outputs, size))
    for k in range(n_outputs):
        for l in range(k + 1):
            bend = p[:, k] * ((k == l) - p[:, l])
            hessian[k, :, l] = hessian[l, :, k] = (X * bend[:, None]).T @ X
    hessian = hessian.reshape(n_outputs * size, -1)
    hessian[np.diag_indices_from(hessian)] += 1.0
    factor = linalg.cho_factor(hessian)
    solved = linalg.cho_solve(factor, _gradients(Xq, softmax(Xq @ theta, axis=1), yq).T)
    return solved.T @ _gradients(X, p, y).T


def _gradients(X, p, y):
    slopes = p.copy()
    slopes[np.arange(len(y)), y] -= 1.0
    return (slopes[:, :, None] * X[:, None, :]).reshape(len(X), -1)


def gram_and_solve(X, weights, block=4096):
    """One weighted Gram matrix, and a triangular solve of all rows against its factor."""
    gram = np.zeros((X.shape[1], X.shape[1]))
    for start in range(0, len(X), block):
        part = slice(start, start + block)
        gram += (X[part] * weights[part, None]).T @ X[part]
    factor = linalg.cholesky(gram, lower=True)
    leverage = np.empty(len(X))
    for start in range(0, len(X), block):
        part = slice(start, start + block)
        half = linalg.solve_triangular(factor, X[part].T, lower=True, check_finite=False)
        leverage[part] = weights[part] * np.einsum("pi,pi->i", half, half)
    return leverage


def sparse_product(X, theta, n_columns):
    """One product by the Hessian of a sparse logistic regression: an iteration of CG."""
    p = expit(X @ theta)
    columns = np.ones((X.shape[1], n_columns))
    return sparse.csr_array(X).T @ ((p * (1.0 - p))[:, None] * (X @ columns)) + columns

"""Plain EM in natural coordinates: the slow truth, sharing nothing with the fast code."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp

from .statistics import Array


class Parameters(NamedTuple):
    """Weights (K,), means (K, d), covariances (K, d, d) of a mixture."""

    weights: Array
    means: Array
    covariances: Array


def log_joint(parameters: Parameters, X: Array) -> Array:
    """Log of weight times density, (n, K)."""
    columns = []
    for weight, mean, covariance in zip(*parameters, strict=True):
        factor = np.linalg.cholesky(covariance)
        white = np.linalg.solve(factor, (X - mean).T)
        log_det = 2.0 * np.log(np.diag(factor)).sum()
        with np.errstate(divide="ignore"):
            constant = np.log(weight) - 0.5 * (X.shape[1] * np.log(2 * np.pi) + log_det)
        columns.append(constant - 0.5 * np.sum(white**2, axis=0))
    return np.stack(columns, axis=1)


def em_step(parameters: Parameters, X: Array, covariance_type: str, reg_covar: float) -> Parameters:
    """One E step and one M step, as GaussianMixture defines them.

    A component without weight keeps its place: scikit-learn moves it to the origin, where its
    weight of about 1e-15 is no more visible.
    """
    joint = log_joint(parameters, X)
    r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    N = r.sum(axis=0)
    alive = N > 1e-9
    means, scatters = parameters.means.copy(), []
    for k, (count, old) in enumerate(zip(N, parameters.covariances, strict=True)):
        if alive[k]:
            means[k] = r[:, k] @ X / count
            centred = X - means[k]
            scatters.append((r[:, k] * centred.T) @ centred / count)
        else:
            scatters.append(old - reg_covar * np.eye(X.shape[1]))
    weights = np.where(alive, N, 0.0) / N[alive].sum()
    covariances = _constrain(np.stack(scatters), weights, covariance_type)
    return Parameters(weights, means, covariances + reg_covar * np.eye(X.shape[1]))


def _constrain(scatters: Array, weights: Array, covariance_type: str) -> Array:
    d = scatters.shape[1]
    if covariance_type == "tied":
        return np.repeat(np.einsum("k,kab->ab", weights, scatters)[None], len(scatters), axis=0)
    if covariance_type == "diag":
        return scatters * np.eye(d)
    if covariance_type == "spherical":
        return np.trace(scatters, axis1=1, axis2=2)[:, None, None] / d * np.eye(d)
    return scatters


def run_em(
    parameters: Parameters,
    X: Array,
    covariance_type: str,
    reg_covar: float,
    *,
    tol: float = 1e-12,
    max_iter: int = 20_000,
) -> tuple[Parameters, bool]:
    """EM from `parameters` until no parameter moves by more than `tol` of its scale."""
    for _ in range(max_iter):
        old, parameters = parameters, em_step(parameters, X, covariance_type, reg_covar)
        size = np.sqrt(np.trace(old.covariances, axis1=1, axis2=2).max())
        moved = (
            np.abs(parameters.weights - old.weights).max(),
            np.abs(parameters.means - old.means).max() / size,
            np.abs(parameters.covariances - old.covariances).max() / size**2,
        )
        if max(moved) <= tol:
            return parameters, True
    return parameters, False

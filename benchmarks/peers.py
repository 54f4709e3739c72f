"""What people do without this package: jobs for the clock of ``common.measure``."""

from __future__ import annotations

import warnings

import numpy as np
from common import Job
from scipy.stats import gaussian_kde
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity


def leave_one_out(scores, bandwidth, n, d):
    """Log density without the row itself, by subtracting its kernel from a mean that counts it."""
    peak = np.exp(-0.5 * d * np.log(2.0 * np.pi) - d * np.log(bandwidth))
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(n * np.exp(scores) - peak, 0.0) / (n - 1))


def sklearn_self(make, bandwidth, watched) -> Job:
    X = make()
    n, d = X.shape

    def run():
        scores = KernelDensity(bandwidth=bandwidth).fit(X).score_samples(X)
        return leave_one_out(scores, bandwidth, n, d)

    return Job(run, digest=lambda result: result[watched])


def scipy_self(make, bandwidth) -> Job:
    X = make()
    n, d = X.shape

    def run():
        return leave_one_out(np.log(gaussian_kde(X.T, bandwidth)(X.T)), bandwidth, n, d)

    return Job(run)


def kde_refits(make, queries, bandwidth, watched) -> Job:
    """A refit without each watched row, evaluated at `queries` or, if None, at that row."""
    X = make()
    Z = None if queries is None else queries()

    def run():
        results = []
        for i in watched:
            model = KernelDensity(bandwidth=bandwidth).fit(np.delete(X, i, axis=0))
            results.append(model.score_samples(X[[i]] if Z is None else Z))
        return np.array(results)

    return Job(run, digest=lambda result: result[:, 0] if Z is None else None)


def gmm_refits(make, queries, model, tol, watched) -> Job:
    """Warm refits of a mixture without each watched row: changes of the loss at the queries."""
    X, Z, model = make(), queries(), model()

    def refit(rows):
        start = dict(
            weights_init=model.weights_,
            means_init=model.means_,
            precisions_init=model.precisions_,
        )
        again = GaussianMixture(model.n_components, tol=tol, max_iter=20_000, **start)
        return again.fit(rows).score_samples(Z)

    warnings.simplefilter("ignore")
    before = refit(X)

    def run():
        return np.array([before - refit(np.delete(X, i, axis=0)) for i in watched]).T

    return Job(run, digest=lambda result: result)

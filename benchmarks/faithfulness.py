"""Faithfulness: scores against brute-force deletion, for every method, kernel and metric.

    python benchmarks/faithfulness.py [--only knn kde gmm] [--quick]

Every refit is a real one (``Deletion.refit_loss``), run until it no longer moves. The targets F1
and F2 stand beside what was reached.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings

import numpy as np
from common import note, parser, publish, table
from data import clusters
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors
from threadpoolctl import threadpool_limits

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence
from skinfluence.metrics import agreement

KERNELS = ("gaussian", "exponential", "epanechnikov", "tophat", "linear", "cosine")
METRICS = ("euclidean", "manhattan", "chebyshev", "cosine")
COVARIANCES = ("spherical", "diag", "tied", "full")
METHODS = ("one_step", "implicit", "refit")
HEADER = ["Pearson", "Spearman", "slope", "relative error", "worst error", "infinite"]
HEADER += ["refits", "target"]


def numbers(result, n_refits, target, met):
    """The cells of one agreement."""
    infinite = f"{result.n_infinite} right, {result.n_infinite_wrong} wrong"
    none = result.n_infinite + result.n_infinite_wrong == 0
    return [
        f"{result.pearson:.5f}",
        f"{result.spearman:.5f}",
        f"{result.slope:.4f}",
        f"{result.relative_error:.1e}",
        f"{result.max_error:.1e}",
        "" if none else infinite,
        n_refits,
        f"{target}: {'met' if met else 'MISSED'}",
    ]


def exact(explainer, queries, n_refits):
    """Cells of a method that must be exact (F1)."""
    deleted = np.random.default_rng(0).choice(explainer.n_samples_fit_, n_refits, replace=False)
    actual = brute_force(explainer, queries, deleted)
    result = compared(explainer.score_influence(queries)[:, deleted], actual)
    return numbers(result, n_refits, "1e-9", result.max_error <= 1e-9)


def brute_force(explainer, queries, deleted):
    """Changes of the loss by real refits; NaN where it is the same infinity before and after."""
    deletion = explainer._deletion
    before = deletion.refit_loss(None, queries)
    with np.errstate(invalid="ignore"):
        return np.array([deletion.refit_loss(i, queries) - before for i in deleted]).T


def compared(estimated, actual):
    """Agreement over the pairs that have a change; differences below 1e-12 do not make a rank."""
    defined = ~np.isnan(actual)
    estimated, actual = estimated[defined], actual[defined]
    rank = agreement(np.round(estimated, 12), np.round(actual, 12)).spearman
    return dataclasses.replace(agreement(estimated, actual), spearman=rank)


def rows_and_queries(n):
    """Overlapping clusters with outliers, copies and ties, and queries that reach far out."""
    X = clusters(n, 3, 2, spread=2.0)
    X[: n // 20] *= 6.0
    X[n // 20 : n // 10] = X[n // 10 : n // 10 + n // 20]
    X[-n // 5 :] = np.round(X[-n // 5 :], 0)
    far = X[:20] * np.linspace(2.0, 20.0, 20)[:, None]
    return X, np.vstack([X, far])


def knn(quick):
    """k-NN: neighbours x metric, on rows with outliers, copies and ties."""
    X, queries = rows_and_queries(80 if quick else 300)
    rows = []
    for k, metric in itertools.product(
        (1, 5, 20), ("euclidean", "manhattan", "chebyshev", "cosine")
    ):
        explainer = KNNInfluence(NearestNeighbors(n_neighbors=k, metric=metric)).fit(X)
        rows.append([k, metric, *exact(explainer, queries, len(X) // 5)])
    return table(["k", "metric", *HEADER], rows)


def kde(quick):
    """KDE: kernel x weights, on rows with outliers, copies and ties."""
    X, queries = rows_and_queries(80 if quick else 300)
    rng = np.random.default_rng(0)
    uneven = rng.uniform(0.0, 2.0, len(X)) * rng.integers(0, 5, len(X))
    one_heavy = np.ones(len(X))
    one_heavy[0] = 1e6
    weights = {"none": None, "random, a fifth 0": uneven, "one of 1e6": one_heavy}
    rows = []
    for kernel, (name, w) in itertools.product(KERNELS, weights.items()):
        explainer = KDEInfluence(KernelDensity(kernel=kernel, bandwidth=0.7))
        explainer.fit(X, sample_weight=w)
        rows.append([kernel, name, "euclidean", *exact(explainer, queries, len(X) // 5)])
    for kernel, metric in itertools.product(("gaussian", "tophat"), ("manhattan", "chebyshev")):
        explainer = KDEInfluence(KernelDensity(kernel=kernel, metric=metric, bandwidth=0.7)).fit(X)
        rows.append([kernel, "none", metric, *exact(explainer, queries, len(X) // 5)])
    return table(["kernel", "weights", "metric", *HEADER], rows)


def three_clusters(n, distance):
    """Three round clusters of standard deviation 1, centres `distance` apart."""
    rng = np.random.default_rng(0)
    centres = distance * np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
    return centres[np.arange(n) % 3] + rng.standard_normal((n, 2))


def gmm(quick):
    """Mixtures of three components: data x covariance type x method."""
    sizes, n_refits = ((150,), 10) if quick else ((150, 600), 150)
    sets = {
        f"{name}, n = {n}": (three_clusters(n, distance), n)
        for name, distance in (("separated", 12.0), ("overlapping", 2.5))
        for n in sizes
    }
    sets["iris, n = 150"] = load_iris().data, 150
    rows = []
    for (name, (X, n)), covariance in itertools.product(sets.items(), COVARIANCES):
        note(f"  {name}, {covariance}")
        rows += _mixture_rows(name, X, n, covariance, n_refits)
    return table(["data", "covariance", "method", *HEADER], rows)


def _mixture_rows(name, X, n, covariance, n_refits):
    model = GaussianMixture(
        3, covariance_type=covariance, tol=1e-6, max_iter=2000, n_init=5, random_state=0
    ).fit(X)
    deleted = np.sort(np.random.default_rng(1).choice(n, min(n, n_refits), replace=False))
    methods = METHODS
    if covariance == "spherical" and name.startswith("separated"):
        methods = ("well_separated", *METHODS)
    actual, rows = None, []
    for method in methods[::-1]:
        explainer = GMMInfluence(model, method=method).fit(X)
        if actual is None:
            actual = brute_force(explainer, X, deleted)
        result = compared(explainer.score_influence(X)[:, deleted], actual)
        rows.insert(0, [name, covariance, method, *_judged(result, n, method, len(deleted))])
    return rows


def _judged(result, n, method, n_refits):
    if method == "implicit":
        bound = 0.15 if n < 600 else 0.03
        met = result.pearson >= 0.995 and result.relative_error <= bound
        return numbers(result, n_refits, f".995, {bound:.0%}", met)
    if method == "refit":
        return numbers(result, n_refits, "1e-6", result.max_error <= 1e-6)
    return [*numbers(result, n_refits, "", True)[:-1], "none"]


PARTS = {"knn": knn, "kde": kde, "gmm": gmm}


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    for name in options.only or PARTS:
        note(f"faithfulness: {name}")
        with threadpool_limits(1):
            text = PARTS[name](options.quick)
        publish(f"faithfulness-{name}", PARTS[name].__doc__.rstrip("."), text, options)


if __name__ == "__main__":
    main()

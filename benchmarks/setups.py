"""Jobs for the clock of ``common.measure``: ours, and the floors beside them."""

from __future__ import annotations

import warnings
from functools import partial

import floors
from common import Job
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence

# -- set-ups of ours ----------------------------------------------------------------------------


def kde_influence(make, queries, bandwidth, n_jobs):
    Z = queries()
    explainer = KDEInfluence(KernelDensity(bandwidth=bandwidth), n_jobs=n_jobs).fit(make())
    return Job(lambda: explainer.score_influence(Z), digest=lambda scores: scores[::50, ::100])


def kde_self_influence(make, bandwidth, n_jobs, watched):
    X = make()
    explainer = KDEInfluence(KernelDensity(bandwidth=bandwidth), n_jobs=n_jobs)

    def digest(scores):
        return explainer.log_density(X[watched]) - scores[watched]

    return Job(lambda: explainer.fit(X).self_influence(), digest)


def kde_proponents(make, queries, bandwidth, n_jobs, with_scores):
    Z = queries()
    # A threshold would sum 5e11 pairs of rows, which proponents do not use.
    explainer = KDEInfluence(
        KernelDensity(bandwidth=bandwidth), contamination=None, n_jobs=n_jobs
    ).fit(make())
    return Job(lambda: explainer.proponents(Z, k=10, return_scores=with_scores))


def knn_self_influence(make, k, n_jobs, include_fit):
    X = make()
    model = NearestNeighbors(n_neighbors=k, n_jobs=n_jobs)
    explainer = KNNInfluence(model, contamination=None, n_jobs=n_jobs)
    if include_fit:
        return Job(lambda: explainer.fit(X).self_influence())
    explainer.fit(X)
    return Job(explainer.self_influence)


def gmm_influence(make, queries, model, method, n_jobs, watched):
    X, Z, model = make(), queries(), model()
    warnings.simplefilter("ignore")
    explainer = GMMInfluence(model, method=method, contamination=None, n_jobs=n_jobs)
    return Job(lambda: explainer.fit(X).score_influence(Z), lambda scores: scores[:, watched])


def gmm_self_influence(make, model, n_jobs):
    X, model = make(), model()
    warnings.simplefilter("ignore")
    explainer = GMMInfluence(model, contamination=None, n_jobs=n_jobs)
    return Job(lambda: explainer.fit(X).self_influence())


# -- set-ups of floors --------------------------------------------------------------------------


def floor_influence(make, queries, bandwidth, n_threads):
    X, Z = make(), queries()
    run = partial(floors.kde_influence, X, Z, bandwidth, threads=n_threads)
    return Job(run, digest=lambda scores: scores[::50, ::100])


def floor_self_influence(make, bandwidth, n_threads):
    return Job(partial(floors.kde_self_influence, make(), bandwidth, threads=n_threads))


def floor_kneighbors(make, k, n_jobs, include_fit):
    X = make()
    index = NearestNeighbors(n_neighbors=k, n_jobs=n_jobs)
    if include_fit:
        return Job(lambda: index.fit(X).kneighbors(X))
    index.fit(X)
    return Job(lambda: index.kneighbors(X))


def floor_tree(make, queries, bandwidth, n_jobs, with_scores):
    X, Z = make(), queries()
    tree = KernelDensity(bandwidth=bandwidth).fit(X).tree_

    def run():
        found = tree.query(Z, k=10)
        if with_scores:
            return found, floors.kde_log_density(X, Z, bandwidth, threads=n_jobs)
        return found

    return Job(run)


def fitted_mixture(make, k, **parameters):
    warnings.simplefilter("ignore")
    return GaussianMixture(k, random_state=0, **parameters).fit(make())

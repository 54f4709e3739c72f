"""Speed and memory beside the floor and the peers: the targets D1 to D6.

    python benchmarks/speed.py [--only D1 D2] [--quick]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

import warnings
from functools import partial

import floors
import numpy as np
import peers
from common import Case, Job, measure, parser, publish, speed_table
from data import clusters, gaussian_rows, scott
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, NearestNeighbors

from skinfluence import KDEInfluence, KNNInfluence
from skinfluence.deletion.kde import KDEDeletion

try:
    from skinfluence import GMMInfluence
except ImportError:
    GMMInfluence = None

PLANTED = 20


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
    # `fit` sums 5e11 pairs for self influence, which proponents do not use and D6 is not about.
    KDEDeletion._leave_one_out = lambda self, *_: np.zeros(self.n_train)
    explainer = KDEInfluence(KernelDensity(bandwidth=bandwidth), n_jobs=n_jobs).fit(make())
    return Job(lambda: explainer.proponents(Z, k=10, return_scores=with_scores))


def knn_self_influence(make, n_neighbors, n_jobs, include_fit):
    X = make()
    model = NearestNeighbors(n_neighbors=n_neighbors, n_jobs=n_jobs)
    explainer = KNNInfluence(model, n_jobs=n_jobs)
    if include_fit:
        return Job(lambda: explainer.fit(X).self_influence())
    explainer.fit(X)
    return Job(explainer.self_influence)


def gmm_influence(make, queries, model, method, n_jobs, watched):
    X, Z, model = make(), queries(), model()
    warnings.simplefilter("ignore")
    explainer = GMMInfluence(model, method=method, n_jobs=n_jobs)
    return Job(lambda: explainer.fit(X).score_influence(Z), lambda scores: scores[:, watched])


def gmm_self_influence(make, model, n_jobs):
    X, model = make(), model()
    warnings.simplefilter("ignore")
    explainer = GMMInfluence(model, n_jobs=n_jobs)
    return Job(lambda: explainer.fit(X).self_influence())


# -- set-ups of floors --------------------------------------------------------------------------


def floor_influence(make, queries, bandwidth, threads):
    X, Z = make(), queries()
    run = partial(floors.kde_influence, X, Z, bandwidth, threads=threads)
    return Job(run, digest=lambda scores: scores[::50, ::100])


def floor_self_influence(make, bandwidth, threads):
    return Job(partial(floors.kde_self_influence, make(), bandwidth, threads=threads))


def floor_kneighbors(make, k, threads, include_fit):
    X = make()
    index = NearestNeighbors(n_neighbors=k, n_jobs=threads)
    if include_fit:
        return Job(lambda: index.fit(X).kneighbors(X))
    index.fit(X)
    return Job(lambda: index.kneighbors(X))


def floor_tree(make, queries, bandwidth, threads, with_density):
    X, Z = make(), queries()
    tree = KernelDensity(bandwidth=bandwidth).fit(X).tree_

    def run():
        found = tree.query(Z, k=10)
        if with_density:
            return found, floors.kde_log_density(X, Z, bandwidth, threads=threads)
        return found

    return Job(run)


def fitted_mixture(make, k, **parameters):
    warnings.simplefilter("ignore")
    return GaussianMixture(k, random_state=0, **parameters).fit(make())


# -- the targets --------------------------------------------------------------------------------


def d1(quick):
    """D1: KDE influence of 20,000 rows on 1,000 queries, d = 16, Gaussian kernel."""
    n, m, d = (4_000, 200, 16) if quick else (20_000, 1_000, 16)
    kde = dict(
        make=partial(gaussian_rows, n, d),
        queries=partial(gaussian_rows, m, d, seed=1),
        bandwidth=scott(n, d),
    )
    refits = dict(kde, watched=[0] if not quick else [0, 1, 2])
    found = measure(
        [
            case
            for t in (1, 2)
            for case in (
                Case("floor", "numpy", floor_influence, dict(kde, threads=t), t),
                Case("ours", "score_influence", kde_influence, dict(kde, n_jobs=t), t),
            )
        ]
        + [
            Case(
                "peer",
                "refits of KernelDensity",
                peers.kde_refits,
                refits,
                1,
                n / len(refits["watched"]),
            )
        ]
    )
    error = np.abs(found[1].answer - found[0].answer).max()
    return _text(
        found,
        "<= 1.5 x the floor; extra memory <= output + working_memory (1 GiB)",
        f"n = {n}, {m} queries; the output takes {8 * n * m / 2**20:.0f} MB. The fit is not "
        f"counted: see D2. Largest difference from the floor: {error:.1e} nats.",
    )


def d2(quick):
    """D2: KDE self influence of 20,000 rows, d = 2 and 16."""
    return "\n\n".join(_d2(4_000 if quick else 20_000, d) for d in (2, 16))


def _d2(n, d):
    make, h = partial(gaussian_rows, n, d, n_planted=PLANTED), scott(n, d)
    planted = np.arange(n - PLANTED, n)
    kde = dict(make=make, bandwidth=h)
    found = measure(
        [
            case
            for t in (1, 2)
            for case in (
                Case("floor", "numpy", floor_self_influence, dict(kde, threads=t), t),
                Case(
                    "ours",
                    "fit + self_influence",
                    kde_self_influence,
                    dict(kde, n_jobs=t, watched=planted),
                    t,
                ),
            )
        ]
        + [
            Case(
                "ours",
                "fit + self_influence, n_jobs=None",
                kde_self_influence,
                dict(kde, n_jobs=None, watched=planted),
                2,
            ),
            Case(
                "peer",
                "KernelDensity, self term off",
                peers.sklearn_self,
                dict(kde, watched=planted),
            ),
            Case("peer", "gaussian_kde, self term off", peers.scipy_self, kde),
            Case(
                "peer",
                "refits of KernelDensity",
                peers.kde_refits,
                dict(kde, queries=None, watched=planted),
                1,
                n / PLANTED,
            ),
        ]
    )
    truth = _log_leave_one_out(make(), planted, h)
    tail = "; ".join(
        f"{name}: {_tail_error(found[j].answer, truth)}"
        for j, name in ((1, "ours"), (5, "KernelDensity, self term off"), (7, "its refits"))
    )
    return _text(
        found,
        "<= 1.5 x the floor with two threads; >= 20 x KernelDensity and gaussian_kde; "
        "memory O(block); right in the tail",
        f"n = {n}, d = {d}, Scott's bandwidth. Leave-one-out log density of {PLANTED} rows planted "
        f"8 to 40 standard deviations out, against a sum in log space: {tail}.",
    )


def _log_leave_one_out(X, rows, bandwidth):
    n, d = X.shape
    log_K = -0.5 * cdist(X[rows], X, "sqeuclidean") / bandwidth**2
    log_K[np.arange(len(rows)), rows] = -np.inf
    log_norm = 0.5 * d * np.log(2.0 * np.pi) + d * np.log(bandwidth) + np.log(n - 1)
    return logsumexp(log_K, axis=1) - log_norm


def _tail_error(values, truth):
    finite = np.isfinite(values)
    worst = (
        f"largest error {np.abs(values - truth)[finite].max():.1e} nats" if finite.any() else ""
    )
    lost = f"{np.count_nonzero(~finite)} of {len(values)} come out infinite"
    return ", ".join(filter(None, [worst, "" if finite.all() else lost]))


def d3(quick):
    """D3: k-NN self influence of 200,000 rows, d = 8, k = 5."""
    n, k = (20_000 if quick else 200_000), 5
    make = partial(gaussian_rows, n, 8)
    cases = []
    for t in (1, 2):
        for fit in (False, True):
            floor = dict(make=make, k=k + 1, threads=t, include_fit=fit)
            ours = dict(make=make, n_neighbors=k, n_jobs=t, include_fit=fit)
            start = "fit + " if fit else ""
            cases += [
                Case("floor", f"{start}kneighbors", floor_kneighbors, floor, t),
                Case("ours", f"{start}self_influence", knn_self_influence, ours, t),
            ]
    return _text(
        measure(cases, rounds=1 if not quick else 3),
        "<= 1.2 x the kneighbors query it needs",
        f"n = {n}. The floor asks for k + 1 = {k + 1} neighbours of all rows.",
    )


def d4(quick):
    """D4: mixture of K = 6 components on 1,000 rows, d = 2, 1,000 queries, full covariances."""
    n, m = (300, 300) if quick else (1_000, 1_000)
    n_refits = 10 if quick else 20
    gmm = dict(
        make=partial(clusters, n, 6, 2, spread=3.0),
        queries=partial(clusters, m, 6, 2, spread=3.0),
    )
    gmm["model"] = partial(fitted_mixture, gmm["make"], 6)
    gmm["watched"] = np.random.default_rng(0).choice(n, n_refits, replace=False)
    cases = [
        Case(
            "peer",
            f"warm refits, tol = {tol:g}",
            peers.gmm_refits,
            dict(gmm, tol=tol),
            1,
            n / n_refits,
        )
        for tol in (1e-10, 1e-6, 1e-3)
    ]
    for t in (1, 2):
        cases += [
            Case(
                "ours",
                f"fit + score_influence, {method}",
                gmm_influence,
                dict(gmm, method=method, n_jobs=t),
                t,
            )
            for method in ("implicit", "refit", "one_step")
        ]
    found = measure(cases)
    truth = found[0].answer
    errors = "; ".join(
        f"{one.case.name} {np.abs(one.answer - truth).max():.1e} "
        f"({100 * np.linalg.norm(one.answer - truth) / np.linalg.norm(truth):.2g} %)"
        for one in found[1:6]
    )
    return _text(
        found,
        "implicit <= 0.3 s and >= 100 x the refits at equal precision; refit >= 10 x",
        f"n = {n}, {m} queries. Largest (relative) error of the changes against the warm refits at "
        f"tol = 1e-10 of {n_refits} rows drawn at random: {errors}.",
    )


def d5(quick):
    """D5: self influence of a mixture of K = 10 full components, n = 100,000, d = 16."""
    n = 5_000 if quick else 100_000
    make = partial(clusters, n, 10, 16, spread=1.0)
    gmm = dict(make=make, model=partial(fitted_mixture, make, 10))
    cases = [
        Case("ours", "fit + self_influence, implicit", gmm_self_influence, dict(gmm, n_jobs=t), t)
        for t in (1, 2)
    ]
    found = measure(cases, rounds=1)
    return _text(found, "<= 60 s, <= 2 GB", f"n = {n}; the mixture comes fitted.")


def d6(quick):
    """D6: the ten strongest KDE proponents of 1,000 queries among 1,000,000 rows, d = 3."""
    n, m = (50_000, 200) if quick else (1_000_000, 1_000)
    kde = dict(
        make=partial(gaussian_rows, n, 3),
        queries=partial(gaussian_rows, m, 3, seed=1),
        bandwidth=scott(n, 3),
    )
    cases = []
    for t in (1, 2):
        for scores in (False, True):
            density = " + one pass for p(z)" if scores else ""
            cases += [
                Case(
                    "floor",
                    f"tree query{density}",
                    floor_tree,
                    dict(kde, threads=t, with_density=scores),
                    t,
                ),
                Case(
                    "ours",
                    f"proponents, return_scores={scores}",
                    kde_proponents,
                    dict(kde, n_jobs=t, with_scores=scores),
                    t,
                ),
            ]
    return _text(
        measure(cases),
        "indices <= 2 x the tree query; with scores <= 1.3 x (tree query + one pass); no n x m",
        f"n = {n}, {m} queries; n x m would take {8 * n * m / 2**20:.0f} MB. The fit is not counted.",
    )


TARGETS = {"D1": d1, "D2": d2, "D3": d3, "D4": d4, "D5": d5, "D6": d6}


def _text(found, wanted, remark):
    return f"Target: {wanted}.\n\n{speed_table(found)}\n\n{remark}"


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in options.only or TARGETS:
        target = TARGETS[name.upper()]
        if name.upper() in ("D4", "D5") and GMMInfluence is None:
            continue
        publish(f"speed-{name.lower()}", target.__doc__, target(options.quick), options)


if __name__ == "__main__":
    main()

"""Speed and memory beside the floor and the peers: the targets D1 to D6.

    python benchmarks/speed.py [--only D1 D2] [--quick]

Every case runs in a process of its own and all cases of a target take turns. See README.md.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import peers
import setups
from common import floor, measure, note, ours, parser, peer, publish, speed_table
from data import clusters, gaussian_rows, scott, six_clusters
from scipy.spatial.distance import cdist
from scipy.special import logsumexp

PLANTED = 20
THREADS = (1, 2)


def d1(quick):
    """D1: KDE influence of 20,000 rows on 1,000 queries, d = 16, Gaussian kernel."""
    n, m, d, n_refits = (4_000, 200, 16, 3) if quick else (20_000, 1_000, 16, 1)
    kde = dict(
        make=partial(gaussian_rows, n, d),
        queries=partial(gaussian_rows, m, d, seed=1),
        bandwidth=scott(n, d),
    )
    cases = []
    for t in THREADS:
        cases.append(floor("numpy", setups.floor_influence, t, **kde, n_threads=t))
        cases.append(ours("score_influence", setups.kde_influence, t, **kde, n_jobs=t))
    refits = dict(kde, watched=range(n_refits))
    cases.append(peer("refits of KernelDensity", peers.kde_refits, n / n_refits, **refits))
    found = measure(cases)
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
    planted = np.arange(n - PLANTED, n)
    kde = dict(make=partial(gaussian_rows, n, d, n_planted=PLANTED), bandwidth=scott(n, d))
    watched = dict(kde, watched=planted)
    self_influence = partial(ours, setup=setups.kde_self_influence, **watched)
    cases = []
    for t in THREADS:
        cases.append(floor("numpy", setups.floor_self_influence, t, **kde, n_threads=t))
        cases.append(self_influence(f"fit + self_influence, n_jobs={t}", threads=t, n_jobs=t))
    cases += [
        self_influence("fit + self_influence, n_jobs=None", threads=2, n_jobs=None),
        peer("KernelDensity, self term off", peers.sklearn_self, **watched),
        peer("gaussian_kde, self term off", peers.scipy_self, **kde),
        peer("refits of KernelDensity", peers.kde_refits, n / PLANTED, queries=None, **watched),
    ]
    found = measure(cases)
    truth = _log_leave_one_out(kde["make"](), planted, kde["bandwidth"])
    tail = [
        f"{one.case.name}: {_tail_error(one.answer, truth)}"
        for one in found
        if one.answer is not None
    ]
    return _text(
        found,
        "<= 1.5 x the floor with two threads; >= 20 x KernelDensity and gaussian_kde; "
        "memory O(block); right in the tail",
        f"n = {n}, d = {d}, Scott's bandwidth. Leave-one-out log density of {PLANTED} rows "
        f"planted 8 to 40 standard deviations out, against a sum in log space: {'; '.join(tail)}.",
    )


def _log_leave_one_out(X, rows, bandwidth):
    n, d = X.shape
    log_K = -0.5 * cdist(X[rows], X, "sqeuclidean") / bandwidth**2
    log_K[np.arange(len(rows)), rows] = -np.inf
    log_norm = 0.5 * d * np.log(2.0 * np.pi) + d * np.log(bandwidth) + np.log(n - 1)
    return logsumexp(log_K, axis=1) - log_norm


def _tail_error(values, truth):
    finite = np.isfinite(values)
    worst = np.abs(values - truth)[finite].max(initial=0.0)
    lost = f", and {np.count_nonzero(~finite)} of {len(values)} infinite"
    return f"largest error {worst:.1e} nats{'' if finite.all() else lost}"


def d3(quick):
    """D3: k-NN self influence of 200,000 rows, d = 8, k = 5."""
    n, k = (20_000 if quick else 200_000), 5
    make = partial(gaussian_rows, n, 8)
    cases = []
    for t in THREADS:
        for fit, start in ((False, ""), (True, "fit + ")):
            query = dict(make=make, k=k + 1, n_jobs=t, include_fit=fit)
            cases.append(floor(f"{start}kneighbors", setups.floor_kneighbors, t, **query))
            query["k"] = k
            cases.append(ours(f"{start}self_influence", setups.knn_self_influence, t, **query))
    return _text(
        measure(cases, rounds=3 if quick else 1),
        "<= 1.2 x the kneighbors query it needs",
        f"n = {n}. The floor asks for k + 1 = {k + 1} neighbours of all rows.",
    )


def d4(quick):
    """D4: mixture of K = 6 components on 1,000 rows, d = 2, 1,000 queries."""
    return "\n\n".join(_d4(quick, noise) for noise in (0.0, 1.5))


def _d4(quick, noise):
    n, m, n_refits = (300, 300, 10) if quick else (1_000, 1_000, 20)
    make = partial(six_clusters, n, noise=noise)
    gmm = dict(
        make=make,
        queries=partial(six_clusters, m, draw=1, noise=noise),
        # Fitted to the end, so that all start from the same optimum.
        model=partial(setups.fitted_mixture, make, 6, tol=1e-8, max_iter=20_000, n_init=5),
        watched=np.random.default_rng(0).choice(n, n_refits, replace=False),
    )
    cases = [
        peer(f"warm refits, tol = {tol:g}", peers.gmm_refits, n / n_refits, **gmm, tol=tol)
        for tol in (1e-10, 1e-6, 1e-3)
    ]
    cases += [
        ours(
            f"fit + score_influence, {name}", setups.gmm_influence, t, **gmm, method=name, n_jobs=t
        )
        for t in THREADS
        for name in ("implicit", "refit", "one_step")
    ]
    found = measure(cases)
    kind = "overlapping" if noise else "separated"
    truth = found[0].answer
    errors = "; ".join(
        f"{one.case.name} {np.abs(one.answer - truth).max():.1e} "
        f"({np.linalg.norm(one.answer - truth) / np.linalg.norm(truth):.2%})"
        for one in found[1:6]
    )
    return _text(
        found,
        "implicit <= 0.3 s and >= 100 x the refits at equal precision; refit >= 10 x",
        f"n = {n}, {m} queries, {kind} clusters, full covariances. Largest (relative) error of "
        f"the changes against the warm refits at tol = 1e-10 of {n_refits} rows drawn at random: "
        f"{errors}.",
    )


def d5(quick):
    """D5: self influence of a mixture of K = 10 full components, n = 100,000, d = 16."""
    n = 5_000 if quick else 100_000
    make = partial(clusters, n, 10, 16, spread=1.0)
    gmm = dict(make=make, model=partial(setups.fitted_mixture, make, 10, n_init=2))
    found = measure(
        [
            ours("fit + self_influence, implicit", setups.gmm_self_influence, t, **gmm, n_jobs=t)
            for t in THREADS
        ],
        rounds=1,
    )
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
    for t in THREADS:
        for scores, more in ((False, ""), (True, " + one pass for p(z)")):
            both = dict(kde, n_jobs=t, with_scores=scores)
            name = f"proponents, return_scores={scores}"
            cases.append(floor(f"tree query{more}", setups.floor_tree, t, **both))
            cases.append(ours(name, setups.kde_proponents, t, **both))
    return _text(
        measure(cases),
        "indices <= 2 x the tree query; with scores <= 1.3 x (tree query + one pass); no n x m",
        f"n = {n}, {m} queries; n x m would take {8 * n * m / 2**20:.0f} MB. The fit is not "
        "counted.",
    )


TARGETS = {"D1": d1, "D2": d2, "D3": d3, "D4": d4, "D5": d5, "D6": d6}


def _text(found, wanted, remark):
    return f"Target: {wanted}.\n\n{speed_table(found)}\n\n{remark}"


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    for name in map(str.upper, options.only or TARGETS):
        note(f"speed: {name}")
        title = TARGETS[name].__doc__.rstrip(".")
        publish(f"speed-{name.lower()}", title, TARGETS[name](options.quick), options)


if __name__ == "__main__":
    main()

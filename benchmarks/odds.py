"""Outlier detection on the 17 ODDS sets: influence beside the usual detectors.

    python benchmarks/odds.py --data-dir DIR [--only glass wbc] [--quick] [--fresh]

The settings are rules of thumb, the same for all sets, and none was tuned to a result; the method
of the mixture was chosen for its time. An interrupted run goes on where it stopped.
"""

from __future__ import annotations

import json
import time
import warnings

import numpy as np
from common import HERE, note, parser, publish, table, versions
from data import HOW_TO_MAKE_ODDS, odds
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from skinfluence import GMMInfluence, KDEInfluence, KNNInfluence

MAX_ROWS, QUICK_ROWS = 20_000, 1_500
N_NEIGHBORS, N_COMPONENTS, REG_COVAR = 20, 5, 1e-3
SETTINGS = f"""\
Columns are standardised, constant ones dropped. k-NN and LocalOutlierFactor: k = {N_NEIGHBORS}.
KDE: Gaussian kernel, Scott's bandwidth. Mixture: {N_COMPONENTS} components, diagonal covariances,
reg_covar = {REG_COVAR}, best of 3 starts, method="one_step" (the default refits the rows that it
cannot trust itself with, which takes minutes a set where there are many columns).
IsolationForest: scikit-learn's defaults. All seeds are 0. Influence is `self_influence()`, which
leaves the row out; "added" is minus `score_samples` of the training rows, as if each came once
more; likelihood is minus the log density of the fitted model, which counts the row itself."""


# -- detectors: rows -> {column: scores, high = outlying} ---------------------------------------


def knn(X):
    k = min(N_NEIGHBORS, len(X) // 2)
    explainer = KNNInfluence(NearestNeighbors(n_neighbors=k), novelty=True).fit(X)
    return _three("k-NN", explainer, X)


def kde(X):
    # log_density is the plain likelihood without the errors of KernelDensity's tree.
    return _three("KDE", KDEInfluence(KernelDensity(bandwidth="scott"), novelty=True).fit(X), X)


def mixture(X):
    model = GaussianMixture(
        N_COMPONENTS, covariance_type="diag", reg_covar=REG_COVAR, n_init=3, max_iter=1000,
        random_state=0,
    ).fit(X)  # fmt: skip
    scores = _three("GMM", GMMInfluence(model, method="one_step").fit(X), X)
    return {**scores, "GMM likelihood": -model.score_samples(X)}


def _three(name, explainer, X):
    return {
        f"{name} influence": explainer.self_influence(),
        f"{name} added": -explainer.score_samples(X),
        f"{name} likelihood": -explainer.log_density(X),
    }


def forest(X):
    return {"IsolationForest": -IsolationForest(random_state=0).fit(X).score_samples(X)}


def lof(X):
    model = LocalOutlierFactor(n_neighbors=min(N_NEIGHBORS, len(X) // 2)).fit(X)
    return {"LOF": -model.negative_outlier_factor_}


DETECTORS = (knn, kde, mixture, forest, lof)


# -- one set ------------------------------------------------------------------------------------


def prepared(X, y, max_rows):
    """Standardised rows, at most `max_rows` of them, and whether each is an outlier."""
    if len(X) > max_rows:
        kept = np.sort(np.random.default_rng(0).choice(len(X), max_rows, replace=False))
        X, y = X[kept], y[kept]
    return StandardScaler().fit_transform(X[:, np.ptp(X, axis=0) > 0]), y.astype(bool)


def judged(X, y):
    """{column: [AUC, average precision]} and {detector: seconds}."""
    result, seconds = {}, {}
    for detector in DETECTORS:
        start = time.perf_counter()
        scores = detector(X)
        seconds[detector.__name__] = round(time.perf_counter() - start, 2)
        for column, score in scores.items():
            # Ranks: exact deletion may be infinite, which scikit-learn's metrics refuse.
            rank = rankdata(score)
            result[column] = [roc_auc_score(y, rank), average_precision_score(y, rank)]
    return result, seconds


class Progress:
    """Finished sets, on disk."""

    def __init__(self, key, name, fresh):
        self.path = HERE / ".cache" / f"{name}.json"
        self.path.parent.mkdir(exist_ok=True)
        stored = {} if fresh or not self.path.exists() else json.loads(self.path.read_text())
        self.key = key
        self.sets = stored.get("sets", {}) if stored.get("key") == key else {}

    def add(self, name, entry):
        self.sets[name] = entry
        self.path.write_text(json.dumps({"key": self.key, "sets": self.sets}))


# -- all sets -----------------------------------------------------------------------------------


def report(sets):
    columns = list(next(iter(sets.values()))["result"])
    parts = [SETTINGS]
    for position, title in ((0, "Area under the ROC curve"), (1, "Average precision")):
        values = np.array([[one["result"][c][position] for c in columns] for one in sets.values()])
        ranks = rankdata(-values, axis=1)
        rows = [
            [name, one["shape"], *(f"{v:.3f}" for v in line)]
            for (name, one), line in zip(sets.items(), values, strict=True)
        ]
        rows.append(["mean", "", *(f"{v:.3f}" for v in values.mean(axis=0))])
        rows.append(["mean rank", "", *(f"{v:.1f}" for v in ranks.mean(axis=0))])
        parts += [f"## {title}", table(["set", "rows x columns", *columns], rows)]
    cut = [f"{name} ({one['cut']})" for name, one in sets.items() if one["cut"]]
    parts.append(f"Cut to a seeded subsample: {', '.join(cut) or 'none'}.")
    seconds = {
        d: sum(one["seconds"][d] for one in sets.values())
        for d in next(iter(sets.values()))["seconds"]
    }
    parts.append("Seconds: " + ", ".join(f"{d} {s:.0f}" for d, s in seconds.items()) + ".")
    return "\n\n".join(parts)


def main(argv=None):
    options = parser(__doc__.splitlines()[0]).parse_args(argv)
    warnings.simplefilter("ignore")
    max_rows = QUICK_ROWS if options.quick else MAX_ROWS
    key = f"{versions()}; {SETTINGS}; {max_rows}"
    progress, asked = Progress(key, "odds-quick" if options.quick else "odds", options.fresh), []
    for name, X, y in odds(options.data_dir):
        if options.only and name not in options.only:
            continue
        asked.append(name)
        if name in progress.sets:
            continue
        rows, is_outlier = prepared(X, y, max_rows)
        with threadpool_limits(1):
            result, seconds = judged(rows, is_outlier)
        cut = f"{len(rows)} of {len(X)} rows" if len(rows) < len(X) else ""
        note(f"odds: {name} {rows.shape} {seconds}")
        shape = f"{len(rows)} x {rows.shape[1]}"
        progress.add(name, {"result": result, "seconds": seconds, "shape": shape, "cut": cut})
    if not asked:
        print(HOW_TO_MAKE_ODDS)
        return
    found = {name: progress.sets[name] for name in asked}
    publish("odds", "Outlier detection on the ODDS sets", report(found), options)


if __name__ == "__main__":
    main()

"""The table of cases: one row makes an explainer run through every shared law."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    MultiTaskElasticNet,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils.validation import has_fit_parameter

from skinfluence import GMMInfluence, InfluenceExplainer, KDEInfluence, KNNInfluence
from skinfluence.objectives.encoding import _COUNTS_WEIGHTS

_rng = np.random.default_rng(0)
BLOBS = np.vstack(
    [_rng.normal(size=(25, 2)), _rng.normal([6.0, 0.0], 0.5, (20, 2)), [[3.0, 14.0]]]
)


ROWS = _rng.normal(size=(45, 3)) * [0.6, 1.0, 1.4] + 0.3
SPARSE = sparse.csr_array(np.where(_rng.uniform(size=ROWS.shape) < 0.5, ROWS, 0.0))
WIDE = _rng.normal(size=(30, 40))


def _targets(X: Any) -> dict[str, np.ndarray]:
    """Targets of every kind that follow the first columns of `X`."""
    eta = np.asarray(X @ np.r_[0.8, -0.5, 0.3, np.zeros(X.shape[1] - 3)])
    noise = _rng.normal(size=len(eta))
    return {
        "binary": np.where(eta + noise > 0.2, "spam", "ham"),
        "classes": np.digitize(eta + noise, [-0.6, 0.9]) + 3,
        "real": eta + noise,
        "outputs": np.column_stack([eta + noise, 1.0 - eta + noise**2]),
        "counts": _rng.poisson(np.exp(0.5 * eta)).astype(float),
        "positive": np.exp(0.5 * eta) * _rng.gamma(3.0, 1 / 3, size=len(eta)),
    }


TARGETS = _targets(ROWS)


@dataclass(frozen=True)
class Case:
    """An explainer, the rows it is tested on, and what it promises.

    ``error`` is the relative error against real refits, None where the laws run elsewhere on rows
    of their own, and ``correlation`` what is promised beside it; ``repeats`` says whether a row of
    weight 2 is two rows, and ``check_estimator`` whether scikit-learn's checks run on it.
    """

    explainer: BaseEstimator
    X: Any = field(default_factory=lambda: BLOBS)
    y: Any = None
    error: float | None = 1e-8
    correlation: float = -1.0
    repeats: bool = True
    check_estimator: bool = True

    def __str__(self) -> str:
        return " ".join(repr(self.explainer).split())


# At 45 rows one step is some per cent off, and first order a good part of the change; the
# derivative of a deletion is what they promise, and rank the rows by.
PROMISES = {
    "first_order": {"error": 0.6, "correlation": 0.9},
    "newton": {"error": 0.3, "correlation": 0.98},
    "refit": {"error": 1e-8},
}
TIGHT = {"tol": 1e-8, "max_iter": 5_000}


def _by_every_method(estimator: BaseEstimator, y: Any, X: Any = ROWS, **promises: Any) -> Any:
    for method, promised in PROMISES.items():
        explainer = InfluenceExplainer(estimator, method=method)
        yield Case(explainer, X, y, check_estimator=False, **{**promised, **promises})


def _supervised() -> Any:
    """Linear models on which our laws run; the objectives have laws and a table of their own."""
    binary, classes, real = TARGETS["binary"], TARGETS["classes"], TARGETS["real"]
    yield from _by_every_method(LogisticRegression(**TIGHT), binary)
    yield from _by_every_method(LogisticRegression(C=0.5, **TIGHT), classes)
    yield from _by_every_method(LogisticRegression(**TIGHT), binary, SPARSE)
    yield from _by_every_method(Ridge(), real)
    yield from _by_every_method(PoissonRegressor(alpha=0.1, **TIGHT), TARGETS["counts"])
    yield from _by_every_method(ElasticNet(alpha=0.05, **TIGHT), real)
    yield from _by_every_method(HuberRegressor(alpha=0.1, **TIGHT), real)
    net = MultiTaskElasticNet(alpha=0.05, **TIGHT)
    weighted = {"repeats": has_fit_parameter(net, "sample_weight")}  # from scikit-learn 1.9 on
    yield from _by_every_method(net, TARGETS["outputs"], error=0.6, **weighted)
    # Squared hinges: which rows are inside the margin changes, and no one step follows that.
    svc = LinearSVC(tol=1e-8, max_iter=100_000, random_state=0)
    for method in ("first_order", "newton", "refit"):
        explainer = InfluenceExplainer(svc, method=method)
        yield Case(explainer, ROWS, classes, error=0.8, check_estimator=False)
    exact = {"check_estimator": False}
    yield Case(InfluenceExplainer(LinearRegression()), ROWS, TARGETS["outputs"], **exact)
    yield Case(InfluenceExplainer(LinearRegression()), WIDE, _targets(WIDE)["real"], **exact)
    yield Case(InfluenceExplainer(RidgeClassifier()), ROWS, classes, **exact)
    yield Case(InfluenceExplainer(QuantileRegressor(alpha=0.01)), ROWS, real, **exact)
    search = GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2, error_score="raise")
    yield Case(InfluenceExplainer(search), ROWS, real, **exact)
    target = TransformedTargetRegressor(Ridge(), transformer=StandardScaler())
    yield Case(InfluenceExplainer(target), ROWS, real, repeats=False, **exact)
    refit = {"method": "refit"}
    gamma = GammaRegressor(alpha=0.1, **TIGHT)
    yield Case(InfluenceExplainer(gamma, **refit), ROWS, TARGETS["positive"], **exact)
    tweedie = TweedieRegressor(power=1.5, alpha=0.1, **TIGHT)
    yield Case(InfluenceExplainer(tweedie, **refit), ROWS, TARGETS["counts"], **exact)
    rest = OneVsRestClassifier(LogisticRegression(**TIGHT))
    # Its fit takes no weights unless they are routed.
    yield Case(InfluenceExplainer(rest, **refit), ROWS, classes, repeats=False, **exact)
    balanced = LogisticRegression(class_weight="balanced", **TIGHT)
    # Before scikit-learn 1.7 it counts rows, whatever they weigh.
    counted = {"repeats": _COUNTS_WEIGHTS}
    yield Case(InfluenceExplainer(balanced, **refit), ROWS, classes, **exact, **counted)
    # Means over rows: a row of weight 2 is not two rows.
    steps = {"alpha": 0.05, "max_iter": 500, "random_state": 0, "tol": None, "average": True}
    rows = {"repeats": False, "check_estimator": False}
    descent = SGDClassifier("log_loss", **steps)
    yield Case(InfluenceExplainer(descent, **refit), ROWS, classes, **rows)
    for target, y in (("decision_function", classes), ("proba", binary)):
        for method, promised in PROMISES.items():
            logistic = LogisticRegression(**TIGHT)
            explainer = InfluenceExplainer(logistic, method=method, target=target)
            yield Case(explainer, ROWS, y, check_estimator=False, **promised)
    # Scaling sees rows of no weight.
    pipeline = make_pipeline(StandardScaler(), PolynomialFeatures(), LogisticRegression(**TIGHT))
    yield Case(InfluenceExplainer(pipeline, **refit), ROWS, binary, **rows)


SUPERVISED = list(_supervised())

# On them scikit-learn's checks run, most of whose data suit neither solver nor penalty.
_INNER = [
    LogisticRegression(),
    Ridge(),
    LinearRegression(),
    RidgeClassifier(),
    ElasticNet(alpha=0.1),
    HuberRegressor(alpha=1000.0),  # a weaker penalty lets it interpolate, which has no minimum
    LinearSVC(),
    LinearSVR(loss="squared_epsilon_insensitive"),
    SGDClassifier("log_loss", random_state=0),
    SGDRegressor(random_state=0),
    make_pipeline(PolynomialFeatures(1, include_bias=False), LogisticRegression()),
    GridSearchCV(Ridge(), {"alpha": [1.0]}, cv=2, error_score="raise"),
    TransformedTargetRegressor(Ridge()),
    OneVsRestClassifier(LogisticRegression()),
]
CONTRACTS = [
    *(InfluenceExplainer(inner, random_state=0) for inner in _INNER),
    # Past kinks deletions are exact without the derivatives that transform embeds.
    InfluenceExplainer(QuantileRegressor(), smoothing=0.1),
    InfluenceExplainer(SGDClassifier(random_state=0), method="newton", random_state=0),
]

CASES = [
    Case(KDEInfluence()),
    Case(KDEInfluence(novelty=True)),
    Case(KDEInfluence(KernelDensity(kernel="tophat", bandwidth=2.0))),
    Case(KDEInfluence(KernelDensity(kernel="epanechnikov", bandwidth=3.0))),
    Case(KDEInfluence(KernelDensity(kernel="exponential"), contamination=0.1)),
    Case(KDEInfluence(KernelDensity(kernel="linear", bandwidth=3.0))),
    Case(KDEInfluence(KernelDensity(kernel="cosine", bandwidth=3.0))),
    Case(KDEInfluence(KernelDensity(metric="manhattan", kernel="gaussian"))),
    Case(KDEInfluence(KernelDensity(bandwidth=0.01)), check_estimator=False),
    Case(KNNInfluence()),
    Case(KNNInfluence(novelty=True)),
    Case(KNNInfluence(n_neighbors=2, intrinsic_dim=1.5, contamination=0.1)),
    Case(KNNInfluence(NearestNeighbors(metric="manhattan", algorithm="brute"), novelty=True)),
    # Our own laws for mixtures run in test_explainers/test_gmm.py, on rows that they fit.
    # scikit-learn's checks see each kind and each method, and not each pair of them.
    *(
        Case(GMMInfluence(GaussianMixture(covariance_type=kind), method=method), error=None)
        for kind, method in (
            ("full", "implicit"),
            ("full", "refit"),
            ("tied", "implicit"),
            ("tied", "one_step"),
            ("diag", "refit"),
            ("spherical", "one_step"),
        )
    ),
    Case(
        GMMInfluence(GaussianMixture(covariance_type="spherical"), method="well_separated"),
        error=None,
    ),
    Case(GMMInfluence(GaussianMixture(2, random_state=0), contamination=0.1), error=None),
    *SUPERVISED,
]

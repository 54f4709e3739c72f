"""Families of linear models on small real data, for the faithfulness of their scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.preprocessing import scale
from sklearn.svm import LinearSVC, LinearSVR

TIGHT = {"tol": 1e-10, "max_iter": 10_000}
L1 = {"solver": "saga", "l1_ratio": 1.0, **TIGHT}


@dataclass
class Family:
    """An estimator, its rows, and its family in statsmodels where that is the same model.

    `exempt` says that a Newton step has no target: losses with kinks.
    """

    name: str
    data: str
    model: Any
    X: np.ndarray
    y: np.ndarray
    glm: str | None = None
    exempt: bool = False


def _diabetes():
    X, y = load_diabetes(return_X_y=True)
    return "diabetes", scale(X), y


def _cancer():
    X, y = load_breast_cancer(return_X_y=True)
    return "breast cancer", scale(X)[:, :10], y


def _few_cancer():
    _, X, y = _cancer()
    chosen = np.random.default_rng(0).permutation(len(X))[:60]
    return "60 rows of breast cancer", X[chosen, :5], y[chosen]


def _iris():
    X, y = load_iris(return_X_y=True)
    return "iris", scale(X), y


def _wine():
    X, y = load_wine(return_X_y=True)
    return "wine", scale(X), y


def _visits():
    """600 households of statsmodels' health insurance experiment: visits to a doctor."""
    import statsmodels.api as sm

    data = sm.datasets.randhie.load_pandas().data
    chosen = np.random.default_rng(0).permutation(len(data))[:600]
    columns = ["lncoins", "idp", "lpi", "fmde", "physlm", "disea", "hlthg"]
    X = data[columns].to_numpy(dtype=float)[chosen]
    return "health insurance", scale(X), data["mdvis"].to_numpy(dtype=float)[chosen]


def _engel():
    import statsmodels.api as sm

    data = sm.datasets.engel.load_pandas().data
    return "Engel", scale(data[["income"]].to_numpy()), data["foodexp"].to_numpy()


def linear() -> Iterator[Family]:
    """F3, F4: least squares and ridge."""
    yield Family("LinearRegression", *_order(_diabetes(), LinearRegression()), glm="Gaussian")
    yield Family("Ridge(1)", *_order(_diabetes(), Ridge()))
    yield Family("Ridge(100)", *_order(_diabetes(), Ridge(100.0)))
    yield Family("RidgeClassifier", *_order(_cancer(), RidgeClassifier()))
    balanced = RidgeClassifier(class_weight="balanced")
    yield Family("RidgeClassifier balanced", *_order(_wine(), balanced))


def logistic() -> Iterator[Family]:
    """F3, F4: logistic regression."""
    for C in (0.01, 1.0):
        model = LogisticRegression(C=C, **TIGHT)
        yield Family(f"LogisticRegression({C:g})", *_order(_cancer(), model))
    few = LogisticRegression(**TIGHT)
    yield Family("LogisticRegression(1)", *_order(_few_cancer(), few))
    free = LogisticRegression(C=np.inf, **TIGHT)
    yield Family("LogisticRegression(inf)", *_order(_cancer(), free), glm="Binomial")
    balanced = LogisticRegression(class_weight="balanced", **TIGHT)
    yield Family("LogisticRegression balanced", *_order(_cancer(), balanced))
    liblinear = LogisticRegression(solver="liblinear", **TIGHT)
    yield Family("LogisticRegression liblinear", *_order(_cancer(), liblinear))
    yield Family("multinomial(1)", *_order(_iris(), LogisticRegression(**TIGHT)))
    yield Family("multinomial(1)", *_order(_wine(), LogisticRegression(**TIGHT)))
    several = OneVsRestClassifier(LogisticRegression(**TIGHT))
    yield Family("OneVsRest", *_order(_wine(), several))


def glm() -> Iterator[Family]:
    """F3, F4: generalised linear models."""
    options = {"solver": "newton-cholesky", "tol": 1e-10, "max_iter": 1_000}
    yield Family(
        "Gamma(log, 0)", *_order(_diabetes(), GammaRegressor(alpha=0.0, **options)), glm="Gamma"
    )
    yield Family("Gamma(log, 1)", *_order(_diabetes(), GammaRegressor(**options)))
    if not _has_statsmodels():
        return
    yield Family(
        "Poisson(0)", *_order(_visits(), PoissonRegressor(alpha=0.0, **options)), glm="Poisson"
    )
    yield Family("Poisson(1)", *_order(_visits(), PoissonRegressor(**options)))
    tweedie = TweedieRegressor(power=1.5, link="log", alpha=0.1, **options)
    yield Family("Tweedie(1.5, log, .1)", *_order(_visits(), tweedie))


def sparse() -> Iterator[Family]:
    """F3, F4: l1 penalties and elastic nets, on their active set."""
    options = {"tol": 1e-12, "max_iter": 100_000}
    yield Family("Lasso(.5)", *_order(_diabetes(), Lasso(0.5, **options)))
    yield Family("ElasticNet(.1)", *_order(_diabetes(), ElasticNet(0.1, **options)))
    net = LogisticRegression(C=0.1, **L1)
    yield Family("LogisticRegression l1(.1)", *_order(_cancer(), net))


def robust() -> Iterator[Family]:
    """F3, F4: losses with kinks in their value or slope."""
    huber = HuberRegressor(tol=1e-10, max_iter=10_000)
    yield Family("HuberRegressor", *_order(_diabetes(), huber))
    squared = LinearSVC(tol=1e-10, max_iter=10**6)
    yield Family("LinearSVC squared hinge", *_order(_cancer(), squared), exempt=True)
    hinge = LinearSVC(loss="hinge", tol=1e-9, max_iter=10**6, C=0.1)
    yield Family("LinearSVC hinge", *_order(_few_cancer(), hinge), exempt=True)
    squared = LinearSVR(
        loss="squared_epsilon_insensitive", epsilon=5.0, tol=1e-10, max_iter=10**6, dual=False
    )
    yield Family("LinearSVR squared", *_order(_diabetes(), squared), exempt=True)
    if _has_statsmodels():
        median = QuantileRegressor(quantile=0.5, alpha=0.0)
        yield Family("QuantileRegressor(.5)", *_order(_engel(), median), exempt=True)


def _order(data, model):
    name, X, y = data
    return name, model, X, y


def _has_statsmodels():
    from importlib.util import find_spec

    return find_spec("statsmodels") is not None


FAMILIES: dict[str, Callable[[], Iterator[Family]]] = {
    "linear": linear,
    "logistic": logistic,
    "glm": glm,
    "sparse": sparse,
    "robust": robust,
}


def statsmodels_changes(family: Family) -> np.ndarray:
    """Changes of our losses at all rows by statsmodels' one-step changes of the parameters."""
    import statsmodels.api as sm

    kinds = sm.families
    kind = {
        "Gaussian": kinds.Gaussian,
        "Binomial": kinds.Binomial,
        "Poisson": kinds.Poisson,
        "Gamma": lambda: kinds.Gamma(kinds.links.Log()),
    }[family.glm]()
    X, y = sm.add_constant(family.X), family.y
    fit = sm.GLM(y, X, family=kind).fit(tol=1e-12, maxiter=200)
    before = X @ fit.params
    after = before[:, None] - X @ fit.get_influence().d_params.T

    def loss(eta, y):
        if family.glm == "Gaussian":
            return (y - eta) ** 2
        if family.glm == "Binomial":
            return np.logaddexp(0.0, -(2.0 * y - 1.0) * eta)
        if family.glm == "Poisson":
            return np.exp(eta) - y * eta
        return y * np.exp(-eta) + eta

    return loss(after, y[:, None]) - loss(before, y)[:, None]

"""One table of estimators and options, over which every law of the objectives runs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence.objectives import LinearFit, build_all, reader_of
from tests.test_objectives.data import Data, P, make_data, quiet


@dataclass(frozen=True, eq=False)
class Case:
    """An estimator, the kind of data it is fitted on, and how well it finds the minimum.

    `tol` bounds its stationarity; None for solvers that only come near it, whose value of F is
    compared with the minimum instead, to the share `near` of what the features explain.
    """

    name: str
    estimator: Any
    kind: str
    weighted: bool = False
    form: str = "dense"
    n_features: int = P
    tol: float | None = 1e-7
    near: float = 5e-4

    def __str__(self) -> str:
        return self.name


@cache
def fitted(case: Case) -> tuple[Any, Data, LinearFit, list]:
    """The fitted estimator, its rows, and what the reader made of it."""
    data = make_data(case)
    estimator = clone(case.estimator)
    weights = {} if data.sample_weight is None else {"sample_weight": data.sample_weight}
    with quiet():
        estimator.fit(data.X, data.y, **weights)
    reader = reader_of(estimator)
    reader.check(estimator)
    fit = reader.read(estimator, data.rows)
    return estimator, data, fit, build_all(fit.problems, data.rows.X)


def _logistic():
    tight = {"tol": 1e-10, "max_iter": 20_000}
    for solver in ("lbfgs", "newton-cg", "newton-cholesky", "sag", "saga", "liblinear"):
        estimator = LogisticRegression(solver=solver, C=0.7, **tight)
        yield Case(f"logistic-{solver}", estimator, "binary", weighted=True, tol=1e-5)
    for solver in ("lbfgs", "newton-cg", "newton-cholesky", "saga"):
        estimator = LogisticRegression(solver=solver, C=2.0, **tight)
        yield Case(f"softmax-{solver}", estimator, "classes", tol=1e-5)
    liblinear = {"solver": "liblinear", **tight}
    options = {
        "scaled": {"intercept_scaling": 3.0},
        "no-intercept": {"fit_intercept": False},
        "dual": {"dual": True},
        "balanced": {"class_weight": "balanced"},
        "dict": {"class_weight": {"spam": 3.0}},
    }
    for name, option in options.items():
        estimator = LogisticRegression(C=0.3, **(liblinear | option))
        yield Case(f"liblinear-{name}", estimator, "binary", weighted=name == "balanced", tol=1e-4)
    yield Case(
        "liblinear-l1",
        _with_penalty(1.0, C=0.5, intercept_scaling=3.0, **liblinear),
        "binary",
        tol=1e-4,
    )
    saga = {"solver": "saga", **tight}
    yield Case("saga-l1", _with_penalty(1.0, C=0.3, **saga), "binary", tol=1e-5)
    yield Case("saga-enet", _with_penalty(0.4, C=0.3, **saga), "classes", weighted=True, tol=1e-5)
    yield Case("logistic-none", LogisticRegression(C=np.inf, **tight), "binary", tol=1e-5)
    balanced = LogisticRegression(class_weight="balanced", **tight)
    yield Case("logistic-balanced", balanced, "classes", weighted=True, tol=1e-5)
    weighted = LogisticRegression(class_weight={3: 2.0, 5: 0.5}, fit_intercept=False, **tight)
    yield Case("logistic-dict", weighted, "classes", tol=1e-5)
    wide = LogisticRegression(**tight)
    yield Case("logistic-wide", wide, "classes", n_features=90, tol=1e-5)
    yield Case("logistic-sparse", LogisticRegression(**tight), "binary", form="sparse", tol=1e-5)
    single = LogisticRegression(**tight)
    yield Case("logistic-float32", single, "classes", form="float32", tol=1e-3)
    search = LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, **tight)
    yield Case("logistic-cv", search, "classes", weighted=True, tol=1e-5)
    search = LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, **liblinear)
    yield Case("logistic-cv-liblinear", search, "binary", tol=1e-5)
    net = {"l1_ratios": [0.3, 0.8], "solver": "saga", "tol": 1e-8, "max_iter": 5_000}
    if "penalty" in LogisticRegressionCV().get_params():
        net["penalty"] = "elasticnet"
    search = LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, **net)
    yield Case("logistic-cv-enet", search, "classes", tol=1e-4)


def _with_penalty(l1_ratio, **options):
    """l1 and elastic net under the names of the installed version."""
    default = LogisticRegression().get_params()
    if default.get("penalty", "l2") == "l2":
        penalty = {1.0: "l1"}.get(l1_ratio, "elasticnet")
        given = {"l1_ratio": l1_ratio} if penalty == "elasticnet" else {}
        return LogisticRegression(penalty=penalty, **given, **options)
    return LogisticRegression(l1_ratio=l1_ratio, **options)


def _ridge():
    yield Case("ols", LinearRegression(), "real", weighted=True)
    yield Case("ols-outputs", LinearRegression(fit_intercept=False), "outputs")
    yield Case("ols-collinear", LinearRegression(), "real", form="collinear")
    yield Case("ols-wide", LinearRegression(), "real", n_features=90)
    yield Case("ols-positive", LinearRegression(positive=True), "real", weighted=True)
    yield Case("ols-float32", LinearRegression(), "real", form="float32", tol=1e-4)
    for solver in ("svd", "cholesky", "lsqr", "sparse_cg", "sag", "saga"):
        estimator = Ridge(alpha=3.0, solver=solver, tol=1e-12, max_iter=20_000)
        yield Case(f"ridge-{solver}", estimator, "real", weighted=True)
    yield Case("ridge-positive", Ridge(2.0, positive=True, tol=1e-12), "real", tol=1e-5)
    yield Case("ridge-alphas", Ridge(alpha=np.array([1.0, 20.0, 300.0])), "outputs", weighted=True)
    yield Case("ridge-wide", Ridge(), "outputs", n_features=90)
    yield Case("ridge-sparse", Ridge(tol=1e-12), "real", form="sparse", weighted=True)
    yield Case("ridge-cv", RidgeCV([0.1, 10.0]), "real", weighted=True)
    yield Case("ridge-cv-alphas", RidgeCV([0.1, 10.0], alpha_per_target=True), "outputs")
    yield Case("ridge-classifier", RidgeClassifier(), "binary", weighted=True)
    balanced = RidgeClassifier(class_weight="balanced", alpha=5.0)
    yield Case("ridge-classifier-balanced", balanced, "classes", weighted=True)
    weighted = RidgeClassifier(class_weight={4: 3.0}, fit_intercept=False)
    yield Case("ridge-classifier-dict", weighted, "classes")
    yield Case("ridge-classifier-labels", RidgeClassifier(), "multilabel", weighted=True)
    positive = RidgeClassifier(positive=True, tol=1e-12)
    yield Case("ridge-classifier-positive", positive, "binary", tol=1e-5)
    search = RidgeClassifierCV([0.1, 10.0], class_weight="balanced")
    yield Case("ridge-classifier-cv", search, "classes")
    yield Case("ridge-classifier-cv-labels", RidgeClassifierCV(), "multilabel")


def _glm():
    tight = {"tol": 1e-10, "max_iter": 5_000}
    for solver in ("lbfgs", "newton-cholesky"):
        poisson = PoissonRegressor(alpha=0.3, solver=solver, **tight)
        yield Case(f"poisson-{solver}", poisson, "counts", weighted=True, tol=1e-5)
    gamma = GammaRegressor(alpha=0.2, solver="newton-cholesky", **tight)
    yield Case("gamma", gamma, "positive", weighted=True, tol=1e-5)
    free = PoissonRegressor(alpha=0.0, fit_intercept=False, **tight)
    yield Case("poisson-free", free, "counts", tol=1e-5)
    sparse_rows = PoissonRegressor(alpha=0.1, **tight)
    yield Case("poisson-sparse", sparse_rows, "counts", form="sparse", tol=1e-5)
    kinds = {0: "real", 1: "counts", 1.5: "semicontinuous", 2: "positive", 3: "positive"}
    for power, kind in kinds.items():
        tweedie = TweedieRegressor(power=power, link="log", alpha=0.1, **tight)
        kind = "positive" if power == 0 else kind
        yield Case(f"tweedie-{power}-log", tweedie, kind, weighted=True, tol=1e-5)
    for power in (-1, 0, 1, 1.5, 2, 3):
        # L-BFGS steps to means below 0 and gives up.
        newton = {"solver": "newton-cholesky", **tight}
        tweedie = TweedieRegressor(power=power, link="identity", alpha=0.1, **newton)
        yield Case(f"tweedie-{power}-identity", tweedie, "far", weighted=True, tol=1e-5)
    auto = TweedieRegressor(power=0, alpha=0.1, **tight)
    yield Case("tweedie-auto", auto, "real", n_features=90, tol=1e-5)


def _elastic_net():
    tight = {"tol": 1e-14, "max_iter": 100_000}
    net = {"alpha": 0.1, "l1_ratio": 0.6}
    yield Case("enet", ElasticNet(**net, **tight), "real", weighted=True)
    yield Case("enet-free", ElasticNet(**net, fit_intercept=False, **tight), "real")
    yield Case("enet-positive", ElasticNet(**net, positive=True, **tight), "real", weighted=True)
    yield Case("enet-outputs", ElasticNet(**net, **tight), "outputs")
    yield Case("enet-sparse", ElasticNet(**net, **tight), "real", form="sparse", weighted=True)
    yield Case("enet-wide", ElasticNet(**net, **tight), "real", n_features=90)
    yield Case("enet-float32", ElasticNet(0.1, tol=1e-7), "real", form="float32", tol=1e-4)
    yield Case("lasso", Lasso(0.15, **tight), "real", weighted=True)
    yield Case("lasso-positive", Lasso(0.1, positive=True, **tight), "real")
    yield Case("lasso-lars", LassoLars(0.1), "two outputs")
    yield Case("lasso-lars-positive", LassoLars(0.1, positive=True, fit_path=False), "real")
    yield Case("lasso-lars-cv", LassoLarsCV(cv=3), "real")
    yield Case("lasso-lars-ic", LassoLarsIC(), "real")
    yield Case("lasso-cv", LassoCV(cv=3, **tight), "real", weighted=True)
    search = ElasticNetCV(l1_ratio=[0.3, 0.8], cv=3, **tight)
    yield Case("enet-cv", search, "real", weighted=True)
    yield Case("multi-enet", MultiTaskElasticNet(0.2, l1_ratio=0.7, **tight), "outputs")
    multi = MultiTaskElasticNet(0.2, l1_ratio=0.7, fit_intercept=False, **tight)
    yield Case("multi-enet-free", multi, "outputs")
    yield Case("multi-lasso", MultiTaskLasso(0.3, **tight), "outputs", n_features=20)
    yield Case("multi-lasso-cv", MultiTaskLassoCV(cv=3, **tight), "outputs")
    yield Case("multi-enet-cv", MultiTaskElasticNetCV(cv=3, **tight), "outputs")


def _huber():
    tight = {"tol": 1e-10, "max_iter": 5_000}
    yield Case("huber", HuberRegressor(alpha=0.5, **tight), "outliers", weighted=True, tol=1e-4)
    narrow = HuberRegressor(epsilon=1.1, alpha=2.0, fit_intercept=False, **tight)
    yield Case("huber-free", narrow, "outliers", tol=1e-4)
    yield Case(
        "huber-sparse", HuberRegressor(alpha=1.0, **tight), "outliers", form="sparse", tol=1e-4
    )


def _svm():
    tight = {"tol": 1e-10, "max_iter": 1_000_000, "random_state": 0}
    svc = {"dual": False, "C": 0.4, **tight}
    yield Case("svc", LinearSVC(**svc), "binary", weighted=True, tol=1e-4)
    yield Case("svc-dual", LinearSVC(**(svc | {"dual": True})), "binary", tol=1e-4)
    yield Case("svc-classes", LinearSVC(intercept_scaling=5.0, **svc), "classes", tol=1e-4)
    l1 = LinearSVC(penalty="l1", intercept_scaling=2.0, **svc)
    yield Case("svc-l1", l1, "binary", tol=1e-4)
    balanced = LinearSVC(class_weight="balanced", **svc)
    yield Case("svc-balanced", balanced, "classes", weighted=True, tol=1e-4)
    yield Case("svc-balanced-two", balanced, "binary", weighted=True, tol=1e-4)
    weighted = LinearSVC(class_weight={3: 4.0}, fit_intercept=False, **svc)
    yield Case("svc-dict", weighted, "classes", tol=1e-4)
    yield Case("svc-sparse", LinearSVC(**svc), "binary", form="sparse", tol=1e-4)
    hinge = LinearSVC(loss="hinge", C=0.4, **tight)
    yield Case("svc-hinge", hinge, "binary", weighted=True, tol=None)
    squared = {"loss": "squared_epsilon_insensitive", "epsilon": 0.2, "dual": False}
    svr = LinearSVR(C=0.3, intercept_scaling=3.0, **squared, **tight)
    yield Case("svr", svr, "real", weighted=True, tol=1e-4)
    free = LinearSVR(C=0.3, fit_intercept=False, **squared, **tight)
    yield Case("svr-free", free, "real", tol=1e-4)
    yield Case("svr-eps", LinearSVR(C=0.3, epsilon=0.2, **tight), "real", weighted=True, tol=None)


def _quantile():
    yield Case("quantile", QuantileRegressor(quantile=0.3, alpha=0.02), "real", True, tol=None)
    free = QuantileRegressor(alpha=0.0, fit_intercept=False)
    half = QuantileRegressor(quantile=0.5, alpha=0.05)
    yield Case("quantile-sparse", half, "real", form="sparse", tol=None)
    yield Case("quantile-free", free, "real", tol=None)


def _several():
    tight = {"tol": 1e-10, "max_iter": 20_000}
    liblinear = LogisticRegression(solver="liblinear", intercept_scaling=2.0, **tight)
    yield Case("ovr", OneVsRestClassifier(liblinear), "classes", tol=1e-5)
    balanced = LogisticRegression(class_weight="balanced", **tight)
    yield Case("ovr-balanced", OneVsRestClassifier(balanced), "classes", tol=1e-5)
    yield Case("ovr-two", OneVsRestClassifier(liblinear), "binary", tol=1e-5)
    svc = LinearSVC(dual=False, C=0.4, **tight)
    yield Case("ovr-labels", OneVsRestClassifier(svc), "multilabel", tol=1e-5)
    gamma = MultiOutputRegressor(TweedieRegressor(power=0, alpha=0.1, **tight))
    yield Case("multi-output", gamma, "outputs", weighted=True, tol=1e-5)
    lasso = MultiOutputRegressor(Lasso(0.1, tol=1e-14))
    yield Case("multi-output-lasso", lasso, "outputs", weighted=True)
    labels = MultiOutputClassifier(LogisticRegression(**tight))
    yield Case("multi-output-labels", labels, "multilabel", weighted=True, tol=1e-5)


def _near(loss):
    # Where the loss has kinks, steps of a fixed length jump over the minimum for longer.
    return 5e-3 if loss in ("hinge", "epsilon_insensitive") else 5e-4


def _sgd():
    steps = {
        "learning_rate": "invscaling",
        "eta0": 0.1,
        "power_t": 0.5,
        "max_iter": 3_000,
        "tol": None,
        "random_state": 0,
        "average": 1,
    }
    for loss in (
        "log_loss",
        "squared_hinge",
        "modified_huber",
        "hinge",
        "squared_error",
        "huber",
        "epsilon_insensitive",
        "squared_epsilon_insensitive",
    ):
        estimator = SGDClassifier(loss, alpha=0.1, epsilon=0.3, **steps)
        yield Case(f"sgd-{loss}", estimator, "binary", weighted=True, tol=None, near=_near(loss))
    ovr = SGDClassifier("log_loss", alpha=0.1, class_weight="balanced", **steps)
    yield Case("sgd-balanced", ovr, "classes", weighted=True, tol=None)
    weighted = SGDClassifier("modified_huber", alpha=0.1, class_weight={4: 3.0}, **steps)
    yield Case("sgd-dict", weighted, "classes", tol=None)
    balanced = SGDClassifier("squared_hinge", alpha=0.1, class_weight="balanced", **steps)
    yield Case("sgd-balanced-two", balanced, "binary", weighted=True, tol=None)
    net = {"penalty": "elasticnet", "l1_ratio": 0.4, "alpha": 0.05, "fit_intercept": False}
    plain = steps | {"average": False}
    yield Case("sgd-enet", SGDClassifier("log_loss", **net, **plain), "binary", tol=None)
    lasso = SGDRegressor(penalty="l1", alpha=0.05, **plain)
    yield Case("sgdr-l1", lasso, "real", weighted=True, tol=None)
    # With sparse rows the intercept moves at a hundredth of the rate, and does not arrive.
    sparse_rows = SGDClassifier("log_loss", alpha=0.1, fit_intercept=False, **steps)
    yield Case("sgd-sparse", sparse_rows, "binary", form="sparse", tol=None)
    none = SGDRegressor(penalty=None, **steps)
    yield Case("sgdr-none", none, "real", weighted=True, tol=None)
    for loss in ("huber", "epsilon_insensitive", "squared_epsilon_insensitive"):
        estimator = SGDRegressor(loss, alpha=0.1, epsilon=0.3, **steps)
        yield Case(f"sgdr-{loss}", estimator, "real", weighted=True, tol=None, near=_near(loss))


CASES = [
    *_logistic(),
    *_ridge(),
    *_glm(),
    *_elastic_net(),
    *_huber(),
    *_svm(),
    *_quantile(),
    *_several(),
    *_sgd(),
]

"""Models whose deletions are exact, on small real data, for the faithfulness of their scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf, ShrunkCovariance
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    ARDRegression,
    BayesianRidge,
    LogisticRegression,
    QuantileRegressor,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.preprocessing import scale
from sklearn.svm import SVC, SVR, LinearSVC, LinearSVR, NuSVC, NuSVR, OneClassSVM

# Tumours of two kinds; patients and how far their disease went, in thirds; handwritten digits.
TUMOURS, PATIENTS, THIRDS, DIGITS = "tumours", "patients", "patients, thirds", "digits"
CATEGORIES, ROWS = "digits, 5 greys", "tumours, rows"
WHOLE = (DIGITS, CATEGORIES)


@dataclass(frozen=True)
class Member:
    """An unfitted estimator, the name of its data, and options of the explainer."""

    name: str
    estimator: Any
    data: str
    options: dict[str, Any] = field(default_factory=dict)


@cache
def data_of(name: str, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """n rows and targets, drawn at random from a set of scikit-learn."""
    if name in WHOLE:
        X, y = load_digits(n_class=4, return_X_y=True)
        X = X[:, 8:40] // 4.0 if name == CATEGORIES else X
    elif name in (TUMOURS, ROWS):
        X, y = load_breast_cancer(return_X_y=True)
        X = scale(X)[:, :10]
    else:
        X, y = load_diabetes(return_X_y=True)
        X, y = scale(X), scale(y)
        if name == THIRDS:
            y = np.digitize(y, np.quantile(y, [1 / 3, 2 / 3]))
    chosen = np.random.default_rng(0).permutation(len(X))[:n]
    return X[chosen], None if name == ROWS else y[chosen]


def machines() -> Iterator[Member]:
    """Support vector machines, along the path of their optimum."""
    yield Member("SVC()", SVC(), TUMOURS)
    yield Member("SVC(C=10)", SVC(C=10.0), TUMOURS)
    yield Member("SVC(linear)", SVC(kernel="linear"), TUMOURS)
    yield Member("SVC(balanced)", SVC(class_weight="balanced"), THIRDS)
    yield Member("NuSVC(.2)", NuSVC(nu=0.2), TUMOURS)
    yield Member("NuSVC(.4)", NuSVC(nu=0.4), THIRDS)
    yield Member("SVR()", SVR(), PATIENTS)
    yield Member("NuSVR()", NuSVR(), PATIENTS)
    decisions = {"target": "decision_function"}
    yield Member("OneClassSVM(.1), decisions", OneClassSVM(nu=0.1), ROWS, decisions)


def kinked() -> Iterator[Member]:
    """Linear models with kinked losses, along their path or from vertex to vertex."""
    steps = {"max_iter": 2_000, "random_state": 0}
    many = {"max_iter": 100_000, "random_state": 0}
    yield Member("LinearSVC(hinge)", LinearSVC(loss="hinge", **many), TUMOURS)
    strong = LinearSVC(loss="hinge", C=0.1, **many)
    yield Member("LinearSVC(hinge, C=.1)", strong, THIRDS)
    yield Member("LinearSVR(.3)", LinearSVR(epsilon=0.3, **many), PATIENTS)
    yield Member("SGDClassifier(.01)", SGDClassifier(alpha=0.01, **steps), TUMOURS)
    tube = SGDRegressor("epsilon_insensitive", epsilon=0.3, alpha=0.01, **steps)
    yield Member("SGDRegressor(tube, .01)", tube, PATIENTS)
    yield Member("QuantileRegressor(.3)", QuantileRegressor(quantile=0.3, alpha=0.01), PATIENTS)


def processes() -> Iterator[Member]:
    """Kernel ridge, Gaussian processes and Bayesian regressions."""
    yield Member("KernelRidge(rbf)", KernelRidge(kernel="rbf", gamma=0.05, alpha=0.5), PATIENTS)
    held = RBF(3.0) + WhiteKernel(0.5)
    yield Member(
        "GaussianProcessRegressor",
        GaussianProcessRegressor(held, optimizer=None, normalize_y=True),
        PATIENTS,
    )
    held = 2.0 * RBF(3.0)
    yield Member(
        "GaussianProcessClassifier", GaussianProcessClassifier(held, optimizer=None), TUMOURS
    )
    tight = {"tol": 1e-8, "max_iter": 10**5}
    yield Member("BayesianRidge", BayesianRidge(**tight), PATIENTS)
    yield Member("ARDRegression", ARDRegression(**tight), PATIENTS)


def classes() -> Iterator[Member]:
    """Discriminants, naive Bayes, centroids, curves of calibrated classifiers."""
    shrunk = {"solver": "lsqr", "shrinkage": 0.3}
    automatic = {"solver": "lsqr", "shrinkage": "auto"}
    yield Member("LinearDiscriminantAnalysis", LinearDiscriminantAnalysis(), THIRDS)
    yield Member("the same, shrinkage .3", LinearDiscriminantAnalysis(**shrunk), TUMOURS)
    yield Member("the same, shrinkage auto", LinearDiscriminantAnalysis(**automatic), THIRDS)
    yield Member(
        "QuadraticDiscriminantAnalysis", QuadraticDiscriminantAnalysis(reg_param=0.1), TUMOURS
    )
    yield Member("GaussianNB", GaussianNB(), THIRDS)
    yield Member("MultinomialNB", MultinomialNB(), DIGITS)
    yield Member("ComplementNB", ComplementNB(), DIGITS)
    yield Member("BernoulliNB", BernoulliNB(binarize=7.5), DIGITS)
    yield Member("CategoricalNB", CategoricalNB(min_categories=5), CATEGORIES)
    yield Member("NearestCentroid", NearestCentroid(), THIRDS)
    yield Member("NearestCentroid(shrunk)", NearestCentroid(shrink_threshold=0.3), THIRDS)
    yield Member("DummyClassifier", DummyClassifier(), THIRDS)
    for data in (TUMOURS, THIRDS):
        held = FrozenEstimator(LogisticRegression(C=0.1).fit(*data_of(data, 150)))
        yield Member(
            "CalibratedClassifierCV(held)", CalibratedClassifierCV(held, ensemble=False), data
        )


def neighbours() -> Iterator[Member]:
    """Neighbours, and the regressor that answers the mean."""
    yield Member("KNeighborsClassifier(15)", KNeighborsClassifier(15), THIRDS)
    near = KNeighborsClassifier(15, weights="distance")
    yield Member("the same, by distance", near, TUMOURS)
    yield Member("KNeighborsRegressor(5)", KNeighborsRegressor(), PATIENTS)
    yield Member("DummyRegressor", DummyRegressor(), PATIENTS)


def densities() -> Iterator[Member]:
    """Covariances, components and factors."""
    for estimator in (EmpiricalCovariance(), ShrunkCovariance(), OAS(), LedoitWolf()):
        yield Member(type(estimator).__name__, estimator, ROWS)
    errors = {"target": "reconstruction_error"}
    for name, options in (("", {}), (", reconstruction", errors)):
        yield Member(f"PCA(3){name}", PCA(3), ROWS, options)
        factors = FactorAnalysis(2, svd_method="lapack", tol=1e-4, max_iter=10_000)
        yield Member(f"FactorAnalysis(2){name}", factors, ROWS, options)


MEMBERS = (machines, kinked, processes, classes, neighbours, densities)

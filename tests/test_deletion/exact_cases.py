"""Models whose deletions are exact, with every option that changes the model, and their rows."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.covariance import OAS, EmpiricalCovariance, LedoitWolf, ShrunkCovariance
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, DotProduct, WhiteKernel
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ARDRegression, BayesianRidge, LogisticRegression
from sklearn.naive_bayes import (
    BernoulliNB,
    CategoricalNB,
    ComplementNB,
    GaussianNB,
    MultinomialNB,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid

from skinfluence._compat import QDA_DIVIDES_BY_N
from tests.test_deletion.settled import settled_curves, settled_factors

N, P = 45, 3
_rng = np.random.default_rng(7)
ROWS = _rng.normal(size=(N, P)) @ np.array([[1.0, 0.4, 0.0], [0.0, 1.3, -0.5], [0.0, 0.0, 0.6]])
ROWS += 2.0
ROWS[11] = ROWS[4]  # a duplicate
CLASSES = np.array(["c", "a", "b"])[np.arange(N) % 3]
ROWS[CLASSES == "b"] += [0.8, -0.5, 0.3]
PAIRS = np.where(np.arange(N) % 3 == 0, 1, 0)
NUMBERS = ROWS @ [1.0, -0.7, 0.2] + np.sin(ROWS[:, 0]) + _rng.normal(size=N)
SEVERAL = np.column_stack([NUMBERS, _rng.normal(size=N)])
COUNTS = _rng.poisson(1.2, size=(N, 6)).astype(float)
COUNTS[:, 0] += 2 * (CLASSES == "a")
CATEGORIES = np.minimum(COUNTS, 3.0)
WEIGHTS = _rng.uniform(0.3, 2.5, size=N)
WEIGHTS[5] = 0.0
APART = ROWS + 0.1 * _rng.normal(size=ROWS.shape)  # no two distances are equal
FACTORLESS = _rng.normal(size=(N, 7))
LARGE = np.array([0.2, 0.3, 0.5])


@dataclass(frozen=True)
class Case:
    """An unfitted estimator, its rows, and how a test refits it."""

    estimator: Any
    X: np.ndarray = field(default_factory=lambda: ROWS)
    y: Any = None
    weights: Any = None
    method: str = "exact"

    @property
    def name(self) -> str:
        weighted = "" if self.weights is None else ", weights"
        targets = "" if self.y is None else f", {np.size(self.y) // N}x{self.y.dtype.kind}"
        # Not where a function lies in memory: parallel runs must agree on the names.
        said = re.sub(r" at 0x\w+", "", str(self.estimator))
        return f"{said}{targets}{weighted}".replace("\n", "").replace(" ", "")

    def fit(self, kept=None, model=None):
        """The estimator fitted to some of the rows; hyper-parameters are those of `model`."""
        kept = np.arange(len(self.X)) if kept is None else kept
        fresh = clone(self.estimator)
        X = self.X[kept]
        if isinstance(fresh, GaussianProcessRegressor) and model is not None:
            noise = fresh.alpha[kept] if np.iterable(fresh.alpha) else fresh.alpha
            fresh.set_params(kernel=model.kernel_, optimizer=None, alpha=noise)
        if isinstance(fresh, PCA) and model is not None:
            fresh.set_params(n_components=int(model.n_components_))
        if isinstance(fresh, CategoricalNB) and model is not None:
            fresh.set_params(min_categories=np.asarray(model.n_categories_))
        if getattr(fresh, "kernel", None) == "precomputed":
            X = X[:, kept]
        if isinstance(fresh, FactorAnalysis):
            return settled_factors(fresh, X)
        weights = {} if self.weights is None else {"sample_weight": self.weights[kept]}
        if isinstance(fresh, CalibratedClassifierCV):
            return settled_curves(fresh.fit(X, self.y[kept], **weights), X, self.y[kept])
        return fresh.fit(X, None if self.y is None else self.y[kept], **weights)

    def loss(self, fitted, kept=None):
        """Loss of a fitted estimator at all rows of the case."""
        kept = np.arange(len(self.X)) if kept is None else kept
        X = self.X[:, kept] if getattr(fitted, "kernel", None) == "precomputed" else self.X
        if hasattr(fitted, "classes_"):
            at = np.searchsorted(fitted.classes_, self.y)
            found = np.isin(self.y, fitted.classes_)
            at = np.minimum(at, len(fitted.classes_) - 1)
            with np.errstate(divide="ignore"):
                losses = -_log_proba(fitted, X)[np.arange(len(X)), at]
            return np.where(found, losses, np.inf)
        if self.y is not None:
            gaps = self.y.reshape(len(X), -1) - fitted.predict(X).reshape(len(X), -1)
            return (gaps**2).sum(axis=1)
        if hasattr(fitted, "score_samples"):
            return -fitted.score_samples(X)
        return np.array([-fitted.score(row[None]) for row in X])


def _log_proba(fitted, X):
    if hasattr(fitted, "predict_log_proba"):
        return fitted.predict_log_proba(X)
    return np.log(fitted.predict_proba(X))


def _kernel_machines():
    yield Case(KernelRidge(kernel="rbf", alpha=0.1, gamma=0.3), y=NUMBERS)
    yield Case(KernelRidge(kernel="rbf", alpha=0.1), y=SEVERAL, weights=WEIGHTS)
    yield Case(KernelRidge(kernel="polynomial", alpha=[0.5, 2.0], degree=2), y=SEVERAL)
    yield Case(KernelRidge(kernel="sigmoid", gamma=0.01, alpha=1.0), y=NUMBERS, weights=WEIGHTS)
    yield Case(KernelRidge(kernel="precomputed", alpha=0.3), X=ROWS @ ROWS.T, y=NUMBERS)
    noisy = 1.5 * RBF(0.9) + WhiteKernel(0.2)
    yield Case(GaussianProcessRegressor(noisy, optimizer=None, alpha=1e-3), y=NUMBERS)
    yield Case(GaussianProcessRegressor(noisy, normalize_y=True), y=SEVERAL)
    yield Case(
        GaussianProcessRegressor(RBF(1.3) + DotProduct(), alpha=0.1 + WEIGHTS, optimizer=None),
        y=SEVERAL,
    )


def _iterated():
    tight = {"tol": 1e-10, "max_iter": 10**5}
    yield Case(BayesianRidge(**tight), y=NUMBERS, weights=WEIGHTS, method="refit")
    yield Case(ARDRegression(**tight), y=NUMBERS, method="refit")
    kernel = 2.0 * RBF(1.0)
    yield Case(GaussianProcessClassifier(kernel, optimizer=None), y=PAIRS, method="refit")


def _discriminants():
    for y in (CLASSES, PAIRS):
        for priors in (None, LARGE[1:] / LARGE[1:].sum() if y is PAIRS else LARGE):
            for options in (
                {},
                {"solver": "lsqr"},
                {"solver": "eigen"},
                {"solver": "lsqr", "shrinkage": 0.3},
                {"solver": "eigen", "shrinkage": 0.7},
            ):
                yield Case(LinearDiscriminantAnalysis(priors=priors, **options), y=y)
    yield Case(
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"), y=PAIRS, method="refit"
    )
    yield Case(
        LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=OAS()),
        y=CLASSES,
        method="refit",
    )
    yield Case(QuadraticDiscriminantAnalysis(), y=CLASSES)
    yield Case(QuadraticDiscriminantAnalysis(reg_param=0.3, priors=LARGE), y=CLASSES)
    yield Case(QuadraticDiscriminantAnalysis(priors=[0.4, 0.6]), y=PAIRS)
    if QDA_DIVIDES_BY_N:
        yield Case(QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.2), y=PAIRS)


def _bayes():
    for weights in (None, WEIGHTS):
        yield Case(GaussianNB(), y=CLASSES, weights=weights)
        yield Case(GaussianNB(var_smoothing=0.05, priors=LARGE), y=CLASSES, weights=weights)
        yield Case(MultinomialNB(), COUNTS, CLASSES, weights)
        yield Case(MultinomialNB(alpha=np.arange(1.0, 7.0)), COUNTS, PAIRS, weights)
        yield Case(MultinomialNB(alpha=0.3, fit_prior=False), COUNTS, CLASSES, weights)
        yield Case(ComplementNB(), COUNTS, CLASSES, weights)
        yield Case(ComplementNB(norm=True, alpha=0.5), COUNTS, CLASSES, weights)
        yield Case(BernoulliNB(binarize=1.0), COUNTS, CLASSES, weights)
        yield Case(
            BernoulliNB(binarize=None, class_prior=LARGE),
            np.minimum(COUNTS, 1.0),
            CLASSES,
            weights,
        )
        yield Case(CategoricalNB(), CATEGORIES, CLASSES, weights)
        yield Case(CategoricalNB(alpha=0.2, min_categories=7), CATEGORIES, PAIRS, weights)
    yield Case(ComplementNB(), COUNTS, PAIRS)


def _neighbours():
    yield Case(NearestCentroid(), y=PAIRS)
    yield Case(NearestCentroid(priors="empirical"), y=CLASSES)
    yield Case(NearestCentroid(shrink_threshold=0.3), y=CLASSES, method="refit")
    yield Case(NearestCentroid(priors=[0.2, 0.3, 0.5]), y=CLASSES)
    for weights in ("uniform", "distance", _decay):
        options = {"n_neighbors": 4, "weights": weights, "algorithm": "kd_tree"}
        yield Case(KNeighborsClassifier(**options), APART, CLASSES)
        yield Case(KNeighborsRegressor(**options, metric="manhattan"), APART, SEVERAL)
    yield Case(KNeighborsRegressor(1, algorithm="ball_tree"), APART, NUMBERS)


def _baselines():
    yield Case(DummyClassifier(), y=CLASSES, weights=WEIGHTS)
    yield Case(DummyRegressor(), y=SEVERAL, weights=WEIGHTS)
    yield Case(DummyRegressor(strategy="quantile", quantile=0.3), y=NUMBERS, method="refit")


def _decay(distances):
    return np.exp(-distances)


def _densities():
    for estimator in (
        EmpiricalCovariance(),
        EmpiricalCovariance(assume_centered=True),
        ShrunkCovariance(shrinkage=0.3),
        OAS(),
        OAS(assume_centered=True),
        LedoitWolf(),
        LedoitWolf(assume_centered=True),
    ):
        yield Case(estimator)
    yield Case(LedoitWolf(), X=ROWS[:, :1])
    wide = np.hstack([ROWS, COUNTS + 0.1 * WEIGHTS[:, None] * COUNTS[::-1]])
    for options in (
        {},
        {"n_components": 1},
        {"n_components": 4},
        {"n_components": 0.7},
        {"n_components": "mle"},
        {"n_components": 0},
        {"n_components": 2, "svd_solver": "covariance_eigh"},
    ):
        yield Case(PCA(**options), X=wide)
    # scikit-learn's density of whitened components is another one.
    yield Case(PCA(2, whiten=True), X=wide, method="refit")


def _factors():
    three = np.column_stack([ROWS[:, 0], COUNTS[:, 0], WEIGHTS])
    one, two = np.ones((1, 7)), np.array([[1.0, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, -1, -1, 1]])
    for loadings in (two, one):
        k = len(loadings)
        rows = three[:, :k] @ loadings + 0.5 * FACTORLESS
        rows *= np.array([1.0, 3.0, 0.5, 1.0, 1.0, 2.0, 1.0])
        yield Case(FactorAnalysis(k, tol=1e-9, svd_method="lapack"), X=rows)


def _calibrated():
    for y in (PAIRS, CLASSES):
        for base in (LogisticRegression(), GaussianNB()):
            fixed = FrozenEstimator(base.fit(ROWS[::2], y[::2]))
            yield Case(CalibratedClassifierCV(fixed, ensemble=False), y=y)


CASES = [
    *_kernel_machines(),
    *_iterated(),
    *_discriminants(),
    *_bayes(),
    *_neighbours(),
    *_baselines(),
    *_densities(),
    *_factors(),
    *_calibrated(),
]

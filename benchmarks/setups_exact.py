"""Jobs for the clock of ``common.measure`` around exact deletions: ours, floors and peers."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from common import Job
from scipy import linalg
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import SGDClassifier
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.naive_bayes import GaussianNB
from sklearn.svm import SVC, SVR, LinearSVC, NuSVC, OneClassSVM

from skinfluence import InfluenceExplainer

# Width of the kernels of ridge regression and processes.
GAMMA = 0.05
# Rows of a block of matrices whose eigenvectors are found together.
MATRICES = 2048
# Refits that scores are held against.
REFITS = 10

MODELS: dict[str, Any] = {
    "KernelRidge": KernelRidge(alpha=0.1, kernel="rbf", gamma=GAMMA),
    "GaussianProcessRegressor": GaussianProcessRegressor(
        RBF((0.5 / GAMMA) ** 0.5), alpha=0.1, optimizer=None
    ),
    "SVC": SVC(),
    "SVC, gamma = .02": SVC(gamma=0.02),
    "SVC, balanced": SVC(gamma=0.02, class_weight="balanced"),
    "NuSVC": NuSVC(nu=0.4, gamma=0.02),
    "SVR": SVR(epsilon=0.3, gamma=0.02),
    "OneClassSVM": OneClassSVM(nu=0.1, gamma=0.02),
    "LinearSVC, hinge": LinearSVC(loss="hinge", max_iter=100_000, random_state=0),
    "SGDClassifier, hinge": SGDClassifier(alpha=1e-3, max_iter=2_000, random_state=0),
    "LinearDiscriminantAnalysis": LinearDiscriminantAnalysis(),
    "QuadraticDiscriminantAnalysis": QuadraticDiscriminantAnalysis(),
    "GaussianNB": GaussianNB(),
    "PCA": PCA(n_components=10),
}


@dataclass(frozen=True)
class Rows:
    """Rows around a curved boundary; redrawn in every process.

    Parameters
    ----------
    n, d : int
    """

    n: int
    d: int = 10

    @cached_property
    def drawn(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Rows, numbers and labels."""
        rng = np.random.default_rng(0)
        X = rng.normal(size=(self.n, self.d)) @ np.diag(np.linspace(1.0, 0.5, self.d))
        numbers = X[:, 0] + 0.5 * X[:, 1] ** 2 + 0.3 * rng.normal(size=self.n)
        return X, numbers, (numbers + 0.4 * rng.normal(size=self.n) > 0.5).astype(int)

    def given(self, kind: str) -> tuple[Any, ...]:
        """What the model of that kind is fitted to."""
        X, numbers, labels = self.drawn
        if kind in ("OneClassSVM", "PCA"):
            return (X,)
        continuous = kind in ("KernelRidge", "GaussianProcessRegressor", "SVR")
        return X, numbers if continuous else labels


def fitted(rows: Rows, kind: str) -> tuple[Any, tuple[Any, ...]]:
    """The model of that kind, and what it was fitted to."""
    given = rows.given(kind)
    return clone(MODELS[kind]).fit(*given), given


# -- ours -----------------------------------------------------------------------------------------


def own(rows: Rows, kind: str) -> Job:
    """From a fitted model to the self influence of all rows."""
    model, given = fitted(rows, kind)
    return Job(lambda: InfluenceExplainer(model).fit(*given).self_influence())


def pairs(rows: Rows, kind: str) -> Job:
    """From a fitted model to the scores of all pairs of rows."""
    model, given = fitted(rows, kind)
    return Job(lambda: InfluenceExplainer(model).fit(*given).score_influence(*given))


def paths(rows: Rows, kind: str) -> Job:
    """Deletion of all rows, the explainer fitted: how many moved, and how far off they are."""
    warnings.simplefilter("ignore")  # stochastic steps end far from the optimum
    model, given = fitted(rows, kind)
    explainer = InfluenceExplainer(model, target="decision_function").fit(*given)

    def digest(own):
        moved = int(np.count_nonzero(own))
        error = explainer.validate(*given, n_refits=REFITS, random_state=0).relative_error
        return {"moved": moved, "free": _free(explainer), "error": error}

    return Job(explainer.self_influence, digest)


def _free(explainer):
    engine = explainer._engine
    if hasattr(engine, "parts"):
        return len(engine.parts[0].fit.point.free)
    return len(engine.exact.points[0].free)


# -- floors and peers -----------------------------------------------------------------------------


def cholesky(rows: Rows) -> Job:
    """One factorisation of the kernel matrix."""
    K = rbf_kernel(rows.drawn[0], gamma=GAMMA)
    K[np.diag_indices_from(K)] += 0.1
    return Job(lambda: linalg.cholesky(K, lower=True))


def fit_and_predict(rows: Rows, kind: str) -> Job:
    """The model's own fit, and its own log densities of the same rows."""
    given = rows.given(kind)

    def run():
        return clone(MODELS[kind]).fit(*given).predict_log_proba(given[0])

    return Job(run)


def eigenvectors(rows: Rows) -> Job:
    """Those of a covariance matrix a row, by batches."""
    matrices = np.cov(rows.drawn[0].T) + np.zeros((min(MATRICES, rows.n), 1, 1))

    def run():
        for start in range(0, rows.n, MATRICES):
            np.linalg.eigh(matrices[: rows.n - start])

    return Job(run)


def refits(rows: Rows, kind: str, n_refits: int) -> Job:
    """The estimator fitted again without some rows, at its own tolerance."""
    warnings.simplefilter("ignore")
    model, given = fitted(rows, kind)

    def run():
        for row in range(n_refits):
            kept = np.delete(np.arange(rows.n), row)
            clone(model).fit(*(part[kept] for part in given))

    return Job(run)

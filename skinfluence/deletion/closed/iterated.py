"""Models that are fixed points of an iteration: deletions are refits that come to rest."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import ARDRegression, BayesianRidge

from skinfluence.deletion.closed.base import (
    Array,
    Family,
    Positions,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head, Numbers, Votes
from skinfluence.exceptions import UnsupportedEstimatorError

# Iterations stop when nothing moves; the default tolerances of the estimators are far from it.
TIGHT, MANY = 1e-10, 10**5


class _BayesianFamily(Family):
    """Linear models whose two or more precisions are estimated with them."""

    estimators = (BayesianRidge, ARDRegression)
    other = 0.1
    # Far enough apart that what iterations stop short of is small beside the differences.
    step = 3e-2

    def head(self, estimator: Any) -> Head:
        return Numbers(1)

    def outputs(self, estimator: Any, X: Any) -> Array:
        return np.asarray(estimator.predict(X), dtype=np.float64)[:, None]

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        return clone(estimator).set_params(tol=TIGHT, max_iter=MANY)


class OneVsRest:
    """Gaussian processes of each class against the rest, every one with a kernel of its own.

    scikit-learn's has one kernel for all of them to start from, and no way to hold several.

    Parameters
    ----------
    processes : list of GaussianProcessClassifier
        Unfitted, one for each of `classes`.
    classes : ndarray of shape (n_classes,)
    X, y : ndarray of shape (n, p) and (n,)
        Rows to fit them to; classes without rows are left out.
    """

    def __init__(self, processes: list[GaussianProcessClassifier], classes: Any, X: Any, y: Any):
        there = np.flatnonzero(np.isin(classes, y))
        self.classes_ = classes[there]
        self.processes = [processes[k].fit(X, y == classes[k]) for k in there]

    def predict_proba(self, X: Any) -> Array:
        """Probabilities of the classes against their rests, made to sum to 1."""
        each = np.stack([process.predict_proba(X)[:, 1] for process in self.processes], axis=1)
        return np.asarray(each / each.sum(axis=1, keepdims=True), dtype=np.float64)


class _ProcessFamily(Family):
    """Gaussian process classification, its kernels held fixed."""

    estimators = (GaussianProcessClassifier,)

    def head(self, estimator: Any) -> Head:
        if len(estimator.classes_) > 2 and estimator.multi_class == "one_vs_one":
            raise UnsupportedEstimatorError(
                f"GaussianProcessClassifier was fitted on {len(estimator.classes_)} classes with "
                "multi_class='one_vs_one', and votes of pairs are no probabilities. Use "
                "multi_class='one_vs_rest'."
            )
        return Votes(estimator.classes_)

    def outputs(self, estimator: Any, X: Any) -> Array:
        return np.asarray(estimator.predict_proba(X), dtype=np.float64)

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        return clone(estimator).set_params(kernel=estimator.kernel_, optimizer=None)

    def searches(self, estimator: Any) -> bool:
        return estimator.optimizer is not None

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        left = rows.kept(kept)
        fresh = self.fresh(estimator, kept)
        if len(estimator.classes_) == 2:
            return fresh.fit(left.X, left.y)
        kernels = estimator.kernel_.kernels
        processes = [clone(fresh).set_params(kernel=kernel) for kernel in kernels]
        return OneVsRest(processes, estimator.classes_, left.X, left.y)


for _family in (_BayesianFamily, _ProcessFamily):
    register(_family())

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


class _ProcessFamily(Family):
    """Gaussian process classification of two classes, its kernel held fixed."""

    estimators = (GaussianProcessClassifier,)

    def head(self, estimator: Any) -> Head:
        if len(estimator.classes_) > 2:
            raise UnsupportedEstimatorError(
                f"GaussianProcessClassifier was fitted on {len(estimator.classes_)} classes, one "
                "process for each or for each pair, whose kernels cannot be held fixed together. "
                "Explain OneVsRestClassifier's binary problems one by one, or fit a "
                "GaussianProcessRegressor to an indicator."
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
        return self.fresh(estimator, kept).fit(left.X, left.y)


for _family in (_BayesianFamily, _ProcessFamily):
    register(_family())

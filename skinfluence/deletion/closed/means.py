"""Families whose outputs are means of the targets of some rows: votes, or numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence.deletion.closed.base import Array, Family
from skinfluence.deletion.closed.heads import Head, Votes
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import class_positions


class Means(Family):
    """What the outputs are means of."""

    def targets(self, estimator: Any, y: Any) -> Array:
        """Targets whose means are the outputs, (n, n_outputs)."""
        raise NotImplementedError


class MeansOfVotes(Means):
    """Shares of the classes, which are means of their indicators."""

    def head(self, estimator: Any) -> Head:
        if isinstance(estimator.classes_, list):
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} was fitted on {len(estimator.classes_)} targets a "
                "row, and one is explained at a time. Fit one classifier a target."
            )
        return Votes(estimator.classes_)

    def targets(self, estimator: Any, y: Any) -> Array:
        return np.eye(len(estimator.classes_))[class_positions(y, estimator.classes_)]

    def outputs(self, estimator: Any, X: Any) -> Array:
        return np.asarray(estimator.predict_proba(X), dtype=np.float64)


class MeansOfNumbers(Means):
    """Predictions that are means of the targets themselves."""

    def targets(self, estimator: Any, y: Any) -> Array:
        return np.asarray(y, dtype=np.float64).reshape(len(y), -1)

    def outputs(self, estimator: Any, X: Any) -> Array:
        return np.reshape(np.asarray(estimator.predict(X), dtype=np.float64), (X.shape[0], -1))

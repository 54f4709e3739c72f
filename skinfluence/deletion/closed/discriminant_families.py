"""The families of discriminant analyses."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg
from sklearn.base import clone
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)

from skinfluence._compat import lda_loses_classes
from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Family,
    Positions,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.discriminants import (
    LinearDiscriminantDeletion,
    QuadraticDiscriminantDeletion,
)
from skinfluence.deletion.closed.heads import Head, LogJoint
from skinfluence.deletion.closed.moments import SINGULAR
from skinfluence.deletion.closed.refits import Patched, Refits
from skinfluence.objectives.encoding import class_positions


class _DiscriminantFamily(Family):
    """Both analyses: priors of classes that are gone are left out of refits."""

    def head(self, estimator: Any) -> Head:
        return LogJoint(estimator.classes_, has_decision=True)

    def outputs(self, estimator: Any, X: Any) -> Array:
        decision = np.asarray(estimator.decision_function(X), dtype=np.float64)
        if decision.ndim == 2:
            return decision
        return np.column_stack([np.zeros_like(decision), decision])

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        if theirs.shape[1] == 2:  # of two classes, only the difference is theirs
            theirs, ours = theirs[:, 1:] - theirs[:, :1], ours[:, 1:] - ours[:, :1]
        return super().deviation(estimator, rows, theirs, ours)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        left = rows.kept(kept)
        fresh = clone(estimator)
        classes = np.unique(left.y)
        if estimator.priors is not None and len(classes) < len(estimator.classes_):
            priors = np.asarray(estimator.priors)[np.isin(estimator.classes_, classes)]
            fresh.set_params(priors=priors / priors.sum())
        return fresh.fit(left.X, left.y)

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        shrinkage = estimator.shrinkage if hasattr(estimator, "shrinkage") else None
        given = getattr(estimator, "covariance_estimator", None)
        if given is not None or isinstance(shrinkage, str):
            return None  # a covariance of which only a refit is known
        codes = class_positions(rows.y, estimator.classes_)
        priors = None if estimator.priors is None else np.asarray(estimator.priors_)
        try:
            closed = self._closed(estimator, rows.X, codes, priors, float(shrinkage or 0.0))
            broken = closed.broken()
        except linalg.LinAlgError:
            return None
        if not len(broken):
            return closed
        return Patched(closed, Refits(self, estimator, rows), broken, codes)

    def _closed(self, estimator, X, codes, priors, shrinkage) -> Any:
        raise NotImplementedError


class _LinearFamily(_DiscriminantFamily):
    estimators = (LinearDiscriminantAnalysis,)

    def _closed(self, estimator, X, codes, priors, shrinkage):
        svd = estimator.solver == "svd"
        closed = LinearDiscriminantDeletion(
            X,
            codes,
            len(estimator.classes_),
            priors,
            pooled=svd,
            lost=len(estimator.classes_) if svd and lda_loses_classes() else 0,
            shrinkage=shrinkage,
            centred=svd,
        )
        values = closed.full.values
        if not shrinkage and values.min() * SINGULAR <= values.max():
            raise linalg.LinAlgError("the covariance within classes is singular")
        return closed


class _QuadraticFamily(_DiscriminantFamily):
    estimators = (QuadraticDiscriminantAnalysis,)

    def _closed(self, estimator, X, codes, priors, shrinkage):
        eigen = getattr(estimator, "solver", "svd") == "eigen"
        reg_param = 0.0 if eigen else estimator.reg_param
        return QuadraticDiscriminantDeletion(
            X,
            codes,
            len(estimator.classes_),
            priors,
            reg_param=reg_param,
            shrinkage=shrinkage,
            least=2 if eigen else max(2, X.shape[1]),
        )


register(_LinearFamily())
register(_QuadraticFamily())

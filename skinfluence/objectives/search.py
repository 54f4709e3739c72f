"""Estimators that choose their own penalty, with that choice held."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)

# The estimator that a search ends in, and which of its parameters were chosen.
CHOSEN: dict[type, tuple[type, tuple[str, ...]]] = {
    ElasticNetCV: (ElasticNet, ("alpha", "l1_ratio")),
    LassoCV: (Lasso, ("alpha",)),
    LassoLarsCV: (LassoLars, ("alpha",)),
    LassoLarsIC: (LassoLars, ("alpha",)),
    LogisticRegressionCV: (LogisticRegression, ("C", "l1_ratio")),
    MultiTaskElasticNetCV: (MultiTaskElasticNet, ("alpha", "l1_ratio")),
    MultiTaskLassoCV: (MultiTaskLasso, ("alpha",)),
    RidgeCV: (Ridge, ("alpha",)),
    RidgeClassifierCV: (RidgeClassifier, ("alpha",)),
}


def without_search(estimator: BaseEstimator) -> Any:
    """Unfitted estimator that minimises what the fitted `estimator` ended with."""
    for search, (cls, chosen) in CHOSEN.items():
        if isinstance(estimator, search):
            return _held(estimator, cls, chosen)
    return clone(estimator)


def _held(estimator, cls, chosen):
    # "auto" of a search is refused by the estimator itself; it only concerns speed.
    known = set(cls().get_params()) - {"precompute"}
    given = estimator.get_params(deep=False)
    held = cls(**{name: value for name, value in given.items() if name in known})
    values = {name: getattr(estimator, f"{name}_", None) for name in chosen}
    return held.set_params(**{k: _value(v) for k, v in values.items() if _value(v) is not None})


def _value(chosen):
    """A number, or one for each target; older versions give one for each class, all alike."""
    values = np.asarray(chosen, dtype=object)
    if values.size == 0 or values.ravel()[0] is None:
        return None
    distinct = set(values.ravel().tolist())
    return distinct.pop() if len(distinct) == 1 else np.asarray(chosen)

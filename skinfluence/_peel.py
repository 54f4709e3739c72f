"""From what the user hands over to the model that is explained.

Pipelines, search estimators, ``FrozenEstimator``, threshold wrappers and
``TransformedTargetRegressor`` are peeled off; what is left is one model, and the fitted heads
that lead a row (and its target) into its space.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import FixedThresholdClassifier, TunedThresholdClassifierCV
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_random_state, get_tags
from sklearn.utils.validation import check_is_fitted

from skinfluence._compat import BaseSearchCV
from skinfluence._seen import is_module
from skinfluence.exceptions import UnsupportedEstimatorError


def is_fitted(estimator: Any) -> bool:
    """Whether `estimator`, or what a pipeline or FrozenEstimator ends in, is fitted.

    A torch module has no fit, and whoever passes one has trained it.
    """
    model = peel(estimator)[1]
    if is_module(model):
        return True
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    # A Gaussian process answers before it is fitted, and so passes that check.
    return get_tags(model).requires_fit or any(
        name.endswith("_") and not name.startswith("__") for name in vars(model)
    )


def peel(estimator):
    """Split a (fitted or unfitted) estimator into heads and the model behind them.

    Parameters
    ----------
    estimator : estimator
        A model, or a Pipeline, search estimator, FrozenEstimator, TransformedTargetRegressor or
        threshold wrapper around one, nested at will.

    Returns
    -------
    heads : list of Pipeline
        What transforms a row before it reaches the model, outermost first.
    model : estimator
        The model itself; of a fitted search, its ``best_estimator_``.
    """
    heads = []
    while (inner := _inside(estimator)) is not None:
        if isinstance(estimator, Pipeline) and len(estimator.steps) > 1:
            heads.append(estimator[:-1])
        estimator = inner
    return heads, estimator


def decides_by_a_threshold(estimator: Any) -> bool:
    """Whether a threshold wrapper is among the layers of a fitted `estimator`."""
    while estimator is not None:
        if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
            return True
        estimator = _inside(estimator)
    return False


def _inside(estimator):
    """What the outermost layer holds, fitted where it is; None where it is the model."""
    if isinstance(estimator, FrozenEstimator):
        return estimator.estimator
    if isinstance(estimator, Pipeline):
        return estimator[-1]
    if isinstance(estimator, BaseSearchCV):
        return _searched(estimator)
    if isinstance(estimator, FixedThresholdClassifier | TunedThresholdClassifierCV):
        return getattr(estimator, "estimator_", estimator.estimator)
    if isinstance(estimator, TransformedTargetRegressor):
        if hasattr(estimator, "regressor_"):
            return estimator.regressor_
        return LinearRegression() if estimator.regressor is None else estimator.regressor
    return None


def target_to_model_space(estimator, y):
    """Targets as the model inside a fitted `estimator` sees them, after any target transformer."""
    while estimator is not None:
        if isinstance(estimator, TransformedTargetRegressor):
            y = np.asarray(y, dtype=np.float64)
            column = y.reshape(-1, 1) if y.ndim == 1 else y
            y = estimator.transformer_.transform(column)
            y = y[:, 0] if np.ndim(y) == 2 and np.shape(y)[1] == 1 else y
        estimator = _inside(estimator)
    return y


def _searched(search):
    if hasattr(search, "best_estimator_"):
        return search.best_estimator_
    if hasattr(search, "best_params_") or search.refit is False:
        raise UnsupportedEstimatorError(
            f"{type(search).__name__} has refit=False, so it holds no fitted model to explain. "
            "Set refit=True, or pass the best estimator."
        )
    return search.estimator


def to_model_space(heads, X, *, accept_sparse=False):
    """Rows as the model sees them: through all heads, as float64, in memory of their own."""
    for head in heads:
        X = head.transform(X)
    # A head may hand its input through, and scores must not follow what happens to it later.
    return check_array(X, dtype=np.float64, accept_sparse=accept_sparse, copy=True)


def weight_key(estimator: Any) -> str:
    """Name of the fit parameter by which sample weights reach the model inside `estimator`."""
    if isinstance(estimator, TransformedTargetRegressor):
        return weight_key(_inside(estimator))
    if isinstance(estimator, FrozenEstimator | BaseSearchCV):
        return weight_key(estimator.estimator)
    if isinstance(estimator, Pipeline):
        name, last = estimator.steps[-1]
        return f"{name}__{weight_key(last)}"
    return "sample_weight"


def clone_with_seed(estimator, random_state):
    """Clone of `estimator` whose own ``random_state=None`` parameters are seeded."""
    copy = clone(estimator)
    if random_state is None:
        return copy
    rng = check_random_state(random_state)
    unset = sorted(
        key
        for key, value in copy.get_params(deep=True).items()
        if key.split("__")[-1] == "random_state" and value is None
    )
    return copy.set_params(**{key: int(rng.randint(np.iinfo(np.int32).max)) for key in unset})


def unfrozen(estimator):
    """`estimator` without the FrozenEstimator around it, so that a clone can be refitted."""
    while isinstance(estimator, FrozenEstimator):
        estimator = estimator.estimator
    return estimator

"""The only private scikit-learn imports, in one place."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from sklearn import __version__ as sklearn_version
from sklearn.base import _fit_context
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection._search import BaseSearchCV
from sklearn.utils._metadata_requests import _routing_enabled
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    StrOptions,
)
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in, _check_sample_weight

__all__ = [
    "HAS_CALLBACKS",
    "QDA_DIVIDES_BY_N",
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "StrOptions",
    "_fit_context",
    "check_feature_names_in",
    "check_weights",
    "has_stopped",
    "lda_loses_classes",
    "libsvm_gamma",
    "mlp_moments",
    "output_container",
    "routing_enabled",
    "searches_by_brute_force",
    "set_mlp_moments",
    "stored_rows",
]

# From scikit-learn 1.9 on.
HAS_CALLBACKS = find_spec("sklearn.callback") is not None
# From scikit-learn 1.8 on covariances of classes are over n, and no more over n - 1.
QDA_DIVIDES_BY_N = tuple(int(part) for part in sklearn_version.split(".")[:2]) >= (1, 8)

routing_enabled = _routing_enabled
check_feature_names_in = _check_feature_names_in


def check_weights(sample_weight, X):
    """Sample weights as float64 (n,), or None; negative and all-zero weights are refused."""
    if sample_weight is None:
        return None
    weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    # scikit-learn refuses these itself only from 1.9 on.
    if not np.any(weights > 0):
        raise ValueError(
            "Sample weights must contain at least one non-zero number; all weights are zero. "
            "Pass sample_weight=None for equal weights."
        )
    return weights


def has_stopped(network):
    """Whether the last epoch of a multi-layer perceptron is where its ``fit`` would stop."""
    return network._no_improvement_count > network.n_iter_no_change


@cache
def lda_loses_classes():
    """Whether solver "svd" of linear discriminant analysis divides by n less the classes.

    Releases before the one that divides by n do, as covariances of samples are.
    """
    model = LinearDiscriminantAnalysis().fit([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1])
    return bool(model.coef_[0, 0] < 7.5)  # means are 10 apart, the variance is 1 or 2


def output_container(estimator):
    """Container asked for by ``set_output`` or the global ``transform_output``."""
    return _get_output_config("transform", estimator)["dense"]


def searches_by_brute_force(neighbors):
    """Whether a fitted NearestNeighbors compares with all rows instead of walking a tree."""
    return neighbors._fit_method == "brute"


def stored_rows(neighbors):
    """Rows that a fitted NearestNeighbors keeps."""
    return neighbors._fit_X


def mlp_moments(model):
    """State of the optimiser of scikit-learn's MLPs, under torch's names; {} where it has none.

    Lists over coefficients and then intercepts, and the number of steps.
    """
    optimizer: Any = getattr(model, "_optimizer", None)
    if hasattr(optimizer, "vs"):
        return {"exp_avg": optimizer.ms, "exp_avg_sq": optimizer.vs, "step": float(optimizer.t)}
    if hasattr(optimizer, "velocities"):
        return {"velocity": optimizer.velocities, "rate": float(optimizer.learning_rate)}
    return {}


def set_mlp_moments(model, moments):
    """Put back what :func:`mlp_moments` returned, if it is the same optimiser's."""
    optimizer: Any = getattr(model, "_optimizer", None)
    if hasattr(optimizer, "vs") and "exp_avg_sq" in moments:
        optimizer.ms, optimizer.vs = moments["exp_avg"], moments["exp_avg_sq"]
        optimizer.t = int(moments["step"][0])
    elif hasattr(optimizer, "velocities") and "velocity" in moments:
        optimizer.velocities = moments["velocity"]
        optimizer.learning_rate = float(moments["rate"][0])


def libsvm_gamma(model):
    """The number that ``gamma="scale"`` or ``"auto"`` of a fitted libsvm model became."""
    return model._gamma

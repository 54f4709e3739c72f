"""Losses per row that have a name, computed from a fitted model's public methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, xlogy
from sklearn.linear_model import LogisticRegression, SGDClassifier

from skinfluence._peel import peel

Array = NDArray[np.float64]
Loss = Callable[[Any, Any, Any], Any]


def log_loss(model: Any, X: Any, y: Any) -> Array:
    """``-log p(label)`` in nats; inf for a class that the model has never seen."""
    predict_proba = _method(model, "predict_proba", "log_loss")
    codes = _codes(model, y)
    if _margins_are_logits(model):
        losses = _log_loss_of_logits(model.decision_function(X), np.maximum(codes, 0))
    else:
        proba = predict_proba(X)
        with np.errstate(divide="ignore"):  # p = 0: the loss is infinite, and said to be
            losses = -np.log(proba[np.arange(codes.size), codes])
    return np.where(codes < 0, np.inf, losses)


def _log_loss_of_logits(logits: Array, codes: NDArray[np.intp]) -> Array:
    # Not through predict_proba: 1 - p has lost all digits of a loss of 37 nats.
    if logits.ndim == 1:
        return np.logaddexp(0.0, np.where(codes == 1, -logits, logits))
    return logsumexp(logits, axis=1) - logits[np.arange(codes.size), codes]


def _margins_are_logits(model: Any) -> bool:
    """Whether a softmax (K > 2) or logistic function of the margins gives the probabilities."""
    last = peel(model)[1]
    n_classes = len(model.classes_)
    if isinstance(last, SGDClassifier):
        return last.loss == "log_loss" and n_classes == 2
    if not isinstance(last, LogisticRegression) or n_classes == 1:
        return False
    # Where multi_class still exists, other values mean one-vs-rest, or softmax over two classes.
    plain = getattr(last, "multi_class", "auto") in ("auto", "deprecated")
    return plain and (n_classes == 2 or last.solver != "liblinear")


def _codes(model: Any, y: Any) -> NDArray[np.intp]:
    """Column of each label among the model's classes; -1 for a class it does not have."""
    columns = {label: k for k, label in enumerate(np.asarray(model.classes_).tolist())}
    return np.array([columns.get(label, -1) for label in np.asarray(y).tolist()], dtype=np.intp)


def hinge(model: Any, X: Any, y: Any) -> Array:
    """``max(0, 1 - s f)`` with s = +-1; summed over one-vs-rest problems."""
    gaps = _gaps(model, X, y, "hinge")
    return gaps if gaps.ndim == 1 else gaps.sum(axis=1)


def squared_hinge(model: Any, X: Any, y: Any) -> Array:
    """``max(0, 1 - s f)^2`` with s = +-1; summed over one-vs-rest problems."""
    gaps = _gaps(model, X, y, "squared_hinge") ** 2
    return gaps if gaps.ndim == 1 else gaps.sum(axis=1)


def _gaps(model: Any, X: Any, y: Any, name: str) -> Array:
    margins = _method(model, "decision_function", name)(X)
    codes = _codes(model, y)
    signs = (
        np.sign(codes - 0.5) if margins.ndim == 1 else 2.0 * np.eye(margins.shape[1])[codes] - 1
    )
    if margins.ndim == 2:
        signs[codes < 0] = -1.0
    return np.maximum(0.0, 1.0 - signs * margins)


def zero_one(model: Any, X: Any, y: Any) -> Array:
    """1 for a wrong label, 0 for the right one."""
    return (np.asarray(model.predict(X)) != np.asarray(y)).astype(np.float64)


def squared_error(model: Any, X: Any, y: Any) -> Array:
    """``(y - prediction)^2``, summed over outputs."""
    return _over_outputs(_residuals(model, X, y) ** 2)


def absolute_error(model: Any, X: Any, y: Any) -> Array:
    """``|y - prediction|``, summed over outputs."""
    return _over_outputs(np.abs(_residuals(model, X, y)))


def _residuals(model: Any, X: Any, y: Any) -> Array:
    truth = np.asarray(y, dtype=np.float64)
    # Some regressors answer a vector with a column, which would broadcast to a square.
    return truth - np.asarray(model.predict(X), dtype=np.float64).reshape(truth.shape)


def _over_outputs(losses: Array) -> Array:
    return losses if losses.ndim == 1 else losses.sum(axis=1)


def half_poisson(model: Any, X: Any, y: Any) -> Array:
    """Half the Poisson deviance, ``y log(y / mu) - y + mu``."""
    y, mu = np.asarray(y, dtype=np.float64), np.asarray(model.predict(X), dtype=np.float64)
    return xlogy(y, y / mu) - y + mu


def half_gamma(model: Any, X: Any, y: Any) -> Array:
    """Half the Gamma deviance, ``log(mu / y) + y / mu - 1``."""
    ratio = np.asarray(y, dtype=np.float64) / np.asarray(model.predict(X), dtype=np.float64)
    return ratio - np.log(ratio) - 1


def negative_log_density(model: Any, X: Any, y: Any) -> Array:
    """``-score_samples``, the loss of density estimators; `y` is ignored."""
    return -np.asarray(_method(model, "score_samples", "negative_log_density")(X))


def _method(model: Any, method: str, loss: str) -> Callable[[Any], Any]:
    if not hasattr(model, method):
        raise ValueError(
            f"{type(model).__name__} has no {method}, which loss={loss!r} is computed from. "
            f"Pass another loss: one of {sorted(LOSSES)}, or a callable (model, X, y) -> losses."
        )
    return getattr(model, method)


OF_CLASSES = {
    "log_loss": log_loss,
    "hinge": hinge,
    "squared_hinge": squared_hinge,
    "zero_one": zero_one,
}
LOSSES: dict[str, Loss] = {
    **OF_CLASSES,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "half_poisson": half_poisson,
    "half_gamma": half_gamma,
    "negative_log_density": negative_log_density,
}


def find_loss(loss: str | Loss) -> Loss:
    """The function behind a name; a callable is its own."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(
            f"loss is {loss!r}, but it must be a callable (model, X, y) -> losses of shape "
            f"(n_queries,), or one of {sorted(LOSSES)}. Pass one of them."
        )
    return LOSSES[loss]

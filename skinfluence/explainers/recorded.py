"""Checkpoints for an explainer: those of the user, of the estimator, or of a fit of one's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from skinfluence._compat import routing_enabled
from skinfluence._peel import clone_with_seed, peel, target_to_model_space
from skinfluence.checkpoints import Checkpoints
from skinfluence.checkpoints.fitting import fit_recorded


def path_of(explainer: Any, model: Any) -> Any:
    """What a fitted model's checkpoints are, as they were given or are kept by the model.

    Raises
    ------
    ValueError
        If there is no more than its last state, and nothing that says how long the steps were.
    """
    if explainer.checkpoints is not None:
        return explainer.checkpoints
    kept = getattr(model, "checkpoints_", None)
    if kept is not None or explainer.learning_rates is not None:
        return [model] if kept is None else kept
    raise ValueError(
        f"checkpoints=None, and the fitted {type(model).__name__} keeps only its last parameters, "
        "which do not say how training went there. Pass checkpoints= (a CheckpointRecorder that "
        "saw the training, or files), or an unfitted estimator, which is fitted and recorded. "
        "With learning_rates= the last parameters are taken for the only checkpoint. "
        "InfluenceExplainer asks what deletions do, and needs no training."
    )


def fit_and_record(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    n_checkpoints: int | None,
    random_state: Any,
    fit_clone: Callable[..., Any],
) -> tuple[Any, Checkpoints]:
    """Fit a clone of an estimator, or of what is made of one, and record the model inside.

    Parameters
    ----------
    estimator : estimator
    X, y, sample_weight : object
        As the user has them.
    n_checkpoints : int or None
    random_state : int, RandomState instance or None
    fit_clone : callable
        Of (estimator, X, y, sample_weight): fits a clone without recording it.

    Returns
    -------
    fitted : estimator
    checkpoints : Checkpoints
    """
    if _only_steps(estimator) and not (routing_enabled() and sample_weight is not None):
        fitted = clone_with_seed(estimator, random_state)
        return fitted, _fit_steps(fitted, X, y, sample_weight, n_checkpoints)
    # A search has chosen its model only when it is fitted, and weights find their own ways: the
    # model inside is fitted once more, on the rows that it saw.
    fitted = fit_clone(estimator, X, y, sample_weight)
    heads, model = peel(fitted)
    for head in heads:
        X = head.transform(X)
    y = None if y is None else target_to_model_space(fitted, y)
    again = clone(model)
    checkpoints = fit_recorded(again, X, y, sample_weight, n_checkpoints=n_checkpoints)
    vars(model).update(vars(again))
    return fitted, checkpoints


def _only_steps(estimator: Any) -> bool:
    while isinstance(estimator, Pipeline):
        estimator = estimator[-1]
    return peel(estimator)[1] is estimator


def _fit_steps(estimator, X, y, sample_weight, n_checkpoints):
    while isinstance(estimator, Pipeline):
        if len(estimator.steps) > 1:
            heads = estimator[:-1]
            X = heads.fit_transform(X, y)
            estimator.steps[:-1] = heads.steps  # which are copies where the pipeline has a memory
        estimator = estimator[-1]
    return fit_recorded(estimator, X, y, sample_weight, n_checkpoints=n_checkpoints)

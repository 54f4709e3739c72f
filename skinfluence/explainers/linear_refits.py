"""Real refits of supervised estimators: the truth that ``validate`` holds scores against."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence._compat import routing_enabled
from skinfluence._peel import peel, target_to_model_space, to_model_space, unfrozen, weight_key
from skinfluence.deletion.linear.queries import Queries
from skinfluence.metrics import Agreement, agreement
from skinfluence.metrics._rows import take_rows
from skinfluence.objectives import Rows, build_all, reader_of
from skinfluence.objectives.search import without_search
from skinfluence.solvers.minimise import minimise

# What a solver must do where no polish can follow it.
TIGHT, MANY = 1e-9, 10**6


def linear_agreement(
    explainer: Any, X: Any, y: Any, rows: np.ndarray, *, whole_pipeline: bool
) -> Agreement:
    """Agreement of an explainer's scores with polished refits of its estimator.

    Parameters
    ----------
    explainer : InfluenceExplainer
        Fitted.
    X, y : array-like
        Queries as the user has them, and their targets.
    rows : ndarray of int
        Which training rows to delete.
    whole_pipeline : bool
        Refit everything around the model too.
    """
    queries = explainer._queries(X, y)
    estimated = [explainer._deletion.change(queries, _deleted(explainer, i))[:, 0] for i in rows]
    every = np.arange(explainer.n_samples_fit_)
    # A smoothed loss is judged by its own loss, and that by two refits of it, both kinked.
    before = (
        _moved(explainer, queries, X, every, whole_pipeline)
        if explainer._linear_fit.smoothed
        else 0.0
    )
    actual = [
        _moved(explainer, queries, X, np.delete(every, i), whole_pipeline) - before for i in rows
    ]
    return agreement(np.transpose(estimated), np.transpose(actual), rows=rows)


def _deleted(explainer, row):
    return explainer._deletion.delete(slice(row, row + 1))


def _moved(explainer, queries, X, kept, whole_pipeline):
    """Change of the target at each query by a refit with the rows `kept`, (n_queries,)."""
    refitted, model, rows, y, weights = _refitted(explainer, kept, whole_pipeline)
    built = _at_its_minimum(model, rows, y, weights, explainer._temperature)
    if not isinstance(queries, Queries):
        return _coefficient_changes(explainer, queries, built)
    Z = _refitted_queries(explainer, refitted, X, whole_pipeline)
    deltas = [
        objective.coordinates.design(Z).times(theta) - before
        for (objective, theta), before in zip(built, queries.outputs, strict=True)
    ]
    return explainer._target.change(queries, [delta[:, None] for delta in deltas])[:, 0]


def _at_its_minimum(model, rows, y, weights, smoothing):
    """Objectives and their minima near a refit, problem by problem."""
    fit = reader_of(model).read(model, Rows(rows, y, weights, smoothing))
    built = build_all(fit.problems, rows)
    if fit.linear_programme or fit.smoothed:
        return built  # a vertex is exact, and a kinked fit is tight
    return [(objective, minimise(objective, theta).theta) for objective, theta in built]


def _refitted(explainer, kept, whole_pipeline):
    weights = explainer._sample_weight
    y = explainer._raw_targets[kept]
    if not whole_pipeline:
        rows = take_rows(explainer._fit_X, kept)
        inner = explainer._train_y[kept]
        model = _fit(without_search(explainer._model), rows, inner, weights, kept)
        return model, model, rows, inner, _kept_weights(weights, kept)
    rows = take_rows(explainer._raw_rows, kept)
    whole = _fit(clone(unfrozen(explainer.estimator_)), rows, y, weights, kept)
    heads, model = peel(whole)
    if heads or not hasattr(rows, "shape"):
        rows = to_model_space(heads, rows, accept_sparse="csr")
    return whole, model, rows, target_to_model_space(whole, y), _kept_weights(weights, kept)


def _fit(fresh, rows, y, weights, kept):
    if isinstance(fresh, LinearSVC | LinearSVR):
        fresh.set_params(tol=TIGHT, max_iter=MANY)
    if weights is None:
        return fresh.fit(rows, y)
    if routing_enabled():
        return fresh.fit(rows, y, sample_weight=weights[kept])
    return fresh.fit(rows, y, **{weight_key(fresh): weights[kept]})


def _kept_weights(weights, kept):
    return np.ones(len(kept)) if weights is None else weights[kept]


def _refitted_queries(explainer, refitted, X, whole_pipeline):
    if not whole_pipeline:
        return explainer._model_rows(X)
    heads, _ = peel(refitted)
    return to_model_space(heads, X, accept_sparse="csr") if heads else explainer._model_rows(X)


def _coefficient_changes(explainer, wanted, built):
    changes = np.empty(wanted.shape[0])
    for index, ((objective, theta), part) in enumerate(zip(built, explainer._parts, strict=True)):
        after = objective.coordinates.to_user(theta)
        before = part.objective.coordinates.to_user(part.theta)
        own = np.flatnonzero(wanted.part == index)
        changes[own] = (after - before)[wanted.row[own], wanted.output[own]]
    return changes

"""Real refits of supervised estimators: the truth that ``validate`` holds scores against."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence._compat import routing_enabled
from skinfluence._peel import peel, target_to_model_space, to_model_space, unfrozen, weight_key
from skinfluence.deletion.linear.fit import exact_minimum, has_paths
from skinfluence.deletion.linear.queries import Queries
from skinfluence.engines.base import Whole
from skinfluence.metrics import Agreement, agreement
from skinfluence.metrics._rows import take_rows
from skinfluence.objectives import Rows, build_all, reader_of
from skinfluence.objectives.search import without_search
from skinfluence.solvers.minimise import minimise

# What a solver must do where no polish can follow it.
TIGHT, MANY = 1e-9, 10**6


def linear_agreement(
    engine: Any, queries: Any, query_rows: Any, rows: np.ndarray, whole: Whole | None
) -> Agreement:
    """Agreement of an engine's scores with polished refits of its model.

    Parameters
    ----------
    engine : LinearEngine
    queries : Queries or Coefficients
    query_rows : ndarray, sparse array or None
        The rows they were made of, in model space.
    rows : ndarray of int
        Which training rows to delete.
    whole : Whole or None
        Refit everything around the model too.
    """
    deletion = engine.deletion
    estimated = [deletion.change(queries, deletion.delete(slice(i, i + 1)))[:, 0] for i in rows]
    every = np.arange(engine.n_train)
    # A smoothed loss is judged by its own loss, and that by two refits of it, both kinked.
    smoothed = engine.linear_fit.smoothed and engine.method != "exact"
    before = moved(engine, queries, query_rows, every, whole) if smoothed else 0.0
    actual = [
        moved(engine, queries, query_rows, np.delete(every, i), whole) - before for i in rows
    ]
    return agreement(np.transpose(estimated), np.transpose(actual), rows=rows)


def moved(
    engine: Any, queries: Any, query_rows: Any, kept: np.ndarray, whole: Whole | None = None
) -> Any:
    """Change of the target at each query by a refit with the rows `kept`, (n_queries,)."""
    heads, model, rows, y, weights = _refitted(engine, kept, whole)
    built = _at_its_minimum(model, rows, y, weights, engine.settings.smoothing)
    if not isinstance(queries, Queries):
        return _coefficient_changes(engine, queries, built)
    if whole is not None and heads:
        query_rows = to_model_space(heads, whole.queries, accept_sparse="csr")
    deltas = [
        objective.coordinates.design(query_rows).times(theta) - before
        for (objective, theta), before in zip(built, queries.outputs, strict=True)
    ]
    return engine.target.change(queries, [delta[:, None] for delta in deltas])[:, 0]


def refitted_model(engine: Any, kept: np.ndarray) -> Any:
    """The estimator of an engine, fitted to the rows `kept`."""
    return _refitted(engine, kept, None)[1]


def refitted_minimum(engine: Any, kept: np.ndarray) -> Any:
    """Objectives of that fit and their minima near it, one a problem."""
    _, model, rows, y, weights = _refitted(engine, kept, None)
    return _at_its_minimum(model, rows, y, weights, engine.settings.smoothing)


def _at_its_minimum(model, rows, y, weights, smoothing):
    """Objectives and their minima near a refit, problem by problem."""
    fit = reader_of(model).read(model, Rows(rows, y, weights, smoothing))
    built = build_all(fit.problems, rows)
    if has_paths(fit):
        return [
            (objective, exact_minimum(objective, theta)[0].theta) for objective, theta in built
        ]
    if fit.linear_programme or fit.smoothed:
        return built  # a vertex is exact
    return [(objective, minimise(objective, theta).theta) for objective, theta in built]


def _refitted(engine, kept, whole):
    """Heads and model of a refit, and the rows, targets and weights that the model saw."""
    weights = engine.sample_weight
    if whole is None:
        rows, y = take_rows(engine.X, kept), engine.y[kept]
        model = _fit(without_search(engine.model), rows, y, weights, kept)
        return [], model, rows, y, _kept_weights(weights, kept)
    rows, y = take_rows(whole.X, kept), whole.y[kept]
    refitted = _fit(clone(unfrozen(whole.estimator)), rows, y, weights, kept)
    heads, model = peel(refitted)
    if heads or not hasattr(rows, "shape"):
        rows = to_model_space(heads, rows, accept_sparse="csr")
    return heads, model, rows, target_to_model_space(refitted, y), _kept_weights(weights, kept)


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


def _coefficient_changes(engine, wanted, built):
    changes = np.empty(wanted.shape[0])
    for index, ((objective, theta), part) in enumerate(zip(built, engine.parts, strict=True)):
        after = objective.coordinates.to_user(theta)
        before = part.objective.coordinates.to_user(part.theta)
        own = np.flatnonzero(wanted.part == index)
        changes[own] = (after - before)[wanted.row[own], wanted.output[own]]
    return changes

"""Other values of the training rows of a linear model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import sparse

from skinfluence.attribution import check_no_nan
from skinfluence.deletion.linear.averaging import MeanReplacement
from skinfluence.deletion.linear.changes import Incoming
from skinfluence.deletion.linear.kinks import KinkedPart
from skinfluence.deletion.linear.part import Part
from skinfluence.deletion.linear.perturbation import LinearPerturbation
from skinfluence.deletion.linear.replacement import Array, Exchange, LinearReplacement, Positions
from skinfluence.engines.linear import trust
from skinfluence.engines.linear.classes import classes_of_rows
from skinfluence.objectives import Rows, reader_of

# Products of three of them are still numbers.
HUGE = 1e100


def perturbation(engine: Any, queries: Any, rows: Positions, features: Positions | None) -> Array:
    """Derivative of each query's value in the inputs of some training rows."""
    if engine.linear_fit.linear_programme:
        trust.warn_if_not_unique(engine.parts[0].path)
    kinked = [part.fit for part in engine.parts if isinstance(part, KinkedPart)]
    settled = [len(fit.point.free.groups) == fit.programme.n_sums for fit in kinked]
    trust.warn_of_intervals(all(settled))
    features = np.arange(engine.X.shape[1]) if features is None else features
    derivative = LinearPerturbation(engine.parts, engine.target, engine.feature_names)
    return derivative(queries, rows, features)


def score_replacement(engine: Any, queries: Any, rows: Positions, new: Any, new_y: Any) -> Array:
    """Value at each query after replacing each row minus before, by the engine's method."""
    new = _like(engine.X, engine.X[rows] if new is None else new)
    _refuse_overflow(new)
    targets = engine.y[rows] if new_y is None else _targets(engine, rows, new_y)
    exchange = Exchange(engine.X, rows, new, _incoming(engine, rows, targets))
    replacement = LinearReplacement(engine.parts, engine.target)
    scores = replacement.change(queries, exchange)
    check_no_nan(scores)
    notes = replacement.notes
    flagged = notes.alone | notes.indefinite | notes.failed | notes.not_unique
    flagged |= _classes_lost(engine, rows, targets)
    trust.warn_of_replacements(sorted(flagged), len(np.unique(rows)))
    engine._warn_if_unsolved()
    return scores


def mean_replacement(
    engine: Any, queries: Any, rows: Positions, news: Iterable[Any], one_by_one: Callable[..., Any]
) -> list[Array]:
    """Means over queries of first-order changes, (n_rows,), for one set of rows after another.

    Rows that do not lie in the coordinates of the fit are left to `one_by_one`.
    """
    parts = [part for part in engine.parts if isinstance(part, Part)]
    mean, found = MeanReplacement(parts, engine.target, queries), []
    for new in news:
        alike = _like(engine.X, new)
        exchange = Exchange(engine.X, rows, alike, _incoming(engine, rows, engine.y[rows]))
        if not mean.serves(exchange):
            found += one_by_one(queries, rows, [new])
            continue
        found.append(mean(exchange))
        check_no_nan(found[-1])
    engine._warn_if_unsolved()
    return found


def _like(X, new):
    """Rows, dense or sparse as the training rows are."""
    if sparse.issparse(X):
        return sparse.csr_array(new)
    return new.toarray() if sparse.issparse(new) else new


def _refuse_overflow(X):
    largest = float(abs(X).max()) if min(X.shape) else 0.0
    if largest > HUGE:
        raise ValueError(
            f"The new rows hold {largest:.1e}, and sums of products of such numbers are beyond "
            "float64. Rescale the columns, or replace by rows nearer to the others."
        )


def _targets(engine, rows, y):
    y = np.asarray(y)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and engine.y.ndim == 1 else y
    if len(y) != len(rows):
        raise ValueError(
            f"There are {len(y)} new targets and {len(rows)} positions of rows that they belong "
            "to. Pass one target a position."
        )
    reader_of(engine.model).encode(engine.model, y)  # refuses what training did not see
    return y


def _incoming(engine, rows, targets):
    """Targets and weights of new rows for each problem, as the estimator would weight them."""
    n, weights = engine.n_train, engine.sample_weight
    weights = np.ones(n) if weights is None else weights
    # Objectives are read off targets alone.
    read = reader_of(engine.model).read(
        engine.model,
        Rows(
            np.empty((n + len(rows), 0)),
            np.concatenate([engine.y, targets]),
            np.concatenate([weights, weights[rows]]),
            engine.settings.smoothing,
        ),
    )
    return [_of_problem(problem, n) for problem in read.problems]


def _of_problem(problem, n):
    weights, rebalance = problem.weights[n:], problem.rebalance
    if rebalance is None:
        return Incoming(problem.y[n:], weights)
    # The class weights that were read count the new rows too; those of the fit do not.
    classes, mass = rebalance.class_of_row, rebalance.mass
    counted = np.stack(
        [np.bincount(classes[:k], mass[:k], rebalance.n_classes) for k in (n, len(mass))]
    )
    fitted, read = counted.sum(axis=1, keepdims=True) / counted
    follows = np.ones(len(weights), dtype=bool)
    if rebalance.positives is not None:
        follows = classes[n:] == rebalance.positives
    weights = weights * np.where(follows, (fitted / read)[classes[n:]], 1.0)
    return Incoming(problem.y[n:], weights, classes[n:], mass[n:])


def _classes_lost(engine, rows, targets):
    """Rows whose new label leaves their old one without a row."""
    alone = np.isin(rows, list(engine._notes.last_of_class))
    if not alone.any():
        return set()
    classes = engine.linear_fit.classes
    other = classes_of_rows(classes, targets, np.ones(len(rows))) != engine.class_of_row[rows]
    return set(rows[alone & other].tolist())

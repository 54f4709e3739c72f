"""Derivatives of values at queries in the values of training rows of an exact model."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.deletion.closed.base import TILE, ExactModel
from skinfluence.deletion.closed.deletion import ExactQueries
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.closed.slopes.generic import (
    by_differences,
    by_imaginary_steps,
    slopes_of_value,
    spreads,
)
from skinfluence.engines.exact.replacement import check_method, new_rows, replaced_of
from skinfluence.engines.exact.values import called
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]
Positions = NDArray[np.intp]

# Queries that meet the models of moved rows at once.
QUERIES = 256


def perturbation(
    engine: Any, queries: ExactQueries, rows: Positions, features: Positions | None
) -> Array:
    """``d value(z) / d x_i`` of the model fitted again, (n_queries, n_rows, n_features).

    Kernel machines and neighbours have closed forms; models of moments and counts are followed
    along the imaginary axis, which is as exact; where only refits are known, central differences
    of order six are taken of them.
    """
    check_method(engine, "perturbation")
    reason = engine.family.jumps(engine.model)
    if reason:
        raise UnsupportedEstimatorError(
            f"perturbation is a derivative in the values of a row, and "
            f"{type(engine.model).__name__} {reason}. Use score_replacement, which says what "
            "other values of a row would do."
        )
    p = engine.rows.X.shape[1]
    features = np.arange(p) if features is None else features
    found = np.zeros((queries.shape[0], len(rows), len(features)))
    if not found.size:
        return found
    exact = _to_differentiate(engine)
    query_block, row_block = _blocks(exact, len(rows), len(features))
    for some in _loops.slices(queries.shape[0], query_block):
        own = queries[some]
        slopes = _value_slopes(engine, own)
        finite = np.isfinite(own.before)
        for part in _loops.slices(len(rows), row_block):
            outputs = _output_slopes(engine, exact, own.X, rows[part], features)
            found[some, part] = np.einsum("qrfk,qk->qrf", outputs, slopes)
        found[some][~finite] = 0.0  # a value of infinity stays one
    return found


def _blocks(exact, n_rows, n_features):
    """Numbers of queries and rows that are met together."""
    if type(exact).slopes is not ExactModel.slopes:
        # What queries see of all rows is solved for once a block.
        numbers = 0.25 * _loops.memory_budget() / 8.0
        return max(1, int(numbers / (n_rows * n_features * exact.n_outputs))), max(n_rows, 1)
    numbers = TILE / (n_features * exact.n_outputs * 8)
    return QUERIES, max(1, int(numbers / QUERIES))


def _value_slopes(engine, queries):
    """Derivatives of the target in the outputs of each query, (q, K)."""
    outputs, target = engine.exact.outputs(queries.X), engine.settings.target
    found = None
    if isinstance(target, str):
        found = engine.head.slopes(target, outputs, queries.asked)
    elif type(engine.head).shown is Head.shown:
        found = called(target, outputs, queries.asked)[1]  # where the user's function has one
    if found is None:
        found = slopes_of_value(lambda moved: engine.value(moved, queries.asked), outputs)
    return np.where(np.isfinite(found), found, 0.0)


def _to_differentiate(engine):
    """The model whose derivative is taken: that of a refit is the closed form's too."""
    if engine.settings.method != "refit":
        return engine.exact
    closed = engine.family.read(engine.model, engine.rows, engine.settings)
    return engine.exact if closed is None else closed


def _output_slopes(engine, exact, X, rows, features):
    """Derivatives of the outputs, (q, r, f, K)."""
    found = exact.slopes(X, rows, features)
    if found is not None:
        return found
    new = new_rows(engine, rows, take_rows(engine.rows.X, rows), None)
    replace = partial(replaced_of, exact, engine.refits)
    scale = spreads(engine.rows.X)
    if exact.complex_rows:
        found = by_imaginary_steps(partial(_closed, exact), new, X, features, scale)
        if found is not None:
            return found
    return by_differences(replace, new, X, features, engine.family.step * scale)


def _closed(exact, new):
    with np.errstate(all="ignore"):
        return exact.replace(new)

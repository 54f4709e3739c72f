"""Values at queries when training rows of a model with exact deletions become others."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops, attribution
from skinfluence._output import few
from skinfluence._warn import warn
from skinfluence.deletion.closed.base import difference
from skinfluence.deletion.closed.deletion import ExactQueries
from skinfluence.deletion.closed.replaced.base import Mended, NewRows, Replaced
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


def new_rows(engine: Any, rows: Positions, new: Any, new_y: Any) -> NewRows:
    """Checked new rows of an engine; their targets are those of `rows` where there are none."""
    check_method(engine, "score_replacement")
    if new_y is not None and not engine.family.supervised:
        raise ValueError(
            f"y_new was passed, and {type(engine.model).__name__} is a density, which has no "
            "targets. Leave y_new=None."
        )
    found = _with_targets(engine, rows, new, new_y)
    engine.family.check_new(engine.model, engine.rows, found)
    return found


def check_method(engine: Any, question: str) -> None:
    """Refuse to ask an approximation what its model is exact about."""
    if engine.method in ("first_order", "newton"):
        raise UnsupportedEstimatorError(
            f"method={engine.method!r} smooths the deletions of {type(engine.model).__name__} for "
            f"comparison, and {question} of it is exact or nothing. Set method='auto'."
        )


def _with_targets(engine, rows, new, new_y):
    known = engine.rows.y
    if known is None:
        return NewRows(rows, new, None, None)
    y = known[rows] if new_y is None else np.asarray(new_y)
    if len(y) != len(rows):
        raise ValueError(
            f"y_new has {len(y)} targets, and there are {len(rows)} new rows. Pass one a row."
        )
    encoded = engine.head.encode(y)
    return NewRows(rows, new, y.reshape(len(rows), *known.shape[1:]), encoded)


def score_replacement(engine: Any, queries: ExactQueries, new: NewRows) -> Array:
    """Value at each query with each new row minus before, (n_queries, b)."""
    scores = np.zeros((queries.shape[0], len(new)))
    flagged = _loses_a_class(engine, new)
    for part in _loops.slices(len(new), engine.exact.replaced_block):
        replaced = replaced_of(engine.exact, engine.refits, new[part])
        flagged[part] |= replaced.degenerate
        size = engine.deletion.query_block(len(replaced.broken), _loops.memory_budget())
        for some in _loops.slices(queries.shape[0], size):
            own = queries[some]
            values = engine.value(replaced.outputs(own.X), own.asked)
            scores[some, part] = difference(values, own.before[:, None])
    attribution.check_no_nan(scores)
    _warn_of(engine, new, flagged)
    return scores


def replaced_of(exact: Any, refits: Any, new: NewRows) -> Replaced:
    """Closed forms of the models that new rows would have made, and refits where there is none."""
    with np.errstate(all="ignore"):
        found: Replaced | None = exact.replace(new)
    if found is None:
        return refits.replace(new)
    if found.broken.any():
        keep = exact.without_an_end
        mended = refits.replace(new[np.flatnonzero(found.broken)], needed=not keep)
        return Mended(found, mended, keep=keep)
    return found


def _loses_a_class(engine, new):
    """Which new rows are of another class than rows that are a class alone, (b,)."""
    classes = engine.class_of_row
    own = classes[new.rows]
    if engine.head.classes is None or (own < 0).all():
        return np.zeros(len(new), dtype=bool)
    counts = np.bincount(classes[classes >= 0])
    return (own >= 0) & (own != new.encoded) & (counts[own] == 1)


def _warn_of(engine, new, flagged):
    if flagged.any():
        warn(
            f"With some new rows ({int(flagged.sum())} of {len(new)}, in place of "
            f"{few(np.unique(new.rows[flagged]))}) {type(engine.model).__name__} is not "
            "determined, or a class has no rows. Their scores are those of a model without that "
            "class, or infinite.",
            DegenerateDeletionWarning,
        )


__all__ = ["new_rows", "replaced_of", "score_replacement"]

"""Real refits of models whose deletions are exact: what ``validate`` holds scores against."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skinfluence._peel import peel, to_model_space, unfrozen, weight_key
from skinfluence.deletion.closed.base import TrainingRows, takes_weights
from skinfluence.deletion.closed.deletion import ExactQueries, values_of
from skinfluence.engines.base import Positions, Whole
from skinfluence.metrics import Agreement, agreement
from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]


def exact_agreement(
    engine: Any, queries: ExactQueries, rows: Positions, whole: Whole | None
) -> Agreement:
    """Agreement of an engine's scores with refits of its model, or of all that is around it."""
    deletion, every = engine.deletion, np.arange(engine.n_train)
    estimated = [deletion.change(queries, deletion.delete(slice(i, i + 1)))[:, 0] for i in rows]

    def value(kept):
        if whole is None:
            return engine.refit_value(queries, kept)
        return _whole_value(engine, queries, kept, whole)

    before = value(every)
    actual = [value(np.delete(every, i)) - before for i in rows]
    return agreement(np.transpose(estimated), np.transpose(actual), rows=rows)


def _whole_value(engine, queries, kept, whole):
    """Value at each query of everything the user handed over, fitted to the rows `kept`."""
    left = TrainingRows(whole.X, whole.y, engine.rows.weights).kept(kept)
    fresh = clone(unfrozen(whole.estimator))
    given = {}
    if left.weights is not None and takes_weights(engine.model):
        given = {weight_key(fresh): left.weights}
    heads, model = peel(fresh.fit(left.X, left.y, **given))
    X, rows = queries.X, left.X
    if heads:
        accepted = "csr" if engine.family.sparse else False
        asked = take_rows(whole.queries, np.arange(queries.shape[0]))
        X = to_model_space(heads, asked, accept_sparse=accepted)
        rows = to_model_space(heads, rows, accept_sparse=accepted)
    model = engine.family.at_rest(model, TrainingRows(rows, left.y, left.weights))
    return values_of(
        lambda part: engine.refits.outputs_of((kept, model), part),
        X,
        queries.asked,
        engine.value,
    )

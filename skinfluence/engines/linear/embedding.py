"""Rows as points whose dot products are first-order scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence.deletion.linear.embedding import Array, Embedding
from skinfluence.deletion.linear.queries import known
from skinfluence.engines.linear.queries import make_queries, make_target


def embed(engine: Any, rows: Any) -> Array:
    """Embed rows of model space, (n_queries, n_dimensions)."""
    asked = engine.settings.target
    needs_no_y = asked in ("decision_function", "proba") or callable(asked)
    kind = asked if needs_no_y else "decision_function"
    fit = engine.linear_fit
    queries = make_queries(
        engine.model, fit, engine.parts, rows, None, target=kind, output=engine.settings.output
    )
    slopes = known(make_target(fit, kind, engine.model)).gradient(queries)
    return np.hstack(
        [
            one(one.coordinates.design(rows).dense(), own)
            for one, own in zip(_embeddings(engine), slopes, strict=True)
        ]
    )


def train_embedding(engine: Any) -> Array:
    """Embed what the deletion of each training row takes away, (n_train, n_dimensions)."""
    return np.hstack([one.training() for one in _embeddings(engine)])


def width(engine: Any) -> int:
    """Number of dimensions."""
    return sum(one.size() for one in _embeddings(engine))


def _embeddings(engine):
    if engine.linear_fit.linear_programme:
        raise ValueError(
            "The embedding is made of derivatives, and a quantile regression has none. Set "
            "smoothing to a temperature in units of y, or use score_influence."
        )
    if engine.method == "exact":
        raise ValueError(
            f"The embedding is made of derivatives, and {type(engine.model).__name__} is followed "
            "past its kinks without any. Set method='newton', which smooths the loss, or use "
            "score_influence."
        )
    return [Embedding(part, engine.X) for part in engine.parts]

"""Real refits: the truth that ``validate`` holds scores against."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone

from skinfluence._peel import unfrozen
from skinfluence.deletion.base import DensityDeletion
from skinfluence.metrics import Agreement, agreement
from skinfluence.metrics._rows import take_rows

# Queries against which every refit is evaluated where the user names none.
N_QUERIES = 500


def rows_to_refit(self_influence, n_refits, rng):
    """Positions to delete: half with the highest self influence, the others at random."""
    order = np.argsort(-self_influence, kind="stable")
    top = order[: (n_refits + 1) // 2]
    others = rng.permutation(order[len(top) :])[: n_refits - len(top)]
    return np.sort(np.concatenate([top, others]))


def some_positions(n, rng):
    """At most ``N_QUERIES`` of n positions, in order."""
    return np.arange(n) if n <= N_QUERIES else np.sort(rng.choice(n, N_QUERIES, replace=False))


def model_agreement(deletion: DensityDeletion, queries: Any, rows: np.ndarray) -> Agreement:
    """Agreement of a deletion with refits of the model alone, its head held fixed."""
    estimated = [deletion.change(queries, deletion.delete(slice(i, i + 1)))[:, 0] for i in rows]
    before = deletion.refit_loss(None, queries)
    actual = [_difference(deletion, deletion.refit_loss(i, queries), before) for i in rows]
    return agreement(np.transpose(estimated), np.transpose(actual), rows=rows)


def whole_pipeline_agreement(
    explainer: Any, X: Any, rows: np.ndarray, rng: np.random.RandomState
) -> Agreement:
    """Agreement of an explainer with refits of everything it was given: pipeline, search, all.

    Both sides are measured by the loss in the model's own space, which moves with the pipeline.
    """
    train = explainer._raw_rows
    if X is None:
        X = take_rows(train, some_positions(explainer.n_samples_fit_, rng))
    weights = explainer._deletion.weights
    before = -explainer.log_density(X)
    queries = explainer._queries(X)
    deletion = explainer._deletion
    estimated, actual = [], []
    for i in rows:
        estimated.append(deletion.change(queries, deletion.delete(slice(i, i + 1)))[:, 0])
        kept = np.delete(np.arange(explainer.n_samples_fit_), i)
        fresh = clone(explainer).set_params(estimator=clone(unfrozen(explainer.estimator_)))
        fit_params = {} if weights is None else {"sample_weight": weights[kept]}
        fresh.fit(take_rows(train, kept), **fit_params)
        actual.append(_difference(deletion, -fresh.log_density(X), before))
    return agreement(np.transpose(estimated), np.transpose(actual), rows=rows)


def _difference(deletion, after, before):
    """``after - before``, and the deletion's convention where both are the same infinity."""
    same = np.isinf(after) & (after == before)
    return np.where(
        same, deletion.infinite_change, np.where(same, 0.0, after) - np.where(same, 0.0, before)
    )

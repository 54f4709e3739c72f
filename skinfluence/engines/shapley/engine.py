"""Shapley values of training rows, as an engine answers for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from scipy import sparse
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor

from skinfluence import _loops, attribution
from skinfluence.attribution import Block
from skinfluence.deletion.closed.families import family_of
from skinfluence.engines.base import Array, Engine, Positions
from skinfluence.engines.exact.engine import ExactEngine
from skinfluence.engines.exact.reading import nameless
from skinfluence.engines.linear.classes import check_classes
from skinfluence.engines.shapley.values import shares_of_votes, squared_errors
from skinfluence.engines.shapley.weighted import (
    floats_a_query,
    weighted_shares_of_votes,
    weighted_squared_errors,
)
from skinfluence.engines.shapley.weights import weights_of
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import class_positions

# Nodes of the integrals of weighted models that a block of queries is taken at together.
_NODES = 16


@dataclass(frozen=True)
class Asked:
    """Queries and their targets: codes of classes (q,), or numbers (q, n_targets)."""

    X: Any
    y: Any

    @property
    def shape(self) -> tuple[int]:
        """Number of queries."""
        return (self.X.shape[0],)

    def __getitem__(self, part: Any) -> Asked:
        return Asked(self.X[part], self.y[part])


class ShapleyEngine(Engine):
    """Values of all training rows for each query, from the rows in the order of distance.

    Parameters
    ----------
    model : KNeighborsClassifier or KNeighborsRegressor
        Fitted.
    X : ndarray or sparse array of shape (n_train, p)
    y : ndarray of shape (n_train,) or (n_train, n_targets)
    settings : SimpleNamespace
    """

    method, n_iter = "shapley", 1

    def __init__(self, model: Any, X: Any, y: Any, settings: SimpleNamespace):
        model = nameless(model)
        self.model, self.X, self.y, self.settings = model, X, y, settings
        self.n_train, self.k = X.shape[0], model.n_neighbors
        self.classifies = isinstance(model, KNeighborsClassifier)
        self.weighted = model.weights not in (None, "uniform")
        self.score_unit = "share of votes" if self.classifies else "negative squared error"
        self._targets = self._encoded(y)
        # Moving the origin changes no difference, and keeps the rounding of norms small.
        self._center = 0.0
        if model.effective_metric_ == "euclidean" and not sparse.issparse(X):
            self._center = X.mean(axis=0)

    def _encoded(self, y):
        if self.classifies:
            return class_positions(y, self.model.classes_)
        return np.asarray(y, dtype=np.float64).reshape(len(y), -1)

    # -- fitting ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        if not isinstance(model, KNeighborsClassifier | KNeighborsRegressor):
            raise UnsupportedEstimatorError(
                f"KNNShapley values the rows of KNeighborsClassifier and KNeighborsRegressor, and "
                f"the model is a {type(model).__name__}. Pass one of them, or use "
                "InfluenceExplainer for what deleting a row does."
            )
        family_of(model).check(model)

    @classmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Any:
        return ExactEngine.model_rows(owner, heads, X, reset=reset)

    @classmethod
    def fit(
        cls,
        model: Any,
        rows: Any,
        y: Any,
        sample_weight: Any,
        settings: SimpleNamespace,
        *,
        feature_names: Sequence[str] | None,
    ) -> Self:
        # The deletions of these models refuse what they cannot be about: other rows, weights.
        # Compared with a refit, which may have as many neighbours as there are rows.
        exact = SimpleNamespace(target="loss", output=None, method="refit")
        y = ExactEngine.fit(model, rows, y, sample_weight, exact, feature_names=feature_names).y
        check_classes(model, y)
        return cls(model, rows, y, settings)

    # -- scores -----------------------------------------------------------------------------------

    def queries(self, rows: Any, y: Any) -> Any:
        if y is None:
            raise ValueError(
                "y is None, and a row has a value for a query only beside the query's target. "
                "Pass y."
            )
        return Asked(rows, self._encoded(y))

    def values(self, queries: Asked, budget: float) -> Array:
        """Values of all rows for each query, (q, n_train), in about `budget` bytes."""
        order, votes, errors = self._utilities(queries.X, budget)
        if self.classifies:
            found = votes((self._targets[order] == queries.y[:, None]).astype(np.float64))
        else:
            pairs = zip(self._targets.T, queries.y.T, strict=True)
            found = np.sum([errors(t[order], y) for t, y in pairs], axis=0)
        values = np.empty_like(found)
        np.put_along_axis(values, order, found, axis=1)
        return values

    def _utilities(self, X, budget):
        """Order of the rows by distance, and the values of rows for the two kinds of targets."""
        k = self.k
        if not self.weighted:
            order = self._nearest_first(X)
            return order, lambda a: shares_of_votes(a, k), lambda t, y: squared_errors(t, y, k)
        # The estimator's own distances: what it takes for 0 has all the weight.
        distances, order = self.model.kneighbors(X, n_neighbors=self.n_train)
        # Searches return ties in any order.
        order = np.take_along_axis(order, np.lexsort((order, distances)), axis=1)
        w = weights_of(self.model, distances)
        return (
            order,
            lambda a: weighted_shares_of_votes(a, w, k, budget=budget),
            lambda t, y: weighted_squared_errors(t, y, w, k, budget=budget),
        )

    def _nearest_first(self, X):
        model = self.model
        distances = pairwise_distances(
            X - self._center if not sparse.issparse(X) else X,
            self.X - self._center if not sparse.issparse(self.X) else self.X,
            metric=model.effective_metric_,
            **model.effective_metric_params_,
        )
        return np.argsort(distances, axis=1, kind="stable")

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        budget = _loops.memory_budget(_loops.n_workers(n_jobs))
        floats = 8 * self.n_train
        if self.weighted:
            floats = _NODES * floats_a_query(self.n_train, self.k)
        parts = _loops.slices(queries.shape[0], int(min(256, budget / (8.0 * floats))))
        found = _loops.in_threads(
            lambda part: self.values(queries[part], budget),
            parts,
            n_jobs=n_jobs,
            one_thread=False,
        )
        blocks = zip(parts, found, strict=True)
        every = slice(0, self.n_train)
        for part, values in _loops.progress_bar(
            blocks, total=len(parts), enabled=progress, desc=desc
        ):
            attribution.check_no_nan(values)
            yield part, every, values

    def suspicion(self, self_influence: Array) -> Array:
        # Worth much to itself: the rows around it say otherwise.
        return self_influence

    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        at = np.arange(self.n_train) if rows is None else rows
        queries = Asked(self.X[at], self._targets[at])
        own = np.empty(len(at))
        tiles = self.tiles(queries, n_jobs=n_jobs, progress=progress, desc="self_influence")
        for part, _, values in tiles:
            own[part] = values[np.arange(len(values)), at[part]]
        return own

"""Influence sketches of fitted linear models: two passes over blocks of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import check_consistent_length

from skinfluence import _loops, attribution
from skinfluence._compat import check_weights
from skinfluence._seen import is_module, is_skorch_net
from skinfluence._warn import warn
from skinfluence.attribution import Block as Tile
from skinfluence.diagnostics import SketchedDiagnostics
from skinfluence.engines.base import Array, Engine, Positions
from skinfluence.engines.linear.classes import check_classes
from skinfluence.engines.sketch.diagnostics import diagnostics_of
from skinfluence.engines.sketch.measures import (
    Measures,
    SketchedProblem,
    most_leverage,
    odds_for,
)
from skinfluence.engines.sketch.passes import Passes, each_block
from skinfluence.engines.sketch.reading import (
    MOST_PARAMETERS,
    check_problems,
    fixed_problems,
    read,
)
from skinfluence.engines.sketch.rows import BlockedRows, blocked_rows, centre_of
from skinfluence.engines.sketch.scores import embedding
from skinfluence.engines.sketch.sketcher import Sketcher, make_sketcher
from skinfluence.engines.sketch.sources import ArraySource, Source, block_source
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import LinearFit, reader_of, registered


class SketchEngine(Engine):
    """A fitted linear model in random subspaces of its features.

    Parameters
    ----------
    model : estimator
        Fitted.
    fit : LinearFit
        Its problems, whatever rows they were read with.
    settings : SimpleNamespace
    centre : ndarray of shape (p,) or None, default=None
        Roughly where features are.
    """

    method = "sketch"
    score_unit = "loss"

    def __init__(
        self,
        model: Any,
        fit: LinearFit,
        settings: SimpleNamespace,
        centre: Array | None = None,
    ):
        check_problems(model, fit)
        self.model, self.settings, self.y = model, settings, None
        self.sketcher = make_sketcher(
            fixed_problems(fit, settings.features),
            projection=settings.projection,
            n_components=settings.n_components,
            n_sketches=settings.n_sketches,
            expected=settings.hessian == "expected",
            random_state=settings.random_state,
            centre=centre,
        )
        _check_size(model, self.sketcher)
        correct = settings.correct_shrinkage
        known = None if isinstance(correct, bool | np.bool_) else float(correct)
        self.passes = Passes(self.sketcher, type(model).__name__, known)
        self.how = {"n_jobs": settings.n_jobs, "progress": settings.progress}
        self.source: Source | None = None
        self.rows: Sequence[Measures] = ()
        self.odds: Sequence[float | None] = [None] * len(fit.problems)

    # -- before there is a fit --------------------------------------------------------------------

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        networks = MLPClassifier | MLPRegressor
        if is_module(model) or is_skorch_net(model) or isinstance(model, networks):
            raise UnsupportedEstimatorError(
                f"{type(model).__name__} is a network, and InfluenceSketch sketches the features "
                "of linear models. Use InfluenceExplainer or TracInExplainer with projection=."
            )
        if not set(type(model).__mro__) & set(registered()):
            raise UnsupportedEstimatorError(
                f"{type(model).__name__} is no linear model whose objective is known, and "
                f"InfluenceSketch sketches the features of these: {_sketched_names()}; and of "
                "pipelines, searches and FrozenEstimators of them. Pass one of these, or see "
                "InfluenceExplainer for what else has influences."
            )
        reader_of(model).check(model)

    @classmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> BlockedRows:
        return blocked_rows(owner, heads, X, reset=reset)

    @classmethod
    def fit(
        cls,
        model: Any,
        rows: BlockedRows,
        y: Any,
        sample_weight: Any,
        settings: SimpleNamespace,
        *,
        feature_names: Sequence[str] | None,
    ) -> Self:
        count = np.empty((rows.shape[0], 1))
        weights = check_weights(sample_weight, count)
        check_consistent_length(count, y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        check_classes(model, y)
        weights = np.ones(len(count)) if weights is None else weights
        fit = read(model, y, weights)
        engine = cls(model, fit, settings, centre_of(rows, settings.block_size))
        engine.y = y
        engine.check_columns(rows)
        targets = [(one.y, one.weights) for one in fit.problems]
        engine.go_through(ArraySource(rows, targets, engine.slices(rows)))
        return engine

    def slices(self, rows: BlockedRows) -> list[slice]:
        """Blocks of rows, by ``block_size`` or by what fits the cache."""
        return rows.slices(self.sketcher.width, self.settings.block_size)

    def check_columns(self, rows: BlockedRows) -> None:
        """Refuse rows of other columns than the coefficients."""
        if rows.shape[1] != self.sketcher.n_features:
            raise ValueError(
                f"X has {rows.shape[1]} columns, and the estimator was fitted on "
                f"{self.sketcher.n_features}. Pass the rows it was fitted on."
            )

    # -- passes -----------------------------------------------------------------------------------

    def go_through(self, source: Source) -> None:
        """Both passes over all rows."""
        self.source = source
        self.passes.add(source, **self.how)
        self.rows = self.passes.measure_all(source, **self.how)
        if self.settings.correct_shrinkage:
            self._warn_of_bound()
            self.odds = [
                odds_for(own.leverages.mean(axis=0), one.n_params, most_leverage(one.fixed))
                for one, own in zip(self.problems, self.rows, strict=True)
            ]

    def _warn_of_bound(self):
        if self.passes.n_params is None and any(one.bounded for one in self.problems):
            most = sum(one.n_params for one in self.problems)
            least = sum(one.n_sketched for one in self.problems)
            warn(
                "correct_shrinkage=True makes leverages add up to the effective parameters, and "
                f"under the penalty of {type(self.model).__name__} these are known to lie "
                f"between {least:.4g} and {most:.4g}: the upper end was taken, and leverages may "
                "be as much too large. Pass the number where you know it, as correct_shrinkage=, "
                "or leave leverages as they are by correct_shrinkage=False.",
                UserWarning,
            )

    @property
    def n_train(self) -> int:  # type: ignore[override]
        """Number of training rows, more with every block."""
        return self.passes.n_rows

    @property
    def problems(self) -> Sequence[SketchedProblem]:
        """Every problem in its sketches, once all rows have been added."""
        return self.passes.problems

    @property
    def stationarity(self) -> float:
        """Largest relative gradient at the fitted parameters."""
        return self.passes.stationarity

    # -- results ----------------------------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        known = {**super().attributes(), "n_components_": self.n_components}
        if self.source is None:  # more rows may come
            return known
        known = {
            **known,
            "stationarity_": self.stationarity,
            "n_effective_params_": sum(one.n_params for one in self.problems),
            "shrinkage_": self.shrinkage,
        }
        every = self.diagnostics(None)
        known["leverage_"] = np.sum([one.leverage for one in every], axis=0)
        if self.sketcher.n_sketches > 1:
            known["leverage_std_"] = _error_of_sum(every, self.rows)
        distances = [one.cooks_distance for one in every if one.cooks_distance is not None]
        if len(distances) == len(every):
            known["cooks_distance_"] = np.sum(distances, axis=0)
        return known

    @property
    def n_components(self) -> int:
        """Columns of a projection, the most of any problem."""
        return max(one.n_components for one in self.sketcher.projections)

    @property
    def shrinkage(self) -> float:
        """Sum of the sketched leverages over the effective parameters of the whole fit."""
        total = sum(one.n_params for one in self.problems)
        return sum(one.n_sketched for one in self.problems) / total if total else 1.0

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "n_components": self.n_components,
            "shrinkage": self.shrinkage,
            "stationarity": self.stationarity,
        }

    def diagnostics(
        self, row_labels: Any, rows: Sequence[Measures] | None = None
    ) -> list[SketchedDiagnostics]:
        """Of every problem, for the training rows or for those measured."""
        rows = self.rows if rows is None else rows
        if row_labels is None:
            row_labels = np.arange(len(rows[0].scores))
        return [
            diagnostics_of(one, own, odds=odds, row_labels=row_labels)
            for one, own, odds in zip(self.problems, rows, self.odds, strict=True)
        ]

    def measure_given(self, rows: BlockedRows, y: Any, weights: Array) -> list[Measures]:
        """The second pass over some rows that the first has seen."""
        if self.settings.correct_shrinkage and not self.rows:
            raise ValueError(
                "correct_shrinkage needs the leverages of all rows, and partial_fit keeps "
                "none. Pass all blocks to fit, or set correct_shrinkage=False."
            )
        self.check_columns(rows)
        source = self._given(rows, y, weights)
        return self.passes.measure(source, "diagnostics", **self.how)

    def add_given(self, rows: BlockedRows, y: Any, weights: Array) -> None:
        """The first pass over some rows more."""
        self.check_columns(rows)
        self.passes.add(self._given(rows, y, weights), **self.how)
        self.source, self.rows = None, ()

    def _given(self, rows, y, weights):
        fixed = self.sketcher.fixed
        return block_source(self.model, rows, y, weights, self.slices(rows), fixed)

    # -- scores -----------------------------------------------------------------------------------

    def queries(self, rows: Any, y: Any) -> Any:
        if y is None:
            raise ValueError(
                "score_influence is about the loss of each query, which needs its y. Pass y."
            )
        self.rows_of("score_influence")
        self.check_columns(rows)
        check_consistent_length(np.empty(rows.shape[0]), y)
        encoded = reader_of(self.model).encode(self.model, y)
        ones = np.ones(rows.shape[0])
        source = ArraySource(rows, [(own, ones) for own in encoded], self.slices(rows))
        parts = [self._embed(make(), train=False) for make in source.blocks()]
        return np.concatenate(parts)

    def _embed(self, block, *, train):
        return embedding(self.sketcher, self.problems, block, train=train)

    def rows_of(self, question: str) -> Source:
        if self.source is None:
            raise ValueError(
                f"{question} goes through the training rows, and partial_fit keeps none of them. "
                "Ask diagnostics(X, y) for blocks of rows, or pass all blocks to fit."
            )
        return self.source

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Tile]:
        start = 0
        every = each_block(
            self.rows_of("score_influence"),
            lambda block: self._embed(block, train=True),
            desc,
            n_jobs=n_jobs,
            progress=progress,
        )
        for train in every:
            rows = slice(start, start + len(train))
            start = rows.stop
            size = int(_loops.memory_budget() / (8 * max(1, len(train)))) or 1
            for chosen in _loops.slices(len(queries), size):
                values = queries[chosen] @ train.T
                attribution.check_no_nan(values)
                yield chosen, rows, values

    def over_queries(
        self, queries: Any, reduce: str, *, n_jobs: int | None, progress: bool
    ) -> Array:
        total = queries.sum(axis=0, keepdims=True)
        tiles = self.tiles(total, n_jobs=n_jobs, progress=progress, desc="score_influence")
        scores = attribution.over_queries(tiles, 1, self.n_train, "sum")
        return scores / len(queries) if reduce == "mean" else scores

    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        self.rows_of("self_influence")
        scores = np.sum([one.scores for one in self.diagnostics(None)], axis=0)
        attribution.check_no_nan(scores)
        return scores if rows is None else scores[rows]

    def suspicion(self, self_influence: Array) -> Array:
        return self_influence


def _sketched_names():
    """Of the estimators that a sketch reads: no kinks, and no outputs tied together."""
    names = sorted(cls.__name__ for cls in registered())
    return ", ".join(name for name in names if not name.startswith(("MultiTask", "Quantile")))


def _error_of_sum(every, rows):
    """Standard error of leverages added up over problems, which share their sketches."""
    if len(every) == 1:
        return every[0].leverage_std
    # To first order a correction stretches a sketch as it stretches their mean.
    stretched = sum(
        own.leverages
        * np.divide(
            one.leverage,
            one.sketched_leverage,
            out=np.ones_like(one.leverage),
            where=one.sketched_leverage != 0,
        )
        for one, own in zip(every, rows, strict=True)
    )
    return stretched.std(axis=0, ddof=1) / np.sqrt(len(stretched))


def _check_size(model, sketcher: Sketcher):
    for number, fixed in enumerate(sketcher.fixed):
        size = (sketcher.of(number).n_components + fixed.has_intercept) * fixed.n_outputs
        if size > MOST_PARAMETERS:
            raise ValueError(
                f"{type(model).__name__} with {fixed.n_outputs} outputs and "
                f"{sketcher.of(number).n_components} components has {size} parameters in its "
                f"sketch, and their Hessian is held: {MOST_PARAMETERS} is the most. Lower "
                "n_components, or fit one class against the rest (OneVsRestClassifier)."
            )

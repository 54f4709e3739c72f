"""Influence on a fitted model whose deletions are exact.

The engine knows no model: an :class:`~skinfluence.deletion.closed.base.ExactModel` says what the
outputs are with and without a row, a :class:`~skinfluence.deletion.closed.base.Family` how the
estimator itself says so. A new family, registered, answers every question here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_consistent_length, validate_data

from skinfluence import _loops, attribution
from skinfluence._compat import check_weights
from skinfluence._output import few
from skinfluence._peel import peel, to_model_space
from skinfluence._warn import warn
from skinfluence.attribution import Block
from skinfluence.deletion.closed import families
from skinfluence.deletion.closed.base import TrainingRows, difference, takes_weights
from skinfluence.deletion.closed.deletion import ExactDeletion, ExactQueries, values_of
from skinfluence.deletion.closed.refits import Refits
from skinfluence.engines.base import Array, DeletionEngine, Positions, Whole, check_columns
from skinfluence.engines.exact.labels import ExactLabels
from skinfluence.engines.exact.options import check_answers, check_exact_options
from skinfluence.engines.exact.perturbation import perturbation
from skinfluence.engines.exact.reading import agreed_model, nameless
from skinfluence.engines.exact.replacement import new_rows, score_replacement
from skinfluence.engines.exact.slopes import slope_of
from skinfluence.engines.exact.truth import exact_agreement
from skinfluence.engines.exact.values import asked_of, value_of
from skinfluence.engines.labels import Labels
from skinfluence.engines.linear.classes import check_classes, classes_of_rows, loses_a_class
from skinfluence.engines.linear.trust import LOOSE
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from skinfluence.metrics import Agreement


class ExactEngine(DeletionEngine):
    """Deletion of rows of a model by a closed form, or by fitting it again.

    Parameters
    ----------
    model : estimator
        Fitted.
    rows : TrainingRows
    settings : SimpleNamespace
    """

    embeds = False

    def __init__(self, model: Any, rows: TrainingRows, settings: SimpleNamespace):
        model = nameless(model)
        self.model, self.rows, self.settings = model, rows, settings
        self.y, self.n_train = rows.y, rows.n
        self.family = families.family_of(model).asked(settings)
        self.head = self.family.head(model)
        check_answers(model, self.head, settings.target)
        self.value = value_of(self.head, settings.target)
        self.refits = Refits(self.family, model, rows)
        self.exact, deviation = agreed_model(self.family, model, rows, settings, self.refits)
        self.method = self.exact.method
        self.stationarity = self.exact.stationarity or (deviation, 0.0)
        if deviation > max(LOOSE, self.family.same):
            warn(
                f"{type(model).__name__} is not where its own iteration comes to rest on these "
                f"rows: its answers differ by {deviation:.1e}, relatively. Scores belong to where "
                "it does. Pass the rows it was fitted on, or refit with a smaller tol.",
                NotStationaryWarning,
            )
        target = settings.target
        self.score_unit = "target" if callable(target) else target
        self.class_of_row = classes_of_rows(self.head.classes, rows.y, rows.ones())
        self.deletion = ExactDeletion(
            self.exact,
            self.value,
            self._queries(rows.X, rows.y),
            slope_of(self.exact, self.head, target),
        )

    # -- fitting ----------------------------------------------------------------------------------

    @classmethod
    def refine_tags(cls, tags: Any, model: Any) -> None:
        family = families.find_family(model)
        tags.input_tags.sparse &= family is not None and family.sparse

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        family = families.family_of(model)
        family.check(model)
        check_exact_options(model, family, settings)

    @classmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Any:
        family = families.family_of(peel(owner.estimator_)[1])
        accepted = "csr" if family.sparse else False
        if heads:
            return to_model_space(heads, X, accept_sparse=accepted)
        check: dict[str, Any] = {"dtype": np.float64, "accept_sparse": accepted, "copy": reset}
        if not reset:
            return validate_data(owner, X, reset=False, **check)
        rows = validate_data(owner, X, ensure_min_samples=2, **check)
        check_columns(owner)
        return rows

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
        weights = check_weights(sample_weight, rows)
        if weights is not None and not takes_weights(model):
            raise ValueError(
                f"sample_weight was passed, and {type(model).__name__} has no weights. Leave "
                "sample_weight=None."
            )
        if not families.family_of(model).supervised:
            return cls(model, TrainingRows(rows, None, weights), settings)
        check_consistent_length(rows, y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 and hasattr(model, "classes_") else y
        check_classes(model, y)
        return cls(model, TrainingRows(rows, y, weights), settings)

    def attributes(self) -> dict[str, Any]:
        found = {"method_": self.method, "score_unit_": self.score_unit}
        return {**found, "stationarity_": self.stationarity, "n_iter_": self.n_iter}

    def report(self) -> dict[str, Any]:
        return {**self.deletion.report(), "stationarity": self.stationarity}

    # -- queries ----------------------------------------------------------------------------------

    def queries(self, rows: Any, y: Any) -> Any:
        if rows is None:
            raise ValueError(
                "X is None, which asks about parameters, and the target is a value of queries. "
                "Pass queries."
            )
        if y is not None and self.family.supervised:
            check_consistent_length(rows, y)
        return self._queries(rows, y)

    def _queries(self, X, y):
        settings = self.settings
        asked = asked_of(
            self.head, settings.target, settings.output, y, lambda: self.exact.outputs(X)
        )
        return ExactQueries(X, values_of(self.exact.outputs, X, asked, self.value), asked)

    # -- scores -----------------------------------------------------------------------------------

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        yield from attribution.blocks(
            self.deletion, queries, n_jobs=n_jobs, progress=progress, desc=desc
        )
        self._warn_of_rows()

    def _warn_of_rows(self):
        alone = self.deletion.report()["flagged_rows"]
        if len(alone):
            warn(
                f"Without some rows ({len(alone)} of {self.n_train}: {few(alone)}) "
                f"{type(self.model).__name__} {self.exact.flaw}",
                DegenerateDeletionWarning,
            )

    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        scores = self._own_changes(rows, n_jobs=n_jobs, progress=progress)
        attribution.check_no_nan(scores)
        self._warn_of_rows()
        return scores

    def _own_changes(self, rows, *, n_jobs=None, progress=False):
        deletion = self.deletion
        at = np.arange(self.n_train) if rows is None else rows
        slices = _loops.slices(len(at), deletion.row_block)
        changes = _loops.in_threads(
            lambda part: deletion.self_change_at(at[part]),
            slices,
            n_jobs=n_jobs,
            one_thread=deletion.one_blas_thread,
        )
        bar = _loops.progress_bar(
            changes, total=len(slices), enabled=progress, desc="self_influence"
        )
        return np.concatenate([np.zeros(0), *bar])

    # -- groups -----------------------------------------------------------------------------------

    def nothing_left(self, rows: Positions) -> bool:
        left = self.rows.ones().copy()
        left[rows] = 0.0
        return not left.any() or loses_a_class(self.class_of_row, rows)

    def score_groups(
        self, queries: Any, names: Any, members: Sequence[Positions], *, progress: bool
    ) -> Array:
        bar = _loops.progress_bar(
            members, total=len(members), enabled=progress, desc="score_groups"
        )
        if queries is None:
            own = self.deletion.train
            scores = np.array([self._group_change(own[rows], rows).sum() for rows in bar])
        else:
            scores = np.stack([self._group_change(queries, rows) for rows in bar], axis=1)
        attribution.check_no_nan(scores)
        return scores

    def _group_change(self, queries, rows):
        if not len(rows):
            return np.zeros(queries.shape[0])
        outputs = self.exact.without_group(queries.X, rows)
        if outputs is not None:
            return self.deletion.moved(queries, outputs[:, None])[:, 0]
        after = self.refit_value(queries, np.delete(np.arange(self.n_train), rows))
        return difference(after, queries.before)

    def refit_value(self, queries: ExactQueries, kept: Positions) -> Array:
        """Value at each query of the estimator fitted to the rows `kept`."""
        fitted = self.refits.fit(kept)
        return values_of(
            lambda X: self.refits.outputs_of(fitted, X), queries.X, queries.asked, self.value
        )

    # -- other values of training rows ------------------------------------------------------------

    def score_replacement(
        self, queries: ExactQueries, rows: Positions, new: Any, new_y: Any
    ) -> Array:
        return score_replacement(self, queries, new_rows(self, rows, new, new_y))

    def perturbation(
        self, queries: ExactQueries, rows: Positions, features: Positions | None = None
    ) -> Array:
        return perturbation(self, queries, rows, features)

    # -- what there is only with parameters -------------------------------------------------------

    def _without(self, question: str) -> UnsupportedEstimatorError:
        return UnsupportedEstimatorError(
            f"{question} is about parameters and derivatives, and {type(self.model).__name__} is "
            "followed by what it answers without each row. Use score_influence, self_influence "
            "or score_groups."
        )

    def d_params(self) -> Array:
        raise self._without("d_params")

    def embed(self, rows: Any) -> Array:
        raise self._without("transform")

    def train_embedding(self, out: Any = None) -> Any:
        raise self._without("train_embedding")

    def embedding_width(self) -> int:
        raise self._without("transform")

    def diagnostics(self, row_labels: Any) -> list[Any]:
        raise self._without("diagnostics")

    # -- truth ------------------------------------------------------------------------------------

    def labels(self, rows: Any, retrain: Callable[[Positions], Any] | None) -> Labels:
        if self.head.classes is None:
            raise self.no_labels()
        self._refuse_retrain(retrain)
        return ExactLabels(self, rows)

    def leverage(self) -> Array:
        return np.nan_to_num(np.abs(self._own_changes(None)))

    @property
    def searches(self) -> bool:
        return self.family.searches(self.model)

    def agreement(
        self,
        queries: Any,
        query_rows: Any,
        rows: Positions,
        *,
        whole: Whole | None,
        retrain: Callable[[Positions], Any] | None = None,
    ) -> Agreement:
        self._refuse_retrain(retrain)
        return exact_agreement(self, queries, rows, whole)


class ExactDensityEngine(ExactEngine):
    """The same for models that have no targets."""

    @classmethod
    def refine_tags(cls, tags: Any, model: Any) -> None:
        super().refine_tags(tags, model)
        tags.target_tags.required = False

    @classmethod
    def needs_y(cls, X: Any, settings: SimpleNamespace) -> bool:
        return False


def exact_engine_of(model: Any) -> type[ExactEngine] | None:
    """The engine of `model`, fitted or not; None where its deletions are not exact."""
    family = families.find_family(model)
    if family is None:
        return None
    return ExactEngine if family.supervised else ExactDensityEngine

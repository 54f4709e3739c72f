"""Influence on a fitted linear model: reading, polishing, queries, scores, trust."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_consistent_length, validate_data

from skinfluence import _loops, attribution
from skinfluence._compat import check_weights
from skinfluence._peel import to_model_space
from skinfluence.attribution import Block
from skinfluence.deletion.linear.coefficients import all_coefficients
from skinfluence.deletion.linear.deletion import LinearDeletion
from skinfluence.deletion.linear.fit import fitted_parts
from skinfluence.diagnostics import Diagnostics
from skinfluence.engines.base import Array, DeletionEngine, Positions, Whole, check_columns
from skinfluence.engines.labels import Labels
from skinfluence.engines.linear import changes, embedding, trust
from skinfluence.engines.linear.classes import (
    check_classes,
    classes_of_rows,
    last_of_their_class,
    loses_a_class,
)
from skinfluence.engines.linear.labels import LinearLabels
from skinfluence.engines.linear.options import (
    check_linear_options,
    check_target,
    given_iteration,
)
from skinfluence.engines.linear.queries import make_queries, make_target
from skinfluence.engines.linear.refits import linear_agreement
from skinfluence.metrics import Agreement
from skinfluence.objectives import Rows, reader_of
from skinfluence.objectives.search import CHOSEN

# What estimators take, and so what rows in model space may be.
_ROWS: dict[str, Any] = {"dtype": np.float64, "accept_sparse": "csr"}


class LinearEngine(DeletionEngine):
    """Deletion of rows of a linear model, read off the fitted estimator.

    Parameters
    ----------
    model : estimator
        Fitted.
    X : ndarray or sparse array of shape (n_train, p)
        In model space.
    y : ndarray of shape (n_train,) or (n_train, n_outputs)
    weights : ndarray of shape (n_train,) or None
    settings : SimpleNamespace
    feature_names : sequence of str
    """

    def __init__(
        self,
        model: Any,
        X: Any,
        y: Any,
        weights: Any,
        settings: SimpleNamespace,
        feature_names: Sequence[str],
    ):
        self.model, self.X, self.y, self.sample_weight = model, X, y, weights
        self.settings, self.feature_names = settings, feature_names
        self.n_train = X.shape[0]
        self.about_parameters = _names_parameters(settings.target)
        weights = np.ones(self.n_train) if weights is None else weights
        self._read(weights)
        self._take_parts()
        self.score_unit = _unit(settings)
        self.class_of_row = classes_of_rows(self.linear_fit.classes, y, weights)
        self._notes.last_of_class.update(last_of_their_class(self.class_of_row))
        self.deletion = LinearDeletion(
            self.parts,
            self.target,
            None if self.target is None else self._queries(None, y),
            n_train=self.n_train,
            method=self.method,
            relative=settings.relative,
            notes=self._notes,
        )

    # -- fitting ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        reader_of(model).check(model)
        check_target(settings.target)
        check_linear_options(model, settings)

    @classmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Any:
        if heads:
            return to_model_space(heads, X, accept_sparse="csr")
        # No copy: the rows are copied into coordinates of their own.
        if not reset:
            return validate_data(owner, X, reset=False, **_ROWS)
        rows = validate_data(owner, X, ensure_min_samples=2, **_ROWS)
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
        check_consistent_length(rows, y)
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        check_classes(model, y)
        return cls(model, rows, y, weights, settings, feature_names or [])

    def _read(self, weights):
        """What the model minimised, and what is asked of it."""
        settings = self.settings
        rows = Rows(self.X, self.y, weights, settings.smoothing)
        self.linear_fit = reader_of(self.model).read(self.model, rows)
        self.target = make_target(self.linear_fit, settings.target, self.model)
        if self.linear_fit.linear_programme and settings.relative is not None:
            raise ValueError(
                f"relative={settings.relative!r} divides by first-order sizes, and the exact "
                "deletions of a quantile regression have none. Set relative=None, or smoothing."
            )

    def _take_parts(self):
        """Its parts at their minima, or a refusal or warning where there are none; their names."""
        settings = self.settings
        fitted = fitted_parts(
            self.linear_fit,
            self.X,
            method=settings.method,
            expected=settings.hessian == "expected",
            fixed_class_weights=settings.class_weights == "fixed",
            solver=settings.solver,
            smooth=_asks_for_derivatives(settings),
            **given_iteration(settings),
        )
        self.parts, self._notes = fitted.parts, fitted.notes
        self.method, self.stationarity = fitted.method, fitted.stationarity
        self.n_iter = max(1, fitted.n_iter)
        if self.method == "exact":
            self.target = make_target(self.linear_fit.raw, settings.target, self.model)
        trust.refuse_far_averages(self.model, fitted.stationarity[0])
        trust.warn_if_loose(self.model, fitted)
        trust.warn_if_blurred(fitted, self.X)
        self._coefficients, names = all_coefficients(
            fitted.parts, self.feature_names, self.linear_fit.classes
        )
        self.param_names = np.asarray([":".join(filter(None, pair)) for pair in names])
        self._coefficient_names = np.asarray([name for _, name in names])

    def report(self) -> dict[str, Any]:
        return {**self.deletion.report(), "stationarity": self.stationarity}

    # -- queries ----------------------------------------------------------------------------------

    def queries(self, rows: Any, y: Any) -> Any:
        if self.about_parameters:
            return self._wanted_coefficients(rows)
        if rows is None:
            raise ValueError(
                "X is None, which asks about parameters, and the target is a value of queries. "
                "Pass queries, or fit with target='params'."
            )
        if y is not None:
            check_consistent_length(rows, y)
        return self._queries(rows, y)

    def _queries(self, rows, y):
        asked = {"target": self.settings.target, "output": self.settings.output}
        return make_queries(self.model, self.linear_fit, self.parts, rows, y, **asked)

    def _wanted_coefficients(self, rows):
        if rows is not None:
            raise ValueError(
                f"target={self.settings.target!r} is about the fitted parameters, not about "
                "queries. Pass X=None: score_influence(None)."
            )
        return self._coefficients[self._selected_coefficients()]

    def _selected_coefficients(self):
        target = self.settings.target
        if target == "params":
            return np.arange(len(self.param_names))
        name = target.removeprefix("coef:")
        found = np.flatnonzero((self._coefficient_names == name) | (self.param_names == name))
        if not found.size:
            names = ", ".join(self.param_names[:8])
            more = ", ..." if len(self.param_names) > 8 else ""
            raise ValueError(f"target={target!r} names no parameter. There are {names}{more}.")
        return found

    def query_names(self) -> Any:
        return self.param_names[self._selected_coefficients()] if self.about_parameters else None

    # -- scores -----------------------------------------------------------------------------------

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        yield from attribution.blocks(
            self.deletion, queries, n_jobs=n_jobs, progress=progress, desc=desc
        )
        self._warn_of_rows()

    def _warn_of_rows(self):
        trust.warn_of_rows(self.deletion.report()["flagged_rows"], self.n_train)
        self._warn_if_unsolved()

    def _warn_if_unsolved(self):
        reports = [part.report() for part in self.parts if part.iterates]
        trust.warn_if_unsolved(reports, self.settings.tol)

    def over_queries(
        self, queries: Any, reduce: str, *, n_jobs: int | None, progress: bool
    ) -> Array:
        if self.method != "first_order" or self.settings.relative or self.about_parameters:
            return super().over_queries(queries, reduce, n_jobs=n_jobs, progress=progress)
        total = self.deletion.over_queries(queries)
        self._warn_if_unsolved()
        return total / queries.shape[0] if reduce == "mean" else total

    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        if self.about_parameters:
            raise ValueError(
                f"target={self.settings.target!r} has no value at a row, so rows have no self "
                "influence. Use d_params() for what each row does to the parameters, or "
                "target='loss'."
            )
        deletion = self.deletion
        at = np.arange(self.n_train) if rows is None else rows
        slices = _loops.slices(len(at), deletion.move_block // _loops.n_workers(n_jobs))
        changes = _loops.in_threads(
            lambda part: deletion.self_change_at(at[part]),
            slices,
            n_jobs=n_jobs,
            one_thread=deletion.one_blas_thread,
        )
        bar = _loops.progress_bar(
            changes, total=len(slices), enabled=progress, desc="self_influence"
        )
        scores = np.concatenate([np.zeros(0), *bar])
        attribution.check_no_nan(scores)
        self._warn_of_rows()
        return scores

    def d_params(self) -> Array:
        out = np.empty((self.n_train, len(self.param_names)))
        for rows in _loops.slices(self.n_train, self.deletion.move_block):
            moved = self.deletion.change(self._coefficients, self.deletion.delete(rows))
            out[rows] = -moved.T
        self._warn_of_rows()
        return out

    # -- groups -----------------------------------------------------------------------------------

    def nothing_left(self, rows: Positions) -> bool:
        return self.deletion.nothing_left(rows) or loses_a_class(self.class_of_row, rows)

    def score_groups(
        self, queries: Any, names: Any, members: Sequence[Positions], *, progress: bool
    ) -> Array:
        if queries is None:
            scores = np.array([self.deletion.group_self_change(rows) for rows in members])
        else:
            bar = _loops.progress_bar(
                members, total=len(members), enabled=progress, desc="score_groups"
            )
            scores = np.stack([self.deletion.group_change(queries, rows) for rows in bar], axis=1)
            attribution.check_no_nan(scores)
        pairs = zip(names, members, strict=True)
        failed = self._notes.failed_groups
        lost = [str(name) for name, rows in pairs if rows.tobytes() in failed]
        trust.warn_of_groups(lost, len(members))
        self._warn_if_unsolved()
        return scores

    # -- other values of training rows ------------------------------------------------------------

    def perturbation(
        self, queries: Any, rows: Positions, features: Positions | None = None
    ) -> Array:
        return changes.perturbation(self, queries, rows, features)

    def score_replacement(self, queries: Any, rows: Positions, new: Any, new_y: Any) -> Array:
        return changes.score_replacement(self, queries, rows, new, new_y)

    def mean_replacement(self, queries: Any, rows: Positions, news: Iterable[Any]) -> list[Array]:
        each = super().mean_replacement
        if self.method != "first_order":
            return each(queries, rows, news)
        return changes.mean_replacement(self, queries, rows, news, each)

    # -- embedding --------------------------------------------------------------------------------

    def embed(self, rows: Any) -> Array:
        return embedding.embed(self, rows)

    def train_embedding(self, out: Any = None) -> Any:
        found = embedding.train_embedding(self)
        if out is None:
            return found
        out[:] = found
        return out

    def embedding_width(self) -> int:
        return embedding.width(self)

    # -- diagnostics and truth --------------------------------------------------------------------

    def diagnostics(self, row_labels: Any) -> list[Any]:
        return [self._diagnostics_of(part, row_labels) for part in self.parts]

    def _diagnostics_of(self, part, row_labels):
        names = list(self.feature_names)
        if part.problem.intercept is not None:
            names.append("intercept")
        several = part.problem.loss.n_outputs > 1
        return Diagnostics(
            part.objective,
            part.theta,
            expected=self.settings.hessian == "expected",
            param_names=names,
            row_labels=row_labels,
            class_names=self.linear_fit.classes if several else None,
        )

    def labels(self, rows: Any, retrain: Callable[[Positions], Any] | None) -> Labels:
        if self.linear_fit.classes is None:
            raise self.no_labels()
        self._refuse_retrain(retrain)
        return LinearLabels(self, rows)

    def leverage(self) -> Array:
        return self.deletion.leverage()

    @property
    def searches(self) -> bool:
        return isinstance(self.model, tuple(CHOSEN))

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
        return linear_agreement(self, queries, query_rows, rows, whole)


def _names_parameters(target):
    return isinstance(target, str) and (target == "params" or target.startswith("coef:"))


def _asks_for_derivatives(settings):
    """Whether an option means something only where there is a Hessian."""
    return bool(settings.smoothing or settings.relative or settings.solver != "auto")


def _unit(settings):
    target, relative = settings.target, settings.relative
    unit = "target" if callable(target) else "parameter" if _names_parameters(target) else target
    return unit if relative is None else f"{unit} a unit of change of the {relative}"

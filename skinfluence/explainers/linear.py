"""The machinery behind InfluenceExplainer: reading, polishing, queries, trust."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
from sklearn.base import MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from skinfluence import _loops, attribution
from skinfluence._compat import check_weights
from skinfluence._output import row_labels
from skinfluence._peel import peel, target_to_model_space
from skinfluence.base import BaseInfluence
from skinfluence.deletion.linear.coefficients import all_coefficients
from skinfluence.deletion.linear.deletion import LinearDeletion
from skinfluence.deletion.linear.fit import fitted_parts
from skinfluence.deletion.linear.targets import Target
from skinfluence.diagnostics import Diagnostics
from skinfluence.exceptions import DegenerateDeletionWarning
from skinfluence.explainers import linear_trust as trust
from skinfluence.explainers.linear_queries import make_queries, make_target
from skinfluence.objectives import Rows, reader_of
from skinfluence.objectives.encoding import class_positions

TARGETS = ("loss", "decision_function", "proba", "params")


class LinearInfluence(MetaEstimatorMixin, BaseInfluence):
    """Shared ground of explainers of linear models; the public methods are in its subclass."""

    _accept_sparse = "csr"
    method: Any
    target: Any
    output: Any
    hessian: Any
    class_weights: Any
    relative: Any
    smoothing: Any
    solver: Any

    # -- fitting ----------------------------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        inner = get_tags(self.estimator).input_tags
        for name in ("sparse", "allow_nan", "pairwise", "positive_only", "categorical", "string"):
            setattr(tags.input_tags, name, getattr(inner, name))
        return tags

    def get_metadata_routing(self) -> MetadataRouter:
        """Route ``sample_weight`` to this explainer and to its estimator.

        Returns
        -------
        routing : MetadataRouter
            Routing of ``fit``.
        """
        mapping = MethodMapping().add(caller="fit", callee="fit")
        router = MetadataRouter(owner=self).add_self_request(self)
        return router.add(estimator=self.estimator, method_mapping=mapping)

    def _default_estimator(self):
        raise ValueError(
            "estimator is None, and InfluenceExplainer explains a model of yours. Pass one, "
            "fitted or not, e.g. InfluenceExplainer(LogisticRegression())."
        )

    def _check_model(self, model):
        reader_of(model).check(model)
        known = callable(self.target) or self.target in TARGETS
        if not known and not self.target.startswith("coef:"):
            raise ValueError(
                f"target={self.target!r} is none of 'loss', 'decision_function', 'proba', "
                "'params' and 'coef:NAME'. Name one of them, or pass a function of the outputs."
            )

    def _rows_before_fit(self, X):
        return X  # the estimator has its own view of X, and its own messages

    def _rows_after_fit(self, X):
        rows = validate_data(self, X, **self._validation(), ensure_min_samples=2)
        theirs = getattr(self.estimator_, "feature_names_in_", None)
        ours = getattr(self, "feature_names_in_", None)
        if theirs is not None and ours is not None and list(theirs) != list(ours):
            raise ValueError(
                f"The columns of X are {_few(ours)}, and {type(self.estimator_).__name__} was "
                f"fitted on {_few(theirs)}. Pass the rows it was fitted on, their columns in the "
                "same order."
            )
        return rows

    def _validation(self):
        # No copy: the rows are copied into coordinates of their own.
        return {"dtype": np.float64, "accept_sparse": self._accept_sparse}

    def _fit(self, X, y=None, sample_weight=None):
        # A search around the model would report that all its fits failed.
        if y is None:
            if self.estimator is not None and not isinstance(self.estimator, type):
                self._check_model(peel(self.estimator)[1])
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pass "
                "the targets that the estimator was fitted on."
            )
        return super()._fit(X, y, sample_weight)

    def _explain(self, model, rows, y, sample_weight):
        weights = check_weights(sample_weight, rows)
        weights = np.ones(rows.shape[0]) if weights is None else weights
        self._sample_weight = None if sample_weight is None else weights
        # A copy: refits look at the targets again, whatever the user does to them.
        y = np.array(y)
        self._raw_targets = y
        self._fit_X = rows
        self._train_y = self._training_targets(rows, y)
        self._model = model
        # As asked at fit: parameters set afterwards count from the next fit on.
        self._asked = (self.target, self.output)
        self._temperature = self.smoothing
        self._check_classes()
        self._read(weights)
        self._take_parts()
        self._count_classes(weights)
        self._deletion = LinearDeletion(
            self._parts,
            self._target,
            None if self._target is None else self._make_queries(None, self._train_y),
            n_train=rows.shape[0],
            method=self.method_,
            relative=self.relative,
            notes=self._notes,
        )
        self.score_unit_ = self._unit()

    def _read(self, weights):
        """What the model minimised, and what is asked of it."""
        rows = Rows(self._fit_X, self._train_y, weights, self.smoothing)
        self._linear_fit = reader_of(self._model).read(self._model, rows)
        self._target: Target | None = make_target(self._linear_fit, self.target, self._model)
        if self._linear_fit.linear_programme and self.relative is not None:
            raise ValueError(
                f"relative={self.relative!r} divides by first-order sizes, and the exact "
                "deletions of a quantile regression have none. Set relative=None, or smoothing."
            )

    def _take_parts(self):
        """Its parts at their minima, or a refusal or warning where there are none; their names."""
        fitted = fitted_parts(
            self._linear_fit,
            self._fit_X,
            method=self.method,
            expected=self.hessian == "expected",
            fixed_class_weights=self.class_weights == "fixed",
            solver=self.solver,
        )
        self._parts, self._notes = fitted.parts, fitted.notes
        self.method_, self.stationarity_ = fitted.method, fitted.stationarity
        trust.refuse_far_averages(self._model, fitted.stationarity[0])
        trust.warn_if_loose(self._model, fitted)
        trust.warn_if_blurred(fitted, self._fit_X)
        self._feature_columns = self._column_names(self._fit_X)
        self._coefficients, names = all_coefficients(
            fitted.parts, self._feature_columns, self._linear_fit.classes
        )
        self.param_names_ = np.asarray([":".join(filter(None, pair)) for pair in names])
        self._coefficient_names = np.asarray([name for _, name in names])

    def _check_classes(self):
        classes = getattr(self._model, "classes_", None)
        if not isinstance(classes, np.ndarray) or self._train_y.ndim > 1:
            return
        missing = classes[
            np.bincount(class_positions(self._train_y, classes), minlength=len(classes)) == 0
        ]
        if len(missing):
            raise ValueError(
                f"y holds no row of {_few(missing)}, which {type(self._model).__name__} was "
                "fitted on, so these rows did not train it. Pass all rows it was fitted on."
            )

    def _count_classes(self, weights):
        """Class of each row that carries weight, -1 for others; which rows are a class alone."""
        classes = self._linear_fit.classes
        self._class_of_row = np.full(len(weights), -1, dtype=np.intp)
        if classes is None:
            return
        held = np.flatnonzero(weights)
        self._class_of_row[held] = class_positions(self._train_y[held], classes)
        counts = np.bincount(self._class_of_row[held], minlength=len(classes))
        alone = held[counts[self._class_of_row[held]] == 1]
        self._notes.last_of_class.update(alone.tolist())

    def _training_targets(self, rows, y):
        y = target_to_model_space(self.estimator_, np.asarray(y))
        check_consistent_length(rows, y)
        return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y

    def _column_names(self, rows):
        for source in (*reversed(self._heads), self):
            with contextlib.suppress(AttributeError, ValueError, NotFittedError):
                names = source.get_feature_names_out() if source is not self else None
                names = self.feature_names_in_ if names is None else names
                if len(names) == rows.shape[1]:
                    return [str(name) for name in names]
        return [f"x{j}" for j in range(rows.shape[1])]

    def _unit(self):
        unit = "loss" if self.target == "loss" else "target" if callable(self.target) else None
        unit = unit or {"params": "parameter"}.get(self.target, self.target)
        unit = "parameter" if unit.startswith("coef:") else unit
        return unit if self.relative is None else f"{unit} a unit of change of the {self.relative}"

    # -- queries ----------------------------------------------------------------------------------

    def _queries(self, X, y=None):
        check_is_fitted(self)
        if self._target is None:
            return self._wanted_coefficients(X)
        if y is not None:
            y = target_to_model_space(self.estimator_, np.asarray(y))
        if X is None:
            raise ValueError(
                "X is None, which asks about parameters, and the target is a value of queries. "
                "Pass queries, or fit with target='params'."
            )
        X = self._model_rows(X)
        if y is not None:
            check_consistent_length(X, y)
        return self._make_queries(X, y)

    def _make_queries(self, X, y):
        return make_queries(
            self._model,
            self._linear_fit,
            self._parts,
            X,
            y,
            target=self._asked[0],
            output=self._asked[1],
        )

    def _wanted_coefficients(self, X):
        if X is not None:
            raise ValueError(
                f"target={self._asked[0]!r} is about the fitted parameters, not about queries. "
                "Pass X=None: score_influence(None)."
            )
        return self._coefficients[self._selected_coefficients()]

    def _selected_coefficients(self):
        if self._asked[0] == "params":
            return np.arange(len(self.param_names_))
        name = self._asked[0].removeprefix("coef:")
        found = np.flatnonzero((self._coefficient_names == name) | (self.param_names_ == name))
        if not found.size:
            names = ", ".join(self.param_names_[:8])
            more = ", ..." if len(self.param_names_) > 8 else ""
            raise ValueError(
                f"target={self._asked[0]!r} names no parameter. There are {names}{more}."
            )
        return found

    def _labels_and_queries(self, X, y=None):
        queries = self._queries(X, y)
        if self._target is None:
            return self.param_names_[self._selected_coefficients()], queries
        return row_labels(X, queries.shape[0]), queries

    # -- influence --------------------------------------------------------------------------------

    def _tiles(self, queries, desc):
        yield from attribution.blocks(
            self._deletion, queries, n_jobs=self.n_jobs, progress=self.progress, desc=desc
        )
        self._warn_of_rows()

    def _warn_of_rows(self):
        rows = self._deletion.report()["flagged_rows"]
        if not len(rows):
            return
        warnings.warn(
            f"The model is not determined without some rows ({len(rows)} of "
            f"{self.n_samples_fit_}: {_few(rows)}): nothing else holds one of its parameters "
            "or has their label, or what is left can be separated. Their scores are those of the "
            "solution nearest to the fit, or of where the search for one ended. Add a penalty, "
            "or read them as a sign of rows that stand alone.",
            DegenerateDeletionWarning,
            stacklevel=4,
        )

    def _suspicion(self):
        # Of an output either sign says that the row is held by itself.
        own = self._self_influence()
        return own if self._asked[0] == "loss" else np.abs(own)

    def _self_influence(self, rows=None):
        if self._target is None:
            raise ValueError(
                f"target={self._asked[0]!r} has no value at a row, so rows have no self "
                "influence. Use d_params() for what each row does to the parameters, or "
                "target='loss'."
            )
        deletion = self._deletion
        rows = np.arange(deletion.n_train) if rows is None else rows
        size = deletion.move_block // _loops.n_workers(self.n_jobs)
        slices = _loops.slices(len(rows), size)
        changes = _loops.in_threads(
            lambda part: deletion.self_change_at(rows[part]),
            slices,
            n_jobs=self.n_jobs,
            one_thread=deletion.one_blas_thread,
        )
        bar = _loops.progress_bar(
            changes, total=len(slices), enabled=self.progress, desc="self_influence"
        )
        scores = np.concatenate([np.zeros(0), *bar])
        attribution.check_no_nan(scores)
        self._warn_of_rows()
        return scores

    def _report(self):
        return {**self._deletion.report(), "stationarity": self.stationarity_}

    def _check_groups(self, names, members):
        for name, rows in zip(names, members, strict=True):
            if len(np.unique(rows)) < len(rows):
                raise ValueError(
                    "A group names a training row twice, and a row can be deleted only once. Pass "
                    "np.unique of its positions."
                )
            if self._deletion.nothing_left(rows) or self._loses_a_class(rows):
                raise ValueError(
                    f"Group {name} of {len(rows)} rows holds all that carry weight, or all of a "
                    "class, and without it there is no model. Leave some of them out of it."
                )

    def _loses_a_class(self, rows):
        left = np.delete(self._class_of_row, rows)
        return len(np.unique(left[left >= 0])) < len(
            np.unique(self._class_of_row[self._class_of_row >= 0])
        )

    def _warn_of_groups(self, names, members):
        lost = [
            str(name)
            for name, rows in zip(names, members, strict=True)
            if rows.tobytes() in self._notes.failed_groups
        ]
        if lost:
            warnings.warn(
                f"Without some groups ({len(lost)} of {len(members)}: {_few(lost)}) no minimum "
                "was found: what is left can be separated, or does not determine the model. "
                "Their scores are those of where the search ended. Add a penalty, or use "
                "method='newton'.",
                DegenerateDeletionWarning,
                stacklevel=3,
            )

    def _over_queries(self, queries, reduce):
        if self.method_ != "first_order" or self.relative or self._target is None:
            return super()._over_queries(queries, reduce)
        total = self._deletion.over_queries(queries)
        return total / queries.shape[0] if reduce == "mean" else total

    def _diagnostics_of(self, part):
        names = list(self._feature_columns)
        if part.problem.intercept is not None:
            names.append("intercept")
        several = part.problem.loss.n_outputs > 1
        return Diagnostics(
            part.objective,
            part.theta,
            expected=self.hessian == "expected",
            param_names=names,
            row_labels=self.train_index_,
            class_names=self._linear_fit.classes if several else None,
        )


def _few(names):
    return ", ".join(map(str, names[:5])) + (", ..." if len(names) > 5 else "")

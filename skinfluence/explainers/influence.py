"""Influence on supervised models that minimise a smooth objective."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import MetaEstimatorMixin, TransformerMixin
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data

from skinfluence import _loops, attribution
from skinfluence._compat import StrOptions, _fit_context, check_feature_names_in, check_weights
from skinfluence._output import labelled, row_labels
from skinfluence._peel import peel, target_to_model_space
from skinfluence.base import BaseInfluence
from skinfluence.deletion.linear.coefficients import Coefficients, all_coefficients
from skinfluence.deletion.linear.deletion import LinearDeletion
from skinfluence.deletion.linear.fit import fitted_parts
from skinfluence.deletion.linear.queries import Queries
from skinfluence.deletion.linear.targets import Loss, Output, probability, user_function
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.objectives import Rows, reader_of

# Relative gradient above which a fit is not what its objective says, or is far from it.
LOOSE = 3e-2
TARGETS = ("loss", "decision_function", "proba", "params")


class InfluenceExplainer(  # type: ignore[call-arg]  # scikit-learn's __init_subclass__ is untyped
    MetaEstimatorMixin, TransformerMixin, BaseInfluence, auto_wrap_output_keys=None
):
    """Influence of training rows on a fitted linear model: what deleting each would change.
    """

    _parameter_constraints: dict = {
        **BaseInfluence._parameter_constraints,
        "method": [StrOptions({"auto", "first_order", "newton", "refit"})],
        "target": [str, callable],
        "output": ["no_validation"],
        "hessian": [StrOptions({"observed", "expected"})],
        "class_weights": [StrOptions({"recompute", "fixed"})],
        "relative": [None, StrOptions({"parameters", "loss"})],
        "solver": [StrOptions({"auto", "dense", "cg"})],
    }
    _accept_sparse = "csr"

    def __init__(
        self,
        estimator: Any,
        *,
        method: Literal["auto", "first_order", "newton", "refit"] = "auto",
        target: str | Callable[..., Any] = "loss",
        output: Any = None,
        hessian: Literal["observed", "expected"] = "observed",
        class_weights: Literal["recompute", "fixed"] = "recompute",
        relative: Literal["parameters", "loss"] | None = None,
        solver: Literal["auto", "dense", "cg"] = "auto",
        n_jobs: int | None = None,
        progress: bool = False,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.estimator = estimator
        self.method = method
        self.target = target
        self.output = output
        self.hessian = hessian
        self.class_weights = class_weights
        self.relative = relative
        self.solver = solver
        self.n_jobs = n_jobs
        self.progress = progress
        self.random_state = random_state

    # -- fitting --------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(
        self, X: ArrayLike, y: Any = None, sample_weight: ArrayLike | None = None
    ) -> InfluenceExplainer:
        """Fit.
        """
        return self._fit(X, y, sample_weight)

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

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.transformer_tags.preserves_dtype = []
        inner = get_tags(self.estimator).input_tags
        for name in ("sparse", "allow_nan", "pairwise", "positive_only", "categorical", "string"):
            setattr(tags.input_tags, name, getattr(inner, name))
        return tags

    def _default_estimator(self):
        raise ValueError(
            "estimator is None, and InfluenceExplainer explains a model of yours. Pass one, "
            "fitted or not, e.g. InfluenceExplainer(LogisticRegression())."
        )

    def _check_model(self, model):
        reader_of(model).check(model)
        if isinstance(self.target, str) and self.target not in TARGETS:
            if not self.target.startswith("coef:"):
                raise ValueError(
                    f"target={self.target!r} is none of 'loss', 'decision_function', 'proba', "
                    "'params' and 'coef:NAME'. Name one of them, or pass a function of the outputs."
                )

    def _rows_before_fit(self, X):
        return X  # the estimator has its own view of X, and its own messages

    def _rows_after_fit(self, X):
        return validate_data(self, X, **self._validation(), ensure_min_samples=2)

    def _validation(self):
        # No copy: the rows are copied into coordinates of their own.
        return {"dtype": np.float64, "accept_sparse": self._accept_sparse}

    def _explain(self, model, rows, y, sample_weight):
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pass "
                "the targets that the estimator was fitted on."
            )
        y = target_to_model_space(self.estimator_, y)
        check_consistent_length(rows, y)
        weights = check_weights(sample_weight, rows)
        weights = np.ones(rows.shape[0]) if weights is None else weights
        reader = reader_of(model)
        self._check_features(model, rows)
        self._linear_fit = reader.read(model, Rows(rows, y, weights))
        self._model = model
        fitted = fitted_parts(
            self._linear_fit,
            rows,
            method=self._move_method(),
            expected=self.hessian == "expected",
            fixed_class_weights=self.class_weights == "fixed",
            solver=self.solver,
        )
        self._parts = fitted.parts
        self.method_ = self._settled_method(fitted.solver)
        self.stationarity_ = fitted.stationarity
        self._warn_if_loose(fitted)
        self._name_parameters(rows.shape[1])
        self._visible = visible_outputs(self._linear_fit)
        self.score_unit_ = self._unit()
        self._target = self._make_target()
        self._train = self._queries_of(rows, None if y is None else y)
        self._deletion = LinearDeletion(
            self._parts,
            self._target,
            self._train,
            method=self.method_,
            relative=self.relative,
            notes=fitted.notes,
        )

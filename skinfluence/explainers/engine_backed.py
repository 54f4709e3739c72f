"""From what the user hands over to an engine: what explainers of models do before they ask."""

from __future__ import annotations

import contextlib
from abc import abstractmethod
from types import SimpleNamespace
from typing import Any

from sklearn.base import MetaEstimatorMixin
from sklearn.exceptions import NotFittedError
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import MetadataRouter, MethodMapping
from sklearn.utils.validation import check_is_fitted

from skinfluence._output import row_labels
from skinfluence._peel import peel
from skinfluence._seen import is_module
from skinfluence.base import BaseInfluence
from skinfluence.engines import Engine

# Tags of the estimator inside that rule what the explainer takes.
_INPUT_TAGS = ("sparse", "allow_nan", "pairwise", "positive_only", "categorical", "string")


class EngineBacked(MetaEstimatorMixin, BaseInfluence):
    """Explainer that hands every question to the engine of its model.

    The engine is made by ``fit``, with the parameters as they are then; those set afterwards
    count from the next fit on, ``n_jobs`` and ``progress`` apart.
    """

    _engine: Engine
    _kind: type[Engine]
    # A call that makes one, for messages.
    _example: str

    @abstractmethod
    def _engine_of(self, model: Any) -> type[Engine]:
        """The engine that reads `model`, fitted or not."""

    # -- what scikit-learn asks -------------------------------------------------------------------

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        if is_module(self.estimator):  # has no tags, and may come with a Dataset that has targets
            return tags
        tags.target_tags.required = True
        inner = get_tags(self.estimator).input_tags
        for name in _INPUT_TAGS:
            setattr(tags.input_tags, name, getattr(inner, name))
        kind = self._engine_ahead()
        if kind is not None:
            kind.refine_tags(tags, peel(self.estimator)[1])
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

    def _engine_ahead(self) -> type[Engine] | None:
        """The engine of the estimator as it was passed; None where it has none."""
        if self.estimator is None or isinstance(self.estimator, type):
            return None
        try:
            return self._engine_of(peel(self.estimator)[1])
        except (ImportError, TypeError, ValueError):  # said by fit, with what to do
            return None

    # -- fitting ----------------------------------------------------------------------------------

    def _settings(self):
        parameters = self.get_params(deep=False)
        del parameters["estimator"]
        return SimpleNamespace(**parameters)

    def _default_estimator(self):
        raise ValueError(
            f"estimator is None, and {type(self).__name__} explains a model of yours. Pass one, "
            f"fitted or not, e.g. {self._example}."
        )

    def _check_model(self, model):
        self._engine_of(model).check(model, self._settings())

    def _fit(self, X, y=None, sample_weight=None):
        # A search around the model would report that all its fits failed.
        if y is None and self._lacks_y(X):
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None. Pass "
                "the targets that the estimator was fitted on."
            )
        return super()._fit(X, y, sample_weight)

    def _lacks_y(self, X):
        if self.estimator is None or isinstance(self.estimator, type):
            return self.estimator is None  # a class is refused by name
        model = peel(self.estimator)[1]
        self._check_model(model)
        return self._engine_of(model).needs_y(X, self._settings())

    def _rows_before_fit(self, X):
        return X  # the estimator has its own view of X, and its own messages

    def _training_rows(self, X):
        self._kind = self._engine_of(self._model)
        return self._kind.model_rows(self, self._heads, X, reset=True)

    def _explain(self, model, rows, y, sample_weight):
        for name in self._engine.attributes() if hasattr(self, "_engine") else ():
            self.__dict__.pop(name, None)  # another engine may have had others
        self._raw_targets = None if y is None else self._kind.kept_targets(y)
        self._fit_X = rows
        self._feature_columns = self._column_names(rows)
        if y is not None:
            y = self._kind.model_targets(self.estimator_, self._raw_targets)
        self._engine = self._kind.fit(
            model, rows, y, sample_weight, self._settings(), feature_names=self._feature_columns
        )
        self._train_y = self._engine.y
        for name, value in self._engine.attributes().items():
            setattr(self, name, value)

    def _column_names(self, rows):
        if len(rows.shape) != 2:
            return None
        for source in (*reversed(self._heads), self):
            with contextlib.suppress(AttributeError, ValueError, NotFittedError):
                names = source.get_feature_names_out() if source is not self else None
                names = self.feature_names_in_ if names is None else names
                if len(names) == rows.shape[1]:
                    return [str(name) for name in names]
        return [f"x{j}" for j in range(rows.shape[1])]

    # -- asking -----------------------------------------------------------------------------------

    def _model_rows(self, X):
        check_is_fitted(self)
        return self._kind.model_rows(self, self._heads, X, reset=False)

    def _queries(self, X, y=None):
        return self._queries_and_rows(X, y)[0]

    def _queries_and_rows(self, X, y):
        """Queries as the engine sees them, and the rows of model space that they are."""
        check_is_fitted(self)
        if X is None or self._engine.about_parameters:
            return self._engine.queries(X, y), None
        if y is not None:
            y = self._kind.model_targets(self.estimator_, y)
        rows = self._model_rows(X)
        return self._engine.queries(rows, y), rows

    def _labels_and_queries(self, X, y=None):
        queries = self._queries(X, y)
        names = self._engine.query_names()
        return (row_labels(X, queries.shape[0]) if names is None else names), queries

    def _how(self) -> dict[str, Any]:
        return {"n_jobs": self.n_jobs, "progress": self.progress}

    def _tiles(self, queries, desc):
        return self._engine.tiles(queries, **self._how(), desc=desc)

    def _over_queries(self, queries, reduce):
        return self._engine.over_queries(queries, reduce, **self._how())

    def _self_influence(self, rows=None):
        return self._engine.self_influence(rows, **self._how())

    def _suspicion(self):
        return self._engine.suspicion(self._self_influence())

    def _report(self):
        return self._engine.report()

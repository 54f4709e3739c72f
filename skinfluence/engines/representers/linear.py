"""Representer values of linear estimators: features are the inputs themselves."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skinfluence._compat import check_weights
from skinfluence.engines.base import Array, Positions
from skinfluence.engines.linear.classes import check_classes
from skinfluence.engines.linear.engine import LinearEngine
from skinfluence.engines.representers.activations import activation_of
from skinfluence.engines.representers.engine import RepresenterEngine
from skinfluence.engines.representers.kernel import dense
from skinfluence.engines.representers.last_layer import LastLayer
from skinfluence.engines.representers.pretrained import matching_layer, refitted
from skinfluence.engines.representers.queries import RepresenterQueries
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import LinearFit, Rows, reader_of, registered


class LinearRepresenters(RepresenterEngine):
    """Representer values of an l2-penalised linear estimator, read off it; f(x) = x."""

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        if not any(cls in registered() for cls in type(model).__mro__):
            raise UnsupportedEstimatorError(
                f"{type(model).__name__} has no linear layer that is known. RepresenterExplainer "
                "decomposes l2-penalised linear estimators of scikit-learn (LogisticRegression, "
                "Ridge, LinearSVC, ...), networks, and pipelines and searches around them; "
                "InfluenceExplainer says what deleting a row does, of more models."
            )
        reader_of(model).check(model)
        for name in ("layer", "loss"):
            if getattr(settings, name) is not None:
                raise ValueError(
                    f"{name}={getattr(settings, name)!r} is an option of networks, and "
                    f"{type(model).__name__} has one layer and a loss of its own. Leave "
                    f"{name}=None."
                )
        if settings.l2 is not None and settings.mode != "pretrained":
            raise ValueError(
                f"l2={settings.l2!r} would replace the penalty that {type(model).__name__} was "
                "fitted with. Leave l2=None, or pass mode='pretrained' for a layer of that l2 "
                "refitted to its outputs."
            )

    @classmethod
    def needs_y(cls, X: Any, settings: SimpleNamespace) -> bool:
        return settings.mode != "pretrained"

    @classmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Any:
        return LinearEngine.model_rows(owner, heads, X, reset=reset)

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
        weights = np.ones(rows.shape[0]) if weights is None else weights
        if y is not None:
            check_consistent_length(rows, y)
            y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
            check_classes(model, y)
        features = rows.copy()  # scores must not follow what happens to the rows after fit
        mode = "trained" if settings.mode == "auto" else settings.mode
        fit = _read(model, features, y, weights)
        name = type(model).__name__
        if mode == "trained" and fit.linear_programme:
            raise UnsupportedEstimatorError(
                f"{name} is the vertex of a linear programme, whose outputs are no sums over "
                "training rows. Pass mode='pretrained'."
            )
        layer = LastLayer(features, fit.problems, name)
        activation = activation_of(fit.problems)
        how = {"max_iter": settings.max_iter, "tol": settings.tol}
        if mode == "trained":
            polished = layer.polished(**how)
        else:
            own = _own_layer(layer, activation, weights)
            layer, polished = refitted(own, activation, l2=settings.l2, **how)
        return cls(
            model,
            settings,
            y,
            layer,
            polished,
            mode=mode,
            activation=activation,
            classes=fit.classes,
        )

    def features_of(self, rows: Any) -> Any:
        return rows

    def sensitivity(
        self,
        queries: RepresenterQueries,
        rows: Positions,
        *,
        n_samples: int,
        noise: float,
        random_state: Any,
    ) -> Array:
        # The kernel f_i'z is linear in z: its derivative is f_i, with noise or without.
        alpha = self.polished.alpha[np.ix_(rows, np.arange(self.outputs.number))]
        per_row = (queries.signs * alpha[:, queries.columns]).T
        return per_row[:, :, None] * dense(self.layer.features[rows])[None]

    def input_size(self, queries: RepresenterQueries) -> float:
        return float(self.layer.features.shape[1])


def _own_layer(layer, activation, weights):
    """What matches the outputs of a linear estimator: all its problems as one."""
    has_intercept = any(problem.intercept is not None for problem in layer.problems)
    return matching_layer(
        layer.features,
        layer.own_coef,
        layer.own_intercept if has_intercept else None,
        activation,
        weights,
        name=layer.name,
    )


def _read(model: Any, X: Any, y: Any, weights: Array) -> LinearFit:
    """What the model minimised; without targets, as if it had been right everywhere."""
    if y is not None:
        return reader_of(model).read(model, Rows(X, y, weights))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # names of columns, classes that are never predicted
        return reader_of(model).read(model, Rows(X, model.predict(X), weights))

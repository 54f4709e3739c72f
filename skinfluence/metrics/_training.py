"""Fits of one estimator to parts of one training set, and losses at one set of queries."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import indexable

from skinfluence._compat import check_weights, routing_enabled
from skinfluence._peel import unfrozen, weight_key
from skinfluence._seen import is_module
from skinfluence.metrics._losses import OF_CLASSES, Loss, find_loss
from skinfluence.metrics._rows import take_rows

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


class OneClassLeft(ValueError):
    """A refit was asked for on rows of one class, by an estimator that needs two."""


@dataclasses.dataclass(frozen=True)
class Trainer:
    """An estimator and all rows it may be fitted to.

    Every model that is compared comes out of `fit`, so that both sides of a difference are
    reached alike. The estimator passed in is only ever cloned.
    """

    estimator: Any
    X: Any
    y: Any
    weights: Array | None = None
    polish: Callable[..., Any] | None = None

    @classmethod
    def of(cls, estimator, X, y, sample_weight=None, polish=None) -> Trainer:
        """Check the lengths and the weights, and make everything indexable."""
        X, y = indexable(X, y)
        if not hasattr(estimator, "fit"):
            return OwnTrainer.checked(estimator, X, y, sample_weight, polish)
        return cls(unfrozen(estimator), X, y, check_weights(sample_weight, X), polish)

    @property
    def n_rows(self) -> int:
        """Number of rows there are."""
        return self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)

    def with_labels(self, y: Any) -> Trainer:
        """Return the same rows under other labels."""
        return dataclasses.replace(self, y=y)

    def fit(self, kept: Positions, start: Any = None) -> Any:
        """Fit to the rows at `kept`, from scratch or from the model `start` (see `warm`)."""
        X, y, weights = (take_rows(rows, kept) for rows in (self.X, self.y, self.weights))
        if weights is not None and not weights.any():
            raise ValueError(
                f"All {kept.size} rows that a refit keeps have weight 0. Keep a row that counts: "
                "leave this deletion out, or drop the rows of weight 0 beforehand."
            )
        lost = (
            start is not None and hasattr(start, "classes_") and _classes(y) != len(start.classes_)
        )
        # A start with more classes than labels has parameters that no longer exist.
        model = clone(self.estimator) if start is None or lost else copy.deepcopy(start)
        key = "sample_weight" if routing_enabled() else weight_key(model)
        try:
            model.fit(X, y, **({} if weights is None else {key: weights}))
        except ValueError as error:
            if y is None or not is_classifier(model) or _classes(y) != 1:
                raise
            raise OneClassLeft(
                f"Only the class {np.asarray(y)[0]!r} is left in the {kept.size} rows that a "
                f"refit keeps, and {type(model).__name__} needs two. Keep a row of another "
                "class: leave this deletion out, or make the subsets larger."
            ) from error
        return model if self.polish is None else self.polish(model, X, y, weights)


@dataclasses.dataclass(frozen=True)
class OwnTrainer(Trainer):
    """A function of the user's, from positions of the rows to keep to a trained model."""

    @classmethod
    def checked(cls, retrain, X, y, sample_weight, polish) -> Trainer:
        """Refuse what is no function, and what it would have to take care of itself."""
        if is_module(retrain) or not callable(retrain):
            raise ValueError(
                f"estimator is a {type(retrain).__name__}, which has no fit. Pass an estimator, "
                "or a function of the positions of the rows to keep that returns a model trained "
                "on them."
            )
        if sample_weight is not None or polish is not None:
            raise ValueError(
                "sample_weight and polish are for estimators, and here a function trains the "
                "models. Let it use the weights, and polish what it returns."
            )
        return cls(retrain, X, y)

    relabelled: bool = False

    def with_labels(self, y: Any) -> Trainer:
        """Return the same rows under other labels, which the function must take."""
        if not takes(self.estimator, 2):
            raise ValueError(
                "The function that trains the models takes the positions of rows only, so that "
                "labels cannot be corrected. Pass a function of (positions, labels), with one "
                "label a position."
            )
        return dataclasses.replace(self, y=y, relabelled=True)

    def fit(self, kept: Positions, start: Any = None) -> Any:
        """Train on the rows at `kept`."""
        kept = np.asarray(kept)
        labels = (take_rows(self.y, kept),) if self.relabelled else ()
        model = self.estimator(kept, *labels)
        if model is None:
            raise ValueError(
                "The function that trains the models returned None. Return the model that it "
                "trained."
            )
        return model


def takes(function: Callable[..., Any], count: int) -> bool:
    """Whether a function can be called with that many arguments, as far as can be seen."""
    try:
        inspect.signature(function).bind(*range(count))
    except ValueError:  # written in C
        return True
    except TypeError:
        return False
    return True


def _classes(y: Any) -> int:
    return len(set(np.asarray(y).ravel().tolist()))


def warm(model: Any) -> Any:
    """Copy of a fitted model whose next fit starts from its parameters; None where none can.

    Only linear models: their ``warm_start`` is the start of an optimiser. That of an ensemble
    keeps the old trees and adds others, which is no refit at all, and that of a network or a
    mixture decides which optimum is found.
    """
    last = model[-1] if isinstance(model, Pipeline) else model
    linear = any(c.__module__.startswith("sklearn.linear_model.") for c in type(last).__mro__)
    if not linear or "warm_start" not in last.get_params():
        return None
    start = copy.deepcopy(model)
    (start[-1] if isinstance(start, Pipeline) else start).set_params(warm_start=True)
    return start


@dataclasses.dataclass(frozen=True)
class Queries:
    """Rows at which losses are compared."""

    X: Any
    y: Any
    loss: Loss

    @classmethod
    def of(cls, loss: str | Loss, X_query: Any, y_query: Any, train: Trainer) -> Queries:
        """Take the training rows where no queries are given."""
        if X_query is None:
            if y_query is not None:
                raise ValueError(
                    "y_query is given without X_query, so that its rows are unknown. Pass both, "
                    "or neither for the training rows."
                )
            X_query, y_query = train.X, train.y
        X_query, y_query = indexable(X_query, y_query)
        if isinstance(loss, str) and loss in OF_CLASSES:
            _check_labels(y_query, train.y, loss)
        return cls(X_query, y_query, find_loss(loss))

    @property
    def n_rows(self) -> int:
        """Number of queries."""
        return self.X.shape[0] if hasattr(self.X, "shape") else len(self.X)

    def losses(self, model: Any) -> Array:
        """Loss of `model` at every query, (n_queries,)."""
        values = np.asarray(self.loss(model, self.X, self.y), dtype=np.float64)
        if values.shape != (self.n_rows,):
            raise ValueError(
                f"loss returned shape {values.shape} for {self.n_rows} queries, but it must be "
                "one loss per query. Return the losses of the single rows, not their mean."
            )
        if np.isnan(values).any():
            raise ValueError(
                f"loss is NaN at {int(np.isnan(values).sum())} of the {self.n_rows} queries. "
                "Return inf for an event that the model rules out."
            )
        return values


def _check_labels(y_query: Any, y: Any, loss: str) -> None:
    if y_query is None or y is None:
        raise ValueError(
            f"loss={loss!r} compares labels, but there are none. Pass y, and y_query with X_query."
        )
    if np.ndim(y) != 1 or np.ndim(y_query) != 1:
        raise ValueError(
            f"loss={loss!r} takes one label a row, but y has {np.ndim(y)} dimensions and y_query "
            f"{np.ndim(y_query)}. Pass vectors, or a callable loss for several outputs."
        )
    unseen = set(np.asarray(y_query).tolist()) - set(np.asarray(y).tolist())
    if unseen:
        raise ValueError(
            f"y_query has labels {sorted(unseen, key=str)} that no training row has, so their "
            "loss is infinite whatever is deleted. Leave these queries out."
        )


def difference(after: Array, before: Array) -> Array:
    """``after - before``, and 0 where both are the same infinity."""
    same = np.isinf(after) & (after == before)
    return np.where(same, 0.0, after) - np.where(same, 0.0, before)

"""Representer values of networks, as RepresenterExplainer asks for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state

from skinfluence.engines.base import Array, Positions
from skinfluence.engines.representers import (
    LastLayer,
    Polished,
    RepresenterEngine,
    RepresenterQueries,
    matching_layer,
    refitted,
)
from skinfluence.torch import given, models
from skinfluence.torch.alone import alone
from skinfluence.torch.data import Rows
from skinfluence.torch.given import Given
from skinfluence.torch.inputs import TakesAnyRows
from skinfluence.torch.representers.features import features_of
from skinfluence.torch.representers.problems import own_penalty, trained_problem
from skinfluence.torch.representers.reading import (
    Split,
    class_positions,
    split_pretrained,
    split_trained,
)
from skinfluence.torch.representers.sensitivity import Noise, sensitivity, shape_of_input


@dataclass
class Decomposed:
    """A layer of a network at its minimum, and labels of the training rows where there are any."""

    split: Split
    layer: LastLayer
    polished: Polished
    mode: str
    classes: Any = None
    labels: Any = None


class NetworkRepresenters(TakesAnyRows, RepresenterEngine):
    """Representer values of a linear layer of a torch module, a skorch net or an MLP.

    Parameters
    ----------
    model : object
        Fitted.
    settings : SimpleNamespace
        l2, layer, mode, loss, output, max_iter, tol.
    found : Decomposed
    """

    def __init__(self, model: Any, settings: SimpleNamespace, found: Decomposed):
        self.split, self.objective = found.split, found.split.objective
        super().__init__(
            model,
            settings,
            found.labels,
            found.layer,
            found.polished,
            mode=found.mode,
            activation=found.split.activation,
            classes=found.classes,
        )

    # -- fitting ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, model: Any, settings: SimpleNamespace) -> None:
        models.reader_of(model, loss=settings.loss)

    @classmethod
    def needs_y(cls, X: Any, settings: SimpleNamespace) -> bool:
        return settings.mode == "trained" and not given.has_targets(X)

    @classmethod
    @alone
    def fit(
        cls,
        model: Any,
        rows: Given,
        y: Any,
        sample_weight: Any,
        settings: SimpleNamespace,
        *,
        feature_names: Sequence[str] | None,
    ) -> Self:
        mode = "pretrained" if settings.mode == "auto" else settings.mode
        read = split_trained if mode == "trained" else split_pretrained
        options = {"layer": settings.layer, "loss": settings.loss}
        split = read(model, rows.X, y, sample_weight, **options)
        fitted = _trained if mode == "trained" else _pretrained
        layer, polished = fitted(split, settings, type(model).__name__)
        classes = split.classes()
        labels = _labels_of(split, layer, classes)
        return cls(model, settings, Decomposed(split, layer, polished, mode, classes, labels))

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "layer": self.split.layer.name,
            "activation": self.activation,
            "n_held_out": int(self._held_out().sum()),
        }

    # -- queries ----------------------------------------------------------------------------------

    @alone
    def queries(self, rows: Any, y: Any, target_class: Any = None) -> RepresenterQueries:
        if rows is None:
            return super().queries(rows, y, target_class)
        read = self._read_rows(rows, y if self.outputs.classes is not None else None)
        features = self._features(read)
        labels = self._labels(read) if target_class is None else None
        asked = self.settings.output if target_class is None else target_class
        columns, signs = self.outputs.chosen(self.polished.outputs(features), labels, asked)
        return RepresenterQueries(read, features, columns, signs)

    def _read_rows(self, rows: Given, y: Any) -> Rows:
        assert self.objective.read_rows is not None
        return self.objective.read_rows(rows.X, y)

    def _labels(self, rows: Rows) -> Any:
        """Labels of rows that have a class each."""
        classes = self.outputs.classes
        position = None if classes is None else class_positions(rows)
        if position is None:
            return None
        if len(position) and not 0 <= position.min() <= position.max() < len(classes):
            raise ValueError(
                f"y holds class {position.max()}, and the model has {len(classes)} classes, 0 to "
                f"{len(classes) - 1}. Pass y as it was in training, or target_class=."
            )
        return classes[position]

    @alone
    def features_of(self, rows: Any) -> Array:
        return self._features(self._read_rows(rows, None))

    def _features(self, rows: Rows) -> Array:
        return features_of(self.objective.network, self.split.layer.module, rows)

    @alone
    def sensitivity(
        self,
        queries: RepresenterQueries,
        rows: Positions,
        *,
        n_samples: int,
        noise: float,
        random_state: Any,
    ) -> Array:
        seed = check_random_state(random_state).randint(2**31 - 1) if n_samples else 0
        slopes = sensitivity(
            self.objective.network,
            self.split.layer.module,
            queries.rows,
            self.layer.features[rows],
            Noise(n_samples, noise, seed),
        )
        alpha = self.polished.alpha[np.ix_(rows, queries.columns)].T * queries.signs[:, None]
        slopes *= alpha.reshape(*alpha.shape, *[1] * (slopes.ndim - 2))
        return slopes

    def input_size(self, queries: RepresenterQueries) -> float:
        return float(math.prod(shape_of_input(queries.rows.take(slice(0, 1)))))


def _labels_of(split: Split, layer: LastLayer, classes: Any) -> Any:
    """Labels of the training rows; the predicted ones of rows that the loss skips."""
    own = split.own_classes()
    if own is None:
        return None
    skipped = own < 0
    if skipped.any():
        own[skipped] = layer.own_outputs(layer.features[skipped]).argmax(axis=1)
    return classes[own]


def _features_of(split: Split) -> Array:
    return features_of(split.objective.network, split.layer.module, split.objective.rows)


def _pretrained(split: Split, settings: SimpleNamespace, name: str) -> tuple[LastLayer, Polished]:
    """The layer refitted to its own outputs."""
    own = matching_layer(
        _features_of(split),
        split.layer.coef(),
        split.layer.intercept(),
        split.activation,
        split.objective.weights.numpy(),
        name=name,
    )
    how = {"max_iter": settings.max_iter, "tol": settings.tol}
    return refitted(own, split.activation, l2=settings.l2, **how)


def _trained(split: Split, settings: SimpleNamespace, name: str) -> tuple[LastLayer, Polished]:
    """The layer at the minimum of the loss that the network was trained on."""
    if settings.l2 is not None:
        l2, intercept_l2 = float(settings.l2), 0.0
    else:
        l2, intercept_l2 = own_penalty(split.objective, split.layer)
    if not l2 > 0:
        raise ValueError(
            f"{name} has no penalty on its last layer that is known (l2 = 0), and without one its "
            "outputs are no sums over training rows. Pass l2=, the weight decay of the mean loss "
            "times the number of rows, or mode='pretrained'."
        )
    problem = trained_problem(split.objective, split.layer, l2, intercept_l2)
    layer = LastLayer(_features_of(split), (problem,), name)
    return layer, layer.polished(max_iter=settings.max_iter, tol=settings.tol)

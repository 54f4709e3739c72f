"""Representer values of one kind of model: what the explainer asks of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.exceptions import ConvergenceWarning

from skinfluence import _loops, attribution
from skinfluence._warn import warn
from skinfluence.attribution import Block
from skinfluence.engines.base import Array, Engine, Positions
from skinfluence.engines.representers.activations import ACTIVATIONS
from skinfluence.engines.representers.kernel import products, spanned, square_lengths
from skinfluence.engines.representers.last_layer import LastLayer, Polished
from skinfluence.engines.representers.queries import Outputs, RepresenterQueries
from skinfluence.engines.representers.reconstruction import Reconstruction, compare
from skinfluence.exceptions import NotStationaryWarning

# Error of the decomposition, in units of the largest output, that is worth a word.
LOOSE = 1e-6
# Correlation with the model's own outputs below which another model is explained.
APART = 0.99
# Relative gradient that only rounding keeps from 0.
RESOLVED = 1e-11
# Numbers of a tile that are multiplied by alpha while they are in the cache.
CACHED = 2**17


class RepresenterEngine(Engine):
    """Representer values over the features of a model's last layer.

    Subclasses say how rows become features, and how those change with the rows: they write
    :meth:`features_of`, :meth:`sensitivity`, :meth:`input_size`, and what :class:`Engine` asks
    before there is a fit. ``fit`` hands the layer at its minimum to this constructor.

    Parameters
    ----------
    model : object
        The fitted model.
    settings : SimpleNamespace
    y : ndarray or None
        Targets in model space.
    layer : LastLayer
        Features of the training rows, and the model's own parameters.
    polished : Polished
        The layer at its minimum.
    mode : {"trained", "pretrained"}
    activation : {"softmax", "sigmoid", "relu", "squared"}
        What follows the layer.
    classes : ndarray or None, default=None
        Labels, for a classifier: K of them, or two that share the one output.
    """

    method = "representer"
    score_unit = "representer value"

    def __init__(
        self,
        model: Any,
        settings: SimpleNamespace,
        y: Any,
        layer: LastLayer,
        polished: Polished,
        *,
        mode: str,
        activation: str,
        classes: Any = None,
    ):
        self.model, self.settings, self.y = model, settings, y
        self.layer, self.polished, self.mode = layer, polished, mode
        self.activation = activation
        self.outputs = Outputs(polished.alpha.shape[1], classes)
        self.n_train = layer.features.shape[0]
        self.reconstruction = self.compared(layer.features)
        self._warn_if_loose()

    def _warn_if_loose(self):
        polished, error = self.polished, self.reconstruction.decomposition_error
        largest = np.abs(polished.outputs(self.layer.features)).max(initial=0.0)
        if error > LOOSE * largest and polished.stationarity[1] <= RESOLVED:
            warn(
                f"Representer values are up to {error / largest:.1e} of the largest output off "
                "their sums: they are so much larger than the output that they add up to that its "
                "digits are lost. Scale the features (StandardScaler), or take a larger l2.",
                linalg.LinAlgWarning,
            )
        elif error > LOOSE * largest:
            warn(
                f"The last layer stopped at a relative gradient of "
                f"{polished.stationarity[1]:.1e}, where outputs and sums of representer values "
                f"differ by up to {error:.1e}. Raise max_iter, or take a larger l2.",
                ConvergenceWarning,
            )
        if self.reconstruction.pearson >= APART:
            return
        if self.mode == "trained" and self.settings.l2 is not None:
            warn(
                f"The layer fitted to the labels with l2={self.polished.l2.max():.3g} gives other "
                f"outputs than {self.layer.name} (correlation {self.reconstruction.pearson:.3f}), "
                "and values belong to that layer. That is no harm where they are asked for wrong "
                "labels; what the model itself says is decomposed by mode='pretrained'.",
                NotStationaryWarning,
            )
        elif self.mode == "trained":
            warn(
                f"{self.layer.name} is not at a minimum of its own objective on these rows: after "
                f"a polish its outputs correlate with its own at {self.reconstruction.pearson:.3f}"
                ". Scores belong to the polished layer: pass the rows it was fitted on, and the "
                "l2 it was trained with where that is passed, refit it with a smaller tol, or use "
                "mode='pretrained'.",
                NotStationaryWarning,
            )
        elif self.reconstruction.activated_pearson < APART:
            warn(
                f"The layer refitted with l2={self.polished.l2.max():.3g} reproduces the outputs "
                f"of {self.layer.name} with a correlation of {self.reconstruction.pearson:.3f} "
                "only, and scores belong to that layer. Pass a smaller l2, or l2=None.",
                NotStationaryWarning,
            )

    # -- what a kind of model writes --------------------------------------------------------------

    @abstractmethod
    def features_of(self, rows: Any) -> Any:
        """Features of rows in model space, (m, d), dense or sparse, in float64."""

    @abstractmethod
    def sensitivity(
        self,
        queries: RepresenterQueries,
        rows: Positions,
        *,
        n_samples: int,
        noise: float,
        random_state: Any,
    ) -> Array:
        """Derivatives of the representer values in the inputs of the queries.

        ``signs_z alpha_i d(f_i'f_z)/dz``, (n_queries, n_rows, \\*shape of a row's input). With
        `n_samples` draws, their mean over queries with normal noise added, of standard deviation
        `noise` times the range of each query's inputs.
        """

    @abstractmethod
    def input_size(self, queries: RepresenterQueries) -> float:
        """Numbers in the input of one query, which is what derivatives are taken in."""

    # -- what the explainer shows -----------------------------------------------------------------

    def attributes(self) -> dict[str, Any]:
        polished = self.polished
        shown = {
            **super().attributes(),
            "alpha_": polished.alpha,
            "intercept_": polished.undecomposed,
            "l2_": _one(polished.l2),
            "mode_": self.mode,
            "reconstruction_": self.reconstruction,
            "stationarity_": polished.stationarity,
            "n_iter_": max(1, polished.n_iter),
        }
        if self.outputs.classes is not None:
            shown["classes_"] = np.asarray(self.outputs.classes)
        return shown

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "mode": self.mode,
            "l2": _one(self.polished.l2),
            "stationarity": self.polished.stationarity,
            "reconstruction": self.reconstruction,
        }

    def compared(self, features: Any) -> Reconstruction:
        """The layer at its minimum beside the model's own outputs, over some features."""
        polished = self.polished
        return compare(
            polished.outputs(features),
            self.layer.own_outputs(features),
            polished.decomposed(features),
            ACTIVATIONS[self.activation],
        )

    # -- scores -----------------------------------------------------------------------------------

    def queries(self, rows: Any, y: Any, target_class: Any = None) -> RepresenterQueries:
        if rows is None:
            raise ValueError(
                "X is None, and representer values are of queries. Pass queries; how much rows "
                "count whatever the query is global_importance()."
            )
        features = self.features_of(rows)
        asked = self.settings.output if target_class is None else target_class
        columns, signs = self.outputs.chosen(self.polished.outputs(features), y, asked)
        return RepresenterQueries(rows, features, columns, signs)

    def tiles(
        self, queries: Any, *, n_jobs: int | None, progress: bool, desc: str
    ) -> Iterator[Block]:
        budget = _loops.memory_budget(2) / 8.0
        width = int(min(self.n_train, max(1.0, budget)))
        row_slices = _loops.slices(self.n_train, width)
        query_slices = _loops.slices(queries.shape[0], int(budget // width))
        places = [(rows, asked) for rows in row_slices for asked in query_slices]
        bar = _loops.progress_bar(places, total=len(places), enabled=progress, desc=desc)
        for rows, asked in bar:
            values = self._tile(queries[asked], rows)
            attribution.check_no_nan(values)
            yield asked, rows, values

    def _tile(self, queries, rows):
        """``signs_z alpha_ic (f_i'f_z + offset_c)``: one product, then a pass in the cache."""
        features = self.layer.features
        features = features if rows.stop - rows.start == self.n_train else features[rows]
        values = np.ascontiguousarray(products(queries.features, features))
        alpha = np.ascontiguousarray(self.polished.alpha[rows].T)
        offset = self.polished.offset
        for part in _loops.slices(queries.shape[0], CACHED // max(1, values.shape[1])):
            columns = queries.columns[part]
            tile = values[part]
            if offset.any():
                tile += offset[columns, None]
            tile *= alpha[columns]
            if self.outputs.binary:
                tile *= queries.signs[part, None]
        return values

    def over_queries(
        self, queries: Any, reduce: str, *, n_jobs: int | None, progress: bool
    ) -> Array:
        n_queries, n_outputs = queries.shape[0], self.outputs.number
        picked = np.zeros((n_queries, n_outputs))
        picked[np.arange(n_queries), queries.columns] = queries.signs
        kernel = np.asarray(self.layer.features @ spanned(queries.features, picked))
        kernel += self.polished.offset * picked.sum(axis=0)
        total = (self.polished.alpha * kernel).sum(axis=1)
        attribution.check_no_nan(total)
        return total / n_queries if reduce == "mean" else total

    # -- training rows on their own ---------------------------------------------------------------

    def own_classes(self) -> tuple[Positions, Array]:
        """Column and sign of each training row's own class; the predicted one without targets."""
        outputs = self.polished.outputs(self.layer.features)
        if self.outputs.classes is None:
            return self.outputs.chosen(outputs, None, self.settings.output)
        return self.outputs.chosen(outputs, self.y, None)

    def self_influence(
        self, rows: Positions | None, *, n_jobs: int | None, progress: bool
    ) -> Array:
        columns, signs = self.own_classes()
        every = np.arange(self.n_train)
        lengths = square_lengths(self.layer.features) + self.polished.offset[columns]
        own = signs * self.polished.alpha[every, columns] * lengths
        return own if rows is None else own[rows]

    def suspicion(self, self_influence: Array | None = None) -> Array:
        """|alpha| of each row's own class; its length over the outputs where there are none."""
        alpha = self.polished.alpha
        if self.outputs.classes is None:
            return np.linalg.norm(alpha, axis=1)
        return np.abs(alpha[np.arange(self.n_train), self.own_classes()[0]])

    def global_importance(self, target_class: Any = None) -> Array:
        """Length of alpha over the outputs, (n_train,), or its signed values for one class."""
        alpha = self.polished.alpha
        if target_class is None:
            return np.linalg.norm(alpha, axis=1)
        if np.ndim(target_class):
            raise ValueError(
                f"target_class has shape {np.shape(target_class)}, and the importance of rows is "
                "about one class or none. Pass one label."
            )
        columns, signs = self.outputs.chosen(
            np.zeros((1, self.outputs.number)), None, target_class
        )
        return 0.0 + signs[0] * alpha[:, columns[0]]


def _one(values):
    """A number where all are alike."""
    return float(values[0]) if len(values) and (values == values[0]).all() else values

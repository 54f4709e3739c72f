"""Labels of a network without some of its training rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from skinfluence import _loops
from skinfluence.engines.labels import Array, Labels, Positions, rivals_of
from skinfluence.torch.alone import alone, one_by_one
from skinfluence.torch.data import FetchedRows
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.influence.queries import PROBE, Queries, labels_train
from skinfluence.torch.influence.retraining import refits
from skinfluence.torch.influence.targets import OfOutput, make_target
from skinfluence.torch.influence.trained import as_array

# Rows whose outputs are taken at once.
ROWS = 1024


class NetworkLabels(Labels):
    """Labels of networks that are trained again without some rows.

    Margins are known at the fitted network only: its curvature is not taken again for every set.

    Parameters
    ----------
    engine : NetworkEngine
    rows : Rows
        Queries.
    retrain : callable or None
    """

    again = False

    def __init__(self, engine: Any, rows: Any, retrain: Callable[[np.ndarray], Any] | None):
        self.engine, self.rows, self.n_queries = engine, rows, rows.shape[0]
        target = make_target("decision_function", engine.objective)
        assert isinstance(target, OfOutput)
        self.target = target
        columns = self._columns(engine.objective.network)
        if not self._of_classes(columns.shape[1]):
            raise engine.no_labels()
        known = engine.objective.classes
        self.classes = np.arange(columns.shape[1]) if known is None else known
        self.before = columns.argmax(axis=1)
        self.class_of_row = self._training_labels()
        self._refit = refits(engine, None, whole=None, retrain=retrain)

    def _of_classes(self, width):
        """Whether outputs are one a class, and not several numbers or several labels a row."""
        network = self.engine.objective.network
        with torch.no_grad():
            outputs = network.outputs(self.rows.take(slice(0, 1)))
        if self.target.binary:
            return outputs.numel() == 1
        named = self.engine.objective.classes is not None or labels_train(self.engine.trained)
        return named and width > 1 and outputs.ndim == 2

    @alone
    def _columns(self, network):
        """Decisions for the classes at the queries, (n_queries, n_classes)."""
        found = []
        with torch.no_grad():
            for part in _loops.slices(self.n_queries, ROWS):
                found.append(as_array(self.target.outputs(network.outputs(self.rows.take(part)))))
        return np.concatenate(found)

    def _training_labels(self):
        objective = self.engine.objective
        found = []
        for part in _loops.slices(objective.n_train, ROWS):
            y = objective.rows.take(part).y
            assert y is not None
            y = y.reshape(len(y), -1)
            found.append((y.argmax(1) if y.shape[1] > 1 else y[:, 0].long()).cpu().numpy())
        codes = np.concatenate(found).astype(np.intp)
        codes[objective.weights.numpy() == 0] = -1
        return codes

    def without(self, removed: Positions) -> Positions:
        if not len(removed):
            return self.before
        return self._trained_on(np.delete(np.arange(self.engine.n_train), removed))

    def trained_again(self) -> Positions:
        return self._trained_on(np.arange(self.engine.n_train))

    def _trained_on(self, kept):
        return self._columns(self._refit(kept)[0]).argmax(axis=1)

    def margins(self, query: int, label: int, removed: Positions) -> tuple[Array, Array]:
        every = np.arange(len(self.classes))
        asked = FetchedRows(self.rows.take, np.full(len(every), query), device=self.rows.device)
        queries = self._about(asked, torch.as_tensor(every))
        deletion = self.engine.deletion_of(self.target)
        changes = np.empty((len(every), self.engine.n_train))
        for part, rows, values in one_by_one(deletion.tiles(queries, None)):
            changes[part, rows] = values
        values = self._columns(self.engine.objective.network)[query]
        rivals = rivals_of(label, len(every))
        return values[label] - values[rivals], changes[label] - changes[rivals]

    @alone
    def _about(self, rows, choice):
        trained = self.engine.trained
        queries = Queries(rows, trained.gradients, choice)
        probe = queries.take(slice(0, PROBE))
        queries.gradients = RowGradients(trained.network, self.target, probe)
        return queries

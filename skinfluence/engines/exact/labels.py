"""Labels of a classifier whose deletions are exact, without some of its training rows."""

from __future__ import annotations

import contextlib
import warnings
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.neighbors import KNeighborsClassifier

from skinfluence import attribution
from skinfluence.deletion.closed.base import Family, TrainingRows, find_family
from skinfluence.deletion.closed.deletion import ExactDeletion, ExactQueries, values_of
from skinfluence.deletion.svm.heads import Margins
from skinfluence.engines.labels import Array, Labels, NoModel, Positions, over_all_rows, rivals_of
from skinfluence.exceptions import NotStationaryWarning
from skinfluence.metrics._rows import take_rows
from skinfluence.objectives.encoding import class_positions


class ExactLabels(Labels):
    """Labels by the closed form where it holds for groups, else by the estimator's own refits.

    Parameters
    ----------
    engine : ExactEngine
        Of a classifier.
    rows : ndarray or sparse array of shape (n_queries, p)
        In model space.
    """

    def __init__(self, engine: Any, rows: Any):
        self.engine, self.rows, self.n_queries = engine, rows, rows.shape[0]
        self.classes, self.class_of_row = engine.head.classes, engine.class_of_row
        # To explain again what has no closed form is to fit it again without every row.
        self.again = engine.method != "refit"

    def without(self, removed: Positions) -> Positions:
        engine = self.engine
        # A refit, smoothed, which is not what a refit minimises, or not read off the outputs.
        if engine.method != "exact" or engine.family.predicts_apart:
            return self.confirmed(removed)
        if not len(removed):
            return self._labels(engine.exact.outputs(self.rows))
        outputs = engine.exact.without_group(self.rows, removed)
        return self.confirmed(removed) if outputs is None else self._labels(outputs)

    def confirmed(self, removed: Positions) -> Positions:
        with _as_no_model():
            fitted = self._refitted(removed)
            if self.engine.family.predicts_apart:
                return class_positions(fitted[1].predict(self.rows), self.classes)
            return self._labels(self.engine.refits.outputs_of(fitted, self.rows))

    def _labels(self, outputs):
        head = self.engine.head
        broken = getattr(self.engine.model, "break_ties", True)
        return head.predicted(outputs) if broken or len(self.classes) == 2 else head.voted(outputs)

    def _refitted(self, removed):
        return self.engine.refits.fit(np.delete(np.arange(self.engine.n_train), removed))

    def margins(self, query: int, label: int, removed: Positions) -> tuple[Array, Array]:
        with _as_no_model():
            return self._margins(query, label, removed)

    def _margins(self, query, label, removed):
        rivals = rivals_of(label, len(self.classes))
        engine, row = self._left(removed), take_rows(self.rows, np.array([query]))
        head = engine.head

        def value(outputs: Array, asked: Positions) -> Array:
            found = _margin(head, outputs, np.full(len(asked), label), asked)
            return np.nan_to_num(found)  # a class may be impossible, and so may its rival

        if removed.size:
            kept = np.delete(np.arange(self.engine.n_train), removed)
            row = engine.family.seen_by(self.engine.model, row, kept)
        rows = take_rows(row, np.zeros(len(rivals), dtype=np.intp))
        before = values_of(engine.exact.outputs, rows, rivals, value)
        queries = ExactQueries(rows, before, rivals)
        deletion = ExactDeletion(engine.exact, value, queries)
        tiles = attribution.blocks(deletion, queries)
        changes = attribution.matrix(tiles, (len(rivals), engine.n_train))
        return before, over_all_rows(changes, removed, self.engine.n_train)

    def _left(self, removed):
        """The engine of a refit without `removed`."""
        whole = self.engine
        if not len(removed):
            return whole
        kept, model = self._refitted(removed)
        family, was = whole.family, whole.rows
        seen = TrainingRows(family.seen_by(whole.model, was.X, kept), was.y, was.weights)
        if find_family(model) is None:  # a polished refit is no estimator
            model = Family.refitted(family, whole.model, seen, kept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotStationaryWarning)  # said of the model in question
            return type(whole)(model, seen.kept(kept), whole.settings)

    def best_order(self, query: int, label: int) -> Positions | None:
        """Rows of the predicted class, the nearest first: what votes for it goes, one by one.

        Each deletion takes a vote from the label and lets the next neighbour in. To delete a row
        of another class instead leaves that vote, and lets in the same neighbour.
        """
        model = self.engine.model
        if not isinstance(model, KNeighborsClassifier) or callable(model.weights):
            return None
        row = take_rows(self.rows, np.array([query]))
        near = model.kneighbors(row, self.engine.n_train, return_distance=False)[0]
        return near[self.class_of_row[near] == label]


@contextlib.contextmanager
def _as_no_model():
    """What an estimator says of rows that are too few, or all alike, for it."""
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            # A covariance says so of a class that has one row left, which is meant here.
            warnings.filterwarnings("ignore", "Only one sample available")
            yield
    except (ValueError, FloatingPointError, linalg.LinAlgError) as error:
        raise NoModel from error


def _margin(head, outputs, label, rivals):
    """How far the decision for a label is above that of its rivals, (q, b)."""
    if isinstance(head, Margins):
        return _of_pair(head, outputs, label, rivals)
    return head.decision(outputs, label) - head.decision(outputs, rivals)


def _of_pair(head, outputs, label, rivals):
    """The decision between the two classes of each pair."""
    found = np.empty(outputs.shape[:2])
    for k, (positive, negative) in enumerate(head.pairs):
        own = (label == positive) & (rivals == negative)
        found[own] = outputs[own][..., k]
        own = (label == negative) & (rivals == positive)
        found[own] = -outputs[own][..., k]
    return found

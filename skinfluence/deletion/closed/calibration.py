"""Exact deletion from the curves of a calibrated classifier, whose estimators are held fixed."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import BaseEnsemble, HistGradientBoostingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.tree import DecisionTreeClassifier

from skinfluence._peel import peel
from skinfluence.deletion.closed.base import (
    ROWS,
    TILE,
    Array,
    ExactModel,
    Family,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    find_family,
    register,
    relative_difference,
)
from skinfluence.deletion.closed.calibrated import Member, is_prefit, read_members
from skinfluence.deletion.closed.heads import Head, Votes
from skinfluence.exceptions import UnsupportedEstimatorError

# Slope of the loss, in rows, at which the optimiser of scikit-learn's may have stopped.
STOPPED = 1e-3
# Scores that are constant between jumps.
TREES = (DecisionTreeClassifier, HistGradientBoostingClassifier, BaseEnsemble)


class CalibratedDeletion(ExactModel):
    """Deletion of one row from the curves of a calibrated classifier.

    The probabilities are the mean over the members. A row is taken from the curves that it was
    part of, and the estimators under them stay.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    members : list of Member
    n_train : int
    """

    def __init__(self, classes: Any, members: list[Member], n_train: int):
        self.classes_, self.members, self.n_train = classes, members, n_train
        self.n_outputs = len(classes)

    @property
    def row_block(self) -> int:
        widest = max(len(member.rows) * member.curve.width for member in self.members)
        return int(np.clip(4 * TILE // widest, 1, ROWS))

    def outputs(self, X: Any) -> Array:
        return np.mean([member.probabilities(X) for member in self.members], axis=0)

    def delete(self, rows: Positions) -> Any:
        state = []
        for member in self.members:
            places = member.places(rows)
            at = np.flatnonzero(places >= 0)
            near = member.parameters
            moved = member.curve.fit(member.weights, places[at], near) if len(at) else None
            state.append((at, moved))
        return len(rows), state

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        n_rows, state = deleted
        pairs = meeting.pairs
        shape = (n_rows,) if pairs else (X.shape[0], n_rows)
        found = np.zeros((*shape, self.n_outputs))
        for member, (at, moved) in zip(self.members, state, strict=True):
            scores = member.scores(X)
            here = member.curve.probabilities(scores, member.parameters[0])
            found += here if pairs else here[:, None]
            if len(at) and pairs:
                found[at] += member.curve.probabilities(scores[at], moved) - here[at]
            elif len(at):
                found[:, at] += member.curve.probabilities(scores[:, None], moved) - here[:, None]
        return found / len(self.members)

    def replace(self, new: NewRows) -> Replaced:
        return _ReplacedRows(self, new)

    def without_group(self, X: Any, rows: Positions) -> Array:
        return self.without_all(rows).outputs(X)

    def without_all(self, rows: Positions) -> CalibratedDeletion:
        """The model whose curves are fitted without all of `rows`."""
        members = []
        for old in self.members:
            weights = old.left(rows)
            fitted = old.curve.fit(weights)
            members.append(replace(old, weights=weights, parameters=fitted))
        return CalibratedDeletion(self.classes_, members, self.n_train)


class _ReplacedRows(Replaced):
    """Curves over the scores of new rows, by the estimators that scored the old ones."""

    def __init__(self, model: CalibratedDeletion, new: NewRows):
        self.model, self.new = model, new
        self.broken = np.zeros(len(new), dtype=bool)
        self.moved = [
            [self._parameters(member, int(row), j) for j, row in enumerate(new.rows)]
            for member in model.members
        ]

    def _parameters(self, member, row, j):
        (place,) = member.places(np.array([row]))
        if place < 0:
            return member.parameters[0]
        scores = member.scores_at(place, self.new.X[[j]])
        curve = member.curve.having(place, scores, self.new.encoded[j])
        return curve.fit(member.weights, None, member.parameters)[0]

    def outputs(self, X: Any) -> Array:
        found = np.zeros((X.shape[0], len(self.new), self.model.n_outputs))
        for member, moved in zip(self.model.members, self.moved, strict=True):
            scores = member.scores(X)[:, None]
            found += member.curve.probabilities(scores, np.stack(moved))
        return found / len(self.model.members)


class _CalibratedFamily(Family):
    """The estimators under the curves are held fixed, as the first steps of a pipeline are."""

    estimators = (CalibratedClassifierCV,)
    sparse = True
    # The optimiser of scikit-learn's stops before the optimum, to which a private copy goes on,
    # and far before it where scores hardly differ: other rows are told by the slope there.
    same = 1e-2
    other = 1e6

    def __init__(self) -> None:
        # Folds are scored once, and not for every refit.
        self._held: tuple[Any, Any, CalibratedDeletion] | None = None

    def asked(self, settings: Any) -> Family:
        return _CalibratedFamily()

    def check(self, estimator: Any) -> None:
        if estimator.method == "isotonic":
            raise UnsupportedEstimatorError(
                "CalibratedClassifierCV has method='isotonic', a step function whose steps jump "
                "to other rows when one goes, so that most changes are 0 and the others sudden. "
                "Use method='sigmoid' or 'temperature'."
            )

    def jumps(self, estimator: Any) -> str:
        inner = peel(estimator.estimator)[1]
        family = find_family(inner)
        if isinstance(inner, TREES) or (family is not None and family.jumps(inner)):
            return f"has curves over scores of {type(inner).__name__}, which jump"
        return ""

    def head(self, estimator: Any) -> Head:
        return Votes(estimator.classes_)

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> CalibratedDeletion:
        return self._read(estimator, rows)

    def _read(self, estimator, rows):
        held = self._held
        if held is not None and held[0] is estimator and held[1] is rows:
            return held[2]
        members = read_members(estimator, rows)
        found = CalibratedDeletion(estimator.classes_, members, rows.n)
        self._held = (estimator, rows, found)
        return found

    def outputs(self, estimator: Any, X: Any) -> Array:
        if isinstance(estimator, CalibratedDeletion):
            return estimator.outputs(X)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            return np.asarray(estimator.predict_proba(X), dtype=np.float64)

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        found = relative_difference(theirs, ours)
        if found > self.same and _slope(estimator, self._read(estimator, rows)) > STOPPED:
            raise ValueError(
                "CalibratedClassifierCV answers differently on these rows than with curves that "
                f"are fitted to them (relative difference {found:.1e}). Either they did not train "
                "it, or an estimator under it draws random numbers. Pass the rows, targets and "
                "weights it was fitted on, or give that estimator a random_state."
            )
        return found

    def searches(self, estimator: Any) -> bool:
        return not is_prefit(estimator) and not isinstance(estimator.estimator, FrozenEstimator)

    def at_rest(self, estimator: Any, rows: TrainingRows) -> Any:
        return CalibratedDeletion(estimator.classes_, read_members(estimator, rows), rows.n)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        gone = np.setdiff1d(np.arange(rows.n), kept)
        return self._read(estimator, rows).without_all(gone)


def _slope(estimator, model):
    """Largest slope at the curves of scikit-learn's, in rows of mean weight."""
    found = 0.0
    for member, fitted in zip(model.members, estimator.calibrated_classifiers_, strict=True):
        slope = member.curve.slope(member.weights, fitted.calibrators)
        # It stops at relative changes of the loss too.
        largest = max(1.0, 1e-3 * len(member.rows)) * member.weights.mean()
        found = max(found, slope / largest)
    return found


register(_CalibratedFamily())

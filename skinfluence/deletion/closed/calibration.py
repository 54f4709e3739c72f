"""Exact deletion from the curves of a calibrated classifier, whose estimators are held fixed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv, cross_val_predict
from sklearn.svm import LinearSVC
from sklearn.utils.validation import has_fit_parameter

from skinfluence.deletion.closed.base import (
    ROWS,
    TILE,
    Array,
    ExactModel,
    Family,
    Meeting,
    Positions,
    TrainingRows,
    register,
    relative_difference,
)
from skinfluence.deletion.closed.calibrators import Calibrator, Sigmoids, Temperature
from skinfluence.deletion.closed.heads import Head, Votes
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import class_positions


@dataclass(frozen=True)
class Member:
    """One estimator of a calibrated classifier, and the curve over its scores.

    Parameters
    ----------
    estimator : estimator
        Held fixed.
    temperature : bool
        Whether its scores are those of a temperature, one for each class.
    rows : ndarray of int
        Training rows that the curve is fitted to.
    curve : Calibrator
    weights : ndarray of shape (n_rows,)
    parameters : ndarray of shape (1, ...)
        Of the curve.
    """

    estimator: Any
    temperature: bool
    rows: Positions
    curve: Calibrator
    weights: Array
    parameters: Array

    def scores(self, X: Any) -> Array:
        """What the curve takes, (n_queries, n_scores)."""
        return scores_of(self.estimator, X, temperature=self.temperature)

    def probabilities(self, X: Any) -> Array:
        """Of each class, (n_queries, n_classes)."""
        return self.curve.probabilities(self.scores(X), self.parameters[0])

    def places(self, rows: Positions) -> Positions:
        """Where rows are among its own, -1 where they are not."""
        found = np.searchsorted(self.rows, rows)
        found = np.minimum(found, len(self.rows) - 1)
        return np.where(self.rows[found] == rows, found, -1)

    def left(self, rows: Positions) -> Array:
        """Weights without some rows."""
        weights, places = self.weights.copy(), self.places(rows)
        weights[places[places >= 0]] = 0.0
        return weights


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
            moved = member.curve.fit(member.weights, places[at]) if len(at) else None
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

    def without_group(self, X: Any, rows: Positions) -> Array:
        return self.without_all(rows).outputs(X)

    def without_all(self, rows: Positions) -> CalibratedDeletion:
        """The model whose curves are fitted without all of `rows`."""
        members = []
        for old in self.members:
            weights = old.left(rows)
            fitted = old.curve.fit(weights)
            members.append(
                Member(old.estimator, old.temperature, old.rows, old.curve, weights, fitted)
            )
        return CalibratedDeletion(self.classes_, members, self.n_train)


def scores_of(estimator: Any, X: Any, *, temperature: bool) -> Array:
    """Scores of an estimator as the curves take them: decisions, or probabilities without."""
    with warnings.catch_warnings():
        # It may have been fitted on a frame, of which the rows here are the array.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        if hasattr(estimator, "decision_function"):
            return _as_scores(estimator.decision_function(X), False, temperature)
        return _as_scores(estimator.predict_proba(X), True, temperature)


def _as_scores(found, probabilities, temperature):
    found = np.asarray(found, dtype=np.float64)
    if probabilities and temperature:
        return np.log(found + 1e-12)
    if probabilities and found.shape[1] == 2:
        found = found[:, 1]
    found = found.reshape(len(found), -1)
    return np.hstack([-found, found]) if temperature and found.shape[1] == 1 else found


# -- reading --------------------------------------------------------------------------------------


def read_members(estimator: Any, rows: TrainingRows) -> list[Member]:
    """The members of a fitted calibrated classifier, at the optimum of their curves."""
    fitted = [member.estimator for member in estimator.calibrated_classifiers_]
    for inner in fitted:
        if len(inner.classes_) != len(estimator.classes_):
            raise UnsupportedEstimatorError(
                f"CalibratedClassifierCV has {len(estimator.classes_)} classes, and an estimator "
                f"under it only saw {len(inner.classes_)} of them. Use folds that hold all."
            )
    temperature = estimator.method == "temperature"
    codes = class_positions(rows.y, estimator.classes_)
    every, weights = np.arange(rows.n), rows.ones()
    parts = [every] if _together(estimator) else _folds(estimator, rows, len(fitted))
    members = []
    for inner, part in zip(fitted, parts, strict=True):
        scores = _calibrated_on(estimator, inner, rows, part, temperature)
        curve = (Temperature if temperature else Sigmoids)(scores, codes[part])
        own = weights[part]
        members.append(Member(inner, temperature, part, curve, own, curve.fit(own)))
    return members


def _together(estimator):
    """Whether one curve is fitted to all rows."""
    if _is_prefit(estimator):
        return True
    if estimator.ensemble == "auto":
        return isinstance(estimator.estimator, FrozenEstimator)
    return not estimator.ensemble


def _is_prefit(estimator):
    return isinstance(estimator.cv, str)  # "prefit", until scikit-learn 1.7


def _calibrated_on(estimator, inner, rows, part, temperature):
    """Scores that a curve was fitted to: those of rows that the estimator had not seen."""
    base = estimator.estimator
    fixed = _is_prefit(estimator) or isinstance(base, FrozenEstimator)
    if fixed or not _together(estimator):
        return scores_of(inner, _taken(rows.X, part), temperature=temperature)
    base = LinearSVC(random_state=0) if base is None else clone(base)
    decides = hasattr(base, "decision_function")
    weighted = rows.weights is not None and has_fit_parameter(base, "sample_weight")
    found = cross_val_predict(
        base,
        rows.X,
        rows.y,
        cv=_splits(estimator, rows),
        method="decision_function" if decides else "predict_proba",
        params={"sample_weight": rows.weights} if weighted else None,
    )
    return _as_scores(found, not decides, temperature)


def _folds(estimator, rows, n_members):
    """Rows that each curve was fitted to."""
    found = [np.sort(test) for _, test in _splits(estimator, rows)]
    if len(found) != n_members:
        raise UnsupportedEstimatorError(_unknown_folds(f"gives {len(found)} folds now", n_members))
    return found


def _splits(estimator, rows):
    splitter = check_cv(estimator.cv, rows.y, classifier=True)
    try:
        first, again = (list(splitter.split(rows.X, rows.y)) for _ in range(2))
    except ValueError as error:
        raise UnsupportedEstimatorError(_unknown_folds(f"needs more ({error})", None)) from error
    same = len(first) == len(again) and all(
        np.array_equal(test, other) for (_, test), (_, other) in zip(first, again, strict=True)
    )
    if not same:
        raise UnsupportedEstimatorError(_unknown_folds("draws others each time", None))
    return first


def _unknown_folds(seen, n_members):
    fitted = "" if n_members is None else f", and {n_members} were fitted"
    return (
        f"The folds of CalibratedClassifierCV cannot be made again: its cv {seen}{fitted}. Use "
        "an integer, a splitter with an integer random_state, a list of splits, or calibrate "
        "FrozenEstimator(fitted) on rows of its own."
    )


def _taken(X, part):
    return X if len(part) == X.shape[0] else X[part]


# -- the family -----------------------------------------------------------------------------------


class _CalibratedFamily(Family):
    """The estimators under the curves are held fixed, as the first steps of a pipeline are."""

    estimators = (CalibratedClassifierCV,)
    sparse = True
    # The optimiser of scikit-learn's stops before the optimum, to which a private copy goes on.
    same = 1e-2
    other = 1e-2

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
        if found > self.other:
            raise ValueError(
                "CalibratedClassifierCV answers differently on these rows than with curves that "
                f"are fitted to them (relative difference {found:.1e}). Either they did not train "
                "it, or an estimator under it draws random numbers. Pass the rows, targets and "
                "weights it was fitted on, or give that estimator a random_state."
            )
        return found

    def searches(self, estimator: Any) -> bool:
        return not _is_prefit(estimator) and not isinstance(estimator.estimator, FrozenEstimator)

    def at_rest(self, estimator: Any, rows: TrainingRows) -> Any:
        return CalibratedDeletion(estimator.classes_, read_members(estimator, rows), rows.n)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        gone = np.setdiff1d(np.arange(rows.n), kept)
        return self._read(estimator, rows).without_all(gone)


register(_CalibratedFamily())

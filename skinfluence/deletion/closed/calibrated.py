"""Members of a calibrated classifier: estimators that are held fixed, and curves over them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import check_cv
from sklearn.svm import LinearSVC
from sklearn.utils.validation import has_fit_parameter

from skinfluence.deletion.closed.base import Array, Positions, TrainingRows
from skinfluence.deletion.closed.calibrators import Calibrator, Sigmoids, Temperature
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
    unseen : list of estimator, or None
        Those that scored its rows, which they had not seen; None where it is `estimator`.
    folds : ndarray of int of shape (n_rows,), or None
        Which of these scored each row.
    """

    estimator: Any
    temperature: bool
    rows: Positions
    curve: Calibrator
    weights: Array
    parameters: Array
    unseen: list[Any] | None = None
    folds: Positions | None = None

    def scores(self, X: Any) -> Array:
        """What the curve takes, (n_queries, n_scores)."""
        return scores_of(self.estimator, X, temperature=self.temperature)

    def probabilities(self, X: Any) -> Array:
        """Of each class, (n_queries, n_classes)."""
        return self.curve.probabilities(self.scores(X), self.parameters[0])

    def scores_at(self, place: int, X: Any) -> Array:
        """Scores (n_scores,) that the row at `place` would have with other values (1, p)."""
        one = self.estimator
        if self.unseen is not None and self.folds is not None:
            one = self.unseen[self.folds[place]]
        return scores_of(one, X, temperature=self.temperature)[0]

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
    _check_classes(estimator, fitted)
    temperature = estimator.method == "temperature"
    codes = class_positions(rows.y, estimator.classes_)
    every, weights = np.arange(rows.n), rows.ones()
    parts = [every] if _together(estimator) else _folds(estimator, rows, len(fitted))
    members = []
    for inner, part in zip(fitted, parts, strict=True):
        unseen, folds = _unseen(estimator, rows)
        scores = _calibrated_on(unseen or [inner], folds, rows, part, temperature)
        curve = (Temperature if temperature else Sigmoids)(scores, codes[part])
        own = weights[part]
        members.append(Member(inner, temperature, part, curve, own, curve.fit(own), unseen, folds))
    return members


def _together(estimator):
    """Whether one curve is fitted to all rows."""
    if is_prefit(estimator):
        return True
    if estimator.ensemble == "auto":
        return isinstance(estimator.estimator, FrozenEstimator)
    return not estimator.ensemble


def is_prefit(estimator: Any) -> bool:
    """Whether its estimator was fitted before, without a FrozenEstimator around it."""
    return isinstance(estimator.cv, str)  # "prefit", until scikit-learn 1.7


def _unseen(estimator, rows):
    """Estimators that scored rows for one curve, and which of them scored each; or None twice."""
    base = estimator.estimator
    fixed = is_prefit(estimator) or isinstance(base, FrozenEstimator)
    if fixed or not _together(estimator):
        return None, None
    base = LinearSVC(random_state=0) if base is None else base
    weighted = rows.weights is not None and has_fit_parameter(base, "sample_weight")
    found, folds = [], np.zeros(rows.n, dtype=np.intp)
    for train, test in _splits(estimator, rows):
        part = rows.kept(train)
        given = {"sample_weight": part.weights} if weighted else {}
        found.append(clone(base).fit(part.X, part.y, **given))
        folds[test] = len(found) - 1
    _check_classes(estimator, found)
    return found, folds


def _check_classes(estimator, fitted):
    for inner in fitted:
        if len(inner.classes_) != len(estimator.classes_):
            raise UnsupportedEstimatorError(
                f"CalibratedClassifierCV has {len(estimator.classes_)} classes, and an estimator "
                f"under it only saw {len(inner.classes_)} of them. Use folds that hold all."
            )


def _calibrated_on(scored_by, folds, rows, part, temperature):
    """Scores that a curve was fitted to, (n_part, n_scores)."""
    if folds is None:
        return scores_of(scored_by[0], _taken(rows.X, part), temperature=temperature)
    each = [np.flatnonzero(folds == f) for f in range(len(scored_by))]
    found = [
        scores_of(one, rows.X[at], temperature=temperature)
        for one, at in zip(scored_by, each, strict=True)
    ]
    return np.concatenate(found)[np.argsort(np.concatenate(each))]


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

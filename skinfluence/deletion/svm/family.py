"""SVC, NuSVC, SVR, NuSVR and OneClassSVM as models whose deletions are exact."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np
from sklearn.base import clone
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from skinfluence._compat import libsvm_gamma
from skinfluence._warn import warn
from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.base import (
    ExactModel,
    Family,
    Positions,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.svm.heads import Margins, Novelty, Tubes
from skinfluence.deletion.svm.machine import SVMDeletion
from skinfluence.deletion.svm.reading import pairs_of, read_machine
from skinfluence.deletion.svm.smoothed import SmoothedMachine
from skinfluence.exceptions import DegenerateDeletionWarning, NotStationaryWarning

# Violation of the conditions of optimality, relative to the size of gradients, above which a fit
# is loose.
LOOSE = 3e-2
# Rows in the kinks of a smoothed loss below which nothing holds its offset.
ADRIFT = 0.1
# Methods that approximate, from the minimum of a smoothed loss.
SMOOTHED = ("first_order", "newton")


def _warn_if_loose(estimator, off, how):
    if off > LOOSE:
        warn(
            f"{type(estimator).__name__} is not at the optimum of its own objective on these "
            f"rows: {how}. Either these targets or weights did not train it, or its tolerance "
            "is loose. Scores belong to the optimum: pass what it was fitted on, or refit "
            "with a smaller tol.",
            NotStationaryWarning,
        )


def _warn_if_adrift(estimator, smoothed):
    if smoothed.at_kinks < ADRIFT:
        warn(
            f"At temperature {smoothed.temperature:.1e} no training row is near a kink of the "
            f"loss of {type(estimator).__name__} (all together count as {smoothed.at_kinks:.1e} "
            "of one), so that next to nothing holds its offset and the steps of a deletion are "
            "far too long. Raise smoothing, or use method='auto', which takes none.",
            DegenerateDeletionWarning,
        )


def _refuse_no_margin(estimator, deletion):
    pairs = zip(deletion.machine.problems, deletion.points, strict=True)
    if any(problem.has_no_margin(point.offset) for problem, point in pairs):
        raise ValueError(
            f"{type(estimator).__name__}(nu={estimator.nu}) fitted a margin of width 0: more rows "
            "than that share are on the wrong side of any other. Its decisions, which are divided "
            "by the margin, are rounding then. Raise nu, or use SVC."
        )


class Refit:
    """A machine fitted to some rows, at its exact optimum.

    libsvm itself stops 1e-6 to 1e-3 away from it, which can be more than a deletion changes.

    Parameters
    ----------
    model : estimator
        Fitted to the rows.
    rows : TrainingRows
    """

    def __init__(self, model: Any, rows: TrainingRows):
        machine = read_machine(model, rows.X, rows.y, rows.weights)
        self.deletion = SVMDeletion(machine)
        if machine.classes is not None:
            self.classes_ = machine.classes


class _Machines(Family):
    sparse = True
    options = frozenset({"method", "smoothing"})
    # Loose fits are polished, and far ones warned of.
    same = 0.3

    def asked(self, settings: Any) -> Self:
        family = copy.copy(self)
        if settings.method in SMOOTHED:
            # It answers otherwise than the estimator, and `stationarity` says how far off that is.
            family.same = np.inf
        return family

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel:
        fixed = settings.class_weights == "fixed"
        machine = read_machine(estimator, rows.X, rows.y, rows.weights, fixed_class_weights=fixed)
        if settings.method in SMOOTHED:
            smoothed = SmoothedMachine(machine, settings.method, settings.smoothing)
            how = f"it could fall by {smoothed.excess:.1e}, relatively"
            _warn_if_loose(estimator, smoothed.excess, how)
            _warn_if_adrift(estimator, smoothed)
            return smoothed
        deletion = SVMDeletion(machine)
        _refuse_no_margin(estimator, deletion)
        gap = f"its conditions are violated by {deletion.gap:.1e} of the size of its gradients"
        _warn_if_loose(estimator, deletion.gap, gap)
        return deletion

    def undetermined(self, estimator: Any, found: ExactModel) -> str:
        if not isinstance(found, SVMDeletion) or not found.margin < estimator.tol:
            return ""
        return (
            f"The margin of {type(estimator).__name__} at its optimum is {found.margin:.1e}, less "
            f"than its tol={estimator.tol:g}, and its decisions are divided by it: they are far "
            "from those of the optimum. Refit it with a smaller tol or a larger nu."
        )

    def outputs(self, estimator: Any, X: Any) -> Array:
        if isinstance(estimator, Refit):
            return estimator.deletion.outputs(X)
        return self.decisions(estimator, X).reshape(X.shape[0], -1)

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        # Where no row is free any offset of an interval is an optimum; and decisions may all be
        # 0, up to what the solver tolerates.
        apart = np.ptp(theirs - ours, axis=0).max()
        return float(apart / max(np.abs(theirs).max(), 10.0 * estimator.tol))

    def decisions(self, estimator: Any, X: Any) -> Array:
        """Decisions of the estimator itself."""
        return estimator.decision_function(X)

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        unfitted = clone(estimator)
        if estimator.kernel in ("rbf", "poly", "sigmoid"):
            unfitted.set_params(gamma=libsvm_gamma(estimator) or 1.0)
        return unfitted

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        left = rows.kept(kept)
        if estimator.kernel == "precomputed":
            left = TrainingRows(left.X[:, kept], left.y, left.weights)
        fitted = self.fresh(estimator, kept).fit(left.X, left.y, sample_weight=left.weights)
        return Refit(fitted, left)

    def seen_by(self, estimator: Any, X: Any, kept: Positions) -> Any:
        return X[:, kept] if estimator.kernel == "precomputed" else X


class _Classifiers(_Machines):
    estimators = (SVC, NuSVC)
    options = _Machines.options | {"class_weights"}

    def __init__(self, *, fixed: bool = False):
        self.fixed = fixed

    def asked(self, settings: Any) -> Self:
        family = super().asked(settings)
        family.fixed = settings.class_weights == "fixed"
        return family

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        unfitted = super().fresh(estimator, kept)
        if self.fixed and isinstance(estimator.class_weight, str):
            pairs = zip(estimator.classes_.tolist(), estimator.class_weight_, strict=True)
            unfitted.set_params(class_weight=dict(pairs))
        return unfitted

    def head(self, estimator: Any) -> Head:
        classes = estimator.classes_
        shape = estimator.decision_function_shape
        return Margins(classes, pairs_of(len(classes)), one_vs_one=shape == "ovo")

    def decisions(self, estimator: Any, X: Any) -> Array:
        if len(estimator.classes_) > 2:
            estimator = copy.copy(estimator).set_params(decision_function_shape="ovo")
        return estimator.decision_function(X)


class _Regressors(_Machines):
    estimators = (SVR, NuSVR)

    def head(self, estimator: Any) -> Head:
        return Tubes(estimator.epsilon if isinstance(estimator, SVR) else 0.0)

    def decisions(self, estimator: Any, X: Any) -> Array:
        return np.asarray(estimator.predict(X), dtype=np.float64)


class _Detectors(_Machines):
    estimators = (OneClassSVM,)
    supervised = False

    def head(self, estimator: Any) -> Head:
        return Novelty()


register(_Classifiers())
register(_Regressors())
register(_Detectors())

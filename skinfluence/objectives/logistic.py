"""LogisticRegression: log-loss, summed over rows, all solvers and penalties."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import (
    balanced_mass,
    class_positions,
    class_weights,
    rebalance_of,
)
from skinfluence.objectives.losses import Logistic, Softmax
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


class LogisticReader(Reader):
    """``sum_i s_i c_i l_i + ((1 - rho) |w|^2 / 2 + rho |w|_1) / C``.

    The intercept is free, but liblinear penalises it like a coefficient of a column that holds
    ``intercept_scaling``. Two classes are one logistic problem, several one softmax problem.
    "balanced" counts sample weights (rows, before scikit-learn 1.7).
    """

    estimators = (LogisticRegression, LogisticRegressionCV)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return [class_positions(y, estimator.classes_).astype(np.float64)]

    def check(self, estimator: Any) -> None:
        if isinstance(estimator, LogisticRegressionCV) and not estimator.refit:
            raise UnsupportedEstimatorError(
                "LogisticRegressionCV(refit=False) averages the coefficients of its folds, which "
                "minimises nothing. Set refit=True."
            )
        if getattr(estimator, "multi_class", "auto") in ("ovr", "multinomial"):
            raise UnsupportedEstimatorError(
                f"multi_class={estimator.multi_class!r} is not read; scikit-learn has removed the "
                "parameter. Leave it out, or wrap a binary model in OneVsRestClassifier."
            )

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        classes = estimator.classes_
        codes = class_positions(rows.y, classes)
        coef = np.asarray(estimator.coef_, dtype=np.float64)
        if len(coef) != (1 if len(classes) == 2 else len(classes)) or self._one_vs_rest(estimator):
            raise UnsupportedEstimatorError(
                f"liblinear fitted {len(classes)} classes one against the rest. Use another "
                "solver, or OneVsRestClassifier(LogisticRegression(solver='liblinear'))."
            )
        binary = len(classes) == 2
        mass = balanced_mass(rows.sample_weight)
        own = class_weights(estimator.class_weight, classes, codes, mass)
        problem = Problem(
            loss=Logistic() if binary else Softmax(len(classes)),
            y=codes.astype(np.float64),
            weights=rows.sample_weight * own[codes],
            coef=coef.T,
            intercept=_intercept(estimator),
            rebalance=rebalance_of(estimator.class_weight, codes, mass),
            **_penalty(estimator),
        )
        return LinearFit(
            (problem,),
            classes=classes,
            proba=_binary_proba if binary else _softmax_proba,
        )

    @staticmethod
    def _one_vs_rest(estimator):
        return estimator.solver == "liblinear" and len(estimator.classes_) > 2


def _intercept(estimator):
    if not estimator.fit_intercept:
        return None
    return np.array(estimator.intercept_, dtype=np.float64)


def _penalty(estimator):
    """Strengths of the l2 and l1 terms, and those on liblinear's intercept."""
    c = _scalar(getattr(estimator, "C_", None), getattr(estimator, "C", None))
    rho = _l1_ratio(estimator)
    strength = 0.0 if rho is None or np.isinf(c) else 1.0 / c
    rho = 0.0 if rho is None else rho
    terms = {"l2": (1.0 - rho) * strength, "l1": rho * strength}
    if estimator.solver == "liblinear" and estimator.fit_intercept:
        scale = estimator.intercept_scaling
        terms["intercept_l2"] = terms["l2"] / scale**2
        terms["intercept_l1"] = terms["l1"] / scale
    return terms


def _l1_ratio(estimator):
    """Share of the l1 term, None without a penalty, through scikit-learn's changes of names."""
    penalty = getattr(estimator, "penalty", "deprecated")
    if penalty is None or penalty == "none":
        return None
    if penalty == "l2":
        return 0.0
    if penalty == "l1":
        return 1.0
    return (
        _scalar(getattr(estimator, "l1_ratio_", None), getattr(estimator, "l1_ratio", None)) or 0.0
    )


def _scalar(chosen, given):
    """The value that a search chose (one a class in older versions, all alike), else the given."""
    value = given if chosen is None else chosen
    values = np.atleast_1d(np.asarray(value, dtype=object)).ravel()
    if len({*values.tolist()}) > 1:
        raise UnsupportedEstimatorError(
            "LogisticRegressionCV chose another penalty for each class, which no one objective "
            "has. Pass one LogisticRegression with the penalty you want."
        )
    return None if values[0] is None else float(values[0])


def _binary_proba(outputs):
    return np.stack([expit(-outputs[..., 0]), expit(outputs[..., 0])], axis=-1)


def _softmax_proba(outputs):
    return softmax(outputs, axis=-1)


register(LogisticReader())

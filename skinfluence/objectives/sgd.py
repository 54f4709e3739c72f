"""SGDClassifier and SGDRegressor: nine losses, a mean over the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit
from sklearn.linear_model import SGDClassifier, SGDRegressor

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import (
    class_positions,
    coefficients,
    one_vs_rest,
    real_targets,
    signs,
)
from skinfluence.objectives.losses import (
    EpsilonInsensitive,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    PointLoss,
    SquaredEpsilonInsensitive,
    SquaredError,
    SquaredHinge,
)
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register
from skinfluence.objectives.smoothing import margin_temperature, residual_temperature


class SGDClassifierReader(Reader):
    """``sum_i s_i c_i l_i + n alpha ((1 - rho) |w|^2 / 2 + rho |w|_1)``, the intercept free.

    n counts rows, whatever they weigh, and so does "balanced". Several classes are one problem
    each against the rest, in which the class weight holds for the positives alone. With
    ``penalty="l2"`` hinge and epsilon-insensitive losses are followed exactly, along the path of
    their optimum; for "newton" and "first_order", and with other penalties, they are smoothed.

    Stochastic steps end near the minimum, with ``average=True`` nearer; with sparse rows the
    intercept moves a hundred times slower and often stays far from it. Scores belong to the
    minimum itself.
    """

    estimators = (SGDClassifier,)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        classes = estimator.classes_
        targets = signs(class_positions(y, classes), len(classes))
        # The logistic loss takes 0 and 1, losses of a margin -1 and 1.
        return [(s + 1.0) / 2.0 for s in targets] if estimator.loss == "log_loss" else targets

    def check(self, estimator: Any) -> None:
        _refuse_held_out_rows(estimator)
        _refuse_aggressive_steps(estimator)
        if estimator.loss == "perceptron":
            raise UnsupportedEstimatorError(
                "SGDClassifier(loss='perceptron') is 0 at coefficients 0, so its fit is where the "
                "updates stopped and no minimum. Use loss='hinge'."
            )

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        classes = estimator.classes_
        codes = class_positions(rows.y, classes)
        coef, intercept = coefficients(estimator)
        loss = _margin_loss(estimator, rows)
        targets = self.encode(estimator, rows.y)
        weights = one_vs_rest(
            estimator.class_weight, classes, codes, rows.sample_weight, np.ones(rows.n)
        )
        problems = tuple(
            Problem(
                loss=loss,
                y=targets[k],
                weights=weights[k].weights,
                coef=coef[k][:, None],
                intercept=None if intercept is None else intercept[k : k + 1],
                normalisation="count",
                rebalance=weights[k].rebalance,
                name=str(classes[k if len(targets) > 1 else 1]),
                **_penalty(estimator),
            )
            for k in range(len(targets))
        )
        return LinearFit(problems, classes=classes, proba=_PROBA.get(estimator.loss))


class SGDRegressorReader(Reader):
    """``sum_i s_i l_i + n alpha ((1 - rho) |w|^2 / 2 + rho |w|_1)``; squared error has a half."""

    estimators = (SGDRegressor,)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return [real_targets(y, 1)]

    def check(self, estimator: Any) -> None:
        _refuse_held_out_rows(estimator)
        _refuse_aggressive_steps(estimator)

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        coef, intercept = coefficients(estimator)
        problem = Problem(
            loss=_residual_loss(estimator, residual_temperature(rows)),
            y=real_targets(rows.y, 1),
            weights=rows.sample_weight,
            coef=coef.T,
            intercept=intercept,
            normalisation="count",
            **_penalty(estimator),
        )
        return LinearFit((problem,))


def _refuse_aggressive_steps(estimator):
    if estimator.learning_rate in ("pa1", "pa2"):
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__}(learning_rate={estimator.learning_rate!r}) takes steps "
            "as long as the loss of a row asks for, and stops where the rows end, at no minimum. "
            "Use learning_rate='optimal'."
        )


def _refuse_held_out_rows(estimator):
    if estimator.early_stopping:
        raise UnsupportedEstimatorError(
            f"{type(estimator).__name__}(early_stopping=True) holds out a random part of the rows "
            "and stops before the minimum, so it is not known which rows the fit depends on. Set "
            "early_stopping=False."
        )


_SMOOTH: dict[str, Callable[[], PointLoss]] = {
    "log_loss": Logistic,
    "squared_hinge": SquaredHinge,
    "modified_huber": ModifiedHuber,
}


def _margin_loss(estimator, rows) -> PointLoss:
    if estimator.loss in _SMOOTH:
        return _SMOOTH[estimator.loss]()
    temperature = margin_temperature(rows)
    if estimator.loss == "hinge":
        return Hinge(temperature)
    return _residual_loss(estimator, temperature)


def _residual_loss(estimator, temperature) -> PointLoss:
    """Losses of the residual; a classifier applies them to targets +-1."""
    if estimator.loss == "squared_error":
        return SquaredError(scale=0.5)
    if estimator.loss == "huber":
        return Huber(estimator.epsilon)
    if estimator.loss == "epsilon_insensitive":
        return EpsilonInsensitive(estimator.epsilon, temperature)
    return SquaredEpsilonInsensitive(estimator.epsilon)


def _penalty(estimator):
    if estimator.penalty is None:
        return {}
    rho = {"l2": 0.0, "l1": 1.0}.get(estimator.penalty, estimator.l1_ratio)
    return {"l2": estimator.alpha * (1.0 - rho), "l1": estimator.alpha * rho}


def _normalised(positive):
    """Probabilities of all classes from those of each against the rest."""
    if positive.shape[-1] == 1:
        return np.concatenate([1.0 - positive, positive], axis=-1)
    total = positive.sum(axis=-1, keepdims=True)
    uniform = np.full_like(positive, 1.0 / positive.shape[-1])
    return np.divide(positive, total, out=uniform, where=total > 0)


def _log_proba(outputs):
    if outputs.shape[-1] == 1:
        return np.concatenate([expit(-outputs), expit(outputs)], axis=-1)
    return _normalised(expit(outputs))


def _huber_proba(outputs):
    return _normalised((np.clip(outputs, -1.0, 1.0) + 1.0) / 2.0)


_PROBA = {"log_loss": _log_proba, "modified_huber": _huber_proba}

register(SGDClassifierReader())
register(SGDRegressorReader())

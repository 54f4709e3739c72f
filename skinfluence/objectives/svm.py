"""LinearSVC and LinearSVR: hinge and epsilon-insensitive losses, summed over rows."""

from __future__ import annotations

from typing import Any

from sklearn.svm import LinearSVC, LinearSVR

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import (
    balanced_mass,
    class_positions,
    coefficients,
    one_vs_rest,
    real_targets,
    signs,
)
from skinfluence.objectives.losses import (
    EpsilonInsensitive,
    Hinge,
    ScalarLoss,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register
from skinfluence.objectives.smoothing import margin_temperature, residual_temperature


class LinearSVCReader(Reader):
    """``sum_i s_i c_i l_i + (|w|^2 + (b / intercept_scaling)^2) / (2 C)``, l1 likewise.

    liblinear penalises the intercept like a coefficient. Several classes are one problem each
    against the rest, in which the class weight holds for the positives alone. ``loss="hinge"`` is
    followed exactly, along the path of its optimum. For "newton" and "first_order" it is smoothed:
    its kinks have no curvature, so that derivatives would only see the penalty.
    """

    estimators = (LinearSVC,)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        classes = estimator.classes_
        return signs(class_positions(y, classes), len(classes))

    def check(self, estimator: Any) -> None:
        if estimator.multi_class == "crammer_singer":
            raise UnsupportedEstimatorError(
                "LinearSVC(multi_class='crammer_singer') minimises the hinge of the largest "
                "difference of two outputs, which is not read. Use multi_class='ovr'."
            )

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        classes = estimator.classes_
        codes = class_positions(rows.y, classes)
        coef, intercept = coefficients(estimator)
        targets = signs(codes, len(classes))
        weights = one_vs_rest(
            estimator.class_weight,
            classes,
            codes,
            rows.sample_weight,
            balanced_mass(rows.sample_weight),
        )
        loss = _margin_loss(estimator, rows)
        problems = tuple(
            Problem(
                loss=loss,
                y=targets[k],
                weights=weights[k].weights,
                coef=coef[k][:, None],
                intercept=None if intercept is None else intercept[k : k + 1],
                rebalance=weights[k].rebalance,
                name=str(classes[k if len(targets) > 1 else 1]),
                **_penalty(estimator),
            )
            for k in range(len(targets))
        )
        return LinearFit(
            problems,
            classes=classes,
        )


class LinearSVRReader(Reader):
    """``sum_i s_i l_i + (|w|^2 + (b / intercept_scaling)^2) / (2 C)``.

    The loss is what lies beyond epsilon, squared, or its first power, which is followed or
    smoothed as the hinge of :class:`LinearSVCReader` is.
    """

    estimators = (LinearSVR,)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return [real_targets(y, 1)]

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        coef, intercept = coefficients(estimator)
        problem = Problem(
            loss=_residual_loss(estimator, rows),
            y=real_targets(rows.y, 1),
            weights=rows.sample_weight,
            coef=coef.T,
            intercept=intercept,
            **_penalty(estimator),
        )
        return LinearFit((problem,))


def _margin_loss(estimator, rows) -> ScalarLoss:
    if estimator.loss == "squared_hinge":
        return SquaredHinge()
    return Hinge(margin_temperature(rows))


def _residual_loss(estimator, rows) -> ScalarLoss:
    if estimator.loss == "squared_epsilon_insensitive":
        return SquaredEpsilonInsensitive(estimator.epsilon)
    return EpsilonInsensitive(estimator.epsilon, residual_temperature(rows))


def _penalty(estimator):
    """liblinear's penalty over C, which it applies to the intercept too."""
    name = getattr(estimator, "penalty", "l2")
    terms = {name: 1.0 / estimator.C}
    if estimator.fit_intercept:
        power = 2 if name == "l2" else 1
        terms[f"intercept_{name}"] = 1.0 / estimator.C / estimator.intercept_scaling**power
    return terms


register(LinearSVCReader())
register(LinearSVRReader())

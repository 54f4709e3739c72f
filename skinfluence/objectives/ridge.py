"""LinearRegression, Ridge and RidgeClassifier: squared error, summed over rows and outputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import (
    LinearRegression,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import (
    class_positions,
    class_weights,
    coefficients,
    columns,
    indicators,
    real_targets,
    rebalance_of,
    signs,
)
from skinfluence.objectives.losses import SquaredError
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


def _problems(estimator, targets, weights, alphas, names, **options):
    coef, intercept = coefficients(estimator)
    alphas = np.broadcast_to(alphas, len(coef))
    return tuple(
        Problem(
            loss=SquaredError(),
            y=targets[k],
            weights=weights,
            coef=coef[k][:, None],
            intercept=None if intercept is None else intercept[k : k + 1],
            l2=2.0 * alphas[k],  # alpha |w|^2 without a half
            name=str(names[k]),
            **options,
        )
        for k in range(len(coef))
    )


class RidgeReader(Reader):
    """``sum_i s_i |y_i - f_i|^2 + sum_k alpha_k |w_k|^2``, the intercept free.

    Several outputs are problems of their own; RidgeCV chose its alpha, which is held.
    """

    estimators = (LinearRegression, Ridge, RidgeCV)
    quadratic = True

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return columns(real_targets(y, len(np.atleast_2d(estimator.coef_))))

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        alpha = getattr(estimator, "alpha_", getattr(estimator, "alpha", 0.0))
        problems = _problems(
            estimator,
            self.encode(estimator, rows.y),
            rows.sample_weight,
            alpha,
            names=range(len(np.atleast_2d(estimator.coef_))),
            positive=getattr(estimator, "positive", False),
        )
        return LinearFit(problems)


class RidgeClassifierReader(Reader):
    """Ridge on targets +-1, every row weighted by its class; "balanced" counts rows.

    Several classes are one problem each against the rest; several labels a row are one problem
    each, which have no class weights.
    """

    estimators = (RidgeClassifier, RidgeClassifierCV)
    quadratic = True

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        classes = estimator.classes_
        if np.ndim(y) == 2:
            return columns(2.0 * indicators(y, len(classes)) - 1.0)
        return signs(class_positions(y, classes), len(classes))

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        weights, rebalance = self._weights(estimator, rows)
        problems = _problems(
            estimator,
            self.encode(estimator, rows.y),
            weights,
            getattr(estimator, "alpha_", getattr(estimator, "alpha", 0.0)),
            names=self._names(estimator, rows.y),
            positive=getattr(estimator, "positive", False),
            rebalance=rebalance,
        )
        classes = None if np.ndim(rows.y) == 2 else estimator.classes_
        return LinearFit(problems, classes=classes)

    @staticmethod
    def _names(estimator, y):
        n_problems = len(np.atleast_2d(estimator.coef_))
        if np.ndim(y) == 2:
            return range(n_problems)
        return estimator.classes_[-n_problems:]

    @staticmethod
    def _weights(estimator, rows):
        if estimator.class_weight is None:
            return rows.sample_weight, None
        if np.ndim(rows.y) == 2:
            raise UnsupportedEstimatorError(
                f"{type(estimator).__name__} weights a row with several labels by the product of "
                "their class weights, which is not read. Set class_weight=None, or use "
                "MultiOutputClassifier."
            )
        classes = estimator.classes_
        codes, ones = class_positions(rows.y, classes), np.ones(rows.n)
        own = class_weights(estimator.class_weight, classes, codes, ones)
        return rows.sample_weight * own[codes], rebalance_of(estimator.class_weight, codes, ones)


register(RidgeReader())
register(RidgeClassifierReader())

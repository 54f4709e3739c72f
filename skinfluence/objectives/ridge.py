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

from skinfluence.objectives.encoding import (
    class_positions,
    class_weights,
    real_targets,
    rebalance_of,
    signs,
)
from skinfluence.objectives.losses import SquaredError
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


def coefficients(estimator: Any) -> tuple[Any, Any]:
    """``coef_`` as (n_outputs, p) and ``intercept_`` as (n_outputs,), or None without one."""
    coef = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    if not estimator.fit_intercept:
        return coef, None
    intercept = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64), len(coef))
    return coef, np.array(intercept)


def _problems(estimator, targets, weights, alphas, **options):
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
            name=str(k),
            **options,
        )
        for k in range(len(coef))
    )


def _columns(y):
    return [y] if y.ndim == 1 else list(y.T)


class RidgeReader(Reader):
    """``sum_i s_i |y_i - f_i|^2 + sum_k alpha_k |w_k|^2``, the intercept free.

    Several outputs are problems of their own; RidgeCV chose its alpha, which is held.
    """

    estimators = (LinearRegression, Ridge, RidgeCV)

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        n_outputs = len(np.atleast_2d(estimator.coef_))
        alpha = getattr(estimator, "alpha_", getattr(estimator, "alpha", 0.0))
        problems = _problems(
            estimator,
            _columns(real_targets(rows.y, n_outputs)),
            rows.sample_weight,
            alpha,
            positive=getattr(estimator, "positive", False),
        )
        return LinearFit(problems, encode=lambda y: _columns(real_targets(y, n_outputs)))


class RidgeClassifierReader(Reader):
    """Ridge on targets +-1, every row weighted by its class; "balanced" counts rows."""

    estimators = (RidgeClassifier, RidgeClassifierCV)

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        classes = estimator.classes_
        codes = class_positions(rows.y, classes)
        ones = np.ones(rows.n)
        own = class_weights(estimator.class_weight, classes, codes, ones)
        problems = _problems(
            estimator,
            signs(codes, len(classes)),
            rows.sample_weight * own[codes],
            getattr(estimator, "alpha_", estimator.alpha if hasattr(estimator, "alpha") else 0.0),
            positive=getattr(estimator, "positive", False),
            rebalance=rebalance_of(estimator.class_weight, codes, ones),
        )
        return LinearFit(
            problems,
            encode=lambda y: signs(class_positions(y, classes), len(classes)),
            classes=classes,
        )


register(RidgeReader())
register(RidgeClassifierReader())

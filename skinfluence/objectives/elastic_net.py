"""Lasso, ElasticNet and their multi-task forms: squared error, a mean over the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    LassoLars,
    LassoLarsCV,
    LassoLarsIC,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
)

from skinfluence.objectives.encoding import coefficients, columns, real_targets
from skinfluence.objectives.losses import SquaredError
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


class ElasticNetReader(Reader):
    """``sum_i s_i r_i^2 / 2 + S alpha (rho |w|_1 + (1 - rho) |w|^2 / 2)``, the intercept free.

    Several outputs are problems of their own. ElasticNetCV, LassoCV, LassoLarsCV and LassoLarsIC
    chose alpha and l1_ratio, which are held. LassoLars follows the path of the same minima.
    """

    estimators = (ElasticNet, Lasso, ElasticNetCV, LassoCV, LassoLars, LassoLarsCV, LassoLarsIC)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return columns(real_targets(y, len(np.atleast_2d(estimator.coef_))))

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        coef, intercept = coefficients(estimator)
        alpha, rho = strengths(estimator)
        targets = self.encode(estimator, rows.y)
        problems = tuple(
            Problem(
                loss=SquaredError(scale=0.5),
                y=targets[k],
                weights=rows.sample_weight,
                coef=coef[k][:, None],
                intercept=None if intercept is None else intercept[k : k + 1],
                normalisation="weight",
                l2=alpha * (1.0 - rho),
                l1=alpha * rho,
                positive=estimator.positive,
                name=str(k),
            )
            for k in range(len(coef))
        )
        return LinearFit(problems)


class MultiTaskReader(Reader):
    """As :class:`ElasticNetReader`, with ``rho sum_j |W_j|_2`` over the rows j of W.

    The norm of a feature's coefficients over the outputs couples them: one problem with as many
    outputs.
    """

    estimators = (MultiTaskElasticNet, MultiTaskLasso, MultiTaskElasticNetCV, MultiTaskLassoCV)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        # One output is a vector for its loss, as everywhere.
        return [real_targets(y, len(np.atleast_2d(estimator.coef_)))]

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        coef, intercept = coefficients(estimator)
        alpha, rho = strengths(estimator)
        n_outputs = len(coef)

        problem = Problem(
            loss=SquaredError(scale=0.5, n_outputs=n_outputs),
            y=self.encode(estimator, rows.y)[0],
            weights=rows.sample_weight,
            coef=coef.T,
            intercept=intercept,
            normalisation="weight",
            l2=alpha * (1.0 - rho),
            l21=alpha * rho,
        )
        return LinearFit((problem,))


def strengths(estimator: Any) -> tuple[float, float]:
    """alpha and l1_ratio, as given or as a search chose them."""
    alpha = getattr(estimator, "alpha_", getattr(estimator, "alpha", None))
    rho = getattr(estimator, "l1_ratio_", getattr(estimator, "l1_ratio", 1.0))
    return float(np.asarray(alpha)), float(np.asarray(rho))


register(ElasticNetReader())
register(MultiTaskReader())

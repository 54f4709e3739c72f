"""QuantileRegressor: pinball loss, a linear programme."""

from __future__ import annotations

from typing import Any

from sklearn.linear_model import QuantileRegressor

from skinfluence.objectives.encoding import coefficients, real_targets
from skinfluence.objectives.losses import Pinball
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


class QuantileReader(Reader):
    """``sum_i s_i pinball_q(y_i - f_i) + S alpha |w|_1``, the intercept free.

    The fit is a vertex of a linear programme, from which a deletion moves it by exactly 0 or by a
    jump; ``linear_programme`` says that no derivative describes that. Derivatives are offered
    where a temperature is asked for (``Rows.smoothing``), which they need.
    """

    estimators = (QuantileRegressor,)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return [real_targets(y, 1)]

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        coef, intercept = coefficients(estimator)
        problem = Problem(
            loss=Pinball(estimator.quantile, rows.smoothing or 0.0),
            y=real_targets(rows.y, 1),
            weights=rows.sample_weight,
            coef=coef.T,
            intercept=intercept,
            normalisation="weight",
            l1=estimator.alpha,
        )
        return LinearFit(
            (problem,),
            linear_programme=not rows.smoothing,
        )


register(QuantileReader())

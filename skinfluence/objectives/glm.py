"""PoissonRegressor, GammaRegressor, TweedieRegressor: half deviance, a mean over the weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import GammaRegressor, PoissonRegressor, TweedieRegressor

from skinfluence.objectives.encoding import coefficients, real_targets
from skinfluence.objectives.losses import HalfDeviance, PointLoss, SquaredError
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


class DevianceReader(Reader):
    """``sum_i s_i d_i / 2 + S alpha |w|^2 / 2``, d the unit deviance and S the sum of weights.

    The intercept is free. ``link="auto"`` of TweedieRegressor is the identity for power <= 0 and
    the logarithm otherwise; power 0 with the identity is squared error with a half.
    """

    estimators = (PoissonRegressor, GammaRegressor, TweedieRegressor)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return [_in_domain(real_targets(y, 1), _family(estimator)[0])]

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        power, link = _family(estimator)
        coef, intercept = coefficients(estimator)
        problem = Problem(
            loss=_loss(power, link),
            y=self.encode(estimator, rows.y)[0],
            weights=rows.sample_weight,
            coef=coef.T,
            intercept=intercept,
            normalisation="weight",
            l2=estimator.alpha,
        )
        return LinearFit((problem,))


def _family(estimator):
    if isinstance(estimator, PoissonRegressor):
        return 1.0, "log"
    if isinstance(estimator, GammaRegressor):
        return 2.0, "log"
    link = estimator.link
    if link == "auto":
        link = "identity" if estimator.power <= 0 else "log"
    return float(estimator.power), link


def _loss(power, link) -> PointLoss:
    if power == 0 and link == "identity":
        return SquaredError(scale=0.5)
    return HalfDeviance(power, link)


def _in_domain(y, power):
    """Targets, refused where the deviance of this power is not defined."""
    low, condition = np.min(y, initial=np.inf), "positive" if power >= 2 else "at least 0"
    if power >= 1 and (low < 0 or (power >= 2 and low == 0)):
        raise ValueError(
            f"y holds {low:g}, and the deviance of power {power:g} takes targets that are "
            f"{condition}. Leave such rows out."
        )
    return y


register(DevianceReader())

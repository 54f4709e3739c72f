"""HuberRegressor: a robust loss with its scale as a parameter."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import HuberRegressor

from skinfluence.objectives.encoding import coefficients, real_targets
from skinfluence.objectives.losses import ConcomitantHuber
from skinfluence.objectives.problem import LinearFit, Problem
from skinfluence.objectives.registry import Reader, Rows, register


class HuberReader(Reader):
    """``sum_i s_i (sigma + H(r_i / sigma) sigma) + alpha |w|^2`` over w, b and sigma.

    sigma is a second output that no feature moves: its intercept is ``scale_``.
    """

    estimators = (HuberRegressor,)

    def encode(self, estimator: Any, y: Any) -> list[Any]:
        return [real_targets(y, 1)]

    def read(self, estimator: Any, rows: Rows) -> LinearFit:
        coef, intercept = coefficients(estimator)
        own = 0.0 if intercept is None else intercept[0]
        problem = Problem(
            loss=ConcomitantHuber(estimator.epsilon),
            y=real_targets(rows.y, 1),
            weights=rows.sample_weight,
            coef=np.column_stack([coef[0], np.zeros_like(coef[0])]),
            intercept=np.array([own, float(estimator.scale_)]),
            l2=2.0 * estimator.alpha,  # alpha |w|^2 without a half
            constant_outputs=(1,),
            intercept_free=(estimator.fit_intercept, True),
        )
        return LinearFit((problem,))


register(HuberReader())

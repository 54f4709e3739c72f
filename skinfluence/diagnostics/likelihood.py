"""Losses as likelihoods: what classical diagnostics need to know of them.

Textbooks state them for a deviance and a dispersion. A loss l is ``unit`` times a half deviance;
diagnostics divide by it, so that they do not depend on whether an estimator sums r^2 or r^2 / 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.losses import HalfDeviance, Logistic, PointLoss, Softmax, SquaredError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Likelihood:
    """A loss as a likelihood.

    Parameters
    ----------
    mean : callable
        Expected target (n, K) of outputs (n, K).
    unit : float, default=1
        The loss over half the deviance.
    estimated : bool, default=True
        Whether the dispersion is estimated (Pearson's statistic over the residual degrees of
        freedom); it is 1 otherwise.
    gaussian : bool, default=False
        Whether the loss is quadratic: a Newton step is then the refit, and so is its scale.
    """

    mean: Callable[[Array], Array]
    unit: float = 1.0
    estimated: bool = True
    gaussian: bool = False


def _half_deviance(loss):
    return Likelihood(
        mean=np.exp if loss.link == "log" else lambda eta: eta,
        estimated=loss.power != 1,  # Poisson's variance is its mean
    )


_READ: dict[type[PointLoss], Callable[..., Likelihood]] = {
    Logistic: lambda loss: Likelihood(mean=expit, estimated=False),
    Softmax: lambda loss: Likelihood(mean=lambda eta: softmax(eta, axis=1), estimated=False),
    HalfDeviance: _half_deviance,
    SquaredError: lambda loss: Likelihood(
        mean=lambda eta: eta, unit=2.0 * loss.scale, gaussian=True
    ),
}


def likelihood_of(loss: PointLoss) -> Likelihood:
    """The likelihood behind a loss, or an error that says what else there is."""
    if type(loss) not in _READ:
        raise UnsupportedEstimatorError(
            f"{type(loss).__name__} is not the deviance of an exponential family, so there is no "
            "variance to scale residuals or Cook's distance by. Classical diagnostics exist for "
            "least squares (LinearRegression, Ridge, Lasso, ElasticNet), logistic regression of "
            "two or more classes, and Poisson, Gamma and Tweedie regression; "
            "`self_influence()` and `d_params()` exist for all models."
        )
    if loss.n_outputs > 1 and isinstance(loss, SquaredError):
        raise UnsupportedEstimatorError(
            f"The {loss.n_outputs} outputs were fitted under one penalty, and their residuals "
            "have no common scale. Classical diagnostics take one output at a time: fit them "
            "separately (MultiOutputRegressor)."
        )
    return _READ[type(loss)](loss)

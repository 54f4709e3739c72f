"""The fitted parameters minimise what a reader says: the only test that ties the two together."""

from dataclasses import replace

import numpy as np
import pytest

from skinfluence.objectives.losses import ScalarLoss
from skinfluence.solvers.minimise import minimise
from skinfluence.solvers.stationarity import stationarity
from tests.test_objectives.cases import CASES, fitted


def by_name(name):
    return next(case for case in CASES if case.name == name)


def unsmoothed(built):
    """The objectives that the estimators minimised, where ours have smooth kinks."""
    return [
        (replace(o, loss=o.loss.raw) if isinstance(o.loss, ScalarLoss) else o, theta)
        for o, theta in built
    ]


def residual(built):
    return max(stationarity(objective, theta) for objective, theta in built)


def shortfall(built):
    """How much of what features explain the fit leaves out: 0 at the minimum, 1 without them."""
    shares = []
    for (plain, theta), (objective, _) in zip(unsmoothed(built), built, strict=True):
        best = min(minimise(objective, theta).theta, theta, key=plain.value)
        none = np.where(np.arange(len(theta))[:, None] < len(theta) - 1, 0.0, best)
        without = minimise_intercept(plain, none)
        shares.append((plain.value(theta) - plain.value(best)) / (without - plain.value(best)))
    return max(shares)


def minimise_intercept(objective, theta):
    return objective.value(theta if objective.coordinates.intercept else 0.0 * theta)


@pytest.mark.parametrize("case", [case for case in CASES if case.tol is not None], ids=str)
def test_the_fit_is_stationary(case):
    _, _, _, built = fitted(case)
    assert residual(built) < case.tol


@pytest.mark.parametrize("case", [case for case in CASES if case.tol is None], ids=str)
def test_the_fit_is_near_the_minimum(case):
    _, _, _, built = fitted(case)
    assert shortfall(built) < case.near

"""Every estimator and option that can be read: diagnostics hold for it, or are refused."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.diagnostics import Diagnostics
from skinfluence.diagnostics.likelihood import likelihood_of
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.losses import HalfDeviance, Logistic, Softmax, SquaredError
from skinfluence.solvers.minimise import minimise
from tests.test_objectives.cases import CASES, fitted

DEVIANCES = (HalfDeviance, Logistic, Softmax, SquaredError)


@cache
def optima(case):
    """Objectives and their minima, class weights held."""
    built = fitted(case)[3]
    held = [(dataclasses.replace(objective, rebalance=None), theta) for objective, theta in built]
    return [(objective, minimise(objective, theta).theta) for objective, theta in held]


def has_diagnostics(case):
    return all(
        isinstance(objective.loss, DEVIANCES)
        and (objective.n_outputs == 1 or isinstance(objective.loss, Softmax))
        for objective, _ in fitted(case)[3]
    )


DEVIANCE_CASES = [case for case in CASES if has_diagnostics(case)]
OTHER_CASES = [case for case in CASES if not has_diagnostics(case)]


def newton(objective, theta, row):
    """Parameters after a dense Newton step without `row`, in the user's coordinates."""
    without = objective.without(np.array([row]))
    moving = np.flatnonzero(objective.moving(theta))
    hessian = without.hessian(theta)[np.ix_(moving, moving)]
    delta = np.zeros(theta.size)
    slope = without.gradient(theta).ravel()[moving]
    delta[moving] = -np.linalg.pinv(hessian, rcond=1e-11, hermitian=True) @ slope
    return objective.coordinates.to_user(theta + delta.reshape(theta.shape)).T.ravel()


@pytest.mark.parametrize("case", DEVIANCE_CASES, ids=str)
def test_steps(case):
    for objective, theta in optima(case):
        found = Diagnostics(objective, theta)
        changes = found.d_params
        assert_allclose(found.leverage.sum(), found.n_effective_params, rtol=1e-8)
        size = np.abs(changes[np.isfinite(changes)]).max(initial=0.0)
        for row in range(0, objective.n_train, 11):
            if found.leverage[row] < 1 - 1e-6 or objective.n_outputs > 1:
                without = newton(objective, theta, row)
                assert_allclose(found.params - without, changes[row], rtol=1e-5, atol=1e-7 * size)


@pytest.mark.parametrize("case", DEVIANCE_CASES, ids=str)
def test_numbers_are_finite(case):
    for objective, theta in optima(case):
        for expected in (False, True):
            found = Diagnostics(objective, theta, expected=expected)
            if found.df_resid > 1:
                for name in ("cooks_distance", "dffits", "cov_ratio", "dfbetas", "resid_press"):
                    assert np.isfinite(getattr(found, name)).all(), name
                squares = np.square(found.resid_pearson).sum()
                if likelihood_of(objective.loss).estimated:
                    assert_allclose(found.scale, squares / found.df_resid, rtol=1e-12)


@pytest.mark.parametrize("case", OTHER_CASES, ids=str)
def test_other_losses_are_refused(case):
    objective, theta = fitted(case)[3][0]
    with pytest.raises(UnsupportedEstimatorError, match="Classical diagnostics"):
        Diagnostics(objective, theta)

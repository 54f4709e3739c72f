"""The fitted parameters minimise what a reader says: the only test that ties the two together."""

from copy import copy
from dataclasses import replace

import numpy as np
import pytest

from skinfluence.objectives import build_all, reader_of
from skinfluence.objectives.search import without_search
from skinfluence.solvers.minimise import minimise
from skinfluence.solvers.stationarity import stationarity
from tests.test_objectives.cases import CASES, fitted
from tests.test_objectives.data import quiet, take


def by_name(name):
    return next(case for case in CASES if case.name == name)


def residual(built):
    """Stationarity of the worst problem."""
    return max(stationarity(objective, theta) for objective, theta in built)


def shortfall(built):
    """How much of what features explain the fit leaves out: 0 at the minimum, 1 without them."""
    shares = []
    for objective, theta in built:
        plain = replace(objective, loss=objective.loss.raw)  # what the estimator minimised
        best = min([theta, *minima(objective, theta)], key=plain.value)
        none = np.where(np.arange(len(theta))[:, None] == len(theta) - 1, best, 0.0)
        none = none if objective.coordinates.intercept else 0.0 * theta
        best = plain.value(best)
        explained = max(plain.value(none) - best, 1e-300)
        shares.append((plain.value(theta) - best) / explained)
    return max(shares)


def minima(objective, theta):
    """The minimum, or those of ever less smoothed losses, each from the one before."""
    if not objective.loss.temperature:
        return [minimise(objective, theta).theta]
    found = [theta]
    for t in (1e-1, 1e-2, 1e-3, 1e-4):
        loss = copy(objective.loss)
        loss.temperature, loss.smooth = t, True
        found.append(minimise(replace(objective, loss=loss), found[-1]).theta)
    return found


@pytest.mark.parametrize("case", [case for case in CASES if case.tol is not None], ids=str)
def test_the_fit_is_stationary(case):
    _, _, _, built = fitted(case)
    assert residual(built) < case.tol


@pytest.mark.parametrize("case", [case for case in CASES if case.tol is None], ids=str)
def test_the_fit_is_near_the_minimum(case):
    _, _, _, built = fitted(case)
    assert shortfall(built) < case.near


WRONG_SCALE = [10.0, 0.1]


def rebuilt(case, doctor):
    """The objectives of doctored problems."""
    _, data, fit, _ = fitted(case)
    return build_all([doctor(problem) for problem in fit.problems], data.rows.X)


def caught(case, built):
    if case.tol is None:
        return shortfall(built) > case.near
    return residual(built) > max(1e-3, 5.0 * case.tol)


def is_penalised(problem):
    return bool(np.any(problem.l2) or np.any(problem.l1) or problem.l21)


PENALISED = [
    case for case in CASES if any(is_penalised(problem) for problem in fitted(case)[2].problems)
]


@pytest.mark.parametrize("factor", WRONG_SCALE)
@pytest.mark.parametrize("case", PENALISED, ids=str)
def test_a_penalty_that_is_wrong_by_ten_is_caught(case, factor):
    def doctor(problem):
        names = ("l2", "l1", "l21", "intercept_l2", "intercept_l1")
        return replace(problem, **{name: factor * getattr(problem, name) for name in names})

    assert caught(case, rebuilt(case, doctor))


@pytest.mark.parametrize("case", PENALISED, ids=str)
def test_another_normalisation_is_caught(case):
    def doctor(problem):
        other = "weight" if problem.normalisation == "sum" else "sum"
        return replace(problem, normalisation=other)

    assert caught(case, rebuilt(case, doctor))


INTERCEPTS = [
    case
    for case in CASES
    if any(problem.intercept_l2 or problem.intercept_l1 for problem in fitted(case)[2].problems)
]


@pytest.mark.parametrize("case", INTERCEPTS, ids=str)
def test_a_forgotten_penalty_of_the_intercept_is_caught(case):
    def doctor(problem):
        return replace(problem, intercept_l2=0.0, intercept_l1=0.0)

    assert caught(case, rebuilt(case, doctor))


@pytest.mark.parametrize("name", ["svc-dict", "sgd-dict"])
def test_class_weights_of_negatives_are_caught(name):
    case = by_name(name)
    estimator, data, _, _ = fitted(case)

    def doctor(problem):
        own = np.array([estimator.class_weight.get(label, 1.0) for label in data.y])
        return replace(problem, weights=own)

    assert caught(case, rebuilt(case, doctor))


@pytest.mark.parametrize("case", [case for case in CASES if case.tol is not None], ids=str)
def test_a_refit_is_stationary_for_the_objective_without_the_rows(case):
    estimator, data, _, built = fitted(case)
    gone = np.array([3, 17])
    kept = np.delete(np.arange(len(data.y)), gone)
    weights = {} if data.sample_weight is None else {"sample_weight": data.sample_weight[kept]}
    with quiet():
        refit = without_search(estimator).fit(data.X[kept], data.y[kept], **weights)
    fit = reader_of(refit).read(refit, take(data.rows, kept))
    for (objective, _), problem in zip(built, fit.problems, strict=True):
        theta = objective.coordinates.from_user(parameters(problem))
        theta = np.where(objective.free, theta, 0.0)
        assert stationarity(objective.without(gone), theta) < 10.0 * case.tol


def parameters(problem):
    if problem.intercept is None:
        return problem.coef
    return np.vstack([problem.coef, problem.intercept])

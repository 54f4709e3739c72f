"""The laws of objectives, over every estimator and option of the table."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.multioutput import MultiOutputClassifier

from skinfluence.objectives import Rows, build_all, reader_of
from tests.test_objectives.cases import CASES, fitted
from tests.test_objectives.data import take

EVERY = pytest.mark.parametrize("case", CASES, ids=str)
# Without a penalty it does not matter what its factor counts.
COUNTS = [case for case in CASES if case.name.startswith("sgd") and case.estimator.penalty]
SUMS = [case for case in CASES if not case.name.startswith("sgd")]


def nearby(objective, theta, seed=0, size=0.05):
    """A point near the fit where no entry is 0, in coordinates."""
    rng = np.random.default_rng(seed)
    moved = theta + size * (1.0 + np.abs(theta)) * rng.choice([-1.0, 1.0], size=theta.shape)
    moved[objective.positive] = np.abs(moved[objective.positive])
    return np.where(objective.free, moved, 0.0)


def direction(objective, theta, seed=1):
    d = np.random.default_rng(seed).normal(size=theta.shape)
    return np.where(objective.free, d, 0.0)


@EVERY
def test_the_gradient_is_the_slope_of_the_value(case):
    for objective, theta in fitted(case)[3]:
        at = nearby(objective, theta)
        d = direction(objective, theta)
        step = 1e-6 * d
        slope = (objective.value(at + step) - objective.value(at - step)) / 2e-6
        size = np.linalg.norm(objective.gradient(at)) * np.linalg.norm(d)
        assert_allclose(np.vdot(objective.gradient(at), d) / size, slope / size, atol=1e-6, rtol=0)


@EVERY
def test_the_hessian_is_the_slope_of_the_gradient(case):
    for objective, theta in fitted(case)[3]:
        at = nearby(objective, theta)
        d = direction(objective, theta)
        step = 1e-6 * d
        slope = (objective.gradient(at + step) - objective.gradient(at - step)).ravel() / 2e-6
        product = objective.hessian(at) @ d.ravel()
        free = objective.free.ravel()
        scale = np.linalg.norm(slope) + 1e-9
        assert_allclose(product[free] / scale, slope[free] / scale, rtol=0, atol=1e-5)


@EVERY
def test_changes_are_differences_of_values(case):
    for objective, theta in fitted(case)[3]:
        moved = nearby(objective, theta) - theta
        truth = objective.value(theta + moved) - objective.value(theta)
        assert_allclose(
            objective.change(theta, moved), truth, rtol=1e-9, atol=1e-12 * objective.size(theta)
        )


def same_objective(built, others):
    """Values and directional derivatives of two builds at the same parameters of the user."""
    for (one, theta), (two, _) in zip(built, others, strict=True):
        for seed in range(2):
            at = nearby(one, theta, seed)
            d = direction(one, theta, seed)
            there = two.coordinates.from_user(one.coordinates.to_user(at))
            there = np.where(two.free, there, 0.0)
            along = two.coordinates.from_user(one.coordinates.to_user(at + d)) - there
            along = np.where(two.free, along, 0.0)
            assert_allclose(two.value(there), one.value(at), rtol=1e-10)
            slope = np.vdot(one.gradient(at), d)
            size = np.linalg.norm(one.gradient(at)) * np.linalg.norm(d)
            assert_allclose(
                np.vdot(two.gradient(there), along) / size, slope / size, atol=1e-9, rtol=0
            )


def read(estimator, rows):
    fit = reader_of(estimator).read(estimator, rows)
    return build_all(fit.problems, rows.X)


def counts_rows(fit):
    """Whether "balanced" counts rows, whatever they weigh (in RidgeClassifier; before 1.7 all)."""
    rebalance = fit.problems[0].rebalance
    return rebalance is not None and bool((rebalance.mass == 1).all())


@pytest.mark.parametrize("case", SUMS, ids=str)
def test_integer_weights_are_repeated_rows(case):
    estimator, data, _, _ = fitted(case)
    times = np.random.default_rng(5).integers(1, 4, size=len(data.y))
    weighted = replace(data.rows, sample_weight=times.astype(float), smoothing=0.05)
    repeated = np.repeat(np.arange(len(data.y)), times)
    again = Rows(data.rows.X[repeated], data.y[repeated], np.ones(times.sum()), smoothing=0.05)
    built, others = read(estimator, weighted), read(estimator, again)
    if counts_rows(reader_of(estimator).read(estimator, weighted)):
        with pytest.raises(AssertionError):
            same_objective(built, others)
    else:
        same_objective(built, others)


@pytest.mark.parametrize("case", COUNTS, ids=str)
def test_sgd_counts_rows_so_that_a_weight_is_no_repetition(case):
    estimator, data, _, _ = fitted(case)
    twice = replace(data.rows, sample_weight=2.0 * data.rows.sample_weight)
    both = np.tile(np.arange(len(data.y)), 2)
    again = Rows(data.rows.X[both], data.y[both], data.rows.sample_weight[both])
    with pytest.raises(AssertionError):
        same_objective(read(estimator, twice), read(estimator, again))


@EVERY
def test_without_rows_is_the_objective_of_the_other_rows(case):
    estimator, data, _, _ = fitted(case)
    gone = np.array([3, 17, 30, 31])
    built = read(estimator, replace(data.rows, smoothing=0.05))
    others = read(
        estimator, take(data.rows, np.delete(np.arange(len(data.y)), gone), smoothing=0.05)
    )
    # Fewer rows may span fewer directions, which all are among those of more.
    same_objective(others, [(o.without(gone), theta) for o, theta in built])


def predicted(estimator, data):
    if isinstance(estimator, MultiOutputClassifier):
        return np.column_stack([e.decision_function(data.X) for e in estimator.estimators_])
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(data.X)
    mean = estimator.predict(data.X)
    logs = {"PoissonRegressor": 1, "GammaRegressor": 1}
    link = getattr(estimator, "link", "log" if type(estimator).__name__ in logs else "identity")
    return np.log(mean) if link == "log" else mean


def outputs(built):
    each = [
        objective.outputs(theta)[:, objective.free[:-1].any(axis=0)] for objective, theta in built
    ]
    return np.hstack(each)


@EVERY
def test_outputs_are_those_of_the_estimator(case):
    estimator, data, _, built = fitted(case)
    theirs = predicted(estimator, data)
    theirs = theirs[:, None] if theirs.ndim == 1 else theirs
    tight = 1e-4 if case.form == "float32" else 1e-9
    assert_allclose(outputs(built), theirs, rtol=tight, atol=tight)


@EVERY
def test_probabilities_are_those_of_the_estimator(case):
    estimator, data, fit, built = fitted(case)
    if isinstance(estimator, MultiOutputClassifier):
        return  # its probabilities are a list, one array for each output
    assert (fit.proba is not None) == hasattr(estimator, "predict_proba")
    if fit.proba is not None:
        tight = 1e-5 if case.form == "float32" else 1e-10
        theirs = estimator.predict_proba(data.X)
        assert_allclose(fit.proba(outputs(built)), theirs, rtol=tight, atol=1e-14)


@EVERY
def test_targets_of_queries_are_encoded_as_those_of_training(case):
    estimator, data, fit, _ = fitted(case)
    targets = reader_of(estimator).encode(estimator, data.y)
    for problem, target in zip(fit.problems, targets, strict=True):
        assert_allclose(target, problem.y, rtol=1e-15)


@EVERY
def test_readers_leave_the_rows_and_the_estimator_alone(case):
    estimator, data, _, _ = fitted(case)
    rows = data.rows
    X = rows.X.toarray() if sparse.issparse(rows.X) else rows.X.copy()
    y, fit_before = np.array(rows.y), pickle.dumps(estimator)
    read(estimator, rows)
    after = rows.X.toarray() if sparse.issparse(rows.X) else rows.X
    assert (after == X).all()
    assert (rows.y == y).all()
    assert pickle.dumps(estimator) == fit_before


@EVERY
def test_what_is_read_pickles(case):
    _, data, fit, built = fitted(case)
    again = pickle.loads(pickle.dumps(fit))
    there = build_all(again.problems, data.rows.X)
    for (objective, theta), (other, _) in zip(built, there, strict=True):
        assert_allclose(other.value(theta), objective.value(theta), rtol=1e-15)

"""Replacing rows of models whose deletions are exact equals fitting them to the new rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.calibration import CalibratedClassifierCV
from sklearn.decomposition import FactorAnalysis
from sklearn.dummy import DummyClassifier, DummyRegressor

from skinfluence import InfluenceExplainer
from skinfluence.deletion.closed.families import family_of
from tests.test_deletion.exact_cases import CASES, COUNTS, ROWS, N

PRECOMPUTED = [c for c in CASES if getattr(c.estimator, "kernel", None) == "precomputed"]
OTHERS = [case for case in CASES if case not in PRECOMPUTED]
every = pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)

AT = np.array([2, 17, 30, 5, 17])  # row 5 carries no weight where there are weights


def explained(case, **options):
    explainer = InfluenceExplainer(case.fit(), **options)
    return explainer.fit(case.X, case.y, sample_weight=case.weights)


def new_rows(case):
    """Other inputs, and other targets, of the rows at `AT`."""
    X = case.X[(AT + 7) % N].copy()
    if X.shape[1] == ROWS.shape[1] or not np.isin(case.X, [*range(20)]).all():
        X += np.random.default_rng(3).normal(size=X.shape) * 0.3
    y = None if case.y is None else case.y[(AT + 1) % N]
    return X, y


def refitted(case, model, row, x, y):
    """The estimator, really fitted with another row in the place of one."""
    X, targets = case.X.copy(), None if case.y is None else case.y.copy()
    X[row] = x
    if y is not None:
        targets[row] = y
    return dataclasses.replace(case, X=X, y=targets).fit(model=model)


def changes(case, X, y):
    model = case.fit()
    before = case.loss(model)
    after = [
        case.loss(refitted(case, model, row, X[j], None if y is None else y[j]))
        for j, row in enumerate(AT)
    ]
    both = np.isinf(before)[:, None] & (np.transpose(after) == before[:, None])
    with np.errstate(invalid="ignore"):
        return np.where(both, 0.0, np.transpose(after) - before[:, None])


# Their deletions have a closed form, and other values of rows have none.
FITTED_AGAIN = (FactorAnalysis, CalibratedClassifierCV, DummyClassifier, DummyRegressor)


@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@every
def test_replacements_are_refits(case):
    X, y = new_rows(case)
    truth = changes(case, X, y)
    scores = explained(case).score_replacement(X, y, rows=AT, queries=(case.X, case.y))
    largest = np.abs(truth[np.isfinite(truth)]).max()
    assert_allclose(scores, truth, rtol=1e-8, atol=1e-8 * largest)


@every
def test_closed_forms_need_no_refits(case, monkeypatch):
    explainer = explained(case)
    closed = explainer._engine.exact
    if explainer.method_ == "refit" or isinstance(case.estimator, FITTED_AGAIN):
        return
    monkeypatch.setattr(explainer._engine, "refits", None)
    X, y = new_rows(case)
    whole = explainer.score_replacement(X, y, rows=AT, queries=(case.X, case.y))
    monkeypatch.setattr(type(closed), "replaced_block", 2)
    scores = explainer.score_replacement(X, y, rows=AT, queries=(case.X, case.y))
    assert_allclose(
        scores, whole, rtol=1e-10, atol=1e-10 * np.abs(whole[np.isfinite(whole)]).max()
    )


def jumps(case):
    family = family_of(case.estimator)
    return bool(family.jumps(case.estimator))


smooth = pytest.mark.parametrize(
    "case", [case for case in OTHERS if not jumps(case)], ids=lambda case: case.name
)
STENCIL = {1: 45.0, 2: -9.0, 3: 1.0}


def derivative(case, row, feature, h):
    """Derivative of the losses at all rows in a value, by central differences of real fits."""
    model, total = case.fit(), np.zeros(len(case.X))
    for k, weight in STENCIL.items():
        for sign in (1, -1):
            x = case.X[row].copy()
            x[feature] += sign * k * h
            moved = refitted(case, model, row, x, None)
            total += sign * weight * case.loss(moved)
    return total / (60.0 * h)


@smooth
def test_perturbations_are_differences_of_fits(case):
    rows, features = np.array([4, 9]), np.array([1, 0])[-case.X.shape[1] :]
    if case.X is COUNTS:
        rows = np.flatnonzero((COUNTS[:, :2] > 0).all(axis=1))[:2]
    slopes = explained(case)._engine.perturbation(
        explained(case)._queries(case.X, case.y), rows, features
    )
    others = np.delete(np.arange(N), [4, 11, *rows])  # where neighbours meet there are corners
    for j, row in enumerate(rows):
        for f, feature in enumerate(features):
            # Of neighbours, so near that they stay the same.
            h = 1e-4 if hasattr(case.estimator, "n_neighbors") else 1e-2
            truth = derivative(case, row, feature, h * case.X[:, feature].std())
            scale = np.abs(truth[others]).max()
            tolerance = 1e-7 * scale + 1e-10
            assert_allclose(slopes[others, j, f], truth[others], rtol=1e-7, atol=tolerance)

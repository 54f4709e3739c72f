"""Rows of support vector machines that take other values, against fits solved for exactly."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError
from tests.test_deletion.svm_refits import decisions, losses
from tests.test_deletion.test_svm import (
    NUMBERS,
    THREE,
    TWO,
    WEIGHTS,
    N,
    X,
    cases,
    explained,
    laplace,
    name,
)

every = pytest.mark.parametrize("case", list(cases()), ids=name)

AT = np.array([2, 7, 11, 20, 0])  # a copy of row 5, a row of no weight, and others
NEW = X[(AT + 7) % N] + np.array([0.4, -0.3, 0.2])
NEW[3] = X[AT[3]]  # with another target only
NEW[4] = X[12]  # a copy of another row


def changed(case):
    """Decisions at all rows of the fits with each new row, (n_rows, b, n_problems)."""
    estimator, y, weights = case
    found = []
    for j, row in enumerate(AT):
        rows, targets = X.copy(), None if y is None else y.copy()
        rows[row] = NEW[j]
        if y is not None:
            targets[row] = y[(row + 1) % N]
        found.append(decisions(estimator, rows, targets, weights, X))
    return np.stack(found, axis=1)


@every
def test_losses_are_those_of_fits_to_the_new_rows(case):
    estimator, y, weights = case
    explainer = explained(case)
    new_y = None if y is None else y[(AT + 1) % N]
    scores = explainer.score_replacement(NEW, new_y, rows=AT, queries=(X, y))
    before = losses(estimator, decisions(estimator, X, y, weights, X), y)
    after = changed(case)
    truth = [losses(estimator, after[:, j], y) - before for j in range(len(AT))]
    assert_allclose(scores, np.transpose(truth), rtol=1e-9, atol=1e-9)


def supports(explainer):
    """Rows with a coefficient between its bounds, and at one, in any problem."""
    machine = explainer._engine.exact
    free, bound = set(), set()
    for problem, point in zip(machine.machine.problems, machine.points, strict=True):
        rows = problem.positions[problem.programme.row]
        free |= set(rows[point.free.members].tolist())
        bound |= set(rows[point.beta != 0].tolist())
    return sorted(free - {2, 5}), sorted(bound - free - {2, 5})


@pytest.mark.parametrize(
    ("case", "h"),
    [
        ((SVC(gamma=0.3), TWO, None), 1e-4),
        ((SVC(gamma=0.3, class_weight="balanced"), THREE, WEIGHTS), 1e-4),
        ((SVC(kernel="poly", gamma=0.5, coef0=1.0, degree=2, C=0.3), TWO, None), 1e-4),
        ((SVC(gamma=0.3, C=1e-3), TWO, None), 1e-4),  # no coefficient is free
        ((SVC(kernel=laplace), TWO, None), 1e-6),
        ((NuSVC(gamma=0.3, nu=0.35), THREE, None), 1e-5),
        ((SVR(gamma=0.3, epsilon=0.2), NUMBERS, WEIGHTS), 1e-4),
        ((SVR(kernel="linear", epsilon=0.0), NUMBERS, None), 1e-4),
        ((NuSVR(gamma=0.3, nu=0.4, C=2.0), NUMBERS, None), 1e-4),
        ((OneClassSVM(gamma=0.3, nu=0.3), None, None), 1e-4),
    ],
    ids=lambda value: name(value) if isinstance(value, tuple) else "",
)
def test_derivatives_are_small_replacements(case, h):
    _, y, _ = case
    explainer = explained(case, target=lambda outputs, targets: outputs[:, 0])
    free, bound = supports(explainer)
    rows = [*free[:2], *bound[:2]]
    queries = np.delete(X, [2, 5, *rows], axis=0) + 0.01, None if y is None else y[: N - 2]
    queries = (queries[0], None)
    slopes = explainer.perturbation(queries[0], rows=rows, features=[2])[..., 0]
    assert np.abs(slopes).max() > 1e-6
    points, weights = h * np.array([-2.0, -1, 1, 2]), np.array([1.0, -8, 8, -1]) / (12 * h)
    moved = np.repeat(X[rows], 4, axis=0)
    moved[:, 2] += np.tile(points, len(rows))
    values = explainer.score_replacement(moved, None, rows=np.repeat(rows, 4), queries=queries)
    truth = values.reshape(len(values), -1, 4) @ weights
    assert_allclose(slopes, truth, rtol=1e-5, atol=1e-5 * np.abs(truth).max())


def test_rows_that_hold_nothing_have_no_derivative():
    explainer = explained((SVC(gamma=0.3, C=100.0), TWO, None))
    free, bound = supports(explainer)
    idle = np.setdiff1d(np.arange(N), [*free, *bound, 2, 5])
    slopes = explainer.perturbation(X, TWO, rows=idle)
    assert_array_equal(slopes, 0.0)


def test_sparse_rows_and_kernel_matrices():
    dense = explained((SVC(kernel="linear"), TWO, None))
    thin = InfluenceExplainer(SVC(kernel="linear")).fit(sparse.csr_array(X), TWO)
    wanted = dense.score_replacement(NEW, TWO[:5], rows=AT, queries=(X, TWO))
    found = thin.score_replacement(
        sparse.csr_array(NEW), TWO[:5], rows=AT, queries=(sparse.csr_array(X), TWO)
    )
    assert_allclose(found, wanted, rtol=1e-8, atol=1e-9)
    assert_allclose(
        thin.perturbation(sparse.csr_array(X[:5]), TWO[:5], rows=AT),
        dense.perturbation(X[:5], TWO[:5], rows=AT),
        rtol=1e-8,
        atol=1e-9,
    )
    K = X @ X.T
    matrix = InfluenceExplainer(SVC(kernel="precomputed")).fit(K, TWO)
    flips = 1 - TWO[AT]
    assert_allclose(
        matrix.score_replacement(None, flips, rows=AT, queries=(K, TWO)),
        dense.score_replacement(None, flips, rows=AT, queries=(X, TWO)),
        rtol=1e-8,
        atol=1e-9,
    )
    with pytest.raises(UnsupportedEstimatorError, match='kernel="precomputed", and another row'):
        matrix.score_replacement(K[:1], None, rows=[3], queries=(K, TWO))


@pytest.mark.parametrize("method", ["auto", "refit"])
def test_the_last_row_of_a_class(method):
    y = TWO.copy()
    y[4] = 2
    explainer = InfluenceExplainer(
        SVC(gamma=0.3), target=lambda outputs, targets: outputs.sum(axis=1), method=method
    ).fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match="1 of 1, in place of 4"):
        scores = explainer.score_replacement(None, [1], rows=[4], queries=(X, None))
    assert np.isfinite(scores).all()


def test_nothing_to_be_feasible_with():
    y = np.where(np.arange(N) < 10, 0, 1)
    explainer = InfluenceExplainer(NuSVC(gamma=0.3, nu=20.0 / N)).fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match="is not determined"):
        scores = explainer.score_replacement(None, [1], rows=[3], queries=(X, y))
    assert np.isfinite(scores).all()

"""Derivatives of linear models in the inputs of their rows, against differences of refits."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import (
    LinearRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.svm import LinearSVC

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import DegenerateDeletionWarning
from tests.test_deletion.linear import SMOOTH, explained, has_kinks, named
from tests.test_deletion.test_replacement import (
    AT,
    FRESH,
    NEW,
    REAL,
    ROW,
    TIGHT,
    WIDE,
    dense,
    explain_output,
)
from tests.test_objectives.cases import CASES, fitted


def differences(explainer, queries, rows, step=1e-3, features=None):
    """Differences of refits with each input of each row moved, of fourth order."""
    engine = explainer._engine
    X = dense(engine.X)
    features = np.arange(X.shape[1]) if features is None else features
    at = np.repeat(rows, len(features))
    units = np.tile(np.eye(X.shape[1])[features], (len(rows), 1))

    def moved(h):
        return engine.score_replacement(queries, at, X[at] + h * units, None)

    slopes = 8 * (moved(step) - moved(-step)) - (moved(2 * step) - moved(-2 * step))
    return slopes.reshape(-1, len(rows), len(features)) / (12 * step)


def slopes(case, rows, features=None, **options):
    _, data, _, _ = fitted(case)
    e = explained(case, method="newton", **options)
    queries = e._queries(data.X[:12], data.y[:12])
    return e._engine.perturbation(queries, np.asarray(rows), features=features)


SPANNED = [case for case in SMOOTH if case.name not in ("ols-collinear", "ols-wide")]


@pytest.mark.parametrize("case", SPANNED, ids=str)
def test_derivatives_are_limits_of_refits(case):
    _, data, _, _ = fitted(case)
    e = explained(case, method="refit")
    queries, features = e._queries(data.X[:12], data.y[:12]), np.array([2, 0])
    expected = differences(e, queries, [ROW, 30], 1e-4, features)
    found = slopes(case, [ROW, 30], features)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", [case for case in CASES if has_kinks(case)], ids=str)
def test_derivatives_of_smoothed_losses(case):
    if isinstance(case.estimator, QuantileRegressor):
        options = {"smoothing": 0.1}
    else:
        options = {"smoothing": 0.3}
    _, data, _, _ = fitted(case)
    e = explained(case, method="newton", target="decision_function", **options)
    queries = e._queries(data.X[:5], None)
    found = e._engine.perturbation(queries, np.array([ROW, 30]))
    assert_allclose(found, differences(e, queries, [ROW, 30]), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("target", ["loss", "decision_function", "params"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("model", [Ridge(2.0), LinearRegression()], ids=["ridge", "ols"])
def test_derivatives_out_of_the_span_of_the_rows(model, intercept, target):
    model = clone(model).set_params(fit_intercept=intercept).fit(WIDE, REAL)
    e = InfluenceExplainer(model, target=target, method="refit").fit(WIDE, REAL)
    queries = e._queries(*((None, None) if target == "params" else (FRESH, NEW[[0] * 5])))
    features = np.array([0, 7])
    found = e._engine.perturbation(queries, AT, features=features)
    expected = differences(e, queries, AT, 1e-3, features)
    assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_derivatives_where_columns_determine_one_another():
    X = WIDE[:, :5].copy()
    X[:, 3] = X[:, 0] + X[:, 1]
    e = explain_output(LinearRegression(), X, REAL)
    queries = e._queries(FRESH[:, :5], None)
    with pytest.raises(ValueError, match=r"Columns of X determine one another \(x0, x1, x3\)"):
        e._engine.perturbation(queries, AT)
    features = np.array([2, 4])
    found = e._engine.perturbation(queries, AT, features=features)
    assert_allclose(found, differences(e, queries, AT, 1e-3, features), rtol=1e-6, atol=1e-9)


def test_derivatives_are_of_the_fit_whatever_the_hessian():
    (case,) = named("gamma")
    found = slopes(case, [ROW, 30], hessian="expected")
    assert_allclose(found, slopes(case, [ROW, 30]), rtol=1e-10, atol=1e-12)


def test_derivatives_of_parameters_and_of_functions():
    X, y = WIDE[:, :4], np.abs(REAL)
    model = PoissonRegressor(alpha=0.1, tol=1e-10, max_iter=500).fit(X, y)
    for target, asked in (
        ("coef:x1", (None, None)),
        (lambda outputs, y: np.exp(outputs[:, 0]) * y, (FRESH[:, :4], np.arange(5.0))),
    ):
        e = InfluenceExplainer(model, target=target, method="refit").fit(X, y)
        queries = e._queries(*asked)
        found = e._engine.perturbation(queries, AT)
        assert_allclose(found, differences(e, queries, AT), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("case", named("softmax-lbfgs", "logistic-sparse", "lasso"), ids=str)
def test_conjugate_gradients_agree(case):
    assert_allclose(
        slopes(case, [3, ROW], solver="cg"), slopes(case, [3, ROW]), rtol=1e-7, atol=1e-9
    )


# -- losses with kinks ----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_losses_of_queries_keep_their_kinks():
    X, y = WIDE[:, :3], (REAL + WIDE[:, 0] - WIDE[:, 1] > 0).astype(int)
    model = LinearSVC(loss="hinge", C=0.5, **TIGHT).fit(X, y)
    e = InfluenceExplainer(model).fit(X, y)
    assert e.method_ == "exact"
    w, b = model.coef_[0], model.intercept_[0]
    beside = (1.0 + np.array([[0.015], [-0.015]]) - b) * w / (w @ w)  # outputs 1.015 and 0.985
    queries, rows = e._queries(beside, np.ones(2, dtype=int)), np.arange(0, 24, 4)
    found = e._engine.perturbation(queries, rows)
    assert_allclose(found, differences(e, queries, rows, 1e-5), rtol=1e-5, atol=1e-8)
    assert not found[0].any() and found[1].any()


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
def test_an_interval_of_intercepts_has_no_known_derivative():
    X, y = WIDE[:, :2], np.arange(24) % 2
    e = explain_output(SGDClassifier("hinge", alpha=100.0, random_state=0), X, y)
    with pytest.warns(DegenerateDeletionWarning, match="No row lies on the margin"):
        e._engine.perturbation(e._queries(X[:3], None), AT)


@pytest.mark.parametrize("target", ["loss", "decision_function", "params"])
def test_quantiles_pass_through_the_rows_they_pass_through(target):
    X = WIDE[:, :3]
    model = QuantileRegressor(quantile=0.3, alpha=0.01).fit(X, REAL)
    e = InfluenceExplainer(model, target=target).fit(X, REAL)
    queries = e._queries(*((None, None) if target == "params" else (FRESH[:, :3], NEW[[0] * 5])))
    found = e._engine.perturbation(queries, np.arange(24))
    felt = np.flatnonzero(found.any(axis=(0, 2)))
    assert 2 <= len(felt) <= 4
    rows = np.append(felt, [row for row in range(6) if row not in felt][:2])
    expected = differences(e, queries, rows, 1e-5)
    assert_allclose(found[:, rows], expected, rtol=1e-6, atol=1e-9)


def test_quantiles_with_several_minima_warn_of_their_derivatives():
    X, y = np.array([[0.0], [0.0], [1.0], [1.0]]), np.array([0.0, 1.0, 5.0, 3.0])
    e = explain_output(QuantileRegressor(quantile=0.5, alpha=0.0), X, y)
    with pytest.warns(DegenerateDeletionWarning, match="several minima, or more rows lie on it"):
        e._engine.perturbation(e._queries(X, None), np.arange(4))

"""Replaced rows of linear models against real refits, and derivatives against differences."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import DegenerateDeletionWarning
from tests.test_deletion.linear import (
    SMOOTH,
    explained,
    losses,
    named,
    relative_error,
    replaced,
)
from tests.test_deletion.test_linear import CURVED, QUADRATIC
from tests.test_objectives.cases import fitted

ROW = 4


def dense(X):
    return (X.toarray() if sparse.issparse(X) else X).astype(np.float64)


def other_values(case, rows):
    """Inputs that differ where they were not 0, and targets of other rows, other than theirs."""
    _, data, _, _ = fitted(case)
    X = dense(data.X[rows])
    x = np.where(X != 0, X + 0.7 * np.random.default_rng(3).normal(size=X.shape), 0.0)
    y = data.y[(np.asarray(rows) + 24) % 60].copy()
    if y.ndim == 1:
        for k, row in enumerate(rows):
            others = data.y[data.y != data.y[row]]
            y[k] = others[(7 * k) % len(others)]
    return x.astype(data.X.dtype), y


def scores(case, rows, new, **options):
    _, data, _, _ = fitted(case)
    explainer = explained(case, **options)
    return explainer.score_replacement(*new, rows=rows, queries=(data.X, data.y))


# -- replacements ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_refit_is_the_refit_with_the_row_replaced(case):
    _, data, _, _ = fitted(case)
    x, y = other_values(case, [ROW])
    before = losses(case, replaced(case, ROW, dense(data.X[[ROW]]), data.y[ROW]))
    truth = losses(case, replaced(case, ROW, x, y[0])) - before
    found = scores(case, [ROW], (x, y), method="refit")[:, 0]
    assert np.linalg.norm(found - truth) <= 1e-8 * np.linalg.norm(truth) + 1e-12


@pytest.mark.parametrize("case", QUADRATIC, ids=str)
def test_newton_is_exact_for_quadratic_objectives(case):
    rows = [3, 17, 17, 40]
    new = other_values(case, rows)
    truth = scores(case, rows, new, method="refit")
    assert relative_error(scores(case, rows, new, method="newton"), truth) <= 1e-8


@pytest.mark.parametrize("case", CURVED, ids=str)
def test_newton_is_nearer_than_first_order(case):
    rows = np.arange(0, 60, 2)
    X = fitted(case)[1].X[rows]
    # Another label is as likely to send a Newton step too far as not far enough.
    new = X + 0.2 * (other_values(case, rows)[0] - X), None
    truth, newton, first = (
        scores(case, rows, new, method=method) for method in ("refit", "newton", "first_order")
    )
    assert relative_error(newton, truth) < relative_error(first, truth)


@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
@pytest.mark.parametrize("case", named("logistic-balanced", "lasso", "ridge-wide"), ids=str)
def test_laws_of_replacements(case, method):
    _, data, _, _ = fitted(case)
    rows = np.array([5, 17, 5, 33])
    x, y = other_values(case, rows)
    found = scores(case, rows, (x, y), method=method)
    order = [2, 0, 3, 1]
    moved = scores(case, rows[order], (x[order], y[order]), method=method)
    assert_allclose(moved, found[:, order], rtol=1e-9, atol=1e-12)
    with config_context(working_memory=0.01):
        blocked = scores(case, rows, (x, y), method=method)
    assert_allclose(blocked, found, rtol=1e-9, atol=1e-12)
    same = scores(case, rows, (data.X[rows], data.y[rows]), method=method)
    assert_allclose(same, 0.0, atol=1e-13)
    labels = scores(case, rows, (None, y), method=method)
    assert_allclose(labels, scores(case, rows, (data.X[rows], y), method=method), atol=1e-13)


@pytest.mark.parametrize("case", named("softmax-lbfgs", "logistic-sparse", "lasso"), ids=str)
@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_conjugate_gradients_agree(case, method):
    rows = [3, ROW]
    new = other_values(case, rows)
    expected = scores(case, rows, new, method=method)
    found = scores(case, rows, new, method=method, solver="cg")
    assert_allclose(found, expected, rtol=1e-7, atol=1e-9)


def test_fixed_class_weights_are_those_of_the_fit():
    (case,) = named("logistic-balanced")
    estimator, data, fit, _ = fitted(case)
    x, y = other_values(case, [ROW])
    (problem,) = fit.problems
    weights = problem.weights / data.sample_weight
    held = {label.item(): weights[data.y == label][0] for label in estimator.classes_}
    twin = clone(estimator).set_params(class_weight=held)
    twin.fit(data.X, data.y, sample_weight=data.sample_weight)
    options = {"method": "refit", "class_weights": "fixed"}
    found = scores(case, [ROW], (x, y), **options)
    e = InfluenceExplainer(twin, method="refit")
    e.fit(data.X, data.y, sample_weight=data.sample_weight)
    expected = e.score_replacement(x, y, rows=[ROW], queries=(data.X, data.y))
    assert_allclose(found, expected, rtol=1e-8, atol=1e-10)
    assert relative_error(scores(case, [ROW], (x, y), method="refit"), expected) > 1e-3


# -- rows that leave the span of the others -------------------------------------------------

rng = np.random.default_rng(0)
WIDE, REAL = rng.normal(size=(24, 40)), rng.normal(size=24)
FAR, FRESH = rng.normal(size=(3, 40)), rng.normal(size=(5, 40))
FAR[1] = 0.4 * WIDE[4] + 0.6 * WIDE[8]  # a row within the span
AT = np.array([2, 4, 9])
NEW = np.array([1.5, -0.5, 3.0])


def refits(model, X, y, new, new_y, at, queries):
    before, changes = clone(model).fit(X, y).predict(queries), []
    for i, x, target in zip(at, new, new_y, strict=True):
        other, targets = X.copy(), y.copy()
        other[i], targets[i] = x, target
        changes.append(clone(model).fit(other, targets).predict(queries) - before)
    return np.transpose(changes)


def explain_output(model, X, y, **options):
    return InfluenceExplainer(clone(model).fit(X, y), target="decision_function", **options).fit(
        X, y
    )


@pytest.mark.parametrize("method", ["newton", "refit"])
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("model", [Ridge(2.0), LinearRegression()], ids=["ridge", "ols"])
def test_rows_outside_the_span_of_the_others(model, intercept, method):
    model = clone(model).set_params(fit_intercept=intercept)
    explainer = explain_output(model, WIDE, REAL, method=method)
    found = explainer.score_replacement(FAR, NEW, rows=AT, queries=(FRESH, None))
    truth = refits(model, WIDE, REAL, FAR, NEW, AT, FRESH)
    assert_allclose(found, truth, rtol=1e-8, atol=1e-10)
    params = InfluenceExplainer(clone(model).fit(WIDE, REAL), method=method, target="params")
    moved = params.fit(WIDE, REAL).score_replacement(FAR, NEW, rows=AT, queries=None)
    predicted = FRESH @ moved[:40] + (moved[40] if intercept else 0.0)
    assert_allclose(predicted, truth, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", ["newton", "refit"])
@pytest.mark.parametrize("kind", ["constant", "sum", "alone"])
def test_columns_that_rows_did_not_tell_apart(kind, method):
    X, new = WIDE[:, :5].copy(), FAR[:, :5].copy()
    if kind == "constant":
        X[:, 3] = 4.0
    elif kind == "sum":
        X[:, 3] = X[:, 0] + X[:, 1]
    else:
        X[:, 3], X[2, 3], new[0, 3] = 0.0, 2.0, 0.0  # its only row goes
    found = explain_output(LinearRegression(), X, REAL, method=method).score_replacement(
        new, NEW, rows=AT, queries=(FRESH[:, :5], None)
    )
    truth = refits(LinearRegression(), X, REAL, new, NEW, AT, FRESH[:, :5])
    assert_allclose(found, truth, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("solver", ["newton-cholesky", "lbfgs"])
def test_labels_of_wide_rows(solver):
    y = (REAL > 0).astype(int)
    model = LogisticRegression(C=0.3, solver=solver, tol=1e-12, max_iter=5000)
    e = InfluenceExplainer(model.fit(WIDE, y), method="refit").fit(WIDE, y)
    found = e.score_replacement(FAR, 1 - y[AT], rows=AT, queries=(FRESH, np.ones(5, dtype=int)))

    def loss(X, y):
        return (
            -clone(model)
            .set_params(solver="newton-cholesky")
            .fit(X, y)
            .predict_log_proba(FRESH)[:, 1]
        )

    for column, i in enumerate(AT):
        other, labels = WIDE.copy(), y.copy()
        other[i], labels[i] = FAR[column], 1 - y[i]
        assert_allclose(
            found[:, column], loss(other, labels) - loss(WIDE, y), rtol=1e-7, atol=1e-9
        )


# -- quantile regression --------------------------------------------------------------------


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
@pytest.mark.parametrize("intercept", [True, False])
def test_quantiles_by_warm_refits(intercept, form):
    model = QuantileRegressor(quantile=0.3, alpha=0.02, fit_intercept=intercept)
    X, at = WIDE[:, :4], np.arange(8)
    new = X[at] + 0.8 * FAR[0, :4]
    found = explain_output(model, form(X), REAL, method="auto").score_replacement(
        form(new), REAL[at] + 0.3, rows=at, queries=(FRESH[:, :4], None)
    )
    truth = refits(model, X, REAL, new, REAL[at] + 0.3, at, FRESH[:, :4])
    assert_allclose(found, truth, rtol=1e-6, atol=1e-6)
    assert found.any()


def test_a_pipeline_asks_about_rows_behind_its_heads():
    X, y = WIDE[:, :4], (REAL > 0).astype(int)
    steps = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10)).fit(X, y)
    scaled = steps[0].transform(X)
    whole = InfluenceExplainer(steps, method="refit").fit(X, y)
    inner = InfluenceExplainer(steps[1], method="refit").fit(scaled, y)
    given = {"rows": AT, "queries": (X, y)}
    found = whole.score_replacement(FAR[:, :4], 1 - y[AT], **given)
    given["queries"] = (scaled, y)
    expected = inner.score_replacement(steps[0].transform(FAR[:, :4]), 1 - y[AT], **given)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert_allclose(whole.perturbation(X, y), inner.perturbation(scaled, y), rtol=1e-9, atol=1e-12)


# -- losses with kinks ----------------------------------------------------------------------

TIGHT = {"tol": 1e-9, "max_iter": 10**5, "random_state": 0}


def parameters(model):
    coef = np.atleast_2d(model.coef_)
    return np.column_stack([coef, np.atleast_1d(model.intercept_)]).ravel()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    "kind, form",
    [("hinge", sparse.csr_array), ("balanced", np.asarray), ("epsilon", np.asarray)],
    ids=["hinge", "balanced", "epsilon"],
)
def test_kinks_are_kept(kind, form):
    X, at = WIDE[:, :3], np.array([5, 11])
    signal = REAL + X @ [1.0, -1.0, 0.5]
    new, y = X[at] + FAR[0, :3], np.digitize(signal, [-0.7, 0.7])
    new_y = (y[at] + 1) % 3
    model = LinearSVC(loss="hinge", C=0.5, **TIGHT)
    if kind == "balanced":
        model.set_params(class_weight="balanced")
    elif kind == "epsilon":
        model, y, new_y = LinearSVR(epsilon=0.3, C=0.5, **TIGHT), signal, signal[at] + 2.0
    before = clone(model).fit(X, y)
    e = InfluenceExplainer(before, target="params").fit(form(X), y)
    found = e.score_replacement(form(new), new_y, rows=at, queries=None)
    for column, i in enumerate(at):
        other, targets = X.copy(), y.copy()
        other[i], targets[i] = new[column], new_y[column]
        after = clone(model).fit(other, targets)
        moved = parameters(after) - parameters(before)
        assert_allclose(found[:, column], moved, rtol=1e-6, atol=1e-7)


# -- what is refused or warned of -----------------------------------------------------------


def test_targets_that_the_model_does_not_know():
    X, y = WIDE[:, :3], np.where(REAL > 0, "b", "a")
    e = InfluenceExplainer(LogisticRegression().fit(X, y)).fit(X, y)
    with pytest.raises(ValueError, match="y holds 'c', which is none of the 2 labels"):
        e.score_replacement(y_new=["c"], rows=[0], queries=(X, y))
    with pytest.raises(ValueError, match="There are 2 new targets and 1 positions"):
        e.score_replacement(y_new=["a", "b"], rows=[0], queries=(X, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gamma = InfluenceExplainer(GammaRegressor().fit(X, np.exp(REAL))).fit(X, np.exp(REAL))
    with pytest.raises(ValueError, match="takes targets that are positive"):
        gamma.score_replacement(y_new=[-1.0], rows=[0], queries=(X, np.exp(REAL)))


@pytest.mark.parametrize("method", ["newton", "refit"])
def test_rows_far_away_cost_no_digits(method):
    X, new = WIDE[:, :4], FAR[:, :4] * np.array([[1e6], [1e4], [1.0]])
    truth = refits(LinearRegression(), X, REAL, new, NEW, AT, FRESH[:, :4])
    found = explain_output(LinearRegression(), X, REAL, method=method).score_replacement(
        new, NEW, rows=AT, queries=(FRESH[:, :4], None)
    )
    assert_allclose(found, truth, rtol=1e-7, atol=1e-9)


def test_losses_that_overflow():
    X, y = WIDE[:, :3], np.abs(np.round(REAL * 2))
    given = {"rows": [0, 0], "queries": (X, y)}
    far = np.array([[1.0], [-1.0]]) * FAR[:1, :3]
    model = PoissonRegressor(tol=1e-10).fit(X, y)
    e = InfluenceExplainer(model).fit(X, y)
    with pytest.raises(ValueError, match="loss of what takes the place of row 0 is infinite"):
        e.score_replacement(1e6 * far, **given)
    with pytest.raises(ValueError, match=r"new rows hold .*e\+160, and sums of products"):
        e.score_replacement(1e160 * far, **given)
    e = InfluenceExplainer(model, method="refit").fit(X, y)
    assert np.isfinite(e.score_replacement(1e5 * far, **given)).all()


def test_the_last_row_of_a_class_keeps_its_label_or_is_warned_of():
    X, y = WIDE[:, :3], np.where(REAL > 0, 1, 0)
    y[3] = 2
    e = InfluenceExplainer(LogisticRegression(tol=1e-10).fit(X, y)).fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match=r"replacing some rows \(1 of 2: 3\)"):
        e.score_replacement(y_new=[0, 1], rows=[3, 4], queries=(X, y))
    e.score_replacement(X_new=FAR[:1, :3], rows=[3], queries=(X, y))  # its label stays


def test_a_relabelled_row_of_two_that_separates():
    X = np.array([[-2.0], [-1.0], [1.0], [2.0], [0.5], [-0.5]])
    y = np.array([0, 0, 1, 1, 0, 1])
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    e = InfluenceExplainer(model, method="refit").fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match=r"not determined after replacing"):
        e.score_replacement(np.array([[-0.5], [0.5]]), [0, 1], rows=[4, 5], queries=(X, y))


def test_a_penalty_that_leaves_no_coefficient():
    random = np.random.default_rng(0)
    X, y = random.normal(size=(24, 2)), np.arange(24) % 2
    model = LinearSVC(penalty="l1", dual=False, C=1e-4).fit(X, y)
    assert not model.coef_.any()
    explainer = InfluenceExplainer(model).fit(X, y)
    queries = X[:3], y[:3]
    zero = {"rtol": 0, "atol": 0}
    assert_allclose(explainer.score_influence(*queries), np.zeros((3, 24)), **zero)
    scores = explainer.score_replacement(X[5:7], rows=[0, 1], queries=queries)
    assert_allclose(scores, np.zeros((3, 2)), **zero)
    assert_allclose(explainer.perturbation(*queries, rows=[0]), np.zeros((3, 1, 2)), **zero)
    assert_allclose(explainer.transform(X[:3]), np.zeros((3, 3)), **zero)

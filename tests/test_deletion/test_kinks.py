"""Deletion from linear models with kinked losses: the end of a path is proved to be a minimum."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.optimize import lsq_linear
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR

from skinfluence import InfluenceExplainer
from skinfluence.deletion.svm.features import FeatureRows
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from skinfluence.objectives.losses import Hinge

N = 50
_rng = np.random.default_rng(5)
X = _rng.normal(size=(N, 3)) * [1.0, 0.3, 2.0] + [0.5, 0.0, 1.0]
SCORE = X @ [1.0, -2.0, 0.3] + 0.8 * _rng.normal(size=N)
TWO = np.where(SCORE > 0.5, "yes", "no")
THREE = np.argmax(
    np.column_stack([X[:, 0], 3.0 * X[:, 1], 1.0 - X[:, 0]]) + _rng.normal(size=(N, 3)), axis=1
)
# The fit of the middle class is 0, where all rows of the others are at the margin together.
ORDERED = np.digitize(SCORE, [-0.2, 1.0])
NUMBERS = SCORE
WEIGHTS = _rng.uniform(0.3, 2.0, size=N)
WEIGHTS[7] = 0.0
SOME = [2, 7, *range(0, N, 6)]
WIDE = _rng.normal(size=(30, 45))
STEPS = {"max_iter": 2_000, "tol": 1e-5, "random_state": 0}
SVM = {"random_state": 0, "max_iter": 100_000}


def cases():
    svc, svr = LinearSVC(loss="hinge", **SVM), LinearSVR(epsilon=0.3, **SVM)
    yield "svc", svc, X, TWO, WEIGHTS
    yield "svc-scaled", clone(svc).set_params(intercept_scaling=4.0, C=5.0), X, TWO, None
    yield "svc-free", clone(svc).set_params(fit_intercept=False), X, TWO, WEIGHTS
    yield "svc-classes", clone(svc).set_params(class_weight="balanced"), X, THREE, WEIGHTS
    yield "svc-dict", clone(svc).set_params(class_weight={1: 3.0}, C=0.1), X, THREE, None
    yield "svc-sparse", svc, sparse.csr_array(np.where(np.abs(X) > 0.4, X, 0.0)), TWO, WEIGHTS
    yield "svc-wide", clone(svc).set_params(C=0.01), WIDE, TWO[:30], None
    yield "svr", svr, X, NUMBERS, WEIGHTS
    yield "svr-lad", clone(svr).set_params(epsilon=0.0, C=10.0), X, NUMBERS, None
    yield "svr-wide", clone(svr).set_params(C=0.01), WIDE, NUMBERS[:30], WEIGHTS[:30]
    sgd = SGDClassifier(alpha=0.01, **STEPS)
    yield "sgd", sgd, X, TWO, WEIGHTS
    yield "sgd-classes", clone(sgd).set_params(class_weight="balanced"), X, THREE, WEIGHTS
    yield "sgd-free", clone(sgd).set_params(fit_intercept=False, average=True), X, TWO, None
    yield "sgd-tube", clone(sgd).set_params(loss="epsilon_insensitive"), X, TWO, WEIGHTS
    tube = SGDRegressor(loss="epsilon_insensitive", epsilon=0.2, alpha=0.02, **STEPS)
    yield "sgdr", tube, X, NUMBERS, WEIGHTS
    yield "sgdr-sparse", tube, sparse.csr_array(np.where(X > 0, X, 0.0)), NUMBERS, None
    yield "sgdr-lad", clone(tube).set_params(epsilon=0.0), X, NUMBERS, None
    yield "ovr", OneVsRestClassifier(svc), X, ORDERED, None
    yield "outputs", MultiOutputRegressor(svr), X, np.column_stack([NUMBERS, X[:, 0]]), WEIGHTS


CASES = {case[0]: case[1:] for case in cases()}
every = pytest.mark.parametrize("name", CASES)


def explained(case, **options):
    estimator, rows, y, weights = case
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", NotStationaryWarning)  # steps end far from the minimum
        given = {} if weights is None else {"sample_weight": weights}
        fitted = clone(estimator).fit(rows, y, **given)
        return InfluenceExplainer(fitted, **options).fit(rows, y, sample_weight=weights)


def assert_minimum(objective, theta):
    """There are slopes of the kinks that balance the penalty: the proof of a convex minimum."""
    design, y, w = objective.design.dense(), objective.y, objective.weights
    loss, eta = objective.loss.raw, (design @ theta)[:, 0]
    margins = isinstance(loss, Hinge)
    u, turn = (y * eta, y) if margins else (eta - y, np.ones(len(y)))
    kinks = [1.0] if margins else [-loss.epsilon, loss.epsilon]
    step = 1e-8 * max(1.0, np.abs(y).max())
    ends = np.sort([w * turn * loss.slope(u - step), w * turn * loss.slope(u + step)], axis=0)
    pull = objective.m * objective.penalty.l2[:, 0] * theta[:, 0] + design.T @ ends.mean(axis=0)
    size = np.abs(w[:, None] * design).sum(axis=0)
    bent = (np.abs(u[:, None] - kinks) <= step).any(axis=1) & (w > 0)
    if bent.any():
        half = 0.5 * np.ptp(ends[:, bent], axis=0)
        columns = (half[:, None] * design[bent] / size).T
        found = lsq_linear(columns, -pull / size, bounds=(-1.0, 1.0), method="bvls", tol=1e-15)
        pull = pull + size * (columns @ found.x)
    assert_allclose(pull / size, 0.0, atol=1e-9)


@every
def test_the_end_of_every_path_is_a_minimum(name):
    case = CASES[name]
    explainer = explained(case)
    assert explainer.method_ == "exact"
    assert explainer.stationarity_[1] < 1e-13
    for part in explainer._engine.parts:
        assert_minimum(part.objective, part.theta)
        rows = np.array([row for row in SOME if row < case[1].shape[0]])
        for row, move in zip(rows, np.moveaxis(part.moves(rows), 2, 0), strict=True):
            assert_minimum(part.objective.without(np.array([row])), part.theta + move)
        group = np.array([1, 4, 9, 20, 21])
        moved = part.theta + part.group_moves(group)[:, :, 0]
        assert_minimum(part.objective.without(group), moved)


@every
def test_scores_are_those_of_refits(name):
    estimator, rows, y, weights = CASES[name]
    explainer = explained((estimator, rows, y, weights))
    scores = explainer.score_influence(rows, y)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-9, atol=1e-12)
    assert explainer.validate(rows, y, n_refits=3, random_state=0).relative_error < 1e-8


def test_refits_of_scikit_learn_agree_as_far_as_they_go():
    tight = {"tol": 1e-9, "max_iter": 10**6, "random_state": 0}
    for model in (LinearSVC(loss="hinge", **tight), LinearSVR(epsilon=0.3, **tight)):
        y = TWO if isinstance(model, LinearSVC) else NUMBERS
        d_params = explained((model, X, y, None)).d_params()
        whole = clone(model).fit(X, y)
        for row in (3, 11, 40):
            kept = np.delete(np.arange(N), row)
            refit = clone(model).fit(X[kept], y[kept])
            change = np.append(refit.coef_ - whole.coef_, refit.intercept_ - whole.intercept_)
            assert_allclose(-d_params[row], change, atol=2e-5)


def test_a_free_intercept_is_that_of_a_kernel_machine():
    """The mean over rows becomes a sum, alpha n = 1 / C; and n is one less without a row."""
    sgd = explained((SGDClassifier(alpha=0.02, **STEPS), X, TWO, None), target="decision_function")
    svc = InfluenceExplainer(
        SVC(kernel="linear", C=1.0 / (0.02 * N)).fit(X, TWO), target="decision_function"
    ).fit(X, TWO)
    before = svc._engine.exact.outputs(X)[:, 0]
    part = sgd._engine.parts[0]
    assert_allclose((part.objective.outputs(part.theta))[:, 0], before, rtol=1e-9, atol=1e-10)
    kept = np.arange(1, N)
    refit = SVC(kernel="linear", C=1.0 / (0.02 * (N - 1))).fit(X[kept], TWO[kept])
    after = InfluenceExplainer(refit).fit(X[kept], TWO[kept])._engine.exact.outputs(X)[:, 0]
    sign = np.where(before > 0, 1.0, -1.0)
    assert_allclose(sgd.score_influence(X)[:, 0], sign * (after - before), rtol=1e-8, atol=1e-9)


def test_rows_beyond_the_margin_change_nothing():
    explainer = explained((LinearSVC(loss="hinge", **SVM), X, TWO, None))
    part = explainer._engine.parts[0]
    margin = part.objective.y * part.objective.outputs(part.theta)[:, 0]
    idle = margin > 1.0 + 1e-9
    assert 5 < idle.sum() < N
    assert_array_equal(explainer.score_influence(X, TWO)[:, idle], 0.0)
    assert_array_equal(explainer.d_params()[idle], 0.0)
    # Where the loss is a mean, the penalty falls with every row.
    mean = explained((SGDClassifier(alpha=0.01, **STEPS), X, TWO, None))
    assert (mean.d_params() != 0.0).any(axis=1).all()


def test_parameters_and_outputs_can_be_asked_for():
    case = (LinearSVC(loss="hinge", **SVM), X, THREE, WEIGHTS)
    params = explained(case, target="params").score_influence(None)
    explainer = explained(case)
    assert_allclose(params, -explainer.d_params().T, rtol=1e-12)
    assert explainer.param_names_[4] == "1:x0"
    one = explained(case, target="coef:1:x0").score_influence(None)
    assert_allclose(one[0], params[4], rtol=1e-12)
    out = explained(case, target="decision_function", output=2).score_influence(X)
    assert_allclose(out, X @ params[8:11] + params[11], rtol=1e-9, atol=1e-12)


# -- beside smoothing -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({}, "exact"),
        ({"method": "refit"}, "exact"),
        ({"method": "newton"}, "newton"),
        ({"method": "first_order"}, "first_order"),
        ({"smoothing": 0.1}, "newton"),
        ({"relative": "loss"}, "newton"),
        ({"solver": "cg", "method": "first_order"}, "first_order"),
    ],
    ids=str,
)
def test_derivatives_are_those_of_a_smoothed_loss(options, method):
    explainer = explained((LinearSVC(loss="hinge", **SVM), X, TWO, None), **options)
    assert explainer.method_ == method
    assert np.isfinite(explainer.score_influence(X, TWO)).all()


@pytest.mark.parametrize("option", [{"smoothing": 0.1}, {"relative": "loss"}, {"solver": "cg"}])
def test_refits_have_no_derivatives(option):
    with pytest.raises(ValueError, match="Leave smoothing=None, relative=None"):
        explained((LinearSVC(loss="hinge", **SVM), X, TWO, None), method="refit", **option)


def test_an_l1_penalty_is_smoothed():
    model = SGDClassifier(penalty="l1", alpha=0.01, **STEPS)
    assert explained((model, X, TWO, None)).method_ == "newton"
    with pytest.raises(ValueError, match="kinks of an l2-penalised loss are followed exactly"):
        explained((model, X, TWO, None), method="refit")


def test_machines_with_kernels_are_explained_one_by_one():
    several = OneVsRestClassifier(SVC()).fit(X, THREE)
    with pytest.raises(UnsupportedEstimatorError, match="OneVsRestClassifier of SVC holds a mach"):
        InfluenceExplainer(several).fit(X, THREE)


@pytest.mark.parametrize("rate", ["pa1", "pa2"])
def test_aggressive_steps_are_refused(rate):
    for model in (SGDClassifier(learning_rate=rate), SGDRegressor(learning_rate=rate)):
        with pytest.raises(UnsupportedEstimatorError, match="stops where the rows end, at no min"):
            InfluenceExplainer(model).fit(X, TWO)


def test_there_is_nothing_to_embed_with():
    with pytest.raises(ValueError, match="LinearSVC is followed past its kinks without any"):
        explained((LinearSVC(loss="hinge", **SVM), X, TWO, None)).transform(X)


def test_smoothed_scores_are_near_those_of_the_path():
    rows, y = load_breast_cancer(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)[:200, :5]
    case = (LinearSVC(loss="hinge", C=0.1, **SVM), rows, y[:200], None)
    exact = explained(case).score_influence(rows, y[:200])
    smoothed = explained(case, method="newton").score_influence(rows, y[:200])
    assert 0.6 < np.corrcoef(exact.ravel(), smoothed.ravel())[0, 1] < 0.9999


# -- whatever the rows are ------------------------------------------------------------------------


def test_the_matrix_of_all_rows_is_never_formed(monkeypatch):
    """Products go through the rows, of which a free set holds no more than there are columns."""
    asked = []
    rows_of = FeatureRows.rows
    monkeypatch.setattr(
        FeatureRows, "rows", lambda self, which: asked.append(len(which)) or rows_of(self, which)
    )
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(3_000, 3))
    y = rows[:, 0] + rng.normal(size=3_000) > 0
    explainer = explained((LinearSVC(loss="hinge", **SVM), rows, y, None))
    explainer.self_influence(rows=[0, 1, 2, 3])
    assert max(asked) <= 4


def test_ties_end_at_a_minimum():
    rng = np.random.default_rng(2)
    rows = rng.integers(-2, 3, size=(40, 2)).astype(float)
    y = (rows[:, 0] + rng.normal(size=40) > 0).astype(int)
    t = np.round(rows[:, 0] + rng.normal(size=40))
    for model, targets in (
        (LinearSVC(loss="hinge", **SVM), y),
        (LinearSVC(loss="hinge", C=1e-3, fit_intercept=False, **SVM), y),
        (LinearSVR(epsilon=0.0, C=0.5, **SVM), t),
        (SGDClassifier(alpha=0.05, **STEPS), y),
    ):
        (part,) = explained((model, rows, targets, None))._engine.parts
        for row in range(0, 40, 3):
            without = part.objective.without(np.array([row]))
            assert_minimum(without, part.theta + part.moves(np.array([row]))[:, :, 0])


def test_the_last_row_of_a_class_is_flagged():
    y = np.array(["a", "b"] * 20 + ["a"] * 9 + ["z"])
    explainer = explained((LinearSVC(loss="hinge", **SVM), X, y, None))
    with pytest.warns(DegenerateDeletionWarning, match=r"1 of 50: 49"):
        scores = explainer.score_influence(X, y)
    assert np.isfinite(scores).all()


def test_a_pipeline_and_threads_change_nothing():
    pipeline = make_pipeline(StandardScaler(), LinearSVC(loss="hinge", **SVM)).fit(X, TWO)
    alone = InfluenceExplainer(pipeline[-1]).fit(pipeline[0].transform(X), TWO)
    expected = alone.score_influence(pipeline[0].transform(X), TWO)
    several = InfluenceExplainer(pipeline, n_jobs=2).fit(X, TWO)
    assert_allclose(several.score_influence(X, TWO), expected, rtol=1e-10, atol=1e-12)
    order = np.random.default_rng(0).permutation(N)
    pipeline = make_pipeline(StandardScaler(), LinearSVC(loss="hinge", **SVM))
    turned = InfluenceExplainer(pipeline.fit(X[order], TWO[order])).fit(X[order], TWO[order])
    assert_allclose(turned.score_influence(X, TWO), expected[:, order], rtol=1e-8, atol=1e-10)


def test_weights_are_repetitions_where_the_loss_is_a_sum():
    times = np.random.default_rng(0).integers(1, 3, size=N)
    copies = np.repeat(np.arange(N), times)
    weighted = explained((LinearSVC(loss="hinge", **SVM), X, THREE, times.astype(float)))
    repeated = explained((LinearSVC(loss="hinge", **SVM), X[copies], THREE[copies], None))
    groups = [np.flatnonzero(copies == i) for i in range(N)]
    expected = repeated.score_groups(X, THREE, groups=groups)
    assert_allclose(weighted.score_influence(X, THREE), expected, rtol=1e-8, atol=1e-10)


# -- other values of rows -------------------------------------------------------------------------


def refitted_change(case, name, X_new, y_new, row):
    """Change of all queries' losses when row `row` is another one, by a fit of its own."""
    estimator, rows, y, weights = case
    swapped_rows = rows.tolil() if sparse.issparse(rows) else rows.copy()
    swapped_rows[row] = X_new
    swapped_rows = sparse.csr_array(swapped_rows) if sparse.issparse(rows) else swapped_rows
    swapped = y.copy()
    swapped[row] = y_new
    after = explained((estimator, swapped_rows, swapped, weights))._engine
    before = explained(case)._engine
    fit = before.linear_fit.raw
    total = 0.0
    for old, new, problem in zip(before.parts, after.parts, fit.problems, strict=True):
        moved = old.objective.design.times(
            old.objective.coordinates.from_user(new.objective.coordinates.to_user(new.theta))
        )
        loss = problem.loss
        total = (
            total
            + loss.value(moved, problem.y)
            - loss.value(old.objective.outputs(old.theta), problem.y)
        )
    return total


@pytest.mark.parametrize(
    "name", ["svc", "svc-classes", "svc-sparse", "svr", "sgd", "sgd-classes", "sgdr", "svc-free"]
)
def test_replacements_are_refits(name):
    case = CASES[name]
    _, rows, y, _ = case
    at = np.array([3, 12, 20])
    new = rows[[30, 31, 32]]
    targets = y[[5, 30, 44]]
    explainer = explained(case)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scores = explainer.score_replacement(new, targets, rows=at, queries=(rows, y))
        for j, row in enumerate(at):
            X_new = new[[j]].toarray() if sparse.issparse(rows) else new[j]
            expected = refitted_change(case, name, X_new, targets[j], row)
            assert_allclose(scores[:, j], expected, rtol=1e-8, atol=1e-9)


def test_replacements_may_leave_the_span_of_the_rows():
    case = CASES["svr-wide"]
    new, labels = np.random.default_rng(3).normal(size=(2, 45)), np.array([0.3, -1.0])
    explainer = explained(case, target="decision_function")
    scores = explainer.score_replacement(new, labels, rows=[4, 9], queries=new)
    for j, row in enumerate((4, 9)):
        rows, y = case[1].copy(), case[2].copy()
        rows[row], y[row] = new[j], labels[j]
        after = explained((case[0], rows, y, case[3]), target="decision_function")
        params = [
            part.objective.coordinates.to_user(part.theta)[:, 0]
            for part in (after._engine.parts[0], explainer._engine.parts[0])
        ]
        change = new @ (params[0] - params[1])[:-1] + (params[0] - params[1])[-1]
        assert_allclose(scores[:, j], change, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "target"),
    [
        *((name, "decision_function") for name in ("svc-classes", "svc-free", "svc-wide", "svr")),
        *((name, "decision_function") for name in ("svr-lad", "sgd", "sgdr", "sgd-tube")),
        *((name, "params") for name in ("svc", "svc-wide", "sgd")),
    ],
)
def test_derivatives_are_those_of_refits(name, target):
    estimator, rows, y, weights = CASES[name]
    options = {"target": target, "output": 1 if name == "svc-classes" else None}
    explainer = explained((estimator, rows, y, weights), **options)
    queries = rows[:5] + 0.1
    classifies = hasattr(explainer.estimator_, "classes_")
    asked = y[:5] if classifies and target != "params" else None
    at, step = np.array([0, 3, 8]), 1e-5

    def value(moved):
        fit = explained((estimator, moved, y, weights), **options)._engine
        theta = [
            part.objective.coordinates.to_user(part.theta)[:, 0].ravel() for part in fit.parts
        ]
        if target == "params":
            return np.concatenate(theta)
        has_intercept = fit.parts[0].problem.intercept is not None
        chosen = theta[options["output"] if len(theta) > 1 else 0]
        out = queries @ chosen[: queries.shape[1]] + (chosen[-1] if has_intercept else 0.0)
        if not classifies or len(theta) > 1:
            return out
        return out * np.where(y[:5] == explainer.estimator_.classes_[1], 1.0, -1.0)

    found = explainer.perturbation(None if target == "params" else queries, asked, rows=at)
    for j, row in enumerate(at):
        for feature in (0, 2):
            ends = []
            for sign in (1.0, -1.0):
                moved = rows.copy()
                moved[row, feature] += sign * step
                ends.append(value(moved))
            expected = (ends[0] - ends[1]) / (2.0 * step)
            assert_allclose(found[:, j, feature], expected, rtol=1e-5, atol=1e-6)

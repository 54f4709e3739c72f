"""RepresenterExplainer of linear estimators: formulas by hand, sums, classes, slopes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    HuberRegressor,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.svm import LinearSVC, LinearSVR

from skinfluence import RepresenterExplainer, polish
from tests.cases import ROWS, SPARSE, TARGETS
from tests.test_explainers.representers import (
    BINARY,
    CLASSES,
    OUTPUTS,
    QUERIES,
    REAL,
    TIGHT,
    WEIGHTS,
    explain,
    outputs_of,
    refused,
)

# -- formulas by hand ---------------------------------------------


def test_logistic_regression_by_hand():
    """alpha = -C w (p - y), with C = 0.7."""
    model = LogisticRegression(C=0.7, **TIGHT).fit(ROWS, BINARY, sample_weight=WEIGHTS)
    model = polish(model, ROWS, BINARY, WEIGHTS)
    explainer = explain(model, BINARY, sample_weight=WEIGHTS)
    p, hit = model.predict_proba(ROWS)[:, 1], BINARY == "spam"
    alpha = -0.7 * WEIGHTS * (p - hit)
    assert_allclose(explainer.alpha_[:, 0], alpha, rtol=1e-9, atol=1e-13)
    scores = explainer.score_influence(QUERIES, target_class="spam")
    assert_allclose(scores, alpha * (QUERIES @ ROWS.T), rtol=1e-9, atol=1e-12)
    assert_allclose(explainer.intercept_, model.intercept_, rtol=1e-10)
    assert explainer.l2_ == pytest.approx(1 / 0.7)


def test_softmax_by_hand():
    model = polish(LogisticRegression(C=2.0, **TIGHT).fit(ROWS, CLASSES), ROWS, CLASSES)
    explainer = explain(model, CLASSES)
    hit = CLASSES[:, None] == model.classes_
    alpha = -2.0 * (model.predict_proba(ROWS) - hit)
    assert_allclose(explainer.alpha_, alpha, rtol=1e-9, atol=1e-13)
    assert_allclose(explainer.alpha_.sum(axis=1), 0.0, atol=1e-14)
    for k, label in enumerate(model.classes_):
        scores = explainer.score_influence(QUERIES, target_class=label)
        assert_allclose(scores, alpha[:, k] * (QUERIES @ ROWS.T), rtol=1e-9, atol=1e-12)


def test_ridge_has_the_dual_coefficients_of_kernel_ridge():
    model = Ridge(alpha=0.8, fit_intercept=False).fit(ROWS, OUTPUTS)
    kernel = KernelRidge(alpha=0.8, kernel="linear").fit(ROWS, OUTPUTS)
    explainer = explain(model, OUTPUTS)
    assert_allclose(explainer.alpha_, kernel.dual_coef_, rtol=1e-9, atol=1e-12)
    assert explainer.l2_ == pytest.approx(1.6)  # the loss is r^2: twice alpha


def test_ridge_by_hand():
    model = Ridge(alpha=3.0).fit(ROWS, REAL, sample_weight=WEIGHTS)
    explainer = explain(model, REAL, sample_weight=WEIGHTS)
    residuals = model.predict(ROWS) - REAL
    assert_allclose(explainer.alpha_[:, 0], -WEIGHTS * residuals / 3.0, rtol=1e-9, atol=1e-13)


def test_liblinear_shares_its_intercept_out():
    options = {"solver": "liblinear", "intercept_scaling": 3.0, **TIGHT}
    model = LogisticRegression(C=0.3, **options).fit(ROWS, BINARY)
    explainer = explain(polish(model, ROWS, BINARY), BINARY)
    alpha = -0.3 * (model.predict_proba(ROWS)[:, 1] - (BINARY == "spam"))
    assert_allclose(explainer.alpha_[:, 0], alpha, atol=1e-4)
    scores = explainer.score_influence(QUERIES, target_class="spam")
    kernel = QUERIES @ ROWS.T + 9.0
    assert_allclose(scores, explainer.alpha_[:, 0] * kernel, rtol=1e-9, atol=1e-13)
    assert_array_equal(explainer.intercept_, [0.0])
    assert_allclose(scores.sum(axis=1), model.decision_function(QUERIES), atol=1e-4)


# -- every estimator: sums are outputs ---------------------------------------------

ESTIMATORS = {
    "logistic": (LogisticRegression(**TIGHT), BINARY),
    "softmax": (LogisticRegression(**TIGHT), CLASSES),
    "free": (LogisticRegression(fit_intercept=False, **TIGHT), CLASSES),
    "balanced": (LogisticRegression(class_weight="balanced", **TIGHT), CLASSES),
    "liblinear": (LogisticRegression(solver="liblinear", **TIGHT), BINARY),
    "ridge": (Ridge(), REAL),
    "outputs": (Ridge(alpha=np.array([1.0, 5.0])), OUTPUTS),
    "ridge classifier": (RidgeClassifier(), CLASSES),
    "svc": (LinearSVC(**TIGHT), CLASSES),
    "svr": (LinearSVR(loss="squared_epsilon_insensitive", epsilon=0.1, **TIGHT), REAL),
    "poisson": (PoissonRegressor(alpha=0.1, **TIGHT), TARGETS["counts"]),
    "huber": (HuberRegressor(alpha=0.1, **TIGHT), REAL),
    "rest": (OneVsRestClassifier(LogisticRegression(**TIGHT)), CLASSES),
}


@pytest.mark.parametrize("X", [ROWS, SPARSE], ids=["dense", "sparse"])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_values_and_intercept_add_up_to_the_output(name, X):
    estimator, y = ESTIMATORS[name]
    if name == "huber" and X is SPARSE:
        X = SPARSE.toarray()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        explainer = explain(estimator, y, X)
    Z = X[:6]
    model = explainer.estimator_
    own = np.log(model.predict(Z))[:, None] if name == "poisson" else outputs_of(model, Z)
    for k in range(own.shape[1]):
        asked = k
        if hasattr(explainer, "classes_"):
            asked = explainer.classes_[1 if own.shape[1] == 1 else k]
        scores = explainer.score_influence(Z, target_class=asked)
        total = scores.sum(axis=1) + explainer.intercept_[k]
        assert_allclose(total, own[:, k], rtol=1e-4, atol=1e-4)
    if hasattr(explainer, "classes_") and own.shape[1] == 1:
        first = explainer.score_influence(Z, target_class=explainer.classes_[0])
        assert_allclose(first.sum(axis=1) - explainer.intercept_[0], -total, rtol=1e-10)
    validation = explainer.validate(Z)
    assert validation.decomposition_error < 1e-10 * max(1.0, np.abs(own).max())
    assert explainer.reconstruction_.pearson > 0.9999
    assert explainer.stationarity_[1] < 1e-9


def test_hinge_is_smoothed():
    model = LinearSVC(loss="hinge", C=0.5, max_iter=100_000, tol=1e-8).fit(ROWS, BINARY)
    explainer = explain(model, BINARY)
    assert explainer.reconstruction_.pearson > 0.99
    assert explainer.reconstruction_.decomposition_error < 1e-9
    sign = np.where(BINARY == "spam", 1.0, -1.0)
    assert (sign * explainer.alpha_[:, 0] >= 0).all()
    assert (np.abs(explainer.alpha_) <= 0.5 + 1e-12).all()


def test_means_over_rows_are_sums_of_their_number_times_the_penalty():
    options = {"tol": 1e-9, "max_iter": 50_000, "average": True, "random_state": 0}
    model = SGDRegressor(alpha=0.5, learning_rate="invscaling", **options).fit(ROWS, REAL)
    explainer = explain(polish(model, ROWS, REAL), REAL)
    assert explainer.l2_ == pytest.approx(0.5 * len(ROWS))
    assert explainer.reconstruction_.decomposition_error < 1e-10


# -- which class ---------------------------------------------


def test_the_class_is_the_one_named_then_output_then_y_then_the_predicted():
    explainer = explain(LogisticRegression(**TIGHT), CLASSES)
    by_class = {c: explainer.score_influence(QUERIES, target_class=c) for c in explainer.classes_}
    predicted = explainer.estimator_.predict(QUERIES)
    y = np.array([3, 4, 5, 3, 4, 5])
    own = explainer.score_influence(QUERIES)
    given = explainer.score_influence(QUERIES, y)
    each = explainer.score_influence(QUERIES, 8 - y, target_class=y)
    explainer.set_params(output=4).fit(ROWS, CLASSES)
    chosen = explainer.score_influence(QUERIES, y)
    for z in range(len(QUERIES)):
        assert_allclose(own[z], by_class[predicted[z]][z], rtol=1e-13)
        assert_allclose(given[z], by_class[y[z]][z], rtol=1e-13)
        assert_allclose(each[z], by_class[y[z]][z], rtol=1e-13)
        assert_allclose(chosen[z], by_class[4][z], rtol=1e-9, atol=1e-12)


def test_of_two_classes_the_first_has_the_other_sign():
    explainer = explain(LogisticRegression(**TIGHT), BINARY)
    spam, ham = (explainer.score_influence(QUERIES, target_class=c) for c in ("spam", "ham"))
    assert_array_equal(spam, -ham)
    labels = np.array(["ham", "spam"] * 3)
    mixed = explainer.score_influence(QUERIES, target_class=labels)
    assert_array_equal(mixed, np.where(labels[:, None] == "spam", spam, ham))
    assert_array_equal(
        explainer.global_importance("ham"), -explainer.global_importance(target_class="spam")
    )


def test_rows_of_a_class_excite_it():
    for model in (LogisticRegression(**TIGHT), RidgeClassifier()):
        explainer = explain(model, CLASSES)
        if isinstance(model, LogisticRegression):
            for k, label in enumerate(explainer.classes_):
                assert (explainer.alpha_[label == CLASSES, k] > 0).all()
                assert (explainer.alpha_[label != CLASSES, k] < 0).all()
        own = explainer.self_influence()
        assert_allclose(
            own, np.diag(explainer.score_influence(ROWS, CLASSES)), rtol=1e-12, atol=1e-15
        )


def test_outliers_are_rows_with_a_large_alpha_of_their_own_class():
    rng = np.random.default_rng(0)
    y = np.repeat(["ham", "spam"], 40)
    X = rng.normal(size=(80, 3)) + 4.0 * (y == "spam")[:, None]
    y[[5, 50, 70]] = ["spam", "ham", "ham"]
    explainer = explain(LogisticRegression(**TIGHT), y, X)
    assert set(explainer.rank_outliers(3)) == {5, 50, 70}
    order = np.argsort(-np.abs(explainer.alpha_[:, 0]), kind="stable")
    assert_array_equal(explainer.rank_outliers(), order)
    several = explain(Ridge(), OUTPUTS)
    order = np.argsort(-np.linalg.norm(several.alpha_, axis=1), kind="stable")
    assert_array_equal(several.rank_outliers(), order)
    assert_allclose(several.global_importance(), np.linalg.norm(several.alpha_, axis=1))
    assert_array_equal(several.global_importance(1), several.alpha_[:, 1])


def test_suspicion_about_outputs_knows_no_labels():
    y = (CLASSES[0] == CLASSES).astype(int)
    model = LogisticRegression(**TIGHT).fit(ROWS, y)
    wrong = 1 - y
    found = [
        RepresenterExplainer(model, mode="pretrained").fit(ROWS, labels).rank_outliers()
        for labels in (y, wrong)
    ]
    assert_array_equal(*found)


def test_sinks_groups_and_strongest_take_a_class():
    explainer = explain(LogisticRegression(**TIGHT), CLASSES)
    scores = explainer.score_influence(QUERIES, target_class=4)
    out = np.empty_like(scores)
    assert explainer.score_influence(QUERIES, target_class=4, out=out) is out
    assert_array_equal(out, scores)
    total = explainer.score_influence(QUERIES, target_class=4, reduce="mean")
    assert_allclose(total, scores.mean(axis=0), rtol=1e-10, atol=1e-14)
    groups = np.arange(len(ROWS)) % 3
    grouped = explainer.score_groups(QUERIES, groups=groups, target_class=4)
    for g in range(3):
        assert_allclose(grouped[:, g], scores[:, groups == g].sum(axis=1), rtol=1e-10, atol=1e-13)
    values, _ = explainer.proponents(QUERIES, k=4, target_class=4)
    assert_allclose(values, -np.sort(-scores, axis=1)[:, :4], rtol=1e-12)
    assert_array_equal(
        explainer.opponents(QUERIES, k=4, target_class=4, return_scores=False),
        np.argsort(scores, axis=1, kind="stable")[:, :4],
    )
    report = explainer.score_influence(QUERIES, return_report=True)[1]
    assert report["mode"] == "trained"
    assert report["l2"] == explainer.l2_


# -- sensitivity ---------------------------------------------


@pytest.mark.parametrize("name", ["logistic", "softmax", "liblinear", "outputs"])
def test_sensitivity_is_the_slope_of_the_scores(name):
    estimator, y = ESTIMATORS[name]
    explainer = explain(estimator, y)
    asked = {"target_class": 1} if name == "outputs" else {"y": y[:6]}
    slopes = explainer.sensitivity(QUERIES, **asked)
    assert slopes.shape == (6, len(ROWS), 3)
    for j in range(3):
        step = 1e-3 * np.eye(3)[j]
        up = explainer.score_influence(QUERIES + step, **asked)
        down = explainer.score_influence(QUERIES - step, **asked)
        assert_allclose(slopes[:, :, j], (up - down) / 2e-3, rtol=1e-8, atol=1e-11)
    some = explainer.sensitivity(QUERIES, rows=[4, 2], n_samples=3, random_state=0, **asked)
    assert_array_equal(some, slopes[:, [4, 2]])


def test_sensitivities_add_up_to_the_coefficients():
    explainer = explain(LogisticRegression(**TIGHT), CLASSES)
    slopes = explainer.sensitivity(QUERIES, target_class=5)
    coef = polish(explainer.estimator_, ROWS, CLASSES).coef_[2]
    assert_allclose(slopes.sum(axis=1), np.tile(coef, (6, 1)), rtol=1e-8, atol=1e-10)


def test_sensitivities_that_do_not_fit_are_refused():
    explainer = explain(LogisticRegression(**TIGHT), CLASSES)
    with config_context(working_memory=0.001), refused("Pass rows="):
        explainer.sensitivity(QUERIES)
    with refused("must not be negative"):
        explainer.sensitivity(QUERIES, n_samples=-1)
    with refused("number of draws an integer"):
        explainer.sensitivity(QUERIES, n_samples=2.5)
    with refused("position outside"):
        explainer.sensitivity(QUERIES, rows=[99])

"""InfluenceExplainer under changes that must not matter, and at the edges of what it takes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import (
    GammaRegressor,
    HuberRegressor,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from tests.cases import ROWS, TARGETS

BINARY, CLASSES, REAL = (TARGETS[name] for name in ("binary", "classes", "real"))
TIGHT = {"tol": 1e-8, "max_iter": 5_000}
Z = ROWS[:6] + 0.1
METHODS = ["first_order", "newton", "refit"]
UNPENALISED = [
    (LinearRegression(), REAL),
    (LogisticRegression(C=np.inf, **TIGHT), BINARY),
    (PoissonRegressor(alpha=0.0, **TIGHT), TARGETS["counts"]),
    (GammaRegressor(alpha=0.0, **TIGHT), TARGETS["positive"]),
    (HuberRegressor(alpha=0.0, **TIGHT), REAL),
]


def scores_of(estimator, X, y, queries, method="newton", **options):
    """Scores by a fit that may have stopped anywhere: scores belong to the minimum."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        explainer = InfluenceExplainer(clone(estimator), method=method, **options).fit(X, y)
    return explainer.score_influence(queries, y[: queries.shape[0]])


# -- what must not matter -----------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("estimator", "y"), UNPENALISED, ids=lambda e: type(e).__name__)
def test_units_of_features(estimator, y, method):
    expected = scores_of(estimator, ROWS, y, Z, method)
    units = np.array([1e6, 1.0, 1e-6])
    scores = scores_of(estimator, ROWS * units, y, Z * units, method)
    assert_allclose(scores, expected, rtol=1e-6, atol=1e-8 * np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("estimator", "y"),
    [(Ridge(), REAL), (LogisticRegression(**TIGHT), CLASSES)],
    ids=lambda e: type(e).__name__,
)
def test_origins_of_features(estimator, y, method):
    """The intercept is free, so an offset moves nothing but digits: 1e5 costs five."""
    expected = scores_of(estimator, ROWS, y, Z, method)
    offset = np.array([1e5, 0.0, -1e3])
    scores = scores_of(estimator, ROWS + offset, y, Z + offset, method)
    assert_allclose(scores, expected, rtol=1e-5, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS)
def test_units_of_targets(method):
    expected = scores_of(Ridge(), ROWS, REAL, Z, method)
    scores = scores_of(Ridge(), ROWS, 1e9 * REAL, Z, method)
    assert_allclose(scores, 1e18 * expected, rtol=1e-8, atol=1e6 * np.abs(expected).max())


@pytest.mark.parametrize("method", METHODS)
def test_a_fit_that_stopped_early_scores_as_one_that_did_not(method):
    expected = scores_of(LogisticRegression(**TIGHT), ROWS, CLASSES, Z, method)
    scores = scores_of(LogisticRegression(max_iter=1), ROWS, CLASSES, Z, method)
    assert_allclose(scores, expected, rtol=1e-8, atol=1e-11)


def test_single_precision_fits_are_polished():
    fitted = LogisticRegression().fit(ROWS.astype(np.float32), BINARY)
    X = ROWS.astype(np.float32).astype(np.float64)
    scores = InfluenceExplainer(fitted).fit(X, BINARY).score_influence(Z, BINARY[:6])
    assert_allclose(scores, scores_of(LogisticRegression(**TIGHT), X, BINARY, Z), rtol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_scores_do_not_follow_the_rows_after_fit(method):
    X, y = ROWS.copy(), REAL.copy()
    explainer = InfluenceExplainer(Ridge(), method=method).fit(X, y)
    expected = explainer.score_influence(Z, REAL[:6])
    X[:], y[:] = 0.0, 0.0
    assert_array_equal(explainer.score_influence(Z, REAL[:6]), expected)


# -- few rows -----------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@pytest.mark.parametrize("n", [2, 3])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("estimator", [Ridge(), LinearRegression()], ids=str)
def test_very_few_rows(estimator, method, n):
    X, y = ROWS[:n], REAL[:n]
    scores = scores_of(estimator, X, y, Z[:2], method)
    assert np.isfinite(scores).all()
    if method != "first_order":
        for i in range(n):
            kept = np.delete(np.arange(n), i)
            models = [clone(estimator).fit(X[kept], y[kept]), clone(estimator).fit(X, y)]
            after, before = (np.square(m.predict(Z[:2]) - y[:2]) for m in models)
            assert_allclose(scores[:, i], after - before, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_last_row_of_a_class_is_flagged(method):
    """Without it scikit-learn would refuse to fit: the score is of another problem."""
    y = np.where(np.arange(len(ROWS)) == 4, "rare", "common")
    explainer = InfluenceExplainer(LogisticRegression(**TIGHT), method=method).fit(ROWS, y)
    with pytest.warns(DegenerateDeletionWarning, match="not determined without some rows.*: 4"):
        scores, report = explainer.score_influence(Z, y[:6], return_report=True)
    assert not np.isnan(scores).any()
    assert_array_equal(report["flagged_rows"], [4])


def test_one_class_is_the_estimators_own_error():
    with pytest.raises(ValueError, match="at least 2 classes"):
        InfluenceExplainer(LogisticRegression()).fit(ROWS, np.ones(len(ROWS)))


# -- fits that are none -------------------------------------------------------------------------


def test_separable_classes_need_a_penalty():
    y = (ROWS[:, 0] > 0.3).astype(int)
    model = LogisticRegression(C=np.inf).fit(ROWS, y)
    with pytest.warns(NotStationaryWarning, match="separable without a penalty.*Add a penalty"):
        InfluenceExplainer(model).fit(ROWS, y)


@pytest.mark.parametrize("wrong", ["rows", "targets", "weights"])
def test_what_did_not_train_the_model(wrong):
    model = LogisticRegression(**TIGHT).fit(ROWS, BINARY)
    rng = np.random.default_rng(0)
    X = rng.permutation(ROWS) if wrong == "rows" else ROWS
    y = rng.permutation(BINARY) if wrong == "targets" else BINARY
    weights = rng.exponential(size=len(y)) ** 2 if wrong == "weights" else None
    with pytest.warns(NotStationaryWarning, match="these rows, targets or weights did not train"):
        InfluenceExplainer(model).fit(X, y, sample_weight=weights)


# -- bad input ----------------------------------------------------------------------------------


def refused(match, error=ValueError):
    return pytest.raises(error, match=match)


FITTED = InfluenceExplainer(LogisticRegression(**TIGHT)).fit(ROWS, CLASSES)


def test_targets_are_required():
    with refused("requires y to be passed, but the target y is None"):
        InfluenceExplainer(Ridge()).fit(ROWS)
    with refused("target='loss' measures the loss at each query, which needs its y"):
        FITTED.score_influence(Z)


def test_labels_have_to_be_known():
    with refused("none of the 3 labels that the estimator was fitted on"):
        FITTED.score_influence(Z, [3, 4, 5, 3, 4, 9])
    with refused("y holds"):
        InfluenceExplainer(FITTED.estimator_).fit(ROWS, CLASSES + 1)


def test_rows_and_columns():
    with refused("X has 2 features, but InfluenceExplainer is expecting 3"):
        FITTED.score_influence(Z[:, :2], CLASSES[:6])
    with refused("inconsistent numbers of samples"):
        FITTED.score_influence(Z, CLASSES[:5])
    with refused("inconsistent numbers of samples"):
        InfluenceExplainer(FITTED.estimator_).fit(ROWS, CLASSES[:-1])
    with refused("contains NaN"):
        FITTED.score_influence(np.where(Z > 0.5, np.nan, Z), CLASSES[:6])
    with refused("NaN"):
        InfluenceExplainer(Ridge()).fit(ROWS, np.where(REAL > 0, np.nan, REAL))
    with refused("1 sample"):
        InfluenceExplainer(Ridge()).fit(ROWS[:1], REAL[:1])
    with refused("2D array"):
        FITTED.score_influence(Z[0], CLASSES[:1])


def test_weights():
    with refused("Negative values"):
        InfluenceExplainer(Ridge().fit(ROWS, REAL)).fit(ROWS, REAL, -np.ones(len(ROWS)))
    with refused("all weights are zero|at least one non-zero"):
        InfluenceExplainer(Ridge().fit(ROWS, REAL)).fit(ROWS, REAL, np.zeros(len(ROWS)))


def test_unfitted():
    with refused("not fitted yet", NotFittedError):
        InfluenceExplainer(Ridge()).score_influence(Z, REAL[:6])


@pytest.mark.parametrize(
    ("estimator", "match"),
    [
        (RandomForestClassifier(), "is refused because its trees are piecewise constant"),
        (LogisticRegressionCV(refit=False), "averages the coefficients of its folds"),
        (LinearSVC(multi_class="crammer_singer"), "crammer_singer"),
        (SGDClassifier("perceptron"), "perceptron"),
        (GridSearchCV(Ridge(), {"alpha": [1.0]}, refit=False), "refit=False"),
        (Ridge, "Write Ridge"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_right_is_refused(estimator, match):
    with refused(match, UnsupportedEstimatorError):
        InfluenceExplainer(estimator).fit(ROWS, BINARY)


def test_no_estimator():
    with refused("estimator is None, and InfluenceExplainer explains a model of yours"):
        InfluenceExplainer(None).fit(ROWS, REAL)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target": "odds"}, "is none of 'loss', 'decision_function', 'proba'"),
        ({"method": "exact"}, "'method' parameter of InfluenceExplainer must be"),
        ({"hessian": "none"}, "'hessian' parameter of InfluenceExplainer must be"),
        ({"class_weights": 3}, "'class_weights' parameter of InfluenceExplainer must be"),
        ({"relative": "x"}, "'relative' parameter of InfluenceExplainer must be"),
        ({"smoothing": 0.0}, "'smoothing' parameter of InfluenceExplainer must be"),
        ({"solver": "lu"}, "'solver' parameter of InfluenceExplainer must be"),
        ({"n_jobs": "two"}, "'n_jobs' parameter of InfluenceExplainer must be"),
        ({"progress": 2}, "'progress' parameter of InfluenceExplainer must be"),
    ],
    ids=str,
)
def test_options_have_to_exist(options, match):
    with refused(match):
        InfluenceExplainer(Ridge(), **options).fit(ROWS, REAL)


def test_options_have_to_suit_the_model():
    with refused("target='proba' needs probabilities of one set of classes"):
        InfluenceExplainer(Ridge(), target="proba").fit(ROWS, REAL)
    with refused("method='refit' would refit the smoothed loss"):
        hinge = LinearSVC(loss="hinge")
        InfluenceExplainer(hinge, method="refit", smoothing=0.1).fit(ROWS, BINARY)
    with refused("method='newton' needs derivatives, and a quantile regression"):
        InfluenceExplainer(QuantileRegressor(), method="newton").fit(ROWS, REAL)
    several = InfluenceExplainer(LinearRegression(), target="decision_function")
    with refused("The model has 2 outputs. Say which one"):
        several.fit(ROWS, TARGETS["outputs"])
    with refused("output=5 is no output of this model, which has 2"):
        several.set_params(output=5).fit(ROWS, TARGETS["outputs"])


def test_parameters_have_no_queries():
    explainer = InfluenceExplainer(Ridge(), target="params").fit(ROWS, REAL)
    with refused("is about the fitted parameters, not about queries. Pass X=None"):
        explainer.score_influence(Z)
    with refused("has no value at a row, so rows have no self influence"):
        explainer.self_influence()
    with refused("names no parameter. There are x0, x1, x2, intercept"):
        explainer.set_params(target="coef:dose").fit(ROWS, REAL).score_influence(None)


def test_groups_have_to_leave_something():
    with refused("names a training row twice"):
        FITTED.score_groups(Z, CLASSES[:6], groups=[[1, 2, 2]])
    with refused("without it there is no model"):
        FITTED.score_groups(Z, CLASSES[:6], groups=[np.arange(len(ROWS))])
    with refused("outside the 45 training rows"):
        FITTED.score_groups(Z, CLASSES[:6], groups=[[99]])


def test_a_target_function_has_to_return_one_number_a_row():
    explainer = InfluenceExplainer(Ridge(), target=lambda outputs, y: outputs)
    with refused("Return one number a row"):
        explainer.fit(ROWS, REAL).score_influence(Z)


def test_the_embedding_needs_a_factor():
    explainer = InfluenceExplainer(LogisticRegression(**TIGHT), solver="cg", method="newton")
    with refused("solver='cg' makes none"):
        explainer.fit(ROWS, BINARY).transform(Z)


def test_refits_of_a_bare_model_are_complete():
    with refused("whole_pipeline=True needs a pipeline or search around the model"):
        FITTED.validate(n_refits=2, whole_pipeline=True)
    with refused("n_refits must lie between 1 and the 45 training rows"):
        FITTED.validate(n_refits=0)


def test_sparse_queries_of_a_dense_fit():
    wide = np.random.default_rng(0).normal(size=(45, 60))
    for X in (ROWS, wide):
        explainer = InfluenceExplainer(LogisticRegression(**TIGHT)).fit(X, CLASSES)
        expected = explainer.score_influence(X[:6], CLASSES[:6])
        scores = explainer.score_influence(sparse.csr_array(X[:6]), CLASSES[:6])
        assert_allclose(scores, expected, rtol=1e-8, atol=1e-12)

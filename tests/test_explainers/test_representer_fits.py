"""RepresenterExplainer of models matched, behind pipelines and in frames; what it refuses."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.linalg import LinAlgWarning
from scipy.special import expit
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

from skinfluence import RepresenterExplainer
from skinfluence.exceptions import NotStationaryWarning, UnsupportedEstimatorError
from tests.cases import ROWS, SPARSE, TARGETS
from tests.conftest import import_optional
from tests.test_explainers.representers import (
    BINARY,
    CLASSES,
    OUTPUTS,
    QUERIES,
    REAL,
    TIGHT,
    explain,
    refused,
)

# -- mode="pretrained" ---------------------------------------------

PRETRAINED = {
    "logistic": (LogisticRegression(C=np.inf, **TIGHT), BINARY),
    "softmax": (LogisticRegression(C=np.inf, **TIGHT), CLASSES),
    "ols": (LinearRegression(), OUTPUTS),
    "lasso": (Lasso(alpha=0.05, **TIGHT), REAL),
    "positive": (Ridge(positive=True), REAL),
    "quantile": (QuantileRegressor(alpha=0.01), REAL),
    "svc": (LinearSVC(**TIGHT), CLASSES),
    "poisson": (PoissonRegressor(alpha=0.0, **TIGHT), TARGETS["counts"]),
}


@pytest.mark.parametrize("name", PRETRAINED)
def test_any_linear_model_can_be_matched(name):
    estimator, y = PRETRAINED[name]
    model = estimator.fit(ROWS, y)
    with_y = explain(model, y, mode="pretrained")
    found = explain(model, None, mode="pretrained")
    assert found.mode_ == "pretrained"
    assert_allclose(found.alpha_, with_y.alpha_, rtol=1e-9, atol=1e-12)
    assert found.reconstruction_.pearson >= 0.999
    assert found.reconstruction_.decomposition_error < 1e-8
    output = {"target_class": 0} if name == "ols" else {}
    assert found.score_influence(QUERIES, **output).shape == (6, len(ROWS))
    near = explain(model, None, mode="pretrained", l2=found.l2_ / 100.0)
    assert near.l2_ == pytest.approx(found.l2_ / 100.0)
    assert near.reconstruction_.worst_error < found.reconstruction_.worst_error


def test_the_pretrained_logistic_by_hand():
    model = LogisticRegression(C=np.inf, **TIGHT).fit(ROWS, BINARY)
    explainer = explain(model, None, mode="pretrained", l2=0.5)
    mine = explainer.validate(ROWS)
    scores = explainer.score_influence(ROWS, target_class="spam")
    outputs = scores.sum(axis=1) + explainer.intercept_
    slopes = expit(outputs) - model.predict_proba(ROWS)[:, 1]
    assert_allclose(explainer.alpha_[:, 0], -slopes / 0.5, rtol=1e-7, atol=1e-10)
    assert mine == explainer.reconstruction_
    assert mine.worst_error == pytest.approx(np.abs(outputs - model.decision_function(ROWS)).max())


def test_self_influence_without_targets_is_of_the_predicted_class():
    model = LogisticRegression(**TIGHT).fit(ROWS, CLASSES)
    explainer = explain(model, None, mode="pretrained")
    truth = np.diag(explainer.score_influence(ROWS))
    assert_allclose(explainer.self_influence(), truth, rtol=1e-10, atol=1e-14)
    assert len(explainer.rank_outliers(5)) == 5


def test_a_penalty_too_large_to_reproduce_is_warned_of():
    model = LogisticRegression(**TIGHT).fit(ROWS, CLASSES)
    with pytest.warns(NotStationaryWarning, match="Pass a smaller l2"):
        explainer = explain(model, None, mode="pretrained", l2=1e5)
    assert explainer.reconstruction_.pearson < 0.99


# -- containers, pipelines, weights ---------------------------------------------


def test_pipelines_searches_and_target_transformers():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(**TIGHT))
    explainer = explain(pipeline, CLASSES)
    scaler = StandardScaler().fit(ROWS)
    alone = explain(LogisticRegression(**TIGHT), CLASSES, scaler.transform(ROWS))
    assert_allclose(
        explainer.score_influence(QUERIES),
        alone.score_influence(scaler.transform(QUERIES)),
        rtol=1e-8,
        atol=1e-11,
    )
    search = explain(GridSearchCV(Ridge(), {"alpha": [2.0]}, cv=2), REAL)
    assert_allclose(search.alpha_, explain(Ridge(2.0), REAL).alpha_, rtol=1e-9)
    scaled = TransformedTargetRegressor(Ridge(2.0), transformer=StandardScaler())
    assert_allclose(explain(scaled, REAL).alpha_, search.alpha_ / REAL.std(), rtol=1e-9)


def test_frames_keep_their_labels():
    pd = import_optional("pandas")
    frame = pd.DataFrame(ROWS, columns=list("abc"), index=[f"row {i}" for i in range(len(ROWS))])
    explainer = explain(LogisticRegression(**TIGHT), CLASSES, frame).set_output(transform="pandas")
    scores = explainer.score_influence(frame[:3], target_class=4)
    assert list(scores.columns) == list(frame.index)
    assert list(scores.index) == list(frame.index[:3])
    assert list(explainer.global_importance().index) == list(frame.index)
    assert list(explainer.feature_names_in_) == list("abc")
    matched = explain(explainer.estimator_, None, frame, mode="pretrained")
    assert matched.reconstruction_.pearson > 0.999


def test_values_that_cancel_to_nothing_are_warned_of():
    scaled = ROWS * [1e-3, 1.0, 1e3]
    explainer = explain(Ridge(alpha=0.5), REAL, scaled)
    assert explainer.reconstruction_.decomposition_error < 1e-6
    with pytest.warns(LinAlgWarning, match="Scale the features"):
        explain(Ridge(alpha=0.5), REAL, 1e3 * scaled)


def test_float32():
    single = explain(Ridge(), REAL, ROWS.astype(np.float32))
    assert single.score_influence(QUERIES).dtype == np.float64
    assert_allclose(
        single.score_influence(QUERIES),
        explain(Ridge(), REAL).score_influence(QUERIES),
        rtol=1e-3,
        atol=1e-4,
    )


def test_wide_rows_are_decomposed_in_the_space_of_the_rows():
    wide = np.random.default_rng(0).normal(size=(30, 200))
    y = wide[:, 0] > 0
    explainer = explain(LogisticRegression(**TIGHT), y, wide)
    assert explainer.reconstruction_.decomposition_error < 1e-10
    scores = explainer.score_influence(wide[:4], target_class=True)
    total = scores.sum(axis=1) + explainer.intercept_
    assert_allclose(total, explainer.estimator_.decision_function(wide[:4]), atol=1e-6)


def test_edges():
    two = explain(Ridge(), REAL[:2], ROWS[:2])
    assert two.score_influence(QUERIES[:1]).shape == (1, 2)
    blank = np.hstack([ROWS, np.zeros((len(ROWS), 2))])
    blank[3] = 0.0
    explainer = explain(LogisticRegression(**TIGHT), CLASSES, blank)
    assert_array_equal(explainer.score_influence(blank[:4])[:, 3], 0.0)
    assert explainer.reconstruction_.decomposition_error < 1e-10
    saturated = explain(LogisticRegression(C=1e8, max_iter=10_000), ROWS[:, 0] > 0.3)
    assert np.isfinite(saturated.alpha_).all()


def test_what_happens_to_the_rows_afterwards_changes_nothing():
    X = ROWS.copy()
    explainer = explain(Ridge(), REAL, X)
    scores = explainer.score_influence(QUERIES)
    X[:] = 0.0
    assert_array_equal(explainer.score_influence(QUERIES), scores)


def test_sparse_and_dense_rows_agree():
    model = LogisticRegression(**TIGHT).fit(SPARSE.toarray(), CLASSES)
    dense = explain(model, CLASSES, SPARSE.toarray())
    found = explain(model, CLASSES, SPARSE)
    for Z in (SPARSE[:5], SPARSE[:5].toarray()):
        assert_allclose(found.score_influence(Z), dense.score_influence(Z), rtol=1e-8, atol=1e-11)
    assert_allclose(found.self_influence(), dense.self_influence(), rtol=1e-8, atol=1e-11)
    assert_allclose(
        found.sensitivity(SPARSE[:2]), dense.sensitivity(SPARSE[:2]), rtol=1e-8, atol=1e-11
    )
    assert sparse.issparse(found._engine.layer.features)


# -- messages ---------------------------------------------

UNSUPPORTED = {
    "ols": (LinearRegression(), "no l2 penalty"),
    "none": (LogisticRegression(C=np.inf, **TIGHT), "no l2 penalty"),
    "lasso": (Lasso(alpha=0.1), "l1 or group penalty"),
    "net": (ElasticNet(alpha=0.1), "l1 or group penalty"),
    "positive": (Ridge(positive=True), "positive=False"),
    "quantile": (QuantileRegressor(), "vertex of a linear programme"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_fits_without_a_sum_over_rows_are_refused(name):
    model, message = UNSUPPORTED[name]
    y = BINARY if name == "none" else REAL
    with refused(message, UnsupportedEstimatorError) as seen:
        explain(model, y)
    assert "mode='pretrained'" in str(seen.value)


def test_models_without_a_linear_layer_are_refused():
    for model in (SVC(), GaussianNB(), DecisionTreeClassifier()):
        with refused("has no linear layer", UnsupportedEstimatorError):
            explain(model, CLASSES)


def test_options_that_do_not_exist_are_refused():
    for options, message in [
        ({"layer": "head"}, "layer='head' is an option of networks"),
        ({"loss": "softmax"}, "loss='softmax' is an option of networks"),
        ({"l2": 2.0}, "l2=2.0 would replace the penalty"),
    ]:
        with refused(re.escape(message)):
            explain(LogisticRegression(), CLASSES, **options)
    with refused("estimator is None"):
        RepresenterExplainer().fit(ROWS, REAL)
    with refused("requires y"):
        explain(LogisticRegression(), None)


def test_classes_and_outputs_that_do_not_exist_are_refused():
    explainer = explain(LogisticRegression(**TIGHT), CLASSES)
    for asked, message in [
        (7, "target_class=7 is none of the 3 classes"),
        ("x", "is none of the 3 classes"),
        ([3, 4], "has shape"),
        ([3, 4, 5, 3, 4, 9], "none of the 3 labels"),
    ]:
        with refused(message):
            explainer.score_influence(QUERIES, target_class=asked)
    with refused("one label a query"):
        explainer.score_influence(QUERIES, CLASSES[:5])
    with refused("one class or none"):
        explainer.global_importance([3, 4])
    with refused("X is None"):
        explainer.score_influence(None)
    several = explain(Ridge(), OUTPUTS)
    with refused("or output= of the explainer"):
        several.self_influence()
    with refused("Say which one"):
        several.score_influence(QUERIES)
    with refused("Say which one"):
        several.self_influence()
    for asked in (2, 0.5, -1, "a"):
        with refused("is no output of this model"):
            several.score_influence(QUERIES, target_class=asked)
    assert several.score_influence(QUERIES, target_class=[0, 1] * 3).shape == (6, len(ROWS))


def test_a_fit_that_is_no_minimum_is_warned_of():
    far = LogisticRegression(**TIGHT).fit(ROWS, CLASSES)
    far.coef_ = far.coef_[::-1].copy()
    with pytest.warns(NotStationaryWarning, match="not at a minimum of its own objective"):
        explain(far, CLASSES)
    rough = SGDClassifier("log_loss", alpha=0.05, random_state=0).fit(ROWS, BINARY)
    explainer = explain(rough, BINARY)
    assert explainer.stationarity_[0] > 100 * explainer.stationarity_[1]


def test_a_polish_that_stops_short_is_warned_of(monkeypatch):
    from skinfluence.engines.representers import last_layer

    monkeypatch.setattr(last_layer, "DENSE_PARAMETERS", 0)
    model = LogisticRegression(max_iter=2, C=100.0)
    with (
        pytest.warns(ConvergenceWarning, match="Raise max_iter, or take a larger l2"),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore", NotStationaryWarning)
        explain(model, CLASSES, max_iter=1)

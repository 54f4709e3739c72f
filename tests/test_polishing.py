"""Linear models at the minimum of their own objective."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LogisticRegression,
    MultiTaskLasso,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale
from sklearn.svm import LinearSVC, LinearSVR
from sklearn.utils._testing import ignore_warnings

from skinfluence import InfluenceExplainer, polish
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.metrics import leave_one_out

X, y = load_diabetes(return_X_y=True)
X, y = scale(X)[:100, :5], y[:100] / 50.0
IRIS, SPECIES = load_iris(return_X_y=True)
SEVERAL = np.column_stack([y, X[:, 0]])


@pytest.mark.parametrize(
    "estimator, rows, targets",
    [
        (LogisticRegression(), IRIS, SPECIES),
        (LogisticRegression(solver="liblinear"), IRIS[:100], SPECIES[:100]),
        (Ridge(solver="sag"), X, SEVERAL),
        (Ridge(fit_intercept=False), X, y),
        (PoissonRegressor(alpha=0.1), X, y),
        (Lasso(alpha=0.05), X, y),
        (ElasticNet(alpha=0.05), sparse.csr_array(X), y),
        (MultiTaskLasso(alpha=0.1), X, SEVERAL),
        (HuberRegressor(), X, y),
        (LinearSVC(), IRIS, SPECIES),
        (SGDClassifier("log_loss", random_state=0), scale(IRIS), SPECIES),
    ],
    ids=lambda value: type(value).__name__,
)
@ignore_warnings(category=ConvergenceWarning)
def test_polished_parameters_are_stationary_and_keep_their_shapes(estimator, rows, targets):
    fitted = clone(estimator).fit(rows, targets)
    before = fitted.coef_.copy()
    polished = polish(fitted, rows, targets)
    assert max(InfluenceExplainer(polished).fit(rows, targets).stationarity_) < 1e-10
    assert np.shape(polished.coef_) == np.shape(fitted.coef_)
    assert np.shape(polished.intercept_) == np.shape(fitted.intercept_)
    assert polished.predict(rows).shape == fitted.predict(rows).shape
    assert_array_equal(fitted.coef_, before)


def test_polished_refits_are_a_truth_for_refit_scores():
    rows, targets = load_breast_cancer(return_X_y=True)
    rows, targets = scale(rows)[:150, :6], targets[:150]
    model = LogisticRegression().fit(rows, targets)
    truth = leave_one_out(model, rows, targets, loss="log_loss", rows=[0, 7, 40], polish=polish)
    explainer = InfluenceExplainer(model, method="refit").fit(rows, targets)
    scores = explainer.score_influence(rows, targets)[:, [0, 7, 40]]
    # predict_proba keeps 16 digits of losses near 1, and changes are a thousandth of that.
    assert_allclose(scores, truth, rtol=1e-7, atol=1e-12)


def test_sample_weights_belong_to_the_objective():
    weights = np.linspace(0.5, 2.0, len(X))
    fitted = Ridge(solver="sag", tol=1e-1).fit(X, y, weights)
    exact = Ridge(solver="cholesky").fit(X, y, weights)
    assert_allclose(polish(fitted, X, y, weights).coef_, exact.coef_, rtol=1e-10)


@pytest.mark.parametrize(
    "estimator",
    [QuantileRegressor(), SGDClassifier(penalty="l1", random_state=0)],
    ids=lambda value: type(value).__name__,
)
@ignore_warnings(category=ConvergenceWarning)
def test_kinks_cannot_be_polished(estimator):
    targets = y if isinstance(estimator, QuantileRegressor) else (y > 3).astype(int)
    with pytest.raises(UnsupportedEstimatorError, match="Refit it with a small tol"):
        polish(estimator.fit(X, targets), X, targets)


@ignore_warnings(category=ConvergenceWarning)
@pytest.mark.parametrize(
    "estimator",
    [LinearSVC(loss="hinge", random_state=0), LinearSVR(random_state=0), SGDClassifier(alpha=0.1)],
    ids=lambda value: type(value).__name__,
)
def test_kinks_under_an_l2_penalty_are_polished_exactly(estimator):
    targets = y if isinstance(estimator, LinearSVR) else (y > 3).astype(int)
    polished = polish(estimator.fit(X, targets), X, targets)
    explainer = InfluenceExplainer(polished).fit(X, targets)
    assert max(explainer.stationarity_) < 1e-12
    loss = "absolute_error" if isinstance(estimator, LinearSVR) else "hinge"
    truth = leave_one_out(polished, X, targets, loss=loss, rows=[0, 7, 40], polish=polish)
    scores = explainer.score_influence(X, targets)[:, [0, 7, 40]]
    assert_allclose(scores, truth, rtol=1e-7, atol=1e-9)


@ignore_warnings(category=(ConvergenceWarning, RuntimeWarning))
def test_separable_classes_have_no_minimum():
    model = LogisticRegression(C=np.inf).fit(X, X[:, 0] > 0)
    with pytest.raises(ValueError, match="no minimum near the fit"):
        polish(model, X, X[:, 0] > 0)


def test_a_pipeline_is_polished_at_its_end():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression()).fit(IRIS, SPECIES)
    polished = polish(pipeline, IRIS, SPECIES)
    assert polished[0] is pipeline[0]
    alone = polish(pipeline[-1], pipeline[:-1].transform(IRIS), SPECIES)
    assert_allclose(polished[-1].coef_, alone.coef_, rtol=1e-12)
    with pytest.raises(NotFittedError):
        polish(LogisticRegression(), IRIS, SPECIES)
    search = GridSearchCV(LogisticRegression(max_iter=1000), {"C": [1.0]}).fit(IRIS, SPECIES)
    with pytest.raises(UnsupportedEstimatorError, match="Pass its best_estimator_"):
        polish(search, IRIS, SPECIES)

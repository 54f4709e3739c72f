"""Estimators that fit one estimator for each class or output."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge, SGDClassifier
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import MultiOutputClassifier, MultiOutputRegressor
from sklearn.tree import DecisionTreeClassifier

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import UnsupportedEstimatorError

X, y = load_iris(return_X_y=True)
X, y = X[::3], y[::3]
TIGHT = LogisticRegression(C=0.5, tol=1e-12, max_iter=10_000, solver="newton-cholesky")
SEVERAL = np.column_stack([X[:, 0] > 5.8, X[:, 1] > 3.0]).astype(int)


def test_one_against_the_rest_is_a_sum_over_classes():
    model = OneVsRestClassifier(TIGHT).fit(X, y)
    scores = InfluenceExplainer(model).fit(X, y).score_influence(X[:5], y[:5])
    own = 0.0
    for k, inner in enumerate(model.estimators_):
        target = (y == k).astype(int)
        own = own + InfluenceExplainer(inner).fit(X, target).score_influence(X[:5], target[:5])
    assert_allclose(scores, own, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(
    "estimator, targets",
    [
        (OneVsRestClassifier(TIGHT), y),
        (OneVsRestClassifier(TIGHT), np.minimum(y, 1)),
        (OneVsRestClassifier(TIGHT), SEVERAL),
        (OneVsRestClassifier(LogisticRegression(class_weight="balanced")), y),
        (MultiOutputClassifier(TIGHT), np.column_stack([y, y == 1])),
        (MultiOutputRegressor(Ridge()), X[:, :2] ** 2),
    ],
    ids=["classes", "two", "labels", "balanced", "classifiers", "regressors"],
)
def test_refits_agree_with_real_ones(estimator, targets):
    explainer = InfluenceExplainer(estimator, method="refit").fit(X, targets)
    assert explainer.validate(n_refits=4, random_state=0).relative_error < 1e-8


@pytest.mark.parametrize("targets", [y, np.minimum(y, 1)], ids=["classes", "two"])
def test_probabilities_are_the_estimator_s(targets):
    model = OneVsRestClassifier(TIGHT).fit(X, targets)
    explainer = InfluenceExplainer(model, target="proba").fit(X, targets)
    queries = explainer._queries(X)
    outputs = np.concatenate(queries.outputs, axis=1)
    found = explainer._engine.linear_fit.proba(outputs)
    # The estimators stop within 1e-12, the outputs are those of the polished parameters.
    assert_allclose(found, model.predict_proba(X), rtol=1e-8)


def test_parameters_carry_the_class():
    names = InfluenceExplainer(OneVsRestClassifier(TIGHT)).fit(X, y).param_names_
    assert list(names[:6]) == ["0:x0", "0:x1", "0:x2", "0:x3", "0:intercept", "1:x0"]


def test_what_cannot_be_read_inside_is_refused():
    with pytest.raises(UnsupportedEstimatorError, match="DecisionTreeClassifier is refused"):
        InfluenceExplainer(OneVsRestClassifier(DecisionTreeClassifier())).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="perceptron"):
        InfluenceExplainer(OneVsRestClassifier(SGDClassifier(loss="perceptron"))).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match="each of its estimators_ on its own"):
        InfluenceExplainer(MultiOutputRegressor(QuantileRegressor())).fit(X, X[:, :2])


def test_a_label_that_all_rows_have_is_refused():
    labels = np.column_stack([SEVERAL, np.ones(len(X), dtype=int)])
    with pytest.warns(UserWarning, match="present in all training examples"):
        model = OneVsRestClassifier(TIGHT).fit(X, labels)
    with pytest.raises(UnsupportedEstimatorError, match="fitted a constant"):
        InfluenceExplainer(model).fit(X, labels)

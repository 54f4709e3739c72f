"""Named losses against scikit-learn's metrics, one row at a time."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import metrics
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    SGDClassifier,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.svm import LinearSVC

from skinfluence.metrics._losses import LOSSES, find_loss


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    return rng.normal(size=(30, 3)), rng.integers(0, 3, 30)


def by_row(metric, *pairs):
    return [metric(*(side[i : i + 1] for side in pairs)) for i in range(len(pairs[0]))]


CLASSIFIERS = [
    LogisticRegression(),
    LogisticRegression(solver="liblinear"),
    SGDClassifier(loss="log_loss", random_state=0),
    GaussianNB(),
]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=repr)
def test_log_loss(rows, classifier, n_classes):
    X, y = rows
    if n_classes == 3 and getattr(classifier, "solver", "") == "liblinear":
        return  # refused by recent scikit-learn, one-vs-rest before
    y = np.array(["a", "b", "c"])[np.minimum(y, n_classes - 1)]
    classifier.fit(X, y)
    proba = classifier.predict_proba(X)
    expected = -np.log(proba[y[:, None] == classifier.classes_])
    assert_allclose(LOSSES["log_loss"](classifier, X, y), expected, rtol=1e-9, atol=1e-12)
    assert LOSSES["log_loss"](classifier, X[:1], ["never seen"]) == [np.inf]


def test_hinges(rows):
    X, y = rows
    model = LinearSVC().fit(X, y)
    signs = np.where(y[:, None] == np.arange(3), 1, -1)
    gaps = np.maximum(0, 1 - signs * model.decision_function(X))
    assert_allclose(LOSSES["hinge"](model, X, y), gaps.sum(axis=1))
    assert_allclose(LOSSES["squared_hinge"](model, X, y), (gaps**2).sum(axis=1))
    gaps = np.maximum(0, 1 + model.decision_function(X[:1]))  # negative in every problem
    assert_allclose(LOSSES["hinge"](model, X[:1], [99]), gaps.sum(axis=1))
    model = LinearSVC().fit(X, y > 0)
    expected = np.maximum(0, 1 - np.where(y > 0, 1, -1) * model.decision_function(X))
    assert_allclose(LOSSES["hinge"](model, X, y > 0), expected, rtol=1e-12)
    assert_allclose(LOSSES["squared_hinge"](model, X, y > 0), np.square(expected), rtol=1e-12)
    assert_array_equal(LOSSES["zero_one"](model, X, y > 0), model.predict(X) != (y > 0))


def test_errors_of_regressors(rows):
    X, y = rows
    both = np.c_[y, -2.0 * y]
    model = LinearRegression().fit(X, both)
    error = both - model.predict(X)
    assert_allclose(LOSSES["squared_error"](model, X, both), (error**2).sum(axis=1))
    assert_allclose(LOSSES["absolute_error"](model, X, both), np.abs(error).sum(axis=1))
    column = LinearRegression().fit(X, both[:, :1])  # predicts a column for a vector of targets
    assert_allclose(LOSSES["squared_error"](column, X, both[:, 0]), error[:, 0] ** 2)


def test_half_deviances(rows):
    X, y = rows
    poisson, gamma = PoissonRegressor().fit(X, y), GammaRegressor().fit(X, y + 1)
    expected = by_row(metrics.mean_poisson_deviance, y, poisson.predict(X))
    assert_allclose(2 * LOSSES["half_poisson"](poisson, X, y), expected, rtol=1e-12)
    expected = by_row(metrics.mean_gamma_deviance, y + 1, gamma.predict(X))
    assert_allclose(2 * LOSSES["half_gamma"](gamma, X, y + 1), expected, rtol=1e-9, atol=1e-12)


def test_densities_and_callables(rows):
    X, _ = rows
    model = KernelDensity().fit(X)
    assert_array_equal(LOSSES["negative_log_density"](model, X, None), -model.score_samples(X))
    assert find_loss(len) is len

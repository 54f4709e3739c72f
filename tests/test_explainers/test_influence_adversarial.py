"""Inputs that once broke InfluenceExplainer, each against a refit or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.linear_model import Lasso, LogisticRegression

from skinfluence import InfluenceExplainer


def by_refits(estimator, X, y, values):
    """`values` of refits without each row minus those of the fit, (n_queries, n_train)."""
    every = np.arange(X.shape[0])
    before = values(clone(estimator).fit(X, y))
    refits = (np.delete(every, i) for i in every)
    return np.stack([values(clone(estimator).fit(X[k], y[k])) - before for k in refits], axis=1)


def log_loss(X, codes):
    def values(model):
        outputs = model.decision_function(X)
        return logsumexp(outputs, axis=1) - outputs[np.arange(len(codes)), codes]

    return values


@pytest.mark.parametrize("scale", [1.0, 1e-8])
def test_softmax_whose_penalty_outweighs_the_rows_still_has_an_intercept(scale):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(24, 3)) * [1.0, scale, 1.0]
    y = np.arange(24) % 3
    model = LogisticRegression(C=1.0, tol=1e-12, solver="newton-cholesky")
    truth = by_refits(model, X, y, log_loss(X[:4], y[:4]))
    explainer = InfluenceExplainer(model, method="refit").fit(X, y)
    assert_allclose(explainer.score_influence(X[:4], y[:4]), truth, rtol=1e-7)


@pytest.mark.parametrize("seed", [3, 5])
def test_lasso_rows_that_alone_hold_a_direction_are_refitted(seed):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(3, 3)), 2.0 * rng.normal(size=3) + 5.0
    queries = rng.normal(size=(4, 3))
    model = Lasso(alpha=0.1, tol=1e-15, max_iter=10**6)
    truth = by_refits(model, X, y, lambda fitted: fitted.predict(queries))
    explainer = InfluenceExplainer(model, method="refit", target="decision_function").fit(X, y)
    assert_allclose(explainer.score_influence(queries), truth, rtol=1e-7)

"""All rows of statsmodels' tables, live."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression, LogisticRegression

from tests.conftest import import_optional
from tests.test_diagnostics.cases import diagnose

sm = import_optional("statsmodels.api")


def in_our_order(frame):
    """The intercept's column behind the other coefficients'."""
    return frame[[*frame.columns[1 : frame.columns.get_loc("cooks_d")], "dfb_const"]]


def check_frame(ours, theirs, rtol):
    p = ours.columns.get_loc("cooks_d")
    assert ours.columns[p:].tolist() == theirs.columns[p:].tolist()
    assert [name.startswith("dfb_") for name in ours.columns[:p]] == [True] * p
    both = ours.iloc[:, :p].to_numpy(), in_our_order(theirs).to_numpy()
    assert_allclose(*both, rtol=rtol, atol=rtol * np.abs(both[1]).max())
    for name in ours.columns[p:]:
        assert_allclose(ours[name], theirs[name], rtol=rtol, atol=rtol * theirs[name].abs().max())


def test_least_squares():
    X, y = load_diabetes(return_X_y=True, scaled=False)
    X, y = X[:150], y[:150]
    influence = sm.OLS(y, sm.add_constant(X)).fit().get_influence()
    found = diagnose(LinearRegression(), X, y)
    check_frame(found.summary_frame(), influence.summary_frame(), 1e-10)
    for method in ("bonferroni", "holm", "fdr_bh"):
        theirs = influence.results.outlier_test(method=method)
        assert_allclose(found.outlier_test(method).frame(), theirs, rtol=1e-9)
    assert list(found.outlier_test().frame().columns) == ["student_resid", "unadj_p", "bonf(p)"]


def test_logistic_regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    y = (X[:, 0] + rng.logistic(size=200) > 0).astype(float)
    result = sm.GLM(y, sm.add_constant(X), family=sm.families.Binomial()).fit(tol=1e-14)
    found = diagnose(LogisticRegression(C=np.inf), X, y)
    check_frame(found.summary_frame(), result.get_influence(observed=False).summary_frame(), 1e-8)


def test_weights_are_inverse_variances():
    rng = np.random.default_rng(0)
    X, weights = rng.normal(size=(40, 3)), rng.uniform(0.2, 3.0, size=40)
    y = X[:, 0] + rng.normal(size=40) / np.sqrt(weights)
    result = sm.GLM(y, sm.add_constant(X), var_weights=weights).fit(tol=1e-14)
    influence = result.get_influence(observed=False)
    found = diagnose(LinearRegression(), X, y, weights)
    assert_allclose(found.scale, result.scale, rtol=1e-10)
    assert_allclose(found.leverage, influence.hat_matrix_diag, rtol=1e-10)
    assert_allclose(found.resid_pearson, result.resid_pearson, rtol=1e-10)
    assert_allclose(found.resid_studentized_internal, influence.resid_studentized, rtol=1e-9)
    assert_allclose(found.cooks_distance, influence.cooks_distance[0], rtol=1e-9)

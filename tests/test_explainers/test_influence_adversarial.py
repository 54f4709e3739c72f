"""Inputs that once broke InfluenceExplainer, each against a refit or a sentence."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.linalg import LinAlgWarning
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_iris, load_wine
from sklearn.linear_model import (
    Lasso,
    LinearRegression,
    LogisticRegression,
    Ridge,
    RidgeClassifier,
    RidgeCV,
)
from sklearn.multioutput import MultiOutputClassifier
from sklearn.neighbors import KernelDensity
from sklearn.preprocessing import scale

from skinfluence import InfluenceExplainer
from skinfluence.displays import InfluenceBubbleDisplay, InfluenceIndexDisplay
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError
from tests.conftest import import_optional


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


def test_parameters_of_several_multinomial_outputs_have_names_of_their_own():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(20, 2))
    Y = np.column_stack([np.arange(20) % 2, np.arange(20) % 3])
    explainer = InfluenceExplainer(MultiOutputClassifier(LogisticRegression())).fit(X, Y)
    names = explainer.param_names_.tolist()
    assert names[:3] == ["0:x0", "0:x1", "0:intercept"]
    assert names[3:6] == ["1:0:x0", "1:0:x1", "1:0:intercept"]
    assert len(set(names)) == len(names)


def test_columns_other_than_those_of_the_fit_are_refused():
    X = pd_frame()
    y = np.arange(8) % 2
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="columns of X are c, b, a, and LogisticRegression was"):
        InfluenceExplainer(model).fit(X[["c", "b", "a"]], y)
    model = LogisticRegression().fit(X.to_numpy(), y)
    with pytest.raises(ValueError, match="X has 2 columns, and the estimator was fitted on 3"):
        InfluenceExplainer(model).fit(X.to_numpy()[:, :2], y)


def pd_frame():
    pandas = import_optional("pandas")
    return pandas.DataFrame(np.random.default_rng(0).normal(size=(8, 3)), columns=list("abc"))


def test_an_output_that_is_no_class_is_called_an_output():
    X, y = np.random.default_rng(0).normal(size=(8, 2)), np.arange(8) % 2
    explainer = InfluenceExplainer(LogisticRegression(), target="proba", output=9)
    with pytest.raises(ValueError, match="output=9 is none of the 2 classes"):
        explainer.fit(X, y)


@pytest.mark.parametrize("method", ["newton", "refit"])
def test_the_last_row_of_a_class_is_flagged_and_a_whole_class_refused(method):
    X, y = np.random.default_rng(0).normal(size=(9, 2)), np.array([0] * 4 + [1] * 4 + [2])
    explainer = InfluenceExplainer(RidgeClassifier(), method=method).fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match="1 of 9: 8"):
        explainer.self_influence()
    with pytest.raises(ValueError, match="or all of a class"):
        explainer.score_groups(X, y, groups=y)


def test_a_group_without_which_classes_are_separable_is_flagged_and_spoils_no_row():
    x = np.array([-2.0, -1.0, -0.5, 0.3, -0.3, 0.5, 1.0, 2.0])
    y = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    X = x[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10).fit(X, y)
    explainer = InfluenceExplainer(model, method="refit").fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match="Without some groups .1 of 2: 0"):
        explainer.score_groups(X, y, groups=[[3, 4], [0, 1]])
    # Without either of the two that overlap, what is left can be separated too.
    with pytest.warns(DegenerateDeletionWarning, match="2 of 8: 3, 4"):
        report = explainer.score_influence(X, y, return_report=True)[1]
    assert_array_equal(report["flagged_rows"], [3, 4])


@pytest.mark.parametrize("kind", ["constant", "multiple", "wide"])
def test_sparse_least_squares_of_least_norm(kind):
    rng = np.random.default_rng(0)
    X, queries = rng.normal(size=(12, 3)), rng.normal(size=(4, 3))
    if kind == "constant":
        X[:, 1] = 3.7
    elif kind == "multiple":
        X[:, 1] = 1000.0 * X[:, 0]
    else:
        X, queries = rng.normal(size=(6, 9)), rng.normal(size=(4, 9))
    rows, y = sparse.csr_array(X), rng.normal(size=len(X)) + 5.0
    truth = by_refits(LinearRegression(), X, y, lambda fitted: fitted.predict(queries))
    model = LinearRegression().fit(rows, y)
    explainer = InfluenceExplainer(model, target="decision_function").fit(rows, y)
    scores = explainer.score_influence(sparse.csr_array(queries))
    assert_allclose(scores, truth, rtol=1e-6)
    assert_allclose(explainer.score_influence(queries), scores, rtol=1e-9)


def test_least_squares_of_least_norm_with_many_rows():
    rng = np.random.default_rng(0)
    X = np.column_stack([np.eye(3)[rng.integers(0, 3, 4500)], rng.normal(size=4500)])
    y = X @ [1.0, 2.0, 3.0, 1.0] + rng.normal(size=4500)
    model = LinearRegression().fit(X, y)
    moved = -InfluenceExplainer(model).fit(X, y).d_params()
    for i in range(3):
        other = LinearRegression().fit(np.delete(X, i, axis=0), np.delete(y, i))
        assert_allclose(moved[i, :-1], other.coef_ - model.coef_, rtol=1e-7)
        assert_allclose(moved[i, -1], other.intercept_ - model.intercept_, rtol=1e-7)


@pytest.mark.parametrize("target", ["decision_function", "proba"])
def test_outliers_of_an_output_are_ranked_by_size(target):
    X, y = load_iris(return_X_y=True)
    explainer = InfluenceExplainer(LogisticRegression(max_iter=1000), target=target).fit(X, y)
    own = explainer.self_influence()
    assert own.max() < 0.01 < -own.min()
    assert explainer.rank_outliers(1)[0] == np.argmin(own)


@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_a_group_of_nobody_changes_nothing(method):
    X, y = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000)
    explainer = InfluenceExplainer(model, method=method).fit(X, y)
    assert_array_equal(explainer.score_groups(X[:2], y[:2], groups=[[]]), np.zeros((2, 1)))
    assert_array_equal(explainer.score_groups(groups=[[]]), [0.0])


@pytest.mark.parametrize("display", [InfluenceBubbleDisplay, InfluenceIndexDisplay])
def test_a_figure_of_several_problems_asks_for_one(display):
    X, y = load_iris(return_X_y=True)
    explainer = InfluenceExplainer(RidgeClassifier()).fit(X, y)
    with pytest.raises(ValueError, match=r"solved 3 problems.*from_diagnostics"):
        display.from_explainer(explainer)


def test_a_row_that_is_not_there_is_called_a_position():
    X, y = load_iris(return_X_y=True)
    explainer = InfluenceExplainer(RidgeClassifier()).fit(X, y)
    with pytest.raises(ValueError, match="a position outside the 150 training rows"):
        explainer.self_influence(rows=[150])


def test_sparse_columns_without_digits_are_announced():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(24, 3)) + 1e7, rng.normal(size=24)
    model = Ridge(1.0, tol=1e-12).fit(sparse.csr_array(X), y)
    with pytest.warns(LinAlgWarning, match="Subtract the means"):
        InfluenceExplainer(model).fit(sparse.csr_array(X), y)


@pytest.fixture
def wine():
    X, y = load_wine(return_X_y=True)
    names = np.array(["barolo", "grignolino", "barbera"])
    return scale(X), names[y]


def test_parameters_set_after_fit_wait_for_the_next(wine):
    explainer = InfluenceExplainer(LogisticRegression()).fit(*wine)
    before = explainer.score_influence(wine[0][:2], wine[1][:2])
    explainer.set_params(target="proba", output="barbera")
    after = explainer.score_influence(wine[0][:2], wine[1][:2])
    assert_array_equal(after, before)


def test_a_class_without_rows_is_missed(wine):
    X, y = wine
    model = LogisticRegression().fit(X, y)
    kept = y != "barbera"
    with pytest.raises(ValueError, match="y holds no row of barbera"):
        InfluenceExplainer(model).fit(X[kept], y[kept])


def test_labels_that_cannot_be_compared(wine):
    X, y = wine
    mixed = y.astype(object)
    mixed[3] = np.nan
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="labels of another type"):
        InfluenceExplainer(model).fit(X, mixed)
    explainer = InfluenceExplainer(model).fit(X, y)
    with pytest.raises(ValueError, match="labels that cannot be sorted"):
        explainer.score_groups(X[:2], y[:2], groups=mixed)


def test_masks_are_groups(wine):
    X, y = wine
    explainer = InfluenceExplainer(LogisticRegression()).fit(X, y)
    mask = np.arange(len(X)) < 4
    by_mask = explainer.score_groups(X[:2], y[:2], groups=[mask])
    assert_array_equal(by_mask, explainer.score_groups(X[:2], y[:2], groups=[[0, 1, 2, 3]]))
    with pytest.raises(ValueError, match="rows holds <U2 values"):
        explainer.self_influence(["w1"])


def test_queries_and_densities_have_their_own_messages(wine):
    explainer = InfluenceExplainer(LogisticRegression()).fit(*wine)
    with pytest.raises(ValueError, match="X is None, which asks about parameters"):
        explainer.score_influence(None)
    with pytest.raises(UnsupportedEstimatorError, match="KDEInfluence"):
        InfluenceExplainer(KernelDensity()).fit(wine[0])


def test_the_classes_of_ridge_name_its_parameters(wine):
    names = InfluenceExplainer(RidgeClassifier()).fit(*wine).param_names_
    assert names[0] == "barbera:x0"


def test_a_search_of_its_own_can_be_refitted_whole(wine):
    X = wine[0]
    explainer = InfluenceExplainer(RidgeCV()).fit(X[:15], X[:15, 0] + X[:15, 1] ** 2)
    assert explainer.validate().relative_error < 1e-8
    assert np.isfinite(explainer.validate(whole_pipeline=True, random_state=0).pearson)

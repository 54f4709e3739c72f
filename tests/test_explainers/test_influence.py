"""InfluenceExplainer: targets, parameters, embeddings and options against definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_breast_cancer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    GammaRegressor,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
)
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, scale

from skinfluence import InfluenceExplainer, polish
from tests.cases import ROWS, TARGETS
from tests.conftest import import_optional

BINARY, CLASSES, REAL = (TARGETS[name] for name in ("binary", "classes", "real"))
WEIGHTS = np.random.default_rng(3).uniform(0.4, 2.0, len(ROWS))
TIGHT = {"tol": 1e-8, "max_iter": 5_000}
Z, ROW = ROWS[:6] + 0.1, 7
KEPT = np.delete(np.arange(len(ROWS)), ROW)


def pair(estimator, y, weights=None, X=ROWS):
    """The fit and the refit without a row, both polished by Newton."""
    own = [None, None] if weights is None else [weights, weights[KEPT]]
    fits = [
        estimator.__class__(**estimator.get_params()).fit(X, y, own[0]),
        estimator.__class__(**estimator.get_params()).fit(X[KEPT], y[KEPT], own[1]),
    ]
    return polish(fits[0], X, y, own[0]), polish(fits[1], X[KEPT], y[KEPT], own[1])


def explain(estimator, y, weights=None, X=ROWS, **options):
    return InfluenceExplainer(estimator, **options).fit(X, y, sample_weight=weights)


# -- targets ------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [BINARY, CLASSES], ids=["two", "three"])
def test_loss_is_the_log_loss(y):
    before, after = pair(LogisticRegression(**TIGHT), y, WEIGHTS)
    explainer = explain(before, y, WEIGHTS, method="refit")
    own = np.searchsorted(before.classes_, y[:6])
    logs = [-np.log(m.predict_proba(Z)[np.arange(6), own]) for m in (after, before)]
    scores = explainer.score_influence(Z, y[:6])[:, ROW]
    assert_allclose(scores, logs[0] - logs[1], rtol=1e-8, atol=1e-12)
    assert explainer.score_unit_ == "loss"


@pytest.mark.parametrize("y", [BINARY, CLASSES], ids=["two", "three"])
@pytest.mark.parametrize("target", ["proba", "decision_function"])
def test_outputs_of_each_class(y, target):
    before, after = pair(LogisticRegression(**TIGHT), y)
    values = [
        getattr(m, target if target != "proba" else "predict_proba")(Z) for m in (before, after)
    ]
    moved = values[1] - values[0]
    for position, label in enumerate(before.classes_):
        explainer = explain(before, y, method="refit", target=target, output=label)
        # One decision value speaks for two classes, for the first with a minus.
        expected = moved if moved.ndim == 1 else moved[:, position]
        expected = expected * (-1.0 if moved.ndim == 1 and position == 0 else 1.0)
        if target == "proba" or len(before.classes_) == 2:
            assert_allclose(explainer.score_influence(Z)[:, ROW], expected, rtol=1e-8, atol=1e-12)
        else:  # of a softmax only differences of outputs are determined
            assert explainer.score_influence(Z).shape == (6, len(ROWS))


def test_the_class_is_the_one_passed_else_the_predicted_one():
    model = LogisticRegression(**TIGHT).fit(ROWS, CLASSES)
    options = {"target": "proba"}
    by_label = [explain(model, CLASSES, output=k, **options).score_influence(Z) for k in (3, 4, 5)]
    explainer = explain(model, CLASSES, **options)
    for labels, given in ((model.predict(Z), None), ([5, 3, 4, 5, 3, 4],) * 2):
        chosen = np.stack([by_label[label - 3][z] for z, label in enumerate(labels)])
        assert_allclose(explainer.score_influence(Z, given), chosen, rtol=1e-12)
    assert_allclose(sum(by_label), 0.0, rtol=0, atol=1e-12)


@pytest.mark.parametrize("y", [BINARY, CLASSES], ids=["two", "three"])
@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_parameters(y, method):
    model = LogisticRegression(**TIGHT).fit(ROWS, y)
    explainer = explain(model, y, method=method, target="params")
    scores = explainer.score_influence(None)
    assert_array_equal(explainer.d_params(), -scores.T)
    assert scores.shape == (len(explainer.param_names_), len(ROWS))
    name = explainer.param_names_[1]
    alone = explain(model, y, method=method, target=f"coef:{name}")
    assert_array_equal(alone.score_influence(None), scores[[1]])
    every = explain(model, y, method=method, target="coef:x1").score_influence(None)
    assert len(every) == len(np.atleast_2d(model.coef_))
    assert explainer.score_unit_ == "parameter"


def test_parameters_are_those_of_the_refit():
    before, after = pair(Ridge(), REAL, WEIGHTS)
    explainer = explain(before, REAL, WEIGHTS)
    expected = np.append(before.coef_ - after.coef_, before.intercept_ - after.intercept_)
    assert_allclose(explainer.d_params()[ROW], expected, rtol=1e-9)
    assert_array_equal(explainer.param_names_, ["x0", "x1", "x2", "intercept"])


def log_odds(outputs, y):
    return outputs[:, 1] - outputs[:, 0]


def log_odds_and_slope(outputs, y):
    return log_odds(outputs, y), np.tile([-1.0, 1.0, 0.0], (len(outputs), 1))


@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_a_function_of_the_outputs(method):
    model = LogisticRegression(**TIGHT).fit(ROWS, CLASSES)
    scores = [
        explain(model, CLASSES, method=method, target=f).score_influence(Z)
        for f in (log_odds, log_odds_and_slope)
    ]
    assert_allclose(scores[0], scores[1], rtol=1e-8, atol=1e-10)
    by_class = [
        explain(model, CLASSES, method=method, target="decision_function", output=k)
        for k in (4, 3)
    ]
    expected = by_class[0].score_influence(Z) - by_class[1].score_influence(Z)
    assert_allclose(scores[1], expected, rtol=1e-9, atol=1e-12)


def test_a_function_of_outputs_and_targets():
    model = Ridge().fit(ROWS, REAL)
    explainer = explain(model, REAL, target=lambda outputs, y: (outputs[:, 0] - y) ** 2)
    expected = explain(model, REAL).score_influence(Z, REAL[:6])
    assert_allclose(explainer.score_influence(Z, REAL[:6]), expected, rtol=1e-8, atol=1e-12)
    assert_allclose(explainer.self_influence(), explain(model, REAL).self_influence(), rtol=1e-8)


@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_sums_over_queries(method):
    explainer = explain(LogisticRegression(**TIGHT), CLASSES, WEIGHTS, method=method)
    scores = explainer.score_influence(Z, CLASSES[:6])
    for how in ("sum", "mean"):
        reduced = explainer.score_influence(Z, CLASSES[:6], reduce=how)
        assert_allclose(reduced, getattr(scores, how)(axis=0), rtol=1e-9, atol=1e-12)


# -- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", ["parameters", "loss"])
@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_relatif_divides_by_first_order_sizes(relative, method):
    model = Ridge().fit(ROWS, REAL)
    plain = explain(model, REAL, method=method).score_influence(Z, REAL[:6])
    explainer = explain(model, REAL, method=method, relative=relative)
    moved = explain(model, REAL, method="first_order").d_params()
    design = np.column_stack([ROWS, np.ones(len(ROWS))])
    hessian = 2.0 * (design.T @ design + np.diag([1.0, 1.0, 1.0, 0.0]))
    size = np.linalg.norm(moved, axis=1)
    if relative == "loss":
        size = np.sqrt(np.einsum("ip,pq,iq->i", moved, hessian, moved))
    assert_allclose(explainer.score_influence(Z, REAL[:6]), plain / size, rtol=1e-8, atol=1e-12)
    groups = [[i] for i in range(len(ROWS))]
    grouped = explainer.score_groups(Z, REAL[:6], groups=groups)
    assert_allclose(grouped, plain / size, rtol=1e-8, atol=1e-12)


def test_fixed_class_weights_are_a_dict():
    balanced = LogisticRegression(class_weight="balanced", **TIGHT).fit(ROWS, BINARY)
    counts = {k: len(BINARY) / (2 * np.count_nonzero(k == BINARY)) for k in ("ham", "spam")}
    fixed = LogisticRegression(class_weight=counts, **TIGHT).fit(ROWS, BINARY)
    expected = explain(fixed, BINARY, method="refit").score_influence(Z, BINARY[:6])
    options = {"method": "refit", "class_weights": "fixed"}
    scores = explain(balanced, BINARY, **options).score_influence(Z, BINARY[:6])
    assert_allclose(scores, expected, rtol=1e-8, atol=1e-12)
    recomputed = explain(balanced, BINARY, method="refit").score_influence(Z, BINARY[:6])
    assert np.linalg.norm(recomputed - expected) > 0.1 * np.linalg.norm(expected)


def test_expected_curvature_is_another_step():
    model = GammaRegressor(alpha=0.1, **TIGHT).fit(ROWS, TARGETS["positive"])
    y = TARGETS["positive"]
    truth = explain(model, y, method="refit").score_influence(Z, y[:6])
    errors = [
        np.linalg.norm(explain(model, y, hessian=h).score_influence(Z, y[:6]) - truth)
        for h in ("observed", "expected")
    ]
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.parametrize("method", ["first_order", "newton"])
@pytest.mark.parametrize("y", [BINARY, CLASSES], ids=["two", "three"])
def test_conjugate_gradients_agree(method, y):
    model = LogisticRegression(**TIGHT).fit(ROWS, y)
    dense = explain(model, y, method=method)
    for X in (ROWS, sparse.csr_array(ROWS)):
        products = explain(model, y, X=X, method=method, solver="cg")
        expected = dense.score_influence(Z, y[:6])
        scores = products.score_influence(Z, y[:6])
        assert_allclose(scores, expected, rtol=1e-6, atol=1e-9)
        assert_allclose(products.d_params(), dense.d_params(), rtol=1e-5, atol=1e-8)


def test_newton_at_five_hundred_rows():
    """Pearson .999 and slope 1 within a per cent, against real refits."""
    X, y = load_breast_cancer(return_X_y=True)
    X = scale(X)[:, :12]
    model = LogisticRegression(C=0.1, **TIGHT).fit(X, y)
    agreement = InfluenceExplainer(model).fit(X, y).validate(n_refits=8, random_state=0)
    assert agreement.pearson > 0.999
    assert abs(agreement.slope - 1.0) < 0.01


@pytest.mark.parametrize(
    ("estimator", "y"),
    [(LogisticRegression(**TIGHT), CLASSES), (PoissonRegressor(**TIGHT), TARGETS["counts"])],
)
def test_first_order_is_the_derivative_of_the_weighted_fit(estimator, y):
    """A real fit with the row's weight a little lower and higher."""
    explainer = explain(estimator.fit(ROWS, y), y, method="first_order", target="params")
    ends = []
    for step in (1e-3, -1e-3):
        weights = np.ones(len(ROWS))
        weights[ROW] -= step
        model = polish(estimator.fit(ROWS, y, weights), ROWS, y, weights)
        ends.append(np.atleast_2d(np.column_stack([model.coef_.reshape(-1, 3), model.intercept_])))
    slope = ((ends[0] - ends[1]) / 2e-3).ravel()
    assert_allclose(explainer.score_influence(None)[:, ROW], slope, rtol=1e-4, atol=1e-7)


# -- embedding ----------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [BINARY, CLASSES, REAL], ids=["two", "three", "real"])
@pytest.mark.parametrize("wide", [False, True])
def test_dot_products_are_first_order_scores(y, wide):
    X = np.random.default_rng(0).normal(size=(45, 60)) if wide else ROWS
    model = Ridge() if y is REAL else LogisticRegression(**TIGHT)
    options = {"X": X, "method": "first_order"}
    explainer = explain(model, y, target="decision_function", **options)
    queries = X[:6] + 0.1
    products = explainer.transform(queries) @ explainer.train_embedding().T
    assert_allclose(products, explainer.score_influence(queries), rtol=1e-7, atol=1e-9)
    assert explainer.transform(queries).shape[1] == len(explainer.get_feature_names_out())
    own = np.square(explainer.train_embedding()).sum(axis=1)
    assert_allclose(own, explain(model, y, **options).self_influence(), rtol=1e-7, atol=1e-10)


def test_the_embedding_does_not_depend_on_units_of_training_rows():
    """It lives in the parameters of the user, whatever coordinates they were found in."""
    order = np.random.default_rng(0).permutation(len(ROWS))
    first = explain(Ridge(), REAL).transform(Z)
    again = explain(Ridge(), REAL[order], X=ROWS[order]).transform(Z)
    assert_allclose(again, first, rtol=1e-9, atol=1e-12)


# -- around the model ---------------------------------------------------------------------------


def test_wrappers_are_the_model():
    model = LogisticRegression(**TIGHT).fit(ROWS, BINARY)
    expected = explain(model, BINARY).score_influence(Z, BINARY[:6])
    wrapped = [
        FrozenEstimator(model),
        make_pipeline(FrozenEstimator(model)),
        FixedThresholdClassifier(FrozenEstimator(model), threshold=0.3).fit(ROWS, BINARY),
    ]
    for estimator in wrapped:
        scores = explain(estimator, BINARY).score_influence(Z, BINARY[:6])
        assert_allclose(scores, expected, rtol=1e-12)


def test_a_pipeline_is_its_rows_transformed():
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(**TIGHT))
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.3]}, cv=2).fit(ROWS, BINARY)
    inner = search.best_estimator_
    bare = explain(inner[-1], BINARY, X=inner[0].transform(ROWS))
    explainer = explain(search, BINARY)
    scores = explainer.score_influence(Z, BINARY[:6])
    assert_allclose(scores, bare.score_influence(inner[0].transform(Z), BINARY[:6]), rtol=1e-10)
    whole = explainer.validate(n_refits=3, random_state=0, whole_pipeline=True)
    assert np.isfinite(whole.relative_error)


@pytest.mark.parametrize("container", ["pandas", "polars"])
def test_names_and_labels(container):
    frames = import_optional(container)
    columns = ["age", "dose", "weight"]
    if container == "pandas":
        labels = np.array([f"row {i}" for i in range(len(ROWS))])
        X = frames.DataFrame(ROWS, columns=columns, index=labels)
    else:
        X, labels = frames.DataFrame(ROWS, schema=columns), np.arange(len(ROWS))
    explainer = InfluenceExplainer(LogisticRegression(**TIGHT)).set_output(transform=container)
    explainer.fit(X, CLASSES)
    assert_array_equal(explainer.train_index_, labels)
    assert_array_equal(explainer.feature_names_in_, columns)
    names = [f"{k}:{name}" for k in (3, 4, 5) for name in [*columns, "intercept"]]
    assert_array_equal(explainer.param_names_, names)
    scores = explainer.score_influence(X[:4], CLASSES[:4])
    assert list(scores.columns) == list(map(str, labels) if container == "polars" else labels)
    assert list(explainer.d_params().columns) == names
    embedding = explainer.transform(X[:4])
    assert list(embedding.columns) == list(explainer.get_feature_names_out())
    plain = explain(LogisticRegression(**TIGHT), CLASSES)
    assert_allclose(np.asarray(scores), plain.score_influence(ROWS[:4], CLASSES[:4]), rtol=1e-9)
    assert explainer.train_embedding().shape[0] == len(ROWS)


def test_sparse_rows_are_dense_rows():
    X = np.where(np.abs(ROWS) > 0.5, ROWS, 0.0)
    for method in ("first_order", "newton", "refit"):
        both = [
            explain(LogisticRegression(**TIGHT), CLASSES, X=rows, method=method)
            for rows in (X, sparse.csr_array(X))
        ]
        scores = [e.score_influence(e._raw_rows[:5], CLASSES[:5]) for e in both]
        assert_allclose(scores[1], scores[0], rtol=1e-7, atol=1e-10)
        assert_allclose(both[1].d_params(), both[0].d_params(), rtol=1e-6, atol=1e-9)


def test_several_outputs_add_their_losses():
    y = TARGETS["outputs"]
    both = explain(LinearRegression(), y).score_influence(Z, y[:6])
    alone = [explain(LinearRegression(), y[:, k]).score_influence(Z, y[:6, k]) for k in (0, 1)]
    assert_allclose(both, alone[0] + alone[1], rtol=1e-9, atol=1e-12)
    one = explain(LinearRegression(), y, target="decision_function", output=1)
    same = explain(LinearRegression(), y[:, 1], target="decision_function")
    assert_allclose(one.score_influence(Z), same.score_influence(Z), rtol=1e-9, atol=1e-12)

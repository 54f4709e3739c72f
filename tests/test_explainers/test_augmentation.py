"""The score of transformations: means of replacements, whichever way they are computed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import config_context
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import (
    ElasticNet,
    LogisticRegression,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import InfluenceExplainer

rng = np.random.default_rng(0)
X, Z = rng.normal(size=(24, 4)), rng.normal(size=(7, 4))
CLASSES, TWO = np.arange(24) % 3, np.repeat(["no", "yes"], [9, 15])
NUMBERS = X @ [1.0, -1.0, 0.5, 0.0] + 0.3 * rng.normal(size=24)
COUNTS = rng.poisson(2.0, 24)
SHORT = rng.normal(size=(12, 20))  # more columns than rows


def scaled(X):
    return 1.3 * X


def shifted(X):
    return X + np.linspace(-1.0, 1.0, X.shape[1])


MEMBERS = {
    "ridge": (Ridge(), X, NUMBERS),
    "ridge, more columns than rows": (Ridge(), SHORT, NUMBERS[:12]),
    "elastic net": (ElasticNet(alpha=0.1), X, NUMBERS),
    "two classes, balanced": (LogisticRegression(class_weight="balanced"), X, TWO),
    "three classes": (LogisticRegression(), X, CLASSES),
    "one versus rest": (LinearSVC(), X, CLASSES),
    "counts": (PoissonRegressor(), X, COUNTS),
    "quantile": (QuantileRegressor(alpha=0.1), X, NUMBERS),
    "pipeline": (make_pipeline(StandardScaler(), PolynomialFeatures(), Ridge()), X, NUMBERS),
    "kernel ridge": (KernelRidge(kernel="rbf"), X, NUMBERS),
    "naive Bayes": (GaussianNB(), X, CLASSES),
    "support vectors": (SVC(), X, TWO),
}
LINEAR = [
    name for name in MEMBERS if name not in ("kernel ridge", "naive Bayes", "support vectors")
]


def asked(name):
    _, rows, y = MEMBERS[name]
    some = np.random.default_rng(1).normal(size=(7, rows.shape[1]))
    return some, y[:7]


def check(explainer, rows, queries):
    found = explainer.score_augmentation([scaled, shifted], queries=queries)
    for scores, transform in zip(found, (scaled, shifted), strict=True):
        every = explainer.score_replacement(
            transform(rows), rows=np.arange(rows.shape[0]), queries=queries
        )
        assert_allclose(scores, every.mean(axis=0), rtol=1e-9, atol=1e-12)
    return found


@pytest.mark.parametrize("name", MEMBERS)
def test_scores_are_means_of_replacements(name):
    model, rows, y = MEMBERS[name]
    check(InfluenceExplainer(model).fit(rows, y), rows, asked(name))


@pytest.mark.parametrize("target", ["loss", "decision_function"])
@pytest.mark.parametrize("name", LINEAR)
def test_one_solve_gives_first_order_means(name, target):
    model, rows, y = MEMBERS[name]
    options = {"smoothing": 0.1} if name == "quantile" else {}
    e = InfluenceExplainer(model, method="first_order", target=target, **options)
    check(e.fit(rows, y, sample_weight=np.linspace(0.5, 2.0, len(y)))
          if name != "pipeline" else e.fit(rows, y), rows, asked(name))  # fmt: skip


def test_rows_within_the_span_of_few_rows():
    model, rows, y = MEMBERS["ridge, more columns than rows"]
    e = InfluenceExplainer(model, method="first_order").fit(rows, y)
    queries = asked("ridge, more columns than rows")
    found = e.score_augmentation(lambda X: X[::-1], queries=queries)
    every = e.score_replacement(rows[::-1], rows=np.arange(12), queries=queries)
    assert_allclose(found, every.mean(axis=0), rtol=1e-9, atol=1e-12)


def test_sparse_rows_and_blocks():
    sparse_rows = sparse.csr_matrix(np.where(X > 0, X, 0.0))
    e = InfluenceExplainer(LogisticRegression(), method="first_order").fit(sparse_rows, CLASSES)
    queries = (sparse.csr_matrix(Z), CLASSES[:7])
    whole = e.score_augmentation(scaled, queries=queries)
    every = e.score_replacement(1.3 * sparse_rows, rows=np.arange(24), queries=queries)
    assert_allclose(whole, every.mean(axis=0), rtol=1e-9, atol=1e-12)
    for method in ("first_order", "newton"):
        e = InfluenceExplainer(LogisticRegression(), method=method).fit(X, CLASSES)
        whole = e.score_augmentation(scaled, queries=(Z, CLASSES[:7]))
        with config_context(working_memory=0.001):
            parts = e.score_augmentation(scaled, queries=(Z, CLASSES[:7]))
        assert_allclose(parts, whole, rtol=1e-10, atol=1e-13)


def test_a_chosen_transformation_lowers_the_loss_after_a_refit():
    e = InfluenceExplainer(Ridge(), method="refit").fit(X, NUMBERS)
    transforms = {"scaled": scaled, "shifted": shifted}
    queries = (Z, Z[:, 0])
    scores = e.score_augmentation(transforms, queries=queries)
    best, row = np.unravel_index(scores.argmin(), scores.shape)
    moved = X.copy()
    moved[row] = list(transforms.values())[best](X[row : row + 1])[0]

    def loss(rows):
        return np.mean((Ridge().fit(rows, NUMBERS).predict(Z) - Z[:, 0]) ** 2)

    assert_allclose(scores.min(), loss(moved) - loss(X), rtol=1e-7)
    assert scores.min() < 0.0


def test_parameters_and_bad_transformations_are_refused():
    e = InfluenceExplainer(Ridge(), target="params").fit(X, NUMBERS)
    with pytest.raises(ValueError, match="fitted parameters, whose mean says nothing"):
        e.score_augmentation(scaled, queries=None)
    e = InfluenceExplainer(Ridge()).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="'scaled' made 3 rows of 24"):
        e.score_augmentation({"scaled": lambda X: X[:3]}, queries=(Z, Z[:, 0]))
    with pytest.raises(TypeError, match="transform is int, and transformations are functions"):
        e.score_augmentation(3, queries=(Z, Z[:, 0]))

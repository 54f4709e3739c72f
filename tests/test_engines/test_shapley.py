"""Shapley values of nearest-neighbour models, held against all subsets."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.linear_model import Ridge
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence import KNNShapley
from skinfluence.exceptions import UnsupportedEstimatorError

_rng = np.random.default_rng(3)
X, QUERIES = _rng.normal(size=(8, 2)), _rng.normal(size=(5, 2))
LABELS, ASKED = np.array(list("abacabcb")), np.array(list("abcab"))
NUMBERS, WANTED = _rng.normal(size=(8, 2)), _rng.normal(size=(5, 2))


def worth(subset, query, target, *, X, y, k, weights=None):
    """v of a subset of rows: the definition, row by row."""
    nearest = sorted(subset, key=lambda i: (np.linalg.norm(X[i] - query), i))[:k]
    far = np.array([np.linalg.norm(X[i] - query) for i in nearest])
    # Of rows at distance 0 alone, if there are any; without weights the sum is over k.
    votes, total = np.ones(len(far)), k
    if weights is not None and len(far):
        votes = (far == 0) * 1.0 if (far == 0).any() and weights is inverse else weights(far)
        total = votes.sum()
    if y.dtype.kind == "U":
        return sum(v * (y[i] == target) for v, i in zip(votes, nearest, strict=True)) / total
    told = sum((v * y[i] for v, i in zip(votes, nearest, strict=True)), np.zeros(y.shape[1]))
    return -np.sum((told / total - target) ** 2)


def inverse(distances):
    with np.errstate(divide="ignore"):
        return 1.0 / distances


def fading(distances):
    return np.exp(-(distances**2))


def by_definition(query, target, *, X, y, k, weights=None):
    n = len(X)
    values = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for subset in combinations(others, size):
                gain = worth((*subset, i), query, target, X=X, y=y, k=k, weights=weights)
                gain -= worth(subset, query, target, X=X, y=y, k=k, weights=weights)
                values[i] += gain / (n * comb(n - 1, size))
    return values


@pytest.mark.parametrize("k", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("n", [7, 8])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_values_are_means_over_all_subsets(k, n, kind):
    y, asked = (LABELS, ASKED) if kind == "labels" else (NUMBERS, WANTED)
    model = (KNeighborsClassifier if kind == "labels" else KNeighborsRegressor)(k)
    explainer = KNNShapley(model.fit(X[:n], y[:n])).fit(X[:n], y[:n])
    assert explainer.method_ == "shapley"
    values = explainer.score_influence(QUERIES, asked)
    for q in range(len(QUERIES) if n == 7 else 1):
        truth = by_definition(QUERIES[q], asked[q], X=X[:n], y=y[:n], k=k)
        assert_allclose(values[q], truth, rtol=1e-11, atol=1e-13)
    own = explainer.self_influence()
    assert_allclose(own, np.diag(explainer.score_influence(X[:n], y[:n])), rtol=1e-12)


@pytest.mark.parametrize("k", [1, 2, 5, 7, 9])
@pytest.mark.parametrize("weights", ["distance", fading])
@pytest.mark.parametrize("kind", ["labels", "numbers"])
def test_weighted_values_are_means_over_all_subsets(k, weights, kind):
    # The last query is the first row, twice there: at distance 0 the two count alone.
    rows, asked_rows = np.vstack([X[:6], X[:1]]), np.vstack([QUERIES[:2], X[:1]])
    y, asked = (LABELS[:7], ASKED[:3]) if kind == "labels" else (NUMBERS[:7], WANTED[:3])
    model = KNeighborsClassifier if kind == "labels" else KNeighborsRegressor
    # Trees find distances of 0, where matrix products may leave 1e-8.
    model = model(min(k, 7), weights=weights, algorithm="kd_tree")
    explainer = KNNShapley(model).fit(rows, y)
    if k > 7:  # more than there are rows: the same as all of them
        explainer._engine.k = k
    values = explainer.score_influence(asked_rows, asked)
    options = {"X": rows, "y": y, "k": k, "weights": inverse if weights == "distance" else weights}
    for q in range(3):
        truth = by_definition(asked_rows[q], asked[q], **options)
        assert_allclose(values[q], truth, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 4, 40])
def test_they_add_up(k, weights):
    rows, y = _rng.normal(size=(300, 4)), _rng.normal(size=300)
    explainer = KNNShapley(KNeighborsRegressor(k, weights=weights)).fit(rows, y)
    total = explainer.score_influence(rows[:9] + 0.1, y[:9]).sum(axis=1)
    predicted = explainer.estimator_.predict(rows[:9] + 0.1)
    assert_allclose(total, y[:9] ** 2 - (predicted - y[:9]) ** 2, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("scale", [1e-100, 1e100])
def test_weights_have_no_unit(scale):
    far = _rng.normal(size=(30, 1)) * np.exp(9 * _rng.normal(size=(30, 1)))
    y = _rng.integers(0, 2, 30)
    values = [
        KNNShapley(KNeighborsClassifier(4, weights="distance"))
        .fit(factor * far, y)
        .score_influence(factor * (far[:3] + 0.3), y[:3])
        for factor in (1.0, scale)
    ]
    assert_allclose(values[1], values[0], rtol=1e-9, atol=1e-12)


def test_copies_share_their_value():
    # Among subsets it does not matter which of two copies a vote comes from, but a tie goes to
    # the first; the pair as a whole is worth the same in either order.
    rows, y = np.vstack([X, X[:1]]), np.append(LABELS, LABELS[0])
    values = KNNShapley(KNeighborsClassifier(2)).fit(rows, y).score_influence(QUERIES, ASKED)
    order = np.r_[8, 1:8, 0]
    swapped = KNNShapley(KNeighborsClassifier(2)).fit(rows[order], y[order])
    assert_allclose(swapped.score_influence(QUERIES, ASKED), values, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("algorithm", ["kd_tree", "brute"])
def test_ties_count_in_the_order_of_positions(algorithm):
    rows = np.vstack([X[:6], X[:1]])  # a copy with another label
    model = KNeighborsClassifier(2, weights=fading, algorithm=algorithm)
    values = KNNShapley(model).fit(rows, LABELS[:7]).score_influence(QUERIES[:1], ASKED[:1])
    options = {"X": rows, "y": LABELS[:7], "k": 2, "weights": fading}
    assert_allclose(values[0], by_definition(QUERIES[0], ASKED[0], **options), rtol=1e-9)


@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("metric", ["manhattan", "cosine"])
def test_metrics_sparse_rows_and_pipelines(metric, weights):
    model = KNeighborsClassifier(2, metric=metric, weights=weights)
    # Numbers: scikit-learn 1.6 has no probabilities of named classes by these metrics.
    y, asked = (
        np.searchsorted(np.unique(LABELS), LABELS),
        np.searchsorted(np.unique(LABELS), ASKED),
    )
    values = KNNShapley(model).fit(X, y).score_influence(QUERIES, asked)
    thin = KNNShapley(model).fit(sparse.csr_array(X), y)
    scores = thin.score_influence(sparse.csr_array(QUERIES), asked)
    assert_allclose(scores, values, rtol=1e-12, atol=1e-15)
    pipeline = make_pipeline(StandardScaler(), KNeighborsClassifier(2)).fit(X, LABELS)
    explainer = KNNShapley(pipeline).fit(X, LABELS)
    head = pipeline[:-1]
    alone = KNNShapley(pipeline[-1]).fit(head.transform(X), LABELS)
    assert_allclose(
        explainer.score_influence(QUERIES, ASKED),
        alone.score_influence(head.transform(QUERIES), ASKED),
        rtol=1e-12,
    )


@pytest.mark.parametrize("weights", ["uniform", "distance"])
def test_blocks_do_not_matter(monkeypatch, weights):
    rows, y = _rng.normal(size=(60, 3)), _rng.integers(0, 2, 60)
    explainer = KNNShapley(KNeighborsClassifier(3, weights=weights)).fit(rows, y)
    whole = explainer.score_influence(rows, y)
    # Seven queries a block; of their integrals 16 nodes a block.
    small = 64 * 60 * 7 if weights == "uniform" else 8 * 16 * 12 * 3 * 60 * 7
    monkeypatch.setattr("skinfluence._loops.memory_budget", lambda workers=1: small)
    # The nodes of an integral are added up in other blocks, too.
    atol = 0 if weights == "uniform" else 1e-13
    assert_allclose(explainer.score_influence(rows, y), whole, rtol=0, atol=atol)
    assert_allclose(
        explainer.score_influence(rows, y, reduce="mean"),
        whole.mean(axis=0),
        rtol=1e-12,
        atol=atol,
    )
    scores, _ = explainer.proponents(rows, y, k=4)
    assert_allclose(scores, -np.sort(-whole, axis=1)[:, :4], rtol=0, atol=atol)
    groups = explainer.score_groups(rows, y, groups=[[1, 2, 3]])
    assert_allclose(groups[:, 0], whole[:, 1:4].sum(axis=1), rtol=1e-12, atol=atol + 1e-15)


def test_mislabelled_rows_are_worth_least():
    rows = _rng.normal(size=(200, 2)) + 4.0 * (np.arange(200) % 2)[:, None]
    y = np.arange(200) % 2
    y[:6] = 1 - y[:6]
    explainer = KNNShapley(KNeighborsClassifier(5)).fit(rows[:100], y[:100])
    values = explainer.score_influence(rows[100:], y[100:], reduce="mean")
    assert len(set(explainer.rank_outliers(8)) & set(range(6))) >= 5
    # A right row among wrong ones may be worth as little.
    assert len(set(np.argsort(values)[:6]) & set(range(6))) >= 5


def test_refusals():
    with pytest.raises(UnsupportedEstimatorError, match=r"the model is a Ridge. Pass one of them"):
        KNNShapley(Ridge()).fit(X, NUMBERS)
    for weights, said in [
        (lambda d: np.maximum(1.0 - d, 0.0), "not positive numbers.*wider bandwidth"),
        (lambda d: d[:, -1:] + 1.0 - 0.1 * d, "function of each distance alone"),
    ]:
        explainer = KNNShapley(KNeighborsRegressor(2, weights=weights)).fit(X, NUMBERS)
        with pytest.raises(ValueError, match=said):
            explainer.score_influence(QUERIES, WANTED)
    with pytest.raises(UnsupportedEstimatorError, match='metric="precomputed"'):
        KNNShapley(KNeighborsRegressor(2, metric="precomputed")).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="answers differently on these rows"):
        KNNShapley(KNeighborsRegressor(2).fit(X, NUMBERS)).fit(X[::-1], NUMBERS)
    with pytest.raises(ValueError, match="requires y to be passed"):
        KNNShapley(KNeighborsClassifier(2)).fit(X)
    with pytest.raises(ValueError, match="estimator is None, and KNNShapley explains a model"):
        KNNShapley(None).fit(X, LABELS)
    explainer = KNNShapley(KNeighborsClassifier(2)).fit(X, LABELS)
    with pytest.raises(ValueError, match=r"y is None, and a row has a value.*Pass y"):
        explainer.score_influence(QUERIES)
    with pytest.raises(ValueError, match="none of the 3 labels"):
        explainer.score_influence(QUERIES, np.array(list("abcdz")))


@parametrize_with_checks(
    [
        KNNShapley(KNeighborsClassifier(2)),
        KNNShapley(KNeighborsRegressor(2)),
        KNNShapley(KNeighborsRegressor(2, weights="distance")),
    ]
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)

"""Overlaps and rates of the strongest rows, by hand and by sets."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import UndefinedMetricWarning

from skinfluence import KDEInfluence
from skinfluence.metrics import identical_class_rate, self_proponent_rate, top_k_overlap


@pytest.mark.parametrize(
    ("by", "key"),
    [("largest", lambda s: -s), ("smallest", lambda s: s), ("magnitude", lambda s: -np.abs(s))],
)
def test_overlap_of_sets(by, key):
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(6, 20)), rng.normal(size=(6, 20))
    tops = [
        len(set(np.argsort(key(a))[:7]) & set(np.argsort(key(b))[:7])) / 7
        for a, b in zip(one, other, strict=True)
    ]
    assert_allclose(top_k_overlap(one, other, 7, by=by), tops)


def test_overlap_by_hand():
    assert top_k_overlap([5.0, 4.0, 3.0], [5.0, 1.0, 3.0], k=2) == 0.5
    assert top_k_overlap([5.0, 4.0, 3.0], [5.0, 1.0, 3.0], k=1) == 1.0
    assert top_k_overlap([5.0, 4.0, 3.0], [5.0, 1.0, 3.0], k=3) == 1.0
    assert top_k_overlap([np.inf, 1.0, -np.inf], [2.0, 1.0, 9.0], k=1) == 0.0
    # ties go to the smaller position on both sides
    assert top_k_overlap([1.0, 1.0, 0.0], [1.0, 0.0, 0.0], k=1) == 1.0


def test_ties_go_to_the_smaller_position():
    estimated, actual = np.zeros(1000), np.zeros(1000)
    estimated[-1] = actual[:4] = 1.0  # the top four: 999, 0, 1, 2 and 0, 1, 2, 3
    assert top_k_overlap(estimated, actual, k=4) == 0.75


def test_a_random_order_reaches_k_over_n():
    rng = np.random.default_rng(0)
    overlap = top_k_overlap(rng.normal(size=(2000, 20)), rng.normal(size=(2000, 20)), 5)
    assert_allclose(overlap.mean(), 0.25, rtol=0.05)


def test_constant_queries_have_no_top():
    with pytest.warns(UndefinedMetricWarning, match="constant at 1 of 2 queries"):
        overlap = top_k_overlap([[1.0, 1.0], [1.0, 2.0]], [[1.0, 2.0], [1.0, 2.0]], k=1)
    assert_array_equal(overlap, [np.nan, 1.0])


@pytest.mark.parametrize(
    ("estimated", "actual", "options", "message"),
    [
        ([1.0, 2.0], [1.0], {}, r"estimated has shape \(1, 2\) and actual \(1, 1\)"),
        ([1.0, 2.0], [[1.0, 2.0]], {}, "Score what was refitted"),
        ([], [], {}, "not empty"),
        ([np.nan, 2.0], [1.0, 2.0], {"k": 1}, "1 of the changes are NaN"),
        ([1.0, 2.0], [1.0, 2.0], {"k": 3}, "k is 3, but it must be an integer from 1 to the 2"),
        ([1.0, 2.0], [1.0, 2.0], {"k": 0}, "k is 0"),
        ([1.0, 2.0], [1.0, 2.0], {"k": 0.5}, "k is 0.5"),
        ([1.0, 2.0], [1.0, 2.0], {"k": 1, "by": "rank"}, "by is 'rank', but it must be one of"),
    ],
)
def test_refused_overlaps(estimated, actual, options, message):
    with pytest.raises(ValueError, match=message):
        top_k_overlap(estimated, actual, **options)


def test_class_rates_by_hand():
    scores = [[0.9, 0.1, 0.5, 0.2], [0.2, 0.1, 0.3, 0.0], [0.0, 0.0, 0.0, -1.0]]
    y_train, y_query = ["a", "b", "a", "b"], ["a", "b", "a"]
    assert_allclose(identical_class_rate(scores, y_query, y_train), 2 / 3)
    # tops of two: a a, a a, a b (ties to the smaller position)
    assert_allclose(identical_class_rate(scores, y_query, y_train, k=2), (1 + 0 + 0.5) / 3)
    assert_allclose(identical_class_rate(scores, y_query, y_train, k=4), 0.5)


def test_subclasses_are_the_same_question_with_other_labels():
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 3.0, 2.0]])
    classes, subclasses = [0, 0, 1], ["cat", "dog", "car"]
    assert identical_class_rate(scores, [0, 0], classes) == 1.0
    assert identical_class_rate(scores, ["dog", "dog"], subclasses) == 0.5


def test_chance_level():
    rng = np.random.default_rng(0)
    y_train, y_query = rng.random(50) < 0.3, rng.random(3000) < 0.8
    chance = y_train.mean() * y_query.mean() + (1 - y_train.mean()) * (1 - y_query.mean())
    rate = identical_class_rate(rng.random((3000, 50)), y_query, y_train)
    assert_allclose(rate, chance, rtol=0.1)


def test_self_proponents_by_hand():
    assert self_proponent_rate(np.eye(4)) == 1.0
    assert self_proponent_rate(-np.eye(4)) == 0.0
    assert self_proponent_rate([[1.0, 2.0], [0.0, np.inf]]) == 0.5
    scores = [[0.0, 0.0, 5.0], [4.0, 0.0, 0.0]]
    assert self_proponent_rate(scores, rows=[2, 1]) == 0.5


def test_only_the_first_copy_is_its_own_proponent():
    X = np.repeat([[0.0], [10.0], [20.0]], [1, 1, 3], axis=0)
    scores = np.exp(-np.abs(X - X.T))
    assert self_proponent_rate(scores) == 3 / 5


def test_indices_need_no_matrix():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(40, 2)), rng.integers(0, 2, 40)
    explainer = KDEInfluence().fit(X)
    scores, indices = explainer.score_influence(X), explainer.proponents(X, k=3)[1]
    for k in (1, 3):
        assert_allclose(
            identical_class_rate(None, y, y, k=k, indices=indices),
            identical_class_rate(scores, y, y, k=k),
        )
    assert self_proponent_rate(indices=indices) == self_proponent_rate(scores)
    assert self_proponent_rate(indices=indices[:, 0]) == self_proponent_rate(scores)
    assert self_proponent_rate(indices=indices[5:9], rows=[5, 6, 7, 8]) == 1.0


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (None, {}, "there were neither"),
        (np.eye(2), {"indices": [0, 1]}, "there were both"),
        (np.ones((3, 2)), {}, "Query 2 is training row 2, but the scores have 2 columns"),
        (np.eye(2), {"rows": [1]}, r"rows has shape \(1,\), but there are 2 queries"),
        (np.eye(2) * np.nan, {}, "4 of the scores are NaN"),
        (np.ones((0, 2)), {}, "a share of nothing is undefined"),
        (None, {"indices": [0.5, 1.0]}, "indices have dtype float64"),
        (None, {"indices": [-1, 1]}, "lie between -1 and 1"),
    ],
)
def test_refused_self_rates(scores, options, message):
    with pytest.raises(ValueError, match=message):
        self_proponent_rate(scores, **options)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        (np.ones((2, 2)), {}, r"scores have shape \(2, 2\), but there are 2 queries and 3"),
        (np.ones(3), {}, "Pass an array of shape"),
        (np.ones((2, 3)), {"k": 4}, "k is 4"),
        (None, {"indices": [[0], [3]]}, "must be positions of training rows"),
        (None, {"indices": [[0], [1]], "k": 2}, "at least k proponents of every query"),
    ],
)
def test_refused_class_rates(scores, options, message):
    with pytest.raises(ValueError, match=message):
        identical_class_rate(scores, [0, 1], [0, 1, 0], **options)

"""Detection curves: hand values, order invariance, and the relation to ROC AUC."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import average_precision_score, roc_auc_score

from skinfluence.metrics import detection_auc, detection_curve


def test_perfect_worst_and_constant_scores():
    is_bad = np.array([True, True, False, False, False, False, False, False])
    p = is_bad.mean()
    assert_allclose(detection_auc(is_bad, is_bad * 1.0), 1 - p / 2)
    assert_allclose(detection_auc(is_bad, -1.0 * is_bad), p / 2)
    assert_allclose(detection_auc(is_bad, np.zeros(8)), 0.5)
    checked, found = detection_curve(is_bad, np.arange(8)[::-1])
    assert_array_equal(checked, np.arange(9) / 8)
    assert_array_equal(found, [0, 0.5, 1, 1, 1, 1, 1, 1, 1])


def test_ties_are_the_average_over_their_orders():
    is_bad = np.array([True, False, False, True, False])
    score = np.array([2.0, 2.0, 2.0, 1.0, 3.0])
    orders = [
        detection_auc(is_bad, score + 1e-3 * np.array([*order, 0, 0]))
        for order in itertools.permutations(range(3))
    ]
    assert_allclose(detection_auc(is_bad, score), np.mean(orders))


def test_row_order_does_not_matter():
    rng = np.random.default_rng(0)
    is_bad, score = rng.random(200) < 0.2, rng.integers(0, 6, 200).astype(float)
    order = rng.permutation(200)
    for one, other in zip(
        detection_curve(is_bad, score), detection_curve(is_bad[order], score[order]), strict=True
    ):
        assert_array_equal(one, other)


@pytest.mark.parametrize("n_levels", [3, 10, 10**6])
def test_relation_to_roc_auc(n_levels):
    rng = np.random.default_rng(n_levels)
    is_bad = rng.random(300) < 0.1
    score = rng.integers(0, n_levels, 300) + 0.3 * n_levels * is_bad
    p = is_bad.mean()
    expected = p / 2 + (1 - p) * roc_auc_score(is_bad, score)
    assert_allclose(detection_auc(is_bad, score), expected, rtol=1e-12)


def test_infinite_scores_come_first_together():
    score = np.array([np.inf, 1.0, np.inf, -np.inf])
    checked, found = detection_curve([1, 0, 0, 1], score)
    assert_array_equal(checked, [0, 0.5, 0.75, 1])
    assert_array_equal(found, [0, 0.5, 0.5, 1])
    # the advice in the docstring: order numbers carry them into scikit-learn's metrics
    numbers = np.unique(score, return_inverse=True)[1]
    assert_allclose(average_precision_score([1, 0, 0, 1], numbers), 0.5)


@pytest.mark.parametrize(
    ("is_bad", "score", "message"),
    [
        ([True, False], [1.0], r"is_bad has shape \(2,\) and score \(1,\)"),
        ([[True]], [[1.0]], r"both must be \(n_rows,\)"),
        ([-1, 1], [1.0, 2.0], r"is_bad holds \[-1, 1\], but it must be boolean"),
        ([False, False], [1.0, 2.0], "None of the 2 rows is bad"),
        ([True, False], [np.nan, 2.0], "1 of the scores are NaN"),
    ],
)
def test_refusals(is_bad, score, message):
    with pytest.raises(ValueError, match=message):
        detection_auc(is_bad, score)

"""Exact deletion from models that do not look at X: by hand, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.dummy import DummyClassifier, DummyRegressor

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError

ROWS = np.zeros((4, 1))
LABELS = np.array(["a", "a", "a", "b"])
NUMBERS = np.array([0.0, 1.0, 2.0, 5.0])
WEIGHTS = np.array([1.0, 2.0, 0.0, 3.0])


def test_shares_of_classes():
    scores = InfluenceExplainer(DummyClassifier()).fit(ROWS, LABELS).score_influence(ROWS, LABELS)
    a, b = np.log(3 / 4), np.log(1 / 4)
    expected = [[a - np.log(2 / 3)] * 3 + [a], [b - np.log(1 / 3)] * 3 + [np.inf]]
    assert_allclose(scores[[0, 3]], expected, rtol=1e-14)


def test_nothing_is_left_of_a_class_whose_only_row_goes():
    weights = np.array([2.001123178405958, 0.9083889975497417, 1.6868647891438442])
    rows, labels = ROWS[:3], np.arange(3)
    explainer = InfluenceExplainer(DummyClassifier()).fit(rows, labels, sample_weight=weights)
    assert_array_equal(np.diagonal(explainer.score_influence(rows, labels)), np.full(3, np.inf))


def test_weighted_means():
    explainer = InfluenceExplainer(DummyRegressor()).fit(ROWS, NUMBERS, sample_weight=WEIGHTS)
    scores = explainer.score_influence(ROWS, NUMBERS)
    means = np.array([17 / 5, 15 / 4, 17 / 6, 2 / 3])
    gaps = np.square(NUMBERS[:, None] - means) - np.square(NUMBERS - 17 / 6)[:, None]
    assert_allclose(scores, gaps, rtol=1e-12, atol=1e-14)
    assert (scores[:, 2] == 0).all()


def test_a_row_that_carries_all_weight():
    alone = np.array([0.0, 0.0, 1.0, 0.0])
    explainer = InfluenceExplainer(DummyRegressor()).fit(ROWS, NUMBERS, sample_weight=alone)
    with pytest.warns(DegenerateDeletionWarning, match="1 of 4: 2"):
        assert np.isfinite(explainer.score_influence(ROWS, NUMBERS)).all()


def test_what_is_refused():
    with pytest.raises(UnsupportedEstimatorError, match=r"draws a class .* strategy='prior'"):
        InfluenceExplainer(DummyClassifier(strategy="stratified")).fit(ROWS, LABELS)
    with pytest.raises(UnsupportedEstimatorError, match="fitted on 2 targets a row"):
        InfluenceExplainer(DummyClassifier()).fit(ROWS, np.column_stack([LABELS, LABELS]))

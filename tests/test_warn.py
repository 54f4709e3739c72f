"""A warning names the line that asked, whatever lies between."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from skinfluence import InfluenceExplainer
from skinfluence._warn import warn
from skinfluence.exceptions import DegenerateDeletionWarning, NotStationaryWarning

X = np.random.default_rng(0).normal(size=(12, 2))
y = (X[:, 0] > 0).astype(int)


def test_a_warning_from_here_points_here():
    with pytest.warns(UserWarning, match="here") as caught:
        warn("here", UserWarning)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("wrap", [lambda explainer: explainer, make_pipeline])
def test_a_warning_of_fit_points_at_its_caller(wrap):
    model = LogisticRegression().fit(X, y)
    other_rows = X[::-1]
    with pytest.warns(NotStationaryWarning) as caught:
        wrap(InfluenceExplainer(model)).fit(other_rows, y)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "ask",
    [
        lambda explainer: explainer.score_influence(X[:1], [True]),
        lambda explainer: explainer.proponents(X[:1], [True], k=1),
        lambda explainer: explainer.self_influence(),
        lambda explainer: explainer.rank_outliers(),
        lambda explainer: explainer.d_params(),
    ],
)
def test_a_warning_of_a_question_points_at_its_caller(ask):
    one_of_a_class = np.arange(12) == 0
    explainer = InfluenceExplainer(LogisticRegression()).fit(X, one_of_a_class)
    with pytest.warns(DegenerateDeletionWarning) as caught:
        ask(explainer)
    assert caught[0].filename == __file__


def test_whoever_stands_between_is_passed_over():
    package = {"__name__": "skinfluence.deep", "warn": warn}
    with pytest.warns(UserWarning, match="deep") as caught:
        exec("def between():\n    warn('deep', UserWarning)\nbetween()", package)
    assert caught[0].filename == __file__

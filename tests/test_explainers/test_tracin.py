"""What TracInExplainer says before it asks torch anything; the rest is in tests/test_torch."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone, is_outlier_detector
from sklearn.linear_model import SGDClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils import get_tags

from skinfluence import TracInExplainer
from skinfluence.explainers import tracing


def test_without_torch(monkeypatch):
    monkeypatch.setattr(tracing, "find_spec", lambda name: None)
    message = r"derivatives of MLPClassifier by torch.*not installed.*skinfluence\[torch\]"
    with pytest.raises(ImportError, match=message):
        TracInExplainer(MLPClassifier()).fit(np.eye(4), [0, 1, 0, 1])


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (None, "estimator is None, and TracInExplainer explains a model of yours"),
        (MLPClassifier, "estimator is the class MLPClassifier, and an instance is needed"),
        ({"weight": 1}, "estimator is a dict of 1 entries, perhaps a state_dict"),
        ("run.pt", "estimator is the path 'run.pt'"),
    ],
)
def test_what_is_no_estimator(estimator, message):
    with pytest.raises((ValueError, TypeError), match=message):
        TracInExplainer(estimator).fit(np.eye(4), [0, 1, 0, 1])


def test_tags_and_clones_need_no_torch():
    explainer = TracInExplainer(SGDClassifier(), learning_rates=[0.1, 0.2], contamination="auto")
    assert not is_outlier_detector(explainer)
    assert get_tags(explainer).target_tags.required
    # Old releases of scikit-learn do not say of the inner one that it takes sparse rows.
    inner = get_tags(SGDClassifier()).input_tags
    assert get_tags(explainer).input_tags.sparse == inner.sparse
    assert clone(explainer).learning_rates == [0.1, 0.2]
    for name in ("predict", "fit_predict", "score_samples", "decision_function"):
        assert not hasattr(explainer, name)

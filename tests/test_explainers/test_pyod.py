"""PyOD's signs and labels over our detectors."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import Ridge

from skinfluence import KDEInfluence, KNNInfluence, PyODAdapter
from tests.cases import BLOBS

DETECTORS = [
    KDEInfluence(novelty=True, contamination=0.1),
    KNNInfluence(novelty=True, contamination=0.1),
]


@pytest.mark.parametrize("explainer", DETECTORS, ids=lambda e: type(e).__name__)
def test_signs_and_labels_are_turned(explainer):
    adapter = PyODAdapter(explainer).fit(BLOBS)
    fitted = clone(explainer).fit(BLOBS)
    new = BLOBS + 0.3
    assert_allclose(adapter.decision_function(new), -fitted.score_samples(new))
    assert_array_equal(adapter.predict(new), (fitted.predict(new) == -1).astype(int))
    assert adapter.threshold_ == -fitted.offset_
    assert adapter.labels_.sum() == 4  # 10 % of 46 rows, rounded down
    assert_array_equal(adapter.labels_, adapter.decision_scores_ > adapter.threshold_)
    assert_allclose(adapter.decision_scores_, fitted.self_influence())
    assert adapter.n_features_in_ == 2


def test_training_labels_are_those_of_fit_predict():
    explainer = KNNInfluence(contamination=0.1)
    labels = PyODAdapter(explainer).fit(BLOBS).labels_
    assert_array_equal(labels, (explainer.fit_predict(BLOBS) == -1).astype(int))
    assert_array_equal(PyODAdapter(explainer).fit_predict(BLOBS), labels)


def test_novelty_does_not_hide_new_rows():
    hidden = PyODAdapter(KNNInfluence(novelty=False)).fit(BLOBS)
    shown = PyODAdapter(KNNInfluence(novelty=True)).fit(BLOBS)
    assert_array_equal(hidden.decision_function(BLOBS), shown.decision_function(BLOBS))


def test_infinite_scores_are_clipped():
    adapter = PyODAdapter(KNNInfluence(n_neighbors=1)).fit(BLOBS)
    assert np.isfinite(adapter.decision_scores_).all()


def test_other_estimators_are_refused():
    with pytest.raises(TypeError, match="density explainers, and this is a Ridge"):
        PyODAdapter(Ridge()).fit(BLOBS)

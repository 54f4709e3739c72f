"""Pictures of networks: rows as arrays, tensors and images."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.neural_network import MLPClassifier

from skinfluence import InfluenceExplainer
from skinfluence.displays import (
    DetectionCurveDisplay,
    ImageGridDisplay,
    InfluenceDisplay,
    SelfInfluenceDisplay,
)
from tests.conftest import import_optional

import_optional("matplotlib").use("Agg")
torch = import_optional("torch")
nn = torch.nn

N = 20
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4)).astype("f4")
IMAGES = rng.normal(size=(N, 3, 4, 4)).astype("f4")
Y = np.arange(N) % 3

pytestmark = [
    pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def of_images():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(8, 3))


OPTIONS = {"loss": "cross_entropy", "damping": 0.3}
CASES = {
    "array": lambda: (InfluenceExplainer(module(), **OPTIONS), X, Y),
    "tensor": lambda: (
        InfluenceExplainer(module(), **OPTIONS),
        torch.tensor(X),
        torch.tensor(Y),
    ),
    "images": lambda: (InfluenceExplainer(of_images(), **OPTIONS), IMAGES, Y),
    "mlp": lambda: (
        InfluenceExplainer(MLPClassifier((4,), max_iter=20, random_state=0)),
        X,
        Y,
    ),
}


@pytest.fixture(params=CASES)
def fitted(request):
    e, rows, y = CASES[request.param]()
    return e.fit(rows, y), rows, y


@pytest.mark.parametrize("kind", ["scatter", "distance"])
def test_one_query(fitted, kind):
    e, rows, y = fitted
    for query, target in ((rows[:1], y[:1]), (rows[0], y[0])):
        display = InfluenceDisplay.from_explainer(e, query, y=target, kind=kind)
        assert_allclose(
            display.influence, e.score_influence(rows[:1], y[:1])[0], rtol=1e-6, atol=1e-9
        )
        apart = np.asarray(rows).reshape(N, -1) - np.asarray(rows[0]).ravel()
        assert_allclose(display.distance, np.linalg.norm(apart, axis=1), rtol=1e-5, atol=1e-7)


def test_every_row(fitted):
    e, rows, _ = fitted
    assert SelfInfluenceDisplay.from_explainer(e).X.shape == (N, np.asarray(rows)[0].size)
    DetectionCurveDisplay.from_explainer(e, np.arange(N) < 4)


def test_images_with_channels_first():
    e = InfluenceExplainer(of_images(), **OPTIONS).fit(IMAGES, Y)
    display = ImageGridDisplay.from_explainer(e, IMAGES[:2], y=Y[:2], image_shape=(4, 4, 3), k=2)
    assert_allclose(display.queries[0], IMAGES[0].transpose(1, 2, 0), rtol=0, atol=0)
    row = display.rows["proponent"][0, 0]
    shown = display.images["proponent"][0, 0]
    assert_allclose(shown, IMAGES[row].transpose(1, 2, 0), rtol=0, atol=0)


def test_dataset_has_no_picture():
    rows = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(Y))
    e = InfluenceExplainer(module(), **OPTIONS).fit(rows)
    with pytest.raises(ValueError, match="TensorDataset, which no picture can place"):
        SelfInfluenceDisplay.from_explainer(e)
    assert SelfInfluenceDisplay.from_explainer(e, X).X.shape == X.shape

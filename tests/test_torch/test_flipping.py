"""Labels of networks that are trained again without some rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

pytestmark = pytest.mark.filterwarnings(
    "ignore::skinfluence.exceptions.NotStationaryWarning",
    "ignore::sklearn.exceptions.ConvergenceWarning",
)
DECAY = 0.05


def rows(n_classes, n=24):
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, 2))
    X[:, 0] += 1.5 * y
    return X, y, np.array([[0.75, 0.0], [1.2, 0.3]])


def trained(X, y, loss, n_outputs):
    """A linear module at the minimum, and how to train another on some of the rows."""
    inputs = torch.as_tensor(X)
    targets = torch.as_tensor(y)

    def retrain(kept):
        torch.manual_seed(0)
        module = nn.Linear(2, n_outputs).double()
        steps = torch.optim.LBFGS(module.parameters(), max_iter=200, tolerance_grad=1e-9)

        def closure():
            steps.zero_grad()
            value = loss(module(inputs[kept]), targets[kept])
            value = value + DECAY / 2 * sum(p.square().sum() for p in module.parameters())
            value.backward()
            return value

        for _ in range(2):
            steps.step(closure)
        return module

    return retrain(np.arange(len(X))), retrain


@pytest.mark.parametrize("n_classes", [2, 3])
def test_real_trainings_without_the_rows(n_classes):
    X, y, queries = rows(n_classes)
    module, retrain = trained(X, y, nn.functional.cross_entropy, n_classes)
    network = InfluenceExplainer(
        module, loss="cross_entropy", weight_decay=DECAY, curvature="hessian"
    ).fit(X, y)
    for flip in network.smallest_flip(queries[:1], n_random=1, retrain=retrain, random_state=0):
        kept = np.delete(np.arange(len(X)), flip.rows)
        query = torch.as_tensor(queries)
        with torch.no_grad():
            labels = [int(retrain(kept)(q).argmax()) for q in query]
        assert flip.found and flip.minimal and flip.label_after in labels
        assert flip.label_before != flip.label_after
        assert len(flip.random_sizes) == 1


def test_a_single_logit_stands_for_two_classes():
    X, y, queries = rows(2)
    loss = nn.functional.binary_cross_entropy_with_logits
    module, retrain = trained(X, y[:, None].astype(float), loss, 1)
    explainer = InfluenceExplainer(module, loss="binary_cross_entropy", weight_decay=DECAY)
    explainer.fit(X, y[:, None].astype(float))
    for flip in explainer.smallest_flip(queries, n_random=0, retrain=retrain):
        assert flip.found and {flip.label_before, flip.label_after} == {0, 1}
    with torch.no_grad():
        expected = (module(torch.as_tensor(X))[:, 0] > 0).numpy()
    asked = explainer._model_rows(X)
    assert_array_equal(explainer._engine.labels_without(asked, np.arange(0), retrain), expected)


def test_an_mlp_is_fitted_again():
    X, y, queries = rows(2)
    words = np.array(["no", "yes"])[y]
    model = MLPClassifier((3,), solver="lbfgs", alpha=1.0, max_iter=500, random_state=0)
    explainer = InfluenceExplainer(model).fit(X, words)
    flip = explainer.smallest_flip(queries[:1], n_random=0, minimal=False)[0]
    assert {flip.label_before, flip.label_after} == {"no", "yes"} and not flip.minimal
    kept = np.delete(np.arange(len(X)), flip.rows)
    assert model.fit(X[kept], words[kept]).predict(queries[:1])[0] == flip.label_after


def test_a_training_that_ends_elsewhere_is_said():
    X, y, queries = rows(2)
    module, _ = trained(X, y, nn.functional.cross_entropy, 2)
    explainer = InfluenceExplainer(module, loss="cross_entropy", weight_decay=DECAY).fit(X, y)
    other, _ = trained(X, 1 - y, nn.functional.cross_entropy, 2)
    flip = explainer.smallest_flip(queries[:1], n_random=0, retrain=lambda kept: other)[0]
    assert not flip.found and "trained again on all rows, the model predicts" in flip.reason


def test_what_is_refused():
    X, y, queries = rows(2)
    module, _ = trained(X, y, nn.functional.cross_entropy, 2)
    explainer = InfluenceExplainer(module, loss="cross_entropy", weight_decay=DECAY).fit(X, y)
    with pytest.raises(
        ValueError, match=r"needs it trained again without some rows. Pass retrain"
    ):
        explainer.smallest_flip(queries)
    numbers = InfluenceExplainer(
        MLPRegressor(hidden_layer_sizes=(2,), random_state=0, max_iter=20)
    ).fit(X, X[:, 0])
    with pytest.raises(UnsupportedEstimatorError, match=r"MLPRegressor predicts no label"):
        numbers.smallest_flip(queries)
    several = MLPClassifier((2,), random_state=0, max_iter=20).fit(X, np.stack([y, 1 - y], axis=1))
    with pytest.raises(UnsupportedEstimatorError, match=r"MLPClassifier predicts no label"):
        InfluenceExplainer(several).fit(X, np.stack([y, 1 - y], axis=1)).smallest_flip(queries)

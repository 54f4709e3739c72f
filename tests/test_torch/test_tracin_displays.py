"""Pictures of traced trainings, or a sentence that says why there is none."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence import TracInExplainer
from skinfluence.displays import (
    AgreementDisplay,
    DetectionCurveDisplay,
    ImageGridDisplay,
    InfluenceBubbleDisplay,
    InfluenceDisplay,
    InfluenceIndexDisplay,
    SelfInfluenceDisplay,
)
from tests.conftest import import_optional

import_optional("matplotlib").use("Agg")
import_optional("torch")

from skinfluence.torch import BetaVAE  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 4))
REAL, CLASSES = X[:, 0] ** 2, np.arange(40) % 3

SHORT = {"hidden_layer_sizes": (4,), "max_iter": 10, "random_state": 0}
CASES = {
    "sgd": (MLPRegressor(solver="sgd", **SHORT), REAL, "influence (change of the loss)"),
    "adam": (MLPClassifier(**SHORT), CLASSES, "(learning rate x gradient product)"),
    "vae": (BetaVAE(2, hidden=(4,), max_epochs=3, random_state=0), None, "gradient product)"),
}


@pytest.fixture(params=CASES)
def case(request):
    estimator, y, label = CASES[request.param]
    explainer = TracInExplainer(estimator, n_checkpoints=3, random_state=0)
    return explainer.fit(X, y), y, label


def test_self_influence(case):
    explainer, _, label = case
    display = SelfInfluenceDisplay.from_explainer(explainer)
    assert_allclose(display.frame()["self_influence"], explainer.self_influence())
    assert label.split(" (")[-1] in display.colorbar_.ax.get_ylabel().replace("\n", " ")
    with pytest.raises((ValueError, TypeError), match="density"):
        SelfInfluenceDisplay.from_explainer(explainer, kind="density")


def test_influence_on_a_query(case):
    explainer, y, label = case
    target = None if y is None else y[3]
    display = InfluenceDisplay.from_explainer(explainer, X[3], y=target, kind="distance")
    given = () if y is None else (y[3:4],)
    assert_allclose(display.influence, explainer.score_influence(X[3:4], *given)[0], rtol=1e-6)
    assert label.split(" (")[-1] in display.ax_.get_ylabel().replace("\n", " ")


def test_what_self_influence_finds(case):
    explainer, _, _ = case
    display = DetectionCurveDisplay.from_explainer(explainer, np.arange(40) < 4)
    assert display.ax_ is not None


def test_images(case):
    explainer, y, _ = case
    given = {} if y is None else {"y": y[:2]}
    display = ImageGridDisplay.from_explainer(explainer, X[:2], image_shape=(2, 2), k=2, **given)
    assert display.figure_ is not None


def test_agreement_with_what_training_did(case):
    explainer, _, _ = case
    display = AgreementDisplay.from_explainer(explainer, random_state=0)
    assert len(display.frame()) == 40


@pytest.mark.parametrize("Display", [InfluenceBubbleDisplay, InfluenceIndexDisplay])
def test_diagnostics_are_those_of_a_regression(case, Display):
    with pytest.raises(TypeError, match=r"TracInExplainer has no diagnostics\(\).*SelfInfluence"):
        Display.from_explainer(case[0])

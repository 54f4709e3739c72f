"""Displays of sketches and representers: what they draw, and what they refuse with a sentence."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceSketch
from skinfluence.displays import InfluenceDisplay, SelfInfluenceDisplay
from tests.conftest import import_optional

import_optional("matplotlib")

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 6))
VALUES = X[:, 0] + 0.5 * rng.normal(size=60)


def sketch(model=None, rows=X, y=VALUES, **options):
    options = {"n_components": 4, "random_state": 0, **options}
    return InfluenceSketch(Ridge() if model is None else model, **options).fit(rows, y)


def in_blocks():
    for start in (0, 25):
        yield X[start : start + 25], VALUES[start : start + 25]
    yield X[50:], VALUES[50:]


def of_blocks():
    return sketch(Ridge().fit(X, VALUES), in_blocks, None)


# -- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["scatter", "distance"])
@pytest.mark.parametrize("rows", [X, csr_array(X)], ids=["dense", "sparse"])
@pytest.mark.parametrize(
    "model", [Ridge(), make_pipeline(StandardScaler(with_mean=False), Ridge())]
)
def test_influence_of_a_sketch_is_drawn(model, rows, kind):
    explainer = sketch(model, rows)
    display = InfluenceDisplay.from_explainer(explainer, rows[[3]], y=VALUES[3], kind=kind)
    wanted = explainer.score_influence(rows[[3]], VALUES[[3]])[0]
    assert_allclose(display.influence, wanted, rtol=1e-12)
    placed = X if isinstance(model, Ridge) else X / X.std(axis=0)
    distances = np.linalg.norm(placed - placed[3], axis=1)
    assert_allclose(display.distance, distances, rtol=1e-9, atol=1e-12)


def test_rows_of_blocks_have_to_be_passed():
    explainer = of_blocks()
    with pytest.raises(ValueError, match=r"fitted on blocks of rows .* Pass them as X"):
        InfluenceDisplay.from_explainer(explainer, X[3], y=VALUES[3])
    with pytest.raises(ValueError, match=r"fitted on blocks of rows .* Pass them as X"):
        SelfInfluenceDisplay.from_explainer(explainer)
    display = InfluenceDisplay.from_explainer(explainer, X[3], X, y=VALUES[3], kind="distance")
    assert_array_equal(display.distance, np.linalg.norm(X - X[3], axis=1))
    assert_array_equal(display.influence, explainer.score_influence(X[[3]], VALUES[[3]])[0])
    own = SelfInfluenceDisplay.from_explainer(explainer, X).self_influence
    assert_array_equal(own, explainer.self_influence())


def test_blocks_after_an_array_leave_none_of_its_rows():
    explainer = sketch(Ridge().fit(X, VALUES), X[::-1], VALUES[::-1]).fit(in_blocks)
    with pytest.raises(ValueError, match="fitted on blocks of rows"):
        SelfInfluenceDisplay.from_explainer(explainer)

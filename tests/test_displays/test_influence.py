"""Influence on one query: places, colours centred at zero, distances, infinities."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import KDEInfluence
from skinfluence.datasets import load_old_faithful
from skinfluence.displays import InfluenceDisplay
from skinfluence.displays._style import robust_limit
from tests.conftest import import_optional

import_optional("matplotlib")


def test_scatter_shows_the_scores_around_the_marked_query(X, explainer):
    query = X[3] + 0.1
    scores = explainer.score_influence(query[None])[0]
    display = InfluenceDisplay.from_explainer(explainer, query)
    order = np.argsort(np.abs(scores), kind="stable")
    assert_array_equal(display.scatter_.get_offsets(), X[order])
    assert_array_equal(display.scatter_.get_array(), scores[order])
    assert_array_equal(display.query_.get_offsets(), query[None])
    assert display.scatter_.norm.vmin == -display.scatter_.norm.vmax
    assert display.ax_.get_aspect() == 1.0


def test_proponents_are_red_and_opponents_blue(X, explainer):
    display = InfluenceDisplay.from_explainer(explainer, X[3])
    display.figure_.canvas.draw()
    scores = np.asarray(display.scatter_.get_array())
    red, _, blue, _ = display.scatter_.get_facecolors().T
    assert (red > blue)[scores > 1e-3].all()
    assert (blue > red)[scores < -1e-3].all()
    assert scores.max() > 0 > scores.min()


def test_distance_is_euclidean_unless_given(X, explainer):
    display = InfluenceDisplay.from_explainer(explainer, X[3], kind="distance")
    points = np.asarray(display.scatter_.get_offsets())
    distance = np.linalg.norm(X - X[3], axis=1)
    assert_allclose(np.sort(points[:, 0]), np.sort(distance))
    assert display.query_ is None
    # a kernel density forgets with distance
    by_distance = points[np.argsort(points[:, 0])]
    assert (np.diff(by_distance[:, 1]) < 1e-9).all()
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["proponents", "opponents"]

    own = InfluenceDisplay(influence=np.zeros(100), X=X, query=X[3], distance=2 * distance)
    assert_array_equal(own.distance, 2 * distance)


def test_distance_behind_a_pipeline_is_the_models():
    """Raw columns of unlike units would measure along the one with the largest unit."""
    rows = np.random.default_rng(0).normal(size=(30, 3)) * [1, 10, 1000]
    explainer = KDEInfluence(make_pipeline(StandardScaler(), KernelDensity())).fit(rows)
    display = InfluenceDisplay.from_explainer(explainer, rows[4], kind="distance")
    scaled = StandardScaler().fit_transform(rows)
    assert_allclose(display.distance, np.linalg.norm(scaled - scaled[4], axis=1))
    assert display.ax_.get_xlabel() == "distance to the query, after the transformers"
    assert (np.diff(display.influence[np.argsort(display.distance)]) < 1e-9).all()


def test_the_title_says_that_columns_are_missing():
    rows = np.random.default_rng(0).normal(size=(30, 3))
    explainer = KDEInfluence().fit(rows)
    display = InfluenceDisplay.from_explainer(explainer, rows[4], features=(0, 2))
    assert display.ax_.get_title() == "KDEInfluence, 2 of 3 columns"
    assert display.ax_.get_ylabel() == "feature 2"
    display.plot(kind="distance")
    assert display.ax_.get_title() == "KDEInfluence"


def test_the_legend_hides_no_row(X, explainer):
    display = InfluenceDisplay.from_explainer(explainer, X[3])
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert legend.y0 >= display.ax_.get_window_extent().y1
    assert legend.y1 <= display.ax_.title.get_window_extent().y0


def test_one_extreme_row_does_not_wash_out_the_rest(X):
    scores = np.random.default_rng(0).normal(size=100)
    scores[5] = -1e6
    display = InfluenceDisplay.from_influence(scores, X, X[0])
    expected = np.sort(np.abs(scores))[-2]
    assert_allclose(
        [display.scatter_.norm.vmin, display.scatter_.norm.vmax], [-expected, expected]
    )
    assert display.colorbar_.extend == "min"


@pytest.mark.parametrize(
    ("values", "limit"),
    [
        ([0.1, -3.0, 2.0], 3.0),  # nothing extreme
        ([1.0, -0.5, 0.1, 0.2, 50.0], 1.0),  # one row far beyond the next
        ([5.0, *[-0.01] * 99], 5.0),  # k-NN with k = 1: the rest is alike, keep it pale
        ([np.inf, -np.inf, 2.0], 2.0),
        ([0.0, 0.0], 1.0),
        ([np.inf], 1.0),
        ([7.0], 7.0),
    ],
)
def test_robust_limit(values, limit):
    assert robust_limit(values) == limit


def test_infinities_are_triangles_by_sign(X):
    scores = np.linspace(-1, 1, 100)
    scores[0], scores[99] = -np.inf, np.inf
    display = InfluenceDisplay.from_influence(scores, X, X[50])
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["+infinite", "\N{MINUS SIGN}infinite", "query"]
    assert display.scatter_.get_offsets().shape == (98, 2)
    up, down = display.infinite_
    assert_array_equal(up.get_offsets(), X[[99]])
    assert_array_equal(down.get_offsets(), X[[0]])

    display.plot(kind="distance")
    up, down = display.infinite_
    assert up.get_offsets()[0, 1] > 1
    assert down.get_offsets()[0, 1] < -1
    rules = {text.get_text() for text in display.ax_.texts}
    assert rules == {"+∞", "\N{MINUS SIGN}∞"}


def test_own_colours_follow_their_rows_and_need_no_colour_bar(X):
    labels = np.repeat(np.arange(10), 10)
    scores = np.random.default_rng(0).normal(size=100)
    display = InfluenceDisplay.from_influence(scores, X, X[0], scatter_kwargs={"c": labels})
    order = np.argsort(np.abs(scores), kind="stable")
    assert_array_equal(display.scatter_.get_array(), labels[order])
    assert display.colorbar_ is None


def test_queries_as_pandas_objects():
    import_optional("pandas")
    geyser = load_old_faithful(as_frame=True).data
    explainer = KDEInfluence().fit(geyser)
    expected = explainer.score_influence(geyser.iloc[[10]])[0]
    for query in (geyser.iloc[10], geyser.iloc[[10]]):
        display = InfluenceDisplay.from_explainer(explainer, query)
        assert_array_equal(display.influence, expected)
        assert display.ax_.get_xlabel() == "eruptions"
    frame = display.frame()
    assert list(frame.columns) == ["influence", "distance", "eruptions", "waiting"]
    assert frame["distance"].iloc[10] == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"influence": np.zeros((1, 5))}, r"influence has shape \(1, 5\), .* scores\[0\]"),
        ({"X": np.zeros((4, 2))}, r"X has shape \(4, 2\), but there are 5 scores"),
        ({"query": np.zeros((2, 2))}, r"query has shape \(2, 2\), but the rows have 2 features"),
        ({"query": np.zeros(3)}, r"query has shape \(3,\)"),
        ({"distance": np.zeros(4)}, r"distance has shape \(4,\), but there are 5 scores"),
        ({"row_names": list("abc")}, r"row_names has shape \(3,\), but there are 5 scores"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    arguments = {"influence": np.zeros(5), "X": np.zeros((5, 2)), "query": np.zeros(2)}
    with pytest.raises(ValueError, match=message):
        InfluenceDisplay(**arguments | change)


def test_unknown_kind_is_refused():
    display = InfluenceDisplay(influence=[1.0], X=[[0.0, 0.0]], query=[0.0, 0.0])
    with pytest.raises(ValueError, match=r"kind is 'pie', but .* 'scatter' .* 'distance'"):
        display.plot(kind="pie")

"""Self influence: what is drawn is what was computed."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import KDEInfluence
from skinfluence.datasets import load_old_faithful
from skinfluence.displays import SelfInfluenceDisplay
from tests.conftest import import_optional

to_rgba = import_optional("matplotlib.colors").to_rgba


def test_scatter_shows_every_row_at_its_place_in_its_colour(X, explainer):
    display = SelfInfluenceDisplay.from_explainer(explainer)
    scores = explainer.self_influence()
    order = np.argsort(scores, kind="stable")
    assert_array_equal(display.scatter_.get_offsets(), X[order])
    assert_array_equal(display.scatter_.get_array(), scores[order])
    assert display.infinite_ is None
    assert display.ax_.get_aspect() == 1.0
    assert display.ax_.get_title() == "KDEInfluence"
    assert display.colorbar_.ax.get_ylabel() == "self influence (nats)"


def test_density_shows_the_falling_curve_of_a_kernel_density(X, explainer):
    display = SelfInfluenceDisplay.from_explainer(explainer, kind="density")
    points = np.asarray(display.scatter_.get_offsets())
    order = np.argsort(explainer.self_influence(), kind="stable")
    assert_allclose(points[:, 0], explainer.log_density(X)[order])
    assert_array_equal(points[:, 1], np.sort(explainer.self_influence()))
    assert (np.diff(points[:, 0]) < 1e-12).all()  # ordered by score, so falling in density
    assert display.colorbar_ is None


def test_frame_labels_come_from_the_frame_behind_a_pipeline():
    import_optional("pandas")
    geyser = load_old_faithful(as_frame=True).data
    geyser.index = geyser.index + 1000
    model = make_pipeline(StandardScaler(), KernelDensity(bandwidth=0.25))
    explainer = KDEInfluence(model).fit(geyser)
    display = SelfInfluenceDisplay.from_explainer(explainer, n_labels=3)
    assert display.ax_.get_xlabel() == "eruptions"
    assert display.ax_.get_ylabel() == "waiting"
    assert display.ax_.get_aspect() == "auto"  # minutes of 2-5 against minutes of 40-100
    frame = display.frame()
    assert list(frame.columns) == ["self_influence", "log_density", "eruptions", "waiting"]
    assert_array_equal(frame.index, geyser.index)
    top = geyser.index[explainer.rank_outliers(3)]
    assert {label.get_text() for label in display.labels_} <= set(top.astype(str))
    assert len(display.labels_) >= 2


@pytest.mark.filterwarnings("error")
def test_names_seen_in_fit_are_kept_without_a_pipeline():
    import_optional("pandas")
    geyser = load_old_faithful(as_frame=True).data
    display = SelfInfluenceDisplay.from_explainer(KDEInfluence().fit(geyser))
    assert display.feature_names == ["eruptions", "waiting"]


def test_features_by_name_or_position(X):
    wide = np.column_stack([X, np.arange(100.0)])
    display = SelfInfluenceDisplay(
        self_influence=np.arange(100.0), X=wide, feature_names=["u", "v", "w"]
    )
    display.plot(features=("w", 0))
    assert_array_equal(display.scatter_.get_offsets(), wide[:, [2, 0]])
    assert display.ax_.get_xlabel() == "w"


def test_one_extreme_row_does_not_wash_out_the_rest():
    rng = np.random.default_rng(0)
    scores = rng.exponential(size=60)
    scores[7] = 1e6
    display = SelfInfluenceDisplay.from_influence(scores, rng.normal(size=(60, 2)))
    assert_allclose(display.scatter_.norm.vmax, np.sort(scores)[-2])
    assert display.colorbar_.extend == "max"


def test_infinite_scores_are_stars_and_lie_on_a_rule():
    X = np.random.default_rng(0).normal(size=(10, 2))
    scores, density = np.linspace(0, 1, 10), np.linspace(-3, -1, 10)
    scores[4], density[4] = np.inf, -np.inf
    display = SelfInfluenceDisplay(self_influence=scores, X=X, log_density=density).plot()
    assert_array_equal(display.infinite_.get_offsets(), X[[4]])
    assert display.scatter_.get_offsets().shape == (9, 2)
    assert display.ax_.get_legend().get_texts()[0].get_text() == "infinite"

    display.plot(kind="density")
    (x, y) = display.infinite_.get_offsets()[0]
    assert x < -3
    assert y > 1
    texts = {text.get_text() for text in display.ax_.texts}
    assert texts == {"+∞", "\N{MINUS SIGN}∞"}


def test_all_scores_infinite_is_a_picture_too():
    display = SelfInfluenceDisplay.from_influence(np.full(3, np.inf), np.eye(3)[:, :2])
    display.figure_.canvas.draw()
    assert display.infinite_.get_offsets().shape == (3, 2)


def test_labels_never_overlap():
    X = np.random.default_rng(0).normal(size=(200, 2)) * 0.1
    display = SelfInfluenceDisplay.from_influence(np.arange(200.0), X, n_labels=200)
    display.figure_.canvas.draw()
    boxes = [label.get_window_extent() for label in display.labels_]
    assert len(boxes) > 10
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert display.labels_[0].get_text() == "199"  # the most important row is served first


@pytest.mark.filterwarnings("error")
def test_scatter_kwargs_reach_the_artist_and_colours_follow_their_rows(X):
    colours = np.where(X[:, 0] > 0, "C0", "C1")
    display = SelfInfluenceDisplay.from_influence(
        np.arange(100.0)[::-1], X, scatter_kwargs={"c": colours, "s": 7}
    )
    assert_array_equal(display.scatter_.get_sizes(), [7])
    drawn = display.scatter_.get_facecolors()
    assert_allclose(drawn, [to_rgba(colour) for colour in colours[::-1]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"self_influence": [[1.0]]}, r"self_influence has shape \(1, 1\), but it must be \(n_"),
        ({"self_influence": [np.nan, 1.0]}, "1 of self_influence are NaN"),
        ({"self_influence": [1.0], "X": [[1.0], [2.0]]}, r"X has shape \(2, 1\), but there are 1"),
        ({"self_influence": [1.0], "X": [["a", "b"]]}, "X holds values that are not numbers"),
        ({"self_influence": [1.0], "log_density": [1.0, 2.0]}, r"log_density has shape \(2,\)"),
        ({"self_influence": [1.0], "row_names": ["a", "b"]}, r"row_names has shape \(2,\)"),
        (
            {"self_influence": [1.0], "X": [[1.0, 2.0]], "feature_names": ["a"]},
            "feature_names has 1 entries, but X has 2 columns",
        ),
    ],
)
def test_wrong_shapes_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        SelfInfluenceDisplay(**arguments)


@pytest.mark.parametrize(
    ("arguments", "plot", "message"),
    [
        ({}, {}, "draws over the rows, but there is no X"),
        ({}, {"kind": "density"}, "against the log density, but there is none"),
        ({}, {"kind": "pie"}, "kind is 'pie', but it must be 'scatter'"),
        ({"X": [[1.0], [2.0]]}, {}, "X has one column, but a scatter needs two"),
        ({"X": np.eye(2)}, {"features": (0, 2)}, r"features holds 2, but the columns are"),
        ({"X": np.eye(2)}, {"features": ("u", 0)}, "features holds 'u', but the columns are"),
        ({"X": np.eye(2)}, {"features": (0,)}, "features has 1 entries, but a scatter needs two"),
    ],
)
def test_impossible_pictures_are_refused(arguments, plot, message):
    display = SelfInfluenceDisplay(self_influence=[1.0, 2.0], **arguments)
    with pytest.raises(ValueError, match=message):
        display.plot(**plot)

"""Image grids: the right images in the right frames with the right captions."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_digits
from sklearn.neighbors import KernelDensity

from skinfluence import KDEInfluence
from skinfluence.displays import ImageGridDisplay
from skinfluence.displays._style import MUTED, OPPONENT, PROPONENT
from tests.conftest import import_optional

to_rgba = import_optional("matplotlib.colors").to_rgba


@pytest.fixture(scope="module")
def digits():
    return load_digits().data


def test_images_frames_and_captions_are_those_of_the_explainer(digits):
    X, Z = digits[:300], digits[[400, 500]]
    explainer = KDEInfluence(KernelDensity(bandwidth=8.0)).fit(X)
    display = ImageGridDisplay.from_explainer(
        explainer, Z, image_shape=(8, 8), k=3, query_names=["first", "second"]
    )
    for z in range(2):
        assert len(display.images_[z]) == 7
        assert_array_equal(display.images_[z][0].get_array(), Z[z].reshape(8, 8))
        assert display.captions_[z][0].get_text() == ("first", "second")[z]
    for role, start in ((explainer.proponents, 1), (explainer.opponents, 4)):
        scores, rows = role(Z, k=3)
        for z, rank in np.ndindex(2, 3):
            image = display.images_[z][start + rank].get_array()
            assert_array_equal(image, X[rows[z, rank]].reshape(8, 8))
            caption = display.captions_[z][start + rank].get_text()
            assert caption == f"{scores[z, rank]:+.2g}".replace("-", "\N{MINUS SIGN}")
    assert {image.get_clim() for line in display.images_ for image in line} == {(0.0, 16.0)}


def test_images_do_not_overlap_and_captions_stay_below_their_image(digits):
    display = ImageGridDisplay.from_influence(
        np.linspace(-1, 1, 40).reshape(2, 20), digits[:2], digits[:20], image_shape=(8, 8), k=4
    )
    display.figure_.canvas.draw()
    frames = [f.get_window_extent() for line in display.frames_ for f in line]
    texts = [t.get_window_extent() for line in display.captions_ for t in line if t.get_text()]
    everything = frames + texts
    assert not any(a.overlaps(b) for i, a in enumerate(everything) for b in everything[:i])


def test_frames_are_coloured_by_sign_not_by_role(digits):
    influence = np.array([[0.0, 0.5, np.inf, 0.2]])
    display = ImageGridDisplay.from_influence(
        influence, digits[:1], digits[:4], image_shape=(8, 8), k=2
    )
    captions = [text.get_text() for text in display.captions_[0]]
    assert captions == ["", "+∞", "+0.5", "+0", "+0.2"]
    colours = [frame.get_edgecolor() for frame in display.frames_[0]]
    expected = ["black", PROPONENT, PROPONENT, MUTED, PROPONENT]
    assert colours == [to_rgba(colour) for colour in expected]
    display = ImageGridDisplay.from_influence(
        -influence, digits[:1], digits[:4], image_shape=(8, 8), k=1
    )
    assert display.frames_[0][2].get_edgecolor() == to_rgba(OPPONENT)
    assert display.captions_[0][2].get_text() == "\N{MINUS SIGN}∞"


def test_ties_go_to_the_smaller_position_and_the_frame_tells_all():
    import_optional("pandas")
    display = ImageGridDisplay.from_influence(
        [[1.0, 2.0, 2.0, 1.0]], np.zeros((1, 4)), np.eye(4), image_shape=(2, 2), k=2
    )
    frame = display.frame()
    assert frame["row"].tolist() == [1, 2, 0, 3]
    assert frame["role"].tolist() == ["proponent"] * 2 + ["opponent"] * 2
    assert frame["rank"].tolist() == [0, 1, 0, 1]
    assert frame["score"].tolist() == [2.0, 2.0, 1.0, 1.0]


def test_colour_images_keep_their_values_and_shape():
    rows = np.random.default_rng(0).random((5, 4 * 3 * 3))
    display = ImageGridDisplay.from_influence(
        [np.arange(5.0)], rows[:1], rows, image_shape=(4, 3, 3), k=1
    )
    assert_array_equal(display.images_[0][1].get_array(), rows[4].reshape(4, 3, 3))
    left, right, bottom, top = display.images_[0][1].get_extent()
    assert (top - bottom) / (right - left) == pytest.approx(4 / 3)


def _arguments(**change):
    one = (np.zeros((1, 1)), np.zeros((1, 1), dtype=int))
    return {
        "queries": np.zeros((1, 4)),
        "X": np.zeros((3, 4)),
        "proponents": one,
        "opponents": one,
        "image_shape": (2, 2),
    } | change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": (4,)}, r"image_shape is \(4,\), but images are \(height, width\)"),
        ({"image_shape": (2, 1, 2)}, "with 3 or 4 channels"),
        ({"image_shape": (3, 3)}, r"queries has shape \(1, 4\), but an image of shape \(3, 3\)"),
        ({"X": np.zeros((3, 5))}, r"X has shape \(3, 5\), but .* has 4 numbers"),
        ({"proponents": (np.zeros(1), np.zeros(1, int))}, r"both must be \(1, k\)"),
        ({"opponents": (np.zeros((2, 1)), np.zeros((2, 1), int))}, "opponents have scores of"),
        ({"query_names": ["a", "b"]}, "query_names has 2 entries, but there are 1 queries"),
    ],
)
def test_wrong_shapes_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        ImageGridDisplay(**_arguments(**change))


@pytest.mark.parametrize(("shape", "k"), [((1, 4), 1), ((1, 3), 4), ((1, 3), 0)])
def test_scores_that_do_not_fit_the_rows_are_refused(shape, k):
    with pytest.raises(ValueError, match=r"the queries and rows make \(1, 3\) scores and k must"):
        ImageGridDisplay.from_influence(
            np.zeros(shape), np.zeros((1, 4)), np.zeros((3, 4)), image_shape=(2, 2), k=k
        )

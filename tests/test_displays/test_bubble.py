"""Bubble plots: places, areas, named lines, the top rows' labels, infinities, very many rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.linear_model import LinearRegression

from skinfluence.displays import InfluenceBubbleDisplay
from skinfluence.displays._style import BEYOND, ROW
from tests.conftest import import_optional
from tests.test_diagnostics.cases import diagnose

to_rgba = import_optional("matplotlib.colors").to_rgba


def legend_texts(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def test_bubbles_stand_at_leverage_and_residual_with_areas_proportional_to_cook(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics, name="Duncan")
    points = [diagnostics.leverage, diagnostics.resid_studentized_external]
    assert_array_equal(display.bubbles_.get_offsets(), np.transpose(points)[display.rows_])
    assert_array_equal(np.sort(display.rows_), np.arange(45))
    cook = diagnostics.cooks_distance[display.rows_]
    areas = display.bubbles_.get_sizes()
    assert_allclose(areas / areas.max(), cook / cook.max(), rtol=1e-12)
    assert (np.diff(areas) <= 0).all()  # small bubbles on top of large ones
    assert display.ax_.get_title() == "Duncan"
    assert display.ax_.get_xlabel() == "leverage"
    assert display.ax_.get_ylabel() == "externally studentised residual"


def test_rows_beyond_the_first_threshold_are_orange(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics)
    beyond = diagnostics.cooks_distance[display.rows_] > 4 / 45
    assert beyond.sum() == 3
    drawn = [tuple(colour[:3]) for colour in display.bubbles_.get_facecolors()]
    assert drawn == [to_rgba(BEYOND if b else ROW)[:3] for b in beyond]


def test_thresholds_are_lines_with_names(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics)
    t = stats.t(41).ppf(0.975)
    for name, value in {"2k/n": 6 / 45, "3k/n": 9 / 45}.items():
        (line,) = display.lines_["leverage"][name]
        assert_allclose(line.get_xdata(), value, rtol=1e-12)
        assert_allclose(display.thresholds_["leverage"][name], value, rtol=1e-12)
    above, below = display.lines_["resid_studentized_external"]["t 5%"]
    assert_allclose(above.get_ydata(), t, rtol=1e-9)
    assert_allclose(below.get_ydata(), -t, rtol=1e-9)
    texts = {text.get_text() for text in display.ax_.texts if text not in display.labels_}
    assert texts == {"2k/n", "3k/n", "t 5 %"}
    assert legend_texts(display) == ["4/n = 0.0889 (3 beyond)", "F median = 0.802 (0 beyond)"]
    assert display.ax_.get_legend().get_title().get_text() == "area: Cook's distance"


def test_thresholds_can_be_chosen(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(
        diagnostics, leverage_threshold=0.1, residual_threshold=["2", 3], cook_threshold=0.5
    )
    assert display.thresholds_ == {
        "leverage": {"0.1": 0.1},
        "resid_studentized_external": {"2": 2.0, "3": 3.0},
        "cooks_distance": {"0.5": 0.5},
    }
    assert {"±2", "±3", "0.1"} <= {text.get_text() for text in display.ax_.texts}
    assert legend_texts(display) == ["0.5 (1 beyond)"]
    nothing = dict.fromkeys(["leverage_threshold", "residual_threshold", "cook_threshold"])
    display.plot(n_labels=0, **nothing)
    assert not display.ax_.texts
    assert legend_texts(display) == []
    assert {tuple(c[:3]) for c in display.bubbles_.get_facecolors()} == {to_rgba(ROW)[:3]}
    with pytest.raises(ValueError, match="leverage has these by name: '2k/n', '3k/n'"):
        display.plot(leverage_threshold="4/n")


def test_the_key_of_a_threshold_is_as_large_as_its_bubble(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics)
    area = display.bubbles_.get_sizes()[0] / diagnostics.cooks_distance.max()
    first, second = display.ax_.get_legend().legend_handles
    assert_allclose(first.get_markersize() ** 2, area * 4 / 45, rtol=1e-12)
    assert second.get_marker() == ""  # larger than any bubble in the picture


def test_the_top_rows_are_named_without_touching_anything(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics)
    display.figure_.canvas.draw()
    texts = [label.get_text() for label in display.labels_]
    assert texts == ["minister", "conductor", "reporter", "RR engineer", "contractor"]
    boxes = [label.get_window_extent() for label in display.labels_]
    centres = display.ax_.transData.transform(display.bubbles_.get_offsets())
    radii = np.sqrt(display.bubbles_.get_sizes()) / 2 * display.figure_.dpi / 72
    for place, box in enumerate(boxes):
        nearest = np.clip(centres, (box.x0, box.y0), (box.x1, box.y1))
        assert (np.linalg.norm(centres - nearest, axis=1) > radii).all()
        assert not any(box.overlaps(other) for other in boxes[:place])


def test_bubbles_and_legend_stay_within_their_frames(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(
        diagnostics, residual_threshold=["t 5%", "Bonferroni 5%"]
    )
    display.figure_.canvas.draw()
    frame = display.ax_.get_window_extent()
    centres = display.ax_.transData.transform(display.bubbles_.get_offsets())
    radii = np.sqrt(display.bubbles_.get_sizes())[:, None] / 2 * display.figure_.dpi / 72
    assert (centres - radii >= [frame.x0, frame.y0]).all()
    assert (centres + radii <= [frame.x1, frame.y1]).all()
    legend = display.ax_.get_legend().get_window_extent()
    assert legend.x1 <= display.figure_.bbox.x1
    notes = [text for text in display.ax_.texts if text not in display.labels_]
    assert not any(text.get_window_extent().overlaps(legend) for text in notes)


def test_infinite_rows_are_stars_at_the_edge_and_come_first(diagnostics):
    residuals = diagnostics.resid_studentized_external.copy()
    cook = diagnostics.cooks_distance.copy()
    residuals[[3, 9]], cook[7] = [np.inf, -np.inf], np.inf
    display = InfluenceBubbleDisplay(
        leverage=diagnostics.leverage, residuals=residuals, cooks_distance=cook
    ).plot(n_labels=3)
    assert display.bubbles_.get_offsets().shape == (42, 2)
    assert not {3, 7, 9} & set(display.rows_)
    stars = np.asarray(display.infinite_.get_offsets())
    assert_array_equal(stars[:, 0], diagnostics.leverage[[3, 7, 9]])
    finite = residuals[np.isfinite(residuals)]
    assert stars[0, 1] > finite.max()
    assert stars[1, 1] == residuals[7]
    assert stars[2, 1] < finite.min()
    assert {"+∞", "\N{MINUS SIGN}∞"} <= {text.get_text() for text in display.ax_.texts}
    assert {label.get_text() for label in display.labels_} == {"3", "7", "9"}
    assert legend_texts(display)[-1] == "infinite"
    assert legend_texts(display)[0] == "4/n = 0.0889 (4 beyond)"
    display.figure_.canvas.draw()


def test_only_infinite_rows_is_a_picture_too():
    infinite = np.full(3, np.inf)
    display = InfluenceBubbleDisplay(
        leverage=np.ones(3), residuals=infinite, cooks_distance=infinite
    )
    display.plot().figure_.canvas.draw()
    assert display.infinite_.get_offsets().shape == (3, 2)


def test_a_perfect_fit_is_a_picture_too():
    display = InfluenceBubbleDisplay(
        leverage=np.full(4, 0.5), residuals=np.zeros(4), cooks_distance=np.zeros(4)
    )
    display.plot().figure_.canvas.draw()
    assert_array_equal(display.bubbles_.get_sizes(), np.zeros(4))
    assert_array_equal(display.dots_.get_offsets(), [[0.5, 0.0]] * 4)  # seen all the same


def test_of_very_many_rows_those_that_others_hide_are_left_out():
    rng = np.random.default_rng(0)
    n = 200_000
    leverage, residuals = rng.gamma(2.0, 1e-5, n), rng.normal(size=n)
    cook = leverage * residuals**2
    leverage[5], residuals[5] = leverage[4], residuals[4]  # one place, both among the largest
    cook[[4, 5]] = [2 * cook.max(), 3 * cook.max()]
    display = InfluenceBubbleDisplay(
        leverage=leverage, residuals=residuals, cooks_distance=cook
    ).plot(n_labels=20)
    assert display.rows_.size < 40_000
    assert display.bubbles_.get_rasterized()
    assert set(np.argsort(-cook)[:20]) <= set(display.rows_)
    assert_array_equal(display.rows_[:2], [5, 4])
    cell = [np.ptp(leverage) / 300, np.ptp(residuals) / 200]
    points = np.column_stack([leverage, residuals])
    for row in rng.choice(n, 50):  # near each row one is drawn, which is at least as large
        near = (np.abs(points[display.rows_] - points[row]) <= cell).all(axis=1)
        assert cook[display.rows_][near].max() >= cook[row]


def test_counts_come_from_the_diagnostics_or_the_leverages(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics)
    assert (display.n_params, display.df_resid) == (3.0, 42.0)
    bare = InfluenceBubbleDisplay(
        leverage=diagnostics.leverage,
        residuals=diagnostics.resid_studentized_external,
        cooks_distance=diagnostics.cooks_distance,
    )
    assert_allclose([bare.n_params, bare.df_resid], [3.0, 42.0], rtol=1e-12)


def test_from_explainer_draws_its_diagnostics(regression, diagnostics):
    display = InfluenceBubbleDisplay.from_explainer(regression, n_labels=1)
    assert_array_equal(display.cooks_distance, diagnostics.cooks_distance)
    assert display.ax_.get_title() == "LeastSquaresInfluence"
    assert [label.get_text() for label in display.labels_] == ["5"]


def test_frame_is_labelled(diagnostics):
    import_optional("pandas")
    frame = InfluenceBubbleDisplay.from_diagnostics(diagnostics).frame()
    assert list(frame) == ["leverage", "resid_studentized_external", "cooks_distance"]
    assert frame["cooks_distance"].idxmax() == "minister"


def test_scatter_kwargs_reach_the_bubbles(diagnostics):
    display = InfluenceBubbleDisplay.from_diagnostics(diagnostics, scatter_kwargs={"alpha": 0.1})
    assert display.bubbles_.get_alpha() == 0.1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"residuals": [1.0]}, r"residuals has shape \(1,\), but there are 2 scores"),
        ({"residuals": [1.0, np.nan]}, "1 of residuals are NaN"),
        ({"cooks_distance": [1.0]}, r"cooks_distance has shape \(1,\)"),
        ({"cooks_distance": [0.1, -0.2]}, "smallest of cooks_distance is -0.2, but it must be at"),
        ({"leverage": [[0.5, 0.5]]}, r"leverage has shape \(1, 2\)"),
        ({"row_names": ["a"]}, r"row_names has shape \(1,\)"),
    ],
)
def test_wrong_numbers_are_refused(change, message):
    right = {"leverage": [0.5, 0.5], "residuals": [1.0, -1.0], "cooks_distance": [0.1, 0.1]}
    with pytest.raises(ValueError, match=message):
        InfluenceBubbleDisplay(**right | change)


def test_a_fit_without_degrees_of_freedom_says_so():
    X, y = np.array([[0.0], [1.0], [3.0]]), np.array([0.0, 1.0, 1.0])
    diagnostics = diagnose(LinearRegression(), X, y)
    with pytest.raises(ValueError, match="resid_studentized_external does not exist"):
        InfluenceBubbleDisplay.from_diagnostics(diagnostics)

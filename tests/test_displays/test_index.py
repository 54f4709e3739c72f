"""Index plots: stems, named thresholds with the share beyond, labels, infinities, many rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import LinearRegression

from skinfluence.displays import InfluenceIndexDisplay
from skinfluence.displays._style import BEYOND, ROW
from skinfluence.displays._thresholds import STATISTICS
from tests.conftest import import_optional
from tests.test_diagnostics.cases import diagnose

to_rgba = import_optional("matplotlib.colors").to_rgba


def legend_texts(display):
    return [text.get_text() for text in display.ax_.get_legend().get_texts()]


def overlap(boxes):
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_stems_go_from_zero_to_the_value(diagnostics):
    display = InfluenceIndexDisplay.from_diagnostics(diagnostics, name="Duncan")
    cook, rows = diagnostics.cooks_distance, np.arange(45)
    assert_array_equal(display.rows_, rows)
    stems = np.array(display.stems_.get_segments())
    assert_array_equal(stems[:, 0], np.column_stack([rows, np.zeros(45)]))
    assert_array_equal(stems[:, 1], np.column_stack([rows, cook]))
    assert_array_equal(display.heads_.get_offsets(), stems[:, 1])
    colours = [to_rgba(BEYOND if beyond else ROW) for beyond in cook > 4 / 45]
    assert_allclose(display.stems_.get_colors(), colours, rtol=1e-12)
    assert_allclose(display.heads_.get_facecolors(), colours, rtol=1e-12)
    assert display.ax_.get_title() == "Duncan"
    assert display.ax_.get_ylabel() == "Cook's distance"


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [
        ("cooks_distance", ["4/n = 0.0889 (3 of 45 beyond, 6.7 %)"]),
        (
            "leverage",
            [
                "2k/n = 0.133 (3 of 45 beyond, 6.7 %)",
                "3k/n = 0.2 (1 of 45 beyond, 2.2 %)",
            ],
        ),
        (
            "resid_studentized_external",
            [
                "t 5 % = ±2.02 (3 of 45 beyond, 6.7 %)",
                "Bonferroni 5 % = ±3.51 (0 of 45 beyond, 0 %)",
            ],
        ),
        (
            "resid_studentized_internal",
            [
                "t 5 % = ±1.95 (3 of 45 beyond, 6.7 %)",
                "Bonferroni 5 % = ±3.11 (0 of 45 beyond, 0 %)",
            ],
        ),
        ("dffits", ["2√(k/n) = ±0.516 (3 of 45 beyond, 6.7 %)"]),
    ],
)
def test_the_legend_names_the_thresholds_and_the_share_beyond(diagnostics, statistic, expected):
    display = InfluenceIndexDisplay.from_diagnostics(diagnostics, statistic=statistic)
    assert legend_texts(display) == expected
    assert list(display.thresholds_) == list(STATISTICS[statistic].defaults)
    for name, lines in display.lines_.items():
        values = [line.get_ydata()[0] for line in lines]
        signs = [1, -1] if STATISTICS[statistic].two_sided else [1]
        assert_allclose(values, np.multiply(signs, display.thresholds_[name]), rtol=1e-12)


@pytest.mark.parametrize("param", ["income", 1, -2])
def test_dfbetas_of_a_parameter_by_name_or_position(diagnostics, param):
    display = InfluenceIndexDisplay.from_diagnostics(diagnostics, statistic="dfbetas", param=param)
    assert_array_equal(display.values, diagnostics.dfbetas[:, 1])
    assert display.ax_.get_ylabel() == "DFBETAS of income"
    assert legend_texts(display) == ["2/√n = ±0.298 (3 of 45 beyond, 6.7 %)"]
    # both signs are large
    assert [label.get_text() for label in display.labels_[:2]] == ["minister", "conductor"]


def test_thresholds_can_be_chosen(diagnostics):
    display = InfluenceIndexDisplay.from_diagnostics(diagnostics, threshold=["F median", 0.25])
    assert_allclose(display.thresholds_["F median"], 0.8016, rtol=1e-4)
    assert legend_texts(display)[1] == "0.25 (1 of 45 beyond, 2.2 %)"
    # the first rules the colours
    assert_allclose(display.stems_.get_colors(), [to_rgba(ROW)] * 45, rtol=1e-12)
    display.plot(threshold=None)
    assert display.lines_ == {}
    assert display.ax_.get_legend() is None
    with pytest.raises(ValueError, match="cooks_distance has these by name: '4/n'"):
        display.plot(threshold="5/n")


@pytest.mark.parametrize("statistic", [s for s in STATISTICS if s != "dfbetas"])
def test_labels_touch_neither_each_other_nor_the_legend_nor_the_title(diagnostics, statistic):
    display = InfluenceIndexDisplay.from_diagnostics(
        diagnostics, statistic=statistic, name="Duncan"
    )
    display.figure_.canvas.draw()
    assert len(display.labels_) == 5
    boxes = [label.get_window_extent() for label in display.labels_]
    boxes += [display.ax_.get_legend().get_window_extent(), display.ax_.title.get_window_extent()]
    assert not overlap(boxes)
    # nor are they struck through by a threshold
    for lines in display.lines_.values():
        for line in lines:
            _, level = display.ax_.transData.transform((0, line.get_ydata()[0]))
            assert not any(box.y0 <= level <= box.y1 for box in boxes)


def test_infinite_values_are_stars_on_a_rule(diagnostics):
    values = diagnostics.cooks_distance.copy()
    values[7] = np.inf
    display = InfluenceIndexDisplay.from_values(values, row_names=diagnostics.row_labels)
    ((x, y),) = display.infinite_.get_offsets()
    assert x == 7
    assert y > np.delete(values, 7).max()
    assert display.heads_.get_offsets().shape == (44, 2)
    assert "+∞" in {text.get_text() for text in display.ax_.texts}
    assert legend_texts(display) == [
        "4/n = 0.0889 (4 of 45 beyond, 8.9 %)",
        "infinite (1 of 45, 2.2 %)",
    ]
    assert display.labels_[0].get_text() == diagnostics.row_labels[7]


def test_any_statistic_has_a_name_and_a_number_as_threshold():
    display = InfluenceIndexDisplay.from_values(
        [0.5, -3.0, 1.0], statistic="self influence", threshold=2, row_names=["a", "b", "c"]
    )
    assert display.ax_.get_ylabel() == "self influence"
    assert legend_texts(display) == ["±2 (1 of 3 beyond, 33 %)"]
    assert [label.get_text() for label in display.labels_] == ["b", "c", "a"]
    assert InfluenceIndexDisplay.from_values([1.0, 2.0], statistic="s").lines_ == {}


def test_of_very_many_rows_the_extremes_of_neighbours_are_drawn():
    values = np.random.default_rng(0).standard_t(3, size=300_000)
    display = InfluenceIndexDisplay.from_values(
        values, statistic="resid_studentized_external", n_params=2
    )
    assert display.rows_.size < 5000
    assert display.stems_.get_rasterized()
    assert set(np.argsort(-np.abs(values))[:5]) <= set(display.rows_)
    parts = values.reshape(2000, 150)
    drawn = values[display.rows_]
    assert np.isin(parts.max(axis=1), drawn).all()
    assert np.isin(parts.min(axis=1), drawn).all()
    assert "of 300,000 beyond" in legend_texts(display)[0]


def test_leverages_know_their_sum(diagnostics):
    display = InfluenceIndexDisplay(values=diagnostics.leverage, statistic="leverage")
    assert_allclose([display.n_params, display.df_resid], [3.0, 42.0], rtol=1e-12)
    assert InfluenceIndexDisplay(values=diagnostics.cooks_distance).n_params is None


def test_from_explainer_draws_its_diagnostics(regression, diagnostics):
    display = InfluenceIndexDisplay.from_explainer(regression, statistic="dffits", threshold="1")
    assert_array_equal(display.values, diagnostics.dffits)
    assert display.thresholds_ == {"1": 1.0}
    assert display.ax_.get_title() == "LeastSquaresInfluence"


def test_frame_is_labelled(diagnostics):
    import_optional("pandas")
    frame = InfluenceIndexDisplay.from_diagnostics(diagnostics, statistic="dffits").frame()
    assert list(frame) == ["dffits"]
    assert frame["dffits"].idxmax() == "minister"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistic": "cook"}, "statistic is 'cook', but it must be one of cooks_distance, lev"),
        ({"param": "income"}, "param is 'income', but cooks_distance is one number per row"),
        ({"statistic": "dfbetas"}, "param is None, but dfbetas has one column for each of inter"),
        ({"statistic": "dfbetas", "param": 3}, r"param is 3, .* \(positions 0 to 2\)"),
        ({"statistic": "dfbetas", "param": "age"}, "param is 'age'"),
    ],
)
def test_statistics_that_there_are_not_are_refused(diagnostics, arguments, message):
    with pytest.raises(ValueError, match=message):
        InfluenceIndexDisplay.from_diagnostics(diagnostics, **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"values": [[1.0]]}, r"values has shape \(1, 1\)"),
        ({"values": [np.nan]}, "1 of values are NaN"),
        ({"values": [1.0], "row_names": ["a", "b"]}, r"row_names has shape \(2,\)"),
    ],
)
def test_wrong_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        InfluenceIndexDisplay(**arguments)


def test_a_fit_without_degrees_of_freedom_says_so():
    X, y = np.array([[0.0], [1.0], [3.0]]), np.array([0.0, 1.0, 1.0])
    diagnostics = diagnose(LinearRegression(), X, y)
    with pytest.raises(ValueError, match="dffits does not exist"):
        InfluenceIndexDisplay.from_diagnostics(diagnostics, statistic="dffits")

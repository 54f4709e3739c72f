"""Detection curves: the lines are the metrics' curves, the legend tells the areas."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence import KDEInfluence
from skinfluence.datasets import plant_outliers
from skinfluence.displays import DetectionCurveDisplay
from skinfluence.metrics import detection_auc, detection_curve
from tests.conftest import import_optional

import_optional("matplotlib")


@pytest.fixture(scope="module")
def planted(X):
    return plant_outliers(X, 10, random_state=0)


def test_lines_are_the_curves_beside_the_diagonal_and_the_ideal(planted):
    rows, is_bad = planted
    explainer = KDEInfluence().fit(rows)
    baseline = np.linalg.norm(rows - rows.mean(axis=0), axis=1)
    display = DetectionCurveDisplay.from_explainer(
        explainer, is_bad, baselines={"distance": baseline}
    )
    scores = {"KDEInfluence": explainer.self_influence(), "distance": baseline}
    for line, (name, score) in zip(display.lines_, scores.items(), strict=True):
        for drawn, expected in zip(line.get_data(), detection_curve(is_bad, score), strict=True):
            assert_array_equal(drawn, expected)
        assert display.auc[name] == detection_auc(is_bad, score)
    p = is_bad.mean()
    assert_array_equal(display.ideal_.get_data(), [[0, p, 1], [0, 1, 1]])
    assert_array_equal(display.chance_.get_data(), [[0, 1], [0, 1]])
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert display.ax_.get_legend().get_title().get_text() == "area under the detection curve"
    assert texts == [
        f"KDEInfluence ({display.auc['KDEInfluence']:.3f})",
        f"distance ({display.auc['distance']:.3f})",
        f"ideal ({1 - p / 2:.3f})",
        "random (0.500)",
    ]
    assert display.ax_.get_aspect() == 1.0


def test_one_score_needs_no_name(planted):
    _, is_bad = planted
    display = DetectionCurveDisplay.from_influence(is_bad, is_bad * 1.0)
    assert list(display.auc) == ["self influence"]
    assert_allclose(display.auc["self influence"], 1 - is_bad.mean() / 2)


@pytest.mark.parametrize(("sign", "inside"), [(1, True), (-1, False)])
def test_legend_leaves_the_axes_where_it_would_hide_a_curve(planted, sign, inside):
    _, is_bad = planted
    display = DetectionCurveDisplay.from_influence(is_bad, sign * is_bad)
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    frame = display.ax_.get_window_extent()
    assert (legend.x0 < frame.x1) == inside
    assert legend.x1 <= display.figure_.bbox.x1


def test_frame_is_long(planted):
    import_optional("pandas")
    _, is_bad = planted
    frame = DetectionCurveDisplay(
        is_bad=is_bad, scores={"a": np.arange(is_bad.size), "b": np.zeros(is_bad.size)}
    ).frame()
    assert list(frame.columns) == ["name", "fraction_checked", "fraction_found"]
    assert (frame["name"] == "a").sum() == is_bad.size + 1
    assert frame[frame["name"] == "b"]["fraction_found"].tolist() == [0.0, 1.0]


def test_more_curves_than_colours_still_differ():
    scores = {f"score {j}": np.arange(4.0) * (j + 1) for j in range(9)}
    display = DetectionCurveDisplay(is_bad=[0, 0, 1, 1], scores=scores).plot()
    looks = {(line.get_color(), str(line._dash_pattern)) for line in display.lines_}
    assert len(looks) == 9


@pytest.mark.parametrize("scores", [{}, np.zeros(3)])
def test_scores_without_names_are_refused_by_the_constructor(scores):
    with pytest.raises(ValueError, match="it must map the name of each curve to its scores"):
        DetectionCurveDisplay(is_bad=[True, False, False], scores=scores)


def test_metrics_refusals_pass_through():
    with pytest.raises(ValueError, match=r"is_bad has shape \(2,\) and score \(3,\)"):
        DetectionCurveDisplay.from_influence([True, False], np.zeros(3))

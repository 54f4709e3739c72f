"""Agreement plots: the pairs, the identity, the numbers, the worst row, infinities."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import UndefinedMetricWarning

from skinfluence.displays import AgreementDisplay
from skinfluence.displays._style import BEYOND, ROW
from skinfluence.metrics import agreement
from tests.conftest import import_optional

to_rgba = import_optional("matplotlib.colors").to_rgba


@pytest.fixture
def pairs():
    rng = np.random.default_rng(0)
    estimated = rng.normal(size=30)
    actual = 1.5 * estimated + 0.1 * rng.normal(size=30)
    actual[11] = -3.0
    return estimated, actual


def test_predicted_against_actual_with_identity_and_least_squares(pairs):
    display = AgreementDisplay.from_predictions(*pairs, name="first order")
    assert_array_equal(display.scatter_.get_offsets(), np.transpose(pairs))
    x, y = display.identity_.get_data()
    assert_array_equal(x, y)
    assert_array_equal(x, [np.min(pairs), np.max(pairs)])
    x, y = display.fit_.get_data()
    assert_allclose(np.diff(y) / np.diff(x), display.agreement.slope, rtol=1e-12)
    slope, intercept = np.polyfit(*pairs, 1)
    assert_allclose(y, intercept + slope * x, rtol=1e-9)
    assert display.ax_.get_aspect() == 1.0
    assert display.ax_.get_title() == "first order"
    assert display.ax_.get_xlabel() == "predicted change"
    assert display.ax_.get_ylabel() == "actual change"


def test_the_numbers_are_those_of_the_metric(pairs):
    display = AgreementDisplay.from_predictions(*pairs)
    expected = agreement(*pairs)
    assert display.agreement == expected
    legend = display.ax_.get_legend()
    assert legend.get_title().get_text() == (
        f"Pearson {expected.pearson:.3g},  Spearman {expected.spearman:.3g},  "
        f"relative error {expected.relative_error:.3g}"
    )
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts == ["identity", f"least squares, slope {expected.slope:.3g}"]


def test_the_worst_row_is_named_and_orange(pairs):
    display = AgreementDisplay.from_predictions(*pairs, rows=np.arange(100, 130))
    assert [label.get_text() for label in display.labels_] == ["111"]
    assert display.agreement.worst_row == 111
    colours = [tuple(c[:3]) for c in display.scatter_.get_facecolors()]
    assert colours.index(to_rgba(BEYOND)[:3]) == 11
    assert colours.count(to_rgba(ROW)[:3]) == 29
    names = [f"row {i}" for i in range(30)]
    named = AgreementDisplay.from_predictions(*pairs, row_names=names, n_labels=2)
    assert named.labels_[0].get_text() == "row 11"


def test_several_queries_are_named_beside_the_row(pairs):
    estimated, actual = (np.reshape(side, (3, 10)) for side in pairs)
    display = AgreementDisplay.from_predictions(estimated, actual, rows=np.arange(40, 50))
    assert display.labels_[0].get_text() == "41 (query 1)"
    assert display.scatter_.get_offsets().shape == (30, 2)


def test_infinite_pairs_are_stars_on_rules_that_both_axes_share(pairs):
    estimated, actual = pairs
    estimated[[0, 1]], actual[[0, 2]] = np.inf, [np.inf, -np.inf]
    display = AgreementDisplay.from_predictions(estimated, actual, n_labels=2)
    assert display.scatter_.get_offsets().shape == (27, 2)
    both, right, below = np.asarray(display.infinite_.get_offsets())
    assert both[0] == both[1] == right[0]  # on the identity, where agreement is
    assert right[1] == actual[1]
    assert below[0] == estimated[2]
    assert [label.get_text() for label in display.labels_] == ["1", "2"]  # misplaced: the worst
    assert "relative error ∞" in display.ax_.get_legend().get_title().get_text()
    display.figure_.canvas.draw()
    legend = display.ax_.get_legend().get_window_extent()
    assert not any(text.get_window_extent().overlaps(legend) for text in display.ax_.texts)


def test_constant_sides_have_no_line(recwarn):
    with pytest.warns(UndefinedMetricWarning):
        display = AgreementDisplay.from_predictions(np.zeros(4), np.arange(4.0))
    assert display.fit_ is None
    display.figure_.canvas.draw()
    title = display.ax_.get_legend().get_title().get_text()
    assert title.startswith("Pearson undefined,  Spearman undefined")
    with pytest.warns(UndefinedMetricWarning):
        AgreementDisplay.from_predictions([np.inf], [np.inf]).figure_.canvas.draw()


def test_of_very_many_pairs_those_that_others_hide_are_left_out():
    rng = np.random.default_rng(0)
    estimated = rng.normal(size=100_000)
    actual = estimated + 0.1 * rng.normal(size=100_000)
    display = AgreementDisplay.from_predictions(estimated, actual, n_labels=9)
    assert display.pairs_.size < 20_000
    assert display.scatter_.get_rasterized()
    assert set(np.argsort(-np.abs(estimated - actual))[:9]) <= set(display.pairs_)


def test_from_agreement_needs_the_pairs(pairs):
    result = SimpleNamespace(estimated=pairs[0], actual=pairs[1], rows=np.arange(30))
    display = AgreementDisplay.from_agreement(result, name="t")
    assert_array_equal(display.scatter_.get_offsets(), np.transpose(pairs))
    summary = SimpleNamespace(pearson=1.0)
    with pytest.raises(ValueError, match="This SimpleNamespace holds no pairs, only their summa"):
        AgreementDisplay.from_agreement(summary)


def test_from_explainer_draws_what_validate_found(regression, duncan):
    X, y = duncan.data[:2], duncan.target[:2]
    display = AgreementDisplay.from_explainer(regression, X, y, n_refits=7, random_state=0)
    result = regression.validate(X, y, n_refits=7)
    assert_array_equal(display.rows, result.rows)
    assert_array_equal(display.actual, result.actual)
    assert display.agreement.slope > 1  # first order falls short of a deletion, by 1 - h
    assert display.ax_.get_title() == "LeastSquaresInfluence"


def test_frame_is_long(pairs):
    import_optional("pandas")
    estimated, actual = (np.reshape(side, (3, 10)) for side in pairs)
    frame = AgreementDisplay(
        estimated=estimated, actual=actual, row_names=list("abcdefghij")
    ).frame()
    assert list(frame) == ["query", "row", "estimated", "actual"]
    assert frame.shape == (30, 4)
    worst = (frame["estimated"] - frame["actual"]).abs().argmax()
    assert (frame.index[worst], frame["query"].iloc[worst]) == ("b", 1)


def test_metrics_refusals_pass_through():
    with pytest.raises(ValueError, match=r"estimated has shape \(2,\) and actual \(3,\)"):
        AgreementDisplay(estimated=[1.0, 2.0], actual=[1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"row_names has shape \(1,\)"):
        AgreementDisplay(estimated=[1.0, 2.0], actual=[1.0, 2.0], row_names=["a"])

"""Texts beside points, and legends outside the axes."""

import numpy as np
import pytest

from skinfluence.displays import _labels
from tests.conftest import import_optional

plt = import_optional("matplotlib.pyplot")


@pytest.fixture
def ax():
    ax = plt.subplots(figsize=(5, 4), layout="constrained")[1]
    ax.set(xlim=(0, 10), ylim=(0, 10))
    return ax


def box_of(ax, points, **obstacles):
    (label,) = _labels.label_points(
        ax, np.asarray(points, dtype=float), [0], ["name"], **obstacles
    )
    return label.get_window_extent()


def test_labels_go_right_unless_something_is_there(ax):
    (x, _) = ax.transData.transform((5, 5))
    assert box_of(ax, [[5, 5]]).x0 > x
    assert box_of(ax, [[5, 5], [5.8, 5]]).x1 < x  # a point on the right: to the left
    assert box_of(ax, [[9.9, 5]]).x1 < ax.transData.transform((9.9, 5))[0]  # the edge


def test_labels_keep_off_discs(ax):
    radius = 20
    (x, _) = ax.transData.transform((5, 5))
    assert box_of(ax, [[5, 5]], radii=[radius]).x0 > x + radius * ax.figure.dpi / 72
    # the disc of a point far to the right reaches the place beside the chosen one
    assert box_of(ax, [[5, 5], [8, 5]], radii=[0, 80]).x1 < x


@pytest.mark.parametrize("reach", [np.inf, 20.0])
def test_labels_keep_off_strokes(ax, reach):
    across = [[-reach, 5], [reach, 5]]
    _, y = ax.transData.transform((5, 5))
    assert box_of(ax, [[5, 5]], strokes=[across]).y0 > y
    up = [[5.6, -reach], [5.6, reach]]
    right = ax.transData.transform((5.6, 5))[0]
    assert box_of(ax, [[5, 5]], strokes=[up]).x1 < right


def test_lines_become_strokes(ax):
    lines = [{"a": [ax.axhline(3)]}, {"b": [ax.axvline(4), ax.axvline(5)]}]
    expected = [
        [[-np.inf, 3], [np.inf, 3]],
        [[4, -np.inf], [4, np.inf]],
        [[5, -np.inf], [5, np.inf]],
    ]
    np.testing.assert_array_equal(_labels.strokes(lines), expected)
    assert _labels.strokes([]).shape == (0, 2, 2)


@pytest.mark.filterwarnings("error")  # of a layout that collapses
@pytest.mark.parametrize("width", [3, 4, 6, 12])
def test_the_legend_stays_between_title_and_axes_however_narrow(width):
    ax = plt.subplots(figsize=(width, 4), layout="constrained")[1]
    for j in range(3):
        ax.plot([0, 1], label=f"threshold number {j} = 0.123")
    legend = _labels.legend_above(ax, "title", note=["Pearson 0.123", "relative error 0.456"])
    ax.figure.canvas.draw()
    box, frame = legend.get_window_extent(), ax.get_window_extent()
    assert frame.y1 <= box.y0
    assert box.y1 <= ax.title.get_window_extent().y0
    assert box.x1 <= frame.x1
    assert ax.title.get_window_extent().y1 <= ax.figure.bbox.y1


def test_without_entries_there_is_no_legend(ax):
    assert _labels.legend_above(ax, "title") is None
    assert ax.get_title() == "title"


def test_room_is_enough_for_a_disc_at_the_edge():
    ax = plt.subplots(figsize=(5, 4), layout="constrained")[1]
    ax.scatter([0, 1], [0, 1])
    ax.margins(**_labels.room(ax, 20))
    ax.figure.canvas.draw()
    frame = ax.get_window_extent()
    reach = 20 * ax.figure.dpi / 72
    low, high = ax.transData.transform([[0, 0], [1, 1]])
    assert (low - reach > [frame.x0, frame.y0]).all()
    assert (high + reach < [frame.x1, frame.y1]).all()

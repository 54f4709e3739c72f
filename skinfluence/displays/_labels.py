"""Texts beside points, and legends outside the axes. Imports matplotlib when called."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skinfluence.displays import _style

Array = NDArray[np.float64]

# Right, left, above, below and the corners, in typographic points.
_OFFSETS = [(7, 0), (-7, 0), (0, 8), (0, -8), (6, 6), (-6, 6), (6, -6), (-6, -6)]
_DIRECTIONS = [(dx, dy, float(np.hypot(dx, dy))) for dx, dy in _OFFSETS]


def label_points(
    ax: Any,
    points: Array,
    chosen: ArrayLike,
    texts: Any,
    *,
    radii: ArrayLike | None = None,
    strokes: ArrayLike | None = None,
) -> list[Any]:
    """Name the chosen points, most important first, so that no two labels overlap.

    Each label takes the free place around its point that hides the fewest points and strokes; a
    label without a free place is left out.

    Parameters
    ----------
    ax : matplotlib Axes
        Complete but for the labels: its limits are read.
    points : ndarray of shape (n_points, 2)
        All that is drawn.
    chosen : array-like of int of shape (n_labels,)
        Positions of the points to name.
    texts : sequence of shape (n_labels,)
        Their names.
    radii : array-like of shape (n_points,), default=None
        The points are discs of these radii, in typographic points.
    strokes : array-like of shape (n_strokes, 2, 2), default=None
        Ends of horizontal or vertical lines, infinite ones included.

    Returns
    -------
    labels : list of matplotlib Annotation
        Those that found a place.
    """
    if np.size(chosen) == 0:
        return []
    ax.figure.draw_without_rendering()  # limits, aspect and layout are lazy until then
    radii = np.zeros(points.shape[0]) if radii is None else np.asarray(radii)
    obstacles = _Obstacles(ax, points, radii, strokes)
    labels = []
    for row, text in zip(np.asarray(chosen), texts, strict=True):
        best = None
        for place, offset in enumerate(_around(radii[row])):
            label = _annotate(ax, points[row], str(text), offset)
            box = label.get_window_extent()
            label.remove()
            if obstacles.forbid(box):
                continue
            hidden = obstacles.hidden(box)
            if best is None or (hidden, place) < best[0]:
                best = (hidden, place), label, box
        if best is not None:
            ax.add_artist(best[1])
            labels.append(best[1])
            obstacles.taken.append(best[2])
    return labels


def _around(radius: float) -> list[tuple[float, float]]:
    """Places for a label around a disc, in typographic points."""
    return [(dx + radius * dx / h, dy + radius * dy / h) for dx, dy, h in _DIRECTIONS]


def _annotate(ax: Any, point: Array, text: str, offset: tuple[float, float]) -> Any:
    from matplotlib.patheffects import withStroke

    dx, dy = offset
    return ax.annotate(
        text,
        point,
        xytext=offset,
        textcoords="offset points",
        ha=("right", "center", "left")[int(np.sign(dx)) + 1],
        va=("top", "center", "bottom")[int(np.sign(dy)) + 1],
        fontsize="small",
        color=_style.EDGE,
        path_effects=[withStroke(linewidth=2.5, foreground="white")],  # over points and lines
        zorder=5,
        clip_on=False,
    )


class _Obstacles:
    """What a label must not touch, and what it had better not touch, in pixels."""

    def __init__(self, ax: Any, points: Array, radii: Array, strokes: ArrayLike | None) -> None:
        self.frame = ax.get_window_extent()
        self.taken: list[Any] = []
        self.centres = ax.transData.transform(points)
        self.reach = radii * ax.figure.dpi / 72
        ends = np.empty((0, 2, 2)) if strokes is None else np.asarray(strokes, dtype=float)
        far = 1e6  # pixels: infinity has no place
        finite = np.isfinite(ends)
        pixels = ax.transData.transform(np.where(finite, ends, 0.0).reshape(-1, 2))
        pixels = np.where(finite, pixels.reshape(ends.shape), far * np.sign(ends))
        self.low, self.high = pixels.min(axis=1), pixels.max(axis=1)

    def forbid(self, box: Any) -> bool:
        inside = self.frame.contains(box.x0, box.y0) and self.frame.contains(box.x1, box.y1)
        return not inside or any(box.overlaps(other) for other in self.taken)

    def hidden(self, box: Any) -> int:
        """How many discs and strokes a label would touch."""
        low, high = (box.x0, box.y0), (box.x1, box.y1)
        away = np.square(self.centres - np.clip(self.centres, low, high)).sum(axis=1)
        crossed = ((self.low <= high) & (self.high >= low)).all(axis=1)
        return int((away <= self.reach**2).sum() + crossed.sum())


# -- legends ------------------------------------------------------------------------------------


def legend_above(ax: Any, axes_title: str, *, note: list[str] | None = None, **given: Any) -> Any:
    """Draw a legend between title and axes, where it hides nothing.

    It has one line for the `note` and one for the entries if these fit, else more.
    """
    style: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0.0, 1.0)}
    style |= {"fontsize": "small", "title_fontsize": "small", "alignment": "left"}
    style |= {"frameon": False, "borderpad": 0.2, "borderaxespad": 0.3}
    style |= given
    entries = style.get("handles", ax.get_legend_handles_labels()[0])
    if not entries and not note:
        ax.set_title(axes_title)
        return None
    one_line = max(len(entries), 1)
    for joint, ncols in ((",  ", one_line), (",  ", min(2, one_line)), (",  ", 1), ("\n", 1)):
        legend = ax.legend(ncols=ncols, title=joint.join(note or []) or None, **style)
        legend.set_in_layout(False)  # only tried: a wide one would squeeze the axes
        ax.figure.draw_without_rendering()
        box, frame = legend.get_window_extent(), ax.get_window_extent()
        if box.x1 <= frame.x1:
            break
    legend.set_in_layout(True)
    ax.set_title(axes_title, pad=6.0 + (box.y1 - frame.y1) * 72 / ax.figure.dpi)
    return legend


def room(ax: Any, radius: float) -> dict[str, float]:
    """Margins, as shares of the data's range, in which discs of `radius` points have room."""
    ax.figure.draw_without_rendering()
    frame = ax.get_window_extent()
    reach = (radius + 5) * ax.figure.dpi / 72
    sizes = {"x": frame.width, "y": frame.height}
    return {axis: max(0.05, reach / max(size - 2 * reach, reach)) for axis, size in sizes.items()}


def strokes(groups: Iterable[dict[str, list[Any]]]) -> Array:
    """Ends of the lines that ``axhline`` and ``axvline`` made, by name in each group."""
    ends = []
    for line in (line for group in groups for lines in group.values() for line in lines):
        x, y = np.asarray(line.get_data(), dtype=float)
        is_vertical = x[0] == x[1]
        reach = [-np.inf, np.inf]
        ends.append(np.column_stack([x, reach] if is_vertical else [reach, y]))
    return np.array(ends).reshape(-1, 2, 2)

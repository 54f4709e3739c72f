"""Colours, limits, labels and checks that all displays share. Imports matplotlib when called."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# Of Okabe and Ito's palette, safe under colour blindness: rows as they are, and those beyond.
ROW, BEYOND = "#0072b2", "#d55e00"
# Ends of ColorBrewer's RdBu, told apart under every common form of colour blindness.
PROPONENT, OPPONENT = "#b2182b", "#2166ac"
DIVERGING, SEQUENTIAL = "RdBu_r", "YlOrRd"
EDGE, MUTED = "#404040", "#8c8c8c"


def import_pyplot(display: object) -> Any:
    """Return ``matplotlib.pyplot``, or say how to get it."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"{type(display).__name__}.plot draws with matplotlib, which is not installed. "
            'Install it with `pip install "skinfluence[plot]"`; the numbers are in `frame()`.'
        ) from error
    return plt


def new_axes(display: object, ax: Any, figsize: tuple[float, float] | None = None) -> Any:
    """Return `ax`, or the axes of a new figure."""
    plt = import_pyplot(display)
    if ax is None:
        _, ax = plt.subplots(figsize=figsize, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


# -- data ---------------------------------------------------------------------------------------


def as_scores(values: Any, name: str) -> Array:
    """One score per training row; infinities pass, NaN does not."""
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(
            f"{name} has shape {scores.shape}, but it must be (n_train,), one number per training "
            "row. For one query out of several pass one row of the matrix, e.g. scores[0]."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"{int(np.isnan(scores).sum())} of {name} are NaN, which have no place in a picture. "
            "Find the rows that gave them, or leave these out."
        )
    return scores


def one_per_row(values: Any, name: str, n_rows: int) -> NDArray[Any]:
    """Check that `values` go with the scores."""
    checked = np.asarray(values)
    if checked.shape != (n_rows,):
        raise ValueError(
            f"{name} has shape {checked.shape}, but there are {n_rows} scores. "
            "Pass one entry per training row, in the same order."
        )
    return checked


def title(name: str | None, n_features: int) -> str:
    """Title of a scatter: the name, and how many columns are not to be seen."""
    drawn = f"2 of {n_features} columns" if n_features > 2 else ""
    return ", ".join(part for part in (name, drawn) if part)


def pick_features(features: tuple[Any, Any], names: list[str]) -> tuple[int, int]:
    """Positions of the two columns to draw, given by position or name."""
    if len(names) < 2:
        raise ValueError(
            "X has one column, but a scatter needs two. Choose the other `kind`, which draws "
            "scores against one number per row, or pass an X of two columns."
        )
    places = []
    for feature in features:
        place = names.index(feature) if feature in names else feature
        if isinstance(place, str) or not -len(names) <= place < len(names):
            raise ValueError(
                f"features holds {feature!r}, but the columns are {names[:8]} (positions 0 to "
                f"{len(names) - 1}). Pass two positions or names."
            )
        places.append(place)
    if len(places) != 2:
        raise ValueError(f"features has {len(places)} entries, but a scatter needs two. Pass two.")
    return places[0], places[1]


# -- colours ------------------------------------------------------------------------------------


def robust_limit(values: ArrayLike) -> float:
    """Largest absolute value that colours should resolve.

    The largest of all, unless a handful of rows (1 %, at least one and at most five) exceed
    three times the next: these are then drawn in the end colour, so that they do not wash out
    the rest. Where the rest is all alike there is nothing to resolve, and nothing is cut.
    """
    size = np.sort(np.abs(np.asarray(values, dtype=np.float64)))[::-1]
    size = size[np.isfinite(size)]
    if size.size == 0 or size[0] == 0:
        return 1.0
    n_extreme = min(5, max(1, size.size // 100))
    rest = size[n_extreme:]
    if rest.size == 0 or size[0] <= 3 * rest[0] or np.median(rest) > 0.5 * rest[0]:
        return float(size[0])
    return float(rest[0])


def scatter_rows(
    ax: Any,
    points: Array,
    scores: Array,
    order: NDArray[np.intp],
    colours: dict[str, Any],
    given: Any,
) -> Any:
    """Draw the rows in `order`, coloured by score, or by the ``c`` that the user has given."""
    shrink = min(1.0, max(0.25, np.sqrt(300 / scores.size)))  # thousands of rows are a cloud
    style = {"s": 40 * shrink, "edgecolors": EDGE, "linewidths": 0.5 * shrink}
    given = dict(given or {})
    if "c" not in given and "color" not in given:
        style |= {"c": scores[order], **colours}
    elif np.shape(given.get("c"))[:1] == scores.shape:
        given["c"] = np.asarray(given["c"])[order]
    return ax.scatter(*points[order].T, **style | given)


def cross_hairs() -> Any:
    """Four strokes that point at a place and leave it free."""
    from matplotlib.path import Path

    inner, outer = 0.5, 1.0
    directions = ((1, 0), (-1, 0), (0, 1), (0, -1))
    ends = [(r * x, r * y) for x, y in directions for r in (inner, outer)]
    return Path(ends, [Path.MOVETO, Path.LINETO] * len(directions))


def add_colorbar(ax: Any, artist: Any, values: Array, label: str) -> Any:
    """Draw a colour bar as high as `ax`, with arrows where values exceed its ends."""
    finite = values[np.isfinite(values)]
    low = finite.size > 0 and finite.min() < artist.norm.vmin
    high = finite.size > 0 and finite.max() > artist.norm.vmax
    extend = {(0, 0): "neither", (1, 0): "min", (0, 1): "max", (1, 1): "both"}[low, high]
    # an inset follows the axes' height where equal aspect shrinks them; a plain bar does not
    cax = ax.inset_axes((1.03, 0.0, 0.035, 1.0))
    bar = ax.figure.colorbar(artist, cax=cax, extend=extend, label=label)
    bar.outline.set_visible(False)
    return bar


def equal_if_comparable(ax: Any, points: Array) -> None:
    """Equal aspect where both axes measure alike: minutes against grams stay as they are."""
    width, height = np.ptp(points, axis=0)
    if width > 0 and height > 0 and 1 / 3 <= width / height <= 3:
        ax.set_aspect("equal", adjustable="box")


# -- infinities ---------------------------------------------------------------------------------


def move_infinite(ax: Any, points: Array) -> Array:
    """Bring infinite coordinates to just beyond the finite ones, on a rule that says so."""
    moved = points.copy()
    for axis in (0, 1):
        values = points[:, axis]
        finite = values[np.isfinite(values)]
        low, high = (finite.min(), finite.max()) if finite.size else (0.0, 1.0)
        margin = 0.1 * ((high - low) or 1.0)
        for sign, level in ((1, high + margin), (-1, low - margin)):
            rows = values == sign * np.inf
            if rows.any():
                moved[rows, axis] = level
                _rule(ax, axis, level, "+∞" if sign > 0 else "\N{MINUS SIGN}∞")
    return moved


def _rule(ax: Any, axis: int, level: float, text: str) -> None:
    style = {"color": MUTED, "linewidth": 0.8, "linestyle": ":", "zorder": 0}
    if axis == 0:
        ax.axvline(level, **style)
        ax.text(level, 1.01, text, transform=ax.get_xaxis_transform(), ha="center", va="bottom")
    else:
        ax.axhline(level, **style)
        ax.text(1.01, level, text, transform=ax.get_yaxis_transform(), ha="left", va="center")


def stars(ax: Any, points: Array, label: str = "infinite") -> Any:
    """Draw rows that have no finite place or size."""
    return ax.scatter(
        *points.T,
        marker="*",
        s=150,
        color=EDGE,
        edgecolors="white",
        linewidths=0.7,
        zorder=3,
        label=label,
    )

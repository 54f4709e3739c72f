"""An optimum of a programme, and whether it is one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.free import FreeSet
from skinfluence.deletion.svm.programme import Programme

# Where a variable is: at one of its bounds, between them, or driven whatever its gradient.
LOWER, FREE, UPPER, GONE = 1, 0, -1, 2
# Bounds that are watched beside as many as there are free variables.
WATCHED = 100


@dataclass
class Point:
    """An optimum.

    Parameters
    ----------
    beta : ndarray of shape (N,)
    place : ndarray of int of shape (N,)
        1 at the lower bound, -1 at the upper one, 0 between, 2 driven.
    products : ndarray of shape (n,)
        ``K beta`` at the rows.
    offset : ndarray of shape (n_groups,)
        Multipliers. Where a group has no free variable any number of an interval is one, and its
        middle is taken, as libsvm does.
    free : FreeSet
    events : int
        Bounds that were met or left on the way here.
    complete : bool
        False where the programme has no solution at the end of the way; the point is that of
        where its solutions ended.
    near : Near or None
        What paths from here watch; None for everything.
    held : ndarray of shape (2, n) or None
        Products of the variables at their lower and at their upper bounds, each alone.
    tableau : Tableau or None
        What paths from here share, once there were some.
    """

    beta: Array
    place: NDArray[np.int8]
    products: Array
    offset: Array
    free: FreeSet
    events: int = 0
    complete: bool = True
    near: Near | None = None
    held: Array | None = None
    tableau: Any = None


@dataclass(frozen=True)
class Near:
    """Variables that may take part in a path: the free ones, and the bounds nearest to 0.

    A deletion moves few gradients through 0. What these are is found out on the way; that the
    others were none of them is seen at its end.

    Parameters
    ----------
    variables : ndarray of int of shape (v,)
    rows : ndarray of int of shape (r,)
        Their rows.
    row : ndarray of int of shape (v,)
        Which of these each belongs to.
    place_of : ndarray of int of shape (N,)
        Where each variable is among these; -1 for others.
    base : ndarray of shape (n_free, r)
        Kernel of the free variables with the rows.
    others : ndarray of int of shape (o,)
        Variables at bounds that are not watched.
    side : ndarray of shape (o,)
        1 for those at the lower bound, -1 at the upper one.
    size : float
        Of gradients.
    """

    variables: NDArray[np.intp]
    rows: NDArray[np.intp]
    row: NDArray[np.intp]
    place_of: NDArray[np.intp]
    base: Array
    others: NDArray[np.intp]
    side: Array
    size: float


def near(programme: Programme, point: Point, *, everything: bool = False) -> Near:
    """The variables to watch on the way from a point."""
    g = gradient(programme, point)
    bound = np.flatnonzero(np.abs(point.place) == 1)
    count = len(point.free) + WATCHED
    if not everything and count < len(bound):
        bound = bound[np.argpartition(np.abs(g[bound]), count)[:count]]
    variables = np.concatenate([np.flatnonzero(point.place == FREE), bound])
    rows, row = np.unique(programme.row[variables], return_inverse=True)
    place_of = np.full(len(g), -1)
    place_of[variables] = np.arange(len(variables))
    others = np.flatnonzero((np.abs(point.place) == 1) & (place_of < 0))
    return Near(
        variables,
        rows,
        row,
        place_of,
        point.free.part_of_base(rows),
        others,
        point.place[others].astype(np.float64),
        gradient_size(programme, point),
    )


def gradient(programme: Programme, point: Point) -> Array:
    """g of each variable, (N,)."""
    return point.products[programme.row] + point.offset[programme.group] - programme.p


def violation(programme: Programme, point: Point) -> float:
    """Largest violation of the conditions of optimality."""
    g = gradient(programme, point)
    wrong = np.select(
        [point.place == LOWER, point.place == UPPER, point.place == FREE],
        [np.maximum(-g, 0.0), np.maximum(g, 0.0), np.abs(g)],
        0.0,
    )
    outside = np.maximum(programme.lo - point.beta, point.beta - programme.hi)
    held = point.place != GONE
    unequal = np.abs(programme.unmet(point.beta, programme.c)).max()
    return float(max(wrong.max(initial=0.0), outside[held].max(initial=0.0), unequal))


def gradient_size(programme: Programme, point: Point) -> float:
    """How large gradients are, which is what rounding and violations are compared with."""
    size = float(max(np.ptp(programme.p), np.ptp(gradient(programme, point))))
    if np.ptp(programme.p):
        return size
    return max(size, programme.size * programme.kernel.largest)  # the nu-forms


def centre_offsets(programme: Programme, point: Point) -> None:
    """Put multipliers of groups without free variables into the middle of their interval."""
    for group in range(programme.n_sums):
        if group in point.free.groups:
            continue
        own = programme.group == group
        needed = programme.p - point.products[programme.row]
        least = needed[own & (point.place == LOWER)].max(initial=-np.inf)
        most = needed[own & (point.place == UPPER)].min(initial=np.inf)
        if np.isfinite(least) and np.isfinite(most):
            point.offset[group] = 0.5 * (least + most)
        elif np.isfinite(least) or np.isfinite(most):
            point.offset[group] = least if np.isfinite(least) else most

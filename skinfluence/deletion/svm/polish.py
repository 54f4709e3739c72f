"""From the coefficients of a fit to the optimum that its solver stopped short of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import lapack

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.free import FreeSet
from skinfluence.deletion.svm.path import follow, torn
from skinfluence.deletion.svm.point import (
    FREE,
    LOWER,
    UPPER,
    Point,
    centre_offsets,
    gradient,
    near,
)
from skinfluence.deletion.svm.programme import Motion, Programme
from skinfluence.deletion.svm.walk import NO_SHARE

# Distance from a bound, relative to the box, within which a coefficient is on it: libsvm clips,
# and the nu-forms divide by the margin afterwards.
CLIPPED = 1e-9
# Free variables from which on those that are surely independent are found together, and the share
# of the kernel's size by which they are.
SEVERAL, APART = 40, 1e-8
# Variables from which on paths watch the nearest only.
MANY = 300


def polish(programme: Programme, beta: Array) -> tuple[Point, float]:
    """The optimum near fitted coefficients, and how far they were from it.

    The fit is the optimum of a programme whose p differs a little, so that its gradients have the
    right signs; from there :func:`follow` leads p to its own value.

    Parameters
    ----------
    programme : Programme
    beta : ndarray of shape (N,)
        In the boxes, up to rounding.

    Returns
    -------
    point : Point
    gap : float
        Largest violation of the conditions of optimality at `beta`, in units of p.
    """
    start = _on_bounds(programme, beta)
    _free_the_free(programme, start)
    _guess_offsets(programme, start)
    g = gradient(programme, start)
    right = np.select(
        [start.place == LOWER, start.place == UPPER], [np.maximum(g, 0.0), np.minimum(g, 0.0)], 0.0
    )
    off = g - right
    tear = torn(programme, start)
    before = replace(programme, p=programme.p + off - tear, c=programme.sums(start.beta))
    point = follow(before, start, Motion(dc=programme.c - before.c, dp=tear - off))
    # Products were added up from event to event.
    point.products = programme.kernel.products(programme.on_rows(point.beta))
    point = follow(programme, point, Motion(dc=np.zeros(programme.n_groups)))
    point.free.rebase()
    point.held = np.stack(
        [
            programme.kernel.products(
                programme.on_rows(np.where(point.place == place, point.beta, 0.0))
            )
            for place in (LOWER, UPPER)
        ]
    )
    if len(point.beta) > MANY:
        point.near = near(programme, point)
    return point, float(np.abs(off).max(initial=0.0))


def _on_bounds(programme, beta):
    lo, hi = programme.lo, programme.hi
    beta = np.clip(beta, lo, hi)
    width = CLIPPED * (hi - lo)
    place = np.select([beta - lo <= width, hi - beta <= width], [LOWER, UPPER], FREE)
    beta = np.select([place == LOWER, place == UPPER], [lo, hi], beta)
    return Point(
        beta,
        place.astype(np.int8),
        np.zeros(programme.kernel.n),
        np.zeros(programme.n_groups),
        FreeSet(programme),
    )


def _free_the_free(programme, start):
    """Take variables between their bounds into the free set; those that depend on it, out."""
    waiting = np.flatnonzero(start.place == FREE)
    if len(waiting) > SEVERAL:
        apart = _independent(programme, waiting)
        start.free = FreeSet(programme, waiting[apart])
        waiting = np.delete(waiting, apart)
    for v in waiting:
        weights, square = start.free.combination(v)
        while start.free.dependent(v, square):
            if _slide(programme, start, v, weights):
                break
            weights, square = start.free.combination(v)
        else:
            start.free.add(v, weights, square)
    start.free.rebase()
    start.products = programme.kernel.products(programme.on_rows(start.beta))


def _independent(programme, variables):
    """Places of some variables of which none is a combination of the others."""
    kernel = programme.kernel.block(programme.row[variables])
    tolerance = APART * np.abs(np.diag(kernel)).max(initial=0.0)
    _, order, rank, _ = lapack.dpstrf(kernel, tol=tolerance)
    return order[:rank] - 1


def _slide(programme, start, v, weights):
    """Move v along a direction that changes nothing, until a bound is met; whether v met it."""
    members = start.free.members
    moving = np.append(members, v)
    d_beta = np.append(-weights[len(start.free.groups) :], 1.0)
    d_beta[np.abs(d_beta) < NO_SHARE * np.abs(d_beta).max()] = 0.0
    room_up = np.where(d_beta > 0, programme.hi[moving], programme.lo[moving])
    with np.errstate(divide="ignore", invalid="ignore"):
        steps = np.where(d_beta != 0, (room_up - start.beta[moving]) / d_beta, np.inf)
    first = int(np.argmin(steps))
    start.beta[moving] += max(steps[first], 0.0) * d_beta
    met = int(moving[first])
    upper = d_beta[first] > 0
    start.place[met] = UPPER if upper else LOWER
    start.beta[met] = programme.hi[met] if upper else programme.lo[met]
    if met != v:
        start.free.remove(met)
    return met == v


def _guess_offsets(programme, start):
    """Multipliers as libsvm takes them: the mean of the free variables, or the middle."""
    centre_offsets(programme, start)
    needed = programme.p - start.products[programme.row]
    members = start.free.members
    for group in start.free.groups:
        own = members[programme.group[members] == group]
        start.offset[group] = needed[own].mean()

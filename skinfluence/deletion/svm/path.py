"""The optimum of a programme that changes: from event to event, exactly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.point import Point, gradient_size, violation
from skinfluence.deletion.svm.programme import Motion, Programme
from skinfluence.deletion.svm.walk import Walk

# Shares of the size of gradients by which ties are torn apart, in this order; and by which the
# conditions of optimality may be violated afterwards.
TEARS, CERTAIN = (1e-7, 1e-6, 1e-5, 1e-8), 1e-11


def follow(programme: Programme, start: Point, motion: Motion) -> Point:
    """The optimum after a motion of the programme over one unit of time.

    Between events the free variables solve a linear system, and the optimum moves along a line
    (Cauwenberghs & Poggio 2001; of several rows at once, Karasuyama & Takeuchi 2009). An event is
    the first free variable to meet a bound, or the first bound whose gradient changes its sign.
    Where no variable of a group is free, its multiplier moves to the next one that can take part.

    Parameters
    ----------
    programme : Programme
        As it is at the start.
    start : Point
        Its optimum; left as it is.
    motion : Motion

    Returns
    -------
    point : Point
        Its `place` holds ``2`` for variables that are gone.
    """
    motion = motion.spelt_out(programme)
    if start.near is not None:
        walk = Walk(programme, start, motion, start.near)
        point = walk.run()
        if point.complete and not walk.lost and walk.overlooked() <= CERTAIN:
            return point
    walk = Walk(programme, start, motion)
    point = walk.run()
    if not walk.lost:
        return point
    return _around_ties(programme, start, motion)


def _around_ties(programme, start, motion):
    """The same by way of a programme without ties.

    Ties, as between copies of a row, leave several ways on, and some of them go round in circles.
    Gradients at bounds are moved a little away from 0, which leaves the start an optimum; where
    the way ends they are moved back. Whether that is the optimum is certain.
    """
    events = 0
    for attempt, share in enumerate(TEARS):
        tear = torn(programme, start, share, attempt)
        walk = Walk(replace(programme, p=programme.p - tear), start, motion)
        point = walk.run()
        events += point.events
        if walk.lost or not point.complete:
            continue
        walk = Walk(walk.reached(), point, Motion(np.zeros(programme.n_groups), dp=tear))
        point = walk.run(to_the_end=True)
        events += point.events
        if violation(walk.reached(), point) <= CERTAIN * gradient_size(programme, start):
            break
    else:
        point.complete = False
    point.events = events
    return point


def torn(programme: Programme, point: Point, share: float = TEARS[0], seed: int = 0) -> Array:
    """By how much to move gradients at bounds inwards, (N,): a little, and each otherwise."""
    draw = np.random.default_rng(seed).uniform(0.5, 1.5, len(point.beta))
    side = np.where(np.abs(point.place) == 1, point.place, 0)
    return side * (share * gradient_size(programme, point) * draw)

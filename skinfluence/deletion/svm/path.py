"""The optimum of a programme that changes: from event to event, exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.free import FreeSet
from skinfluence.deletion.svm.programme import Motion, Programme

# Where a variable is: at one of its bounds, between them, or driven whatever its gradient.
LOWER, FREE, UPPER, GONE = 1, 0, -1, 2

# Speeds below this share of the largest one are rounding.
STILL = 1e-12
# The same for shares in a combination of free variables, which are solutions of a system.
NO_SHARE = 1e-8
# Distances from a bound, relative to the widest box, that are rounding.
ON_BOUND = 1e-12
# Events without progress after which ties are taken to go round in circles, and events at all,
# relative to the number of variables.
STANDSTILL, PATIENCE = 12, 20
# Shares of the size of gradients by which ties are torn apart, in this order; and by which the
# conditions of optimality may be violated afterwards.
TEARS, CERTAIN = (1e-7, 1e-6, 1e-5, 1e-8), 1e-11
# What is left of the way when the next events can only be rounding.
THERE = 1e-12


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
    """

    beta: Array
    place: NDArray[np.int8]
    products: Array
    offset: Array
    free: FreeSet
    events: int = 0
    complete: bool = True


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
    unequal = np.abs(programme.sums(point.beta) - programme.c).max()
    return float(max(wrong.max(initial=0.0), outside[held].max(initial=0.0), unequal))


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
    walk = _Walk(programme, start, motion)
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
        walk = _Walk(replace(programme, p=programme.p - tear), start, motion)
        point = walk.run()
        events += point.events
        if walk.lost or not point.complete:
            continue
        walk = _Walk(walk.reached(), point, Motion(np.zeros(programme.n_groups), dp=tear))
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


def gradient_size(programme: Programme, point: Point) -> float:
    """How large gradients are, which is what rounding and violations are compared with."""
    size = float(max(np.ptp(programme.p), np.ptp(gradient(programme, point))))
    if np.ptp(programme.p):
        return size
    return max(size, programme.size * programme.kernel.largest)  # the nu-forms


class _Walk:
    """One run of :func:`follow`."""

    def __init__(self, programme, start, motion):
        self.programme, self.motion = programme, motion
        self.time, self.events, self.complete = 0.0, 0, True
        self.lost = False
        self.beta, self.place = start.beta.copy(), start.place.copy()
        self.products, self.offset = start.products.copy(), start.offset.copy()
        self.free = start.free.copy()
        n_variables = len(self.beta)
        self.p, self.lo, self.hi = programme.p, programme.lo, programme.hi
        self.dp = np.zeros(n_variables) if motion.dp is None else motion.dp
        self.speed = self._bound_speeds()
        self._let_go()
        # What the variables that are not free do to everything else.
        self.drift = programme.kernel.products(programme.on_rows(self.speed))
        self.need = motion.dc - programme.sums(self.speed)
        self.tiny_beta = ON_BOUND * programme.size

    def _bound_speeds(self):
        """Speed of each variable that is held by a bound, or driven, (N,)."""
        speed = np.zeros(len(self.beta))
        for bound, where in ((self.motion.dlo, LOWER), (self.motion.dhi, UPPER)):
            if bound is not None:
                speed[self.place == where] = bound[self.place == where]
        speed[self.motion.gone] = -self.beta[self.motion.gone]
        return speed

    def _let_go(self):
        for v in self.motion.gone:
            if self.place[v] == FREE:
                self.free.remove(v)
            self.place[v] = GONE

    # -- the walk ---------------------------------------------------------------------------------

    def run(self, *, to_the_end=False):
        """The point reached; past standstills too, where somebody checks it `to_the_end`."""
        try:
            self._walk()
            if self.complete and (to_the_end or not self.lost):
                self._advance(self._direction(), 1.0 - self.time)
        except np.linalg.LinAlgError:
            self.lost = True
        return self._settled()

    def _walk(self):
        limit, still = 100 + PATIENCE * len(self.beta), 0
        while 1.0 - self.time > THERE:
            self._offer_offsets()
            if not self.complete:
                return
            direction = self._direction()
            step, event = self._first_event(direction)
            self._advance(direction, step)
            if event is not None:
                self.events += 1
                self._meet(event)
            still = 0 if step > 0 else still + 1
            if still > STANDSTILL or self.events > limit:
                self.lost = True
                return

    def _offer_offsets(self):
        """Move the multiplier of a group without free variables to where one becomes free."""
        for group in range(self.programme.n_groups):
            need = self.need[group]
            if group in self.free.groups or abs(need) * (1.0 - self.time) <= self.tiny_beta:
                continue
            g = self._gradient()
            # What has to grow comes from the lower bounds, what has to shrink from the upper.
            side = LOWER if need > 0 else UPPER
            able = np.flatnonzero((self.programme.group == group) & (self.place == side))
            able = able[self.hi[able] > self.lo[able]]
            if not len(able):
                self.complete = False
                return
            v = able[np.argmin(side * g[able])]
            self.offset[group] -= g[v]
            self._enter(int(v))

    def _gradient(self):
        programme = self.programme
        return self.products[programme.row] + self.offset[programme.group] - self.p

    def _direction(self):
        programme, free = self.programme, self.free
        members, groups = free.members, free.groups
        right = np.concatenate(
            [self.need[groups], self.dp[members] - self.drift[programme.row[members]]]
        )
        solution = free.solve(right)
        d_offset = np.zeros(programme.n_groups)
        d_offset[groups] = solution[: len(groups)]
        d_beta = solution[len(groups) :]
        d_products = self.drift + free.products(d_beta)
        return d_beta, d_offset, d_products

    def _first_event(self, direction):
        """The step to the first event, and the variable and the place where it goes."""
        d_beta, d_offset, d_products = direction
        programme = self.programme
        best, event = 1.0 - self.time, None
        for steps, variables, places in (
            self._steps_to_bounds(d_beta),
            self._steps_to_zeros(d_products[programme.row] + d_offset[programme.group]),
        ):
            if len(steps):
                first = np.argmin(steps)
                if steps[first] < best:
                    best, event = steps[first], (int(variables[first]), int(places[first]))
        return best, event

    def _steps_to_bounds(self, d_beta, *, resting=False):
        """Steps of free variables to bounds that move, or are at rest."""
        members = self.free.members
        beta = self.beta[members]
        still = STILL * np.abs(d_beta).max(initial=0.0)
        found = []
        for bound, d_bound, place in (
            (self.lo, self.motion.dlo, LOWER),
            (self.hi, self.motion.dhi, UPPER),
        ):
            closing = place * (d_beta if d_bound is None or resting else d_beta - d_bound[members])
            near = np.flatnonzero(closing < -still)
            room = np.maximum(place * (beta[near] - bound[members[near]]), 0.0)
            found.append((room / -closing[near], members[near], np.full(len(near), place)))
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def _steps_to_zeros(self, rise):
        rise = rise - self.dp
        side = np.where(np.abs(self.place) == 1, self.place, 0)
        closing = side * rise
        near = np.flatnonzero(closing < -STILL * np.abs(rise).max(initial=0.0))
        room = np.maximum(side[near] * self._gradient()[near], 0.0)
        return room / -closing[near], near, np.full(len(near), FREE)

    def _advance(self, direction, step):
        d_beta, d_offset, d_products = direction
        members = self.free.members
        self.beta += step * self.speed
        self.beta[members] += step * d_beta
        self.offset += step * d_offset
        self.products += step * d_products
        self.time = 1.0 if step >= 1.0 - self.time else self.time + step
        if self.motion.dp is not None:
            self.p = self.p + step * self.dp
        if self.motion.dlo is not None:
            self.lo = self.lo + step * self.motion.dlo
        if self.motion.dhi is not None:
            self.hi = self.hi + step * self.motion.dhi

    # -- events -----------------------------------------------------------------------------------

    def _meet(self, event):
        v, place = event
        if place == FREE:
            self._enter(v)
        else:
            self._hold(v, place)
            self.free.remove(v)

    def _hold(self, v, place):
        """Put variable v on a bound, and let it move with that."""
        bounds, speeds = (
            (self.lo, self.motion.dlo) if place == LOWER else (self.hi, self.motion.dhi)
        )
        self.place[v], self.beta[v] = place, bounds[v]
        if speeds is not None:
            self._carry(v, speeds[v])

    def _carry(self, v, speed):
        """Give a variable that is not free another speed."""
        programme = self.programme
        change = speed - self.speed[v]
        if change:
            self.speed[v] = speed
            self.drift = self.drift + change * programme.kernel.row(int(programme.row[v]))
            self.need[programme.group[v]] -= change

    def _enter(self, v):
        """Let v be free; where it is a combination of free ones, another one leaves for it."""
        weights, square = self.free.combination(v)
        while self.free.dependent(v, square):
            if self._exchange(v, weights):
                return
            weights, square = self.free.combination(v)
        self._carry(v, 0.0)
        self.place[v] = FREE
        self.free.add(v, weights, square)

    def _exchange(self, v, weights):
        """Move v and the free variables it is a combination of, which changes no gradient.

        Up to where one of them meets a bound; whether v did.
        """
        members, n_groups = self.free.members, len(self.free.groups)
        inward = float(self.place[v])
        d_beta = -inward * weights[n_groups:]
        d_beta[np.abs(d_beta) < NO_SHARE * np.abs(d_beta).max(initial=1.0)] = 0.0
        steps, variables, places = self._steps_to_bounds(d_beta, resting=True)
        first = np.argmin(steps) if len(steps) else None
        across = self.hi[v] - self.lo[v]
        step = across if first is None else min(across, steps[first])
        self.beta[members] += step * d_beta
        self.beta[v] += step * inward
        # Nothing but rounding, which coefficients must not be told without their products.
        own = self.programme.kernel.row(int(self.programme.row[v]))
        self.products += step * (self.free.products(d_beta) + inward * own)
        self.offset[self.free.groups] -= step * inward * weights[:n_groups]
        if first is None or steps[first] >= across:
            self._hold(v, UPPER if inward > 0 else LOWER)
            return True
        self._meet((int(variables[first]), int(places[first])))
        return False

    # -- the end ----------------------------------------------------------------------------------

    def reached(self):
        """The programme as it is now."""
        return replace(
            self.programme,
            p=self.p,
            lo=self.lo,
            hi=self.hi,
            c=self.programme.c + self.motion.dc,
        )

    def _settled(self):
        if self.complete and self.time == 1.0:
            self._correct()
            self._release()
        point = Point(
            self.beta,
            self.place,
            self.products,
            self.offset,
            self.free,
            self.events,
            self.complete,
        )
        centre_offsets(self.reached(), point)
        return point

    def _correct(self):
        """Take out the rounding that the steps have added up."""
        programme, free = self.programme, self.free
        self.beta[self.motion.gone] = 0.0
        members, groups = free.members, free.groups
        if not len(members):
            return
        unmet = programme.c + self.motion.dc - programme.sums(self.beta)
        right = np.concatenate([unmet[groups], -self._gradient()[members]])
        solution = free.solve(right)
        self.offset[groups] += solution[: len(groups)]
        self.beta[members] += solution[len(groups) :]
        self.products += free.products(solution[len(groups) :])

    def _release(self):
        """Hold free variables that ended on a bound."""
        for v in self.free.members.copy():
            for bound, place in ((self.lo, LOWER), (self.hi, UPPER)):
                if self.place[v] == FREE and abs(self.beta[v] - bound[v]) <= self.tiny_beta:
                    self.place[v], self.beta[v] = place, bound[v]
                    self.free.remove(v)


def centre_offsets(programme: Programme, point: Point) -> None:
    """Put multipliers of groups without free variables into the middle of their interval."""
    for group in range(programme.n_groups):
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

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
# Bounds that are watched beside as many as there are free variables.
WATCHED = 100
# Shares of the size of gradients by which ties are torn apart, in this order; and by which the
# conditions of optimality may be violated afterwards.
TEARS, CERTAIN = (1e-7, 1e-6, 1e-5, 1e-8), 1e-11
# What is left of the way when the next events can only be rounding.
THERE = 1e-12
# Errors of gradients, relative to products, that are not worth a correction.
ROUNDING = 1e-15


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
    if start.near is not None:
        walk = _Walk(programme, start, motion, start.near)
        point = walk.run()
        if point.complete and not walk.lost and walk.overlooked() <= CERTAIN:
            return point
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

    def __init__(self, programme, start, motion, watched=None):
        self.programme, self.motion, self.start = programme, motion, start
        self.time, self.events, self.complete = 0.0, 0, True
        self.lost = False
        self.beta, self.place = start.beta.copy(), start.place.copy()
        self.offset = start.offset.copy()
        self.free = start.free.copy()
        self.p, self.lo, self.hi = programme.p, programme.lo, programme.hi
        self.speed = self._bound_speeds()
        self._let_go()
        # What the variables that are not free do to everything else.
        self.drift = self._products_of(self.speed, 1.0)
        self.need = motion.dc - programme.sums(self.speed)
        self.tiny_beta = ON_BOUND * programme.size
        self._watch(near(programme, start, everything=True) if watched is None else watched)

    def _watch(self, watched):
        programme, variables = self.programme, watched.variables
        self.watched = watched
        self.group = programme.group[variables]
        products = self.start.products[programme.row[variables]]
        self.g = products + self.offset[self.group] - self.p[variables]
        side = self.place[variables].astype(np.float64)
        self.side = np.where(np.abs(side) == 1, side, 0.0)

    def _bound_speeds(self):
        """Speed of each variable that is held by a bound, or driven, (N,)."""
        speed = np.zeros(len(self.beta))
        for bound, where in ((self.motion.dlo, LOWER), (self.motion.dhi, UPPER)):
            if bound is not None:
                speed[self.place == where] = bound[self.place == where]
        speed[self.motion.gone] = -self.beta[self.motion.gone]
        return speed

    def _products_of(self, change, time):
        """``K change``; what bounds do that grow together over that time is known together."""
        growth, start = self.motion.growth, self.start
        if growth is None or start.held is None:
            return self.free.products_of(change)
        factor = np.select([start.place == LOWER, start.place == UPPER], list(growth), 0.0)
        together = time * (np.asarray(growth) @ start.held)
        rest = change - time * factor * start.beta
        rest[np.abs(rest) <= ROUNDING * np.abs(start.beta)] = 0.0
        return together + self.free.products_of(rest)

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
        if len(self.free.groups) == self.programme.n_groups:
            return
        for group in range(self.programme.n_groups):
            need = self.need[group]
            if group in self.free.groups or abs(need) * (1.0 - self.time) <= self.tiny_beta:
                continue
            # What has to grow comes from the lower bounds, what has to shrink from the upper.
            side = LOWER if need > 0 else UPPER
            able = np.flatnonzero((self.group == group) & (self.side == side))
            variables = self.watched.variables[able]
            able = able[self.hi[variables] > self.lo[variables]]
            if not len(able):
                self.complete = False
                return
            first = able[np.argmin(side * self.g[able])]
            shift = self.g[first]
            self.offset[group] -= shift
            self.g[self.group == group] -= shift
            self._enter(int(self.watched.variables[first]))

    def _direction(self):
        """Speeds of the free variables, of the multipliers, and of what is watched."""
        programme, free, watched = self.programme, self.free, self.watched
        members, groups = free.members, free.groups
        pull = -self.drift[programme.row[members]]
        if self.motion.dp is not None:
            pull += self.motion.dp[members]
        solution = free.solve(np.concatenate([self.need[groups], pull]))
        d_offset = np.zeros(programme.n_groups)
        d_offset[groups] = solution[: len(groups)]
        d_beta = solution[len(groups) :]
        d_products = self.drift[watched.rows] + free.products(d_beta, watched.rows, watched.base)
        rise = d_products[watched.row] + d_offset[self.group]
        if self.motion.dp is not None:
            rise -= self.motion.dp[watched.variables]
        return d_beta, d_offset, rise

    def _first_event(self, direction):
        """The step to the first event, and the variable and the place where it goes."""
        d_beta, _, rise = direction
        best, event = 1.0 - self.time, None
        step, first, place = self._step_to_bounds(d_beta)
        if step < best:
            best, event = step, (int(self.free.members[first]), place)
        closing = self.side * rise
        coming = np.flatnonzero(closing < -STILL * np.abs(rise).max(initial=0.0))
        if len(coming):
            room = np.maximum(self.side[coming] * self.g[coming], 0.0)
            steps = room / -closing[coming]
            first = np.argmin(steps)
            if steps[first] < best:
                best, event = steps[first], (int(self.watched.variables[coming[first]]), FREE)
        return best, event

    def _step_to_bounds(self, d_beta, *, resting=False):
        """Step to the first bound that a free variable meets, which one, and which bound.

        Bounds move as they do, or are at rest.
        """
        members = self.free.members
        if not len(members):
            return np.inf, -1, FREE
        still = STILL * np.abs(d_beta).max()
        if resting or self.motion.dlo is None:
            steps, upward = self._room_over(d_beta, members, d_beta > 0, still)
        else:
            steps, upward = self._room_over(
                d_beta - self.motion.dhi[members], members, True, still
            )
            below, _ = self._room_over(d_beta - self.motion.dlo[members], members, False, still)
            upward = steps < below
            steps = np.minimum(steps, below)
        first = int(np.argmin(steps))
        return steps[first], first, UPPER if upward[first] else LOWER

    def _room_over(self, closing, members, upward, still):
        """Steps to the upper or lower bounds at these speeds relative to them; inf if parting."""
        beta = self.beta[members]
        room = np.where(upward, self.hi[members] - beta, beta - self.lo[members])
        speed = np.where(upward, closing, -closing)
        meets = speed > still
        steps = np.full(len(members), np.inf)
        np.divide(np.maximum(room, 0.0), speed, out=steps, where=meets)
        return steps, upward

    def _advance(self, direction, step):
        d_beta, d_offset, rise = direction
        members = self.free.members
        self.beta += step * self.speed
        self.beta[members] += step * d_beta
        self.offset += step * d_offset
        self.g += step * rise
        self.time = 1.0 if step >= 1.0 - self.time else self.time + step
        if self.motion.dp is not None:
            self.p = self.p + step * self.motion.dp
        if self.motion.dlo is not None:
            self.lo = self.lo + step * self.motion.dlo
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
        self.beta[v] = bounds[v]
        self._put(v, place)
        if speeds is not None:
            self._carry(v, speeds[v])

    def _put(self, v, place):
        self.place[v] = place
        at = self.watched.place_of[v]
        if at >= 0:
            self.side[at] = place  # 0 where it is free

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
        self._put(v, FREE)
        self.free.add(v, weights, square)

    def _exchange(self, v, weights):
        """Move v and the free variables it is a combination of, which changes no gradient.

        Up to where one of them meets a bound; whether v did.
        """
        members, n_groups = self.free.members.copy(), len(self.free.groups)
        inward = float(self.place[v])
        d_beta = -inward * weights[n_groups:]
        d_beta[np.abs(d_beta) < NO_SHARE * np.abs(d_beta).max(initial=1.0)] = 0.0
        step, first, place = self._step_to_bounds(d_beta, resting=True)
        across = self.hi[v] - self.lo[v]
        length = min(across, step)
        self.beta[members] += length * d_beta
        self.beta[v] += length * inward
        # Nothing but rounding, which coefficients must not be told without their gradients.
        watched, row = self.watched, self.programme.row[v]
        moved = self.free.products(d_beta, watched.rows, watched.base)
        moved += inward * self.programme.kernel.row(int(row))[watched.rows]
        d_offset = np.zeros(self.programme.n_groups)
        d_offset[self.free.groups] = -inward * weights[:n_groups]
        self.offset += length * d_offset
        self.g += length * (moved[watched.row] + d_offset[self.group])
        if step >= across:
            self._hold(v, UPPER if inward > 0 else LOWER)
            return True
        self._meet((int(members[first]), place))
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

    def overlooked(self):
        """Largest violation among what was not watched, relative to the size of gradients."""
        watched, programme = self.watched, self.programme
        others = watched.others
        g = self.products[programme.row[others]] + self.offset[programme.group[others]]
        wrong = watched.side * (self.p[others] - g)
        # Rows that were driven out have no gradient to keep.
        wrong[self.place[others] == GONE] = 0.0
        return max(wrong.max(initial=0.0), 0.0) / (watched.size or 1.0)

    def _settled(self):
        moved = self._products_of(self.beta - self.start.beta, self.time)
        self.products = self.start.products + moved
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
        members, groups = free.members.copy(), free.groups
        if not len(members):
            return
        unmet = programme.c + self.motion.dc - programme.sums(self.beta)
        g = self.products[programme.row[members]] + self.offset[programme.group[members]]
        wrong = np.concatenate([unmet[groups], self.p[members] - g])
        if np.abs(wrong).max() <= ROUNDING * np.abs(self.products).max():
            return
        solution = free.solve(wrong)
        self.offset[groups] += solution[: len(groups)]
        self.beta[members] += solution[len(groups) :]
        self.products += free.products(solution[len(groups) :])

    def _release(self):
        """Hold free variables that ended on a bound."""
        members = self.free.members.copy()
        beta, lo, hi = self.beta[members], self.lo[members], self.hi[members]
        for bound, place, bounds in ((lo, LOWER, self.lo), (hi, UPPER, self.hi)):
            for v in members[np.abs(beta - bound) <= self.tiny_beta].tolist():
                self.place[v], self.beta[v] = place, bounds[v]
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

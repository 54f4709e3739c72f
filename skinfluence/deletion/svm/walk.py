"""From event to event on the way of an optimum."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skinfluence.deletion.svm.point import (
    FREE,
    GONE,
    LOWER,
    UPPER,
    Near,
    Point,
    centre_offsets,
    near,
)
from skinfluence.deletion.svm.programme import Motion, Programme

# Speeds below this share of the largest one are rounding.
STILL = 1e-12
# The same for shares in a combination of free variables, which are solutions of a system.
NO_SHARE = 1e-8
# Distances from a bound, relative to the widest box, that are rounding.
ON_BOUND = 1e-12
# Events without progress after which ties are taken to go round in circles, and events at all,
# relative to the number of variables.
STANDSTILL, PATIENCE = 12, 20
# What is left of the way when the next events can only be rounding.
THERE = 1e-12
# Errors of gradients, relative to products, that are not worth a correction.
ROUNDING = 1e-15


class Walk:
    """One run along the optimum of a programme that moves.

    Parameters
    ----------
    programme : Programme
    start : Point
    motion : Motion
    watched : Near, default=None
        None to watch every bound.

    Attributes
    ----------
    lost : bool
        Whether it went round in circles.
    complete : bool
        Whether the programme has a solution to the end.
    """

    def __init__(
        self, programme: Programme, start: Point, motion: Motion, watched: Near | None = None
    ):
        self.programme, self.motion, self.start = programme, motion, start
        self.time, self.events, self.complete = 0.0, 0, True
        self.lost = False
        self.beta, self.place = start.beta.copy(), start.place.copy()
        self.offset = start.offset.copy()
        self.free = start.free.copy()
        self.p, self.lo, self.hi = programme.p, programme.lo, programme.hi
        self._opening = _opening(motion, len(self.beta))
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

    def run(self, *, to_the_end: bool = False) -> Point:
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
        if len(self.free.groups) == self.programme.n_sums:
            return
        for group in range(self.programme.n_sums):
            need = self.need[group]
            if group in self.free.groups or abs(need) * (1.0 - self.time) <= self.tiny_beta:
                continue
            # What has to grow comes from the lower bounds, what has to shrink from the upper.
            side = LOWER if need > 0 else UPPER
            able = np.flatnonzero((self.group == group) & (self.side == side))
            variables = self.watched.variables[able]
            able = able[(self.hi > self.lo)[variables] | self._opening[variables]]
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
        d_lo, d_hi = self.motion.dlo, self.motion.dhi
        if resting or d_lo is None or d_hi is None:
            steps, upward = self._room_over(d_beta, members, d_beta > 0, still)
        else:
            steps, _ = self._room_over(d_beta - d_hi[members], members, True, still)
            below, _ = self._room_over(d_beta - d_lo[members], members, False, still)
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

    def reached(self) -> Programme:
        """The programme as it is now."""
        return replace(
            self.programme,
            p=self.p,
            lo=self.lo,
            hi=self.hi,
            c=self.programme.c + self.motion.dc,
        )

    def overlooked(self) -> float:
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
        unmet = programme.unmet(self.beta, programme.c + self.motion.dc)
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


def _opening(motion, n):
    """Which variables have boxes that grow, and may take part although they are empty yet."""
    if motion.dlo is None or motion.dhi is None:
        return np.zeros(n, dtype=bool)
    return motion.dhi > motion.dlo

"""Many paths from one optimum at once, event by event together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skinfluence.deletion.svm.point import FREE, LOWER, UPPER
from skinfluence.deletion.svm.programme import Motion
from skinfluence.deletion.svm.tableau import Tableau
from skinfluence.deletion.svm.walk import ON_BOUND

# Events after which a path is left to a walk of its own, and those without progress.
EVENTS, STANDSTILL = 64, 6
# Speeds below this share of the largest are rounding; so are pivots, of the kernel's size.
STILL, PIVOT = 1e-12, 1e-11
# Shares of the size of gradients, and of boxes, by which an optimum may violate its conditions.
CERTAIN, INSIDE = 1e-11, 1e-10
# Share of the paths that have ended when these are put aside.
ENDED = 0.3
# State that belongs to the paths that are under way.
_UNDER_WAY = (
    "path",
    "time",
    "x",
    "g",
    "side",
    "free",
    "h",
    "still",
    "diagonal",
    "pivots",
    "scale",
)


class Paths:
    """Paths of several motions from one point.

    An event of a path is a pivot of its tableau, which changes that by a matrix of rank one. All
    paths share the tableau of the start and keep a vector an event, so that a direction costs a
    column of it and a few products of vectors, and all paths take their steps in the same
    operations on arrays. What rounding has added up is taken out at the end, where the conditions
    of optimality are checked for all variables. A path that does not satisfy them, or that meets a
    tie, is `lost`: :func:`~skinfluence.deletion.svm.path.follow` takes more care.

    Parameters
    ----------
    tableau : Tableau
    motions : sequence of Motion
        Even ones.

    Attributes
    ----------
    beta : ndarray of shape (n, b)
        Change of the coefficients of the rows.
    offset : ndarray of shape (n_groups, b)
        Change of the multipliers.
    lost : ndarray of bool of shape (b,)
    events : ndarray of int of shape (b,)
    """

    def __init__(self, tableau: Tableau, motions: Sequence[Motion]):
        self.tableau, self.motions = tableau, motions
        point, watched, b = tableau.point, tableau.variables, len(motions)
        self.fade = np.array([motion.fade for motion in motions])
        self.growth = np.array([motion.growth or (0.0, 0.0) for motion in motions])
        self.grows = bool(self.growth.any())
        self.dc = np.array([motion.dc for motion in motions])[:, : tableau.k]
        self.lo, self.hi = tableau.programme.lo[watched], tableau.programme.hi[watched]
        self.start = np.concatenate([point.offset[: tableau.k], point.beta[watched]])
        self.lost, self.events = np.zeros(b, dtype=bool), np.zeros(b, dtype=np.intp)
        self._begin(b)
        self._drive()
        self.ends, self.places = np.tile(self.start, (b, 1)), self.side.copy()
        while len(self.path):
            self._step()
            ended = self.time >= 1.0
            if ended.sum() > ENDED * len(ended) or ended.all():
                self._retire(ended)
        self._finish()

    # -- the start --------------------------------------------------------------------------------

    def _begin(self, b):
        tableau = self.tableau
        size = len(tableau.T)
        self.path, self.time, self.still = np.arange(b), np.zeros(b), np.zeros(b, dtype=np.intp)
        self.x, self.g = np.tile(self.start, (b, 1)), np.tile(tableau.g, (b, 1))
        self.side = np.tile(tableau.point.place[tableau.variables].astype(np.float64), (b, 1))
        self.free = self.side == FREE
        self.pivots, self.scale = np.zeros((b, 8, size)), np.zeros((b, 8))
        self.diagonal, self.n_pivots = np.zeros((b, size)), 0
        self.h = np.outer(self.fade, tableau.fading) + self.dc @ tableau.T[: tableau.k]
        if self.grows:
            self.h += self.growth @ tableau.growing

    def _drive(self):
        """What is driven to 0 leaves its place, and everything else answers."""
        tableau, point = self.tableau, self.tableau.point
        b = len(self.path)
        self.driven, self.speed = np.full(b, -1), np.zeros(b)
        for j, motion in enumerate(self.motions):
            at = tableau.place_of[motion.gone]
            self.side[j, at[at >= 0]] = 0.0
            moving = motion.gone[point.beta[motion.gone] != 0.0]
            self.lost[j] = len(moving) > 1
            if len(moving) == 1:
                self.driven[j] = v = moving[0]
                # Where bounds grow, what is on them is counted already.
                self.speed[j] = -point.beta[v] * (1.0 + self._growth_of(j, point.place[v]))
        place = np.where(self.driven >= 0, tableau.place_of[self.driven], -2)
        self._drive_inside(np.flatnonzero(place >= 0), place)
        self._drive_outside(np.flatnonzero(place == -1))
        for j, motion in enumerate(self.motions):
            at = tableau.place_of[motion.gone]
            self.free[j, at[at >= 0]] = False
        self._stop(self.lost)

    def _growth_of(self, j, place):
        return 0.0 if place == FREE else self.growth[j, 0 if place == LOWER else 1]

    def _drive_inside(self, paths, place):
        at = self.tableau.k + place[paths]
        held = at < self.tableau.n_swept
        if held.any():
            self._pivot(paths[held], at[held], np.full(held.sum(), -1.0))
        self.h[paths] += self.speed[paths, None] * self._column(paths, at)

    def _drive_outside(self, paths):
        self.outside, programme = paths, self.tableau.programme
        self.outside_rows = programme.row[self.driven[paths]]
        if len(paths):
            answers = self.tableau.outside(self.driven[paths])
            self.h[paths] += self.speed[paths, None] * answers

    # -- steps ------------------------------------------------------------------------------------

    def _stop(self, which):
        self.time[which], self.h[which] = 1.0, 0.0

    def _bounds(self, time):
        """Lower and upper bounds of the watched variables at a time of each path."""
        if not self.grows:
            return self.lo, self.hi
        grown = 1.0 + time[:, None] * self.growth[self.path]
        return grown[:, :1] * self.lo, grown[:, 1:] * self.hi

    def _bound_speeds(self):
        rates = self.growth[self.path]
        return rates[:, :1] * self.lo, rates[:, 1:] * self.hi

    def _step(self):
        step, at, up = self._first_event()
        k, h = self.tableau.k, self.h
        moved = step[:, None] * h
        self.x[:, :k] -= moved[:, :k]
        np.subtract(self.x[:, k:], moved[:, k:], out=self.x[:, k:], where=self.free)
        np.add(self.g, moved[:, k:], out=self.g, where=~self.free)
        self.time = np.where(at < 0, 1.0, self.time + step)
        h[at < 0] = 0.0
        met = np.flatnonzero(at >= 0)
        self.still[met] = np.where(step[met] > 0, 0, self.still[met] + 1)
        self.events[self.path[met]] += 1
        if len(met):
            self._meet(met, at[met], up[met])
        spent = self.events[self.path] > EVENTS
        lost = (self.still > STANDSTILL) | spent | self.lost[self.path]
        self.lost[self.path[lost]] = True
        self._stop(lost)

    def _first_event(self):
        """Step to the first event of each path, its variable or -1, and whether upwards."""
        k, ones = self.tableau.k, np.arange(len(self.path))
        h, beta, free = self.h[:, k:], self.x[:, k:], self.free
        lo, hi = self._bounds(self.time)
        up = h < 0
        size = np.abs(h)
        still = STILL * np.where(
            free,
            size.max(axis=1, initial=0.0, where=free)[:, None],
            size.max(axis=1, initial=0.0, where=~free)[:, None],
        )
        if self.grows:
            d_lo, d_hi = self._bound_speeds()
            above, below = -h - d_hi, d_lo + h
            with np.errstate(divide="ignore", invalid="ignore"):
                to_hi = np.where(above > still, np.maximum(hi - beta, 0.0) / above, np.inf)
                to_lo = np.where(below > still, np.maximum(beta - lo, 0.0) / below, np.inf)
            up, steps = to_hi < to_lo, np.minimum(to_hi, to_lo)
            room, closing = np.maximum(self.side * self.g, 0.0), -self.side * h
            steps[~free] = np.inf
            np.divide(room, closing, out=steps, where=~free & (closing > still))
        else:
            room = np.where(free, np.where(up, hi - beta, beta - lo), self.side * self.g)
            closing = np.where(free, size, -self.side * h)
            steps = np.full(h.shape, np.inf)
            np.divide(np.maximum(room, 0.0), closing, out=steps, where=closing > still)
        at = np.argmin(steps, axis=1)
        step, left = steps[ones, at], 1.0 - self.time
        return np.minimum(step, left), np.where(step < left, at, -1), up[ones, at]

    def _meet(self, met, at, up):
        """Free variables `at` that met a bound leave the free set, others enter it."""
        k = self.tableau.k
        leaving = self.free[met, at]
        side = np.where(leaving, np.where(up, UPPER, LOWER), self.side[met, at]).astype(int)
        if self.grows:
            lower = side == LOWER
            rate = np.where(lower, self.growth[self.path[met], 0], self.growth[self.path[met], 1])
            bound = np.where(lower, self.lo[at], self.hi[at])
            self.x[met, k + at] = bound * (1.0 + rate * self.time[met])
            speed = rate * bound
            entering = np.where(leaving, 0.0, speed)
            self.h[met] -= entering[:, None] * self._column(met, k + at)
        self._pivot(met, k + at, np.where(leaving, -1.0, 1.0))
        if self.grows:
            held = np.where(leaving, speed, 0.0)
            self.h[met] += held[:, None] * self._column(met, k + at)
        self.side[met, at], self.free[met, at] = np.where(leaving, side, 0.0), ~leaving
        self.g[met, at] = 0.0

    # -- pivots -----------------------------------------------------------------------------------

    def _column(self, paths, at):
        """Column `at` of each path's own tableau, (len(paths), k + v)."""
        column = self.tableau.T[at]
        if self.n_pivots:
            own = self.pivots[paths, : self.n_pivots]
            share = np.take_along_axis(own, at[:, None, None], axis=2)[:, :, 0]
            share *= self.scale[paths, : self.n_pivots]
            column -= (share[:, None, :] @ own)[:, 0]
        column[np.arange(len(at)), at] += self.diagonal[paths, at]
        return column

    def _pivot(self, paths, at, sign):
        """Exchange x and r of variable `at`: into what is swept with sign 1, out of it with -1."""
        column, ones = self._column(paths, at), np.arange(len(paths))
        pivot = column[ones, at]
        size = self.tableau.programme.kernel.largest
        # Of a combination of free variables, or of the last one of a sum.
        bad = sign * pivot * np.where(sign > 0, 1.0 / size, size) < PIVOT
        self.lost[self.path[paths[bad]]] = True
        pivot = np.where(bad, sign, pivot)
        share = self.h[paths, at] / pivot
        self.h[paths] -= share[:, None] * column
        self.h[paths, at] = sign * share
        column[ones, at] = pivot - sign
        if self.n_pivots == self.pivots.shape[1]:
            self.pivots = np.concatenate([self.pivots, np.zeros_like(self.pivots)], axis=1)
            self.scale = np.concatenate([self.scale, np.zeros_like(self.scale)], axis=1)
        self.pivots[paths, self.n_pivots], self.scale[paths, self.n_pivots] = column, 1.0 / pivot
        self.n_pivots += 1
        self.diagonal[paths, at] -= 2.0 * sign

    # -- the end ----------------------------------------------------------------------------------

    def _retire(self, ended):
        """Put paths aside that have ended, their rounding taken out."""
        k = self.tableau.k
        lo, hi = self._bounds(np.ones(len(self.path)))
        at_bound = np.where(self.side == LOWER, lo, np.where(self.side == UPPER, hi, 0.0))
        self.x[:, k:] = np.where(self.free, self.x[:, k:], at_bound)
        done = np.flatnonzero(ended)
        self._correct(done)
        self.ends[self.path[done]] = self.x[done]
        self.places[self.path[done]] = np.where(self.free[done], 0.0, self.side[done])
        for name in _UNDER_WAY:
            setattr(self, name, getattr(self, name)[~ended])

    def _correct(self, done):
        """One step of refinement of the system of the free variables."""
        tableau, k = self.tableau, self.tableau.k
        path, x = self.path[done], self.x[done]
        rest = self._rest(path, x)
        products = tableau.products + self._on_rows(rest) @ tableau.kernel
        products += self.growth[path] @ tableau.held + self._products_outside(path, tableau.rows)
        targets = (1.0 - self.fade[path])[:, None] * tableau.targets
        g = products[:, tableau.row] + tableau.offsets(self._all_offsets(x)) - targets
        wrong = np.hstack([self._sums(path, rest), np.where(self.free[done], g, 0.0)])
        own = self.pivots[done, : self.n_pivots]
        share = (own @ wrong[:, :, None])[:, :, 0] * self.scale[done, : self.n_pivots]
        change = wrong @ tableau.T - (share[:, None, :] @ own)[:, 0] + self.diagonal[done] * wrong
        change[:, k:] *= self.free[done]
        self.x[done] = x + change

    def _rest(self, path, x):
        """Change of the watched coefficients beside that of bounds that grow, (len(path), v)."""
        k = self.tableau.k
        rest = x[:, k:] - self.start[k:]
        if self.grows:
            place = self.tableau.point.place[self.tableau.variables]
            grown = np.stack(
                [np.where(place == end, self.start[k:], 0.0) for end in (LOWER, UPPER)]
            )
            rest -= self.growth[path] @ grown
        return rest

    def _on_rows(self, rest):
        rows, row = self.tableau.rows, self.tableau.row
        if len(rows) == len(row):
            found = np.empty_like(rest)
            found[:, row] = rest
            return found
        found = np.zeros((len(rest), len(rows)))
        np.add.at(found.T, row, rest.T)
        return found

    def _all_offsets(self, x):
        offset = np.zeros((len(x), self.tableau.programme.n_groups))
        offset[:, : self.tableau.k] = x[:, : self.tableau.k]
        return offset

    def _sums(self, path, rest):
        """By how much sums are exceeded, (len(path), k)."""
        tableau = self.tableau
        total = rest @ tableau.border(tableau.variables).T + self.growth[path] @ tableau.sums
        out = np.isin(path, self.outside)
        total[out] += self.speed[path[out], None] * tableau.border(self.driven[path[out]]).T
        return total - self.dc[path]

    def _products_outside(self, path, rows=None):
        """What variables that are not watched did to products, when driven to 0."""
        n = self.tableau.programme.kernel.n if rows is None else len(rows)
        total = np.zeros((len(path), n))
        own = np.flatnonzero(np.isin(path, self.outside))
        if len(own):
            driven = self.driven[path[own]]
            kernel = self.tableau.programme.kernel.rows(self.tableau.programme.row[driven])
            kernel = kernel if rows is None else kernel[:, rows]
            total[own] = self.speed[path[own], None] * kernel
        return total

    def _finish(self):
        """Changes of all rows; and whether the conditions of optimality hold for all variables."""
        tableau, programme, point = self.tableau, self.tableau.programme, self.tableau.point
        path = np.arange(len(self.ends))
        rest = self._rest(path, self.ends)
        on_rows = self._on_rows(rest)
        self.beta = np.zeros((programme.kernel.n, len(path)))
        self.beta[tableau.rows] = on_rows.T
        self.beta[self.outside_rows, self.outside] += self.speed[self.outside]
        products = point.products + programme.kernel.mixed(tableau.rows, on_rows)
        products += self._products_outside(path)
        if self.grows:
            held = [np.where(point.place == end, point.beta, 0.0) for end in (LOWER, UPPER)]
            self.beta += np.stack([programme.on_rows(own) for own in held], axis=1) @ self.growth.T
            products += self.growth @ point.held
        offset = self._all_offsets(self.ends)
        self.offset = offset.T - point.offset[:, None] * programme.summed
        exceeded = np.abs(self._sums(path, rest)).max(axis=1, initial=0.0)
        outside_box = self._outside_boxes()
        g = products[:, programme.row] + offset[:, programme.group]
        g -= (1.0 - self.fade)[:, None] * programme.p
        wrong = self._violations(g)
        worst = np.maximum(exceeded, wrong)
        self.lost |= ~(worst <= CERTAIN * tableau.size)
        self.lost |= ~(outside_box <= INSIDE * programme.size)
        self.lost |= self._unheld()

    def _outside_boxes(self):
        self.path = np.arange(len(self.ends))
        lo, hi = self._bounds(np.ones(len(self.ends)))
        beta = self.ends[:, self.tableau.k :]
        out = np.maximum(lo - beta, beta - hi)
        out[self._gone()] = 0.0
        return out.max(axis=1, initial=0.0)

    def _unheld(self):
        """Paths that end with no free variable in a sum, whose multiplier has an interval then."""
        tableau = self.tableau
        lo, hi = self._bounds(np.ones(len(self.ends)))
        beta, tiny = self.ends[:, tableau.k :], ON_BOUND * tableau.programme.size
        inside = (self.places == FREE) & ~self._gone()
        inside &= (beta - lo > tiny) & (hi - beta > tiny)
        return ~(inside @ tableau.border(tableau.variables).T > 0).all(axis=1)

    def _gone(self):
        """Which watched variables are driven, (b, v)."""
        gone = np.zeros((len(self.ends), len(self.lo)), dtype=bool)
        for j, motion in enumerate(self.motions):
            at = self.tableau.place_of[motion.gone]
            gone[j, at[at >= 0]] = True
        return gone

    def _violations(self, g):
        place = self.tableau.point.place
        other = np.flatnonzero(self.tableau.place_of < 0)
        wrong = -place[other] * g[:, other]
        place_in = {int(v): j for j, v in enumerate(other)} if len(self.outside) else {}
        for j, motion in enumerate(self.motions):
            for v in motion.gone:
                if int(v) in place_in:
                    wrong[j, place_in[int(v)]] = 0.0
        near = g[:, self.tableau.variables]
        near = np.where(self.places == 0.0, np.abs(near), -self.places * near)
        near[self._gone()] = 0.0
        return np.maximum(wrong.max(axis=1, initial=0.0), near.max(axis=1, initial=0.0))

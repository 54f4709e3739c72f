"""The models without each row: one class a method."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from skinfluence import _loops

from .equation import damped, one_step, residual, statistic_size
from .implicit import Propagation
from .refit import BURST, finish, sweep
from .sample import Rows, Sample, log_ratio
from .statistics import Array, Index, Mask

_REFINED = 0.05  # share of the rows whose implicit step is replaced by a refit
_CONTRACTION = 0.2  # sound steps shrink by more than this
_SMALL_STEP = 1e-2  # of the whole change: a step below does not matter
_FAR = 1e4  # squared standard deviations to the nearest component
_TINY = 1e-8  # an implicit step followed by a smaller one needs no refit
_ADDED_SWEEPS = 2  # chord steps that improve the implicit step of an addition
_LONG = 2**21  # products of one E step from which a thousand of them take minutes
_CHECKS = 2**31  # products that one E step per deletion may cost
_REFITS = 2**31  # products of one E step of all refits; each takes some hundred E steps
_BURSTS = 2**34  # products that bursts of EM steps may cost
BATCH = 256  # deletions that share an E step


class OneStep:
    """One EM step without the row. With hard responsibilities: the well-separated closed form.

    Attributes
    ----------
    flags : (n,) bool
        Rows whose deletion is less certain than the others'.
    frail : (n,) bool
        Those of them without which a component dies or loses a dimension.
    self_change : (n,)
        Self influence, a by-product of finding the flags.
    refitted : (n_refitted,) int
        Rows whose model is the limit of EM.
    n_checked : int
        Rows whose implicit step was checked by E steps.
    condition : float
        Reciprocal condition of I - (rate of EM), where it was needed.
    """

    condition = 1.0
    n_checked = 0

    def __init__(
        self, sample: Sample, row_block: int, budget: float, progress: bool = False
    ) -> None:
        self.sample, self.frame = sample, sample.frame
        self.row_block, self.budget, self.progress = row_block, budget, progress
        self.flags = np.zeros(len(sample.X), dtype=bool)
        self.frail = np.zeros(len(sample.X), dtype=bool)
        self.self_change = np.empty(len(sample.X))
        self.refitted: Index = np.empty(0, dtype=np.intp)
        self._prepare()

    def _prepare(self) -> None:
        self._first_steps()

    def step(self, rows: Rows) -> tuple[Array, Mask]:
        """dT of the first step, and where it had to be halved."""
        return one_step(self.sample, rows), np.zeros(rows.size, dtype=bool)

    def deleted(self, rows: slice) -> tuple[Rows, Array]:
        """Training rows and the changes dT that their deletion makes."""
        mine = self.sample.rows(rows)
        return mine, self.step(mine)[0]

    def added(self, rows: Rows, X: Array) -> tuple[Array, Mask]:
        """Changes dT that adding each of `rows`, coordinates X, makes, and which are sound."""
        return self.step(rows)[0], np.ones(rows.size, dtype=bool)

    def _first_steps(self) -> Array:
        """Judge every first step, and return its size (inf where it was halved)."""
        size = np.empty(len(self.flags))
        for block in self.sample.blocks(self.row_block):
            rows = self.sample.rows(block)
            dT, halved = self.step(rows)
            self._judge(block, rows, dT, ~halved)
            size[block] = np.where(halved, np.inf, statistic_size(self.sample, dT))
        return size

    def _judge(self, where: slice | Index, rows: Rows, dT: Array, sound: Mask) -> None:
        """Flag models that are not `sound` or frail, and evaluate each at its own row."""
        eta, _, frail = self.frame.natural(dT, rows.known)
        self.frail[where] = frail
        self.flags[where] = frail | ~sound
        self.self_change[where] = -log_ratio(rows.log_r, rows.change(eta))


class Implicit(OneStep):
    """Newton steps of the deletion equation, and refits where they do not serve.

    Two further steps, at the price of an E step a row each, bring sound deletions to their limit
    and find the others: the steps of a sound deletion shrink fast. Where they do not, the
    deletion tips EM towards another optimum, which only a refit finds. Nearly all of the error of
    the first step sits in those few rows. The worst 5 % are refitted in any case. In models so
    large, or with so many such rows, that this would take minutes, the refits that are not done
    in time are given up and their rows flagged.
    """

    sweeps = 20
    rounds = 7  # bursts of 48, 96, ... EM steps for rows that tip

    def __init__(
        self, sample: Sample, row_block: int, budget: float, progress: bool = False
    ) -> None:
        self.propagation = Propagation(sample)
        self.condition = self.propagation.condition
        self._rows: Index = np.empty(0, dtype=np.intp)
        self._kept = np.empty((sample.frame.n_components, sample.frame.n_stats, 0))
        super().__init__(sample, row_block, budget, progress)

    def _prepare(self) -> None:
        n = len(self.flags)
        size = self._first_steps()
        products = n * self.frame.n_components * self.frame.n_features_out
        self.n_checked = int(np.clip(_CHECKS // products, 1, n))
        if products > _LONG:
            self.sweeps, self.rounds = 5, 0
        self._keep(np.sort(np.argsort(-size, kind="stable")[: self.n_checked]))
        doubtful, worst = self._improve()
        most = max(1, _REFITS // products)  # by position: which ones EM is slow for is not known
        self.flags[self._rows[doubtful[most:]]] = True
        self._to_limit(np.sort(np.concatenate([doubtful, worst])[:most]))

    def step(self, rows: Rows) -> tuple[Array, Mask]:
        return damped(self.sample, rows, self.propagation.step(rows))

    def deleted(self, rows: slice) -> tuple[Rows, Array]:
        start, stop, _ = rows.indices(len(self.flags))
        first, last = np.searchsorted(self._rows, [start, stop])
        if last - first == stop - start:
            return self.sample.rows(rows), self._kept[:, :, first:last]
        mine, dT = super().deleted(rows)
        dT[:, :, self._rows[first:last] - start] = self._kept[:, :, first:last]
        return mine, dT

    def added(self, rows: Rows, X: Array) -> tuple[Array, Mask]:
        dT, sound = super().added(rows, X)
        if self.n_checked == len(self.flags):
            dT, _ = sweep(self.sample, self.propagation, rows, dT, max_sweeps=_ADDED_SWEEPS)
        dT[:, :, self._far(rows)] = self._far_step(rows)
        return dT, sound

    def _far(self, rows: Rows) -> Mask:
        """Rows so far out that no linearisation reaches them."""
        u = rows.f[:, 1 : 1 + self.frame.n_features]
        return np.asarray(np.sum(u * u, axis=1).min(axis=0) > _FAR)

    def _far_step(self, rows: Rows) -> Array:
        # There the row's own statistics are nearly all of the change.
        return one_step(self.sample, rows)[:, :, self._far(rows)]

    def _bar(self, parts: list[slice], desc: str) -> Iterable[slice]:
        return _loops.progress_bar(parts, total=len(parts), enabled=self.progress, desc=desc)

    def _keep(self, rows: Index) -> None:
        """Keep the models without each of `rows`, starting with the implicit step."""
        self._rows = rows
        self._kept = np.empty((self.frame.n_components, self.frame.n_stats, len(rows)))
        for part in _parts(len(rows)):
            self._kept[:, :, part] = self.step(self.sample.rows(rows[part]))[0]

    def _improve(self) -> tuple[Index, Index]:
        """Take two more steps from the kept models.

        Returns which of them need a refit, and which others come off worst.
        """
        n = len(self._rows)
        last, doubtful = np.empty(n), np.empty(n, dtype=bool)
        for part in self._bar(_parts(n), "two more steps"):
            rows, dT = self.sample.rows(self._rows[part]), self._kept[:, :, part]
            first, sizes = statistic_size(self.sample, dT), []
            for _ in range(2):
                step = self.propagation.solve(rows, residual(self.sample, rows, dT)[0])
                sizes.append(statistic_size(self.sample, step))
                dT, _ = damped(self.sample, rows, dT + step)
            slow = (sizes[1] > _CONTRACTION * sizes[0]) & (sizes[1] > _SMALL_STEP * first)
            doubtful[part] = slow | self.flags[self._rows[part]]
            last[part] = sizes[1]
            # A refit starts from the first step, which did not overshoot.
            np.copyto(self._kept[:, :, part], dT, where=~doubtful[part])
            self._judge(
                self._rows[part], rows, self._kept[:, :, part], ~self.flags[self._rows[part]]
            )
        worst = np.argsort(-last, kind="stable")[: int(np.ceil(_REFINED * n))]
        return np.flatnonzero(doubtful), worst[(last[worst] > _TINY) & ~doubtful[worst]]

    def _to_limit(self, which: Index) -> None:
        """Run the kept models `which` to the limit of EM."""
        self.refitted = self._rows[which]
        for part in self._bar(_parts(len(which)), "refit"):
            rows = self._rows[which[part]]
            mine, dT = self.sample.rows(rows), self._kept[:, :, which[part]]
            done = self._limit(mine, dT, self._without(rows))
            self._kept[:, :, which[part]] = dT
            self._judge(rows, mine, dT, done)

    def _limit(self, rows: Rows, dT: Array, training: Callable[[np.intp], Array]) -> Mask:
        """Run EM to its limit from dT, in place; `training` gives the rows of each model."""
        _, done = sweep(self.sample, self.propagation, rows, dT, max_sweeps=self.sweeps)
        left = np.flatnonzero(~done)
        if len(left):
            others = [training(i) for i in left]
            rounds = self._affordable(len(left))
            limits = dT[:, :, left]
            if rows.sign > 0:  # an outlier pulls the first step far off; EM starts at the fit
                limits = one_step(self.sample, rows.take(left))
            dT[:, :, left], done[left] = finish(
                self.sample,
                rows.take(left),
                others,
                limits,
                rounds=rounds,
                budget=self.budget,
            )
        return done

    def _affordable(self, n_left: int) -> int:
        """Bursts that `n_left` models may take."""
        steps = _BURSTS / (
            n_left * len(self.sample.X) * self.frame.n_components * self.frame.n_stats
        )
        return min(self.rounds, int(np.log2(steps / BURST + 1)))

    def _without(self, rows: Index) -> Callable[[np.intp], Array]:
        return lambda i: np.delete(self.sample.X, rows[i], axis=0)


class Refit(Implicit):
    """EM run to its limit without (or with) the row, from the fitted parameters."""

    def _affordable(self, n_left: int) -> int:
        return self.rounds

    def _prepare(self) -> None:
        self._first_steps()
        every = np.arange(len(self.flags))
        self._keep(every)
        self._to_limit(every)

    def added(self, rows: Rows, X: Array) -> tuple[Array, Mask]:
        dT, far = self.step(rows)[0], self._far(rows)
        near = np.flatnonzero(~far)
        limits, sound = dT[:, :, near], ~far
        sound[near] = self._limit(
            rows.take(near), limits, lambda i: np.vstack([self.sample.X, X[near[i]]])
        )
        dT[:, :, near], dT[:, :, far] = limits, self._far_step(rows)
        return dT, sound


MODELS: dict[str, type[OneStep]] = {
    "well_separated": OneStep,
    "one_step": OneStep,
    "implicit": Implicit,
    "refit": Refit,
}


def _parts(n: int) -> list[slice]:
    return _loops.slices(n, BATCH)

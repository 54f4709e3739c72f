"""The two passes over blocks of rows, and what lies between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from scipy import linalg

from skinfluence import _loops
from skinfluence._warn import warn
from skinfluence.engines.linear.trust import LOOSE
from skinfluence.engines.sketch.measures import (
    Measures,
    SketchedProblem,
    sketched_problems,
    with_params,
)
from skinfluence.engines.sketch.sketcher import Sketcher
from skinfluence.engines.sketch.sources import Block, Source
from skinfluence.engines.sketch.totals import Totals, add_all, stationarity, totals
from skinfluence.exceptions import NotStationaryWarning

# Sizes of features so far apart that Gram matrices of their mixtures hold the largest alone.
APART = 1e6
# Variances over mean squares between which features vary, and Gram matrices hardly show it.
CONSTANT_SHARE, FAR_SHARE = 1e-14, 1e-10
# Relative difference of a sum over all rows between the passes that rounding does not make.
DIFFERENT = 1e-6


class Passes:
    """Sums over all rows, and then measures of each.

    Parameters
    ----------
    sketcher : Sketcher
    name : str
        Of the model, for messages.
    n_params : float or None, default=None
        Effective parameters of the whole fit, where the user knows them.

    Attributes
    ----------
    problems : sequence of SketchedProblem
        What follows from the sums; empty while more rows may come.
    stationarity : float
        Largest relative gradient of any problem's objective.
    """

    def __init__(self, sketcher: Sketcher, name: str, n_params: float | None = None):
        self.sketcher, self.name, self.n_params = sketcher, name, n_params
        self.problems: Sequence[SketchedProblem] = ()
        self.stationarity = np.nan
        self._found: Sequence[Totals] = ()

    @property
    def n_rows(self) -> int:
        """Number of rows that the sums hold."""
        return self._found[0].n_rows if self._found else 0

    def add(self, source: Source, **how: Any) -> None:
        """The first pass, over all rows or over more of them."""
        found = self._found
        for own in each_block(source, self._sums, "sums", **how):
            found = add_all(found, own) if found else own
        self._found, self.problems = found, ()

    def _sums(self, block):
        parts = self.sketcher.sketch(block.X, block.targets)
        pairs = zip(self.sketcher.fixed, parts, strict=True)
        return [totals(fixed, block.X, part) for fixed, part in pairs]

    def finish(self) -> None:
        """Bases of every sketch from the sums."""
        problems = sketched_problems(self.sketcher, self._found)
        self.problems = problems if self.n_params is None else with_params(problems, self.n_params)
        self.stationarity = max(stationarity(one.fixed, one.total) for one in self.problems)
        self._warn_of_scales()
        self._warn_of_far_features()
        if self.stationarity > LOOSE:
            warn(
                f"{self.name} is not at a minimum of its own objective on these rows: the "
                f"relative gradient is {self.stationarity:.1e}. Either these rows, targets or "
                "weights did not train it, or its tolerance is loose, if only for columns that "
                "few rows have, which matter little. A sketch takes the parameters as they are: "
                "pass what it was fitted on, or refit with a smaller tol.",
                NotStationaryWarning,
            )

    def _warn_of_scales(self):
        """Of features so large that the small ones are their rounding in every component."""
        for number, total in enumerate(self._found):
            if any(omega is not None for omega in self.sketcher.of(number).omegas):
                size = np.sqrt(np.einsum("pkk->pk", total.columns).clip(0.0)).max(axis=1)
                middle = np.median(size[size > 0]) if size.any() else 1.0
                if size.max() > APART * middle:
                    warn(
                        "A feature, weighted by the curvature of the loss, is "
                        f"{size.max() / middle:.0e} times as large as the median, and random "
                        "components mix them, so that the others are its rounding errors. Bring "
                        "the features to one scale (StandardScaler, MaxAbsScaler) before the "
                        "estimator.",
                        linalg.LinAlgWarning,
                    )
                    return

    def _warn_of_far_features(self):
        """Of features whose spread is rounding of where they are, and that nothing centres."""
        centred = self.sketcher.centre is not None
        for fixed, total in zip(self.sketcher.fixed, self._found, strict=True):
            if fixed.centred and centred:
                continue
            size = np.einsum("pkk->p", total.columns)
            mass = np.trace(total.mass)
            mean = np.einsum("pkk->p", total.means) ** 2 / (mass if mass > 0 else 1.0)
            spread = np.divide(size - mean, size, out=np.ones_like(size), where=size > 0)
            if ((spread > CONSTANT_SHARE) & (spread < FAR_SHARE)).any():
                warn(
                    "A feature lies 1e5 times its spread from 0 or further, and Gram matrices "
                    "lose the digits of its spread, as no free intercept over dense rows takes "
                    "its place. Centre the features (StandardScaler) before the estimator.",
                    linalg.LinAlgWarning,
                )
                return

    def measure(self, source: Source, desc: str, **how: Any) -> list[Measures]:
        """The second pass, over all rows or over some of them."""
        if not self.problems:
            self.finish()
        found = list(each_block(source, self._measures, desc, **how))
        return [Measures.joined(parts) for parts in zip(*found, strict=True)]

    def _measures(self, block):
        parts = self.sketcher.sketch(block.X, block.targets)
        return [one.measures(part) for one, part in zip(self.problems, parts, strict=True)]

    def measure_all(self, source: Source, **how: Any) -> list[Measures]:
        """The second pass over the rows of the first, which it has to meet again."""
        rows = self.measure(source, "leverages", **how)
        seen = len(rows[0].scores)
        if seen != self.n_rows:
            raise ValueError(
                f"The first pass over the blocks met {self.n_rows} rows and the second {seen}. "
                "Pass a function or an iterable that yields the same blocks each time."
            )
        for own, total in zip(rows, self._found, strict=True):
            if abs(own.slopes - total.slopes) > DIFFERENT * total.slopes:
                raise ValueError(
                    "The second pass over the blocks met other rows than the first. Pass a "
                    "function or an iterable that yields the same blocks each time: seed what "
                    "draws them."
                )
            if abs(own.moment - total.moment) > DIFFERENT * total.moment:
                raise ValueError(
                    "The second pass over the blocks met the rows in another order than the "
                    "first, so that nobody knows which row a score belongs to. Pass a function or "
                    "an iterable that yields the same blocks each time, without shuffling them."
                )
        return rows


def each_block(
    source: Source,
    function: Callable[[Block], Any],
    desc: str,
    *,
    n_jobs: int | None = None,
    progress: bool = False,
) -> Iterator[Any]:
    """Results of every block, in order; in threads where all blocks are known."""
    count = source.n_blocks()
    bar: Any = {"enabled": progress, "desc": desc, "total": count}
    if count is None:
        yield from _loops.progress_bar((function(make()) for make in source.blocks()), **bar)
        return
    results = _loops.in_threads(
        lambda make: function(make()), list(source.blocks()), n_jobs=n_jobs, one_thread=False
    )
    yield from _loops.progress_bar(results, **bar)

"""The checkpoints of one training, in order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from skinfluence.checkpoints.checkpoint import Checkpoint, OptimizerInfo
from skinfluence.checkpoints.momentum import ways


class Checkpoints(Sequence[Checkpoint]):
    """Checkpoints of one training, in the order of their steps.

    Each stands for a part of the way that the parameters went. With S the sum of the learning
    rates up to a checkpoint, its share is half of the way to each of its neighbours; what lies
    before the first belongs to the first. So the shares add up to the whole way, whichever
    checkpoints are chosen to stand for it. Half of what momentum still carries at a
    checkpoint, of gradients before it, counts there.

    A slice is the part of the training that ends with its last checkpoint; `evenly`, `at` and
    `largest_drops` choose checkpoints that stand for all of it.

    Parameters
    ----------
    checkpoints : iterable of Checkpoint
        Their steps increase.
    optimizer : OptimizerInfo or None, default=None
        What moved the parameters, if it is known.
    n_rows : int or None, default=None
        Number of training rows.
    end : mapping of str to float, or None, default=None
        S at the end of the training, by parameter; None is that of the last checkpoint.

    Attributes
    ----------
    steps : list of int
        Step of each checkpoint.
    plain : bool
        Whether the way is known and was that of gradient descent (with momentum or without), so
        that gradient products along it add up to changes of a loss. Rates that follow each
        parameter's gradients (Adam) are another matter.

    See Also
    --------
    CheckpointRecorder : Records them.
    read_checkpoints : Reads them from files.

    Examples
    --------
    >>> from skinfluence.checkpoints import Checkpoint, Checkpoints
    >>> found = Checkpoints(Checkpoint(k, {}, path={"w": 0.1 * k}) for k in (0, 10, 40))
    >>> found.shares()
    [{'w': 0.5}, {'w': 2.0}, {'w': 1.5}]
    >>> found.at([0, 40]).shares()
    [{'w': 2.0}, {'w': 2.0}]
    """

    def __init__(
        self,
        checkpoints: Iterable[Checkpoint],
        *,
        optimizer: OptimizerInfo | None = None,
        n_rows: int | None = None,
        end: Mapping[str, float] | None = None,
    ):
        self._items = tuple(checkpoints)
        self.optimizer, self.n_rows = optimizer, n_rows
        self._end = end
        _check_order(self.steps)

    @property
    def steps(self) -> list[int]:
        """Step of each checkpoint."""
        return [item.step for item in self._items]

    @property
    def plain(self) -> bool:
        """Whether the way is known and was that of gradient descent."""
        known = all(item.path is not None for item in self._items)
        return known and self.optimizer is not None and self.optimizer.name == "SGD"

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> Checkpoints: ...
    def __getitem__(self, index: int | slice) -> Checkpoint | Checkpoints:
        if isinstance(index, slice):
            return Checkpoints(self._items[index], optimizer=self.optimizer, n_rows=self.n_rows)
        return self._items[index]

    def __repr__(self) -> str:
        return f"<{described(self.steps, self.optimizer)}>"

    def shares(self) -> list[dict[str, float]]:
        """Each checkpoint's share of the way, by parameter.

        Returns
        -------
        shares : list of dict of str to float
            In the unit of the learning rates; a parameter that no optimiser moved has 0.

        Raises
        ------
        ValueError
            If no learning rates are recorded.
        """
        paths = [item.path for item in self._items]
        if not paths or any(path is None for path in paths):
            raise ValueError(
                "The learning rates of these checkpoints are not recorded, so that their shares "
                "of the way are not known. Pass learning_rates=, one for each, or record the "
                "training by CheckpointRecorder, which takes them from the optimiser."
            )
        end = (paths[-1] or {}) if self._end is None else self._end
        found: list[dict[str, float]] = [{} for _ in paths]
        for name, way in ways(self._items, self.optimizer, end).items():
            for share, value in zip(found, _trapezoid(way, end.get(name, 0.0)), strict=True):
                share[name] = float(value)
        return found

    def evenly(self, n: int) -> Checkpoints:
        """Some of them, evenly spaced, the first and the last included; of one, the last.

        Parameters
        ----------
        n : int
            How many, at most as many as there are.

        Returns
        -------
        chosen : Checkpoints
            They stand for the whole way.
        """
        self._check_number(n, len(self))
        if n == 1:
            return self._chosen([len(self) - 1])
        return self._chosen(np.linspace(0, len(self) - 1, n).round().astype(int).tolist())

    def at(self, steps: Iterable[int]) -> Checkpoints:
        """Those of some steps.

        Parameters
        ----------
        steps : iterable of int
            In any order.

        Returns
        -------
        chosen : Checkpoints
            They stand for the whole way.
        """
        wanted = sorted(set(steps))
        missing = sorted(set(wanted) - set(self.steps))
        if missing or not wanted:
            what = f"step {missing[0]} is asked for" if missing else "no step is asked for"
            raise ValueError(
                f"{what[0].upper()}{what[1:]}, and there are checkpoints of {_some(self.steps)}. "
                "Choose among these."
            )
        places = {step: k for k, step in enumerate(self.steps)}
        return self._chosen([places[step] for step in wanted])

    def largest_drops(self, n: int) -> Checkpoints:
        """Those that follow the largest drops of the recorded loss.

        Parameters
        ----------
        n : int
            How many; fewer than there are, as the first follows nothing.

        Returns
        -------
        chosen : Checkpoints
            In the order of their steps; they stand for the whole way.
        """
        losses = np.array([np.nan if c.loss is None else c.loss for c in self._items])
        drops = losses[:-1] - losses[1:]
        known = np.flatnonzero(np.isfinite(drops))
        if len(known) < len(drops) - 1 or not len(known):
            raise ValueError(
                f"The loss is recorded at {np.isfinite(losses).sum()} of {len(self)} checkpoints, "
                "and its drops are between neighbours. Pass loss= to the recorder, or choose by "
                "evenly or at."
            )
        self._check_number(n, len(known))
        # Stable, so that ties go to the earlier one.
        best = known[np.argsort(-drops[known], kind="stable")[:n]]
        return self._chosen(sorted((best + 1).tolist()))

    def replaced(self, checkpoints: Iterable[Checkpoint]) -> Checkpoints:
        """The same training with other arrays.

        Parameters
        ----------
        checkpoints : iterable of Checkpoint
            One in the place of each.

        Returns
        -------
        replaced : Checkpoints
            With the same optimiser, rows and end of the way.
        """
        return Checkpoints(
            checkpoints, optimizer=self.optimizer, n_rows=self.n_rows, end=self._end
        )

    def _check_number(self, n: int, most: int) -> None:
        if not 1 <= n <= most:
            raise ValueError(
                f"{n} checkpoints are asked for, and there are {most} to choose from. Ask for 1 "
                f"to {most}."
            )

    def _chosen(self, places: Sequence[int]) -> Checkpoints:
        end = self._end if self._end is not None else self._items[-1].path
        items = [self._items[k] for k in places]
        return Checkpoints(items, optimizer=self.optimizer, n_rows=self.n_rows, end=end)


def _trapezoid(sums: NDArray[np.float64], end: float) -> NDArray[np.float64]:
    """Half of each interval to either of its ends; what is outside, to the first and the last."""
    shares = np.zeros_like(sums)
    half = np.diff(sums) / 2
    shares[:-1] += half
    shares[1:] += half
    shares[0] += sums[0]
    shares[-1] += end - sums[-1]
    return shares


def _check_order(steps: Sequence[int]) -> None:
    for before, after in pairwise(steps):
        if after <= before:
            what = "twice" if after == before else f"after step {before}"
            raise ValueError(
                f"Checkpoint of step {after} comes {what}, and checkpoints are in the order of "
                "their training, each once. Sort them by step; names of files sort as text, "
                "where 10 comes before 9."
            )


def described(steps: Sequence[int], optimizer: OptimizerInfo | None) -> str:
    """How many checkpoints there are, by which optimiser, and from which step to which."""
    s = "" if len(steps) == 1 else "s"
    by = "" if optimizer is None else f" of {optimizer.name}"
    shown = [*map(str, steps)]
    if len(shown) > 6:
        shown[4:-1] = ["..."]
    at = f" at step{s} {', '.join(shown)}" if shown else ""
    return f"{len(steps)} checkpoint{s}{by}{at}"


def _some(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values[:8])) + (", ..." if len(values) > 8 else "")

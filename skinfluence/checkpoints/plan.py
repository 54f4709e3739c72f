"""Which steps of a training are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any


@dataclass
class Plan:
    """Every so many steps, at most so many of them, or some steps by name.

    How long a training will be is not known, so a bounded number is kept evenly by doubling the
    stride whenever there would be too many, and dropping those that are between: between half of
    the number and all of it stay.

    Parameters
    ----------
    every : int, default=1
        Steps from one checkpoint to the next.
    keep : int or None, default=None
        At most so many.
    at : frozenset of int or None, default=None
        These, and no others.
    stride : int, default=0
        The distance at present; 0 is `every`.
    """

    every: int = 1
    keep: int | None = None
    at: frozenset[int] | None = None
    stride: int = 0

    def __post_init__(self) -> None:
        self.stride = max(self.stride, self.every)

    def said(self) -> dict[str, Any]:
        """The options, as a manifest has them."""
        at = None if self.at is None else sorted(self.at)
        return {"every": self.every, "keep": self.keep, "at": at}

    def due(self, step: int, newest: int | None) -> bool:
        """Whether a step is to be kept, if `newest` was the last that is."""
        if self.at is not None:
            return step in self.at
        # By intervals, not by divisibility: steps may be looked at less often than they happen.
        return newest is None or step // self.stride > newest // self.stride

    def thinned(self, steps: Sequence[int], *, last: bool = False) -> list[int]:
        """What stays of some steps, of which the newest has just been added.

        Parameters
        ----------
        steps : sequence of int
        last : bool, default=False
            Whether the newest is the last of all, which stays in the place of the one before.
        """
        found = list(steps)
        if self.keep is None or len(found) <= self.keep:
            return found
        if last:
            return [*found[: self.keep - 1], found[-1]]
        while len(found) > self.keep:
            self.stride *= 2
            found = found[-1:] if self.keep == 1 else self._first_of_each_stride(found)
        return found

    def _first_of_each_stride(self, steps: Sequence[int]) -> list[int]:
        found: dict[int, int] = {}
        for step in steps:
            found.setdefault(step // self.stride, step)
        return list(found.values())


def make_plan(every: Any, keep: Any, at: Iterable[Any] | None) -> Plan:
    """Plan of a recorder's options."""
    check_number(every, "every", "steps")
    if keep is not None:
        check_number(keep, "keep", "checkpoints")
    if at is None:
        return Plan(int(every), None if keep is None else int(keep))
    if keep is not None or every != 1:
        raise ValueError(
            f"at= names the steps to keep, and every={every}, keep={keep} choose others. Pass "
            "either at, or every and keep."
        )
    steps: Any = list(at) if isinstance(at, Iterable) else at
    if (
        not isinstance(steps, list)
        or not steps
        or any(not isinstance(step, Integral) or step < 0 for step in steps)
    ):
        raise ValueError(
            f"at={steps!r} is no list of steps, which are numbers from 0 (before training) on. "
            "Pass some of these, e.g. at=[0, 100, 1000]."
        )
    return Plan(at=frozenset(int(step) for step in steps))


def check_number(value: Any, name: str, what: str) -> None:
    """Refuse an option that is no number of something."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"{name}={value!r} is no number of {what}, which is a whole number from 1 on. Pass "
            "one."
        )

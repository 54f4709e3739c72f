"""One computation at a time, whichever threads ask."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Found = TypeVar("Found")

# Of the process: torch's levels of forward-mode differentiation are, and the hooks that record
# layers sit on the module. Threads that shared either would fail, or mix up their rows. They
# lose nothing by waiting, as torch's operations have threads of their own. Re-entrant, because
# the losses and targets of users are called inside.
LOCK = threading.RLock()


def alone(function: Callable[Given, Found]) -> Callable[Given, Found]:
    """Let one thread at a time into a function."""

    @functools.wraps(function)
    def locked(*args: Given.args, **kwargs: Given.kwargs) -> Found:
        with LOCK:
            return function(*args, **kwargs)

    return locked


def one_by_one(found: Iterator[Found]) -> Iterator[Found]:
    """The same, of an iterator: others may go between two of its values."""
    end = object()
    while True:
        with LOCK:
            value = next(found, end)
        if value is end:
            return
        yield value  # type: ignore[misc]  # it is not the end

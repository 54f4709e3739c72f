"""Queries as the parts of a fit see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from skinfluence.objectives.design import Design

Array = NDArray[np.float64]
T = TypeVar("T")


def known(value: T | None) -> T:
    """A field of the queries that the target needs, and which is therefore there."""
    assert value is not None
    return value


@dataclass(frozen=True)
class Queries:
    """Rows in the coordinates of each part, their outputs, their targets.

    Parameters
    ----------
    designs : list of Design
        One a part.
    outputs : list of ndarray of shape (n_queries, K)
        Of the fitted model, one a part.
    targets : list of ndarray of shape (n_queries,) or (n_queries, K), or None
        As the losses take them; None where the target of influence needs none.
    choice : ndarray of int of shape (n_queries,) or None
        Which output or class the score is about.
    y : ndarray or None
        As the user passed it, for a callable target.
    rows : ndarray, sparse array or None
        The queries in model space, for other coordinates; not kept by parts of the queries.
    """

    designs: list[Design]
    outputs: list[Array]
    targets: list[Array] | None = None
    choice: NDArray[np.intp] | None = None
    y: Any = None
    rows: Any = None

    @property
    def shape(self) -> tuple[int]:
        """Number of queries, as an array would say it."""
        return (self.outputs[0].shape[0],)

    def __getitem__(self, part: slice) -> Queries:
        # Slices of everything would copy sparse rows for nothing.
        if part.start == 0 and part.stop == self.shape[0]:
            return self
        return self.at(part)

    def at(self, part: slice | NDArray[np.intp]) -> Queries:
        """Some of the queries, by slice or positions."""
        designs: dict[int, Design] = {}
        for design in self.designs:
            if id(design) not in designs:
                designs[id(design)] = design.take(part)
        return Queries(
            [designs[id(design)] for design in self.designs],
            [outputs[part] for outputs in self.outputs],
            None if self.targets is None else [targets[part] for targets in self.targets],
            None if self.choice is None else self.choice[part],
            None if self.y is None else self.y[part],
        )

"""Where blocks of training rows and their targets come from, pass after pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_consistent_length

from skinfluence.engines.sketch.reading import Fixed, read, refuse_balanced, refuse_changed
from skinfluence.engines.sketch.rows import BlockedRows, Given, block_weights

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Rows in model space, with targets and weights in every problem.

    Parameters
    ----------
    X : ndarray or CSR of shape (b, p)
    targets : sequence of (ndarray, ndarray)
    """

    X: Any
    targets: Sequence[tuple[Array, Array]]


class Source(ABC):
    """Training rows that can be gone through again and again.

    Attributes
    ----------
    n_train : int or None
        Number of rows, None before the first pass over rows of unknown number.
    """

    n_train: int | None = None

    @abstractmethod
    def blocks(self) -> Iterator[Callable[[], Block]]:
        """Functions that make the blocks, in order; they may run in threads."""

    @abstractmethod
    def n_blocks(self) -> int | None:
        """How many there are, where that is known."""


class ArraySource(Source):
    """Rows of an array, a CSR matrix, a memmap or anything behind a pipeline.

    Parameters
    ----------
    rows : BlockedRows
    targets : sequence of (ndarray, ndarray)
        Of all rows, in every problem.
    slices : sequence of slice
    """

    def __init__(
        self,
        rows: BlockedRows,
        targets: Sequence[tuple[Array, Array]],
        slices: Sequence[slice],
    ):
        self._rows, self._targets, self._slices = rows, targets, slices
        self.n_train = rows.shape[0]

    def blocks(self) -> Iterator[Callable[[], Block]]:
        return (partial(self._block, rows) for rows in self._slices)

    def _block(self, rows):
        return Block(self._rows[rows], [(y[rows], w[rows]) for y, w in self._targets])

    def n_blocks(self) -> int | None:
        return len(self._slices)


class StreamSource(Source):
    """Blocks out of core, as the user's iterable yields them.

    Parameters
    ----------
    model : estimator
        Fitted.
    given : callable
        Starts the blocks anew.
    to_rows : callable
        From a user's block of rows to `BlockedRows`.
    to_targets : callable
        From a user's targets to those of the model.
    slices : callable
        From `BlockedRows` to slices of them.
    """

    def __init__(
        self,
        model: Any,
        given: Callable[[], Iterator[Given]],
        to_rows: Callable[[Any], BlockedRows],
        to_targets: Callable[[Any], Any],
        slices: Callable[[BlockedRows], list[slice]],
    ):
        self._model, self._given = model, given
        self._to_rows, self._to_targets, self._slices = to_rows, to_targets, slices

    def blocks(self) -> Iterator[Callable[[], Block]]:
        for one in self._given():
            weights = block_weights(one.sample_weight, one.X)
            if not len(weights):
                continue
            rows = self._to_rows(one.X)
            source = self.part(rows, self._to_targets(one.y), weights)
            yield from source.blocks()

    def part(self, rows: BlockedRows, y: Any, weights: Array) -> ArraySource:
        """One of the user's blocks, which may be larger than ours."""
        return block_source(self._model, rows, y, weights, self._slices(rows))

    def n_blocks(self) -> int | None:
        return None


def block_source(
    model: Any,
    rows: BlockedRows,
    y: Any,
    weights: Array,
    slices: Sequence[slice],
    fixed: Sequence[Fixed] | None = None,
) -> ArraySource:
    """Rows that are some of many; class weights that need all of them are refused.

    So is a model that has changed since it was read as `fixed`.
    """
    check_consistent_length(np.empty(rows.shape[0]), y, weights)
    fit = read(model, y, weights)
    refuse_balanced(model, fit)
    if fixed is not None:
        refuse_changed(model, fit, fixed)
    return ArraySource(rows, [(one.y, one.weights) for one in fit.problems], slices)

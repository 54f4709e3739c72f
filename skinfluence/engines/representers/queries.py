"""Queries of representer values: their features, and which output each of them is about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence._output import few
from skinfluence.objectives.encoding import class_positions

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True)
class RepresenterQueries:
    """Queries as the engine sees them.

    Parameters
    ----------
    rows : object
        In model space, for derivatives by them; can be sliced.
    features : ndarray or sparse array of shape (n_queries, d)
    columns : ndarray of int of shape (n_queries,)
        Output that each query is about.
    signs : ndarray of shape (n_queries,)
        -1 where it speaks against that class, the first of two that share one output.
    """

    rows: Any
    features: Any
    columns: Positions
    signs: Array

    @property
    def shape(self) -> tuple[int]:
        """Number of queries, as an array would say it."""
        return (len(self.columns),)

    def __getitem__(self, part: slice) -> RepresenterQueries:
        return RepresenterQueries(
            self.rows[part], self.features[part], self.columns[part], self.signs[part]
        )


@dataclass(frozen=True)
class Outputs:
    """The K outputs of a layer, and the classes that they speak for.

    Parameters
    ----------
    number : int
        K.
    classes : ndarray or None
        Labels of a classifier; two of them may share one output.
    """

    number: int
    classes: Any = None

    @property
    def binary(self) -> bool:
        """Whether one output speaks for two classes."""
        return self.classes is not None and self.number == 1 and len(self.classes) == 2

    def chosen(self, outputs: Array, y: Any, asked: Any) -> tuple[Positions, Array]:
        """Column and sign of what each query is about.

        Parameters
        ----------
        outputs : ndarray of shape (m, K)
            Of the queries, for the predicted class.
        y : array-like of shape (m,) or None
            Labels of the queries.
        asked : object
            A label or number of an output, or one a query; None for `y`, or the predicted class.
        """
        m = len(outputs)
        if self.classes is None:
            return self._numbered(asked, m), np.ones(m)
        if asked is not None:
            position = self._positions(asked, m)
        elif y is not None:
            position = class_positions(y, self.classes)
            if len(position) != m:
                raise ValueError(
                    f"y has {len(position)} entries, and there are {m} queries. Pass one label a "
                    "query, or none for the predicted classes."
                )
        elif self.binary:
            position = (outputs[:, 0] > 0).astype(np.intp)
        else:
            position = outputs.argmax(axis=1)
        return self.located(position)

    def located(self, position: Positions) -> tuple[Positions, Array]:
        """Column and sign of classes by their positions."""
        if not self.binary:
            return position, np.ones(len(position))
        return np.zeros_like(position), np.where(position == 0, -1.0, 1.0)

    def _positions(self, asked, m):
        if np.ndim(asked) == 0:
            found = np.flatnonzero(np.asarray(self.classes) == asked)
            if not len(found):
                raise ValueError(
                    f"target_class={asked!r} is none of the {len(self.classes)} classes "
                    f"({few(self.classes)}). Name one of them, or one a query."
                )
            return np.full(m, found[0], dtype=np.intp)
        _check_one_each(asked, m)
        return class_positions(asked, self.classes)

    def _numbered(self, asked, m):
        if asked is None:
            if self.number > 1:
                raise ValueError(
                    f"The model has {self.number} outputs. Say which one the values are about: "
                    f"target_class=0, ..., {self.number - 1}, or one a query; or output= of the "
                    "explainer, once for all questions."
                )
            asked = 0
        position = np.asarray(asked)
        if position.ndim:
            _check_one_each(asked, m)
        integer = position.dtype.kind in "iu"
        if not integer or ((position < 0) | (position >= self.number)).any():
            raise ValueError(
                f"target_class={asked!r} is no output of this model, which has {self.number}: "
                f"pass integers from 0 to {self.number - 1}."
            )
        return np.broadcast_to(position, (m,)).astype(np.intp)


def _check_one_each(asked, m):
    if np.shape(asked) != (m,):
        raise ValueError(
            f"target_class has shape {np.shape(asked)}, and there are {m} queries. Pass one "
            "class, or one for each query."
        )

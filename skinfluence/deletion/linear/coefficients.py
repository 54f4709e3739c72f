"""Coefficients as queries: what a deletion does to the parameters themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.part import BasePart


@dataclass(frozen=True)
class Coefficients:
    """Some of the parameters of a fit, in the user's numbering.

    Parameters
    ----------
    part, row, output : ndarray of int of shape (n,)
        Which part; which coefficient (the intercept is the last); which output.
    """

    part: NDArray[np.intp]
    row: NDArray[np.intp]
    output: NDArray[np.intp]

    @property
    def shape(self) -> tuple[int]:
        """Number of coefficients."""
        return (len(self.part),)

    def __getitem__(self, index: slice) -> Coefficients:
        return Coefficients(self.part[index], self.row[index], self.output[index])


def all_coefficients(
    parts: Sequence[BasePart], feature_names: Sequence[str], classes: Any = None
) -> tuple[Coefficients, list[tuple[str, str]]]:
    """All parameters, problem by problem and output by output, and how each is called.

    A name is a pair: the class or output, "" where there is only one, and the feature; the
    intercept is called ``intercept``, an output without coefficients (Huber's scale) ``scale``.
    """
    place: list[tuple[int, int, int]] = []
    names: list[tuple[str, str]] = []
    n_features = len(feature_names)
    several = sum(part.problem.n_visible for part in parts) > 1
    for index, part in enumerate(parts):
        problem = part.problem
        n_outputs = problem.loss.n_outputs
        labels = classes if classes is not None and len(classes) == n_outputs else range(n_outputs)
        for k in range(n_outputs):
            constant = k in problem.constant_outputs
            rows = [] if constant else list(range(n_features))
            if constant or (problem.intercept is not None and _intercept_free(problem, k)):
                rows.append(n_features)
            own = problem.output_names[k] if problem.output_names else problem.name
            own = "" if not several or constant else own or str(labels[k])
            for row in rows:
                place.append((index, row, k))
                last = "scale" if constant else "intercept"
                names.append((own, feature_names[row] if row < n_features else last))
    columns = np.asarray(place, dtype=np.intp).reshape(-1, 3).T
    return Coefficients(*columns), names


def _intercept_free(problem, k):
    return problem.intercept_free is None or problem.intercept_free[k]

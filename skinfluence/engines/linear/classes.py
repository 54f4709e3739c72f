"""Which training row belongs to which class, and which class would be lost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence._output import few
from skinfluence.objectives.encoding import class_positions


def check_classes(model: Any, y: Any) -> None:
    """Refuse targets that lack a class of the model: they did not train it."""
    classes = getattr(model, "classes_", None)
    if not isinstance(classes, np.ndarray) or y.ndim > 1:
        return
    missing = classes[np.bincount(class_positions(y, classes), minlength=len(classes)) == 0]
    if len(missing):
        raise ValueError(
            f"y holds no row of {few(missing)}, which {type(model).__name__} was "
            "fitted on, so these rows did not train it. Pass all rows it was fitted on."
        )


def classes_of_rows(classes: Any, y: Any, weights: Any) -> NDArray[np.intp]:
    """Class of each row that carries weight, (n_train,); -1 for others, and without classes."""
    found = np.full(len(weights), -1, dtype=np.intp)
    if classes is not None:
        held = np.flatnonzero(weights)
        found[held] = class_positions(y[held], classes)
    return found


def last_of_their_class(class_of_row: NDArray[np.intp]) -> list[int]:
    """Rows that are a class alone."""
    held = np.flatnonzero(class_of_row >= 0)
    counts = np.bincount(class_of_row[held])
    return held[counts[class_of_row[held]] == 1].tolist()


def loses_a_class(class_of_row: NDArray[np.intp], rows: NDArray[np.intp]) -> bool:
    """Whether a class is gone without `rows`."""
    left = np.delete(class_of_row, rows)
    return len(np.unique(left[left >= 0])) < len(np.unique(class_of_row[class_of_row >= 0]))

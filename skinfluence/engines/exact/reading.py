"""An exact model that agrees with the fitted estimator on its own training rows."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.closed.base import ExactModel, Family, TrainingRows
from skinfluence.deletion.closed.refits import Refits

Array = NDArray[np.float64]

# Training rows that are compared.
COMPARED = 256


def nameless(model: Any) -> Any:
    """The estimator without names of columns: rows in model space are arrays, which have none.

    It would warn that they lack them at each question.
    """
    if "feature_names_in_" not in vars(model):
        return model
    model = copy.copy(model)
    del model.feature_names_in_
    return model


def agreed_model(
    family: Family, model: Any, rows: TrainingRows, settings: SimpleNamespace, refits: Refits
) -> tuple[ExactModel, float]:
    """The closed form, or refits where it has none or another; and how far the fit is from it.

    Raises
    ------
    ValueError
        If these rows did not train the estimator.
    """
    closed = None if settings.method == "refit" else family.read(model, rows, settings)
    some = np.unique(np.linspace(0, rows.n - 1, COMPARED).astype(np.intp))
    theirs = family.outputs(model, rows.X[some])
    found: ExactModel = refits if closed is None else closed
    deviation = family.deviation(model, rows, theirs, found.outputs(rows.X[some]))
    if closed is not None and deviation > family.same:
        # A form that is not the estimator's, such as a rank cut off: its own fit is.
        again = family.deviation(model, rows, theirs, refits.outputs(rows.X[some]))
        if again < 0.01 * deviation:
            found, deviation = refits, again
    if not deviation <= max(family.other, family.same):
        undetermined = family.undetermined(model, found)
        if undetermined:
            raise ValueError(undetermined)
        raise ValueError(
            f"{type(model).__name__} answers differently on these rows than if it had been "
            f"fitted on them (relative difference {deviation:.1e}), so they did not train it. "
            "Pass the rows, targets and weights it was fitted on, in the same order."
        )
    return found, deviation

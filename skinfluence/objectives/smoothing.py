"""How much losses with kinks are smoothed."""

from __future__ import annotations

import numpy as np

from skinfluence.objectives.registry import Rows

# In units of the margin 1. On a linear SVM with 400 rows the scores of the 100 most influential
# rows correlated with refits at .37, .74 and .70 for 0.001, 0.01 and 0.1, and at .54 without
# smoothing: narrower than the rows lie apart, nobody is in the kink; wider, it is another model.
TEMPERATURE = 0.01


def margin_temperature(rows: Rows) -> float:
    """Temperature of a loss of the margin."""
    return TEMPERATURE if rows.smoothing is None else rows.smoothing


def residual_temperature(rows: Rows) -> float:
    """Temperature of a loss of the residual, in units of the targets."""
    if rows.smoothing is not None:
        return rows.smoothing
    y = np.asarray(rows.y, dtype=np.float64)
    centre = np.average(y, weights=rows.sample_weight)
    spread = np.sqrt(np.average(np.square(y - centre), weights=rows.sample_weight))
    return TEMPERATURE * (float(spread) or 1.0)

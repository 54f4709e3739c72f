"""Calibrated classifiers of which a row of the curves becomes another one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.closed.replaced.base import NewRows, Replaced

Array = NDArray[np.float64]


class ReplacedCurves(Replaced):
    """Calibrated classifiers with each new row, the estimators under their curves held fixed.

    Parameters
    ----------
    model : CalibratedDeletion
    new : NewRows
    same : ndarray of bool of shape (b,)
        Which new rows have the inputs, and so the scores, of those that go.
    """

    def __init__(self, model: Any, new: NewRows, same: NDArray[np.bool_]):
        self.model = model
        self.broken = np.zeros(len(new), dtype=bool)
        self.fitted = [self._of_member(member, new, same) for member in model.members]

    def _of_member(self, member, new, same):
        """Curves and parameters with each new row; None where the row is none of the member's."""
        found: list[Any] = [None] * len(new)
        places = member.places(new.rows)
        scores = member.scores(new.X)
        for j in np.flatnonzero(places >= 0):
            at, curve = places[j], member.curve
            theirs, codes = curve.scores.copy(), curve.codes.copy()
            if not same[j]:
                theirs[at] = scores[j]
            codes[at] = new.encoded[j]
            moved = type(curve)(theirs, codes)
            found[j] = moved, moved.fit(member.weights)[0]
        return found

    def outputs(self, X: Any) -> Array:
        total = np.zeros((X.shape[0], len(self.broken), self.model.n_outputs))
        for member, fitted in zip(self.model.members, self.fitted, strict=True):
            scores = member.scores(X)
            before = member.curve.probabilities(scores, member.parameters[0])
            for j, moved in enumerate(fitted):
                total[:, j] += (
                    before if moved is None else moved[0].probabilities(scores, moved[1])
                )
        return total / len(self.model.members)

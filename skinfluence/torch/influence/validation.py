"""Real retraining, which scores are held against."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skinfluence import _loops
from skinfluence.metrics import Agreement, agreement


def retrained_agreement(
    estimated: np.ndarray,
    rows: np.ndarray,
    values: Callable[[np.ndarray], np.ndarray],
    *,
    n_train: int,
    progress: bool = False,
) -> Agreement:
    """Agreement of scores with networks that are trained without each of some rows.

    Both sides of a difference are trained alike: the values before are those of a network that is
    trained on all rows again, not of the one that is explained.

    Parameters
    ----------
    estimated : ndarray of shape (m, len(rows))
    rows : ndarray of int
        Which training rows to delete, one at a time.
    values : callable
        From the positions of the rows to keep to what is asked about, (m,), of a network trained
        on them.
    n_train : int
    progress : bool
    """
    every = np.arange(n_train)
    before = values(every)
    bar = _loops.progress_bar(rows, total=len(rows), enabled=progress, desc="validate")
    actual = [values(np.delete(every, i)) - before for i in bar]
    return agreement(estimated, np.transpose(actual), rows=rows)

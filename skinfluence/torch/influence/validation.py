"""Real retraining, which scores are held against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from skinfluence import _loops
from skinfluence.metrics import Agreement, agreement
from skinfluence.torch.influence.evaluation import Evaluation
from skinfluence.torch.influence.queries import Parameters, Queries
from skinfluence.torch.influence.targets import Target
from skinfluence.torch.network import Network

# From positions of the rows to keep to a network trained on them.
Retrain = Callable[[np.ndarray], Network]


def retrained_agreement(
    estimated: np.ndarray,
    queries: Queries | Parameters,
    rows: np.ndarray,
    *,
    target: Target | None,
    retrain: Retrain,
    n_train: int,
    rows_at_once: int,
    progress: bool = False,
) -> Agreement:
    """Agreement of scores with networks that are trained without each of some rows.

    Both sides of a difference are trained alike: the values before are those of a network that
    `retrain` makes of all rows, not of the one that is explained.

    Parameters
    ----------
    estimated : ndarray of shape (m, len(rows))
    queries : Queries or Parameters
    rows : ndarray of int
        Which training rows to delete, one at a time.
    target : Target or None
        None where parameters are asked about.
    retrain : callable
    n_train : int
    rows_at_once : int
        How many rows a network may be run on.
    progress : bool
    """
    every = np.arange(n_train)

    def values(kept):
        network = retrain(kept)
        if isinstance(queries, Parameters):
            return network.theta.double().cpu().numpy()[queries.positions]
        assert target is not None
        return Evaluation(network, target, rows_at_once).values(queries)

    before = values(every)
    bar = _loops.progress_bar(rows, total=len(rows), enabled=progress, desc="validate")
    actual = [values(np.delete(every, i)) - before for i in bar]
    return agreement(estimated, np.transpose(actual), rows=rows)


def no_retraining(model: Any) -> str:
    """Why a model cannot be validated as it is."""
    return (
        f"{type(model).__name__} is a module that was trained elsewhere, and validate() has to "
        "train it again without some rows. Pass retrain=, a function of the positions of the rows "
        "to keep that returns a module trained on them the way this one was."
    )

"""What the steps of training weigh at each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from skinfluence.checkpoints import Checkpoints

Rates = list[dict[str, float]]


def path_is_known(checkpoints: Checkpoints) -> bool:
    """Whether the checkpoints say how far the optimiser's steps went."""
    return all(checkpoint.path is not None for checkpoint in checkpoints)


def make_rates(
    checkpoints: Checkpoints, learning_rates: Any, names: Sequence[str], n_train: int
) -> Rates:
    """eta of every checkpoint, by parameter name.

    Recorded shares of the path are divided by the number of rows that were trained on: of a mean
    loss over batches, a row is in every n/b-th step, with a b-th of it. Numbers of the user's are
    taken as they are.

    Parameters
    ----------
    checkpoints : Checkpoints
    learning_rates : float, sequence of float, or None
    names : sequence of str
        Explained parameters.
    n_train : int
        Number of training rows, where the recording does not say it.

    Raises
    ------
    ValueError
        If nothing says how large the steps were, training had fewer rows, or the numbers given
        are not one a checkpoint, finite and not negative.
    """
    if learning_rates is not None:
        given = _checked(learning_rates, len(checkpoints))
        return [dict.fromkeys(names, rate) for rate in given]
    if not path_is_known(checkpoints):
        if checkpoints.optimizer is not None:
            raise ValueError(
                f"The checkpoints are those of {checkpoints.optimizer.name}, and how long its "
                "steps were is not known: they have no learning rate, or it was not told at "
                "every step. Train with an optimiser that has one, or pass learning_rates=, one "
                "for each checkpoint."
            )
        raise ValueError(
            "The checkpoints do not say how large the optimiser's steps were, and without that "
            "scores have no scale. Record the training with a CheckpointRecorder, or pass "
            "learning_rates=: the rate that was in use, one for all checkpoints or one for each "
            "(1.0 adds up plain gradient products)."
        )
    n = checkpoints.n_rows or n_train
    if n < n_train:
        raise ValueError(
            f"By the recording, training had {n} rows, and {n_train} training rows are passed, "
            "so that scores would be too large. Pass the rows of that training; if a call of "
            f"partial_fit had a part of them, record with CheckpointRecorder(n_rows={n_train})."
        )
    found = [_divided(shares, names, n) for shares in checkpoints.shares()]
    if not any(any(rates.values()) for rates in found):
        raise ValueError(
            "By the checkpoints, no step of the optimiser has moved what is explained, so that "
            "there is nothing to trace: they end before training, or are of another optimiser. "
            "Record the whole training, or pass learning_rates=."
        )
    return found


def _divided(shares: Mapping[str, float], names: Sequence[str], n: int) -> dict[str, float]:
    # A parameter that the optimiser did not have has not moved.
    return {name: shares.get(name, 0.0) / n for name in names}


def _checked(given: Any, n_checkpoints: int) -> list[float]:
    values = np.asarray(given, dtype=np.float64)
    if values.ndim and values.shape != (n_checkpoints,):
        raise ValueError(
            f"learning_rates has shape {values.shape}, and there are {n_checkpoints} checkpoints. "
            "Pass one number for all, or one for each."
        )
    if not np.isfinite(values).all() or (values < 0).any() or not values.any():
        raise ValueError(
            f"learning_rates is {given!r}, and rates are finite numbers that are not negative, "
            "and not all zero. Pass those of the optimiser."
        )
    return [float(rate) for rate in np.broadcast_to(values, (n_checkpoints,))]


def shown(rates: Rates) -> Any:
    """eta as an array (C,), or one for each parameter where they differ."""
    names = rates[0]
    columns = {name: np.array([at[name] for at in rates]) for name in names}
    first = next(iter(columns.values()))
    same = all(np.array_equal(first, column) for column in columns.values())
    return first if same else columns

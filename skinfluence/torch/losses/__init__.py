"""Losses of one row, as functions of the network's outputs at it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import partial
from typing import Any

from skinfluence.torch.losses.base import RowLoss, UserLoss
from skinfluence.torch.losses.classes import (
    BinaryCrossEntropy,
    CrossEntropy,
    NegativeLogLikelihood,
)
from skinfluence.torch.losses.numbers import (
    AbsoluteError,
    Huber,
    MeanSquaredError,
    Poisson,
    SquaredError,
)

__all__ = [
    "LOSSES",
    "AbsoluteError",
    "BinaryCrossEntropy",
    "CrossEntropy",
    "Huber",
    "MeanSquaredError",
    "NegativeLogLikelihood",
    "Poisson",
    "RowLoss",
    "SquaredError",
    "UserLoss",
    "make_loss",
]

LOSSES: dict[str, Callable[[], RowLoss]] = {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "nll": NegativeLogLikelihood,
    "squared_error": SquaredError,
    "half_squared_error": partial(SquaredError, 0.5),
    "mse": MeanSquaredError,
    "poisson": Poisson,
    "huber": Huber,
    "l1": AbsoluteError,
}


def make_loss(loss: Any) -> RowLoss:
    """Loss by name, or the user's function."""
    if isinstance(loss, RowLoss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    if callable(loss):
        return UserLoss(loss)
    near = difflib.get_close_matches(str(loss).lower(), LOSSES, n=1)
    meant = f"Did you mean {near[0]!r}?" if near else "Name what the module was trained on."
    raise ValueError(
        f"loss={loss!r} is none of {', '.join(map(repr, LOSSES))}, nor a function of (outputs, y) "
        f"that returns a loss a row. {meant}"
    )

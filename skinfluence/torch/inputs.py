"""What engines of networks ask of rows and targets before there is a fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from skinfluence._peel import target_to_model_space
from skinfluence.engines.base import Engine, Positions
from skinfluence.torch import given


class TakesAnyRows(Engine):
    """Rows and targets as arrays, frames, tensors, datasets or loaders."""

    @classmethod
    def model_rows(cls, owner: Any, heads: Sequence[Any], X: Any, *, reset: bool) -> Any:
        return given.given_rows(owner, heads, X, reset=reset)

    @classmethod
    def kept_targets(cls, y: Any) -> Any:
        return given.kept(y)

    @classmethod
    def model_targets(cls, estimator: Any, y: Any) -> Any:
        if isinstance(y, torch.Tensor):
            return y
        return target_to_model_space(estimator, np.asarray(y))

    @classmethod
    def take(cls, X: Any, y: Any, positions: Positions) -> tuple[Any, Any]:
        return given.some(X, positions), given.some(y, positions)

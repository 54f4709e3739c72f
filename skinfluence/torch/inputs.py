"""What engines of networks have in common: rows and targets of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np
import torch

from skinfluence._peel import target_to_model_space
from skinfluence.engines.base import Array, Engine, Positions
from skinfluence.torch import given
from skinfluence.torch.objective import NetworkObjective


class TakesAnyRows(Engine):
    """Rows and targets as arrays, frames, tensors, datasets or loaders, read as an objective."""

    objective: NetworkObjective

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

    @classmethod
    def fit(
        cls,
        model: Any,
        rows: Any,
        y: Any,
        sample_weight: Any,
        settings: SimpleNamespace,
        *,
        feature_names: Sequence[str] | None,
    ) -> Self:
        return cls(model, rows, y, sample_weight, settings)  # type: ignore[call-arg]

    def _held_out(self) -> Array:
        """Rows that the model itself kept out of its training, (n_train,)."""
        found = self.objective.held_out
        return np.zeros(self.n_train, dtype=bool) if found is None else found

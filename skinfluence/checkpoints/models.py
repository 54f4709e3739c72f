"""Which arrays a model consists of, whatever its kind."""

from __future__ import annotations

import sys
from typing import Any

from skinfluence.checkpoints import estimators
from skinfluence.checkpoints.checkpoint import State


def snapshot(model: Any, optimizer: Any = None, *, optimizer_state: bool = True) -> State:
    """Copy of the arrays of a module, a net, or an estimator of scikit-learn."""
    if estimators.known(model):
        return estimators.snapshot(model, optimizer_state=optimizer_state)
    return of_torch().snapshot(model, optimizer if optimizer_state else None)


def shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shape of each parameter, by name."""
    if estimators.known(model):
        return {name: view.shape for name, view in estimators.views(model).items()}
    return of_torch().shapes(model)


def restore(state: State, model: Any, optimizer: Any = None) -> None:
    """Put the arrays back into a model and its optimiser."""
    if estimators.known(model):
        estimators.restore(state, model)
    else:
        of_torch().restore(state, model, optimizer)


def of_torch() -> Any:
    """What reads modules; only here is torch needed."""
    try:
        from skinfluence.torch import recording
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            "Of models other than scikit-learn's MLPs and linear models, torch reads the "
            "parameters, and it is not installed. Install skinfluence[torch]."
        ) from error
    return recording


def is_module(model: Any) -> bool:
    """Whether a model is a torch module, which it cannot be where torch was not imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)

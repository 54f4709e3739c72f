"""Which arrays a model consists of, whatever its kind."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np

from skinfluence.checkpoints import estimators
from skinfluence.checkpoints.checkpoint import Checkpoint, State
from skinfluence.checkpoints.stored import Shape


def snapshot(model: Any, optimizer: Any = None, *, optimizer_state: bool = True) -> State:
    """Copy of the arrays of a module, a net, or an estimator of scikit-learn."""
    if estimators.known(model):
        return estimators.snapshot(model, optimizer_state=optimizer_state)
    return of_torch().snapshot(model, optimizer if optimizer_state else None)


def shapes(model: Any) -> dict[str, Shape]:
    """Shape of each parameter, by name."""
    if estimators.known(model):
        return {name: view.shape for name, view in estimators.views(model).items()}
    return of_torch().shapes(model)


def trained_object(model: Any) -> Any:
    """What stays the same object while a model is trained: the module, or the estimator."""
    return model if estimators.known(model) else of_torch().module_of(model)


def layout(model: Any) -> tuple[dict[str, Shape], dict[str, Shape], set[str]]:
    """Shapes of parameters and of buffers by name, and further names of shared parameters."""
    if estimators.known(model):
        return shapes(model), {}, set()
    return of_torch().layout(model)


def arrays_of(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Arrays of a state dict, of tensors or of arrays."""
    if all(isinstance(values, np.ndarray) for values in given.values()):
        return given
    return of_torch().arrays_of(given)


def restore(state: State | Checkpoint, model: Any, optimizer: Any = None) -> None:
    """Put the arrays back into a model and its optimiser."""
    if estimators.known(model):
        estimators.restore(state, model)
    else:
        of_torch().restore(state, model, optimizer)


def of_torch(module: str = "recording") -> Any:
    """What reads modules and their files; only here is torch needed."""
    try:
        return import_module(f"skinfluence.torch.{module}")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        raise ModuleNotFoundError(
            "Of models other than scikit-learn's MLPs and linear models, torch reads the "
            "parameters, and it is not installed. Install skinfluence[torch]."
        ) from error


def is_module(model: Any) -> bool:
    """Whether a model is a torch module, which it cannot be where torch was not imported."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)

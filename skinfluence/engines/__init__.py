"""Influence on one kind of fitted model each.

Linear models, models whose deletions are exact, and networks in `torch`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence._seen import is_module, is_skorch_net
from skinfluence.engines.base import DeletionEngine, Engine, Whole
from skinfluence.engines.exact.engine import ExactEngine, exact_engine_of
from skinfluence.engines.linear.engine import LinearEngine

__all__ = ["DeletionEngine", "Engine", "ExactEngine", "LinearEngine", "Whole", "engine_of"]


def engine_of(model: Any) -> type[DeletionEngine]:
    """The engine that reads `model`, fitted or not.

    Torch modules, skorch nets and scikit-learn's multi-layer perceptrons are networks; a family of
    exact deletions has an engine of its own. Whatever else there is belongs to the linear engine,
    which refuses what it cannot read.
    """
    if is_module(model) or is_skorch_net(model) or isinstance(model, MLPClassifier | MLPRegressor):
        return _network_engine(model)
    return exact_engine_of(model) or LinearEngine


def _network_engine(model):
    if find_spec("torch") is None:
        raise ImportError(
            f"{type(model).__name__} is a network, whose derivatives are taken by torch, and "
            'torch is not installed. Install it with pip install "skinfluence[torch]".'
        )
    return import_module("skinfluence.torch.engine").NetworkEngine

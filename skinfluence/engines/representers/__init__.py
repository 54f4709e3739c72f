"""Representer values: outputs of a last layer as sums over training rows (Yeh et al. 2018)."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from skinfluence.engines import ExactEngine, LinearEngine, engine_of
from skinfluence.engines.representers.engine import RepresenterEngine
from skinfluence.engines.representers.last_layer import LastLayer, Polished
from skinfluence.engines.representers.linear import LinearRepresenters
from skinfluence.engines.representers.pretrained import matching_layer, refitted
from skinfluence.engines.representers.queries import RepresenterQueries
from skinfluence.engines.representers.reconstruction import Reconstruction

__all__ = [
    "LastLayer",
    "LinearRepresenters",
    "Polished",
    "Reconstruction",
    "RepresenterEngine",
    "RepresenterQueries",
    "matching_layer",
    "refitted",
    "representer_engine_of",
]


def representer_engine_of(model: Any) -> type[RepresenterEngine]:
    """The engine that decomposes `model`, fitted or not: networks in `torch`, all others here.

    That of linear estimators refuses what it cannot read.
    """
    if issubclass(engine_of(model), LinearEngine | ExactEngine):
        return LinearRepresenters
    return import_module("skinfluence.torch.representers").NetworkRepresenters

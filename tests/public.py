"""Enumerate the public surface, so that a new name is tested by existing."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from importlib.util import find_spec
from types import ModuleType
from typing import Any

PUBLIC_MODULES = (
    "skinfluence",
    "skinfluence.checkpoints",
    "skinfluence.datasets",
    "skinfluence.diagnostics",
    "skinfluence.displays",
    "skinfluence.exceptions",
    "skinfluence.metrics",
    "skinfluence.testing",
    "skinfluence.whatif",
    # The oldest environment has no torch.
    *(["skinfluence.torch"] if find_spec("torch") else []),
)


# Both are documented like attributes, and have no signature.
PROPERTIES = (property, cached_property)


def modules() -> list[ModuleType]:
    """Import and return the public modules."""
    return [importlib.import_module(name) for name in PUBLIC_MODULES]


def symbols() -> dict[str, Any]:
    """Public classes and functions by their dotted public name (``skinfluence.KDEInfluence``)."""
    return {
        f"{module.__name__}.{name}": getattr(module, name)
        for module in modules()
        for name in module.__all__
        if not name.startswith("__") and not inspect.ismodule(getattr(module, name))
    }


def own_methods(cls: type) -> Iterator[str]:
    """Public methods and properties of `cls` that this package defines.

    What scikit-learn's mixins or ``Exception`` bring along is documented there, and so is what a
    public class asks of those derived from it.
    """
    contracts = [c for c in symbols().values() if inspect.isclass(c) and c in cls.__mro__[1:]]
    for name in dir(cls):
        if any(hasattr(contract, name) for contract in contracts):
            continue
        owner = next(c for c in cls.__mro__ if name in vars(c))
        if name.startswith("_") or not owner.__module__.startswith("skinfluence."):
            continue
        # getattr on the class unwraps static methods and `available_if`.
        attribute = getattr(cls, name)
        if isinstance(attribute, PROPERTIES) or inspect.isroutine(attribute):
            yield name


def callables() -> dict[str, Callable[..., Any]]:
    """Public functions, constructors (under the class's name) and own methods, by dotted name."""
    found: dict[str, Callable[..., Any]] = {}
    for path, symbol in symbols().items():
        if not inspect.isclass(symbol):
            if callable(symbol):
                found[path] = symbol
            continue
        found[path] = symbol
        for name in own_methods(symbol):
            method = inspect.getattr_static(symbol, name)
            if not isinstance(method, PROPERTIES):
                found[f"{path}.{name}"] = getattr(symbol, name)
    return found

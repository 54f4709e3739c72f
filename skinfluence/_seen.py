"""Objects of optional packages, recognised without importing them.

Whoever holds a torch module has imported torch, so that looking into ``sys.modules`` is enough.
"""

from __future__ import annotations

import sys
from typing import Any


def is_module(candidate: Any) -> bool:
    """Whether `candidate` is a ``torch.nn.Module``."""
    return _is_a(candidate, "torch.nn", "Module")


def is_skorch_net(candidate: Any) -> bool:
    """Whether `candidate` is a skorch net, a scikit-learn estimator around a module."""
    return _is_a(candidate, "skorch", "NeuralNet")


def is_vae(candidate: Any) -> bool:
    """Whether `candidate` bounds the density of its rows: a module with ``elbo``, or a BetaVAE."""
    if is_module(candidate):
        return hasattr(candidate, "elbo")
    if _is_a(candidate, "skinfluence.torch", "BetaVAE"):
        return True
    inside = getattr(candidate, "module_", None)
    return hasattr(inside, "elbo") and not is_skorch_net(candidate)


def _is_a(candidate, package, name):
    cls = getattr(sys.modules.get(package), name, None)
    return isinstance(cls, type) and isinstance(candidate, cls)

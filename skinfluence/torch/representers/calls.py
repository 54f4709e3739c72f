"""Calls of a network's layers while rows run through it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from skinfluence.torch.data import Batch
from skinfluence.torch.network import Network
from skinfluence.torch.representers.activation import Watching


@dataclass
class Call:
    """One call of a module, in the order in which calls began."""

    name: str
    module: nn.Module
    input: Any = None
    output: Any = None


def run(network: Network, batch: Batch) -> tuple[list[Call], Tensor]:
    """Calls of modules that have parameters, and what the module itself returned."""
    returned: list[Tensor] = []

    def keep(module, args, output):
        returned.append(output)

    # First of all hooks: those of the network itself prepare its outputs for a loss.
    handle = network.module.register_forward_hook(keep, prepend=True)
    try:
        with torch.no_grad(), _recorded(network.module) as calls:
            network.outputs(batch)
    finally:
        handle.remove()
    return calls, returned[-1]


@contextlib.contextmanager
def _recorded(module: nn.Module) -> Iterator[list[Call]]:
    calls: list[Call] = []
    open_calls: list[Call] = []

    def begin(name):
        def hook(part, args, kwargs):
            given = args[0] if args else next(iter(kwargs.values()), None)
            open_calls.append(Call(name, part, _kept(given)))
            calls.append(open_calls[-1])

        return hook

    def end(part, args, output):
        open_calls.pop().output = _kept(output)

    handles: list[Any] = []
    for name, part in module.named_modules():
        if _has_parameters(name, part):
            handles.append(part.register_forward_pre_hook(begin(name), with_kwargs=True))
            # First of all hooks: what others make of an output is no longer the layer's.
            handles.append(part.register_forward_hook(end, prepend=True))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _kept(values: Any) -> Any:
    """A copy of a tensor, which the forward may overwrite."""
    return values.clone() if isinstance(values, Tensor) else values


def _has_parameters(name, part):
    """Whether a module has parameters of its own, whatever they are computed from."""
    if "parametrizations" in name.split("."):
        return False
    return isinstance(part, nn.Linear) or next(part.parameters(recurse=False), None) is not None


def watched(network: Network, layer: nn.Linear, batch: Batch) -> tuple[Watching, str]:
    """Which functions take the outputs of a layer, and what of them the network returns."""
    watching, returned = Watching(), []
    # First of all hooks, as in :func:`run`.
    handles = [
        layer.register_forward_hook(lambda _, args, out: watching.follow(out), prepend=True),
        network.module.register_forward_hook(
            lambda _, args, out: returned.append(out), prepend=True
        ),
    ]
    try:
        with torch.no_grad(), watching:
            network.outputs(batch)
    finally:
        for handle in handles:
            handle.remove()
    return watching, watching.what_is(returned[-1])

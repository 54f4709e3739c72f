"""The linear layer of a network whose outputs are decomposed."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch.data import Batch
from skinfluence.torch.faults import ROUNDING
from skinfluence.torch.modules import WRAPPERS, some
from skinfluence.torch.network import Network
from skinfluence.torch.representers.calls import Call, run, watched

Array = NDArray[np.float64]
Activation = Literal["softmax", "sigmoid", "relu", "squared"]

# What may follow the last layer.
HEADS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda z: z,
    "log_softmax": lambda z: z.log_softmax(1),
    "softmax": lambda z: z.softmax(1),
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
}


@dataclass(frozen=True)
class Layer:
    """A linear layer, ``Phi = f W + b`` of its inputs f.

    Parameters
    ----------
    name : str
        In the module.
    module : nn.Linear
        In the network's private copy.
    head : str or None
        What the network makes of Phi: a key of `HEADS`; None for a hidden layer.
    activation : {"relu", "sigmoid", "squared"}
        What a hidden layer's outputs go through first; "squared" stands for anything else, as
        they are then compared themselves.
    """

    name: str
    module: nn.Linear
    head: str | None
    activation: Activation = "squared"

    @property
    def hidden(self) -> bool:
        """Whether the network goes on behind the layer."""
        return self.head is None

    def coef(self) -> Array:
        """W, (d, K), in float64."""
        found: Array = self.module.weight.detach().double().cpu().numpy().T.copy()
        return found

    def intercept(self) -> Array | None:
        """b, (K,), in float64; None for a layer without."""
        bias = self.module.bias
        return None if bias is None else bias.detach().double().cpu().numpy().copy()


def find_layer(network: Network, batch: Batch, name: str | None) -> Layer:
    """The layer called `name`, or the last one.

    A layer is the last if what the network returns is its outputs, or their softmax, logarithm
    of softmax, sigmoid or relu. That is seen by running some rows, whatever the module's
    structure.

    Parameters
    ----------
    network : Network
    batch : Batch
        Some training rows.
    name : str or None

    Raises
    ------
    ValueError
        If there is no such layer, it acts on something else than one vector a row, or it is
        called more than once.
    UnsupportedEstimatorError
        If it is no nn.Linear, or nothing that is known follows the last one.
    """
    calls, outputs = run(network, batch)
    if name is None:
        return _last(network, calls, outputs, batch)
    call = _only_call(calls, _path(network.module, name))
    _check_linear(call, batch)
    return _layer(network, call, outputs, batch)


def _layer(network: Network, call: Call, outputs: Tensor, batch: Batch) -> Layer:
    """A layer with what follows it."""
    assert isinstance(call.module, nn.Linear)
    watching, end = watched(network, call.module, batch)
    head = _head(call.output, outputs)
    # Where they clip nothing on these rows, relu, hardtanh and the like look the same.
    head = end if head in ("identity", "relu") else head
    if head in HEADS:
        return Layer(call.name, call.module, head)
    only = watching.found if len(watching.found) == 1 else set()
    activation: Activation = "squared"
    if "relu" in only:
        activation = "relu"
    elif "sigmoid" in only:
        activation = "sigmoid"
    return Layer(call.name, call.module, None, activation)


def _last(network, calls, outputs, batch):
    for call in reversed(calls):
        if isinstance(call.module, nn.Linear) and _head(call.output, outputs) is not None:
            _only_call(calls, call.name)
            _check_linear(call, batch)
            found = _layer(network, call, outputs, batch)
            if not found.hidden:
                return found
    advice = f"Name a linear layer by layer=: {_linear_layers(network.module)}."
    if not calls:
        raise UnsupportedEstimatorError(
            f"No module with parameters runs in {type(network.module).__name__}, and representers "
            f"decompose the outputs of an nn.Linear. {advice}"
        )
    last = calls[-1]
    what = f"The last module with parameters, {last.name or 'the module itself'!r},"
    if not isinstance(last.module, nn.Linear):
        raise UnsupportedEstimatorError(
            f"{what} is a {type(last.module).__name__}, and representers decompose the outputs of "
            f"an nn.Linear. {advice}"
        )
    _check_linear(last, batch)
    raise UnsupportedEstimatorError(
        f"{what} is not what {type(network.module).__name__} returns, nor its softmax, "
        "log_softmax, sigmoid or relu, so that its outputs are not the logits of the model. Leave "
        f"what follows it to the loss, or decompose its own outputs: layer={last.name!r}."
    )


def _path(module: nn.Module, name: str) -> str:
    """Name of a module, wrappers that are taken off left out."""
    if not isinstance(name, str):
        raise ValueError(
            f"layer is a {type(name).__name__}, and the name of a linear layer is needed: "
            f"{_linear_layers(module)}. Pass one of them."
        )
    named = dict(module.named_modules())
    if name not in named:
        name = ".".join(part for part in name.split(".") if part not in WRAPPERS.values())
    if name not in named:
        near = difflib.get_close_matches(name, list(named), n=1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"layer={name!r} is no module of {type(module).__name__}, whose linear layers are "
            f"{_linear_layers(module)}. Pass one of them.{meant}"
        )
    if not isinstance(named[name], nn.Linear):
        raise UnsupportedEstimatorError(
            f"layer={name!r} is a {type(named[name]).__name__}, and representers decompose the "
            f"outputs of an nn.Linear: {_linear_layers(module)}. Pass one of them."
        )
    return name


def _linear_layers(module):
    names = [name for name, part in module.named_modules() if isinstance(part, nn.Linear)]
    return some(names) if names else "there is none"


def _only_call(calls, name):
    own = next((call.module for call in calls if call.name == name), None)
    found = [call for call in calls if call.module is own] if own is not None else []
    if len(found) != 1:
        raise ValueError(
            f"Layer {name!r} is called {len(found) or 'no'} times for a batch, and representers "
            "decompose the outputs of one call. Name a layer that is called once by layer=."
        )
    return found[0]


def _check_linear(call: Call, batch: Batch) -> None:
    """Refuse a layer that does not take one vector a row to ``x W + b``."""
    x, layer = call.input, call.module
    assert isinstance(layer, nn.Linear)
    if not isinstance(x, Tensor) or x.ndim != 2 or len(x) != batch.size:
        shape = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"Layer {call.name!r} takes inputs of shape {shape} for {batch.size} rows, and "
            "representers need one vector a row, (rows, features). Name a layer behind the "
            "pooling or flattening by layer=, or make each position a row."
        )
    if not _close(F.linear(x, layer.weight, layer.bias), call.output):
        raise UnsupportedEstimatorError(
            f"Layer {call.name!r} is a {type(layer).__name__} whose outputs are not those of "
            "nn.Linear with its weight and bias, and representers are about these. Name another "
            "layer by layer=."
        )


def _head(found: Any, outputs: Tensor) -> str | None:
    """What makes the network's outputs of those of a layer."""
    if not isinstance(found, Tensor) or found.ndim != 2 or found.numel() != outputs.numel():
        return None
    outputs = outputs.reshape(found.shape)
    for name, head in HEADS.items():
        # One column's softmax is 1 whatever the column is.
        if ("softmax" not in name or found.shape[1] > 1) and _close(head(found), outputs):
            return name
    return None


def _close(a: Any, b: Any) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.shape != b.shape:
        return False
    allowed = ROUNDING.get(b.dtype, 0.0) * float(b.abs().max())
    return bool((a - b).abs().max() <= allowed)

"""How the gradients of known layers come apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skinfluence.torch.gradients.factors import Dense, Factor, Outer


@dataclass
class Use:
    """One call of a layer: its input, and the derivative of every row's value in its output."""

    input: Tensor
    delta: Tensor


# Names of a layer's own parameters, by the attribute they sit in: {"weight": "0.weight", ...}.
Names = dict[str, str]
Handler = Callable[[nn.Module, Sequence[Use], Names], Factor]

# By exact type: a subclass may compute something else.
LAYERS: dict[type, Handler] = {}


def layer(*kinds: type) -> Callable[[Handler], Handler]:
    """Register how the gradients of layers of some types are put together from their uses."""

    def register(handler: Handler) -> Handler:
        LAYERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


@layer(nn.Linear)
def linear(module: nn.Module, uses: Sequence[Use], names: Names) -> Factor:
    """``delta (x) a``, summed over the positions of a sequence and over repeated uses."""
    delta = torch.cat([_positions(use.delta) for use in uses], 1)
    if "weight" not in names:
        return Dense({names["bias"]: delta.sum(1)})
    a = torch.cat([_positions(use.input) for use in uses], 1)
    return Outer(names["weight"], names.get("bias"), a, delta)


def _positions(values: Tensor) -> Tensor:
    """(b, ..., d) as (b, T, d)."""
    return values.reshape(len(values), -1, values.shape[-1])

"""How the gradients of known layers come apart.

A handler turns the uses of one layer's parameters into a factor. It is registered for exact
types, since a subclass may compute something else, and is never trusted: whether its numbers are
the derivative is tried on a few rows (``RowGradients``). To teach the library a layer is to
register one more handler; K-FAC and others find theirs by the module's type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from skinfluence.torch.gradients.factors import Dense, Factor
from skinfluence.torch.gradients.outer import Outer


@dataclass
class Use:
    """One call of a layer: its input, and the derivative of every row's value in its output.

    Rows come first in both, (b, ...); ``capture_outputs`` puts M cotangents before those of
    ``delta``, (M, b, ...).

    Parameters
    ----------
    input, delta : Tensor
    folded : bool, default=False
        Whether the forward had put positions of a row on the rows' axis; they are the second
        axis here, (b, positions, ...), where layers expect their channels.
    """

    input: Tensor
    delta: Tensor
    folded: bool = False


# Names of a layer's explained parameters, by the attribute they sit in: {"weight": "0.weight"}.
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
    delta = joined([positions(use.delta) for use in uses])
    if "weight" not in names:
        return Dense({names["bias"]: delta.sum(1)})
    a = joined([positions(use.input) for use in uses])
    return Outer(names["weight"], names.get("bias"), a, delta)


def positions(values: Tensor) -> Tensor:
    """(b, ..., d) as (b, T, d)."""
    return values.reshape(len(values), -1, values.shape[-1])


def joined(parts: Sequence[Tensor]) -> Tensor:
    """(b, T_1, d), (b, T_2, d), ... as (b, T_1 + T_2 + ..., d)."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts), 1)

"""What K-FAC needs of some rows: the inputs of each layer, and K derivatives of its output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap

from skinfluence.torch.curvature.kfac_roots import Roots
from skinfluence.torch.data import Batch
from skinfluence.torch.gradients import Outer, RowGradients
from skinfluence.torch.gradients.capture import capture_outputs
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.layers import LAYERS, Names, Use
from skinfluence.torch.losses import RowLoss


@dataclass
class LinearRows:
    """Rows of a linear map that is used T times a row, under K cotangents of the outputs.

    ``sum_t delta_kit (x) a_it`` is the derivative along cotangent k.

    Parameters
    ----------
    weight, bias : str, str or None
    a : Tensor of shape (b, T, d_in)
    delta : Tensor of shape (K, b, T, d_out)
    """

    weight: str
    bias: str | None
    a: Tensor
    delta: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        return (self.weight,) if self.bias is None else (self.weight, self.bias)


@dataclass
class FormedRows:
    """Derivatives along K cotangents, formed: (K, b, size of all parameters `names`)."""

    names: tuple[str, ...]
    gradients: Tensor


LayerRows = LinearRows | FormedRows


def layer_rows(
    rows: RowGradients, batch: Batch, loss: RowLoss, roots: Roots
) -> Iterator[LayerRows]:
    """Every layer's share, for one block of rows."""
    pulled: list[Tensor] = []

    def cotangents(outputs):
        pulled.append(roots(loss, outputs, batch.y))
        return pulled[0]

    _, uses = capture_outputs(rows.network, rows.layers, batch, cotangents)
    together: dict[tuple[str, ...], list[Use]] = {}
    for path in rows.layers:
        together.setdefault(tuple(rows._owners[path].values()), []).extend(uses[path])
    modules = {tuple(rows._owners[path].values()): path for path in rows.layers}
    for key, path in modules.items():
        if together[key]:
            yield _of_layer(rows.layers[path], together[key], rows._owners[path])
    for names in formed_groups(rows.formed):
        yield FormedRows(names, _row_by_row(rows, names, batch, pulled[0]))


def formed_groups(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Parameters without a known layer, by the module that owns them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return [tuple(group) for group in groups.values()]


def _of_layer(module: nn.Module, uses: list[Use], names: Names) -> LayerRows:
    """The layer's own handler, under every cotangent at once: inputs do not depend on them."""
    handler, found = LAYERS[type(module)], {}

    def under_one(*deltas):
        ours = [Use(use.input, delta) for use, delta in zip(uses, deltas, strict=True)]
        found["factor"] = factor = handler(module, ours, names)
        if type(factor) is Outer:
            return factor.a, factor.delta
        return torch.zeros(()), _flat(factor.dense(), factor.names)

    a, delta = vmap(under_one, out_dims=(None, 0))(*(use.delta for use in uses))
    factor = found["factor"]
    if type(factor) is Outer:
        return LinearRows(factor.weight, factor.bias, a, delta)
    return FormedRows(factor.names, delta)


def _row_by_row(rows, names, batch, vectors):
    def along(outputs, vector):
        return (outputs * vector).flatten(1).sum(1)

    each = (Batch(batch.args, vector, batch.kwargs) for vector in vectors)
    formed = (row_by_row(rows.network, names, part, along, loop=rows.loop) for part in each)
    return torch.stack([_flat(gradients, names) for gradients in formed])


def _flat(gradients, names):
    return torch.cat([gradients[name].flatten(1) for name in names], 1)

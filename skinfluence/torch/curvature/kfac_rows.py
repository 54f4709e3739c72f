"""What K-FAC needs of some rows: the inputs of each layer, and K derivatives of its output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from skinfluence.torch.curvature.kfac_roots import Roots
from skinfluence.torch.data import Batch
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.gradients.capture import capture_outputs
from skinfluence.torch.gradients.convolutions import conv_patches
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.layers import LAYERS, Names, Use
from skinfluence.torch.gradients.lookup import Lookup
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

    @property
    def n_params(self) -> int:
        return self.gradients.shape[2]

    def squares(self, weights: Tensor) -> Tensor:
        """``sum_i w_i sum_k g_ik^2``, (k,)."""
        return weights @ self.gradients.square().sum(0)


@dataclass
class LookupRows:
    """Rows of a table (n_entries, d) that uses lines `index` (b, T), under K cotangents."""

    weight: str
    index: Tensor
    delta: Tensor
    n_entries: int

    @property
    def names(self) -> tuple[str, ...]:
        return (self.weight,)

    @property
    def n_params(self) -> int:
        return self.n_entries * self.delta.shape[3]

    @property
    def gradients(self) -> Tensor:
        """The derivatives formed, (K, b, n_entries * d): for small tables."""
        each = [Lookup(self.weight, self.index, d, self.n_entries).dense() for d in self.delta]
        return torch.stack([formed[self.weight].flatten(1) for formed in each])

    def squares(self, weights: Tensor) -> Tensor:
        """``sum_i w_i sum_k g_ik^2``, (n_entries * d,): only lines that are used are touched."""
        (K, _, _, d), T = self.delta.shape, self.index.shape[1]
        rows = torch.arange(len(weights), device=self.index.device)[:, None].expand(-1, T)
        codes, at = (rows * self.n_entries + self.index).unique(return_inverse=True)
        sums = self.delta.new_zeros(K, len(codes), d)
        sums.index_add_(1, at.flatten(), self.delta.flatten(1, 2))
        squares = sums.square().sum(0) * weights[codes // self.n_entries][:, None]
        found = squares.new_zeros(self.n_entries, d)
        return found.index_add_(0, codes % self.n_entries, squares).flatten()


LayerRows = LinearRows | FormedRows | LookupRows

LINEAR = (nn.Linear,)
CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def layer_rows(
    rows: RowGradients, batch: Batch, loss: RowLoss, roots: Roots
) -> Iterator[LayerRows]:
    """Every layer's share, for one block of rows."""
    pulled: list[Tensor] = []

    def cotangents(outputs):
        pulled.append(roots(loss, outputs, batch.y))
        return pulled[0]

    _, uses = capture_outputs(
        rows.network, rows.layers, batch, cotangents, overwritten=rows.overwritten
    )
    together: dict[tuple[str, ...], tuple[str, list[Use]]] = {}
    for path in rows.layers:
        key = tuple(rows.owners[path].values())
        together.setdefault(key, (path, []))[1].extend(uses[path])
    for path, seen in together.values():
        if seen:
            yield _of_layer(rows.layers[path], seen, rows.owners[path])
    for names in _groups(rows.formed):
        yield FormedRows(names, _row_by_row(rows, names, batch, pulled[0]))


def _groups(names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Parameters without a known layer, by the module that owns them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(name.rpartition(".")[0], []).append(name)
    return [tuple(group) for group in groups.values()]


def _of_layer(module: Any, uses: Sequence[Use], names: Names) -> LayerRows:
    """Inputs and derivatives where a layer is linear in its inputs, else derivatives formed."""
    kind = type(module)
    if kind in LINEAR and "weight" in names:
        a = [_positions(use.input, 1) for use in uses]
        delta = [_positions(use.delta, 2) for use in uses]
    elif kind in CONVOLUTIONS and "weight" in names and module.groups == 1:
        dims = len(module.kernel_size)
        a = [_places(conv_patches(module, use.input), 1, 1) for use in uses]
        delta = [_places(use.delta, 2, dims) for use in uses]
    else:
        return _formed(module, uses, names)
    return LinearRows(names["weight"], names.get("bias"), _joined(a, 1), _joined(delta, 2))


def _joined(parts: list[Tensor], axis: int) -> Tensor:
    # Concatenating one tensor copies it, and the derivatives are large.
    return parts[0] if len(parts) == 1 else torch.cat(parts, axis)


def _positions(values: Tensor, lead: int) -> Tensor:
    """(..., T, d) of what lies between `lead` axes and the last."""
    return values.reshape(*values.shape[:lead], -1, values.shape[-1])


def _places(values: Tensor, lead: int, dims: int) -> Tensor:
    """Maps with channels first, (..., d, \\*map), as positions (..., T, d)."""
    flat = values.flatten(-dims)  # (..., d, places)
    return _positions(flat.transpose(-1, -2), lead)


def _formed(module: nn.Module, uses: Sequence[Use], names: Names) -> LayerRows:
    """The layer's own handler, under every cotangent."""
    handler = LAYERS[type(module)]

    def under_one(*deltas):
        own = [replace(use, delta=d) for use, d in zip(uses, deltas, strict=True)]
        return handler(module, own, names)

    K = len(uses[0].delta)
    factors = [under_one(*(use.delta[k] for use in uses)) for k in range(K)]
    first = factors[0]
    if isinstance(first, Lookup):
        delta = torch.stack([factor.delta for factor in factors])
        return LookupRows(first.weight, first.index, delta, first.n_entries)
    own = tuple(names.values())
    return FormedRows(own, torch.stack([_flat(factor.dense(), own) for factor in factors]))


def _row_by_row(rows, names, batch, vectors):
    def along(outputs, vector):
        return (outputs * vector).flatten(1).sum(1)

    each = (Batch(batch.args, vector, batch.kwargs) for vector in vectors)
    formed = (row_by_row(rows.network, names, part, along, loop=rows.loop) for part in each)
    return torch.stack([_flat(gradients, names) for gradients in formed])


def _flat(gradients, names):
    return torch.cat([gradients[name].flatten(1) for name in names], 1)

"""Jacobians of the outputs of a block of rows, as factors of the layers.

With J_i (K, p) the derivative of row i's outputs, a linear layer's part of it is ``delta_k (x) a``
for output k: input a, and delta_k the derivative of output k in the layer's own output. So
``J_i v`` is ``delta_k' (V a)``: one matrix product with all rows' inputs, which is all that
depends on the number of weights, and a small one per row. Tangents never pass through the
network, and per-row Jacobians are formed only where a layer is used several times a row, where
they are fewer numbers than its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

import torch
from torch import Tensor

from skinfluence.torch.curvature.output_parts import Formed, LookedUp, OnePosition, Part
from skinfluence.torch.data import Batch
from skinfluence.torch.gradients import Lookup, Outer, RowGradients, Use, capture_outputs
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.layers import LAYERS
from skinfluence.torch.network import Network


@dataclass
class Linearised:
    """Outputs of b rows, and their derivatives J (b, K, p) in parts."""

    network: Network
    outputs: Tensor
    parts: list[Part]

    def dense(self) -> Tensor:
        """J itself."""
        b, K = len(self.outputs), self.outputs[0].numel()
        J = self.outputs.new_zeros(b, K, self.network.n_params)
        for part in self.parts:
            for name, values in part.dense().items():
                J[:, :, self.network.spans[name]] = values.reshape(b, K, -1)
        return J

    def times(self, V: Mapping[str, Tensor]) -> Tensor:
        """``J_i v_m`` of vectors (M, \\*shape) by name, (b, M, K)."""
        found = self.parts[0].times(V)
        for part in self.parts[1:]:
            found += part.times(V)
        return found

    def adjoint(self, U: Tensor) -> Tensor:
        """``sum_i J_i' u_mi``, (M, p), of U (b, M, K)."""
        found = U.new_zeros(U.shape[1], self.network.n_params)
        for part in self.parts:
            for name, values in part.adjoint(U).items():
                found[:, self.network.spans[name]] = values.reshape(len(found), -1)
        return found


@dataclass
class Cost:
    """Multiplications, and numbers held, for a row; of all layers together.

    Parameters
    ----------
    passing : int
        Multiplications of a pass through the layers.
    product : int
        Multiplications of a product with a vector.
    held, each, formed : int
        Numbers of a row's derivatives, of their products with a vector on the way, and of the
        derivatives that are formed because no structure of theirs is known.
    """

    passing: int = 0
    product: int = 0
    held: int = 0
    each: int = 0
    formed: int = 0

    def add(self, passing: int, product: int, held: int, each: int, formed: int = 0) -> None:
        """Count one more layer."""
        self.passing, self.product = self.passing + passing, self.product + product
        self.held, self.each = self.held + held, self.each + each
        self.formed += formed


class OutputGradients:
    """Linearises the outputs of a network in its explained parameters, block by block.

    Which layers come apart is what `RowGradients` has found to agree with autograd, for a fixed
    combination of all outputs; derivatives in other parameters are formed row by row.
    """

    def __init__(self, network: Network, probe: Batch):
        self.network = network
        self.gradients = RowGradients(network, _combination, probe)

    @property
    def formed(self) -> tuple[str, ...]:
        """Parameters whose derivatives are formed row by row."""
        return self.gradients.formed

    def cost(self, batch: Batch, K: int) -> Cost:
        """What the derivatives of K outputs take, from one row's of one."""
        total = Cost()
        for factor in self.gradients.block(batch[:1]).factors:
            if _once_a_row(factor):
                d_in, d_out = factor.a.shape[2], factor.delta.shape[2]
                total.add(d_in * d_out, (d_in + K) * d_out, d_in + K * d_out, d_out)
            elif isinstance(factor, Lookup):
                seen = factor.delta.numel()
                total.add(seen, K * seen, K * seen, seen)
            else:
                p = sum(self.network.shapes[name].numel() for name in factor.names)
                T = factor.a.shape[1] if isinstance(factor, Outer) else 1
                total.add(T * p, K * p, K * p, K, K * p)
        return total

    def __call__(self, batch: Batch) -> Linearised:
        """One pass forward, and one back for each output."""
        rows = self.gradients
        outputs, uses = capture_outputs(
            self.network, rows.layers, batch, overwritten=rows.overwritten
        )
        together: dict[tuple[str, ...], tuple[str, list[Use]]] = {}
        for path in rows.layers:  # layers that share their parameters are one
            key = tuple(rows.owners[path].values())
            together.setdefault(key, (path, []))[1].extend(uses[path])
        parts = [self._part(path, seen, outputs) for path, seen in together.values() if seen]
        if rows.formed:
            parts.append(self._row_by_row(outputs, batch))
        return Linearised(self.network, outputs, parts or [self._nothing(outputs)])

    def _part(self, path, uses, outputs):
        """The factors of the K outputs of one layer, together."""
        module, names = self.gradients.layers[path], self.gradients.owners[path]
        each = [
            LAYERS[type(module)](module, [replace(use, delta=use.delta[k]) for use in uses], names)
            for k in range(outputs[0].numel())
        ]
        first = each[0]
        if _once_a_row(first):
            delta = torch.stack([factor.delta[:, 0] for factor in each], 1)  # type: ignore[attr-defined]
            return OnePosition(first.weight, first.bias, first.a[:, 0], delta)
        if isinstance(first, Lookup):
            delta = torch.stack([factor.delta for factor in each], 1)  # type: ignore[attr-defined]
            return LookedUp(first.weight, first.index, delta, first.n_entries)
        formed = [factor.dense() for factor in each]
        return Formed({n: torch.stack([g[n] for g in formed], 1) for n in formed[0]})

    def _row_by_row(self, outputs, batch):
        each = [
            row_by_row(
                self.network,
                self.formed,
                batch,
                _Output(k),
                loop=self.gradients.loop,
            )
            for k in range(outputs[0].numel())
        ]
        return Formed({name: torch.stack([g[name] for g in each], 1) for name in self.formed})

    def _nothing(self, outputs):
        name, shape = next(iter(self.network.shapes.items()))
        return Formed({name: outputs.new_zeros(len(outputs), outputs[0].numel(), *shape)})


def _once_a_row(factor: Any) -> TypeGuard[Outer]:
    """Whether a factor is that of a linear map which a row uses once."""
    return isinstance(factor, Outer) and factor.a.shape[1] == 1 and factor.shape is None


@dataclass
class _Output:
    """Output k of each row, (b,)."""

    k: int

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return outputs.reshape(len(outputs), -1)[:, self.k]


def _combination(outputs: Tensor, y: Tensor | None) -> Tensor:
    """All outputs of a row with weights that differ, (b,)."""
    flat = outputs.reshape(len(outputs), -1)
    return flat @ torch.linspace(0.5, 1.5, flat.shape[1]).to(flat)


# Numbers of a temporary in `gram`.
AT_ONCE = 2**23


def gram(linear: Linearised, C: Tensor, total: Tensor) -> None:
    """Add ``sum_i J_i' C_i J_i`` to a matrix (p, p).

    A block of two linear layers is ``sum_i (D_i' C_i D'_i) (x) (a_i a'_i')``: one matrix product
    of the rows' outer products, with as many multiplications as the block has numbers, where
    products with Jacobians would take K times as many.
    """
    sides = [side for part in linear.parts for side in part.outer()]
    spans = linear.network.spans
    for j, (mine, a, D) in enumerate(sides):
        bent = C @ D
        for theirs, b, E in sides[: j + 1]:
            found = _block(a, bent, b, E)
            total[spans[mine], spans[theirs]] += found
            if mine != theirs:
                total[spans[theirs], spans[mine]] += found.T


def _block(a: Tensor | None, D: Tensor, b: Tensor | None, E: Tensor) -> Tensor:
    """``sum_n (D_n (x) a_n)' (E_n (x) b_n)``, (o i, o' i'), of D (n, K, o) and a (n, i)."""
    o, p = D.shape[2], E.shape[2]
    if a is None and b is None:
        return D.flatten(0, 1).T @ E.flatten(0, 1)
    a = D.new_ones(len(D), 1) if a is None else a
    b = D.new_ones(len(D), 1) if b is None else b
    i, j = a.shape[1], b.shape[1]
    total = D.new_zeros(i * j, o * p)
    size = max(1, AT_ONCE // (i * j + o * p))
    for start in range(0, len(D), size):
        n = slice(start, start + size)
        inputs = (a[n, :, None] * b[n, None]).flatten(1)
        total.addmm_(inputs.T, (D[n].mT @ E[n]).flatten(1))
    return total.view(i, j, o, p).permute(2, 0, 3, 1).reshape(o * i, p * j)

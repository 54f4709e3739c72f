"""Jacobians of the outputs of a block of rows, as factors of the layers.

With J_i (K, p) the derivative of row i's outputs, a linear layer's part of it is ``delta_k (x) a``
for output k: input a, and delta_k the derivative of output k in the layer's own output. So
``J_i v`` is ``delta_k' (V a)``: one matrix product with all rows' inputs, which is all that
depends on the number of weights, and a small one per row. Tangents never pass through the
network, and per-row Jacobians are formed only where a layer is used several times a row, where
they are fewer numbers than its inputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skinfluence.torch.data import Batch
from skinfluence.torch.gradients import Factor, Outer, RowGradients
from skinfluence.torch.gradients.capture import capture_outputs
from skinfluence.torch.gradients.fallback import row_by_row
from skinfluence.torch.gradients.layers import LAYERS, Use
from skinfluence.torch.network import Network


class Part(ABC):
    """Derivatives of K outputs of b rows in some of the parameters.

    The law: every method equals the same on ``dense()``.
    """

    @abstractmethod
    def work(self) -> int:
        """Multiplications of a row's pass through the layer."""

    @abstractmethod
    def work_of_a_product(self) -> int:
        """Multiplications of a row's product with a vector."""

    @abstractmethod
    def n_elements(self, n_vectors: int) -> int:
        """Numbers held for a row, with those on the way to its products."""

    @abstractmethod
    def dense(self) -> dict[str, Tensor]:
        """The derivatives themselves, (b, K, \\*shape) by name."""

    @abstractmethod
    def times(self, parts: Mapping[str, Tensor]) -> Tensor:
        """``J_i v_m``, (b, M, K)."""

    @abstractmethod
    def adjoint(self, U: Tensor) -> dict[str, Tensor]:
        """``sum_i J_i' u_mi`` by name, (M, \\*shape); U is (b, M, K)."""

    @abstractmethod
    def diagonal(self, C: Tensor) -> dict[str, Tensor]:
        """Diagonal of ``sum_i J_i' C_i J_i`` by name, (\\*shape); C is (b, K, K)."""

    @abstractmethod
    def outer(self) -> list[tuple[str, Tensor | None, Tensor]]:
        """By name: J_i' as ``D_i (x) a_i``, a (b, i) or None for 1, and D (b, K, o)."""


@dataclass
class OnePosition(Part):
    """A linear map used once a row: input a (b, d_in), derivatives delta (b, K, d_out)."""

    weight: str
    bias: str | None
    a: Tensor
    delta: Tensor

    def work(self) -> int:
        return self.a.shape[1] * self.delta.shape[2]

    def work_of_a_product(self) -> int:
        return self.work() + self.delta.shape[1] * self.delta.shape[2]

    def n_elements(self, n_vectors: int) -> int:
        K, d_out = self.delta.shape[1:]
        return self.a.shape[1] + (K + n_vectors) * d_out

    def dense(self) -> dict[str, Tensor]:
        found = {self.weight: self.delta[..., None] * self.a[:, None, None]}
        return found if self.bias is None else {**found, self.bias: self.delta}

    def times(self, parts: Mapping[str, Tensor]) -> Tensor:
        V = parts[self.weight]  # (M, d_out, d_in)
        half = (self.a @ V.flatten(0, 1).T).unflatten(1, V.shape[:2])  # (b, M, d_out)
        if self.bias is not None:
            half += parts[self.bias]
        return half @ self.delta.mT

    def adjoint(self, U: Tensor) -> dict[str, Tensor]:
        half = U @ self.delta  # (b, M, d_out)
        found = {self.weight: (half.flatten(1).T @ self.a).unflatten(0, half.shape[1:])}
        return found if self.bias is None else {**found, self.bias: half.sum(0)}

    def diagonal(self, C: Tensor) -> dict[str, Tensor]:
        squares = (self.delta * (C @ self.delta)).sum(1)  # (b, d_out)
        found = {self.weight: squares.T @ self.a.square()}
        return found if self.bias is None else {**found, self.bias: squares.sum(0)}

    def outer(self) -> list[tuple[str, Tensor | None, Tensor]]:
        found: list[tuple[str, Tensor | None, Tensor]] = [(self.weight, self.a, self.delta)]
        return found if self.bias is None else [*found, (self.bias, None, self.delta)]


@dataclass
class Formed(Part):
    """Derivatives that are at hand: (b, K, \\*shape) by name.

    Parameters
    ----------
    values : dict of str to Tensor
    positions : int, default=1
        How often a row uses the layer, where that is known.
    """

    values: dict[str, Tensor]
    positions: int = 1

    def work(self) -> int:
        return self.positions * sum(J[0, 0].numel() for J in self.values.values())

    def work_of_a_product(self) -> int:
        return sum(J[0].numel() for J in self.values.values())

    def n_elements(self, n_vectors: int) -> int:
        K = next(iter(self.values.values())).shape[1]
        return self.work_of_a_product() + n_vectors * K

    def dense(self) -> dict[str, Tensor]:
        return self.values

    def times(self, parts: Mapping[str, Tensor]) -> Tensor:
        found = [
            parts[name].reshape(len(parts[name]), -1) @ J.flatten(0, 1).flatten(1).T
            for name, J in self._flat()
        ]
        b, K = next(iter(self.values.values())).shape[:2]
        return torch.stack(found).sum(0).unflatten(1, (b, K)).transpose(0, 1)

    def adjoint(self, U: Tensor) -> dict[str, Tensor]:
        rows = U.transpose(0, 1).flatten(1)  # (M, b K)
        return {
            name: (rows @ J.flatten(0, 1)).view(len(rows), *self.values[name].shape[2:])
            for name, J in self._flat()
        }

    def diagonal(self, C: Tensor) -> dict[str, Tensor]:
        return {
            name: (J * (C @ J)).sum((0, 1)).view(self.values[name].shape[2:])
            for name, J in self._flat()
        }

    def outer(self) -> list[tuple[str, Tensor | None, Tensor]]:
        return [(name, None, J) for name, J in self._flat()]

    def _flat(self):
        return [(name, J.reshape(*J.shape[:2], -1)) for name, J in self.values.items()]


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

    def __call__(self, batch: Batch) -> Linearised:
        """One pass forward, and one back for each output."""
        rows = self.gradients
        outputs, uses = capture_outputs(self.network, rows.layers, batch)
        together: dict[tuple[str, ...], list[Use]] = {}
        last = {}
        for path, module in rows.layers.items():
            key = tuple(rows.owners[path].values())
            together.setdefault(key, []).extend(uses[path])
            last[key] = (module, rows.owners[path])
        parts: list[Part] = []
        for key, (module, names) in last.items():
            if together[key]:
                handle = LAYERS[type(module)]
                each = [
                    handle(module, [Use(use.input, use.delta[k]) for use in together[key]], names)
                    for k in range(outputs[0].numel())
                ]
                parts.append(_part(each))
        if rows.formed:
            parts.append(self._row_by_row(outputs, batch))
        return Linearised(self.network, outputs, parts or [self._nothing(outputs)])

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


def _part(each: Sequence[Factor]) -> Part:
    """The factors of the K outputs of one layer, together."""
    first = each[0]
    if isinstance(first, Outer) and first.a.shape[1] == 1 and first.shape is None:
        delta = torch.stack([factor.delta[:, 0] for factor in each], 1)  # type: ignore[attr-defined]
        return OnePosition(first.weight, first.bias, first.a[:, 0], delta)
    formed = [factor.dense() for factor in each]
    positions = first.a.shape[1] if isinstance(first, Outer) else 1
    return Formed({n: torch.stack([g[n] for g in formed], 1) for n in formed[0]}, positions)


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

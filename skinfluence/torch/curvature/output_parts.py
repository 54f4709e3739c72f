"""Derivatives of the K outputs of some rows in one layer's parameters, in the form they come in.

Conventions. Rows come first. Vectors are by name, (M, \\*shape); products with the Jacobians
J_i (K, p) of the rows are (b, M, K).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows whose lines of a table are formed together.
TOGETHER = 16


class Part(ABC):
    """Derivatives of K outputs of b rows in some of the parameters.

    The law: every method equals the same on ``dense()``.
    """

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
    """Derivatives that are at hand: (b, K, \\*shape) by name."""

    values: dict[str, Tensor]

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
class LookedUp(Part):
    """A table (n_entries, d) of which a row uses T lines: index (b, T), delta (b, K, T, d)."""

    weight: str
    index: Tensor
    delta: Tensor
    n_entries: int

    def dense(self) -> dict[str, Tensor]:
        return {self.weight: self._spread(self.index, self.delta, self.n_entries)}

    def times(self, parts: Mapping[str, Tensor]) -> Tensor:
        lines = parts[self.weight][:, self.index]  # (M, b, T, d)
        return lines.transpose(0, 1).flatten(2) @ self.delta.flatten(2).mT

    def adjoint(self, U: Tensor) -> dict[str, Tensor]:
        T, d = self.delta.shape[2:]
        half = (U @ self.delta.flatten(2)).unflatten(2, (T, d))  # (b, M, T, d)
        found = U.new_zeros(U.shape[1], self.n_entries, d)
        lines = half.transpose(0, 1).flatten(1, 2)
        return {self.weight: found.index_add_(1, self.index.reshape(-1), lines)}

    def diagonal(self, C: Tensor) -> dict[str, Tensor]:
        d = self.delta.shape[3]
        found = C.new_zeros(self.n_entries, d)
        for start in range(0, len(C), TOGETHER):
            rows = slice(start, start + TOGETHER)
            # A line that a row uses twice has the sum of both, so the lines of rows are formed.
            entries, at = self.index[rows].unique(return_inverse=True)
            J = self._spread(at, self.delta[rows], len(entries)).flatten(2)
            squares = (J * (C[rows] @ J)).sum((0, 1)).view(len(entries), d)
            found.index_add_(0, entries, squares)
        return {self.weight: found}

    def outer(self) -> list[tuple[str, Tensor | None, Tensor]]:
        return [(self.weight, None, self.dense()[self.weight].flatten(2))]

    def _spread(self, index: Tensor, delta: Tensor, size: int) -> Tensor:
        """Derivatives in `size` entries, (b, K, size, d), at the positions that `index` says."""
        b, K, _, d = delta.shape
        first = size * torch.arange(b * K, device=index.device)
        flat = (index.repeat_interleave(K, 0) + first[:, None]).reshape(-1)
        found = delta.new_zeros(b * K * size, d)
        return found.index_add_(0, flat, delta.reshape(-1, d)).view(b, K, size, d)

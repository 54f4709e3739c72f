"""The gradients of b rows with respect to one layer's parameters, in the form they come in.

Conventions. Rows come first. Gradients are of unweighted row values. ``parts`` are vectors over
all explained parameters, split by name: (M, \\*shape) each. Sums over rows and products of
gradients come back in the type of the factors; who adds layers up does so in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Parts = Mapping[str, Tensor]


class Factor(ABC):
    """Gradients g_1..g_b of some rows with respect to the parameters called `names`.

    The law: every method equals the same on ``dense()``.
    """

    names: tuple[str, ...]

    @abstractmethod
    def dense(self) -> dict[str, Tensor]:
        """The gradients themselves, (b, \\*shape) by name."""

    @abstractmethod
    def n_elements(self) -> int:
        """Numbers held."""

    @abstractmethod
    def pairs(self, other: Factor) -> Tensor:
        """``<g_i, g'_j>`` for all rows of both, (b, b'); `other` is of the same layer."""

    @abstractmethod
    def squares(self) -> Tensor:
        """``|g_i|^2``, (b,)."""

    @abstractmethod
    def times(self, parts: Parts) -> Tensor:
        """``<g_i, v_m>``, (b, M)."""

    @abstractmethod
    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        """``sum_i C_mi g_i`` by name, (M, \\*shape); C is (M, b)."""


@dataclass
class Dense(Factor):
    """Gradients that are at hand: of small parameters, or where nothing better is known."""

    values: dict[str, Tensor]

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(self.values)

    def dense(self) -> dict[str, Tensor]:
        return self.values

    def n_elements(self) -> int:
        return sum(g.numel() for g in self.values.values())

    def pairs(self, other: Factor) -> Tensor:
        theirs = other.dense()
        return _sum(g.flatten(1) @ theirs[name].flatten(1).T for name, g in self.values.items())

    def squares(self) -> Tensor:
        return _sum(g.flatten(1).square().sum(1) for g in self.values.values())

    def times(self, parts: Parts) -> Tensor:
        return _sum(g.flatten(1) @ parts[name].flatten(1).T for name, g in self.values.items())

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        return {
            name: (C @ g.flatten(1)).view(len(C), *g.shape[1:]) for name, g in self.values.items()
        }


@dataclass
class Outer(Factor):
    """Weight (d_out, d_in) and bias of a linear map that is used T times a row.

    ``g_i = sum_t delta_it (x) a_it`` with the map's input a and the derivative delta of the row's
    value in its output; the bias has ``sum_t delta_it``.

    Parameters
    ----------
    weight : str
    bias : str or None
    a : Tensor of shape (b, T, d_in)
    delta : Tensor of shape (b, T, d_out)
    shape : torch.Size or None
        Shape of the weight where it is not (d_out, d_in) itself but flattens to it, as a
        convolution's does.
    """

    weight: str
    bias: str | None
    a: Tensor
    delta: Tensor
    shape: tuple[int, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def dense(self) -> dict[str, Tensor]:
        g = self.delta.transpose(1, 2) @ self.a
        found = {self.weight: g if self.shape is None else g.view(len(g), *self.shape)}
        if self.bias is not None:
            found[self.bias] = self.delta.sum(1)
        return found

    def n_elements(self) -> int:
        return self.a.numel() + self.delta.numel()

    def pairs(self, other: Factor) -> Tensor:
        assert isinstance(other, Outer)
        (b, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        c, S = other.a.shape[:2]
        if T == S == 1:
            inner = self.a[:, 0] @ other.a[:, 0].T
            inner = inner if self.bias is None else inner + 1.0
            return inner * (self.delta[:, 0] @ other.delta[:, 0].T)
        contracted = b * c * T * S * (d_in + d_out)
        formed = (b * T + c * S + b * c) * d_in * d_out
        return self._contracted(other) if contracted < formed else self._formed(other)

    def _contracted(self, other):
        inner = torch.einsum("btd,csd->btcs", self.a, other.a)
        inner = inner if self.bias is None else inner + 1.0
        return (inner * torch.einsum("bto,cso->btcs", self.delta, other.delta)).sum((1, 3))

    def _formed(self, other):
        return Dense(self.dense()).pairs(other)

    def squares(self) -> Tensor:
        (T, d_in), d_out = self.a.shape[1:], self.delta.shape[2]
        if T * (d_in + d_out) > d_in * d_out:
            return Dense(self.dense()).squares()
        inner = self.a @ self.a.transpose(1, 2)
        inner = inner if self.bias is None else inner + 1.0
        return (inner * (self.delta @ self.delta.transpose(1, 2))).sum((1, 2))

    def times(self, parts: Parts) -> Tensor:
        V = parts[self.weight].flatten(2)  # (M, d_out, d_in)
        if self.a.shape[1] > 1:
            found = torch.einsum("boi,moi->bm", self.delta.transpose(1, 2) @ self.a, V)
        elif self.a.shape[2] >= self.delta.shape[2]:
            # The longer side first leaves the smaller intermediate, (b, M, d_out).
            half = torch.einsum("bi,moi->bmo", self.a[:, 0], V)
            found = torch.einsum("bmo,bo->bm", half, self.delta[:, 0])
        else:
            half = torch.einsum("bo,moi->bmi", self.delta[:, 0], V)
            found = torch.einsum("bmi,bi->bm", half, self.a[:, 0])
        if self.bias is not None:
            found = found + self.delta.sum(1) @ parts[self.bias].T
        return found

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        scaled = C[:, :, None, None] * self.delta  # (M, b, T, d_out)
        g = torch.einsum("mbto,bti->moi", scaled, self.a)
        found = {self.weight: g if self.shape is None else g.view(len(g), *self.shape)}
        if self.bias is not None:
            found[self.bias] = C @ self.delta.sum(1)
        return found


def _sum(terms):
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total

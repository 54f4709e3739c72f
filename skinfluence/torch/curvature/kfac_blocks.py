"""Symmetric blocks that are diagonal in a known orthonormal basis."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from skinfluence.torch.gradients import Outer

Shapes = Mapping[str, torch.Size]
Parts = Mapping[str, Tensor]


class EigenBlock(ABC):
    """``Q diag(values) Q'`` over the parameters `names`, Q orthonormal.

    Conventions. ``parts`` are vectors by parameter, (M, \\*shape) each; coordinates are
    (M, \\*values.shape).

    Attributes
    ----------
    names : tuple of str
    values : Tensor
        Eigenvalues, in any shape; not negative.
    penalty : {"none", "exact", "mean"}
        How a penalty's diagonal came into the values: "mean" where it differs within the block
        and only its diagonal in the basis was kept.
    """

    names: tuple[str, ...]
    values: Tensor
    penalty: str = "none"

    def with_values(self, values: Tensor, *, penalty: str = "none") -> Self:
        """The same basis with other eigenvalues."""
        twin = copy.copy(self)
        twin.values, twin.penalty = values, penalty
        return twin

    @abstractmethod
    def rotate(self, parts: Parts) -> Tensor:
        """Coordinates ``Q' v`` in the basis."""

    @abstractmethod
    def back(self, coordinates: Tensor) -> dict[str, Tensor]:
        """``Q`` times coordinates, by parameter."""

    @abstractmethod
    def rotated_diagonal(self, parts: Parts) -> Tensor:
        """Diagonal of ``Q' diag(c) Q``, shaped as `values`, of one vector c (1, \\*shape)."""

    @abstractmethod
    def diagonal(self) -> dict[str, Tensor]:
        """Diagonal of the block itself, (1, \\*shape) by parameter."""


@dataclass
class KroneckerBlock(EigenBlock):
    """Weight and bias of a linear map: ``Q = Q_out (x) Q_in``, values (d_out, d_in [+ 1]).

    Parameters
    ----------
    names : tuple of str
        Weight, and bias if there is one: then the last input is a constant 1.
    shapes : mapping of str to torch.Size
    q_in, q_out : Tensor
        Eigenvectors in columns.
    values : Tensor of shape (d_out, d_in [+ 1])
    """

    names: tuple[str, ...]
    shapes: Shapes
    q_in: Tensor
    q_out: Tensor
    values: Tensor

    @property
    def weight(self) -> str:
        return self.names[0]

    @property
    def bias(self) -> str | None:
        return self.names[1] if len(self.names) > 1 else None

    def joined(self, parts: Parts) -> Tensor:
        """Weights (M, d_out, d_in) with the bias as last column."""
        W = parts[self.weight].flatten(2) if parts[self.weight].ndim > 3 else parts[self.weight]
        return W if self.bias is None else torch.cat([W, parts[self.bias][:, :, None]], 2)

    def apart(self, joined: Tensor) -> dict[str, Tensor]:
        """Undo `joined`."""
        found, W = {}, joined
        if self.bias is not None:
            found[self.bias], W = joined[:, :, -1], joined[:, :, :-1]
        found[self.weight] = W.reshape(len(joined), *self.shapes[self.weight])
        return found

    def rotate(self, parts: Parts) -> Tensor:
        return self.q_out.T @ (self.joined(parts) @ self.q_in)

    def back(self, coordinates: Tensor) -> dict[str, Tensor]:
        return self.apart(self.q_out @ coordinates @ self.q_in.T)

    def rotated_diagonal(self, parts: Parts) -> Tensor:
        return self.q_out.T.square() @ self.joined(parts)[0] @ self.q_in.square()

    def diagonal(self) -> dict[str, Tensor]:
        return self.apart((self.q_out.square() @ self.values @ self.q_in.square().T)[None])

    def rotate_inputs(self, a: Tensor) -> Tensor:
        """Inputs (..., d_in) in the basis, the constant 1 joined to them."""
        return a @ self.q_in if self.bias is None else a @ self.q_in[:-1] + self.q_in[-1]

    def coordinates(self, rows: Outer) -> Tensor:
        """``Q' g_i`` of every row, (b, d_out, d_in): rotated before they are multiplied."""
        return (rows.delta @ self.q_out).transpose(1, 2) @ self.rotate_inputs(rows.a)

    def quadratic(self, rows: Outer, scale: Tensor) -> Tensor:
        """``sum of scale * (Q' g_i)^2`` of every row, (b,), without its gradient where T = 1."""
        if rows.a.shape[1] == 1:
            a, delta = self.rotate_inputs(rows.a), rows.delta @ self.q_out
            return (delta[:, 0].square() @ scale * a[:, 0].square()).sum(1)
        return torch.einsum("boi,oi->b", self.coordinates(rows).square(), scale)


@dataclass
class DenseBlock(EigenBlock):
    """Any small block: Q (k, k), eigenvectors in columns."""

    names: tuple[str, ...]
    shapes: Shapes
    q: Tensor
    values: Tensor

    def rotate(self, parts: Parts) -> Tensor:
        return _joined(parts, self.names) @ self.q

    def back(self, coordinates: Tensor) -> dict[str, Tensor]:
        return _apart(coordinates @ self.q.T, self.names, self.shapes)

    def rotated_diagonal(self, parts: Parts) -> Tensor:
        return _joined(parts, self.names)[0] @ self.q.square()

    def diagonal(self) -> dict[str, Tensor]:
        return _apart((self.q.square() @ self.values)[None], self.names, self.shapes)


@dataclass
class DiagonalBlock(EigenBlock):
    """A diagonal: the basis is that of the parameters."""

    names: tuple[str, ...]
    shapes: Shapes
    values: Tensor

    def rotate(self, parts: Parts) -> Tensor:
        return _joined(parts, self.names)

    def back(self, coordinates: Tensor) -> dict[str, Tensor]:
        return _apart(coordinates, self.names, self.shapes)

    def rotated_diagonal(self, parts: Parts) -> Tensor:
        return _joined(parts, self.names)[0]

    def diagonal(self) -> dict[str, Tensor]:
        return _apart(self.values[None], self.names, self.shapes)


def _joined(parts: Parts, names: tuple[str, ...]) -> Tensor:
    return torch.cat([parts[name].flatten(1) for name in names], 1)


def _apart(V: Tensor, names: tuple[str, ...], shapes: Shapes) -> dict[str, Tensor]:
    each = V.split([shapes[name].numel() for name in names], 1)
    return {n: v.reshape(len(V), *shapes[n]) for n, v in zip(names, each, strict=True)}

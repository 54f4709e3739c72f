"""The gradients of b rows with respect to one layer's parameters, in the form they come in.

Conventions. Rows come first. Gradients are of unweighted row values. ``parts`` are vectors over
all explained parameters, split by name: (M, \\*shape) each. Sums over rows and products of
gradients come back in the type of the factors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from sklearn import get_config
from torch import Tensor

Parts = Mapping[str, Tensor]

# Bytes of temporaries beyond which paging them in costs more than larger products gain: 64 MiB
# are 1.3-2.7 times as fast as 1 GiB, and as 4 MiB (float32, one thread of a CPU).
HELD = 64 * 2**20


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
    def grams(self, m: int) -> Tensor:
        """``<g_i, g_j>`` within groups of m consecutive rows, (b/m, m, m)."""

    @abstractmethod
    def scaled(self, scales: Mapping[str, float]) -> Factor:
        """The gradient of each parameter times a number."""

    @abstractmethod
    def weighted_squares(self, D: Parts) -> Tensor:
        """``sum_k D_k g_ik^2``, (b,); D has the shape of each parameter."""

    @abstractmethod
    def weighted_sums(self, D: Parts, m: int) -> Tensor:
        """``sum_k D_k g_ik s_k``, s the sum over the m rows of the group, (b/m, m)."""

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
        return total(g.flatten(1) @ theirs[name].flatten(1).T for name, g in self.values.items())

    def squares(self) -> Tensor:
        return total(norms(g.flatten(1)) for g in self.values.values())

    def grams(self, m: int) -> Tensor:
        return total(products(g.view(-1, m, g[0].numel())) for g in self.values.values())

    def scaled(self, scales: Mapping[str, float]) -> Dense:
        return Dense({name: g * scales[name] for name, g in self.values.items()})

    def weighted_squares(self, D: Parts) -> Tensor:
        return total(g.flatten(1).square() @ D[name].flatten() for name, g in self.values.items())

    def weighted_sums(self, D: Parts, m: int) -> Tensor:
        return total(self._weighted_sums(name, D[name].flatten(), m) for name in self.values)

    def _weighted_sums(self, name: str, D: Tensor, m: int) -> Tensor:
        g = self.values[name].view(-1, m, len(D))
        return (g @ (g.sum(1) * D)[:, :, None])[:, :, 0]

    def times(self, parts: Parts) -> Tensor:
        return total(g.flatten(1) @ parts[name].flatten(1).T for name, g in self.values.items())

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        return {
            name: (C @ g.flatten(1)).view(len(C), *g.shape[1:]) for name, g in self.values.items()
        }


@dataclass
class Together(Factor):
    """Factors of one layer, whose parameters' gradients come in different forms."""

    parts: tuple[Factor, ...]

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return tuple(name for part in self.parts for name in part.names)

    def dense(self) -> dict[str, Tensor]:
        return {name: g for part in self.parts for name, g in part.dense().items()}

    def n_elements(self) -> int:
        return sum(part.n_elements() for part in self.parts)

    def pairs(self, other: Factor) -> Tensor:
        assert isinstance(other, Together)
        return total(a.pairs(b) for a, b in zip(self.parts, other.parts, strict=True))

    def squares(self) -> Tensor:
        return total(part.squares() for part in self.parts)

    def grams(self, m: int) -> Tensor:
        return total(part.grams(m) for part in self.parts)

    def scaled(self, scales: Mapping[str, float]) -> Together:
        return Together(tuple(part.scaled(scales) for part in self.parts))

    def weighted_squares(self, D: Parts) -> Tensor:
        return total(part.weighted_squares(D) for part in self.parts)

    def weighted_sums(self, D: Parts, m: int) -> Tensor:
        return total(part.weighted_sums(D, m) for part in self.parts)

    def times(self, parts: Parts) -> Tensor:
        return total(part.times(parts) for part in self.parts)

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        return {name: g for part in self.parts for name, g in part.adjoint(C).items()}


def total(terms: Iterable[Tensor]) -> Tensor:
    """Sum of tensors; the first is added to, so it has to be the caller's own."""
    terms = iter(terms)
    found = next(terms)
    for term in terms:
        found += term
    return found


def norms(values: Tensor) -> Tensor:
    """Squared norms of rows; the norm reads them once, where a square would also write them."""
    return torch.linalg.vector_norm(values, dim=1).square_()


def products(values: Tensor) -> Tensor:
    """``V V^T`` of every matrix of a stack, (b, m, d) to (b, m, m)."""
    return values @ values.transpose(1, 2)


def chunks(length: int, bytes_each: float) -> Iterator[slice]:
    """Parts of a length whose temporaries fit scikit-learn's ``working_memory``, and HELD."""
    memory = min(get_config()["working_memory"] * 2**20, HELD)
    size = max(1, int(memory / max(1.0, bytes_each)))
    for start in range(0, length, size):
        yield slice(start, min(start + size, length))

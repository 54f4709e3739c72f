"""What gradients are multiplied in at one checkpoint: the rates of its steps, and their scaling.

The products of a checkpoint are ``<t_z, D g_i>`` with a diagonal D >= 0 over the explained
parameters: the share of the training path that belongs to the checkpoint, times what the
optimiser divides gradients by. Where D is one number, or one a tensor, no gradient is formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from skinfluence.torch.gradients import Dense, GradientBlock, RowGradients
from skinfluence.torch.network import Network
from skinfluence.torch.tracing.draws import DrawnRows
from skinfluence.torch.tracing.own import own_squares
from skinfluence.torch.tracing.pilot import Pilot, pilot

# From a block of rows to its products (M, b) with gradients that are held.
Products = Callable[[GradientBlock], Tensor]


class Kernel(ABC):
    """A way to multiply gradients at one checkpoint."""

    @abstractmethod
    def products(self, held: Sequence[GradientBlock]) -> Products:
        """Products of the gradients of some queries with those of blocks of rows.

        Parameters
        ----------
        held : sequence of GradientBlock
            Of M queries, one block after the other.
        """

    @abstractmethod
    def bytes_held(self, held: GradientBlock) -> float:
        """What a query of this kind takes while rows stream past it."""


class Metric(Kernel):
    """D of one checkpoint."""

    @abstractmethod
    def times(self, V: Tensor) -> Tensor:
        """``D v`` of vectors (M, p)."""

    @abstractmethod
    def root(self, block: GradientBlock) -> GradientBlock:
        """A block whose gradients are ``D^1/2 g``."""

    @abstractmethod
    def squares(self, block: GradientBlock) -> Tensor:
        """``<g_i, D g_i>``, (b,)."""

    @abstractmethod
    def unbiased(self, gradients: RowGradients, rows: DrawnRows) -> tuple[Tensor, Tensor]:
        """``<g_i, D g_i>`` of means over draws without bias, and its variance, (n,) each."""

    @abstractmethod
    def pilot(self, gradients: RowGradients, rows: DrawnRows, tol: float) -> Pilot:
        """How many draws a relative error takes."""

    @property
    def dense(self) -> bool:
        """Whether products form gradients."""
        return False


class _Factored(Metric):
    """Metrics under which the layers' factors stay what they are."""

    def products(self, held: Sequence[GradientBlock]) -> Products:
        scaled = [self._scaled(block) for block in held]

        def with_rows(rows: GradientBlock) -> Tensor:
            return torch.cat([self._after(block.pairs(rows)) for block in scaled])

        return with_rows

    def bytes_held(self, held: GradientBlock) -> float:
        return numbers(held) * held.values.element_size() / len(held)

    def _scaled(self, block: GradientBlock) -> GradientBlock:
        return block

    def _after(self, products: Tensor) -> Tensor:
        return products


@dataclass
class Scalar(_Factored):
    """One number for all parameters."""

    rate: float

    def _after(self, products: Tensor) -> Tensor:
        return products.mul_(self.rate)

    def times(self, V: Tensor) -> Tensor:
        return self.rate * V

    def root(self, block: GradientBlock) -> GradientBlock:
        return block.scaled(dict.fromkeys(block.network.names, self.rate**0.5))

    def unbiased(self, gradients: RowGradients, rows: DrawnRows) -> tuple[Tensor, Tensor]:
        values, variances = own_squares(gradients, rows)
        return self.rate * values, self.rate**2 * variances

    def pilot(self, gradients: RowGradients, rows: DrawnRows, tol: float) -> Pilot:
        return pilot(gradients, rows, tol)

    def squares(self, block: GradientBlock) -> Tensor:
        return self.rate * block.squares()


@dataclass
class ByTensor(_Factored):
    """A number for each parameter tensor, as groups of an optimiser have them."""

    network: Network
    rates: Mapping[str, float]

    def _scaled(self, block: GradientBlock) -> GradientBlock:
        return block.scaled(self.rates)

    def times(self, V: Tensor) -> Tensor:
        found = V.clone()
        for name, span in self.network.spans.items():
            found[:, span] *= self.rates[name]
        return found

    def root(self, block: GradientBlock) -> GradientBlock:
        return block.scaled({name: rate**0.5 for name, rate in self.rates.items()})

    def squares(self, block: GradientBlock) -> Tensor:
        return self.root(block).squares()

    def unbiased(self, gradients: RowGradients, rows: DrawnRows) -> tuple[Tensor, Tensor]:
        return own_squares(gradients, rows, self.rates)

    def pilot(self, gradients: RowGradients, rows: DrawnRows, tol: float) -> Pilot:
        return pilot(gradients, rows, tol, self.rates)


@dataclass
class Diagonal(Metric):
    """A number for each parameter, D of shape (p,): queries are formed, rows are not."""

    D: Tensor

    @property
    def dense(self) -> bool:
        return True

    def products(self, held: Sequence[GradientBlock]) -> Products:
        V = torch.cat([block.dense() for block in held])
        V = self.times(V)
        return lambda rows: rows.times(V).T

    def bytes_held(self, held: GradientBlock) -> float:
        return 3.0 * self.D.numel() * self.D.element_size()

    def times(self, V: Tensor) -> Tensor:
        return V * self.D.to(V.dtype)

    def root(self, block: GradientBlock) -> GradientBlock:
        G = block.dense() * self.D.sqrt().to(block.network.dtype)
        return GradientBlock(block.network, [Dense(block.network.split(G))], block.values)

    def squares(self, block: GradientBlock) -> Tensor:
        return block.weighted_squares(self.D)

    def unbiased(self, gradients: RowGradients, rows: DrawnRows) -> tuple[Tensor, Tensor]:
        return own_squares(gradients, rows, self.D)

    def pilot(self, gradients: RowGradients, rows: DrawnRows, tol: float) -> Pilot:
        return pilot(gradients, rows, tol, self.D)


def make_metric(network: Network, rates: Mapping[str, float], scale: Tensor | None) -> Metric:
    """The simplest metric that says what rates and an optimiser's scaling say.

    Parameters
    ----------
    network : Network
    rates : mapping of str to float
        By the name of every explained parameter.
    scale : Tensor of shape (p,) or None
        What the optimiser multiplies gradients by, entry by entry.
    """
    different = {rates[name] for name in network.names}
    if scale is not None:
        spread = torch.cat(
            [network.theta.new_full((shape.numel(),), rates[n]) for n, shape in _shapes(network)]
        )
        return Diagonal(spread * scale)
    if len(different) == 1:
        return Scalar(different.pop())
    return ByTensor(network, {name: rates[name] for name in network.names})


def _shapes(network):
    return network.shapes.items()


def numbers(block: GradientBlock) -> int:
    """Numbers that a block's factors hold."""
    return sum(factor.n_elements() for factor in block.factors)

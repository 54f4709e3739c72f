"""Gradients of a block of rows with respect to all explained parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from skinfluence.torch.gradients.factors import Dense, Factor, total
from skinfluence.torch.network import Network


class GradientBlock:
    """G (b, p) as a list of factors, one a layer.

    Conventions. Vectors are rows, (M, p). Results over rows are float64, whatever the type
    of the network.

    Parameters
    ----------
    network : Network
    factors : sequence of Factor
        Each explained parameter is in at most one; those in none have no gradient here.
    values : Tensor of shape (b,)
        The rows' values.
    """

    def __init__(self, network: Network, factors: Sequence[Factor], values: Tensor):
        self.network, self.factors, self.values = network, factors, values

    @property
    def device(self) -> torch.device:
        return self.network.device

    def __len__(self) -> int:
        return len(self.values)

    def dense(self) -> Tensor:
        """G itself, (b, p)."""
        G = self.network.theta.new_zeros(len(self), self.network.n_params)
        for factor in self.factors:
            for name, g in factor.dense().items():
                G[:, self.network.spans[name]] = g.flatten(1)
        return G

    def pairs(self, other: GradientBlock) -> Tensor:
        """``G G'^T``, (b, b'), with another block of the same parameters."""
        theirs = {factor.names: factor for factor in other.factors}
        shared = [factor for factor in self.factors if factor.names in theirs]
        if not shared:
            return torch.zeros(len(self), len(other), dtype=torch.float64, device=self.device)
        # Layers are added up in their own type: rounding a sum of a few is no more than that of
        # the products, where a float64 copy of each would cost as much as they do.
        return total(_pairs(factor, theirs[factor.names]) for factor in shared).double()

    def squares(self) -> Tensor:
        """``|g_i|^2``, (b,)."""
        return self._over_layers(lambda factor: factor.squares(), len(self))

    def grams(self, m: int) -> Tensor:
        """Products within each group of m consecutive rows, (b/m, m, m)."""
        return self._over_layers(lambda factor: factor.grams(m), len(self) // m, m, m)

    def scaled(self, scales: Mapping[str, float]) -> GradientBlock:
        """The block with each parameter's gradient times a number, given by name."""
        factors = [factor.scaled(scales) for factor in self.factors]
        return GradientBlock(self.network, factors, self.values)

    def weighted_squares(self, D: Tensor) -> Tensor:
        """``sum_k D_k g_ik^2``, (b,), of numbers D (p,)."""
        parts = self.network.params(D.to(self.network.dtype))
        return self._over_layers(lambda factor: factor.weighted_squares(parts), len(self))

    def weighted_sums(self, D: Tensor, m: int) -> Tensor:
        """``sum_k D_k g_ik s_k``, (b/m, m), s the sum over the row's group of m."""
        parts = self.network.params(D.to(self.network.dtype))
        return self._over_layers(lambda factor: factor.weighted_sums(parts, m), len(self) // m, m)

    def times(self, V: Tensor) -> Tensor:
        """``G V^T``, (b, M)."""
        parts = self.network.split(V.to(self.network.dtype))
        return self._over_layers(lambda factor: factor.times(parts), len(self), len(V))

    def adjoint(self, C: Tensor) -> Tensor:
        """``C G``, (M, p), of coefficients (M, b)."""
        C = C.to(self.network.dtype)
        found = self.network.theta.new_zeros(len(C), self.network.n_params)
        for factor in self.factors:
            for name, values in factor.adjoint(C).items():
                found[:, self.network.spans[name]] = values.flatten(1)
        return found

    def _over_layers(self, product: Callable[[Factor], Tensor], *shape: int) -> Tensor:
        found = torch.zeros(*shape, dtype=torch.float64, device=self.device)
        for factor in self.factors:
            found += product(factor)
        return found


def _pairs(mine: Factor, theirs: Factor) -> Tensor:
    """Products of two factors of a layer, whose form may differ with the number of positions."""
    if type(mine) is type(theirs):
        return mine.pairs(theirs)
    return Dense(mine.dense()).pairs(Dense(theirs.dense()))

"""Random projections that keep dot products on average."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.gradients import GradientBlock, Outer

# Columns of a Gaussian matrix that are drawn at a time, each block from a seed of its own.
COLUMNS = 4096


class Projection(ABC):
    """``P v`` with ``E P'P = I``, so that dot products of projections are unbiased.

    The same seed gives the same matrix whatever is projected, and in whatever blocks.

    Attributes
    ----------
    width : int
        Number of dimensions k.
    """

    width: int

    @abstractmethod
    def __call__(self, V: Tensor) -> Tensor:
        """Projections (M, k) of vectors (M, p)."""


class Gaussian(Projection):
    """Dense normal entries of variance 1/k, drawn anew at every use: k x p is never stored.

    Parameters
    ----------
    width : int
    seed : int, default=0
    """

    def __init__(self, width: int, *, seed: int = 0):
        self.width, self.seed = width, seed

    def __call__(self, V: Tensor) -> Tensor:
        total = torch.zeros(len(V), self.width, dtype=torch.float64, device=V.device)
        for columns in _loops.slices(V.shape[1], COLUMNS):
            draw = torch.Generator().manual_seed(_mixed(self.seed, columns.start))
            P = torch.randn(columns.stop - columns.start, self.width, generator=draw)
            total += V[:, columns] @ P.to(V.device, V.dtype)
        return (total / self.width**0.5).to(V.dtype)


class SJLT(Projection):
    """Sparse Johnson-Lindenstrauss transform: every column has s entries of +-s^-1/2 [1]_.

    It costs s operations an entry of a vector, whatever k.

    Parameters
    ----------
    width : int
    n_nonzero : int, default=8
        s, at most `width`: entries fall into s equal parts of the dimensions, one into each.
    seed : int, default=0

    References
    ----------
    .. [1] D. M. Kane and J. Nelson (2014), Sparser Johnson-Lindenstrauss transforms, Journal of
       the ACM 61.
    """

    def __init__(self, width: int, *, n_nonzero: int = 8, seed: int = 0):
        self.width, self.n_nonzero, self.seed = width, min(n_nonzero, width), seed

    def __call__(self, V: Tensor) -> Tensor:
        found = torch.zeros(len(V), self.width, dtype=torch.float64, device=V.device)
        edges = [self.width * s // self.n_nonzero for s in range(self.n_nonzero + 1)]
        for s in range(self.n_nonzero):
            draw = torch.Generator().manual_seed(_mixed(self.seed, s))
            at = torch.randint(edges[s], edges[s + 1], (V.shape[1],), generator=draw)
            signs = torch.randint(0, 2, (V.shape[1],), generator=draw) * 2 - 1
            found.index_add_(1, at.to(V.device), V.double() * signs.to(V.device))
        return (found / self.n_nonzero**0.5).to(V.dtype)


class TwoSided:
    """``P_out (sum_t delta_t a_t') P_in'`` of each layer's gradient, from its factors [1]_.

    Inputs and derivatives are projected and then multiplied: the gradient of a linear layer is
    never formed. Other parameters go through a Gaussian projection of the same size.

    Parameters
    ----------
    inner : int
        Dimensions that a layer's inputs, and its derivatives, are projected to: `inner` squared a
        layer.
    seed : int, default=0

    References
    ----------
    .. [1] S. K. Choe et al. (2024), What is your data worth to GPT? LLM-scale data valuation with
       influence functions.
    """

    def __init__(self, inner: int, *, seed: int = 0):
        self.inner, self.seed = inner, seed

    def of_block(self, block: GradientBlock) -> Tensor:
        """Projected gradients of a block's rows, (b, k)."""
        found = []
        for j, factor in enumerate(block.factors):
            if isinstance(factor, Outer):
                a = factor.a
                if factor.bias is not None:
                    constant = a.new_full((*a.shape[:-1], 1), factor.constant)
                    a = torch.cat([a, constant], -1)
                found.append(self._outer(j, factor.delta, a))
            else:
                flat = torch.cat([g.flatten(1) for g in factor.dense().values()], 1)
                found.append(self._side(j, 2, flat, self.inner**2))
        return torch.cat(found, 1)

    def of_vector(self, block: GradientBlock, vector: Tensor) -> Tensor:
        """The same of one vector over the parameters (p,), (1, k): layers as in the block."""
        parts, found = block.network.split(vector[None]), []
        for j, factor in enumerate(block.factors):
            if isinstance(factor, Outer):
                D = parts[factor.weight].flatten(2)  # (1, d_out, d_in)
                if factor.bias is not None:
                    D = torch.cat([D, parts[factor.bias][:, :, None]], 2)
                # D is the sum over its rows of a unit vector times the row.
                unit = torch.eye(D.shape[1], dtype=D.dtype, device=D.device)[None]
                found.append(self._outer(j, unit, D))
            else:
                flat = torch.cat([parts[name].flatten(1) for name in factor.names], 1)
                found.append(self._side(j, 2, flat, self.inner**2))
        return torch.cat(found, 1)

    def _outer(self, j, delta, a):
        """``P_out sum_t delta_t a_t' P_in'``, (b, k)."""
        delta, a = self._side(j, 1, delta, self.inner), self._side(j, 0, a, self.inner)
        return (delta.transpose(1, 2) @ a).flatten(1)

    def _side(self, j, side, values, width):
        """The last axis in at most `width` dimensions: as it is where it has no more."""
        if values.shape[-1] <= width:
            return values
        flat = values.reshape(-1, values.shape[-1])
        found = Gaussian(width, seed=_mixed(self.seed, 3 * j + side))(flat)
        return found.view(*values.shape[:-1], width)


def make_projection(asked: Any, seed: int) -> Projection | TwoSided | None:
    """A number of dimensions as a sparse transform; a projection as it is."""
    if asked is None or isinstance(asked, Projection | TwoSided):
        return asked
    return SJLT(int(asked), seed=seed)


def _mixed(seed: int, part: int) -> int:
    """One seed a part, far from those of other seeds."""
    return (seed * 1_000_003 + part * 7_919 + 12_345) % (2**62)

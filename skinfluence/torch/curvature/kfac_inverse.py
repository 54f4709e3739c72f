"""Inverse of a curvature whose blocks are diagonal in a known basis."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.curvature.kfac_blocks import EigenBlock, KroneckerBlock
from skinfluence.torch.gradients import GradientBlock, Outer
from skinfluence.torch.network import Network

# Eigenvalues below this share of a block's largest are rounding, by type.
ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-6}


class EigenInverse(Inverse):
    """``Q (values + W damping)^-1 Q'``, block by block; exact for the blocks it is given.

    Without damping, directions whose eigenvalue is zero to rounding get none (the
    pseudo-inverse); ``report()`` counts them.

    Parameters
    ----------
    network : Network
    blocks : sequence of EigenBlock
        Together they hold every explained parameter once.
    total_weight : float
        W.
    damping : float
    """

    def __init__(
        self,
        network: Network,
        blocks: Sequence[EigenBlock],
        *,
        total_weight: float,
        damping: float,
    ):
        self.network, self.blocks, self.damping = network, blocks, damping
        self._scales = [self._scale(block.values, total_weight * damping) for block in blocks]

    def _scale(self, values: Tensor, added: float) -> Tensor:
        if added > 0:
            return 1.0 / (values + added)
        seen = values > ROUNDING.get(values.dtype, 1e-6) * values.max()
        return torch.where(seen, 1.0 / values, 0.0)

    def __call__(self, V: Tensor) -> Tensor:
        parts, found = self.network.split(V), torch.empty_like(V)
        for block, scale in zip(self.blocks, self._scales, strict=True):
            for name, values in block.back(scale * block.rotate(parts)).items():
                found[:, self.network.spans[name]] = values.flatten(1)
        return found

    def half(self, V: Tensor) -> Tensor:
        parts = self.network.split(V)
        each = zip(self.blocks, self._scales, strict=True)
        return torch.cat([(s.sqrt() * b.rotate(parts)).flatten(1) for b, s in each], 1)

    def of_gradients(self, block: GradientBlock) -> Tensor:
        """The same as of ``block.dense()``, (b, p), at half the cost: factors are rotated."""
        found = self.network.theta.new_empty(len(block), self.network.n_params)
        for own, scale, factor, parts in self._matched(block):
            inner = own.rotate(parts) if factor is None else own.coordinates(factor)
            for name, values in own.back(scale * inner).items():
                found[:, self.network.spans[name]] = values.flatten(1)
        return found

    def quadratic(self, block: GradientBlock) -> Tensor:
        """Of rank-one factors ``((Q_in' a)^2)' S (Q_out' delta)^2``: no gradient is formed."""
        total = torch.zeros(len(block), dtype=torch.float64, device=block.values.device)
        for own, scale, factor, parts in self._matched(block):
            if factor is None:
                total += (scale * own.rotate(parts).square()).flatten(1).sum(1)
            else:
                total += own.quadratic(factor, scale)
        return total

    def _matched(self, block: GradientBlock) -> Iterator[tuple[Any, Tensor, Any, Any]]:
        """Our blocks and scales with the rows' factor, or their gradients where it is not one."""
        factors = {factor.names: factor for factor in block.factors}
        kept = {
            own.names: factors.pop(own.names)
            for own in self.blocks
            if isinstance(own, KroneckerBlock) and isinstance(factors.get(own.names), Outer)
        }
        formed = {name: g for factor in factors.values() for name, g in factor.dense().items()}
        for own, scale in zip(self.blocks, self._scales, strict=True):
            if own.names in kept:
                yield own, scale, kept[own.names], None
                continue
            absent = [name for name in own.names if name not in formed]
            zeros = {n: scale.new_zeros(len(block), *self.network.shapes[n]) for n in absent}
            yield own, scale, None, {**formed, **zeros}

    def report(self) -> dict[str, Any]:
        """Damping, and of every block its kind, size, eigenvalues and directions left out."""
        each = zip(self.blocks, self._scales, strict=True)
        return {
            **super().report(),
            "layers": {", ".join(b.names): _describe(b, s) for b, s in each},
        }


def _describe(block: EigenBlock, scale: Tensor) -> dict[str, Any]:
    return {
        "kind": type(block).__name__.removesuffix("Block").lower(),
        "n_params": block.values.numel(),
        "eigenvalues": (float(block.values.min()), float(block.values.max())),
        "penalty": block.penalty,
        "n_left_out": int((scale == 0).sum()),
    }

"""Inverse of a curvature whose blocks are diagonal in a known basis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature.kfac_blocks import EigenBlock, KroneckerBlock
from skinfluence.torch.gradients import GradientBlock, Outer
from skinfluence.torch.network import Network
from skinfluence.torch.solvers.base import Inverse

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

    def quadratic(self, block: GradientBlock) -> Tensor:
        """Of rank-one factors ``((Q_in' a)^2)' S (Q_out' delta)^2``: no gradient is formed."""
        total = torch.zeros(len(block), dtype=torch.float64, device=block.values.device)
        factors = {factor.names: factor for factor in block.factors}
        rest = []
        for own, scale in zip(self.blocks, self._scales, strict=True):
            factor = factors.get(own.names)
            if isinstance(own, KroneckerBlock) and isinstance(factor, Outer):
                total += own.quadratic(factor, scale)
                del factors[own.names]
            else:
                rest.append((own, scale))
        parts = {n: g for factor in factors.values() for n, g in factor.dense().items()}
        for own, scale in rest:
            total += self._of_formed(own, scale, parts, len(block))
        return total

    def _of_formed(self, own, scale, parts, b):
        if not parts.keys() & set(own.names):
            return 0.0
        shapes = self.network.shapes
        ours = {
            name: parts[name] if name in parts else scale.new_zeros(b, *shapes[name])
            for name in own.names
        }
        return (scale * own.rotate(ours).square()).flatten(1).sum(1)

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

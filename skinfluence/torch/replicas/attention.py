"""Multi-head attention as linear maps, products and a softmax."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skinfluence.torch.replicas.recurrent import tied_linear


class OpenAttention(nn.MultiheadAttention):
    """Attention whose two weights are linear layers: ``in_map`` and ``out_proj``."""

    in_map: nn.Linear

    @staticmethod
    def can(layer: nn.MultiheadAttention) -> bool:
        """Whether a layer has one weight for queries, keys and values, and nothing appended."""
        return (
            layer.in_proj_weight is not None and layer.bias_k is None and not layer.add_zero_attn
        )

    @classmethod
    def take_over(cls, layer: Any) -> None:
        """Make a layer one of this class: everything it holds stays."""
        layer.__class__ = cls
        layer.add_module("in_map", tied_linear(layer.in_proj_weight, layer.in_proj_bias))
        layer.out_proj.__class__ = nn.Linear  # a Linear under another name
        layer.train(layer.training)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        if query.ndim != 3:
            return super().forward(
                query,
                key,
                value,
                key_padding_mask,
                need_weights,
                attn_mask,
                average_attn_weights,
                is_causal,
            )
        q, k, v = (self._heads(part) for part in self._projected(query, key, value))
        scores = q @ k.transpose(-1, -2) * self.head_dim**-0.5  # (b, heads, L, S)
        for mask in self._masks(key_padding_mask, attn_mask, scores.shape):
            hidden = mask.dtype == torch.bool
            scores = scores.masked_fill(mask, -torch.inf) if hidden else scores + mask
        weights = scores.softmax(-1)
        mixed = F.dropout(weights, self.dropout, self.training) @ v
        out = self.out_proj(mixed.transpose(1, 2).flatten(2))
        seen = (weights.mean(1) if average_attn_weights else weights) if need_weights else None
        return out if self.batch_first else out.transpose(0, 1), seen

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, rows first; an input that comes twice is mapped once."""
        mapped: dict[int, tuple[Tensor, ...]] = {}
        for x in (query, key, value):
            if id(x) not in mapped:
                rows_first = x if self.batch_first else x.transpose(0, 1)
                mapped[id(x)] = self.in_map(rows_first).chunk(3, -1)
        return tuple(mapped[id(x)][i] for i, x in enumerate((query, key, value)))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)

    def _masks(self, padding: Tensor | None, mask: Tensor | None, shape: torch.Size):
        """The masks as they add to scores (b, heads, L, S)."""
        if padding is not None:
            yield padding[:, None, None, :]
        if mask is not None:
            yield mask.view(-1, *shape[1:]) if mask.ndim == 3 else mask

"""Gradients of a table of vectors: derivatives at the entries that a row looks up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skinfluence.torch.gradients.factors import Factor, Parts, chunks, norms
from skinfluence.torch.gradients.layers import Names, Use, joined, layer, positions


@dataclass
class Lookup(Factor):
    """Weight (n_entries, d) of which a row uses T lines: ``g_i = sum_t e_index_it (x) delta_it``.

    Products run over the entries that occur, never over the table.

    Parameters
    ----------
    weight : str
    index : Tensor of shape (b, T)
    delta : Tensor of shape (b, T, d)
    n_entries : int
    """

    weight: str
    index: Tensor
    delta: Tensor
    n_entries: int

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.weight,)

    def dense(self) -> dict[str, Tensor]:
        return {self.weight: self._spread(self.index, self.n_entries)}

    def n_elements(self) -> int:
        return self.index.numel() + self.delta.numel()

    def _spread(self, index: Tensor, size: int) -> Tensor:
        """Gradients over `size` entries, (b, size, d), at the positions that `index` says."""
        (b, T), d = index.shape, self.delta.shape[2]
        flat = (index + size * torch.arange(b, device=index.device)[:, None]).reshape(-1)
        found = self.delta.new_zeros(b * size, d)
        return found.index_add_(0, flat, self.delta.reshape(b * T, d)).view(b, size, d)

    def _against(self, entries: Tensor, table: Tensor) -> Tensor:
        """``sum_t delta_it . table[:, index_it]`` for tables (c, U, d) of some entries, (b, c).

        A bag of embeddings: row i adds up the lines (word, dimension) of the table it uses, each
        times its delta.
        """
        b, (c, U, d) = len(self.index), table.shape
        at = torch.searchsorted(entries, self.index).clamp_(max=U - 1)
        delta = self.delta * (entries[at] == self.index)[:, :, None]
        lines = (at[:, :, None] * d + torch.arange(d, device=at.device)).view(b, -1)
        weights = delta.reshape(b, -1)
        return F.embedding_bag(
            lines, table.reshape(c, U * d).T.contiguous(), mode="sum", per_sample_weights=weights
        )

    def pairs(self, other: Factor) -> Tensor:
        assert isinstance(other, Lookup)
        d = self.delta.shape[2]
        found = []
        entries = self.index.unique()
        for rows in chunks(len(other.index), 2.0 * len(entries) * d * self.delta.element_size()):
            theirs = other._rows(rows)
            at = torch.searchsorted(entries, theirs.index)
            # What is not in the table goes to a last entry, which is cut off.
            known = entries[at.clamp(max=len(entries) - 1)] == theirs.index
            at = torch.where(known, at, len(entries))
            table = theirs._spread(at, len(entries) + 1)[:, :-1]
            found.append(self._against(entries, table))
        return torch.cat(found, 1)

    def squares(self) -> Tensor:
        row, _, sums = self._used()
        return self.delta.new_zeros(len(self.index)).index_add_(0, row, norms(sums))

    def _used(self) -> tuple[Tensor, Tensor, Tensor]:
        """Row, entry and derivative (d,) of every entry that a row uses, once each."""
        b, d = len(self.index), self.delta.shape[2]
        rows = torch.arange(b, device=self.index.device)[:, None].expand_as(self.index)
        codes, at = (rows * self.n_entries + self.index).unique(return_inverse=True)
        sums = self.delta.new_zeros(len(codes), d)
        sums.index_add_(0, at.reshape(-1), self.delta.reshape(-1, d))
        return codes // self.n_entries, codes % self.n_entries, sums

    def _rows(self, rows: slice) -> Lookup:
        return replace(self, index=self.index[rows], delta=self.delta[rows])

    def _groups(self, m: int) -> list[Lookup]:
        return [self._rows(slice(i, i + m)) for i in range(0, len(self.index), m)]

    def grams(self, m: int) -> Tensor:
        return torch.stack([group.pairs(group) for group in self._groups(m)])

    def scaled(self, scales: Mapping[str, float]) -> Lookup:
        return replace(self, delta=self.delta * scales[self.weight])

    def weighted_squares(self, D: Parts) -> Tensor:
        row, entry, sums = self._used()
        found = self.delta.new_zeros(len(self.index))
        return found.index_add_(0, row, (sums.square_() * D[self.weight][entry]).sum(1))

    def weighted_sums(self, D: Parts, m: int) -> Tensor:
        return torch.cat([group._weighted_sum(D[self.weight]) for group in self._groups(m)])

    def _weighted_sum(self, D: Tensor) -> Tensor:
        """Products with the sum of these rows, over the entries that they use, (1, b)."""
        entries, at = self.index.unique(return_inverse=True)
        g = self._spread(at, len(entries))
        return (g.flatten(1) @ (g.sum(0) * D[entries]).flatten())[None]

    def times(self, parts: Parts) -> Tensor:
        entries = self.index.unique()
        V = parts[self.weight]  # (M, n_entries, d)
        each = 2.0 * len(entries) * V.shape[2] * V.element_size()
        found = [self._against(entries, V[some][:, entries]) for some in chunks(len(V), each)]
        return torch.cat(found, 1)

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        d = self.delta.shape[2]
        found = self.delta.new_zeros(len(C), self.n_entries, d)
        flat = self.index.reshape(-1)
        for c, sums in zip(C, found, strict=True):
            sums.index_add_(0, flat, (c[:, None, None] * self.delta).reshape(-1, d))
        return {self.weight: found}


@layer(nn.Embedding)
def embedding(module: Any, uses: Sequence[Use], names: Names) -> Factor:
    """Derivatives at the words of a row; the padding word has none."""
    index = joined([use.input.reshape(len(use.input), -1, 1) for use in uses])[:, :, 0]
    delta = joined([positions(use.delta) for use in uses])
    if module.padding_idx is not None:
        delta = delta * (index != module.padding_idx)[:, :, None]
    return Lookup(names["weight"], index, delta, module.num_embeddings)

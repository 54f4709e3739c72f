"""Gradients of a linear map: the map's inputs times derivatives in its outputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from skinfluence.torch.gradients.factors import Factor, Parts, chunks, norms, total

# What touching one number of an intermediate costs, in multiply-adds of a matrix product: with 40
# the ratio of the two ways is met within a factor of 2, and their order wherever they differ by
# more (float32, one thread of a CPU, 2-64 positions, 32-512 units).
TOUCH = 40.0


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
        g = self._formed(slice(None))
        found = {self.weight: g if self.shape is None else g.view(len(g), *self.shape)}
        if self.bias is not None:
            found[self.bias] = self.delta.sum(1)
        return found

    def n_elements(self) -> int:
        return self.a.numel() + self.delta.numel()

    def _formed(self, out: slice) -> Tensor:
        """Gradients in some rows of the weight, (b, n_out, d_in)."""
        return self.delta[:, :, out].transpose(1, 2) @ self.a

    def _outputs(self, n_rows: int):
        """Parts of the outputs for which gradients of so many rows fit into memory."""
        d_in, d_out = self.a.shape[2], self.delta.shape[2]
        return chunks(d_out, 2.0 * n_rows * d_in * self.a.element_size())

    # -- products of gradients --------------------------------------------------------------------

    def pairs(self, other: Factor) -> Tensor:
        assert isinstance(other, Outer)
        if self.a.shape[1] == other.a.shape[1] == 1:
            return _rank_one(self, other)
        if _contracts(self, other):
            # (b, T, c, S) is formed for a few rows at a time, so that it stays in cache.
            found = [_contracted(self._rows(part), other) for part in self._few_rows(other)]
            return torch.cat(found)
        found = total(
            self._formed(out).flatten(1) @ other._formed(out).flatten(1).T
            for out in self._outputs(len(self.a) + len(other.a))
        )
        return found if self.bias is None else found + self.delta.sum(1) @ other.delta.sum(1).T

    def _rows(self, rows: slice) -> Outer:
        return Outer(self.weight, self.bias, self.a[rows], self.delta[rows], self.shape)

    def _few_rows(self, other: Outer):
        each = self.a.shape[1] * other.a.shape[0] * other.a.shape[1]
        size = max(1, 2**18 // max(1, each))
        return (slice(i, i + size) for i in range(0, len(self.a), size))

    def squares(self) -> Tensor:
        (b, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        if T == 1:
            inner = norms(self.a[:, 0])
            inner = inner if self.bias is None else inner + 1.0
            return inner * norms(self.delta[:, 0])
        if T * T * (d_in + d_out + TOUCH) < d_in * d_out * (T + TOUCH):
            inner = self.a @ self.a.transpose(1, 2)
            inner = inner if self.bias is None else inner.add_(1.0)
            return inner.mul_(self.delta @ self.delta.transpose(1, 2)).sum((1, 2))
        found = total(norms(self._formed(out).flatten(1)) for out in self._outputs(b))
        return found if self.bias is None else found + norms(self.delta.sum(1))

    # -- products with vectors --------------------------------------------------------------------

    def times(self, parts: Parts) -> Tensor:
        V = parts[self.weight].flatten(2)  # (M, d_out, d_in)
        found = self._times_formed(V) if self._forms(len(V)) else self._times_rank_one(V)
        if self.bias is not None:
            found += self.delta.sum(1) @ parts[self.bias].T
        return found

    def _forms(self, M: int) -> bool:
        """Whether the gradients are the smallest of what a product with M vectors can form."""
        (_, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        return T > 1 or M * min(d_in, d_out) > d_in * d_out

    def _times_formed(self, V):
        return total(
            self._formed(out).flatten(1) @ V[:, out].flatten(1).T
            for out in self._outputs(len(self.a))
        )

    def _times_rank_one(self, V):
        a, delta, M = self.a[:, 0], self.delta[:, 0], len(V)
        if a.shape[1] >= delta.shape[1]:
            # The longer side first leaves the smaller intermediate, (b, M, d_out).
            half = (a @ V.flatten(0, 1).T).view(len(a), M, -1)
            return (half @ delta[:, :, None])[:, :, 0]
        half = (delta @ V.transpose(0, 1).flatten(1)).view(len(a), M, -1)
        return (half @ a[:, :, None])[:, :, 0]

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        (b, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        if T == 1:
            scaled = C[:, None, :] * self.delta[:, 0].T  # (M, d_out, b)
            g = (scaled.flatten(0, 1) @ self.a[:, 0]).view(len(C), d_out, d_in)
        else:
            outs = [C @ self._formed(out).flatten(1) for out in self._outputs(b)]
            g = torch.cat([out.view(len(C), -1, d_in) for out in outs], 1)
        found = {self.weight: g if self.shape is None else g.view(len(g), *self.shape)}
        if self.bias is not None:
            found[self.bias] = C @ self.delta.sum(1)
        return found


def _rank_one(mine: Outer, theirs: Outer) -> Tensor:
    """``(a_i' a_j + 1) (delta_i' delta_j)``: rows that use the map once."""
    inner = mine.a[:, 0] @ theirs.a[:, 0].T
    inner = inner if mine.bias is None else inner.add_(1.0)
    return inner.mul_(mine.delta[:, 0] @ theirs.delta[:, 0].T)


def _contracts(mine: Outer, theirs: Outer) -> bool:
    """Whether contracting inputs and derivatives is cheaper than forming the gradients."""
    (b, T, d_in), d_out = mine.a.shape, mine.delta.shape[2]
    c, S = theirs.a.shape[:2]
    contracted = b * c * T * S * (d_in + d_out + TOUCH)
    formed = (b * T + c * S + b * c + TOUCH * (b + c)) * d_in * d_out
    return contracted < formed


def _contracted(mine: Outer, theirs: Outer) -> Tensor:
    """Sum over the positions of both, (b, c)."""
    (b, T), (c, S) = mine.a.shape[:2], theirs.a.shape[:2]
    inner = mine.a.flatten(0, 1) @ theirs.a.flatten(0, 1).T
    inner = inner if mine.bias is None else inner.add_(1.0)
    inner *= mine.delta.flatten(0, 1) @ theirs.delta.flatten(0, 1).T
    return inner.view(b, T, c, S).sum((1, 3))

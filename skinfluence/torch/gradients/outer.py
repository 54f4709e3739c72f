"""Gradients of a linear map: the map's inputs times derivatives in its outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skinfluence.torch.gradients.factors import Factor, Parts, chunks, norms, products, total

# What touching one number of an intermediate costs, in multiply-adds of a matrix product: with 40
# the ratio of the two ways is met within a factor of 2, and their order wherever they differ by
# more (float32, one thread of a CPU, 2-64 positions, 32-512 units).
TOUCH = 40.0


@dataclass
class Outer(Factor):
    """Weight (d_out, d_in) and bias of a linear map that is used T times a row.

    ``g_i = sum_t delta_it (x) a_it`` with the map's input a and the derivative delta of the row's
    value in its output; the bias has ``sum_t delta_it``, as if its input were constant.

    Parameters
    ----------
    weight : str
    bias : str or None
    a : Tensor of shape (b, T, d_in)
    delta : Tensor of shape (b, T, d_out)
    shape : torch.Size or None
        Shape of the weight where it is not (d_out, d_in) itself but flattens to it, as a
        convolution's does.
    constant : float, default=1.0
        The input of the bias, which is not 1 where gradients are scaled.
    """

    weight: str
    bias: str | None
    a: Tensor
    delta: Tensor
    shape: tuple[int, ...] | None = None
    constant: float = 1.0

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    def dense(self) -> dict[str, Tensor]:
        g = self._formed(slice(None))
        found = {self.weight: g if self.shape is None else g.view(len(g), *self.shape)}
        if self.bias is not None:
            found[self.bias] = self._of_bias()
        return found

    def n_elements(self) -> int:
        return self.a.numel() + self.delta.numel()

    def _of_bias(self) -> Tensor:
        return self.delta.sum(1) * self.constant

    def _added(self, inner: Tensor, other: Outer | None = None) -> Tensor:
        """Products of inputs, that of the biases' added in place."""
        if self.bias is None:
            return inner
        return inner.add_(self.constant * (other or self).constant)

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
        return found if self.bias is None else found + self._of_bias() @ other._of_bias().T

    def _rows(self, rows: slice) -> Outer:
        return replace(self, a=self.a[rows], delta=self.delta[rows])

    def _few_rows(self, other: Outer):
        each = self.a.shape[1] * other.a.shape[0] * other.a.shape[1]
        size = max(1, 2**18 // max(1, each))
        return (slice(i, i + size) for i in range(0, len(self.a), size))

    def squares(self) -> Tensor:
        (b, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        if T == 1:
            return self._added(norms(self.a[:, 0])) * norms(self.delta[:, 0])
        if T * T * (d_in + d_out + TOUCH) < d_in * d_out * (T + TOUCH):
            return self._added(products(self.a)).mul_(products(self.delta)).sum((1, 2))
        found = total(norms(self._formed(out).flatten(1)) for out in self._outputs(b))
        return found if self.bias is None else found + norms(self._of_bias())

    # -- groups of rows ---------------------------------------------------------------------------

    def grams(self, m: int) -> Tensor:
        if self._contracts_groups(m):
            each = 2.0 * (m * self.a.shape[1]) ** 2 * self.a.element_size()
            groups = chunks(len(self.a) // m, each)
            return torch.cat([self._contracted_groups(g, m) for g in groups])
        found = total(
            products(self._formed(out).reshape(len(self.a) // m, m, -1))
            for out in self._outputs(len(self.a))
        )
        return found if self.bias is None else found + products(self._grouped(self._of_bias(), m))

    @staticmethod
    def _grouped(values: Tensor, m: int) -> Tensor:
        """(b, ..., d) as (b/m, all positions of m rows, d)."""
        return values.reshape(len(values) // m, -1, values.shape[-1])

    def _contracts_groups(self, m: int) -> bool:
        (_, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        return m * T * T * (d_in + d_out + TOUCH) < d_in * d_out * (T + m + TOUCH)

    def _contracted_groups(self, groups: slice, m: int) -> Tensor:
        T = self.a.shape[1]
        inner = self._added(products(self._grouped(self.a, m)[groups]))
        inner *= products(self._grouped(self.delta, m)[groups])
        return inner if T == 1 else inner.view(-1, m, T, m, T).sum((2, 4))

    # -- numbers that gradients are multiplied with -----------------------------------------------

    def scaled(self, scales: Mapping[str, float]) -> Outer:
        """Inputs are scaled, so that a weight and its bias may differ, and either be zero."""
        own = scales[self.weight]
        constant = self.constant * (1.0 if self.bias is None else scales[self.bias])
        return replace(self, a=self.a if own == 1.0 else self.a * own, constant=constant)

    def weighted_squares(self, D: Parts) -> Tensor:
        (b, T), W = self.a.shape[:2], D[self.weight].flatten(1)
        if T * (T + 1) < 2 * (T + TOUCH):
            # (sum_t delta_t a_t)^2 is a sum over pairs of positions; each is there twice.
            s, t = torch.triu_indices(T, T, device=self.a.device)
            both = (self.delta[:, s] * self.delta[:, t]).flatten(0, 1) @ W
            both *= (self.a[:, s] * self.a[:, t]).flatten(0, 1)
            found = both.sum(1).view(b, -1) @ torch.where(s == t, 1.0, 2.0).to(both)
        else:
            found = total(
                self._formed(out).square_().flatten(1) @ W[out].flatten()
                for out in self._outputs(b)
            )
        return found if self.bias is None else found + self._of_bias().square() @ D[self.bias]

    def weighted_sums(self, D: Parts, m: int) -> Tensor:
        W = D[self.weight].flatten(1)
        each = 2.0 * W.numel() * W.element_size()
        groups = chunks(len(self.a) // m, each)
        found = torch.cat([self._weighted_groups(g, m, W) for g in groups])
        if self.bias is None:
            return found
        own = self._grouped(self._of_bias(), m)
        return found + (own @ (own.sum(1) * D[self.bias])[:, :, None])[:, :, 0]

    def _weighted_groups(self, groups: slice, m: int, W: Tensor) -> Tensor:
        a, delta = self._grouped(self.a, m)[groups], self._grouped(self.delta, m)[groups]
        weighted = (delta.transpose(1, 2) @ a).mul_(W)  # (groups, d_out, d_in)
        return (delta @ weighted).mul_(a).sum(2).view(len(a), m, -1).sum(2)

    # -- products with vectors --------------------------------------------------------------------

    def times(self, parts: Parts) -> Tensor:
        V = parts[self.weight].flatten(2)  # (M, d_out, d_in)
        if self._forms(len(V)):
            found = self._times_formed(V)
        else:
            found = self._times_rank_one(V) if self.a.shape[1] == 1 else self._times_folded(V)
        if self.bias is not None:
            found += self._of_bias() @ parts[self.bias].T
        return found

    def _forms(self, M: int) -> bool:
        """Whether the gradients are the smallest of what a product with M vectors can form."""
        (_, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        if T > 1:
            return M * T > T + M + TOUCH
        return M * min(d_in, d_out) > d_in * d_out

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

    def _times_folded(self, V):
        """Positions as rows of their own, for few vectors."""
        a, delta = self.a.flatten(0, 1), self.delta.flatten(0, 1)
        found = [(delta @ v).mul_(a).sum(1).view(self.a.shape[:2]).sum(1) for v in V]
        return torch.stack(found, 1)

    def adjoint(self, C: Tensor) -> dict[str, Tensor]:
        (b, T, d_in), d_out = self.a.shape, self.delta.shape[2]
        if T > 1 and not self._forms(len(C)):
            a = self.a.flatten(0, 1)
            g = torch.stack([(c[:, None, None] * self.delta).flatten(0, 1).T @ a for c in C])
        elif T == 1:
            scaled = C[:, None, :] * self.delta[:, 0].T  # (M, d_out, b)
            g = (scaled.flatten(0, 1) @ self.a[:, 0]).view(len(C), d_out, d_in)
        else:
            outs = [C @ self._formed(out).flatten(1) for out in self._outputs(b)]
            g = torch.cat([out.view(len(C), -1, d_in) for out in outs], 1)
        found = {self.weight: g if self.shape is None else g.view(len(g), *self.shape)}
        if self.bias is not None:
            found[self.bias] = C @ self._of_bias()
        return found


def _rank_one(mine: Outer, theirs: Outer) -> Tensor:
    """``(a_i' a_j + 1) (delta_i' delta_j)``: rows that use the map once."""
    inner = mine._added(mine.a[:, 0] @ theirs.a[:, 0].T, theirs)
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
    inner = mine._added(mine.a.flatten(0, 1) @ theirs.a.flatten(0, 1).T, theirs)
    inner *= mine.delta.flatten(0, 1) @ theirs.delta.flatten(0, 1).T
    return inner.view(b, T, c, S).sum((1, 3))

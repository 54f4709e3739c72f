"""What the deletion of rows takes away from an objective."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from skinfluence.torch.gradients import GradientBlock
from skinfluence.torch.solvers import Inverse


@dataclass
class Leaving:
    """``gbar_i = w_i (g_i + d)`` of some rows, d being the penalty that a row takes with it.

    Conventions. Vectors are rows, (M, p), in the network's type; numbers over rows are float64.

    Parameters
    ----------
    block : GradientBlock
        g_i.
    weights : Tensor of shape (b,)
        w_i, float64.
    penalty : Tensor of shape (p,) or None
        d.
    """

    block: GradientBlock
    weights: Tensor
    penalty: Tensor | None

    def __len__(self) -> int:
        return len(self.weights)

    def dense(self) -> Tensor:
        """The vectors themselves, (b, p)."""
        G = self.block.dense()
        if self.penalty is not None:
            G += self.penalty
        return G.mul_(self.weights.to(G.dtype)[:, None])

    def times(self, V: Tensor) -> Tensor:
        """``<gbar_i, v_m>``, (b, M)."""
        found = self.block.times(V)
        if self.penalty is not None:
            found = found + along(V, self.penalty)
        return found * self.weights[:, None]

    def sums(self, C: Tensor) -> Tensor:
        """``sum_i C_mi gbar_i``, (M, p), of coefficients (M, b)."""
        weighted = C * self.weights
        found = self.block.adjoint(weighted.to(self.block.network.dtype))
        if self.penalty is not None:
            found += weighted.sum(1, keepdim=True).to(found.dtype) * self.penalty
        return found

    def own(self, inverse: Inverse, solved_penalty: Tensor | None) -> Tensor:
        """``<g_i, A^-1 gbar_i>``, (b,), given A^-1 d."""
        found = inverse.quadratic(self.block)
        if solved_penalty is not None:
            found = found + self.block.times(solved_penalty[None])[:, 0]
        return self.weights * found

    def squared_size(self, inverse: Inverse, solved_penalty: Tensor | None) -> Tensor:
        """``<gbar_i, A^-1 gbar_i>``, (b,), given A^-1 d."""
        found = inverse.quadratic(self.block)
        if solved_penalty is not None and self.penalty is not None:
            cross = self.block.times(solved_penalty[None])[:, 0]
            found = found + 2.0 * cross + along(solved_penalty[None], self.penalty)
        return self.weights.square() * found


def along(V: Tensor, direction: Tensor) -> Tensor:
    """``<v_m, d>``, (M,), float64."""
    return V.double() @ direction.double()

"""A trained network, the gradients of its rows, and the inverse of its curvature."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.data import Batch
from skinfluence.torch.gradients import GradientBlock, RowGradients
from skinfluence.torch.influence.leaving import Leaving
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective
from skinfluence.torch.solvers import Inverse

# Vectors of the size of the parameters that the solution of one system keeps alive.
SOLVING = 10
# Share of the memory that a block's products with vectors may take beside the vectors.
PRODUCTS = 4
# Rows on which the routes to their gradients are tried.
PROBE = 8

At = slice | np.ndarray


@dataclass
class Trained:
    """Everything that influence on a network is made of.

    Parameters
    ----------
    objective : NetworkObjective
    gradients : RowGradients
        Of the rows' losses.
    inverse : Inverse
        Of the objective's curvature.
    """

    objective: NetworkObjective
    gradients: RowGradients
    inverse: Inverse

    @property
    def network(self) -> Network:
        return self.objective.network

    @property
    def n_train(self) -> int:
        return self.objective.n_train

    def batch(self, rows: At) -> Batch:
        """Training rows at some positions."""
        return self.objective.rows.take(rows)

    def weights(self, rows: At) -> Tensor:
        """Their weights, float64 on the network's device."""
        return self.objective.weights[rows].to(self.network.device)

    def leaving(self, rows: At) -> Leaving:
        """What their deletion takes away."""
        block = self.gradients.block(self.batch(rows))
        return Leaving(block, self.weights(rows), self.objective.penalty_gradient())

    def solved_penalty(self) -> Tensor | None:
        """``A^-1 d``, (p,), of what a row of weight 1 takes away of the penalty."""
        penalty = self.objective.penalty_gradient()
        return None if penalty is None else self.inverse(penalty[None])[0]

    def solve(self, V: Tensor) -> Tensor:
        """``A^-1 v`` of every row of V, (M, p), as many at a time as fit the memory."""
        size = self.vectors_within_memory(SOLVING)
        if len(V) <= size:
            return self.inverse(V)
        return torch.cat([self.inverse(V[part]) for part in _loops.slices(len(V), size)])

    def moves(self, rows: At) -> Tensor:
        """First-order move of the parameters without each row, ``A^-1 gbar_i``, (b, p)."""
        return self.solve(self.leaving(rows).dense())

    # -- memory -----------------------------------------------------------------------------------

    def vectors_within_memory(self, copies: float) -> int:
        """Vectors over the parameters that fit scikit-learn's ``working_memory``."""
        bytes_each = copies * self.network.n_params * self.network.theta.element_size()
        return max(1, int(_loops.memory_budget() / bytes_each))

    def dense_slices(self, n: int, copies: float = SOLVING) -> list[slice]:
        """Blocks of rows whose gradients are formed and solved for."""
        size = min(self.gradients.block_size(), self.vectors_within_memory(copies))
        return _loops.slices(n, size)

    def product_slices(self, n: int, n_vectors: int) -> list[slice]:
        """Blocks of rows whose gradients are multiplied with vectors."""
        shapes = [s for s in self.network.shapes.values() if len(s) > 1]
        # The narrower side of a weight stays with every pair of a row and a vector.
        width = max((min(s[0], s.numel() // s[0]) for s in shapes), default=1)
        bytes_each = PRODUCTS * self.network.theta.element_size() * n_vectors * (width + 4)
        size = min(self.gradients.block_size(), int(_loops.memory_budget() / bytes_each))
        return _loops.slices(n, size)


def dense_gradients(gradients: RowGradients, take: Callable[[slice], Batch], n: int) -> Tensor:
    """Gradients of n rows, (n, p)."""
    network = gradients.network
    G = network.theta.new_empty(n, network.n_params)
    for part, block in gradient_blocks(gradients, take, n):
        G[part] = block.dense()
    return G


def gradient_blocks(
    gradients: RowGradients, take: Callable[[slice], Batch], n: int
) -> Iterator[tuple[slice, GradientBlock]]:
    """Blocks of the gradients of n rows, with where they lie."""
    for part in _loops.slices(n, gradients.block_size()):
        yield part, gradients.block(take(part))


def as_array(values: Tensor) -> np.ndarray:
    """float64 on the CPU."""
    return values.detach().to("cpu", torch.float64).numpy()

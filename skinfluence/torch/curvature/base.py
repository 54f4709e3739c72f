"""The contract of a curvature."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from sklearn import get_config
from torch import Tensor

from skinfluence.torch.data import Batch
from skinfluence.torch.objective import NetworkObjective


class Curvature(ABC):
    """``A = sum_i w_i A_i + diag(c)``: a symmetric matrix over the explained parameters.

    The sum runs over the rows, whatever the blocks they come in, and the penalty's c is in it;
    damping is not. The law: products equal those of ``matrix()``, which is symmetric.

    Conventions. Vectors are rows, V is (M, p), and so are products. They are in the network's
    type; sums over blocks of rows are taken in float64.

    Parameters
    ----------
    objective : NetworkObjective

    Attributes
    ----------
    psd : bool
        Whether the matrix is known to be positive semidefinite.
    """

    psd: bool = False

    def __init__(self, objective: NetworkObjective):
        self.objective, self.network = objective, objective.network

    @property
    def n_params(self) -> int:
        return self.network.n_params

    @abstractmethod
    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        """``sum_i w_i A_i V`` over the rows of one batch, (M, p); weights are (b,)."""

    @abstractmethod
    def block_size(self, n_vectors: int) -> int:
        """Rows a block, so that its temporaries fit scikit-learn's ``working_memory``."""

    def __call__(self, V: Tensor) -> Tensor:
        """``A V``, (M, p)."""
        total = torch.zeros(V.shape, dtype=torch.float64, device=V.device)
        n, size = self.objective.n_train, self.block_size(len(V))
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            batch = self.objective.rows.take(rows)
            total += self.of_rows(batch, self.objective.block_weights(rows), V)
        penalty = self.objective.penalty_curvature()
        if penalty is not None:
            total += penalty * V
        return total.to(V.dtype)

    def matrix(self, size: int = 256) -> Tensor:
        """The matrix itself, (p, p), by products with unit vectors `size` at a time."""
        found = self.network.theta.new_empty(self.n_params, self.n_params)
        for start in range(0, self.n_params, size):
            unit = self.network.theta.new_zeros(min(size, self.n_params - start), self.n_params)
            unit[:, start : start + size].fill_diagonal_(1.0)
            found[start : start + size] = self(unit)
        return 0.5 * (found + found.T)

    def diagonal(self) -> Tensor | None:
        """The diagonal, (p,), float64, or None where it costs as much as the matrix."""
        return None


def rows_within_memory(bytes_per_row: float) -> int:
    """Rows whose temporaries fit scikit-learn's ``working_memory``."""
    return max(1, int(get_config()["working_memory"] * 2**20 / max(1.0, bytes_per_row)))

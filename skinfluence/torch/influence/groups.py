"""Rows that are deleted together."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import Trained, as_array, gradient_blocks


def taken_together(trained: Trained, positions: np.ndarray) -> Tensor:
    """``sum_S gbar_i``, (1, p)."""
    network = trained.network
    total = torch.zeros(1, network.n_params, dtype=torch.float64, device=network.device)
    for part in _loops.slices(len(positions), trained.gradients.block_size()):
        leaving = trained.leaving(positions[part])
        total += leaving.sums(
            torch.ones(1, len(leaving), dtype=torch.float64, device=total.device)
        )
    return total.to(network.dtype)


def along_gradients(queries: Queries, moved: Tensor) -> np.ndarray:
    """Change of each query along its gradient under each move (n_groups, p), (m, n_groups)."""
    found = np.zeros((queries.shape[0], len(moved)))
    for part, block in gradient_blocks(queries.gradients, queries.take, queries.shape[0]):
        found[part] = as_array(block.times(moved))
    return found


def own_sum(queries: Queries, positions: np.ndarray, moved: Tensor) -> float:
    """Sum over a group's own rows of their change; queries are the training rows."""
    total = 0.0
    for part in _loops.slices(len(positions), queries.gradients.block_size()):
        block = queries.gradients.block(queries.take(positions[part]))
        total += float(block.times(moved).sum())
    return total


def size(trained: Trained, positions: np.ndarray, relative: str) -> np.ndarray:
    """What RelatIF divides by where rows go together: the first-order size of their sum, (1,)."""
    gone = taken_together(trained, positions)
    moved = trained.solve(gone).double()
    found = moved.square().sum() if relative == "parameters" else (moved * gone.double()).sum()
    return np.sqrt([max(float(found), 0.0)])

"""Influence of rows on their own value: the diagonal, without the matrix."""

from __future__ import annotations

import numpy as np
import torch

from skinfluence import _loops
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import Trained, as_array
from skinfluence.torch.solvers import Inverse


def on_own_loss(trained: Trained, at: np.ndarray, *, progress: bool = False) -> np.ndarray:
    """``<g_i, A^-1 gbar_i>`` of rows at some positions, (len(at),)."""
    solved_penalty = trained.solved_penalty()
    found = [
        as_array(trained.leaving(at[part]).own(trained.inverse, solved_penalty))
        for part in bar(quadratic_slices(trained, len(at)), progress)
    ]
    return np.concatenate([np.zeros(0), *found])


def on_own_value(
    trained: Trained, queries: Queries, at: np.ndarray, *, progress: bool = False
) -> np.ndarray:
    """``<A^-1 g_i, gbar_i>``, g_i the gradient of another target; queries are all rows."""
    found = []
    for part in bar(trained.dense_slices(len(at)), progress):
        solved = trained.solve(queries.gradients.block(queries.take(at[part])).dense())
        gone = trained.leaving(at[part]).dense()
        found.append(as_array((solved.double() * gone.double()).sum(1)))
    return np.concatenate([np.zeros(0), *found])


def quadratic_slices(trained: Trained, n: int) -> list[slice]:
    """Blocks of rows for products with the inverse from both sides.

    An inverse that knows its own quadratic form never forms a gradient.
    """
    if type(trained.inverse).quadratic is Inverse.quadratic:
        return trained.dense_slices(n)
    return _loops.slices(n, trained.gradients.block_size())


def bar(parts: list[slice], progress: bool) -> list[slice]:
    """The blocks behind a progress bar."""
    found: list[slice] = _loops.progress_bar(  # type: ignore[assignment]
        parts, total=len(parts), enabled=progress, desc="self_influence"
    )
    return found


def squared_sizes(trained: Trained) -> np.ndarray:
    """``<gbar_i, A^-1 gbar_i>`` of all rows, (n_train,): how strongly each moves the fit."""
    solved_penalty = trained.solved_penalty()
    found = [
        as_array(trained.leaving(part).squared_size(trained.inverse, solved_penalty))
        for part in quadratic_slices(trained, trained.n_train)
    ]
    return np.maximum(np.concatenate(found), 0.0)


def lengths_of_moves(trained: Trained) -> np.ndarray:
    """``|A^-1 gbar_i|`` of all rows, (n_train,)."""
    found = [
        as_array(torch.linalg.vector_norm(trained.moves(part).double(), dim=1))
        for part in trained.dense_slices(trained.n_train)
    ]
    return np.concatenate(found)

"""First-order scores: what deletions do along the target's gradient."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from skinfluence import _loops
from skinfluence.attribution import Block
from skinfluence.torch.influence.queries import Parameters, Queries
from skinfluence.torch.influence.trained import Trained, as_array

# Share of the memory that holds solved queries while rows stream past them, in copies of them.
HELD = 2


def tiles(
    trained: Trained, queries: Queries | Parameters, sizes: np.ndarray | None = None
) -> Iterator[Block]:
    """``<A^-1 g_z, gbar_i>`` in blocks.

    A block of queries is solved once, and then meets all rows: rows are differentiated once for
    each block of queries, which are as many as the memory holds.

    Parameters
    ----------
    trained : Trained
    queries : Queries or Parameters
    sizes : ndarray of shape (n_train,) or None
        What the scores of each row are divided by.

    Yields
    ------
    queries, rows : slice
    values : ndarray
        float64.
    """
    for part in query_slices(trained, queries.shape[0]):
        solved = trained.solve(queries.dense(part))
        for rows, values in against_rows(trained, solved):
            if sizes is not None:
                values = divided(values, sizes[rows])
            yield part, rows, values


def query_slices(trained: Trained, n_queries: int) -> list[slice]:
    """Blocks of queries whose solutions are held while the rows stream."""
    return _loops.slices(n_queries, trained.vectors_within_memory(HELD))


def n_tiles(trained: Trained, n_queries: int) -> int:
    """How many blocks :func:`tiles` yields."""
    parts = query_slices(trained, n_queries)
    return sum(
        len(trained.product_slices(trained.n_train, part.stop - part.start)) for part in parts
    )


def against_rows(trained: Trained, solved: Tensor) -> Iterator[tuple[slice, np.ndarray]]:
    """``<s_m, gbar_i>`` for all rows, block by block, (M, b)."""
    for rows in trained.product_slices(trained.n_train, len(solved)):
        yield rows, as_array(trained.leaving(rows).times(solved).T)


def over_queries(
    trained: Trained, queries: Queries | Parameters, sizes: np.ndarray | None = None
) -> np.ndarray:
    """Sum of the scores over the queries, (n_train,): one solve of their summed gradient."""
    solved = trained.solve(queries.summed())
    total = np.concatenate([values[0] for _, values in against_rows(trained, solved)])
    return total if sizes is None else divided(total, sizes)


def divided(values: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Scores over sizes; a row that moves nothing scores 0."""
    sizes = np.broadcast_to(sizes, values.shape)
    return np.divide(values, sizes, out=np.zeros_like(values), where=sizes > 0)

"""What other values of training rows would do."""

from __future__ import annotations

import numpy as np

from skinfluence.torch.data import Rows
from skinfluence.torch.influence.first_order import query_slices
from skinfluence.torch.influence.queries import Parameters, Queries
from skinfluence.torch.influence.trained import Trained, as_array


def replacement(
    trained: Trained, queries: Queries | Parameters, positions: np.ndarray, new: Rows
) -> np.ndarray:
    """``-w_i <A^-1 g_z, g~_j - g_i>``: first-order change when rows become others, (m, n_rows).

    Row j of `new` takes the place, and the weight, of the training row at ``positions[j]``.
    """
    found = np.empty((queries.shape[0], len(positions)))
    for part in query_slices(trained, queries.shape[0]):
        solved = trained.solve(queries.dense(part))
        for rows in trained.product_slices(len(positions), len(solved)):
            was = trained.gradients.block(trained.batch(positions[rows])).times(solved)
            will = trained.gradients.block(new.take(rows)).times(solved)
            moved = trained.weights(positions[rows])[:, None] * (was - will)
            found[part, rows] = as_array(moved.T)
    return found

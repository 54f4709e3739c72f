"""What other values of training rows would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.data import FetchedRows, Rows
from skinfluence.torch.influence.first_order import query_slices
from skinfluence.torch.influence.newton import GaussNewtonDeletion, downdated
from skinfluence.torch.influence.queries import Parameters, Queries
from skinfluence.torch.influence.trained import SOLVING, Trained, as_array


def first_order(
    trained: Trained, queries: Queries | Parameters, positions: np.ndarray, new: Rows
) -> np.ndarray:
    """``-w_i <A^-1 g_z, g~_j - g_i>``: first-order change when rows become others, (m, n_rows).

    Row j of `new` takes the place, and the weight, of the training row at ``positions[j]``.
    """
    found = np.empty((queries.shape[0], len(positions)))
    was = _rows_at(trained, positions)
    for part in query_slices(trained, queries.shape[0]):
        solved = trained.solve(queries.dense(part))
        moved = _along(trained, solved, was) - _along(trained, solved, new)
        found[part] = as_array((trained.weights(positions)[:, None] * moved).T)
    return found


def first_order_means(
    trained: Trained,
    queries: Queries | Parameters,
    positions: np.ndarray,
    news: Iterable[Rows],
) -> Iterator[np.ndarray]:
    """Mean over the queries of :func:`first_order`, (n_rows,), for one set of rows after another.

    One solve of the queries' summed gradient serves them all.
    """
    solved = trained.solve(queries.summed()) / queries.shape[0]
    weights = trained.weights(positions)
    was = _along(trained, solved, _rows_at(trained, positions))[:, 0]
    for new in news:
        yield as_array(weights * (was - _along(trained, solved, new)[:, 0]))


def _rows_at(trained, positions):
    """Training rows at some positions."""
    rows = trained.objective.rows
    return FetchedRows(rows.take, positions, device=rows.device)


def _along(trained: Trained, solved: Tensor, rows: Rows) -> Tensor:
    """``<s_m, g_j>`` of rows of any kind, (n_rows, M)."""
    n = rows.shape[0]
    found = torch.empty(n, len(solved), dtype=torch.float64, device=solved.device)
    for part in trained.product_slices(n, len(solved)):
        found[part] = trained.gradients.block(rows.take(part)).times(solved)
    return found


@dataclass
class GaussNewtonReplacement:
    """``Delta_j = -(A + w_i (J~'C~J~ - J_i'C_iJ_i))^-1 w_i (g~_j - g_i)``.

    Row j takes the place of row i, its weight too, so that the penalty stays. With A the
    Gauss-Newton matrix with penalty and damping, as in :class:`GaussNewtonDeletion`, the change of
    the curvature has rank 2K, K of which enter with the opposite sign.

    Parameters
    ----------
    trained : Trained
    steps : GaussNewtonDeletion
        Linearises outputs.
    """

    trained: Trained
    steps: GaussNewtonDeletion

    def slices(self, n: int) -> list[slice]:
        """Blocks of rows whose Jacobians and solutions fit the memory."""
        copies = SOLVING * 2 * self.steps.n_outputs
        return _loops.slices(n, self.trained.vectors_within_memory(copies))

    def moves(self, positions: np.ndarray, new: Rows) -> Tensor:
        """Move of the parameters under each replacement of a block, (b, p)."""
        weights = self.trained.weights(positions)
        J, slopes, bends = self.steps.derivatives(positions)
        J_new, slopes_new, bends_new = self.steps.linearised(new.take(slice(0, len(positions))))
        both = torch.cat([J, J_new], 1)
        leaving = weights[:, None] * torch.cat([slopes, -slopes_new], 1)
        solved = self.trained.inverse(both.flatten(0, 1)).view(both.shape)
        x = torch.einsum("bk,bkp->bp", leaving.to(both.dtype), solved)
        C = weights[:, None, None] * _opposed(bends, bends_new)
        return downdated(x, solved, both, C, self._not_held(positions))

    def _not_held(self, positions):
        """What to say of replacements without which the curvature is not positive."""

        def error(bad, lowest):
            return ValueError(
                f"With another row in the place of row {positions[bad]} the curvature is not "
                f"positive (its lowest eigenvalue is {lowest:.1g} times what it was): no other "
                "row holds the parameters along some direction, so that no Newton step leads "
                "anywhere. Give a damping or a weight decay of all parameters, a more exact "
                "solver if this one approximates, or method='first_order'."
            )

        return error


def _opposed(C, C_new):
    """``diag(C, -C~)`` of each row, (b, 2K, 2K)."""
    b, K, _ = C.shape
    found = C.new_zeros(b, 2 * K, 2 * K)
    found[:, :K, :K], found[:, K:, K:] = C, -C_new
    return found

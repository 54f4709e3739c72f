"""Generalised Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from skinfluence.torch.curvature.base import (
    Curvature,
    activations_per_row,
    joined,
    probe,
    rows_within_memory,
    shaped,
)
from skinfluence.torch.data import Batch
from skinfluence.torch.derivatives import GAUSS_NEWTON, first_that_works
from skinfluence.torch.objective import NetworkObjective


class GaussNewton(Curvature):
    """``sum_i w_i J_i' C_i J_i``: J the derivative of the outputs, C the loss's Hessian in them.

    Positive semidefinite for every loss that is convex in the outputs, where the Hessian of the
    network is not; the two are equal for networks that are linear in their parameters.

    References
    ----------
    .. [1] N. N. Schraudolph (2002), Fast curvature matrix-vector products for second-order
       gradient descent, Neural Computation 14.
    """

    psd = True

    def __init__(self, objective: NetworkObjective):
        super().__init__(objective)
        rows = probe(objective)
        self._numbers_per_row = activations_per_row(self.network, rows)
        problem = (*self._problem(rows, None), self._units(2))
        self._route = first_that_works(GAUSS_NEWTON, *problem)

    def _units(self, n: int) -> dict[str, Tensor]:
        return shaped(self.network, self.network.theta.new_ones(n, self.n_params))

    def _problem(self, batch: Batch, weights: Tensor | None) -> tuple[Any, Any, Any]:
        def outputs(params: Mapping[str, Tensor]) -> Tensor:
            return self.network.outputs(batch, params)

        def bend(f: Tensor):
            product = self.objective.loss.curve(f, batch.y)
            if weights is None:
                return product
            scale = weights.reshape(-1, *(1,) * (f.ndim - 1))
            return lambda tangents: scale * product(tangents)

        return outputs, bend, self.network.params()

    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        found = self._route(*self._problem(batch, weights), shaped(self.network, V))
        return joined(self.network, found)

    def block_size(self, n_vectors: int) -> int:
        numbers = 2 * self._numbers_per_row * (1 + n_vectors)
        return rows_within_memory(numbers * self.network.theta.element_size())

"""Generalised Gauss-Newton matrix."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.curvature.base import (
    activations_per_row,
    joined,
    probe,
    rows_at_once,
    shaped,
)
from skinfluence.torch.curvature.convexity import require_convex
from skinfluence.torch.curvature.outputs import Linearised, OutputGradients, gram
from skinfluence.torch.curvature.sum_of_rows import SumOfRows
from skinfluence.torch.data import Batch
from skinfluence.torch.derivatives import GAUSS_NEWTON, first_that_works
from skinfluence.torch.objective import NetworkObjective

# Outputs a row up to which their K x K Hessian is formed, and numbers of a row's Jacobian that
# may be formed for the same purpose: more would leave too few rows a block.
MANY_OUTPUTS, MANY_FORMED = 256, 2**20


class GaussNewton(SumOfRows):
    """``sum_i w_i J_i' C_i J_i``: J the derivative of the outputs, C the loss's Hessian in them.

    Positive semidefinite for every loss that is convex in the outputs, where the Hessian of the
    network is not [1]_; the two are equal for networks that are linear in their parameters. For
    the likelihood of an exponential family in its natural parameter (cross entropy of logits,
    squared error, Poisson with a log rate) it is the Fisher matrix.

    Products go through the layers' inputs and the derivatives of the K outputs in the layers,
    which costs about ``4 n p`` multiplications and additions a vector for linear layers, half of
    what forward and reverse mode through the network cost; those are used where they are cheaper
    (few vectors, many outputs) and for layers of other kinds. Both give the same numbers.
    `diagonal` and `trace` are exact for up to 256 outputs, unless their derivatives in layers that
    are neither linear nor tables (as convolutions) are more than a million numbers a row; beyond,
    `diagonal` is not known.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.

    Raises
    ------
    ValueError
        If the loss is not convex in the outputs, or straight in them, on 32 of the rows.

    See Also
    --------
    Hessian : With the curvature of the network itself.
    Ekfac : An approximation that has an inverse of its own.

    References
    ----------
    .. [1] N. N. Schraudolph (2002), Fast curvature matrix-vector products for second-order
       gradient descent, Neural Computation 14.

    Examples
    --------
    A network without hidden layers has no curvature of its own:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import GaussNewton, Hessian
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> first, second = (
    ...     InfluenceExplainer(net, curvature=kind, damping=0.01).fit(X, y).self_influence()
    ...     for kind in (GaussNewton, Hessian)
    ... )
    >>> bool(np.isclose(first, second, rtol=1e-6).all())
    True
    """

    psd = True

    def __init__(self, objective: NetworkObjective):
        super().__init__(objective)
        require_convex(objective)
        rows = probe(objective)
        with torch.no_grad():
            self.n_outputs = self.network.outputs(rows)[0].numel()
        self._kept = activations_per_row(self.network, rows)
        self._linearise = OutputGradients(self.network, rows)
        self._cost = self._linearise.cost(rows, self.n_outputs)
        self._few = self.n_outputs <= MANY_OUTPUTS and self._cost.formed <= MANY_FORMED
        self._route = self._other_route(rows)

    def _other_route(self, rows: Batch) -> Any:
        unit = self.network.theta.new_ones(2, self.n_params)
        problem = (*self._problem(rows, unit[0, :1]), shaped(self.network, unit))
        try:
            return first_that_works(GAUSS_NEWTON, *problem)
        except ValueError:
            if not self._few:
                raise
            return None  # the outputs' gradients take first derivatives only

    # -- products -----------------------------------------------------------------------------

    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        parts = shaped(self.network, V)
        if self._through_outputs(len(V)):
            linear = self._linearise(batch)
            return linear.adjoint(linear.times(parts) @ self._bends(linear, batch, weights))
        return joined(self.network, self._route(*self._problem(batch, weights), parts))

    def _problem(self, batch: Batch, weights: Tensor) -> tuple[Any, Any, Any]:
        def outputs(params: Mapping[str, Tensor]) -> Tensor:
            return self.network.outputs(batch, params)

        def bend(f: Tensor) -> Any:
            product = self.objective.loss.curve(f, batch.y)
            scale = weights.reshape(-1, *(1,) * (f.ndim - 1))
            return lambda tangents: scale * product(tangents)

        return outputs, bend, self.network.params()

    def _bends(self, linear: Linearised, batch: Batch, weights: Tensor) -> Tensor:
        """``w_i C_i``, (b, K, K)."""
        return weights[:, None, None] * self.objective.loss.hessian(linear.outputs, batch.y)

    def _through_outputs(self, n_vectors: int) -> bool:
        """Whether the outputs' gradients cost less than passes with every vector."""
        if self._route is None or not self._few or self._linearise.formed:
            return self._route is None
        once = 2.0 * self.n_outputs * self._cost.passing
        return once / n_vectors + 2.0 * self._cost.product < 4.0 * self._cost.passing

    def block_size(self, n_vectors: int) -> int:
        if self._through_outputs(n_vectors):
            numbers = 2 * (self._cost.held + n_vectors * self._cost.each)
        else:
            numbers = 2 * self._kept * (1 + n_vectors)
        return rows_at_once(self.network, numbers)

    # -- the matrix, and what newton steps take from it ----------------------------------------

    def row_jacobian(self, batch: Batch) -> Tensor:
        """Form J, the derivatives of the K outputs of some rows.

        Parameters
        ----------
        batch : Batch
            Of b rows.

        Returns
        -------
        J : Tensor of shape (b, K, p)
            In the network's type.
        """
        return self._linearise(batch).dense()

    def row_bends(self, batch: Batch) -> Tensor:
        """Form C, the Hessians of some rows' losses in the outputs.

        Parameters
        ----------
        batch : Batch
            Of b rows.

        Returns
        -------
        C : Tensor of shape (b, K, K)
            In the network's type.
        """
        with torch.no_grad():
            return self.objective.loss.hessian(self.network.outputs(batch), batch.y)

    def matrix(self, size: int = 256) -> Tensor:
        """The matrix itself, (p, p), from the outputs' gradients where the outputs are few."""
        if not self._few:
            return super().matrix(size)
        total = torch.zeros(
            self.n_params, self.n_params, dtype=torch.float64, device=self.network.device
        )
        size = min(size, rows_at_once(self.network, 3 * self._cost.held))
        for _, batch, weights in self.blocks(size):
            linear = self._linearise(batch)
            gram(linear, self._bends(linear, batch, weights), total)
        total = self._penalised(total)
        return (0.5 * (total + total.T)).to(self.network.dtype)

    def diagonal(self) -> Tensor | None:
        """The diagonal, (p,), float64, exact; None where outputs or layers are too large."""
        if not self._few:
            return None
        total = torch.zeros(self.n_params, dtype=torch.float64, device=self.network.device)
        size = rows_at_once(self.network, 3 * self._cost.held)
        for _, batch, weights in self.blocks(size):
            linear = self._linearise(batch)
            C = self._bends(linear, batch, weights)
            for part in linear.parts:
                for name, values in part.diagonal(C).items():
                    total[self.network.spans[name]] += values.reshape(-1)
        return self._penalised(total)

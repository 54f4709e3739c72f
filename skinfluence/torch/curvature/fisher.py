"""Empirical Fisher matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from skinfluence.torch.curvature.base import probe, rows_at_once
from skinfluence.torch.curvature.sum_of_rows import SumOfRows
from skinfluence.torch.data import Batch
from skinfluence.torch.gradients import RowGradients
from skinfluence.torch.objective import NetworkObjective


class EmpiricalFisher(SumOfRows):
    """``sum_i w_i g_i g_i'`` of the rows' gradients g_i.

    Cheap, positive semidefinite, and a poor stand-in for curvature: it takes gradients at the
    observed targets where the Fisher matrix takes the mean over the model's own, so rows that
    are fitted well count for nothing and rows that are not count twice over [1]_. The
    Gauss-Newton matrix is what it is meant to resemble. `diagonal` and `trace` are exact.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.

    See Also
    --------
    GaussNewton : What it is meant to resemble.

    References
    ----------
    .. [1] F. Kunstner, L. Balles and P. Hennig (2019), Limitations of the empirical Fisher
       approximation for natural gradient descent, NeurIPS.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import EmpiricalFisher
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> first, second = (
    ...     InfluenceExplainer(net, curvature=kind, damping=0.01).fit(X, y).self_influence()
    ...     for kind in (EmpiricalFisher, "fisher")
    ... )
    >>> bool(np.isclose(first, second, rtol=1e-6).all())
    True
    """

    psd = True

    def __init__(self, objective: NetworkObjective):
        super().__init__(objective)
        self.gradients = RowGradients(self.network, objective.loss, probe(objective))

    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        block = self.gradients.block(batch)
        products = weights.double()[:, None] * block.times(V)  # (b, M)
        return block.adjoint(products.T.to(V.dtype))

    def block_size(self, n_vectors: int) -> int:
        # Beside the factors, a layer's rows times vectors, as wide as its narrower side.
        widths = [max(1, shape[0]) if shape else 1 for shape in self.network.shapes.values()]
        numbers = 2 * n_vectors * max(widths)
        mine = rows_at_once(self.network, numbers)
        return min(mine, self.gradients.block_size())

    def matrix(self, size: int = 256) -> Tensor:
        """The matrix itself, (p, p), from the gradients of `size` rows at a time."""
        total = torch.zeros(
            self.n_params, self.n_params, dtype=torch.float64, device=self.network.device
        )
        for _, batch, weights in self.blocks(size):
            G = self.gradients.block(batch).dense()
            total += G.T @ (weights[:, None] * G)
        total = self._penalised(total)
        return (0.5 * (total + total.T)).to(self.network.dtype)

    def diagonal(self) -> Tensor:
        """``sum_i w_i g_i^2 + c``, (p,), float64; exact."""
        total = torch.zeros(self.n_params, dtype=torch.float64, device=self.network.device)
        for _, batch, weights in self.blocks(rows_at_once(self.network, 4 * self.n_params)):
            total += weights @ self.gradients.block(batch).dense().square()
        return self._penalised(total)

    def trace(self) -> float:
        """``sum_i w_i |g_i|^2 + sum c``; exact."""
        total = 0.0
        for _, batch, weights in self.blocks(self.gradients.block_size()):
            total += float(weights.double() @ self.gradients.block(batch).squares())
        penalty = self.objective.penalty_curvature()
        return total if penalty is None else total + float(penalty.double().sum())

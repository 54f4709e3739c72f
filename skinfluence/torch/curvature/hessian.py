"""Exact Hessian."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from skinfluence.torch.curvature.base import (
    activations_per_row,
    joined,
    probe,
    rows_at_once,
    shaped,
)
from skinfluence.torch.curvature.convexity import require_smooth
from skinfluence.torch.curvature.sum_of_rows import SumOfRows
from skinfluence.torch.data import Batch
from skinfluence.torch.derivatives import HESSIAN, first_that_works
from skinfluence.torch.objective import NetworkObjective


class Hessian(SumOfRows):
    """``sum_i w_i d^2 l_i / d theta^2``, by products (Pearlmutter [1]_) with M vectors at once.

    A network's Hessian is rarely positive semidefinite, even where training has converged:
    inverting it wants a damping above its most negative eigenvalue, or a solver that reports
    negative curvature. The Gauss-Newton matrix leaves out what makes it indefinite. Units with a
    kink (ReLU) count as straight, which their Hessian is almost everywhere.

    Products come by forward over reverse mode; for layers that have no forward mode by reverse
    over reverse, and for those that cannot be batched over vectors one vector at a time.
    `diagonal` is not known, and `trace` estimated.

    Parameters
    ----------
    objective : NetworkObjective
        What the network was trained to minimise, as the explainer hands it over.

    Raises
    ------
    ValueError
        If the loss has kinks, or a layer cannot be differentiated twice.

    See Also
    --------
    GaussNewton : Its positive part, and the default.

    References
    ----------
    .. [1] B. A. Pearlmutter (1994), Fast exact multiplication by the Hessian, Neural
       Computation 6.

    Examples
    --------
    A network without hidden layers has no curvature of its own:

    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Hessian
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> first, second = (
    ...     InfluenceExplainer(net, curvature=kind, damping=0.01).fit(X, y).self_influence()
    ...     for kind in (Hessian, "ggn")
    ... )
    >>> bool(np.isclose(first, second, rtol=1e-6).all())
    True
    """

    def __init__(self, objective: NetworkObjective):
        super().__init__(objective)
        require_smooth(objective)
        rows = probe(objective)
        self._numbers_per_row = activations_per_row(self.network, rows)
        ones = self.network.theta.new_ones(rows.size)
        unit = self.network.theta.new_ones(2, self.n_params)
        self._route = first_that_works(
            HESSIAN,
            partial(self._total, rows, ones),
            self.network.params(),
            shaped(self.network, unit),
        )

    def _total(self, batch, weights, params):
        losses = self.objective.loss(self.network.outputs(batch, params), batch.y)
        return (weights * losses).sum()

    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        total = partial(self._total, batch, weights)
        found = self._route(total, self.network.params(), shaped(self.network, V))
        return joined(self.network, found)

    def block_size(self, n_vectors: int) -> int:
        # Tangents of what is kept, and of what comes back.
        numbers = 3 * self._numbers_per_row * (1 + n_vectors)
        return rows_at_once(self.network, numbers)

"""Generalised Gauss-Newton matrix."""

from __future__ import annotations

from torch import Tensor
from torch.func import jvp, vjp, vmap

from skinfluence.torch.curvature.base import Curvature, rows_within_memory
from skinfluence.torch.data import Batch


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

    def of_rows(self, batch: Batch, weights: Tensor, V: Tensor) -> Tensor:
        def outputs(theta):
            return self.network.outputs(batch, self.network.params(theta))

        theta = self.network.theta
        f, back = vjp(outputs, theta)
        tangents = vmap(lambda v: jvp(outputs, (theta,), (v,))[1])(V)
        bent = self.objective.loss.curve(f, batch.y)(tangents)
        bent = bent * weights.reshape(-1, *(1,) * (bent.ndim - 2))
        found: Tensor = vmap(lambda u: back(u)[0])(bent)
        return found

    def block_size(self, n_vectors: int) -> int:
        return rows_within_memory(8.0 * n_vectors * 4 * 1024)

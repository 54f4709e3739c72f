"""A structured inverse, made exact along the rows that matter most."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from skinfluence.torch.curvature import Curvature, Ekfac, EmpiricalFisher
from skinfluence.torch.curvature.inverse import Inverse
from skinfluence.torch.gradients import GradientBlock, RowGradients
from skinfluence.torch.solvers.base import Solver
from skinfluence.torch.solvers.low_rank import MEASURED
from skinfluence.torch.solvers.operator import Damped, norms, require_finite
from skinfluence.torch.solvers.sketch import BLOCK, require_psd

Fisher = Literal["expected", "empirical"]


class Corrected(Solver):
    """EK-FAC's inverse, corrected so that it is exact along a few gradients.

    Kronecker factors miss how layers and rows hang together, and what they miss lies in the few
    directions that bend most. The gradients u_1..u_r of the training rows of largest self
    influence span them well; with ``y = (A + W damping) u``, ``M = U'Y`` and E the structured
    inverse

        ``(I - U M^-1 Y') E (I - Y M^-1 U') + U M^-1 U'``

    takes every y back to its u, is symmetric and positive definite, and is the nearest such matrix
    to E in the Frobenius norm weighted by A [1]_. It costs r products with the curvature once and
    none later, and stands between EK-FAC, which it starts from, and conjugate gradients, which
    take some for every right-hand side. On a trained MLP of 2,410 parameters on digits, scores
    with a damping of a tenth of the mean eigenvalue correlate with those of the exact inverse by
    .73 (EK-FAC), .90 (rank 50), .95 (100), .99 (200); a Nystroem approximation's by .84 at 200.

    Parameters
    ----------
    rank : int, default=100
        Gradients, r.
    inverse : Inverse or None, default=None
        What is corrected, in place of EK-FAC's: of the same parameters and damping.

    See Also
    --------
    Ekfac : Where it starts.
    ConjugateGradients : As exact as is asked for, at any size.

    References
    ----------
    .. [1] S. Gratton, A. Sartenaer & J. Tshimanga (2011), On a class of limited memory
       preconditioners for large scale linear systems with multiple right-hand sides, SIAM Journal
       on Optimization 21.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skinfluence import InfluenceExplainer
    >>> from skinfluence.torch import Corrected
    >>> X, y = load_iris(return_X_y=True)
    >>> net = MLPClassifier((3,), alpha=0.1, solver="lbfgs", max_iter=2000, random_state=0)
    >>> net = net.fit(X, y)
    >>> exact, near = (
    ...     InfluenceExplainer(net, damping=0.01, solver=solver).fit(X, y).self_influence()
    ...     for solver in ("dense", Corrected(rank=20))
    ... )
    >>> bool(np.corrcoef(exact, near)[0, 1] > 0.9)
    True
    """

    def __init__(self, *, rank: int = 100, inverse: Inverse | None = None):
        self.rank, self.inverse = rank, inverse

    def invert(self, curvature: Curvature, damping: float) -> CorrectedInverse:
        operator = Damped(curvature, damping)
        require_psd(curvature, "solver='ekfac'")
        near = self.inverse
        if near is None:
            empirical = isinstance(curvature, EmpiricalFisher)
            fisher: Fisher = "empirical" if empirical else "expected"
            near = Ekfac(curvature.objective, fisher=fisher).inverse(damping)
        return CorrectedInverse(operator, near, leading_gradients(operator, near, self.rank))


def leading_gradients(operator: Damped, inverse: Inverse, rank: int) -> Tensor:
    """Gradients (r, p) of the training rows whose weighted ``g' E g`` is largest."""
    objective = operator.curvature.objective
    probe = objective.rows.take(slice(0, min(4, objective.n_train)))
    gradients = RowGradients(objective.network, objective.loss, probe)
    sizes = torch.cat([inverse.quadratic(b) for _, b in gradients.blocks(objective.rows)])
    sizes = sizes * objective.weights.to(sizes.device)
    chosen = sizes.topk(min(rank, len(sizes), operator.n_params)).indices.sort().values
    parts = chosen.cpu().split(gradients.block_size())
    return torch.cat([gradients.block(objective.rows.take(part)).dense() for part in parts])


class CorrectedInverse(Inverse):
    """An inverse E that is exact on ``A + W damping`` times some vectors.

    Parameters
    ----------
    operator : Damped
    inverse : Inverse
        E.
    vectors : Tensor of shape (r, p)
        Any that span what is to be exact.
    """

    def __init__(self, operator: Damped, inverse: Inverse, vectors: Tensor):
        self.operator, self.inverse, self.damping = operator, inverse, operator.damping
        self.n_rhs, self.residual = 0, 0.0
        self.U, self.Y = conjugate(operator, vectors)

    def __call__(self, V: Tensor) -> Tensor:
        B = V.to(self.operator.like)
        require_finite(B, "A right-hand side")
        along = B @ self.U.T
        Z = self.inverse(B - along @ self.Y)
        X = Z + (along - Z @ self.Y.T) @ self.U
        if not self.n_rhs and len(B):
            self.residual = self._measure(B[:MEASURED], X[:MEASURED])
        self.n_rhs += len(B)
        return X.to(V.dtype)

    def _measure(self, B, X):
        """Largest relative residual; reported, and no reason to warn: it is an approximation."""
        size = norms(B)
        left = norms(B - self.operator(X)) / torch.where(size > 0, size, 1.0)
        return float(left.max())

    def half(self, V: Tensor) -> Tensor:
        B = V.to(self.operator.like)
        along = B @ self.U.T
        rest = self.inverse.half(B - along @ self.Y)
        return torch.cat([rest, along], 1).to(V.dtype)

    def quadratic(self, block: GradientBlock) -> Tensor:
        """From products of the rows with 2 r vectors: no gradient is formed."""
        EY = self.inverse(self.Y)
        inner = self.Y.double() @ EY.double().T
        inner.diagonal().add_(1.0)
        along, across = block.times(self.U).double(), block.times(EY).double()
        found = self.inverse.quadratic(block)
        return found + ((along @ inner - 2.0 * across) * along).sum(1)

    def report(self) -> dict[str, Any]:
        return {
            **super().report(),
            "n_rhs": self.n_rhs,
            "residual": self.residual,
            "measured": min(MEASURED, self.n_rhs),
            "products": self.operator.products,
            "rank": len(self.U),
            "corrects": self.inverse.report(),
        }


def conjugate(operator: Damped, vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors of the same span with ``U (A + ...) U' = I``, and their products Y, (r, p) each.

    What is dependent to rounding, or has no curvature, is left out.
    """
    U = vectors / norms(vectors).clamp(min=torch.finfo(vectors.dtype).tiny).to(vectors)[:, None]
    Y = torch.cat([operator(part) for part in U.split(BLOCK)])
    inner = U.double() @ Y.double().T
    values, turn = torch.linalg.eigh(0.5 * (inner + inner.T))
    kept = values > values.abs().amax() * torch.finfo(U.dtype).eps * len(values) * 10
    turn = (turn[:, kept] / values[kept].sqrt()).T
    return (turn @ U.double()).to(U), (turn @ Y.double()).to(U)

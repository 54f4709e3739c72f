"""Curvatures with known matrices, to hold solvers against."""

from __future__ import annotations

import torch
from torch import nn

from skinfluence.torch.curvature import SumOfRows
from skinfluence.torch.data import Rows
from skinfluence.torch.losses import SquaredError
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective


class MatrixCurvature(SumOfRows):
    """``sum_i w_i A_i`` of given matrices A_i (n, p, p); rows are their positions.

    Parameters
    ----------
    matrices : Tensor of shape (n, p, p)
    psd : bool
    block : int
        Rows a block.
    weights : Tensor of shape (n,) or None
    decay : Tensor of shape (p,) or None
        Penalty in mean-loss units.
    dtype : torch.dtype
    """

    def __init__(
        self, matrices, *, psd=True, block=7, weights=None, decay=None, dtype=torch.float64
    ):
        n, p = matrices.shape[:2]
        network = Network(nn.Linear(p, 1, bias=False).to(dtype))
        rows = Rows(torch.arange(n))
        weights = torch.ones(n, dtype=torch.float64) if weights is None else weights
        super().__init__(NetworkObjective(network, SquaredError(), rows, weights, decay))
        self.matrices, self.psd, self.block = matrices.to(dtype), psd, block

    def of_rows(self, batch, weights, V):
        total = torch.einsum("b,bpq->pq", weights, self.matrices[batch.args[0]])
        return V @ total.to(V.dtype)

    def block_size(self, n_vectors):
        return self.block

    def matrix(self, size=256):
        penalty = self.objective.penalty_curvature()
        total = torch.einsum("b,bpq->pq", self.objective.weights, self.matrices.to(torch.float64))
        return total if penalty is None else total + torch.diag(penalty.double())

    def diagonal(self):
        return self.matrix().diagonal()


def normal(*shape, seed=0):
    """Standard normal numbers, float64."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rank_one(n=60, p=12, fall=1.0, **options):
    """Gradients' outer products: positive semidefinite, scales fall from 1 to 10^-fall."""
    G = normal(n, p) * 10.0 ** torch.linspace(0, -fall, p, dtype=torch.float64)
    return MatrixCurvature(G[:, :, None] * G[:, None, :], **options)


def with_spectrum(values, *, n=5, **options):
    """A curvature of given eigenvalues, in n unequal shares."""
    values = torch.as_tensor(values, dtype=torch.float64)
    Q = torch.linalg.qr(normal(len(values), len(values), seed=1)).Q
    shares = torch.arange(1, n + 1, dtype=torch.float64)
    total = (Q * values) @ Q.T
    return MatrixCurvature(shares[:, None, None] / shares.sum() * total, **options)


def solved_densely(curvature, damping, V):
    """``(A + W damping)^-1 v`` of rows by the matrix itself, float64."""
    shift = curvature.objective.total_weight * damping
    matrix = curvature.matrix().double() + shift * torch.eye(V.shape[1], dtype=torch.float64)
    return torch.linalg.solve(matrix, V.double().T).T


def relative_residual(curvature, damping, V, X):
    """``|b - A x| / |b|`` of rows, from the definition."""
    shift = curvature.objective.total_weight * damping
    left = V.double() - X.double() @ curvature.matrix().double() - shift * X.double()
    return left.norm(dim=1) / V.double().norm(dim=1)

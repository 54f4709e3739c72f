"""Vectors whose outer products sum to the curvature of a row's loss in the network's outputs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from skinfluence.torch.losses import CrossEntropy, RowLoss

# From a loss, outputs (b, ...) and targets to (K, b, ...): K vectors a row.
Roots = Callable[[RowLoss, Tensor, Tensor | None], Tensor]

# Of a row's eigenvalues, relative to the largest: below minus this the loss is not convex.
CONVEX = 1e-5


def hessian_roots(loss: RowLoss, outputs: Tensor, y: Tensor | None) -> Tensor:
    """``C_i = sum_c s_ic s_ic'``: columns of a square root of each row's Hessian in the outputs.

    Every column goes back through the network on its own. One vector ``sum_c s_c`` in their
    place has the cross terms ``s_c s_d'`` in its outer product, which are not in C.

    Raises
    ------
    ValueError
        If the loss is not convex in the outputs.
    """
    if type(loss) is CrossEntropy and outputs.ndim == 2:
        return softmax_roots(outputs)
    K = outputs[0].numel()
    unit = torch.eye(K).to(outputs)[:, None].expand(K, len(outputs), K)
    bent = loss.curve(outputs, y)(unit.reshape(K, *outputs.shape)).flatten(2)
    sizes = torch.diagonal(bent, dim1=0, dim2=2)  # (b, K)
    if K == 1 or bool((bent.abs().sum((0, 2)) == sizes.abs().sum(1)).all()):
        check_convex(sizes)
        roots = torch.diag_embed(sizes.clamp(min=0).sqrt())
    else:
        values, vectors = torch.linalg.eigh(bent.transpose(0, 1))
        check_convex(values)
        roots = vectors * values.clamp(min=0).sqrt()[:, None]
    return roots.permute(2, 0, 1).reshape(K, *outputs.shape)


def softmax_roots(outputs: Tensor) -> Tensor:
    """``diag(p) - p p'  =  sum_c s_c s_c'`` with ``s_c = sqrt(p_c) (e_c - p)``, (K, b, K)."""
    p = outputs.softmax(1)
    unit = torch.eye(p.shape[1]).to(p)
    return p.sqrt().T[:, :, None] * (unit[:, None] - p)


def check_convex(eigenvalues: Tensor) -> None:
    """Refuse rows whose loss curves downwards in some direction of the outputs."""
    if bool((eigenvalues.amin(1) < -CONVEX * eigenvalues.abs().amax(1)).any()):
        raise ValueError(
            "Kronecker factors are sums of squares, and for some rows the loss curves downwards "
            "in the network's outputs (it is not convex in them). Use curvature='hessian' with "
            "damping, or the empirical factors, Kfac(..., fisher='empirical')."
        )


def gradient_roots(loss: RowLoss, outputs: Tensor, y: Tensor | None) -> Tensor:
    """The gradient of each row's own loss in the outputs, (1, b, ...)."""
    with torch.enable_grad():
        leaf = outputs.detach().requires_grad_()
        total = loss(leaf, y).sum()
    return torch.autograd.grad(total, leaf)[0][None]


ROOTS: dict[str, Roots] = {"expected": hessian_roots, "empirical": gradient_roots}

"""Losses of one row, as functions of the network's outputs at it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.func import grad, hessian, jvp, vmap
from torch.nn import functional as F


class RowLoss(ABC):
    """Loss of each row given its outputs; rows come first.

    Subclasses write ``__call__``; derivatives in the outputs are taken from it, and written out
    where a closed form is cheaper.
    """

    @abstractmethod
    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """Losses (b,) of rows with outputs (b, ...)."""

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        """Product with the Hessian in the outputs, row by row.

        Returns
        -------
        product : callable
            From (M, b, \\*output) to the same shape: ``d^2 l_i / d f_i^2`` times each vector.
        """

        def one(f, target, v):
            own = None if y is None else target[None]
            return jvp(grad(lambda f: self(f[None], own).sum()), (f,), (v,))[1]

        over_rows = vmap(one, in_dims=(0, None if y is None else 0, 0))
        return vmap(lambda V: over_rows(outputs, y, V))

    def hessian(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """Hessian in the flattened outputs, (b, K, K)."""
        b, K = len(outputs), outputs[0].numel()
        inner = vmap(
            hessian(lambda f, t: self(f[None], None if y is None else t[None]).sum()),
            in_dims=(0, None if y is None else 0),
        )
        return inner(outputs, y).reshape(b, K, K)


class CrossEntropy(RowLoss):
    """``-log softmax(f)_y`` of logits f (b, K), y being positions of classes (b,)."""

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return F.cross_entropy(outputs, y, reduction="none")

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        p = outputs.softmax(1)
        return lambda V: p * (V - (p * V).sum(-1, keepdim=True))

    def hessian(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        p = outputs.softmax(1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


class BinaryCrossEntropy(RowLoss):
    """``log(1 + exp(f)) - y f`` of logits f, summed over outputs where there are several."""

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        target = _as_outputs(y, outputs)
        each = F.binary_cross_entropy_with_logits(outputs, target, reduction="none")
        return each.flatten(1).sum(1) if each.ndim > 1 else each

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        p = outputs.sigmoid()
        return lambda V: p * (1 - p) * V


class SquaredError(RowLoss):
    """``c |f - y|^2``, summed over outputs.

    Parameters
    ----------
    scale : float, default=1.0
        c: 1 is the squared error of scikit-learn's regressions, 1/2 that of its MLPRegressor.
    """

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        squares = (outputs - _as_outputs(y, outputs)).square()
        return self.scale * (squares.flatten(1).sum(1) if squares.ndim > 1 else squares)

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        return lambda V: 2.0 * self.scale * V


class UserLoss(RowLoss):
    """A function of the user's, ``f(outputs, y) -> (b,)``."""

    def __init__(self, function: Callable[[Tensor, Tensor | None], Tensor]):
        self.function = function

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        values = self.function(outputs, y)
        if values.shape != (len(outputs),):
            raise ValueError(
                f"loss returned shape {tuple(values.shape)} for {len(outputs)} rows, and one loss "
                f"a row is needed, shape ({len(outputs)},). Use reduction='none', and average or "
                "sum over what one row has several of."
            )
        return values


def _as_outputs(y: Tensor | None, outputs: Tensor) -> Tensor:
    """Targets in the shape and type of the outputs: a column of one output is a vector."""
    if y is None:
        raise ValueError("This loss compares outputs with y, and y is missing. Pass y.")
    return y.to(outputs.dtype).reshape(outputs.shape)


LOSSES: dict[str, Callable[[], RowLoss]] = {
    "cross_entropy": CrossEntropy,
    "binary_cross_entropy": BinaryCrossEntropy,
    "squared_error": SquaredError,
}


def make_loss(loss: Any) -> RowLoss:
    """Loss by name, or the user's function."""
    if isinstance(loss, RowLoss):
        return loss
    if isinstance(loss, str) and loss in LOSSES:
        return LOSSES[loss]()
    if callable(loss):
        return UserLoss(loss)
    raise ValueError(
        f"loss={loss!r} is none of {', '.join(map(repr, LOSSES))}, nor a function of (outputs, y) "
        "that returns a loss a row. Name what the module was trained on."
    )

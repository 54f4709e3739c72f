"""Losses of numbers; summed over the outputs of a row unless the name says mean."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from skinfluence.torch.losses.base import RowLoss, as_outputs, over_outputs, seen


class SquaredError(RowLoss):
    """``c |f - y|^2``, in squared units of y.

    Parameters
    ----------
    scale : float, default=1.0
        c: 1 is the squared error of scikit-learn's regressions, 1/2 that of its MLPRegressor.
    """

    convex = True

    def __init__(self, scale: float = 1.0):
        self.scale = scale

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return self.scale * over_outputs((outputs - as_outputs(y, outputs)).square())

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        return lambda V: 2.0 * self.scale * V


class MeanSquaredError(RowLoss):
    """``|f - y|^2 / K``, the mean over a row's K outputs, as torch's MSELoss takes it."""

    convex = True

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        squares = (outputs - as_outputs(y, outputs)).square()
        return squares.flatten(1).mean(1) if squares.ndim > 1 else squares

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        return lambda V: (2.0 / outputs[0].numel()) * V


class Poisson(RowLoss):
    """Half the Poisson deviance ``y log(y / exp(f)) - y + exp(f)`` of log-rates f, in nats.

    It differs from torch's PoissonNLLLoss by what does not depend on f.
    """

    convex = True

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        counts = as_outputs(y, outputs)
        if seen((counts < 0).any()):
            raise ValueError(
                f"loss='poisson' takes y >= 0, and {float(counts.min()):.3g} was passed. Leave "
                "such rows out, or use loss='squared_error'."
            )
        return over_outputs(
            torch.xlogy(counts, counts) - counts * outputs - counts + outputs.exp()
        )

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        rate = outputs.exp()
        return lambda V: rate * V


class Huber(RowLoss):
    """``r^2 / 2`` where ``|r| <= delta``, else ``delta (|r| - delta / 2)``, of r = f - y.

    Rows beyond delta have no curvature: influence sees them as straight lines.

    Parameters
    ----------
    delta : float, default=1.0
        In units of y.
    """

    convex = True

    def __init__(self, delta: float = 1.0):
        self.delta = delta

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        target = as_outputs(y, outputs)
        return over_outputs(F.huber_loss(outputs, target, reduction="none", delta=self.delta))

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        inside = (outputs - as_outputs(y, outputs)).abs() <= self.delta
        return lambda V: inside * V


class AbsoluteError(RowLoss):
    """``|f - y|``, in units of y.

    It has a kink where it should have curvature, so that no Hessian and no Gauss-Newton matrix
    says how a fit answers to a row; gradients and the empirical Fisher matrix exist.
    """

    convex = True
    smooth = False

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return over_outputs((outputs - as_outputs(y, outputs)).abs())

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        return torch.zeros_like

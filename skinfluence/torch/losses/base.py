"""The contract of a loss of one row, and the user's own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from skinfluence.torch.derivatives import HESSIAN


class RowLoss(ABC):
    """Loss of each row given its outputs; rows come first.

    Subclasses write ``__call__``; second derivatives in the outputs are taken from it, and
    written out where a closed form is cheaper. The law: `curve` is the derivative of the
    gradient of ``__call__``, and `hessian` is `curve` of the unit vectors.

    Attributes
    ----------
    convex : bool or None
        Whether it is known to be convex in the outputs.
    smooth : bool
        Whether it has second derivatives at all.
    """

    convex: bool | None = None
    smooth: bool = True

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
        # Rows do not see each other, so the Hessian of their sum is block diagonal.
        at = {"f": outputs.detach()}

        def total(at):
            return self(at["f"], y).sum()

        def product(V: Tensor) -> Tensor:
            for route in HESSIAN[:-1]:
                try:
                    return route(total, at, {"f": V})["f"]
                except RuntimeError:  # no forward mode, or no batching, for some operation
                    continue
            return HESSIAN[-1](total, at, {"f": V})["f"]

        return product

    def hessian(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """Hessian in the flattened outputs, (b, K, K)."""
        b, K = len(outputs), outputs[0].numel()
        eye = torch.eye(K, dtype=outputs.dtype, device=outputs.device)
        unit = eye[:, None].expand(K, b, K).reshape(K, *outputs.shape)
        return self.curve(outputs, y)(unit).reshape(K, b, K).transpose(0, 1)


class UserLoss(RowLoss):
    """A function of the user's, ``f(outputs, y) -> (b,)``.

    Parameters
    ----------
    function : callable
    flat : bool, default=False
        Whether it was written for outputs (b,), which are a column (b, 1) here.
    """

    def __init__(self, function: Callable[[Tensor, Tensor | None], Tensor], *, flat: bool = False):
        self.function, self.flat = function, flat

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        values = self.function(outputs.squeeze(1) if self.flat else outputs, y)
        if not isinstance(values, Tensor):
            raise ValueError(
                f"loss returned a {type(values).__name__}, which has no derivatives, and a tensor "
                f"of shape ({len(outputs)},) is needed. Compute it by torch's functions, without "
                "numpy, item() or float()."
            )
        if values.shape != (len(outputs),):
            raise ValueError(
                f"loss returned shape {tuple(values.shape)} for {len(outputs)} rows, and one loss "
                f"a row is needed, shape ({len(outputs)},). Use reduction='none', and average or "
                "sum over what one row has several of."
            )
        return values


def needed(y: Tensor | None) -> Tensor:
    """Targets of a loss that cannot do without."""
    if y is None:
        raise ValueError("This loss compares outputs with y, and y is missing. Pass y.")
    return y


def as_outputs(y: Tensor | None, outputs: Tensor) -> Tensor:
    """Numbers to compare with the outputs, in their shape and type.

    A vector stands for a column, and a column for a vector; nothing else is reshaped, and
    nothing broadcast.
    """
    y = needed(y)
    own, theirs = ([n for n in values.shape[1:] if n != 1] for values in (y, outputs))
    if len(y) != len(outputs) or own != theirs:
        raise ValueError(
            f"This loss compares outputs of shape {tuple(outputs.shape)} with y of shape "
            f"{tuple(y.shape)}, and needs a number for each output. Pass y with one column for "
            "each output, or loss='cross_entropy' if y holds classes."
        )
    values = y.to(outputs.dtype).reshape(outputs.shape)
    if seen((~values.isfinite()).any()):
        raise ValueError(
            f"y holds NaN or infinity, first at position {first(~values.isfinite())} of these "
            f"{len(y)} rows. Leave such rows out."
        )
    return values


def over_outputs(values: Tensor) -> Tensor:
    """Sums over all outputs of a row, (b,)."""
    return values.flatten(1).sum(1) if values.ndim > 1 else values


def seen(condition: Tensor) -> bool:
    """Whether something holds; inside ``vmap``, where nobody can tell, it does not."""
    try:
        return bool(condition)
    except RuntimeError:
        return False


def first(bad: Tensor) -> int:
    """Position of the first row of which something is bad."""
    return int(bad.reshape(len(bad), -1).any(1).nonzero()[0, 0])

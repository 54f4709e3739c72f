"""Losses of classes: negative logarithms of their probabilities, in nats."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from skinfluence.torch.losses.base import RowLoss, as_outputs, first, needed, over_outputs, seen

# What torch's losses skip: padding.
IGNORED = -100
# How far from one probabilities may add up to.
NEAR_ONE = 1e-3


class CrossEntropy(RowLoss):
    """``-log softmax(f)_y`` of logits f, in nats; summed over the positions of a sequence.

    Logits are (b, K) with y the positions of classes, whole numbers (b,); or they have a class
    and further axes, as torch's (b, K, T) or as transformers' (b, T, K), with y (b, T), where -100
    marks what does not count (for K = T torch's order is taken). y may also hold probabilities,
    in the shape of the logits.
    """

    convex = True

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        y, axis = classes(y, outputs)
        logits = outputs.movedim(axis, 1)
        target = y.movedim(axis, 1) if y.is_floating_point() else y
        each = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORED)
        return over_outputs(each)

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        axis, counts = 1, None
        if y is not None:
            y, axis = classes(y, outputs)
            # A probability that is left over takes its share of the curvature with it.
            if y.is_floating_point():
                counts = y.sum(axis, keepdim=True)
            elif outputs.ndim > 2:
                counts = (y != IGNORED).unsqueeze(axis)
        p = outputs.softmax(axis)
        over = axis - outputs.ndim  # counted from the end, where M does not shift it

        def product(V: Tensor) -> Tensor:
            found = p * (V - (p * V).sum(over, keepdim=True))
            return found if counts is None else counts * found

        return product

    def hessian(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        if outputs.ndim > 2 or (y is not None and y.is_floating_point()):
            return super().hessian(outputs, y)
        p = outputs.softmax(1)
        return torch.diag_embed(p) - p[:, :, None] * p[:, None, :]


class NegativeLogLikelihood(CrossEntropy):
    """``-f_y`` of logarithms of probabilities f (those of ``LogSoftmax``), in nats.

    The same numbers as the cross entropy of f, with its curvature: that of the logits behind f,
    where the loss itself is straight in f. So the Gauss-Newton matrix is that of the logits.
    """

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        _, axis = classes(y, outputs)
        off = outputs.logsumexp(axis).abs() > NEAR_ONE
        if seen(off.any()):
            row = first(off)
            total = float(outputs[row].exp().sum()) / (outputs[row].numel() / outputs.shape[axis])
            raise ValueError(
                f"loss='nll' takes logarithms of probabilities, and those of row {row} of these "
                f"add up to {total:.3g}. End the network in LogSoftmax, or use "
                "loss='cross_entropy' on logits."
            )
        return super().__call__(outputs, y)


class BinaryCrossEntropy(RowLoss):
    """``log(1 + exp(f)) - y f`` of logits f, in nats; summed over outputs.

    y is 0, 1 or a probability, one for each output.
    """

    convex = True

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        target = as_outputs(y, outputs)
        outside = (target < 0) | (target > 1)
        if seen(outside.any()):
            raise ValueError(
                f"loss='binary_cross_entropy' takes y between 0 and 1, and {_example(y, outside)} "
                "was passed. Encode two classes as 0 and 1, or use loss='cross_entropy' on a "
                "logit for each class."
            )
        return over_outputs(F.binary_cross_entropy_with_logits(outputs, target, reduction="none"))

    def curve(self, outputs: Tensor, y: Tensor | None) -> Callable[[Tensor], Tensor]:
        p = outputs.sigmoid()
        return lambda V: p * (1 - p) * V


def classes(y: Tensor | None, outputs: Tensor) -> tuple[Tensor, int]:
    """Positions of classes as int64, or probabilities; and the axis of the outputs they lie on.

    Raises
    ------
    ValueError
        If y is neither, has another shape or names a class that has no output.
    """
    y = needed(y)
    if outputs.ndim < 2:
        raise ValueError(
            f"Cross entropy needs an output for each class, and outputs have shape "
            f"{tuple(outputs.shape)}. Use loss='binary_cross_entropy' on a single logit."
        )
    if y.is_floating_point():
        if y.shape == outputs.shape:
            return y, 1
        raise ValueError(
            f"Cross entropy takes positions of classes, whole numbers, or probabilities in the "
            f"shape of the outputs, {tuple(outputs.shape)}; y is {y.dtype} of shape "
            f"{tuple(y.shape)}. Pass y.long(), or loss='squared_error' for numbers."
        )
    y = y.reshape(len(y)) if outputs.ndim == 2 and y.shape == (len(outputs), 1) else y
    if y.shape == (*outputs.shape[:1], *outputs.shape[2:]):
        axis = 1
    elif y.shape == outputs.shape[:-1]:
        axis = outputs.ndim - 1
    else:
        raise ValueError(
            f"Cross entropy of outputs of shape {tuple(outputs.shape)} takes a class for each "
            f"row (and position); y has shape {tuple(y.shape)}. Pass positions of classes, not "
            "indicators, or indicators as float for probabilities."
        )
    K = outputs.shape[axis]
    wrong = ((y < 0) & (y != IGNORED)) | (y >= K)
    if seen(wrong.any()):
        raise ValueError(
            f"y names class {_example(y, wrong)}, and the network has outputs for {K} classes, 0 "
            f"to {K - 1}. Number the classes from 0 in the order of the outputs."
        )
    return y.long(), axis


def _example(y, bad):
    return y.reshape(bad.shape)[bad][0].item()

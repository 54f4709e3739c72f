"""What a score is a change of: the loss, an output, a probability, or a function of outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skinfluence.torch.losses import BinaryCrossEntropy, CrossEntropy, RowLoss
from skinfluence.torch.objective import NetworkObjective


class Target(ABC):
    """A value of each row, given the network's outputs at it.

    The law: it is smooth in the outputs, rows do not see each other, and it may be called on
    batches of any size (inside ``vmap`` too).
    """

    @abstractmethod
    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        """Values (b,) of rows with outputs (b, ...) and targets, or chosen outputs, y."""


class OfLoss(Target):
    """The row's own loss."""

    def __init__(self, loss: RowLoss):
        self.loss = loss

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        return self.loss(outputs, y)


class OfOutput(Target):
    """The chosen output; of a single logit, plus or minus it.

    Parameters
    ----------
    outputs : callable
        From the network's outputs (b, ...) to columns (b, K) to choose from.
    binary : bool, default=False
        Whether the loss is one of yes and no, so that a single logit stands for two classes.
    """

    def __init__(self, outputs: Callable[[Tensor], Tensor], *, binary: bool = False):
        self.outputs, self.binary = outputs, binary

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        assert y is not None
        return self.outputs(outputs).gather(1, y[:, None])[:, 0]


class OfFunction(Target):
    """A function of the user's, ``f(outputs, y) -> (b,)`` on tensors.

    Parameters
    ----------
    function : callable
    flat : bool, default=False
        Whether the module gives outputs (b,), which are a column (b, 1) here.
    """

    def __init__(self, function: Callable[[Tensor, Tensor | None], Tensor], *, flat: bool = False):
        self.function, self.flat = function, flat

    def __call__(self, outputs: Tensor, y: Tensor | None) -> Tensor:
        outputs = outputs.squeeze(1) if self.flat else outputs
        try:
            values = self.function(outputs, y)
        except (TypeError, IndexError, AttributeError) as error:
            targets = "no y" if y is None else f"y of shape {tuple(y.shape)}"
            raise ValueError(
                f"The target function fails on outputs of shape {tuple(outputs.shape)} and "
                f"{targets}: {error}. It is called as f(outputs, y), with tensors of several rows."
            ) from error
        if not isinstance(values, Tensor) or values.shape != (len(outputs),):
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise ValueError(
                f"The target function returned {shape} for {len(outputs)} rows of outputs, and "
                f"one number a row is needed: a tensor of shape ({len(outputs)},), made of the "
                "outputs by torch's functions."
            )
        return values


def make_target(asked: Any, objective: NetworkObjective) -> Target | None:
    """Target by name, or of a function; None for parameters, which no query has."""
    loss, binary = objective.loss, isinstance(objective.loss, BinaryCrossEntropy)
    if callable(asked):
        return OfFunction(asked, flat=objective.network.flat)
    if asked == "loss":
        return OfLoss(loss)
    if asked == "decision_function":
        return OfOutput(_logits if binary else _columns, binary=binary)
    if asked == "proba":
        return OfOutput(probabilities_of(loss), binary=binary)
    return None


def probabilities_of(loss: RowLoss) -> Callable[[Tensor], Tensor]:
    """Columns of probabilities, by the loss's own link."""
    own = getattr(loss, "probabilities", None)
    if callable(own):
        found: Callable[[Tensor], Tensor] = own
        return found
    if isinstance(loss, CrossEntropy):
        return _softmax
    if isinstance(loss, BinaryCrossEntropy):
        return _sigmoid
    name = type(getattr(loss, "module", loss)).__name__  # torch's own, where it is one
    raise ValueError(
        f"target='proba' needs a loss of probabilities, and {name} says nothing of "
        "them. Use target='decision_function', or a function of the outputs as the target."
    )


# Functions of the module, and no closures: explainers are pickled.


def _columns(outputs):
    return outputs.reshape(len(outputs), -1)


def _logits(outputs):
    """Of two classes the single logit speaks for the second, and minus it for the first."""
    f = _columns(outputs)
    return torch.cat([-f, f], 1) if f.shape[1] == 1 else f


def _softmax(outputs):
    # Classes are the second axis, positions of a sequence the others.
    return _columns(outputs.softmax(1))


def _sigmoid(outputs):
    p = _columns(outputs).sigmoid()
    return torch.cat([1 - p, p], 1) if p.shape[1] == 1 else p

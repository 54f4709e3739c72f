"""What the outputs of a model mean: loss, decision and probability as functions of them.

Outputs are (q, b, K): query, deletion, output; values are (q, b).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.objectives.encoding import class_positions

Array = NDArray[np.float64]
Positions = NDArray[np.intp]


class Head(ABC):
    """Outputs of a model, as losses, decisions and probabilities.

    Attributes
    ----------
    classes : ndarray or None
        Labels; None where there are none.
    supervised : bool
        Whether the loss needs targets.
    has_decision, has_proba : bool
        Whether the estimator itself has such a method, so that it may be a target.
    reconstructs : bool
        Whether the last output is the squared error of a reconstruction.
    n_choices : int
        Among how many outputs a decision is chosen.
    of_no_rows : float
        Output of a class that has no rows left.
    """

    classes: NDArray[Any] | None = None
    supervised: bool = True
    has_decision: bool = False
    has_proba: bool = False
    reconstructs: bool = False
    n_choices: int = 1
    of_no_rows: float = -np.inf

    def encode(self, y: Any) -> Any:
        """Targets of queries as :meth:`loss` takes them; those without a loss are refused."""
        return y

    @abstractmethod
    def loss(self, outputs: Array, targets: Any) -> Array:
        """Loss at each query under each deletion, (q, b)."""

    def decision(self, outputs: Array, choice: Positions) -> Array:
        """The chosen output, (q, b)."""
        return _taken(outputs, choice)

    def proba(self, outputs: Array, choice: Positions) -> Array:
        """Probability of the chosen class, (q, b)."""
        raise NotImplementedError

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array | None:
        """Derivatives of "loss", "decision_function" or "proba" in the outputs, (q, K).

        None, as here, where they are found by differences.
        """
        return None

    def reconstruction(self, outputs: Array, asked: Any) -> Array:
        """Squared error of the reconstruction of each query, (q, b)."""
        return outputs[..., -1]

    def choose(self, output: Any) -> int | None:
        """Choice that `output` names where choices are no classes; None where they are."""
        return None

    def shown(self, outputs: Array) -> Array:
        """Outputs as a target of the user takes them, (q, b, n_columns)."""
        return outputs

    def of_classes_left(self, outputs: Array, left: Positions) -> Array:
        """Outputs of all classes from those of a model of the classes at `left`, (q, K)."""
        assert self.classes is not None
        full = np.full((len(outputs), len(self.classes)), self.of_no_rows)
        full[:, left] = outputs
        return full

    def predicted(self, outputs: Array) -> Positions:
        """Output that speaks for each query by itself, (q,), from outputs (q, K)."""
        return np.zeros(len(outputs), dtype=np.intp)


def _taken(outputs, choice):
    # Advanced indices on both sides of a slice would put the slice last.
    return outputs[np.arange(len(choice))[:, None], np.arange(outputs.shape[1]), choice[:, None]]


def _indicators(outputs, choice):
    """1 at the chosen output of each query, (q, K)."""
    return (np.arange(outputs.shape[1]) == choice[:, None]).astype(np.float64)


class OfClasses(Head):
    """Outputs that belong to classes, one each."""

    has_proba = True

    classes: NDArray[Any]

    def __init__(self, classes: NDArray[Any], *, has_decision: bool = False):
        self.classes, self.has_decision = classes, has_decision
        self.n_choices = len(classes)

    def encode(self, y: Any) -> Any:
        return class_positions(y, self.classes)

    def predicted(self, outputs: Array) -> Positions:
        return outputs.argmax(axis=1)


class LogJoint(OfClasses):
    """Outputs are ``log p(x, class)`` up to a number a query; the loss is ``-log p(y | x)``."""

    def loss(self, outputs: Array, targets: Any) -> Array:
        return log_sum(outputs) - _taken(outputs, targets)

    def proba(self, outputs: Array, choice: Positions) -> Array:
        return np.exp(-self.loss(outputs, choice))

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        chosen = _indicators(outputs, asked)
        if target == "decision_function":
            return 2.0 * chosen - 1.0 if outputs.shape[1] == 2 else chosen
        of_loss = np.exp(outputs - log_sum(outputs)[:, None]) - chosen
        if target == "loss":
            return of_loss
        return -self.proba(outputs[:, None], asked) * of_loss

    def decision(self, outputs: Array, choice: Positions) -> Array:
        if outputs.shape[-1] != 2:
            return _taken(outputs, choice)
        # scikit-learn's decision of two classes is that for the second.
        return _taken(outputs, choice) - _taken(outputs, 1 - choice)


class Votes(OfClasses):
    """Outputs are the probabilities themselves; the loss is ``-log p``, and may be inf."""

    of_no_rows = 0.0

    def loss(self, outputs: Array, targets: Any) -> Array:
        with np.errstate(divide="ignore"):
            return -np.log(_taken(outputs, targets))

    def proba(self, outputs: Array, choice: Positions) -> Array:
        return _taken(outputs, choice)

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        chosen = _indicators(outputs, asked)
        if target == "proba":
            return chosen
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(chosen > 0, -chosen / outputs, 0.0)


class Numbers(Head):
    """The first outputs are predictions; the loss is the squared error, summed over them."""

    has_decision = True

    def __init__(self, n_targets: int):
        self.n_targets = self.n_choices = n_targets

    def encode(self, y: Any) -> Any:
        y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        if y.shape[1] != self.n_targets:
            raise ValueError(
                f"y has {y.shape[1]} targets a row, and the model was fitted on "
                f"{self.n_targets}. Pass y with one column a target."
            )
        return y

    def loss(self, outputs: Array, targets: Any) -> Array:
        gap = outputs[..., : self.n_targets] - targets[:, None]
        return np.einsum("qbk,qbk->qb", gap, gap)

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        if target == "decision_function":
            return _indicators(outputs, asked)
        found = np.zeros_like(outputs)
        found[:, : self.n_targets] = 2.0 * (outputs[:, : self.n_targets] - asked)
        return found


class LogDensity(Head):
    """The output is the log density; the loss is minus it."""

    supervised = False

    def loss(self, outputs: Array, targets: Any) -> Array:
        return -outputs[..., 0]

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        return -np.ones_like(outputs)


class Reconstruction(LogDensity):
    """Outputs are what was asked of log density and squared error of a reconstruction."""

    reconstructs = True

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        found = np.zeros_like(outputs)
        if target == "loss":
            found[..., 0] = -1.0
        else:
            found[..., -1] = 1.0
        return found


def log_sum(outputs: Array) -> Array:
    """Log of the sum of exponentials over the last axis; -inf of nothing but -inf."""
    if outputs.shape[-1] == 2:
        return np.logaddexp(outputs[..., 0], outputs[..., 1])
    top = outputs.max(axis=-1)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(outputs - top[..., None]).sum(axis=-1)) + top

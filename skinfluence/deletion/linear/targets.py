"""What a score is a change of: the loss, an output, a probability, or any function of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.queries import Queries, known
from skinfluence.objectives.losses import PointLoss

Array = NDArray[np.float64]

# Relative step of a central difference: the cube root of the rounding error.
STEP = 6e-6
# The steepest slope that a query can have; its square is still a number.
STEEP = 1e150


class Target(ABC):
    """A function of a query's outputs, all parts together.

    The law: the gradient is the finite difference of `change`.
    """

    @abstractmethod
    def change(self, queries: Queries, deltas: Sequence[Array]) -> Array:
        """Change of the value when outputs move by `deltas`, (q, b, K) a part: (q, b)."""

    @abstractmethod
    def gradient(self, queries: Queries) -> list[Array]:
        """Derivative by the outputs, (q, K) a part."""


class Loss(Target):
    """The query's own loss, summed over the parts.

    Where a loss is smoothed, its change is that of the estimator's own loss, kinks and all, under
    the moves of the smoothed one; its gradient is the smoothed one's.
    """

    def __init__(self, losses: Sequence[PointLoss]):
        self.losses = losses

    def change(self, queries: Queries, deltas: Sequence[Array]) -> Array:
        changes = [
            loss.raw.change(outputs[:, None], delta, y[:, None])
            for loss, outputs, y, delta in self._parts(queries, deltas)
        ]
        return changes[0] if len(changes) == 1 else np.sum(changes, axis=0)

    def gradient(self, queries: Queries) -> list[Array]:
        triples = zip(self.losses, queries.outputs, known(queries.targets), strict=True)
        with np.errstate(over="ignore"):
            # Far outside slopes overflow, and infinity times a move of zero would be NaN.
            return [np.clip(loss.gradient(eta, y), -STEEP, STEEP) for loss, eta, y in triples]

    def _parts(self, queries, deltas):
        return zip(self.losses, queries.outputs, known(queries.targets), deltas, strict=True)


class Output(Target):
    """One output of the decision function: that of the chosen class, or of the chosen column.

    Of two classes there is one output, which speaks for the second; the first has minus it.
    """

    def __init__(self, visible: Sequence[int], *, binary: bool):
        self.visible, self.binary = visible, binary

    def change(self, queries: Queries, deltas: Sequence[Array]) -> Array:
        weights = self._weights(queries)
        total = np.zeros(deltas[0].shape[:2])
        start = 0
        for n_outputs, delta in zip(self.visible, deltas, strict=True):
            for k in range(n_outputs):
                if weights[:, start + k].any():
                    total += weights[:, start + k, None] * delta[:, :, k]
            start += n_outputs
        return total

    def gradient(self, queries: Queries) -> list[Array]:
        weights = self._weights(queries)
        edges = np.cumsum([0, *self.visible])
        return [
            _padded(weights[:, a:b], outputs.shape[1])
            for a, b, outputs in zip(edges[:-1], edges[1:], queries.outputs, strict=True)
        ]

    def _weights(self, queries):
        weights = np.zeros((queries.shape[0], sum(self.visible)))
        if self.binary:
            weights[:, 0] = np.where(queries.choice == 1, 1.0, -1.0)
        else:
            weights[np.arange(queries.shape[0]), queries.choice] = 1.0
        return weights


class OfOutputs(Target):
    """Any function of all visible outputs.

    Parameters
    ----------
    visible : sequence of int
        How many leading outputs of each part are the model's (a scale parameter is not).
    function : callable
        ``function(outputs, queries)`` with outputs of shape (q, b, n_outputs) to (q, b).
    """

    def __init__(self, visible: Sequence[int], function: Callable[[Array, Queries], Array]):
        self.visible, self.function = visible, function

    def _outputs(self, queries):
        pairs = zip(self.visible, queries.outputs, strict=True)
        return np.concatenate([outputs[:, :k] for k, outputs in pairs], axis=1)

    def change(self, queries: Queries, deltas: Sequence[Array]) -> Array:
        before = self._outputs(queries)[:, None]
        moved = np.concatenate(
            [delta[..., :k] for k, delta in zip(self.visible, deltas, strict=True)], axis=-1
        )
        return self.function(before + moved, queries) - self.function(before, queries)

    def gradient(self, queries: Queries) -> list[Array]:
        outputs = self._outputs(queries)
        gradient = self.derivative(outputs, queries)
        edges = np.cumsum([0, *self.visible])
        return [
            _padded(gradient[:, a:b], outputs.shape[1])
            for a, b, outputs in zip(edges[:-1], edges[1:], queries.outputs, strict=True)
        ]

    def derivative(self, outputs: Array, queries: Queries) -> Array:
        """By the visible outputs, (q, n_outputs): central differences."""
        gradient = np.empty_like(outputs)
        for k in range(outputs.shape[1]):
            step = STEP * np.maximum(1.0, np.abs(outputs[:, k]))
            ahead, behind = outputs.copy(), outputs.copy()
            ahead[:, k] += step
            behind[:, k] -= step
            rise = self.function(ahead[:, None], queries) - self.function(behind[:, None], queries)
            gradient[:, k] = rise[:, 0] / (ahead[:, k] - behind[:, k])
        return gradient


def probability(visible: Sequence[int], proba: Callable[[Array], Array]) -> OfOutputs:
    """The probability that the model gives to the chosen class."""
    return OfOutputs(visible, partial(_chosen_probability, proba))


def _chosen_probability(proba, outputs, queries):
    chosen = np.broadcast_to(known(queries.choice)[:, None, None], (*outputs.shape[:2], 1))
    return np.take_along_axis(proba(outputs), chosen, axis=-1)[..., 0]


class UserFunction(OfOutputs):
    """A callable of the user, ``function(outputs, y)`` on flat rows, as a target.

    It may return the values, or the values and their derivative by the outputs.

    Parameters
    ----------
    visible : sequence of int
        As for :class:`OfOutputs`.
    user : callable
    """

    def __init__(self, visible: Sequence[int], user: Callable[..., Any]):
        super().__init__(visible, self._values)
        self.user = user

    def _values(self, outputs, queries):
        return _call(self.user, outputs, queries)[0].reshape(outputs.shape[:2])

    def derivative(self, outputs: Array, queries: Queries) -> Array:
        gradient = _call(self.user, outputs[:, None], queries)[1]
        return super().derivative(outputs, queries) if gradient is None else gradient


def _call(function, outputs, queries):
    q, b, n_outputs = outputs.shape
    flat = outputs.reshape(q * b, n_outputs)
    y = None if queries.y is None else np.repeat(queries.y, b, axis=0)
    result = function(flat, y)
    values, gradient = result if isinstance(result, tuple) else (result, None)
    values = np.asarray(values, dtype=np.float64)
    if values.shape != (q * b,):
        raise ValueError(
            f"The target function returned values of shape {values.shape} for {q * b} rows of "
            "outputs. Return one number a row, (n_rows,), or a tuple of that and the derivative, "
            "(n_rows, n_outputs)."
        )
    if gradient is not None:
        gradient = np.asarray(gradient, dtype=np.float64).reshape(q * b, n_outputs)
    return values, gradient


def _padded(weights, n_outputs):
    if weights.shape[1] == n_outputs:
        return weights
    return np.hstack([weights, np.zeros((len(weights), n_outputs - weights.shape[1]))])

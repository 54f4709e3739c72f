"""What the decisions of support vector machines mean: losses and decision functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.base import Array
from skinfluence.deletion.closed.base import Positions
from skinfluence.deletion.closed.heads import Head
from skinfluence.objectives.encoding import class_positions, plain, real_targets


class Margins(Head):
    """Decisions between pairs of classes; the loss is the hinge, summed over a query's pairs.

    A query of class k is a row of the K - 1 problems between k and another class, and its loss is
    what it would add to them: ``sum_pairs max(0, 1 - y f)``. The decision of a class is its number
    of votes plus its transformed confidence, as scikit-learn has it; with
    ``decision_function_shape="ovo"`` there is one of each pair, and ``output=(a, b)`` is that of
    class a against class b. Of two classes the first has minus the decision of the second.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    pairs : sequence of tuple of int
        Positive and negative class of each output.
    one_vs_one : bool
        Whether decisions are those of pairs.
    """

    has_decision = True
    classes: NDArray[Any]

    def __init__(
        self, classes: NDArray[Any], pairs: Sequence[tuple[int, int]], *, one_vs_one: bool
    ):
        self.classes, self.pairs = classes, list(pairs)
        self.one_vs_one = one_vs_one and len(classes) > 2
        self.n_choices = len(pairs) if self.one_vs_one else len(classes)
        # What each pair says for each class: 1, -1 or 0.
        self.signs = np.zeros((len(pairs), len(classes)))
        for k, (positive, negative) in enumerate(self.pairs):
            self.signs[k, positive], self.signs[k, negative] = 1.0, -1.0

    def encode(self, y: Any) -> Any:
        return class_positions(y, self.classes)

    def loss(self, outputs: Array, targets: Any) -> Array:
        total = np.zeros(outputs.shape[:2])
        for k in range(outputs.shape[2]):
            sign = self.signs[k, targets][:, None]
            total += np.abs(sign) * np.maximum(0.0, 1.0 - sign * outputs[..., k])
        return total

    def decision(self, outputs: Array, choice: Positions) -> Array:
        if len(self.classes) == 2:
            return self.signs[0, choice][:, None] * outputs[..., 0]
        if self.one_vs_one:
            # The second half of the choices are the pairs the other way round.
            pair = choice % len(self.pairs)
            taken = np.take_along_axis(outputs, pair[:, None, None], axis=2)[..., 0]
            return np.where(choice < len(self.pairs), 1.0, -1.0)[:, None] * taken
        return self._for_classes(outputs, self.signs[:, choice].T[:, None])

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        """Of votes, which jump, no derivative is taken; at the margin, none of the hinge."""
        if target == "loss":
            signs = self.signs[:, asked].T
            return -signs * (signs * outputs < 1.0)
        if len(self.classes) == 2:
            return self.signs[0, asked][:, None]
        if self.one_vs_one:
            pair = asked % len(self.pairs)
            side = np.where(asked < len(self.pairs), 1.0, -1.0)
            return side[:, None] * (np.arange(len(self.pairs)) == pair[:, None])
        signs = self.signs[:, asked].T
        confidence = (signs * outputs).sum(axis=1, keepdims=True)
        return signs / (3.0 * (np.abs(confidence) + 1.0) ** 2)

    def _for_classes(self, outputs, signs):
        """Votes and confidence of classes, from what each pair says for them."""
        # A decision of exactly 0 is the first class's vote.
        votes = np.where(outputs >= 0, signs > 0, signs < 0).sum(axis=-1)
        confidence = (signs * outputs).sum(axis=-1)
        return votes + confidence / (3.0 * (np.abs(confidence) + 1.0))

    def shown(self, outputs: Array) -> Array:
        """The columns of the estimator's decision function, (q, b, n_columns)."""
        if len(self.classes) == 2 or self.one_vs_one:
            return outputs
        columns = [self._for_classes(outputs, signs) for signs in self.signs.T]
        return np.stack(columns, axis=-1)

    def of_classes_left(self, outputs: Array, left: Positions) -> Array:
        """A class that is gone is at the margin of every other: the box of its pair is empty."""
        full = np.zeros((len(outputs), len(self.pairs)))
        for k, pair in enumerate(self.pairs):
            if not set(pair) <= set(left.tolist()):
                full[:, k] = np.isin(pair[0], left) - 1.0 * np.isin(pair[1], left)
        both = [k for k, pair in enumerate(self.pairs) if set(pair) <= set(left.tolist())]
        if len(left) == 2:  # scikit-learn turns the sign of a pair that is alone
            full[:, both] = -outputs[:, :1]
        elif both:
            full[:, both] = outputs
        return full

    def choose(self, output: Any) -> int | None:
        if not self.one_vs_one:
            return None
        labels = list(self.classes)
        if isinstance(output, tuple) and len(output) == 2 and set(output) <= set(labels):
            pair = labels.index(output[0]), labels.index(output[1])
            if pair in self.pairs:
                return self.pairs.index(pair)
            if pair[::-1] in self.pairs:
                return len(self.pairs) + self.pairs.index(pair[::-1])
        raise ValueError(
            f"output={output!r} names no pair of classes, and decision_function_shape='ovo' has "
            f"an output a pair. Pass a tuple of two labels, e.g. output=({plain(labels[0])!r}, "
            f"{plain(labels[1])!r}), or set decision_function_shape='ovr'."
        )

    def predicted(self, outputs: Array) -> Positions:
        if len(self.classes) == 2:
            return (outputs[:, 0] > 0).astype(np.intp)
        return self.shown(outputs[:, None])[:, 0].argmax(axis=1)

    def voted(self, outputs: Array) -> Positions:
        """Label with most votes, the first of several: scikit-learn's without ``break_ties``."""
        signs = self.signs.T[:, None]
        votes = np.where(outputs >= 0, signs > 0, signs < 0).sum(axis=-1)  # (n_classes, q)
        return votes.argmax(axis=0)


class Tubes(Head):
    """One prediction; the loss is what lies beyond epsilon, ``max(0, |y - f| - epsilon)``.

    NuSVR chooses epsilon itself, and its loss is ``|y - f|``: otherwise a deletion that widens the
    tube would seem to help every query.

    Parameters
    ----------
    epsilon : float
    """

    has_decision = True

    def __init__(self, epsilon: float):
        self.epsilon = epsilon

    def encode(self, y: Any) -> Any:
        return real_targets(y, 1)

    def loss(self, outputs: Array, targets: Any) -> Array:
        return np.maximum(0.0, np.abs(outputs[..., 0] - targets[:, None]) - self.epsilon)

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        if target == "decision_function":
            return np.ones_like(outputs)
        gap = outputs - asked[:, None]
        return np.asarray(np.where(np.abs(gap) > self.epsilon, np.sign(gap), 0.0))


class Novelty(Head):
    """The decision function of an outlier detector; the loss is its hinge, ``max(0, -f)``.

    Inliers have none, before and after most deletions: ask for "decision_function" there.
    """

    supervised = False
    has_decision = True

    def loss(self, outputs: Array, targets: Any) -> Array:
        return np.maximum(0.0, -outputs[..., 0])

    def slopes(self, target: str, outputs: Array, asked: Any) -> Array:
        if target == "decision_function":
            return np.ones_like(outputs)
        return np.where(outputs < 0, -1.0, 0.0)

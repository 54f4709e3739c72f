"""Queries, choices of output and names of parameters of a fitted linear model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.linear.part import BasePart
from skinfluence.deletion.linear.queries import Queries
from skinfluence.deletion.linear.targets import Loss, Output, Target, UserFunction, probability
from skinfluence.objectives import LinearFit, reader_of
from skinfluence.objectives.encoding import class_positions

Array = NDArray[np.float64]


def visible_outputs(fit: LinearFit) -> list[int]:
    """How many outputs of each problem are the model's own."""
    return [problem.n_visible for problem in fit.problems]


def is_binary(fit: LinearFit) -> bool:
    """Whether one output speaks for two classes."""
    return fit.classes is not None and len(fit.classes) == 2 and sum(visible_outputs(fit)) == 1


def make_target(fit: LinearFit, target: Any, estimator: Any) -> Target | None:
    """What a score is a change of; None for parameters, which no query has."""
    visible = visible_outputs(fit)
    if callable(target):
        return UserFunction(visible, target)
    if target == "loss":
        return Loss([problem.loss for problem in fit.problems])
    if target == "decision_function":
        return Output(visible, binary=is_binary(fit))
    if target == "proba":
        if fit.proba is None:
            raise ValueError(
                "target='proba' needs probabilities of one set of classes, which "
                f"{type(estimator).__name__} has not. Use target='decision_function'."
            )
        return probability(visible, fit.proba)
    return None


def make_queries(
    model: Any,
    fit: LinearFit,
    parts: Sequence[BasePart],
    X: Any,
    y: Any,
    *,
    target: Any,
    output: Any,
) -> Queries:
    """Queries in the coordinates of each part, with what the target asks of them.

    Parameters
    ----------
    model : estimator
        The fitted model.
    fit : LinearFit
    parts : sequence of BasePart
    X : ndarray or sparse array of shape (n_queries, p), or None
        In model space; None for the training rows.
    y : array-like or None
        Targets in model space.
    target, output
        As the explainer has them.
    """
    designs, known = [], {}
    for part in parts:
        coordinates = part.objective.coordinates
        if id(coordinates) not in known:
            own = part.objective.design
            known[id(coordinates)] = own if X is None else coordinates.design(X)
        designs.append(known[id(coordinates)])
    outputs = [design.times(part.theta) for design, part in zip(designs, parts, strict=True)]
    targets = choice = None
    if target == "loss":
        if y is None:
            raise ValueError(
                "target='loss' measures the loss at each query, which needs its y. Pass y, or "
                "explain the prediction: target='decision_function' or 'proba'."
            )
        targets = reader_of(model).encode(model, y)
    elif target in ("decision_function", "proba"):
        choice = chosen_outputs(fit, outputs, y, output)
    own_y = None if y is None else np.asarray(y)
    return Queries(designs, outputs, targets, choice, own_y, rows=X)


def chosen_outputs(
    fit: LinearFit, outputs: Sequence[Array], y: Any, output: Any
) -> NDArray[np.intp]:
    """Position of the class or output that each query's score is about, (n_queries,)."""
    n_queries = outputs[0].shape[0]
    if fit.classes is None:
        n_outputs = sum(visible_outputs(fit))
        if output is None and n_outputs > 1:
            raise ValueError(
                f"The model has {n_outputs} outputs. Say which one the scores are about: "
                f"output=0, ..., {n_outputs - 1}."
            )
        position = 0 if output is None else output
        if not isinstance(position, int | np.integer) or not 0 <= position < n_outputs:
            raise ValueError(
                f"output={output!r} is no output of this model, which has {n_outputs}: pass an "
                f"integer from 0 to {n_outputs - 1}."
            )
        return np.full(n_queries, position, dtype=np.intp)
    if output is not None:
        found = [k for k, label in enumerate(fit.classes) if label == output]
        if not found:
            raise ValueError(
                f"output={output!r} is none of the {len(fit.classes)} classes "
                f"({', '.join(map(str, fit.classes[:5]))}). Name one of them."
            )
        return np.full(n_queries, found[0], dtype=np.intp)
    if y is not None:
        return class_positions(y, fit.classes)
    decision = np.concatenate(
        [own[:, :k] for own, k in zip(outputs, visible_outputs(fit), strict=True)], axis=1
    )
    if is_binary(fit):
        return (decision[:, 0] > 0).astype(np.intp)
    return decision.argmax(axis=1)

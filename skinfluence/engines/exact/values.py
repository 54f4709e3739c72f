"""Values of a target, and what queries are asked of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.closed.latent import RECONSTRUCTION
from skinfluence.objectives.encoding import class_positions

Array = NDArray[np.float64]
Value = Callable[[Array, Any], Array]


def value_of(head: Head, target: Any) -> Value:
    """The target as a function of outputs (q, b, K) and of what each query asks, to (q, b)."""
    if callable(target):
        return partial(_of_user, target, head)
    named: dict[str, Value] = {
        "loss": head.loss,
        "decision_function": head.decision,
        "proba": head.proba,
        RECONSTRUCTION: head.reconstruction,
    }
    return named[target]


def asked_of(head: Head, target: Any, output: Any, y: Any, outputs: Callable[[], Array]) -> Any:
    """What the target needs to know of each query: its target, or the output that it is about.

    Parameters
    ----------
    head : Head
    target, output
        As the explainer has them.
    y : array-like or None
    outputs : callable
        Outputs at the queries (q, K), where the predicted class is needed.
    """
    if callable(target):
        return None if y is None else np.asarray(y)
    if target == RECONSTRUCTION:
        return None
    if target != "loss":
        return _choice(head, output, y, outputs)
    if not head.supervised:
        return None
    if y is None:
        raise ValueError(
            "target='loss' measures the loss at each query, which needs its y. Pass y, or "
            "explain the prediction: target='decision_function' or 'proba'."
        )
    return head.encode(y)


def _choice(head, output, y, outputs):
    if head.classes is None:
        return _chosen_number(head, output, outputs)
    chosen = head.choose(output)
    if chosen is not None:
        return np.full(len(outputs()), chosen, dtype=np.intp)
    if output is not None:
        found = [k for k, label in enumerate(head.classes) if label == output]
        if not found:
            raise ValueError(
                f"output={output!r} is none of the {len(head.classes)} classes "
                f"({', '.join(map(str, head.classes[:5]))}). Name one of them."
            )
        return np.full(len(outputs()), found[0], dtype=np.intp)
    return head.predicted(outputs()) if y is None else class_positions(y, head.classes)


def _chosen_number(head, output, outputs):
    count = head.n_choices
    if output is None and count > 1:
        raise ValueError(
            f"The model has {count} outputs. Say which one the scores are about: output=0, ..., "
            f"{count - 1}."
        )
    position = 0 if output is None else output
    if not isinstance(position, int | np.integer) or not 0 <= position < count:
        raise ValueError(
            f"output={output!r} is no output of this model, which has {count}: pass an integer "
            f"from 0 to {count - 1}."
        )
    return np.full(len(outputs()), position, dtype=np.intp)


def _of_user(function, head, outputs, y):
    outputs = head.shown(outputs)
    q, b, n_outputs = outputs.shape
    repeated = None if y is None else np.repeat(y, b, axis=0)
    return called(function, outputs.reshape(q * b, n_outputs), repeated)[0].reshape(q, b)


def called(function: Any, outputs: Array, y: Any) -> tuple[Array, Array | None]:
    """Values of the user's function of outputs (m, K), (m,), and derivatives where it has them."""
    result = function(outputs, y)
    values, slope = result if isinstance(result, tuple) else (result, None)
    values = np.array(values, dtype=np.float64)
    if values.shape != (len(outputs),):
        raise ValueError(
            f"The target function returned values of shape {values.shape} for {len(outputs)} "
            "rows of outputs. Return one number a row, (n_rows,)."
        )
    if slope is not None:
        slope = np.array(slope, dtype=np.float64).reshape(outputs.shape)
    return values, slope

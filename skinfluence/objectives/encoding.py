"""Labels and targets of new rows, as the losses take them; class weights of training rows."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import signature
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.class_weight import compute_class_weight

from skinfluence.objectives.rebalance import Rebalance

Array = NDArray[np.float64]

# From scikit-learn 1.7 on, "balanced" of LogisticRegression and LinearSVC counts sample weights.
_COUNTS_WEIGHTS = "sample_weight" in signature(compute_class_weight).parameters


@dataclass(frozen=True)
class ClassWeighted:
    """Weights of the rows of one problem, and how they follow when rows go.

    Parameters
    ----------
    weights : ndarray of shape (n,)
    rebalance : Rebalance or None
    """

    weights: Array
    rebalance: Rebalance | None


def class_positions(y: Any, classes: NDArray[Any]) -> NDArray[np.intp]:
    """Position of each label among `classes`; an unseen label is refused."""
    y = column_or_1d(y)
    try:
        positions = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
    except TypeError:
        raise ValueError(
            f"y holds labels of another type than those the estimator was fitted on "
            f"({_few(classes)}), or a missing one among them. Pass labels as they were in "
            "training, and no missing ones."
        ) from None
    unseen = classes[positions] != y
    if np.any(unseen):
        label = plain(np.asarray(y)[unseen][0])
        raise ValueError(
            f"y holds {label!r}, which is none of the {len(classes)} labels "
            f"that the estimator was fitted on ({_few(classes)}). Its loss is not defined there: "
            "leave such rows out, or fit with that label."
        )
    return positions


def _few(classes):
    shown = ", ".join(
        repr(label.item() if hasattr(label, "item") else label) for label in classes[:5]
    )
    return shown + (", ..." if len(classes) > 5 else "")


def real_targets(y: Any, n_outputs: int) -> Array:
    """Targets as float64, (n,) for one output and (n, n_outputs) for several."""
    y = check_array(y, dtype=np.float64, ensure_2d=False, input_name="y")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    given = 1 if y.ndim == 1 else y.shape[1]
    if given != n_outputs:
        raise ValueError(
            f"y has {given} columns, and the estimator was fitted on {n_outputs} targets. Pass y "
            "as it was passed to fit."
        )
    return y


def indicators(y: Any, n_labels: int) -> Array:
    """0/1 for each of several labels a row can have, (n, n_labels)."""
    y = np.asarray(y)
    if y.ndim != 2 or y.shape[1] != n_labels or not np.isin(y, (0, 1)).all():
        raise ValueError(
            f"y has shape {y.shape}, and the estimator was fitted on rows of {n_labels} labels, "
            "each 0 or 1. Pass y as it was passed to fit."
        )
    return y.astype(np.float64)


def class_weights(
    class_weight: Any, classes: NDArray[Any], codes: NDArray[np.intp], mass: Array
) -> Array:
    """Weight of each class, (n_classes,).

    Parameters
    ----------
    class_weight : None, dict or "balanced"
        As scikit-learn takes it.
    classes : ndarray of shape (n_classes,)
    codes : ndarray of int of shape (n,)
        Class of each row.
    mass : ndarray of shape (n,)
        What "balanced" counts: sample weights, or ones.
    """
    if class_weight is None:
        return np.ones(len(classes))
    if isinstance(class_weight, str):
        counts = np.bincount(codes, mass, minlength=len(classes))
        return counts.sum() / (len(classes) * counts)
    return np.array([class_weight.get(plain(label), 1.0) for label in classes], dtype=np.float64)


def plain(label: Any) -> Any:
    """A label as Python prints it."""
    return label.item() if hasattr(label, "item") else label


def rebalance_of(
    class_weight: Any,
    codes: NDArray[np.intp],
    mass: Array,
    positives: int | None = None,
) -> Rebalance | None:
    """How "balanced" weights follow the rows; None where they are fixed."""
    if not isinstance(class_weight, str):
        return None
    return Rebalance(codes, mass, positives)


def balanced_mass(sample_weight: Array) -> Array:
    """What "balanced" of LogisticRegression and LinearSVC counts, (n,)."""
    return sample_weight if _COUNTS_WEIGHTS else np.ones_like(sample_weight)


def one_vs_rest(
    class_weight: Any,
    classes: NDArray[Any],
    codes: NDArray[np.intp],
    sample_weight: Array,
    mass: Array,
) -> list[ClassWeighted]:
    """Weights of each problem of LinearSVC and SGDClassifier, as :func:`signs` orders them.

    Two classes are one problem, whose rows are weighted by their class. Of several, problem k
    weights its positives by the weight of class k and its negatives by 1.

    Parameters
    ----------
    class_weight, classes, codes, mass
        As for :func:`class_weights`.
    sample_weight : ndarray of shape (n,)
    """
    own = class_weights(class_weight, classes, codes, mass)
    if len(classes) == 2:
        rebalance = rebalance_of(class_weight, codes, mass)
        return [ClassWeighted(sample_weight * own[codes], rebalance)]
    return [
        ClassWeighted(
            sample_weight * np.where(codes == k, own[k], 1.0),
            rebalance_of(class_weight, codes, mass, positives=k),
        )
        for k in range(len(classes))
    ]


def coefficients(estimator: Any) -> tuple[Any, Any]:
    """``coef_`` as (n_outputs, p) and ``intercept_`` as (n_outputs,), or None without one."""
    coef = np.atleast_2d(np.asarray(estimator.coef_, dtype=np.float64))
    if not estimator.fit_intercept:
        return coef, None
    intercept = np.ravel(np.asarray(estimator.intercept_, dtype=np.float64))
    return coef, np.array(np.broadcast_to(intercept, len(coef)))


def columns(y: Array) -> list[Array]:
    """Targets of each output."""
    return [y] if y.ndim == 1 else list(y.T)


def signs(codes: NDArray[np.intp], n_classes: int) -> list[Array]:
    """Targets +-1 of each one-vs-rest problem; of two classes, the second against the first."""
    if n_classes == 2:
        return [np.where(codes == 1, 1.0, -1.0)]
    return [np.where(codes == k, 1.0, -1.0) for k in range(n_classes)]

"""Arrays of scikit-learn's networks and linear models, under the names they have as modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence import _compat
from skinfluence.checkpoints.checkpoint import Arrays, Checkpoint, State
from skinfluence.checkpoints.stored import shapes_of

NETWORKS = (MLPClassifier, MLPRegressor)
LINEAR = (SGDClassifier, SGDRegressor, Perceptron, LogisticRegression)

Array = NDArray[Any]


def known(model: Any) -> bool:
    """Whether a model is one of those of this module."""
    return isinstance(model, NETWORKS + LINEAR)


def snapshot(model: Any, *, optimizer_state: bool = True) -> State:
    """Copy of an estimator's coefficients, and of what its next step depends on."""
    found = views(model)
    state = _optimizer_state(model, list(found)) if optimizer_state else None
    return State({name: np.array(values) for name, values in found.items()}, {}, state)


def restore(state: State | Checkpoint, model: Any) -> None:
    """Put coefficients back into an estimator that has had a first step."""
    own = views(model)
    theirs = shapes_of(state.parameters)
    check_shapes("The checkpoint", theirs, shapes_of(own), type(model).__name__)
    for name, view in own.items():
        view[...] = state.parameters[name]
    if state.optimizer:
        _restore_optimizer(state.optimizer, model, list(own))


def views(model: Any) -> dict[str, Array]:
    """Coefficients by name, as views into the estimator."""
    if not hasattr(model, "coefs_") and not hasattr(model, "coef_"):
        raise NotFittedError(
            f"This {type(model).__name__} has no coefficients yet. Fit it, or call its "
            "partial_fit once, first."
        )
    if isinstance(model, NETWORKS):
        return _layers(model)
    coef = model.coef_ if model.coef_.ndim == 2 else model.coef_[np.newaxis]
    found = {"weight": coef}
    if model.fit_intercept:
        found["bias"] = model.intercept_
    return found


def _layers(model: Any) -> dict[str, Array]:
    found = {}
    last = len(model.coefs_) - 1
    for k, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        layer = "output" if k == last else f"hidden_{k}"
        found[f"{layer}.weight"] = coef.T
        found[f"{layer}.bias"] = intercept
    return found


def _optimizer_state(model: Any, names: list[str]) -> dict[str, dict[str, Array]] | None:
    """Moments under torch's names, and how many rows (linear models, SGD) have been seen."""
    seen = {} if not hasattr(model, "t_") else {"rows_seen": np.array(float(model.t_))}
    moments = _compat.mlp_moments(model) if isinstance(model, NETWORKS) else {}
    if not seen and not moments:
        return None
    found: dict[str, dict[str, Array]] = {name: dict(seen) for name in names}
    for key, values in moments.items():
        for name, value in zip(names, _in_order(values, len(names)), strict=True):
            found[name][key] = np.array(value.T if name.endswith("weight") else value)
    return found


def _restore_optimizer(state: Mapping[str, Arrays], model: Any, names: list[str]) -> None:
    first = state[names[0]]
    if "rows_seen" in first and hasattr(model, "t_"):
        model.t_ = type(model.t_)(first["rows_seen"])
    if not isinstance(model, NETWORKS):
        return
    moments = {}
    for key in set(first) - {"rows_seen"}:
        values = [
            state[name][key].T if name.endswith("weight") else state[name][key] for name in names
        ]
        # Coefficients first and intercepts behind them, as the optimisers have them.
        moments[key] = [np.array(value) for value in (*values[::2], *values[1::2])]
    _compat.set_mlp_moments(model, moments)


def _in_order(values: Any, n: int) -> list[Any]:
    """Values of an MLP's optimiser, layer by layer as the names are."""
    if not isinstance(values, list):
        return [np.array(values)] * n
    half = n // 2
    return [values[k // 2 + (k % 2) * half] for k in range(n)]


def check_shapes(
    where: str, theirs: Mapping[str, Any], ours: Mapping[str, Any], owner: str
) -> None:
    """Refuse a state of another architecture: shapes by name there and here."""
    for name in dict.fromkeys([*theirs, *ours]):
        if ours.get(name) != theirs.get(name):
            raise ValueError(
                f"{where} and this {owner} have different parameters: {name!r} is "
                f"{_shown(theirs.get(name))} there and {_shown(ours.get(name))} here. Pass the "
                "architecture that was recorded."
            )


def _shown(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {tuple(shape)}"

"""What a module, a skorch net or one of scikit-learn's MLPs was trained to minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import ArrayLike
from sklearn.neural_network import MLPClassifier, MLPRegressor
from torch import nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch import faults
from skinfluence.torch.models.linear import TRACED, read_linear
from skinfluence.torch.models.mlp import read_mlp
from skinfluence.torch.models.module import read_module
from skinfluence.torch.models.skorch_nets import is_skorch, read_skorch
from skinfluence.torch.modules import check_module, unwrapped
from skinfluence.torch.objective import NetworkObjective

__all__ = ["read", "read_traced", "reader_of"]


def read(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: ArrayLike | None = None,
    *,
    loss: str | Callable[..., Any] | None = None,
    weight_decay: float | Mapping[str, float] | None = None,
    params: str | Sequence[str] | None = None,
) -> NetworkObjective:
    """Objective of a fitted model over its training rows.

    Parameters
    ----------
    model : nn.Module, skorch net, MLPClassifier or MLPRegressor
    X, y
        Training rows: arrays, frames, tensors, a Dataset or a DataLoader.
    sample_weight : array-like of shape (n,), default=None
    loss : str, callable or torch loss module, default=None
        What a module was trained on; nets and MLPs know it, and a net may be told otherwise.
    weight_decay : float, mapping of str to float, or None, default=None
        As an optimiser means it on a mean loss, by parameter name or pattern. None is what the
        optimiser of a net has, and none for a module; MLPs bring their ``alpha``.
    params : None, "last_layer" or sequence of str, default=None
        Which parameters are explained.

    Returns
    -------
    objective : NetworkObjective
        ``objective.read_rows(X, y)`` turns queries into rows of the same kind.

    Raises
    ------
    UnsupportedEstimatorError
        If the model, or one of its options, has no objective that is known.
    ValueError
        If the rows, the loss or the penalty do not fit the model, or a few rows show that its
        influence would mean nothing (:func:`skinfluence.torch.faults.check`).
    """
    reader = reader_of(model, loss=loss, weight_decay=weight_decay)
    objective = reader(model, X, y, sample_weight, params=params)
    faults.check(objective.network, objective.loss, objective.rows)
    return objective


def read_traced(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: ArrayLike | None = None,
    *,
    loss: str | Callable[..., Any] | None = None,
    params: str | Sequence[str] | None = None,
    gradient: str = "reparameterized",
) -> NetworkObjective:
    """Objective of a model whose training is traced, at whatever parameters it has.

    Beside what :func:`read` takes, these are scikit-learn's linear models that are trained by
    steps of gradients, and what has an ``elbo``. Penalties are no row's.

    Parameters
    ----------
    model : nn.Module, skorch net, MLP*, SGD*, Perceptron, LogisticRegression or BetaVAE
    X, y, sample_weight, params
        As for :func:`read`.
    loss : str, callable or torch loss module, default=None
        As for :func:`read`; "elbo", the default of what has one, is minus the module's ``elbo``.
    gradient : {"reparameterized", "score"}, default="reparameterized"
        Of "elbo", which gradients are taken.

    Returns
    -------
    objective : NetworkObjective
    """
    module = _with_elbo(model)
    if loss == "elbo" or (loss is None and module is not None):
        from skinfluence.torch.models.elbo import read_elbo

        inner = model if module is None else module
        return read_elbo(inner, X, y, sample_weight, params=params, gradient=gradient)
    if isinstance(model, TRACED):
        _knows_itself(model, {"loss": loss})
        objective = read_linear(model, X, y, sample_weight, params=params)
        faults.check(objective.network, objective.loss, objective.rows)
        return objective
    return read(model, X, y, sample_weight, loss=loss, params=params)


def _with_elbo(model: Any) -> Any:
    """Module with a method ``elbo``: the model, or what an estimator that is no net fitted."""
    if isinstance(model, nn.Module):
        inner = unwrapped(model)
    else:
        inner = None if is_skorch(model) else getattr(model, "module_", None)
    return inner if callable(getattr(inner, "elbo", None)) else None


def reader_of(model: Any, **told: Any) -> Callable[..., NetworkObjective]:
    """What reads a kind of model, told what it cannot know itself."""
    if isinstance(model, MLPClassifier | MLPRegressor):
        _knows_itself(model, told)
        return read_mlp
    if is_skorch(model):
        return partial(read_skorch, **told)
    if hasattr(model, "fit") and not isinstance(model, nn.Module):
        raise UnsupportedEstimatorError(
            f"{type(model).__name__} is no network that can be read: those are torch modules, "
            "skorch nets, MLPClassifier and MLPRegressor."
        )
    check_module(model)
    return partial(read_module, **told)


def _knows_itself(model: Any, told: Mapping[str, Any]) -> None:
    for name, value in told.items():
        if value is not None:
            raise ValueError(
                f"{name}={value!r} is passed, and {type(model).__name__} brings its own. Leave "
                f"{name} out."
            )

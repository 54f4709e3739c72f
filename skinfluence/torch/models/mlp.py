"""MLPClassifier and MLPRegressor, read off their coefficients."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.neural_network import MLPClassifier
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import class_positions, indicators, real_targets
from skinfluence.torch.data import RowReader
from skinfluence.torch.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Poisson,
    RowLoss,
    SquaredError,
)
from skinfluence.torch.models.rows import row_weights
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "identity": nn.Identity,
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
}
# By the activation of the outputs, which is part of the loss here.
LOSSES: dict[str, Callable[[], RowLoss]] = {
    "softmax": CrossEntropy,
    "logistic": BinaryCrossEntropy,
    "identity": lambda: SquaredError(0.5),
    "exp": Poisson,
}


def read_mlp(
    model: Any, X: Any, y: Any, sample_weight: Any, *, params: str | Sequence[str] | None
) -> NetworkObjective:
    """``sum_i s_i l_i + (c / 2) sum |W|^2``, intercepts free, in float64.

    With ``solver="lbfgs"`` c is alpha, whatever the rows. The gradient steps of "sgd" and "adam"
    have ``alpha / batch_size`` on the mean loss, so that c is that times the total weight and
    follows the rows; of unequal batches, the full ones count.
    """
    check_is_fitted(model)
    _check(model)
    return objective_of(model, X, y, sample_weight, params=params)


def objective_of(
    model: Any, X: Any, y: Any, sample_weight: Any, *, params: str | Sequence[str] | None = None
) -> NetworkObjective:
    """The same of any fitted model, one that stopped at no minimum of it too."""
    network = Network(as_module(model), params=params)
    read_rows = RowReader(torch.float64, "cpu", encoder(model))
    rows = read_rows(X, y)
    n = rows.shape[0]
    weights = row_weights(sample_weight, n)
    per_weight = model.solver != "lbfgs"
    penalty = float(model.alpha) / float(weights.sum())
    if per_weight:
        penalty *= n / _batch_size(model, n)
    return NetworkObjective(
        network,
        LOSSES[model.out_activation_](),
        rows,
        weights,
        network.spread({"*.weight": penalty}, "alpha"),
        per_weight=per_weight,
        read_rows=read_rows.for_queries(rows),
        classes=getattr(model, "classes_", None),
    )


def _check(model: Any) -> None:
    name = type(model).__name__
    if model.solver != "lbfgs" and model.early_stopping:
        raise UnsupportedEstimatorError(
            f"{name} has early_stopping=True: it held rows out, chosen at random, and stopped "
            "where they were predicted best, which is no minimum over the others. Fit it with "
            "early_stopping=False."
        )
    if model.solver == "lbfgs" and model.out_activation_ == "identity" and model.n_outputs_ > 1:
        raise UnsupportedEstimatorError(
            f"{name} with solver='lbfgs' and {model.n_outputs_} outputs averages the loss over "
            "outputs and adds up its gradient, so that it stops at the minimum of neither. Use "
            "solver='adam', or one regressor for each output."
        )


def as_module(model: Any) -> nn.Sequential:
    """The layers, up to the activation of the outputs: ``hidden_0``, ..., ``output``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    last = len(model.coefs_) - 1
    for k, (coef, intercept) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        linear = nn.Linear(*coef.shape, dtype=torch.float64)
        linear.load_state_dict({"weight": torch.tensor(coef.T), "bias": torch.tensor(intercept)})
        layers["output" if k == last else f"hidden_{k}"] = linear
        if k < last:
            layers[f"{model.activation}_{k}"] = ACTIVATIONS[model.activation]()
    return nn.Sequential(layers)


def encoder(model: Any) -> Callable[[Any], Tensor]:
    """How targets reach the loss; no closure, so that explainers are pickled."""
    return partial(_encoded, model)


def _encoded(model: Any, y: Any) -> Tensor:
    return torch.from_numpy(np.array(_targets(model, y)))


def _targets(model: Any, y: Any) -> Any:
    if not isinstance(model, MLPClassifier):
        return real_targets(y, model.n_outputs_)
    if model.out_activation_ == "softmax":
        return class_positions(y, model.classes_)
    if model.n_outputs_ == 1:
        return class_positions(y, model.classes_).astype(np.float64)
    return indicators(y, model.n_outputs_)


def _batch_size(model: Any, n: int) -> int:
    """Rows of a full batch."""
    return min(200, n) if model.batch_size == "auto" else int(np.clip(model.batch_size, 1, n))

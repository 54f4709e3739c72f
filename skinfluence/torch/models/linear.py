"""Linear models of scikit-learn as networks of one layer, for tracing their training.

Explainers at a minimum have engines of their own for these; here it is gradients that count, at
any coefficients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.encoding import (
    balanced_mass,
    class_positions,
    class_weights,
    coefficients,
    real_targets,
    signs,
)
from skinfluence.torch.data import RowReader
from skinfluence.torch.losses import CrossEntropy, RowLoss
from skinfluence.torch.losses.margins import Margins, Numbers
from skinfluence.torch.models.rows import row_weights
from skinfluence.torch.network import Network
from skinfluence.torch.objective import NetworkObjective

TRACED = (SGDClassifier, SGDRegressor, Perceptron, LogisticRegression)


def read_linear(
    model: Any, X: Any, y: Any, sample_weight: Any, *, params: str | Sequence[str] | None
) -> NetworkObjective:
    """``sum_i s_i l_i`` of one linear layer "weight" (K, p), "bias" (K,), in float64.

    The penalty is left out: it is no row's, and the L1 part has no gradient. Class weights of
    SGDClassifier and Perceptron, which differ from problem to problem, are part of the loss;
    those of LogisticRegression are the rows'.
    """
    check_is_fitted(model)
    _check(model)
    network = Network(as_module(model), params=params)
    read_rows = RowReader(torch.float64, "cpu", partial(_encoded, model))
    if y is None:
        raise ValueError(f"{type(model).__name__} was fitted on targets. Pass y.")
    rows = read_rows(X, y)
    weights = row_weights(sample_weight, rows.shape[0])
    codes = None if isinstance(model, SGDRegressor) else class_positions(y, model.classes_)
    if isinstance(model, LogisticRegression) and codes is not None:
        mass = balanced_mass(weights.numpy())
        own = class_weights(model.class_weight, model.classes_, codes, mass)
        weights = weights * torch.from_numpy(own[codes])
    return NetworkObjective(
        network,
        _loss(model, codes),
        rows,
        weights,
        read_rows=read_rows.for_queries(rows),
        classes=getattr(model, "classes_", None),
    )


def as_module(model: Any) -> nn.Linear:
    """One layer with the coefficients, under the names "weight" and "bias"."""
    coef, intercept = coefficients(model)
    layer = nn.Linear(*coef.shape[::-1], bias=intercept is not None, dtype=torch.float64)
    state = {"weight": torch.tensor(coef)}
    if intercept is not None:
        state["bias"] = torch.tensor(intercept)
    layer.load_state_dict(state)
    return layer


def _check(model: Any) -> None:
    name = type(model).__name__
    if getattr(model, "multi_class", None) in ("ovr", "multinomial"):
        raise UnsupportedEstimatorError(
            f"multi_class={model.multi_class!r} is not read; scikit-learn has removed the "
            "parameter. Leave it out."
        )
    if getattr(model, "average", False):
        raise UnsupportedEstimatorError(
            f"{name} has average={model.average!r}, so that its coefficients are means over "
            "steps, and no step led to them. Fit it with average=False."
        )


def _loss(model: Any, codes: Any) -> RowLoss:
    if isinstance(model, SGDRegressor):
        return Numbers(model.loss, model.epsilon)
    K = len(model.coef_)
    if isinstance(model, LogisticRegression):
        ones = torch.ones(K, dtype=torch.float64)
        return CrossEntropy() if _softmax(model) else Margins("log_loss", ones, ones)
    # "balanced" of these counts rows, whatever they weigh.
    own = class_weights(model.class_weight, model.classes_, codes, np.ones(len(codes)))
    positive, negative = (own[1:], own[:1]) if K == 1 else (own, np.ones(K))
    weights = torch.from_numpy(positive), torch.from_numpy(negative)
    return Margins(model.loss, *weights, epsilon=model.epsilon)


def _softmax(model: Any) -> bool:
    """Whether classes share one loss; liblinear has fitted each against the rest."""
    several = isinstance(model, LogisticRegression) and len(model.coef_) > 1
    return several and model.solver != "liblinear"


def _encoded(model: Any, y: Any) -> Tensor:
    """Targets as the loss takes them; no closure, so that explainers are pickled."""
    return torch.from_numpy(np.array(_targets(model)(y)))


def _targets(model: Any) -> Callable[[Any], Any]:
    if isinstance(model, SGDRegressor):
        return lambda y: real_targets(y, 1)[:, np.newaxis]
    if _softmax(model):
        return lambda y: class_positions(y, model.classes_)
    n = len(model.classes_)
    return lambda y: np.stack(signs(class_positions(y, model.classes_), n), axis=1)

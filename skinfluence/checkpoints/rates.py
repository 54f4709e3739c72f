"""Learning rates of a call of ``partial_fit``, by scikit-learn's schedules."""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence import _compat
from skinfluence.checkpoints.checkpoint import OptimizerInfo
from skinfluence.checkpoints.estimators import known
from skinfluence.exceptions import UnsupportedEstimatorError

# What scikit-learn multiplies the intercept's rate by where most columns of a row are 0.
SPARSE_INTERCEPT = 0.01


class EpochRates:
    """Sum of the effective learning rates of one ``partial_fit``, and the last of them.

    It is made before the call, as schedules go on from the rows seen until then.

    Parameters
    ----------
    model : MLPClassifier, MLPRegressor, SGDClassifier, SGDRegressor or Perceptron
    X : array-like or sparse matrix of shape (n, p)
    sample_weight : array-like of shape (n,) or None, default=None
    carried : float or None, default=None
        How far momentum goes on with a gradient that stays the same, before the call; None is as
        after the epochs that the model has seen.

    Attributes
    ----------
    total, last : float or None
        None where rates differ from row to row (passive-aggressive steps).
    intercept : float
        What the rates of intercepts are multiplied by.
    carried : float or None
        After the call.
    """

    def __init__(
        self, model: Any, X: Any, sample_weight: Any = None, *, carried: float | None = None
    ):
        check_steps(model)
        self.n = X.shape[0] if hasattr(X, "shape") else len(X)
        self.intercept = 1.0
        self.carried = carried
        self.last: float | None
        self.total: float | None
        if isinstance(model, MLPClassifier | MLPRegressor):
            size = min(200, self.n) if model.batch_size == "auto" else model.batch_size
            steps = ceil(self.n / int(np.clip(size, 1, self.n)))
            self.total, self.last, self.carried = _mlp_rates(model, self.n, steps, carried)
            return
        rates = _linear_rates(model, self.n)
        # A step goes w_i times as far; as weights count relative to their mean, the mean is here.
        mean = 1.0 if sample_weight is None else float(np.mean(sample_weight))
        self.total = None if rates is None else mean * float(rates.sum())
        self.last = None if rates is None else mean * float(rates[-1])
        self.intercept = SPARSE_INTERCEPT if sparse.issparse(X) else 1.0

    def by_name(self, value: float | None, names: Any) -> dict[str, float] | None:
        """One of the two numbers, by parameter."""
        if value is None:
            return None
        return {name: value * (self.intercept if name == "bias" else 1.0) for name in names}


def check_steps(model: Any) -> None:
    """Refuse what takes no steps of gradients one by one."""
    name = type(model).__name__
    if not known(model):
        raise UnsupportedEstimatorError(
            f"{name} is not among the estimators whose steps are known: SGDClassifier, "
            "SGDRegressor, Perceptron, and MLPs with solver='sgd' or 'adam'. Pass one of these, "
            "or call record(model, learning_rate=...) yourself."
        )
    if isinstance(model, LogisticRegression) or getattr(model, "solver", "") == "lbfgs":
        raise UnsupportedEstimatorError(
            f"{name} is not fitted by steps of gradients that could be recorded: its solver has "
            f"none ({model.solver!r}). Fit an MLP with solver='adam' or 'sgd', and "
            "SGDClassifier(loss='log_loss') in the place of LogisticRegression, whose iterates "
            "sklearn_callback records without rates."
        )
    if getattr(model, "average", False):
        raise UnsupportedEstimatorError(
            f"{name} has average={model.average!r}, so that its coefficients are means over "
            "steps, and no step led to them. Record it with average=False."
        )


def _mlp_rates(
    model: Any, n: int, steps: int, carried: float | None
) -> tuple[float | None, float | None, float | None]:
    """Sum of an MLP's next rates, the last of them, and what momentum carries after it."""
    if model.solver == "adam":
        rate = float(model.learning_rate_init)
        return rate * steps, rate, carried
    momentum = model.momentum
    if momentum >= 1:
        return None, None, carried
    rate = float(_compat.mlp_moments(model).get("rate", model.learning_rate_init))
    if carried is None:
        made = steps * (int(getattr(model, "t_", 0)) // n)
        carried = rate * (1 - momentum**made) / (1 - momentum)
    total = moved = 0.0
    for _ in range(steps):
        carried = momentum * carried + rate
        moved = momentum * carried + rate if model.nesterovs_momentum else carried
        total += moved
    return total, moved, carried


def _linear_rates(model: Any, n: int) -> np.ndarray | None:
    """Rates of the next n rows, (n,)."""
    schedule = model.learning_rate
    seen = float(getattr(model, "t_", 1.0)) + np.arange(n)
    if schedule in ("constant", "adaptive"):
        # The adaptive rate falls between the epochs of one fit, and a call has one epoch.
        return np.full(n, float(model.eta0))
    if schedule == "invscaling":
        return model.eta0 / seen**model.power_t
    if schedule == "optimal":
        # Bottou's 1 / (alpha (t0 + t)), where t0 makes the first step as long as typical weights.
        typical = np.sqrt(1 / np.sqrt(model.alpha))
        return 1 / (model.alpha * (1 / (typical * model.alpha) + seen - 1))
    return None


def info(model: Any, names: Any) -> OptimizerInfo:
    """What moves the coefficients of an estimator."""
    options: dict[str, Any] = {"momentum": 0.0}
    name = "SGD"
    if isinstance(model, MLPClassifier | MLPRegressor):
        if model.solver == "adam":
            name = "Adam"
            options = {"betas": (model.beta_1, model.beta_2), "eps": model.epsilon}
        else:
            options = {"momentum": model.momentum, "nesterov": model.nesterovs_momentum}
    return OptimizerInfo(name, {key: dict(options) for key in names})

"""What says that rows did not train a network."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from skinfluence.exceptions import NotStationaryWarning
from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.influence.stationarity import check_trained, constant_loss  # noqa: E402
from skinfluence.torch.losses import LOSSES  # noqa: E402
from tests.test_torch.influence_cases import (  # noqa: E402
    classes,
    linear_module,
    minimum,
    mlp,
    objective,
    regression,
)


def constant_module(k):
    """Outputs that are the same at all rows, but for the rounding of the slopes."""
    return linear_module(np.full((k, 4), 1e-12), np.zeros(k))


@pytest.mark.parametrize(
    ("loss", "k"),
    [
        ("cross_entropy", 3),
        ("binary_cross_entropy", 1),
        ("binary_cross_entropy", 2),
        ("squared_error", 1),
        ("half_squared_error", 2),
        ("mse", 2),
    ],
)
def test_the_best_constant_is_the_minimum_over_intercepts(loss, k):
    X, labels = classes(n=30)
    y = labels
    if loss != "cross_entropy":
        rng = np.random.default_rng(0)
        y = rng.random((30, k)) if "binary" in loss else rng.normal(3.0, 2.0, (30, k))
        y = y[:, 0] if k == 1 and loss == "squared_error" else y
    weights = np.linspace(0.5, 2.0, 30)
    problem = objective(constant_module(k), 0 * X, y, loss=loss, weights=weights)
    best = minimum(constant_module(k), 0 * X, y, loss=loss, weights=weights)
    fitted = objective(best, 0 * X, y, loss=loss, weights=weights)
    reached = float(fitted.weights @ fitted.losses(fitted.rows)) / fitted.total_weight
    assert constant_loss(problem) == pytest.approx(reached, rel=1e-9)


@pytest.mark.parametrize("loss", sorted({*LOSSES} & {"huber", "l1", "poisson"}))
def test_other_losses_have_none(loss):
    X, y = regression()
    assert constant_loss(objective(linear_module(np.ones((1, 4))), X, y, loss=loss)) is None


def test_class_probabilities_have_none():
    X, y = classes()
    assert constant_loss(objective(mlp(), X, np.eye(3)[y])) is None


def test_it_is_looked_at_only_where_the_gradient_is_left():
    X, y = classes()
    foreign = objective(minimum(mlp(), X, y, decay=0.01), X, (y + 1) % 3, decay=0.01)
    with pytest.warns(NotStationaryWarning, match=r"mean loss of Net is .* is not trained"):
        check_trained("Net", foreign, 0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_trained("Net", foreign, 0.01)
        own = objective(minimum(mlp(), X, y, decay=0.01), X, y, decay=0.01)
        check_trained("Net", own, 0.29)
    with pytest.warns(NotStationaryWarning, match=r"0.31 of the size"):
        check_trained("Net", own, 0.31)

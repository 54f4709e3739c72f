"""Losses that match another model's outputs: all losses' laws, and where they are smallest."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.objectives.losses import (
    Rectified,
    SoftLogistic,
    Softmax,
    SoftSoftmax,
    SquaredError,
)
from skinfluence.objectives.losses.logistic import sigmoid, softmax

D = Decimal


def soft_softmax(eta, y):
    labels = [v.exp() for v in y]
    total = sum(labels)
    inner = sum(q * e for q, e in zip(labels, eta, strict=True)) / total
    return sum(v.exp() for v in eta).ln() - inner


def soft_logistic(eta, y):
    return sum((1 + e.exp()).ln() - e / (1 + (-v).exp()) for e, v in zip(eta, y, strict=True))


def rectified(eta, y):
    zero = D(0)
    return sum(max(e, zero) ** 2 / 2 - max(v, zero) * e for e, v in zip(eta, y, strict=True))


LOSSES = {
    "softmax": (SoftSoftmax(4), soft_softmax),
    "sigmoid": (SoftLogistic(), soft_logistic),
    "sigmoids": (SoftLogistic(3), soft_logistic),
    "relu": (Rectified(), rectified),
    "relus": (Rectified(3), rectified),
}
NAMES = pytest.mark.parametrize("name", LOSSES)


def outputs_and_targets(name, n=200):
    loss = LOSSES[name][0]
    rng = np.random.default_rng(3)
    eta, y = 2.0 * rng.normal(size=(2, n, loss.n_outputs))
    return eta, y[:, 0] if loss.n_outputs == 1 else y


@NAMES
def test_gradients_and_curvatures_are_slopes(name):
    loss = LOSSES[name][0]
    eta, y = outputs_and_targets(name)
    for k in range(loss.n_outputs):
        step = np.zeros_like(eta)
        step[:, k] = 1e-5
        slope = (loss.value(eta + step, y) - loss.value(eta - step, y)) / 2e-5
        assert_allclose(loss.gradient(eta, y)[:, k], slope, rtol=2e-6, atol=1e-9)
        bend = (loss.gradient(eta + step, y) - loss.gradient(eta - step, y)) / 2e-5
        assert_allclose(loss.curvature(eta, y)[:, :, k], bend, rtol=2e-6, atol=1e-9)


ALL = {name: loss for name, (loss, _) in LOSSES.items()}
ALL |= {"labels": Softmax(4), "squares": SquaredError(0.5, 3), "square": SquaredError()}


@pytest.mark.parametrize("name", ALL)
def test_diagonals_and_products_are_those_of_the_curvature(name):
    loss = ALL[name]
    rng = np.random.default_rng(4)
    eta, y, moves = rng.normal(size=(3, 30, loss.n_outputs))
    y = rng.integers(4, size=30) if name == "labels" else y[:, 0] if loss.n_outputs == 1 else y
    bends = loss.curvature(eta, y)
    assert_allclose(
        loss.curvature_diagonal(eta, y), np.einsum("ikk->ik", bends), rtol=1e-14, atol=1e-300
    )
    product = loss.curvature_product(eta, y)(moves)
    assert_allclose(product, np.einsum("ikl,il->ik", bends, moves), rtol=1e-12, atol=1e-15)


@NAMES
@pytest.mark.parametrize("size", [1e-13, 1e-8, 1e-4, 1e-1, 1.0, 30.0])
def test_changes_lose_no_digits(name, size):
    loss, exact = LOSSES[name]
    eta, y = outputs_and_targets(name, n=40)
    delta = size * np.random.default_rng(4).normal(size=eta.shape)
    changed = loss.change(eta, delta, y)
    with localcontext() as context:
        context.prec = 60
        for i in range(len(eta)):
            before = [D(float(v)) for v in eta[i]]
            after = [a + D(float(b)) for a, b in zip(before, delta[i], strict=True)]
            target = [D(float(v)) for v in np.atleast_1d(y[i])]
            truth = float(exact(after, target) - exact(before, target))
            assert_allclose(changed[i], truth, rtol=5e-11)
            value = float(exact(before, target))
            assert_allclose(loss.value(eta, y)[i], value, rtol=1e-11, atol=1e-13)


@NAMES
def test_the_minimum_is_where_the_activations_agree(name):
    loss = LOSSES[name][0]
    _, y = outputs_and_targets(name)
    own = y[:, None] if loss.n_outputs == 1 else y
    assert_allclose(loss.gradient(own, y), 0.0, atol=1e-300)
    assert (loss.value(own, y) <= loss.value(own + 0.1, y) + 1e-12).all()


def test_slopes_of_saturated_labels_keep_their_digits():
    y, eta = np.array([[40.0, 0.0, -2.0]]), np.array([[38.0, 0.5, -2.0]])
    slope = SoftSoftmax(3).gradient(eta, y)[0]
    others = np.exp(eta[0, 1:] - 38.0) - np.exp(y[0, 1:] - 40.0)
    assert_allclose(slope, [-others.sum(), *others], rtol=1e-12)
    slope = SoftLogistic().gradient(np.array([[38.0]]), np.array([40.0]))
    assert_allclose(slope, [[np.exp(-40.0) - np.exp(-38.0)]], rtol=1e-12)


def test_they_are_the_losses_of_hard_labels_where_labels_are_hard():
    rng = np.random.default_rng(0)
    eta, codes = rng.normal(size=(20, 3)), rng.integers(3, size=20)
    labels = 1e3 * (codes[:, None] == np.arange(3))
    soft, hard = SoftSoftmax(3), Softmax(3)
    assert_allclose(soft.value(eta, labels), hard.value(eta, codes), rtol=1e-13)
    assert_allclose(soft.gradient(eta, labels), hard.gradient(eta, codes), rtol=1e-12)


@NAMES
def test_far_away_losses_are_infinite_or_finite_and_never_nan(name):
    loss = LOSSES[name][0]
    eta, y = outputs_and_targets(name, n=40)
    for far in (800.0, -800.0, 1e5, -1e5):
        assert not np.isnan(loss.change(eta, np.full_like(eta, far), y)).any()
        assert not np.isnan(loss.value(eta + far, y)).any()
        assert not np.isnan(loss.gradient(eta + far, y)).any()
        assert not np.isnan(loss.value(eta, y + far)).any()


@NAMES
def test_losses_broadcast_over_leading_axes(name):
    loss = LOSSES[name][0]
    eta, y = outputs_and_targets(name, n=12)
    stacked = np.stack([eta, 1.1 * eta])
    for method in (loss.value, loss.gradient, loss.curvature):
        assert_allclose(method(stacked, y)[0], method(eta, y), rtol=1e-15)
    moves = np.stack([0.1 * np.abs(eta), 0.2 * np.abs(eta)], axis=1)
    both = loss.change(eta[:, None], moves, y[:, None])
    for j in range(2):
        assert_allclose(both[:, j], loss.change(eta, moves[:, j], y), rtol=1e-13)


def test_soft_labels_are_the_activations():
    eta = np.linspace(-3.0, 3.0, 5)[:, None]
    slope = SoftLogistic().gradient(eta, np.full(5, 0.4))
    assert_allclose(slope, sigmoid(eta) - sigmoid(np.array([0.4])), rtol=1e-13)
    eta, y = np.random.default_rng(0).normal(size=(2, 6, 3))
    assert_allclose(SoftSoftmax(3).gradient(eta, y), softmax(eta) - softmax(y), atol=1e-15)

"""Derivatives against finite differences, changes against arithmetic of 60 digits."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import mean_tweedie_deviance

from skinfluence.objectives.losses import (
    ConcomitantHuber,
    EpsilonInsensitive,
    HalfDeviance,
    Hinge,
    Huber,
    Logistic,
    ModifiedHuber,
    Pinball,
    Softmax,
    SquaredEpsilonInsensitive,
    SquaredError,
    SquaredHinge,
)

D = Decimal


def softplus(u, t):
    return max(u, D(0)) if t == 0 else t * (1 + (u / t).exp()).ln()


def deviance(power, link):
    p = D(str(power))

    def exact(eta, y):
        mu = eta[0].exp() if link == "log" else eta[0]
        if p == 1:
            return mu - y * mu.ln()
        if p == 2:
            return mu.ln() + y / mu
        return mu ** (2 - p) / (2 - p) - y * mu ** (1 - p) / (1 - p)

    return exact


def concomitant(epsilon):
    def exact(eta, y):
        z = abs(y - eta[0]) / eta[1]
        return eta[1] * (1 + (z * z if z <= epsilon else 2 * epsilon * z - epsilon**2))

    return exact


def huber(epsilon):
    def exact(eta, y):
        r = abs(eta[0] - y)
        return r * r / 2 if r <= epsilon else epsilon * r - epsilon**2 / 2

    return exact


def insensitive(epsilon, t):
    return lambda eta, y: softplus(eta[0] - y - epsilon, t) + softplus(y - eta[0] - epsilon, t)


def modified_huber(eta, y):
    u = y * eta[0]
    return -4 * u if u < -1 else max(D(0), 1 - u) ** 2


E3, T = D("0.3"), D("0.05")
# Loss, the same by Decimals (up to what depends on the target alone), kind of the targets.
LOSSES = {
    "logistic": (Logistic(), lambda e, y: softplus(-(2 * y - 1) * e[0], D(1)), "01"),
    "softmax": (Softmax(4), lambda e, y: sum(v.exp() for v in e).ln() - e[int(y)], "class"),
    "squared": (SquaredError(0.5), lambda e, y: (e[0] - y) ** 2 / 2, "real"),
    "hinge": (Hinge(), lambda e, y: softplus(1 - y * e[0], D(0)), "sign"),
    "smooth hinge": (Hinge(0.05), lambda e, y: softplus(1 - y * e[0], T), "sign"),
    "squared hinge": (SquaredHinge(), lambda e, y: softplus(1 - y * e[0], D(0)) ** 2, "sign"),
    "modified huber": (ModifiedHuber(), modified_huber, "sign"),
    "insensitive": (EpsilonInsensitive(0.3), insensitive(E3, D(0)), "real"),
    "smooth insensitive": (EpsilonInsensitive(0.3, 0.05), insensitive(E3, T), "real"),
    "squared insensitive": (
        SquaredEpsilonInsensitive(0.3),
        lambda e, y: softplus(abs(e[0] - y) - E3, D(0)) ** 2,
        "real",
    ),
    "huber": (Huber(0.3), huber(E3), "real"),
    "pinball": (Pinball(0.3), lambda e, y: E3 * (y - e[0]) + softplus(e[0] - y, D(0)), "real"),
    "smooth pinball": (
        Pinball(0.3, 0.05),
        lambda e, y: E3 * (y - e[0]) + softplus(e[0] - y, T),
        "real",
    ),
    "concomitant huber": (ConcomitantHuber(1.35), concomitant(D("1.35")), "scale"),
    **{
        f"deviance {power} {link}": (HalfDeviance(power, link), deviance(power, link), link)
        for power in (-1, 0, 1, 1.5, 2, 3)
        for link in ("log", "identity")
        if (power, link) != (0, "identity")
    },
}
NAMES = pytest.mark.parametrize("name", LOSSES)


def outputs_and_targets(name, n=200, seed=3):
    loss, _, kind = LOSSES[name]
    rng = np.random.default_rng(seed)
    eta = rng.normal(size=(n, loss.n_outputs)) * 2.0
    if kind == "01":
        y = rng.integers(2, size=n).astype(float)
    elif kind == "class":
        y = rng.integers(4, size=n).astype(float)
    elif kind == "sign":
        y = rng.choice([-1.0, 1.0], size=n)
    elif kind in ("log", "identity"):
        y = rng.gamma(2.0, size=n)
        eta = np.exp(eta) if kind == "identity" else eta
    else:
        y = rng.normal(size=n) * 2.0
    if kind == "scale":
        eta[:, 1] = rng.uniform(0.3, 2.0, size=n)
    return eta, y


def slopes(function, eta, kind):
    """Central differences of a function of the outputs, by each of them in turn."""
    for k in range(eta.shape[1]):
        step = np.zeros_like(eta)
        step[:, k] = 1e-5 * (eta[:, k] if kind in ("identity", "scale") else 1.0)
        width = 2.0 * step[:, k].reshape(-1, *[1] * (function(eta).ndim - 1))
        yield k, (function(eta + step) - function(eta - step)) / width


@NAMES
def test_the_gradient_is_the_slope_of_the_value(name):
    loss, _, kind = LOSSES[name]
    eta, y = outputs_and_targets(name)
    for k, slope in slopes(lambda e: loss.value(e, y), eta, kind):
        scale = 1e-3 + np.abs(slope)
        assert_allclose(loss.gradient(eta, y)[:, k] / scale, slope / scale, rtol=0, atol=2e-6)


@NAMES
def test_the_curvature_is_the_slope_of_the_gradient(name):
    loss, _, kind = LOSSES[name]
    eta, y = outputs_and_targets(name)
    curvature = loss.curvature(eta, y)
    for k, slope in slopes(lambda e: loss.gradient(e, y), eta, kind):
        scale = 1e-3 + np.abs(slope)
        assert_allclose(curvature[:, :, k] / scale, slope / scale, rtol=0, atol=2e-6)
    assert_allclose(curvature, np.swapaxes(curvature, 1, 2), rtol=1e-15)


@NAMES
@pytest.mark.parametrize("size", [1e-13, 1e-8, 1e-4, 1e-1, 1.0, 30.0])
def test_changes_lose_no_digits(name, size):
    loss, exact, kind = LOSSES[name]
    eta, y = outputs_and_targets(name, n=60)
    delta = size * np.random.default_rng(4).normal(size=eta.shape)
    if kind == "identity":
        delta = eta * np.expm1(np.clip(delta, -2.0, 2.0))
    if kind == "scale":
        delta[:, 1] = eta[:, 1] * np.expm1(np.clip(delta[:, 1], -1.0, 1.0))
    changed = loss.change(eta, delta, y)
    with localcontext() as context:
        context.prec = 60
        for i in range(len(y)):
            before = [D(float(v)) for v in eta[i]]
            after = [a + D(float(b)) for a, b in zip(before, delta[i], strict=True)]
            target = D(float(y[i]))
            truth = float(exact(after, target) - exact(before, target))
            assert_allclose(changed[i], truth, rtol=2e-11, err_msg=f"{before} {after} {target}")


@NAMES
def test_changes_are_differences_of_values(name):
    loss = LOSSES[name][0]
    eta, y = outputs_and_targets(name)
    delta = np.abs(eta) * 0.3
    truth = loss.value(eta + delta, y) - loss.value(eta, y)
    assert_allclose(loss.change(eta, delta, y), truth, rtol=1e-9, atol=1e-12 * np.abs(truth).max())


@NAMES
def test_far_away_losses_are_infinite_or_finite_and_never_nan(name):
    loss = LOSSES[name][0]
    eta, y = outputs_and_targets(name, n=40)
    for far in (800.0, -800.0, 1e5, -1e5):
        moved = loss.change(eta, np.full_like(eta, far), y)
        assert not np.isnan(moved).any()
        assert (moved > -np.inf).all()
        assert not np.isnan(loss.value(eta + far, y)).any()


@NAMES
def test_losses_broadcast_over_leading_axes(name):
    loss = LOSSES[name][0]
    eta, y = outputs_and_targets(name, n=12)
    stacked = np.stack([eta, 1.1 * eta])
    for method in (loss.value, loss.gradient, loss.curvature):
        assert_allclose(method(stacked, y)[0], method(eta, y), rtol=1e-15)
    # Queries by deletions, as scores are made.
    moves = np.stack([0.1 * np.abs(eta), 0.2 * np.abs(eta)], axis=1)
    both = loss.change(eta[:, None], moves, y[:, None])
    for j in range(2):
        assert_allclose(both[:, j], loss.change(eta, moves[:, j], y), rtol=1e-14)


@pytest.mark.parametrize("power", [-1, 0, 1, 1.5, 2, 3])
def test_half_deviances_are_half_of_scikit_learns(power):
    loss = HalfDeviance(power)
    eta, y = outputs_and_targets(f"deviance {power} log", n=20)
    theirs = [
        mean_tweedie_deviance([t], [np.exp(e)], power=power)
        for t, e in zip(y, eta[:, 0], strict=True)
    ]
    assert_allclose(2.0 * loss.value(eta, y), theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("power", [1, 1.5])
def test_a_target_of_zero_has_a_finite_deviance(power):
    eta, y = np.array([[-700.0], [0.0], [3.0]]), np.zeros(3)
    loss = HalfDeviance(power)
    assert_allclose(loss.value(eta, y), np.exp((2 - power) * eta[:, 0]) / (2 - power), rtol=1e-13)
    assert np.isfinite(loss.change(eta, np.full((3, 1), -2000.0), y)).all()


@pytest.mark.parametrize("power", [-1, 1, 2, 3])
def test_a_mean_that_is_not_positive_has_infinite_loss(power):
    loss = HalfDeviance(power, "identity")
    eta, y = np.array([[0.5], [-1.0], [0.5], [-1.0]]), np.ones(4)
    delta = np.array([[-0.5], [2.0], [0.1], [-1.0]])
    assert_allclose(loss.value(eta, y)[[1, 3]], np.inf, rtol=0)
    assert_allclose(loss.change(eta, delta, y)[[0, 1, 3]], [np.inf, -np.inf, 0.0], rtol=0)
    assert np.isfinite(loss.gradient(eta, y)).all()


def test_a_scale_that_is_not_positive_has_infinite_loss():
    loss = ConcomitantHuber(1.35)
    eta, y = np.array([[0.0, 1.0], [0.0, -1.0]]), np.ones(2)
    assert_allclose(loss.value(eta, y), [2.0, np.inf], rtol=1e-15)
    moved = loss.change(eta, np.array([[0.0, -1.0], [0.0, 2.0]]), y)
    assert_allclose(moved, [np.inf, -np.inf], rtol=0)


@pytest.mark.parametrize("loss", [Hinge(0.1), EpsilonInsensitive(0.3, 0.1), Pinball(0.3, 0.1)])
def test_smoothing_raises_a_loss_by_at_most_t_log_2_a_kink(loss):
    eta, y = np.linspace(-4.0, 4.0, 801)[:, None], np.ones(801)
    raised = loss.value(eta, y) - loss.raw.value(eta, y)
    kinks = 2 if isinstance(loss, EpsilonInsensitive) else 1
    assert raised.min() > -1e-15
    assert raised.max() <= kinks * 0.1 * np.log(2.0) * (1 + 1e-12)
    assert loss.raw.temperature == 0
    assert loss.temperature == 0.1


@pytest.mark.parametrize("power, link", [(0, "log"), (1.5, "log"), (2, "log"), (2, "identity")])
def test_the_expected_curvature_is_the_mean_over_targets(power, link):
    loss = HalfDeviance(power, link)
    eta, mu = np.array([[0.7]]), np.exp(0.7) if link == "log" else 0.7
    # The curvature is linear in the target, so that its mean is that at the mean.
    at_mean = loss.curvature(eta, np.array([mu]))
    assert_allclose(loss.curvature(eta, np.array([5.0]), expected=True), at_mean, rtol=1e-13)
    assert loss.has_expected
    assert not HalfDeviance(1.0, "log").has_expected

"""Replacements by Gauss-Newton steps, against refits and the matrices that are never formed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from tests.test_torch.influence_cases import (  # noqa: E402
    classes,
    linear_module,
    minimum,
    mlp,
    regression,
)

DECAY = 0.1
ROWS = np.array([3, 0, 7, 3])


def explain(module, X, y, sample_weight=None, *, loss="cross_entropy", decay=DECAY, **options):
    explainer = InfluenceExplainer(
        module, method="newton", loss=loss, weight_decay=decay, **options
    )
    return explainer.fit(X, y, sample_weight=sample_weight)


def ridge(X, y, weights, decay):
    """Minimum of ``sum w (y - X theta)^2 + sum w decay / 2 |theta|^2``."""
    A = 2.0 * (X.T * weights) @ X + weights.sum() * decay * np.eye(X.shape[1])
    return np.linalg.solve(A, 2.0 * X.T @ (weights * y))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("replaced", ["inputs", "targets", "both"])
def test_squared_loss_of_a_linear_network_is_exact(weighted, replaced):
    X, y = regression(n=20)
    rng = np.random.default_rng(1)
    weights = rng.uniform(0.5, 3.0, 20) if weighted else np.ones(20)
    theta = ridge(X, y, weights, DECAY)
    e = explain(linear_module(theta[None]), X, y, weights, loss="squared_error")
    new = rng.normal(size=(4, 4)) if replaced != "targets" else X[ROWS]
    new_y = rng.normal(size=4) if replaced != "inputs" else y[ROWS]
    Z, z_y = regression(n=6, seed=2)
    given = {
        "inputs": {"X_new": new},
        "targets": {"y_new": new_y},
        "both": {"X_new": new, "y_new": new_y},
    }[replaced]
    found = e.score_replacement(**given, rows=ROWS, queries=(Z, z_y))
    truth = []
    for i, x, label in zip(ROWS, new, new_y, strict=True):
        X_other, y_other = X.copy(), y.copy()
        X_other[i], y_other[i] = x, label
        truth.append((z_y - Z @ ridge(X_other, y_other, weights, DECAY)) ** 2)
    truth = np.transpose(truth) - ((z_y - Z @ theta) ** 2)[:, None]
    assert_allclose(found, truth, rtol=1e-9, atol=1e-12)


def softmax_step(X, y, theta, i, x, label, weights):
    """The step with all matrices written down; theta (k, p) without intercepts."""

    def parts(x, label):
        p = np.exp(theta @ x - np.logaddexp.reduce(theta @ x))
        g = np.outer(p - np.eye(len(theta))[label], x).ravel()
        return g, np.kron(np.diag(p) - np.outer(p, p), np.outer(x, x))

    A = sum(w * parts(*row)[1] for w, *row in zip(weights, X, y, strict=True))
    A = A + weights.sum() * DECAY * np.eye(theta.size)
    (g, h), (g_new, h_new) = parts(X[i], y[i]), parts(x, label)
    w = weights[i]
    move = -np.linalg.solve(A + w * (h_new - h), w * (g_new - g))
    return theta + move.reshape(theta.shape)


def test_softmax_steps_are_those_of_the_matrix_with_the_other_row():
    X, y = classes(n=20)
    weights = np.linspace(0.5, 2.0, 20)
    module = minimum(nn.Linear(4, 3, bias=False).double(), X, y, weights=weights, decay=DECAY)
    theta = module.weight.detach().numpy()
    e = explain(module, X, y, weights)
    new, new_y = X[ROWS] + 1.0, (y[ROWS] + 1) % 3

    def losses(theta):
        f = X[:5] @ theta.T
        return np.logaddexp.reduce(f, axis=1) - f[np.arange(5), y[:5]]

    moved = [
        softmax_step(X, y, theta, *row, weights) for row in zip(ROWS, new, new_y, strict=True)
    ]
    truth = np.transpose([losses(one) - losses(theta) for one in moved])
    ask = {"X_new": new, "y_new": new_y, "rows": ROWS}
    found = e.score_replacement(**ask, queries=(X[:5], y[:5]))
    assert_allclose(found, truth, rtol=1e-8, atol=1e-11)
    parameters = explain(module, X, y, weights, target="params")
    found = parameters.score_replacement(**ask, queries=None)
    assert_allclose(found.T, [(one - theta).ravel() for one in moved], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_a_linear_softmax_network_is_what_the_linear_engine_makes_of_it(method):
    X, y = classes(n=30)
    weights = np.linspace(0.5, 2.0, 30)
    model = LogisticRegression(C=2.0, tol=1e-12, solver="newton-cg").fit(X, y, weights)
    linear = InfluenceExplainer(model, method=method).fit(X, y, sample_weight=weights)
    module = linear_module(model.coef_, model.intercept_)
    # A common change of all intercepts is no change: the damping holds it, and nothing else.
    network = InfluenceExplainer(
        module,
        method=method,
        loss="cross_entropy",
        weight_decay={"weight": 0.5 / weights.sum()},
        damping=1e-9,
    ).fit(X, y, sample_weight=weights)
    ask = {"X_new": X[ROWS] + 1.0, "y_new": (y[ROWS] + 1) % 3, "rows": ROWS, "queries": (X, y)}
    expected = linear.score_replacement(**ask)
    assert_allclose(network.score_replacement(**ask), expected, rtol=1e-5, atol=1e-8)


@pytest.fixture(scope="module")
def network():
    X, y = classes(n=20)
    return X, y, minimum(mlp(), X, y, decay=DECAY)


def test_small_changes_are_first_order_and_none_is_none(network):
    X, y, module = network
    e = explain(module, X, y)
    ask = {"rows": ROWS, "queries": (X, y)}
    assert_allclose(e.score_replacement(X[ROWS], **ask), 0.0, atol=1e-13)
    step = 1e-5
    found = e.score_replacement(X[ROWS] + step * np.eye(4), **ask) / step
    slopes = e.perturbation(X, y, rows=ROWS)[:, np.arange(4), np.arange(4)]
    assert_allclose(found, slopes, rtol=1e-3, atol=1e-6)


def test_steps_are_nearer_to_refits_than_gradients(network):
    X, y, module = network
    rows, other = np.arange(5), (y[:5] + 1) % 3
    before, truth = losses_of(module, X, y), []
    for i in rows:
        labels = y.copy()
        labels[i] = other[i]
        truth.append(losses_of(minimum(module, X, labels, decay=DECAY), X, y) - before)
    truth = np.transpose(truth)
    first = InfluenceExplainer(module, loss="cross_entropy", weight_decay=DECAY).fit(X, y)
    errors = [
        np.linalg.norm(e.score_replacement(y_new=other, rows=rows, queries=(X, y)) - truth)
        for e in (explain(module, X, y), first)
    ]
    assert errors[0] < 0.9 * errors[1]


def losses_of(module, X, y):
    with torch.no_grad():
        f = module(torch.as_tensor(X))
        return nn.functional.cross_entropy(f, torch.as_tensor(y), reduction="none").numpy()


def test_blocks_and_order_do_not_matter(network):
    X, y, module = network
    e = explain(module, X, y)
    rows, new = np.arange(20), X[::-1].copy()
    whole = e.score_replacement(new, rows=rows, queries=(X, y))
    with config_context(working_memory=0.05):
        parts = e.score_replacement(new, rows=rows, queries=(X, y))
    assert_allclose(parts, whole, rtol=1e-10, atol=1e-13)
    order = np.random.default_rng(0).permutation(20)
    shuffled = e.score_replacement(new[order], rows=rows[order], queries=(X, y))
    assert_allclose(shuffled, whole[:, order], rtol=1e-10, atol=1e-13)


def test_a_row_that_alone_holds_a_direction_is_refused():
    X = np.eye(3)[[0, 0, 0, 1, 1, 1, 2]]
    y = np.arange(7.0)
    module = linear_module(np.array([[1.0, 4.0, 6.0]]))
    e = explain(module, X, y, loss="squared_error", decay=None)
    with pytest.raises(ValueError, match=r"in the place of row 6 the curvature is not positive"):
        e.score_replacement(X[:1], rows=[6], queries=(X, y))


# -- columns of perturbations ---------------------------------------------------------------------


def test_some_columns_of_the_inputs(network):
    X, y, module = network
    engine = explain(module, X, y)._engine
    queries = explain(module, X, y)._queries(X[:3], y[:3])
    rows, features = np.array([4, 2]), np.array([3, 1, 3])
    every = engine.perturbation(queries, rows)
    some = engine.perturbation(queries, rows, features=features)
    assert_allclose(some, every[:, :, features], rtol=1e-12)


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
def test_columns_of_images_are_refused():
    X, y = np.random.default_rng(0).normal(size=(12, 1, 3, 3)), np.arange(12) % 3
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(9, 3)).double()
    e = explain(module, X, y)
    queries = e._queries(X[:2], y[:2])
    with pytest.raises(ValueError, match=r"features= names columns.*shape \(1, 3, 3\)"):
        e._engine.perturbation(queries, np.array([0]), features=np.array([0]))

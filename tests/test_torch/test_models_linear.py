"""Linear models trained by steps of gradients, as networks of one layer."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    Ridge,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.torch.models import read, read_traced
from tests.conftest import import_optional

torch = import_optional("torch")

N = 30
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
NUMBERS = X @ [1.0, -0.5, 0.2] + rng.normal(size=N)
TWO = np.array(["no", "yes"])[(NUMBERS > 0).astype(int)]
THREE = np.array([3, 5, 9])[np.digitize(NUMBERS, [-0.7, 0.7])]
WEIGHTS = rng.uniform(0.5, 2.0, N)

CLASS_LOSSES = (
    "hinge",
    "log_loss",
    "modified_huber",
    "squared_hinge",
    "perceptron",
    "squared_error",
    "huber",
    "epsilon_insensitive",
    "squared_epsilon_insensitive",
)
REGRESSION_LOSSES = CLASS_LOSSES[-4:]


def few_steps(model, y, **options):
    """Far from its minimum, and not beyond all bounds, where the default rates lead."""
    model.set_params(max_iter=3, tol=None, eta0=0.01, learning_rate="constant", random_state=0)
    return model.set_params(**options).fit(X, y)


def gradients(objective):
    """Gradient of each row's weighted loss, (n, p), in the order of the network's names."""
    network = objective.network
    theta = network.theta.clone().requires_grad_()
    batch = objective.rows.take(slice(0, objective.n_train))
    losses = objective.loss(network.outputs(batch, network.params(theta)), batch.y)
    weighted = losses * objective.weights
    return np.array(
        [torch.autograd.grad(w, theta, retain_graph=True)[0].numpy() for w in weighted]
    )


def sklearn_loss(model, raw, positive):
    """Value of the loss object that the estimator itself steps with, at one row and problem."""
    found = model._get_loss_function(model.loss)
    if hasattr(found, "py_loss"):
        return found.py_loss(raw, 1.0 if positive else -1.0)
    other = 0.0 if model.loss == "log_loss" else -1.0
    values = np.zeros(1)
    found.loss(np.array([1.0 if positive else other]), np.array([raw]), None, values, 1)
    return values[0]


def one_step(model, i, y, **given):
    """Coefficients moved by scikit-learn's own step on row i alone, without a penalty."""
    before = np.hstack([model.coef_, model.intercept_[:, None]])
    moved = pickle.loads(pickle.dumps(model))
    moved.set_params(penalty=None, learning_rate="constant", eta0=1e-4, shuffle=False)
    moved.partial_fit(X[i : i + 1], y[i : i + 1], **given)
    return (before - np.hstack([moved.coef_, moved.intercept_[:, None]])) / 1e-4


def by_class(found, K):
    """Gradients (p,) in the order weight, bias as (K, features + 1)."""
    return np.hstack([found[: K * 3].reshape(K, 3), found[K * 3 :].reshape(K, 1)])


@pytest.mark.parametrize("y", [TWO, THREE], ids=["two", "three"])
@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_gradients_are_what_sgd_classifier_steps_along(loss, y):
    """The truth is scikit-learn's own step on one row at a time."""
    weights = dict.fromkeys(np.unique(y).tolist(), 1.0) | {y[0]: 1.7}
    model = few_steps(SGDClassifier(loss=loss, class_weight=weights, epsilon=0.3), y)
    K = len(model.coef_)
    found = gradients(read_traced(model, X, y))
    for i in range(N):
        assert_allclose(by_class(found[i], K), one_step(model, i, y), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("loss", REGRESSION_LOSSES)
def test_gradients_are_what_sgd_regressor_steps_along(loss):
    model = few_steps(SGDRegressor(loss=loss, epsilon=0.3), NUMBERS)
    objective = read_traced(model, X, NUMBERS, WEIGHTS)
    found = gradients(objective)
    for i in range(N):
        moved = pickle.loads(pickle.dumps(model))
        moved.set_params(penalty=None, learning_rate="constant", eta0=1e-4)
        moved.partial_fit(X[i : i + 1], NUMBERS[i : i + 1], WEIGHTS[i : i + 1])
        change = np.append(model.coef_ - moved.coef_, model.intercept_ - moved.intercept_) / 1e-4
        assert_allclose(found[i], change, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_gradients_are_finite_differences_of_the_values(loss):
    model = few_steps(SGDClassifier(loss=loss), THREE)
    objective = read_traced(model, X, THREE)
    network, batch = objective.network, objective.rows.take(slice(0, N))
    slope = gradients(objective)
    for k in range(network.n_params):
        step = torch.zeros_like(network.theta)
        step[k] = 1e-6
        ends = [
            objective.loss(network.outputs(batch, network.params(theta)), batch.y)
            for theta in (network.theta + step, network.theta - step)
        ]
        difference = (ends[0] - ends[1]).detach().numpy() / 2e-6
        assert_allclose(slope[:, k], difference, rtol=1e-5, atol=1e-8 * np.abs(slope).max())


@pytest.mark.parametrize("loss", CLASS_LOSSES)
def test_values_are_scikit_learns(loss):
    model = few_steps(SGDClassifier(loss=loss), THREE)
    found = read_traced(model, X, THREE)
    losses = found.losses(found.rows).numpy()
    raw = model.decision_function(X)
    expected = [
        sum(sklearn_loss(model, raw[i, k], THREE[i] == c) for k, c in enumerate(model.classes_))
        for i in range(N)
    ]
    assert_allclose(losses, expected, rtol=1e-12, atol=1e-12)


def test_a_perceptron_that_has_not_moved_moves_at_every_row():
    """All margins are 0 there, at the kink of the loss."""
    model = Perceptron(max_iter=1, tol=None).fit(X, TWO)
    objective = read_traced(model, X, TWO)
    with torch.no_grad():
        for p in objective.network.module.parameters():
            p.zero_()
    objective.network.theta.zero_()
    signs = np.where(TWO == "yes", 1.0, -1.0)
    expected = -signs[:, None] * np.hstack([X, np.ones((N, 1))])
    assert_allclose(gradients(objective), expected, rtol=1e-12)


@pytest.mark.parametrize("class_weight", [None, "balanced", {3: 2.0}])
def test_logistic_regression_is_stationary(class_weight):
    model = LogisticRegression(C=1e-2, class_weight=class_weight, tol=1e-10, max_iter=10_000)
    model.fit(X, THREE, WEIGHTS)
    found = gradients(read_traced(model, X, THREE, WEIGHTS)).sum(0)
    assert_allclose(found[:9].reshape(3, 3), -model.coef_ / 1e-2, rtol=1e-5, atol=1e-6)
    assert_allclose(found[9:], 0.0, atol=1e-6)


@pytest.mark.parametrize("solver", ["lbfgs", "liblinear"])
def test_logistic_regression_of_two_classes_is_one_output(solver):
    model = LogisticRegression(solver=solver).fit(X, TWO)
    objective = read_traced(model, X, TWO)
    expected = -np.log(model.predict_proba(X)[np.arange(N), (TWO == "yes").astype(int)])
    assert_allclose(objective.losses(objective.rows).numpy(), expected, rtol=1e-9)
    assert objective.network.shapes["weight"] == (1, 3)


@pytest.mark.parametrize(
    "model",
    [
        SGDClassifier(random_state=0, fit_intercept=False),
        SGDRegressor(random_state=0, fit_intercept=False),
        LogisticRegression(fit_intercept=False),
        Perceptron(random_state=0, fit_intercept=False),
    ],
    ids=lambda model: type(model).__name__,
)
def test_without_an_intercept_there_is_no_bias(model):
    y = NUMBERS if isinstance(model, SGDRegressor) else TWO
    objective = read_traced(model.fit(X, y), X, y)
    assert objective.network.names == ("weight",)
    assert_allclose(objective.network.theta.numpy(), model.coef_.ravel(), rtol=0)


def test_balanced_classes_are_weighted_as_scikit_learn_does():
    y = np.where(NUMBERS > 1.0, "rare", "usual")
    model = SGDClassifier(class_weight="balanced", random_state=0).fit(X, y)
    objective = read_traced(model, X, y)
    counts = np.array([np.sum(y == label) for label in model.classes_])
    own = N / (2 * counts)
    assert_allclose(objective.loss.positive.numpy(), own[1:], rtol=1e-12)
    assert_allclose(objective.loss.negative.numpy(), own[:1], rtol=1e-12)


def test_other_models_are_read_as_ever():
    network = MLPClassifier((4,), random_state=0, solver="sgd")
    network.partial_fit(X, TWO, classes=["no", "yes"])
    traced, usual = read_traced(network, X, TWO), read(network, X, TWO)
    assert traced.network.names == usual.network.names
    assert_array_equal(traced.network.theta.numpy(), usual.network.theta.numpy())
    with pytest.raises(UnsupportedEstimatorError, match="Ridge is no network that can be read"):
        read_traced(Ridge().fit(X, NUMBERS), X, NUMBERS)


def test_the_names_are_those_of_the_recorder():
    from skinfluence.checkpoints import as_checkpoints

    for model, y in ((SGDClassifier(), THREE), (SGDRegressor(), NUMBERS)):
        model.set_params(random_state=0).fit(X, y)
        (item,) = as_checkpoints(model, model)
        objective = read_traced(model, X, y)
        assert tuple(item.parameters) == objective.network.names
        flat = np.concatenate([values.ravel() for values in item.parameters.values()])
        assert_array_equal(flat, objective.network.theta.numpy())


def test_objectives_are_pickled():
    model = SGDClassifier(random_state=0).fit(X, THREE)
    objective = pickle.loads(pickle.dumps(read_traced(model, X, THREE)))
    assert objective.read_rows(X[:2], THREE[:2]).shape == (2,)


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: read_traced(SGDClassifier(), X, TWO), NotFittedError, "not fitted"),
        (
            lambda: read_traced(SGDClassifier(average=True).fit(X, TWO), X, TWO),
            UnsupportedEstimatorError,
            "coefficients are means over steps",
        ),
        (
            lambda: read_traced(SGDRegressor().fit(X, NUMBERS), X),
            ValueError,
            "was fitted on targets. Pass y",
        ),
        (
            lambda: read_traced(SGDClassifier().fit(X, TWO), X, TWO, loss="l1"),
            ValueError,
            "SGDClassifier brings its own. Leave loss out",
        ),
        (
            lambda: read_traced(SGDClassifier().fit(X, TWO), X, THREE),
            ValueError,
            "y holds .* which is none of the 2 labels|labels of another type",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()


class Encoder(torch.nn.Module):
    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.Linear(3, 2)

    def elbo(self, x, noise):
        return -(self.inner(x) + noise).square().sum(-1)


class Fitted:
    def __init__(self):
        self.module_ = Encoder()

    def fit(self, X):
        return self


@pytest.mark.parametrize("model", [Encoder(), Fitted()], ids=["module", "estimator"])
@pytest.mark.parametrize("loss", [None, "elbo"])
def test_what_has_an_elbo_is_read_by_it(model, loss):
    objective = read_traced(model, X.astype(np.float32), loss=loss)
    assert set(objective.network.names) == {"inner.weight", "inner.bias"}

"""Tracing of estimators that were recorded while they were fitted."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence.checkpoints import CheckpointRecorder
from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.models.mlp import as_module  # noqa: E402
from tests.test_torch import tracing_cases as cases  # noqa: E402
from tests.test_torch.influence_cases import classes, regression  # noqa: E402


def fitted(model, X, y, epochs, **options):
    """An estimator after some epochs, its recording, and the modules at its checkpoints."""
    recorder, modules = CheckpointRecorder(**options), []
    known = {"classes": np.unique(y)} if isinstance(model, MLPClassifier) else {}
    for epoch in range(epochs):
        recorder.partial_fit(model, X, y, **(known if epoch == 0 else {}))
        modules.append(as_module(model))
    return recorder.checkpoints, modules


def explained(model, X, y, checkpoints, **options):
    return cases.engine(model, X, y, checkpoints=checkpoints, **{"loss": None, **options})


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_scores_of_an_mlp_are_those_of_its_modules(solver):
    X, y = classes(n=30)
    model = MLPClassifier(
        hidden_layer_sizes=(5,), solver=solver, learning_rate_init=0.01, random_state=0
    )
    checkpoints, modules = fitted(model, X, y, 4)
    engine = explained(model, X, y, checkpoints, learning_rates=[0.1, 0.2, 0.3, 0.4])
    asked = cases.queries(engine, X[:6], y[:6])
    rows = torch.tensor(X), torch.tensor(y)
    few = tuple(part[:6] for part in rows)
    truth = cases.brute_force(modules, [0.1, 0.2, 0.3, 0.4], rows, few, "cross_entropy")
    assert_allclose(cases.matrix(engine, asked), truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_scores_of_sgd_add_up(momentum):
    X, y = regression(n=60)
    model = MLPRegressor(
        hidden_layer_sizes=(5,),
        solver="sgd",
        learning_rate_init=0.001,
        momentum=momentum,
        batch_size=20,
        alpha=0.0,
        random_state=0,
    )
    checkpoints, _ = fitted(model, X, y, 150)
    engine = explained(model, X, y, checkpoints)
    assert engine.score_unit == "loss"
    found = engine.completeness(cases.queries(engine, X, y), consecutive=False)
    assert found.pearson > 0.99
    assert found.relative_error < 0.05


def test_scores_of_adam_add_up_where_gradients_are_scaled():
    X, y = classes(n=60)
    model = MLPClassifier(
        hidden_layer_sizes=(5,), learning_rate_init=0.001, batch_size=20, random_state=0
    )
    checkpoints, _ = fitted(model, X, y, 100)
    engine = explained(model, X, y, checkpoints, preconditioner="optimizer")
    assert engine.score_unit == "loss"
    found = engine.completeness(cases.queries(engine, X, y), consecutive=False)
    assert found.pearson > 0.99
    assert found.relative_error < 0.2
    plain = explained(model, X, y, checkpoints)
    assert plain.score_unit == "learning rate x gradient product"
    found = plain.completeness(cases.queries(plain, X, y), consecutive=False)
    assert found.relative_error > 0.5


def test_a_network_of_skorch():
    skorch = import_optional("skorch")
    X, y = classes(n=80)
    X = X.astype(np.float32)
    recorder = CheckpointRecorder()
    torch.manual_seed(0)
    net = skorch.NeuralNetClassifier(
        torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3)),
        criterion=torch.nn.CrossEntropyLoss,
        optimizer=torch.optim.SGD,
        lr=0.02,
        batch_size=15,  # all batches alike, as skorch does not shuffle
        max_epochs=10,
        train_split=skorch.dataset.ValidSplit(4, stratified=False),
        callbacks=[recorder.skorch_callback()],
        verbose=0,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # skorch's and torch's own
        net.fit(X, y)
    engine = explained(net, X, y, recorder.checkpoints)
    held_out = engine.attributes()["held_out_"]
    assert held_out.sum() == 20
    scores = cases.matrix(engine, cases.queries(engine, X, y))
    assert_array_equal(scores[:, held_out], 0.0)
    assert engine.score_unit == "loss"
    found = engine.completeness(cases.queries(engine, X, y), consecutive=False)
    assert_allclose(found.estimated, scores.sum(1), rtol=1e-4, atol=1e-6)
    assert found.relative_error < 0.05 and found.pearson > 0.98


def test_without_checkpoints_the_last_parameters_are_the_only_one():
    X, y = classes(n=30)
    model = MLPClassifier(hidden_layer_sizes=(5,), max_iter=20, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
    engine = explained(model, X, y, None, learning_rates=0.3)
    rows = torch.tensor(X), torch.tensor(y)
    truth = cases.brute_force([as_module(model)], [0.3], rows, rows, "cross_entropy")
    asked = cases.queries(engine, X, y)
    assert_allclose(cases.matrix(engine, asked), truth, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="learning_rates="):
        explained(model, X, y, None)


# -- linear models --------------------------------------------------------------------------------


def linear_gradients(model, X, y):
    """Gradient of every row's loss in (weight, bias), by hand: logistic, squared, hinge."""
    f = X @ model.coef_.ravel() + model.intercept_[0]
    if isinstance(model, SGDRegressor):
        slope = f - y
    elif model.loss == "log_loss":
        slope = 1 / (1 + np.exp(-f)) - y
    else:
        sign = 2 * y - 1
        slope = np.where(sign * f < 1, -sign, 0.0)
    return slope[:, None] * np.column_stack([X, np.ones(len(X))])


@pytest.mark.parametrize(
    "model",
    [
        SGDRegressor(random_state=0),
        SGDClassifier(random_state=0),
        SGDClassifier("log_loss", random_state=0),
    ],
    ids=["squared_error", "hinge", "log_loss"],
)
def test_scores_of_linear_models_by_hand(model):
    X, y = regression(n=40)
    y = y if isinstance(model, SGDRegressor) else (y > 0).astype(int)
    model.fit(X, y)
    engine = explained(model, X, y, None, learning_rates=0.2)
    asked = cases.queries(engine, X[:5], y[:5])
    g = linear_gradients(model, X, y)
    truth = 0.2 * g[:5] @ g.T
    assert_allclose(cases.matrix(engine, asked), truth, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "invscaling"])
def test_scores_of_sgd_regression_add_up(schedule):
    X, y = regression(n=100)
    model = SGDRegressor(alpha=1e-9, learning_rate=schedule, eta0=0.0005, random_state=0)
    recorder = CheckpointRecorder()
    for _ in range(30):
        recorder.partial_fit(model, X, y)
    engine = explained(model, X, y, recorder.checkpoints)
    assert engine.score_unit == "loss"
    found = engine.completeness(cases.queries(engine, X, y), consecutive=False)
    assert found.pearson > 0.98
    assert found.relative_error < 0.05


@pytest.mark.parametrize("loss", ["hinge", "log_loss", "modified_huber"])
@pytest.mark.parametrize("k", [2, 3])
def test_scores_of_sgd_classifiers_add_up(loss, k):
    X, y = classes(n=90, k=k)
    y = np.array(list("abc"))[y]
    model = SGDClassifier(
        loss=loss, alpha=1e-9, learning_rate="constant", eta0=0.0002, random_state=0
    )
    recorder = CheckpointRecorder()
    for _ in range(30):
        recorder.partial_fit(model, X, y, classes=np.unique(y))
    engine = explained(model, X, y, recorder.checkpoints)
    found = engine.completeness(cases.queries(engine, X, y), consecutive=False)
    assert found.pearson > 0.99
    assert found.relative_error < 0.1


@pytest.mark.parametrize("k", [2, 3])
def test_outputs_of_sgd_classifiers(k):
    X, y = classes(n=60, k=k)
    y = np.array(list("abc"))[y]
    model = SGDClassifier(loss="log_loss", random_state=0).fit(X, y)
    options = {"learning_rates": 1.0}
    # The derivative of a score in (weight, bias) is the row itself.
    rows = np.column_stack([X, np.ones(len(X))])
    engine = explained(model, X, y, None, target="decision_function", output="b", **options)
    found = cases.matrix(engine, cases.queries(engine, X[:7]))
    if k == 2:
        p = model.predict_proba(X)[:, 1]
    else:
        p = 1 / (1 + np.exp(-model.decision_function(X)[:, 1]))
    truth = rows[:7] @ ((p - (y == "b"))[:, None] * rows).T
    assert_allclose(found, truth, rtol=1e-9, atol=1e-10)
    about_y = explained(model, X, y, None, target="decision_function", **options)
    found = cases.matrix(about_y, cases.queries(about_y, X[:7], y[:7]))
    assert_allclose(found[y[:7] == "b"], truth[y[:7] == "b"], rtol=1e-9, atol=1e-10)
    if k == 2:
        assert_allclose(found[y[:7] == "a"], -truth[y[:7] == "a"], rtol=1e-9, atol=1e-10)
    proba = explained(model, X, y, None, target="proba", output="b", **options)
    asked = cases.queries(proba, X[:7])
    with torch.no_grad():
        outputs = proba.objective.network.outputs(asked.take(slice(0, 7)))
        values = proba.target(outputs, asked.choice)
    assert_allclose(values.numpy(), model.predict_proba(X[:7])[:, 1], rtol=1e-10)


def test_margins_have_no_probabilities():
    X, y = classes(n=40, k=2)
    model = SGDClassifier(random_state=0).fit(X, y)
    with pytest.raises(ValueError, match="needs a loss of probabilities"):
        explained(model, X, y, None, target="proba", learning_rates=1.0)

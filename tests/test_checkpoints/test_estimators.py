"""Estimators of scikit-learn: their own schedules, recorded exactly."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import (
    LogisticRegression,
    Perceptron,
    SGDClassifier,
    SGDOneClassSVM,
    SGDRegressor,
)
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import has_fit_parameter

from skinfluence import _compat
from skinfluence.checkpoints import CheckpointRecorder, as_checkpoints
from skinfluence.exceptions import UnsupportedEstimatorError

N = 25
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
Y = X @ [1.0, -0.5, 0.2] + 0.1 * rng.normal(size=N)
LABELS = np.digitize(Y, [-0.5, 0.5])
WEIGHTS = rng.uniform(0.5, 2.0, N)

SCHEDULES = {
    "constant": {"eta0": 0.02},
    "adaptive": {"eta0": 0.02},
    "invscaling": {"eta0": 0.05, "power_t": 0.3},
    "optimal": {"alpha": 0.05},
}


def by_hand(rate_of, epochs, weights=None):
    """SGD on squared errors, a row at a time in order; coefficients and sums after each pass."""
    w, b, t, total, found = np.zeros(3), 0.0, 1, 0.0, []
    for _ in range(epochs):
        for i in range(N):
            rate = rate_of(t) * (1.0 if weights is None else weights[i])
            error = X[i] @ w + b - Y[i]
            w, b = w - rate * error * X[i], b - rate * error
            t += 1
            total += rate
        found.append((w, b, total))
    return found


def bottou(alpha):
    typical = np.sqrt(1 / np.sqrt(alpha))
    return lambda t: 1 / (alpha * (1 / (typical * alpha) + t - 1))


RATES = {
    "constant": lambda t: 0.02,
    "adaptive": lambda t: 0.02,
    "invscaling": lambda t: 0.05 / t**0.3,
    "optimal": bottou(0.05),
}


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_rates_are_those_that_reproduce_the_coefficients(schedule, weighted):
    """The same steps by hand: coefficients agree, so the rates that are summed are the true."""
    weights = WEIGHTS if weighted else None
    model = SGDRegressor(penalty=None, shuffle=False, learning_rate=schedule)
    model.set_params(**SCHEDULES[schedule])
    recorder = CheckpointRecorder()
    for _ in range(4):
        recorder.partial_fit(model, X, Y, sample_weight=weights)
    expected = by_hand(RATES[schedule], 4, weights)
    found = recorder.checkpoints
    for item, (w, b, total) in zip(found, expected, strict=True):
        assert_allclose(item.parameters["weight"], [w], rtol=1e-9)
        assert_allclose(item.parameters["bias"], [b], rtol=1e-9)
        # The sum over rows of w_i is n times their mean.
        near = 1e-12 if not weighted or schedule in ("constant", "adaptive") else 0.05
        assert_allclose(item.path["weight"], total, rtol=near)
        assert_allclose(item.path["bias"], item.path["weight"], rtol=0)
    assert found.plain and found.n_rows == N and found.steps == [1, 2, 3, 4]


def test_sparse_rows_move_the_intercept_less():
    """scikit-learn's own constant, seen in its first step."""
    one = sparse.csr_array(X[:1])
    model = SGDRegressor(penalty=None, learning_rate="constant", eta0=0.1)
    recorder = CheckpointRecorder()
    recorder.partial_fit(model, one, Y[:1])
    path = recorder.checkpoints[0].path
    assert_allclose(model.coef_, path["weight"] * Y[0] * X[0], rtol=1e-12)
    assert_allclose(model.intercept_, path["bias"] * Y[0], rtol=1e-12)
    assert path["bias"] == 0.01 * path["weight"]


@pytest.mark.parametrize(
    "model",
    [
        SGDClassifier(),
        Perceptron(eta0=0.5),
        SGDClassifier("log_loss", learning_rate="invscaling", eta0=0.1),
    ],
    ids=str,
)
def test_classifiers(model):
    recorder = CheckpointRecorder()
    for _ in range(3):
        recorder.partial_fit(model, X, LABELS, classes=[0, 1, 2])
    found = recorder.checkpoints
    assert found.plain and found[-1].parameters["weight"].shape == (3, 3)
    assert_array_equal(found[-1].parameters["weight"], model.coef_)
    if isinstance(model, Perceptron):
        assert_allclose(found[-1].path["weight"], 0.5 * 3 * N, rtol=1e-12)


def test_without_an_intercept_there_is_no_bias():
    recorder = CheckpointRecorder()
    recorder.partial_fit(SGDRegressor(fit_intercept=False), X, Y)
    assert list(recorder.checkpoints[0].parameters) == ["weight"]


def test_passive_aggressive_steps_have_no_rate():
    if "pa1" not in SGDClassifier._parameter_constraints["learning_rate"][0].options:
        pytest.skip("scikit-learn has such steps in SGDClassifier from 1.8 on")
    recorder = CheckpointRecorder()
    recorder.partial_fit(
        SGDClassifier(learning_rate="pa1", eta0=1.0), X, LABELS, classes=[0, 1, 2]
    )
    assert recorder.checkpoints[0].path is None


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (SGDClassifier(average=True), "coefficients are means over steps"),
        (LogisticRegression(), r"solver has none \('lbfgs'\).*sklearn_callback"),
        (MLPRegressor(solver="lbfgs"), r"solver has none \('lbfgs'\). Fit an MLP with solver="),
        (SGDOneClassSVM(), "SGDOneClassSVM is not among the estimators"),
    ],
)
def test_what_takes_no_steps_of_gradients_is_refused(model, match):
    with pytest.raises(UnsupportedEstimatorError, match=match):
        CheckpointRecorder().partial_fit(model, X, LABELS)


def test_an_unfitted_estimator_has_no_state():
    with pytest.raises(NotFittedError, match="has no coefficients yet"):
        CheckpointRecorder().record(SGDClassifier())


MLP = {"hidden_layer_sizes": (4,), "batch_size": 10, "random_state": 0, "learning_rate_init": 0.02}


def one_mlp(solver, **options):
    return MLPRegressor(solver=solver, **{**MLP, **options})


@pytest.mark.parametrize(
    ("model", "rates"),
    [
        (one_mlp("sgd", momentum=0.0, nesterovs_momentum=False), [0.02] * 3),
        (
            one_mlp("sgd", momentum=0.0, learning_rate="invscaling", power_t=0.5),
            [0.02, 0.02 / (N + 1) ** 0.5, 0.02 / (2 * N + 1) ** 0.5],
        ),
        (one_mlp("adam"), [0.02] * 3),
        (one_mlp("sgd", momentum=0.0, batch_size="auto"), [0.02 / 3] * 3),
    ],
    ids=["plain", "invscaling", "adam", "one batch"],
)
def test_mlps(model, rates):
    recorder = CheckpointRecorder()
    for _ in range(3):
        recorder.partial_fit(model, X, Y)
    found = recorder.checkpoints
    # Three batches an epoch: of 10, 10 and 5 rows.
    assert_allclose([c.path["output.bias"] for c in found], 3 * np.cumsum(rates), rtol=1e-12)
    assert found.plain == (model.solver == "sgd")
    assert_array_equal(found[-1].parameters["hidden_0.weight"], model.coefs_[0].T)
    assert_array_equal(found[-1].parameters["output.bias"], model.intercepts_[1])
    assert [c.loss for c in found] == model.loss_curve_
    if model.solver == "adam":
        assert found.optimizer.name == "Adam"
        assert found.optimizer.options["output.bias"] == {"betas": (0.9, 0.999), "eps": 1e-8}


@pytest.mark.parametrize("nesterov", [True, False])
def test_momentum_of_an_mlp(nesterov):
    """A gradient that stays the same moves the output's intercept as far as the rates say."""
    options = {"momentum": 0.8, "nesterovs_momentum": nesterov, "alpha": 0.0}
    model = one_mlp("sgd", **options)
    model.set_params(activation="identity", hidden_layer_sizes=(), learning_rate_init=1e-9)
    recorder = CheckpointRecorder()
    for epoch in range(4):
        if epoch == 2:
            recorder = copy.deepcopy(recorder)
            recorder.restore(model)
        recorder.partial_fit(model, np.zeros((25, 3)), np.full(25, 1e3))
    found = recorder.checkpoints
    moved = np.diff([float(c.parameters["output.bias"][0]) for c in found])
    assert_allclose(np.diff([c.path["output.bias"] for c in found]) * 1e3, moved, rtol=1e-3)


def test_plain_steps_of_an_mlp_move_as_far_as_their_rate():
    """One batch, no momentum: the change is minus rate times gradient, which Adam's sees too."""
    model = one_mlp("sgd", momentum=0.0, nesterovs_momentum=False, batch_size="auto", alpha=0.0)
    model.set_params(activation="identity", hidden_layer_sizes=())
    recorder = CheckpointRecorder()
    recorder.partial_fit(model, X, Y)
    w, b = model.coefs_[0][:, 0].copy(), model.intercepts_[0].copy()
    recorder.partial_fit(model, X, Y)
    error = X @ w + b - Y
    first, second = recorder.checkpoints
    rate = second.path["output.weight"] - first.path["output.weight"]
    change = second.parameters["output.weight"] - first.parameters["output.weight"]
    assert_allclose(change[0], -rate * (error @ X) / N, rtol=1e-9)


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_the_moments_of_an_mlp_are_kept_by_name(solver):
    model = one_mlp(solver)
    recorder = CheckpointRecorder()
    for _ in range(2):
        recorder.partial_fit(model, X, Y)
    state = recorder.checkpoints[-1].optimizer
    key = "exp_avg_sq" if solver == "adam" else "velocity"
    for name, values in recorder.checkpoints[-1].parameters.items():
        assert state[name][key].shape == values.shape
        if solver == "adam":
            assert state[name]["step"] == 6
    kept = model._optimizer.vs if solver == "adam" else model._optimizer.velocities
    assert_array_equal(state["hidden_0.weight"][key], kept[0].T)
    assert_array_equal(state["output.weight"][key], kept[1].T)
    assert_array_equal(state["hidden_0.bias"][key], kept[2])


@pytest.mark.parametrize(
    "make",
    [
        lambda: one_mlp("sgd", learning_rate="invscaling", shuffle=False),
        lambda: one_mlp("adam", shuffle=False),
        lambda: SGDRegressor(shuffle=False),
    ],
    ids=["sgd", "adam", "linear"],
)
def test_a_restored_training_goes_on_as_if_it_had_not_stopped(make):
    whole = make()
    for _ in range(6):
        whole.partial_fit(X, Y)
    model, recorder = make(), CheckpointRecorder()
    for _ in range(4):
        recorder.partial_fit(model, X, Y)
    other = make().partial_fit(X[::-1], Y)
    assert recorder.restore(other) == 4
    for _ in range(2):
        recorder.partial_fit(other, X, Y)
    expected, found = (as_checkpoints(m, m)[0].parameters for m in (whole, other))
    for name, values in expected.items():
        assert_array_equal(found[name], values)
    assert recorder.checkpoints.steps == [1, 2, 3, 4, 5, 6]


def test_another_architecture_is_not_restored():
    recorder = CheckpointRecorder()
    recorder.partial_fit(one_mlp("adam"), X, Y)
    other = one_mlp("adam", hidden_layer_sizes=(5,)).partial_fit(X, Y)
    with pytest.raises(
        ValueError, match=r"'hidden_0.weight' is of shape \(4, 3\) there and of sh"
    ):
        recorder.restore(other)


def test_one_recorder_is_for_one_estimator():
    recorder = CheckpointRecorder()
    recorder.partial_fit(SGDRegressor(), X, Y)
    with pytest.raises(ValueError, match="has recorded another SGDRegressor"):
        recorder.partial_fit(SGDRegressor(), X, Y)


def test_every_counts_calls_and_the_last_can_be_kept():
    recorder, model = CheckpointRecorder(every=3), SGDRegressor()
    for _ in range(7):
        recorder.partial_fit(model, X, Y)
    assert recorder.checkpoints.steps == [1, 3, 6]
    recorder.keep_last(model)
    recorder.keep_last(model)
    assert recorder.checkpoints.steps == [1, 3, 6, 7]


@pytest.mark.skipif(not _compat.HAS_CALLBACKS, reason="scikit-learn calls them from 1.9 on")
@pytest.mark.parametrize("y", [LABELS, LABELS > 0], ids=["three", "two"])
def test_the_iterates_of_logistic_regression(y):
    recorder = CheckpointRecorder()
    model = LogisticRegression(C=10.0).set_callbacks(recorder.sklearn_callback()).fit(X, y)
    found = recorder.checkpoints
    assert found.steps == list(range(model.n_iter_[0] + 1)) and found.n_rows == N
    assert_array_equal(found[-1].parameters["weight"], model.coef_)
    assert_array_equal(found[-1].parameters["bias"], model.intercept_)
    assert not found[0].parameters["weight"].any()
    assert not found.plain
    with pytest.raises(ValueError, match="learning rates of these checkpoints are not recorded"):
        found.shares()
    with pytest.raises(ValueError, match="Give each fit a recorder of its own"):
        model.fit(X, y)


@pytest.mark.skipif(not _compat.HAS_CALLBACKS, reason="scikit-learn calls them from 1.9 on")
def test_a_bounded_number_of_iterates_has_the_last():
    recorder = CheckpointRecorder(keep=3)
    model = LogisticRegression(C=100.0).set_callbacks(recorder.sklearn_callback()).fit(X, LABELS)
    assert len(recorder.checkpoints) <= 3 and recorder.checkpoints.steps[0] == 0
    assert_array_equal(recorder.checkpoints[-1].parameters["weight"], model.coef_)


def test_without_callbacks_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(_compat, "HAS_CALLBACKS", False)
    with pytest.raises(ImportError, match=r"calls callbacks from version 1.9 on"):
        CheckpointRecorder().sklearn_callback()


def test_weights_of_an_mlp_change_no_rate():
    """Its steps are of weighted means."""
    if not has_fit_parameter(MLPRegressor, "sample_weight"):
        pytest.skip("scikit-learn's MLPs take sample_weight from 1.7 on")
    paths = []
    for weights in (None, 7 * WEIGHTS):
        recorder = CheckpointRecorder()
        recorder.partial_fit(
            one_mlp("sgd"), X, Y, **({} if weights is None else {"sample_weight": weights})
        )
        paths.append(recorder.checkpoints[0].path)
    assert paths[0] == paths[1]


def test_classifier_of_labels():
    recorder, model = CheckpointRecorder(), MLPClassifier(**MLP)
    recorder.partial_fit(model, X, LABELS, classes=[0, 1, 2])
    assert recorder.checkpoints[0].parameters["output.weight"].shape == (3, 4)

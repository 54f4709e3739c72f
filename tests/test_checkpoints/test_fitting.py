"""Fitting and recording in one: the path is that of the estimator's own fit."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Perceptron, SGDClassifier, SGDRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import has_fit_parameter

from skinfluence.checkpoints.fitting import fit_recorded
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

rng = np.random.default_rng(0)
X = rng.normal(size=(90, 4))
REAL = X[:, 0] + 0.3 * rng.normal(size=90)
CLASSES = np.array(["a", "b", "c"])[np.digitize(REAL, [-0.5, 0.5])]
BOTH = np.column_stack([REAL > 0, REAL < 0.5]).astype(int)
WEIGHTS = rng.uniform(0.5, 2.0, 90)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SMALL = {"hidden_layer_sizes": (5,), "random_state": 0, "max_iter": 40}
NETWORKS = {
    "sgd": (MLPRegressor(solver="sgd", batch_size=20, **SMALL), REAL),
    "adam": (MLPClassifier(batch_size=32, **SMALL), CLASSES),
    "stops": (MLPClassifier(**{**SMALL, "max_iter": 400}, n_iter_no_change=3, tol=1e-3), CLASSES),
    "adaptive": (
        MLPRegressor(
            solver="sgd", learning_rate="adaptive", tol=1e-2, **{**SMALL, "max_iter": 200}
        ),
        REAL,
    ),
    "invscaling": (MLPClassifier(solver="sgd", learning_rate="invscaling", **SMALL), CLASSES),
    "in order": (MLPRegressor(shuffle=False, batch_size=25, **SMALL), REAL),
    "labels": (MLPClassifier(**SMALL), BOTH),
    "outputs": (MLPRegressor(**SMALL), np.column_stack([REAL, X[:, 1]])),
}


def coefficients(model):
    if hasattr(model, "coefs_"):
        return [*model.coefs_, *model.intercepts_]
    return [model.coef_, model.intercept_]


def assert_same_fit(found, expected):
    for a, b in zip(coefficients(found), coefficients(expected), strict=True):
        assert_array_equal(a, b)
    assert found.n_iter_ == expected.n_iter_
    assert found.t_ == expected.t_
    assert found.get_params() == expected.get_params()
    assert vars(found).keys() == vars(expected).keys()


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_ends_where_its_own_fit_does(name):
    model, y = NETWORKS[name]
    expected, found = clone(model).fit(X, y), clone(model)
    checkpoints = fit_recorded(found, X, y)
    assert_same_fit(found, expected)
    assert found.loss_curve_ == expected.loss_curve_
    assert (expected.n_iter_ < model.max_iter) == (name in ("stops", "adaptive"))
    assert len(checkpoints) == 10
    assert (checkpoints.steps[0], checkpoints.steps[-1]) == (0, expected.n_iter_)
    last = checkpoints[-1].parameters
    assert_array_equal(last["hidden_0.weight"], expected.coefs_[0].T)
    assert_array_equal(last["output.bias"], expected.intercepts_[-1])


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_every_checkpoint_is_the_fit_of_so_many_epochs(name):
    model, y = NETWORKS[name]
    checkpoints = fit_recorded(clone(model), X, y)
    for checkpoint in checkpoints[1:]:
        expected = clone(model).set_params(max_iter=checkpoint.step, tol=0.0).fit(X, y)
        assert_array_equal(checkpoint.parameters["output.weight"], expected.coefs_[-1].T)


def test_the_state_before_the_first_step():
    # One step of a rate so small that it moves nothing by more than rounding.
    model = MLPRegressor(**{**SMALL, "max_iter": 1, "learning_rate_init": 1e-12}).fit(X, REAL)
    start = fit_recorded(
        clone(NETWORKS["adam"][0]).set_params(hidden_layer_sizes=(5,)), X, CLASSES
    )
    assert start[0].path == dict.fromkeys(start[0].parameters, 0.0)
    regressor = fit_recorded(MLPRegressor(**SMALL), X, REAL)[0]
    assert_allclose(regressor.parameters["hidden_0.weight"], model.coefs_[0].T, atol=1e-11)
    assert_allclose(regressor.parameters["output.bias"], model.intercepts_[1], atol=1e-11)


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_weights_of_a_network(name):
    model, y = NETWORKS[name]
    if not has_fit_parameter(model, "sample_weight"):
        pytest.skip("scikit-learn's MLPs take sample_weight from 1.7 on")
    found = clone(model)
    fit_recorded(found, X, y, WEIGHTS)
    assert_same_fit(found, clone(model).fit(X, y, sample_weight=WEIGHTS))


LINEAR = {
    "regressor": (SGDRegressor(random_state=0), REAL),
    "constant": (SGDRegressor(learning_rate="constant", eta0=1e-3, random_state=1), REAL),
    "in order": (SGDRegressor(shuffle=False, random_state=0), REAL),
    "classifier": (SGDClassifier(random_state=0), CLASSES == "a"),
    "perceptron": (Perceptron(random_state=0), CLASSES == "b"),
}


@pytest.mark.parametrize("name", LINEAR)
def test_a_linear_model_ends_where_its_own_fit_does(name):
    model, y = LINEAR[name]
    expected, found = clone(model).fit(X, y), clone(model)
    checkpoints = fit_recorded(found, X, y)
    assert_same_fit(found, expected)
    assert (checkpoints.steps[0], checkpoints.steps[-1]) == (0, expected.n_iter_)
    assert_array_equal(checkpoints[0].parameters["weight"], np.zeros((1, 4)))
    assert_array_equal(checkpoints[-1].parameters["weight"], np.atleast_2d(expected.coef_))
    assert checkpoints.n_rows == 90


def test_the_rates_of_a_linear_model_add_up():
    model, y = LINEAR["constant"]
    checkpoints = fit_recorded(clone(model), X, y)
    for checkpoint in checkpoints:
        assert checkpoint.path["weight"] == pytest.approx(1e-3 * 90 * checkpoint.step)
    power = fit_recorded(clone(LINEAR["regressor"][0]), X, y)[-1]
    steps = np.arange(1, 90 * power.step + 1)
    assert power.path["bias"] == pytest.approx((0.01 / steps**0.25).sum())


def test_classes_go_on_to_the_end_of_the_last():
    own = SGDClassifier(random_state=0).fit(X, CLASSES)
    found = SGDClassifier(random_state=0)
    checkpoints = fit_recorded(found, X, CLASSES)
    expected = SGDClassifier(random_state=0, tol=None, max_iter=own.n_iter_).fit(X, CLASSES)
    assert_array_equal(found.coef_, expected.coef_)
    assert found.n_iter_ == own.n_iter_
    for checkpoint in checkpoints[1:-1]:
        before = clone(expected).set_params(max_iter=checkpoint.step).fit(X, CLASSES)
        assert_array_equal(checkpoint.parameters["weight"], before.coef_)


def test_sparse_rows():
    model, y = LINEAR["regressor"]
    found = clone(model)
    checkpoints = fit_recorded(found, sparse.coo_array(X), y)
    assert_same_fit(found, clone(model).fit(sparse.csr_array(X), y))
    # scikit-learn moves the intercept by a hundredth of the rate then.
    path = checkpoints[-1].path
    assert path["bias"] == pytest.approx(0.01 * path["weight"])
    network, y = NETWORKS["adam"]
    found = clone(network)
    fit_recorded(found, sparse.coo_array(X), y)
    expected = clone(network).fit(sparse.csr_array(X), y)
    assert_allclose(found.coefs_[0], expected.coefs_[0], rtol=1e-10)


def test_frames_and_lists():
    pandas = import_optional("pandas")
    model, y = NETWORKS["adam"]
    frame = pandas.DataFrame(X, columns=list("abcd"), index=np.arange(90)[::-1])
    found, expected = clone(model), clone(model).fit(frame, pandas.Series(y))
    fit_recorded(found, frame, pandas.Series(y, index=frame.index))
    assert_same_fit(found, expected)
    assert list(found.feature_names_in_) == list("abcd")
    found = clone(model)
    fit_recorded(found, X.tolist(), y.tolist())
    assert_array_equal(found.coefs_[0], expected.coefs_[0])


@pytest.mark.parametrize("n", [1, 2, 5, 41])
@pytest.mark.parametrize("name", ["sgd", "constant"])
def test_how_many(n, name):
    model, y = {**NETWORKS, **LINEAR}[name]
    model = clone(model).set_params(max_iter=40, tol=None if name == "constant" else 1e-4)
    checkpoints = fit_recorded(model, X, y, n_checkpoints=n)
    assert len(checkpoints) == n
    assert checkpoints.steps[-1] == 40
    way = sum(
        share["weight" if name == "constant" else "output.bias"] for share in checkpoints.shares()
    )
    # The network's 200 steps carry a gradient on by momentum .9.
    momentum = 1e-2 * (1 - 0.9 ** np.arange(2, 202)).sum()
    assert way == pytest.approx(1e-3 * 90 * 40 if name == "constant" else momentum)


def test_without_a_seed_and_with_a_generator():
    for seed in (None, np.random.RandomState(3)):
        for name in ("adam", "classifier"):
            model, y = {**NETWORKS, **LINEAR}[name]
            model = clone(model).set_params(random_state=seed)
            checkpoints = fit_recorded(model, X, y)
            assert_array_equal(
                checkpoints[-1].parameters["output.bias" if name == "adam" else "bias"],
                coefficients(model)[-1],
            )
    model, y = NETWORKS["adam"]
    found = clone(model).set_params(random_state=np.random.RandomState(3))
    fit_recorded(found, X, y)
    expected = clone(model).set_params(random_state=np.random.RandomState(3)).fit(X, y)
    assert_array_equal(found.coefs_[0], expected.coefs_[0])


def test_control_c_is_no_end_of_an_epoch(monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(MLPRegressor, "_backprop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit_recorded(MLPRegressor(**SMALL), X, REAL)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LogisticRegression(), "LogisticRegression is not fitted, and there is no way to record"),
        (MLPRegressor(solver="lbfgs"), "solver='lbfgs', which takes a few long steps.*Use solver"),
        (MLPClassifier(early_stopping=True), "early_stopping=True: it holds rows out.*=False"),
        (SGDClassifier(early_stopping=True), "early_stopping=True: it holds rows out.*=False"),
        (SGDRegressor(average=True), "average=True: its coefficients are a mean.*average=False"),
        (SGDRegressor(learning_rate="adaptive"), "'adaptive', and does not say when.*'constant'"),
    ],
)
def test_what_cannot_be_recorded(model, message):
    with pytest.raises(UnsupportedEstimatorError, match=message):
        fit_recorded(model, X, CLASSES)


@pytest.mark.parametrize("model", [MLPRegressor(**SMALL), SGDRegressor()])
def test_rows_and_targets_that_do_not_belong_together(model):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        fit_recorded(model, X, REAL[:-1])


def test_no_warning_of_ours():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit_recorded(MLPRegressor(batch_size=50, **SMALL), X, REAL)
        fit_recorded(SGDRegressor(random_state=0), X, REAL)

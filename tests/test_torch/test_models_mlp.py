"""MLPClassifier and MLPRegressor: what they minimised, read off their coefficients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.validation import has_fit_parameter

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence import InfluenceExplainer  # noqa: E402
from skinfluence.exceptions import UnsupportedEstimatorError  # noqa: E402
from skinfluence.torch.models import read  # noqa: E402

N = 50
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4))
WEIGHTS = rng.uniform(0.5, 2.0, N)
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
WEIGHTED = has_fit_parameter(MLPClassifier, "sample_weight")
POISSON = "loss" in MLPRegressor().get_params()

# Kind of targets: the estimator and y.
KINDS = {
    "multiclass": (MLPClassifier, np.array(["u", "v", "w"])[rng.integers(0, 3, N)]),
    "binary": (MLPClassifier, np.array(["no", "yes"])[rng.integers(0, 2, N)]),
    "multilabel": (MLPClassifier, rng.integers(0, 2, (N, 3))),
    "squared error": (MLPRegressor, rng.normal(size=N)),
}
if POISSON:
    KINDS["poisson"] = (lambda **o: MLPRegressor("poisson", **o), rng.poisson(2.0, N))
    KINDS["poisson, two"] = (lambda **o: MLPRegressor("poisson", **o), rng.poisson(2.0, (N, 2)))


def fitted(kind, *, weights=None, **options):
    build, y = KINDS[kind]
    options = {
        "hidden_layer_sizes": (5,),
        "solver": "lbfgs",
        "alpha": 1.0,
        "tol": 1e-10,
        "max_iter": 20_000,
        "max_fun": 200_000,
        "random_state": 0,
    } | options
    given = {} if weights is None else {"sample_weight": weights}
    return build(**options).fit(X, y, **given), y


def derivatives(objective):
    """Gradients of the losses and of the penalty at the fitted parameters, and their sum F."""
    network = objective.network
    theta = network.theta.clone().requires_grad_()
    batch = objective.rows.take(slice(0, N))
    losses = objective.loss(network.outputs(batch, network.params(theta)), batch.y)
    total = (losses * objective.weights).sum()
    (slope,) = torch.autograd.grad(total, theta)
    c = objective.penalty_curvature()
    value = float(total.detach() + 0.5 * (c * network.theta.square()).sum())
    return slope, c * network.theta, value


@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_fit_is_a_stationary_point_of_what_is_read(kind, activation, weighted):
    if weighted and not WEIGHTED:
        pytest.skip("scikit-learn's MLPs take sample_weight from 1.7 on")
    weights = WEIGHTS if weighted else None
    model, y = fitted(kind, activation=activation, weights=weights)
    objective = read(model, X, y, weights)
    slope, penalty, value = derivatives(objective)
    assert value / objective.total_weight == pytest.approx(model.loss_, rel=1e-12)
    # L-BFGS stops at a kink of the rectifier, where the gradient does not vanish.
    if activation != "relu":
        assert float((slope + penalty).norm() / penalty.norm()) < 0.05
        assert float((slope + 2.0 * penalty).norm() / penalty.norm()) > 0.9


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_scikit_learns_own(kind, activation):
    weights = WEIGHTS if WEIGHTED else None
    model, y = fitted(kind, activation=activation, max_iter=3, tol=10.0, weights=weights)
    objective = read(model, X, y, weights)
    slope, penalty, _ = derivatives(objective)
    found = objective.network.split((slope + penalty)[None])
    for k, (coef, intercept) in enumerate(zip(*own_gradient(model, y, weights), strict=True)):
        layer = "output" if k == len(model.coefs_) - 1 else f"hidden_{k}"
        total = objective.total_weight
        np.testing.assert_allclose(
            found[f"{layer}.weight"][0].T / total, coef, rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(
            found[f"{layer}.bias"][0] / total, intercept, rtol=1e-9, atol=1e-12
        )


def own_gradient(model, y, weights):
    """Gradients that scikit-learn hands to its solver: of the mean loss, by layer."""
    target = model._validate_input(X, y, incremental=False, reset=False)[1]
    target = target.reshape(N, -1)
    sizes = [c.shape for c in model.coefs_]
    activations = [X] + [None] * len(sizes)
    deltas: list = [None] * len(sizes)
    coefs = [np.empty(s) for s in sizes]
    intercepts = [np.empty(s[1]) for s in sizes]
    more = (weights,) if WEIGHTED else ()
    return model._backprop(X, target, *more, activations, deltas, coefs, intercepts)[1:]


# -- the penalty ----------------------------------------------------------------------------------


def test_of_lbfgs_the_penalty_is_alpha_whatever_the_rows():
    model, y = fitted("binary", alpha=0.7)
    objective = read(model, X, y)
    c = objective.network.split(objective.penalty_curvature()[None])
    assert not objective.per_weight
    assert objective.penalty_gradient() is None
    assert {name: sorted(set(v.flatten().tolist())) for name, v in c.items()} == {
        "hidden_0.weight": [pytest.approx(0.7)],
        "hidden_0.bias": [0.0],
        "output.weight": [pytest.approx(0.7)],
        "output.bias": [0.0],
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning", "ignore:Got `batch")
@pytest.mark.parametrize(("size", "rows"), [("auto", N), (10, 10), (1000, N)])
def test_of_steps_on_batches_the_penalty_follows_the_rows(size, rows):
    model, y = fitted("binary", solver="adam", batch_size=size, alpha=0.7, max_iter=2)
    objective = read(model, X, y)
    assert objective.per_weight
    decay = objective.network.split(objective.decay[None])
    expected = torch.full((1, 5, 4), 0.7 / rows, dtype=torch.float64)
    torch.testing.assert_close(decay["hidden_0.weight"], expected, rtol=1e-12, atol=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_steps_on_batches_end_where_the_penalty_says():
    """Without hidden layers the minimum is one, and Adam with a small step comes near it."""
    model, y = fitted(
        "squared error",
        hidden_layer_sizes=(),
        solver="adam",
        batch_size=10,
        alpha=5.0,
        learning_rate_init=1e-3,
        max_iter=1500,
        tol=0.0,
        n_iter_no_change=1500,
    )
    slope, penalty, _ = derivatives(read(model, X, y))
    assert float((slope + penalty).norm() / penalty.norm()) < 0.05


def test_no_penalty():
    model, y = fitted("binary", alpha=0.0, max_iter=3, tol=10.0)
    assert read(model, X, y).decay is None


# -- without hidden layers they are linear models -------------------------------------------------


def as_linear(model, coef, intercept):
    """The same network at exact parameters."""
    model.coefs_, model.intercepts_ = [np.ascontiguousarray(coef)], [intercept]
    return model


def deletions(model, y, **options):
    explainer = InfluenceExplainer(model, method="first_order", **options).fit(X, y)
    return explainer.score_influence(X[:5], y[:5])


def test_a_regressor_without_hidden_layers_is_ridge_regression():
    model, y = fitted("squared error", hidden_layer_sizes=(), alpha=2.0)
    ridge = Ridge(alpha=2.0, solver="cholesky").fit(X, y)
    exact = as_linear(model, ridge.coef_[:, None], np.atleast_1d(ridge.intercept_))
    # Half the squared error is the loss of one, the squared error that of the other.
    np.testing.assert_allclose(
        2.0 * deletions(exact, y, damping=0.0), deletions(ridge, y), rtol=1e-9, atol=1e-12
    )


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_classifier_without_hidden_layers_is_logistic_regression(kind):
    model, y = fitted(kind, hidden_layer_sizes=(), alpha=2.0)
    logistic = LogisticRegression(C=0.5, tol=1e-12, solver="newton-cg", max_iter=1000).fit(X, y)
    exact = as_linear(model, logistic.coef_.T, logistic.intercept_)
    # Only differences of the intercepts of several classes are determined.
    damping = 1e-11 if kind == "multiclass" else 0.0
    np.testing.assert_allclose(
        deletions(exact, y, damping=damping), deletions(logistic, y), rtol=1e-6, atol=1e-9
    )


# -- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_the_models(kind):
    model, y = fitted(kind, max_iter=3, tol=10.0)
    objective = read(model, X, y)
    outputs = objective.network.outputs(objective.rows.take(slice(0, 5)))
    link = {
        "softmax": lambda f: f.softmax(1),
        "logistic": torch.sigmoid,
        "identity": lambda f: f,
        "exp": torch.exp,
    }[model.out_activation_]
    expected = model._forward_pass_fast(X[:5])
    np.testing.assert_allclose(link(outputs).detach(), expected, rtol=1e-12)


def test_labels_of_queries_are_encoded_as_in_training():
    model, y = fitted("multiclass", max_iter=3, tol=10.0)
    objective = read(model, X, y)
    assert objective.classes.tolist() == ["u", "v", "w"]
    queries = objective.read_rows(X[:2], ["w", "u"])
    assert queries.take(slice(0, 2)).y.tolist() == [2, 0]
    assert objective.read_rows(X[:2]).take(slice(0, 2)).y is None
    with pytest.raises(ValueError, match="y holds 'x', which is none of the 3 labels"):
        objective.read_rows(X[:1], ["x"])
    with pytest.raises(ValueError, match="X has 2, y has 1"):
        objective.read_rows(X[:2], ["u"])


def test_queries_of_other_kinds():
    model, y = fitted("multilabel", max_iter=3, tol=10.0)
    with pytest.raises(ValueError, match="fitted on rows of 3 labels"):
        read(model, X, y).read_rows(X[:1], [[1, 0]])
    model, y = fitted("squared error", max_iter=3, tol=10.0)
    with pytest.raises(ValueError, match="fitted on 1 targets"):
        read(model, X, y).read_rows(X[:1], [[1.0, 0.0]])


def test_sparse_rows():
    model, y = fitted("binary", max_iter=3, tol=10.0)
    dense, rare = read(model, X, y), read(model, sparse.csr_array(X), y)
    batches = [o.rows.take(slice(3, 6)) for o in (dense, rare)]
    torch.testing.assert_close(batches[0].args, batches[1].args, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_single_precision_is_read_in_double():
    y = KINDS["binary"][1]
    single = MLPClassifier((5,), max_iter=2).fit(X.astype("f4"), y)
    assert single.coefs_[0].dtype == np.float32
    assert read(single, X.astype("f4"), y).network.dtype == torch.float64


def test_params_and_names():
    model, y = fitted("binary", hidden_layer_sizes=(4, 3), max_iter=3, tol=10.0)
    objective = read(model, X, y, params="last_layer")
    assert objective.network.names == ("output.weight", "output.bias")
    assert read(model, X, y, params="hidden_1.*").network.n_params == 4 * 3 + 3


# -- what is refused ------------------------------------------------------------------------------


def test_early_stopping_held_rows_out():
    model, y = fitted("binary", solver="adam", early_stopping=True, max_iter=20)
    with pytest.raises(UnsupportedEstimatorError, match="held rows out, chosen at random"):
        read(model, X, y)


def test_lbfgs_with_several_outputs_has_no_one_objective():
    y = rng.normal(size=(N, 2))
    model = MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs", max_iter=5, tol=10.0).fit(X, y)
    with pytest.raises(UnsupportedEstimatorError, match=r"averages the loss .* its gradient"):
        read(model, X, y)


def test_not_fitted():
    with pytest.raises(NotFittedError, match="not fitted"):
        read(MLPClassifier(), X, KINDS["binary"][1])


@pytest.mark.parametrize("option", [{"loss": "squared_error"}, {"weight_decay": 0.1}])
def test_an_mlp_brings_its_own_loss_and_penalty(option):
    model, y = fitted("binary", max_iter=3, tol=10.0)
    with pytest.raises(ValueError, match="MLPClassifier brings its own"):
        read(model, X, y, **option)

"""InfluenceExplainer on networks: the same surface, held against linear models and refits."""

from __future__ import annotations

import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, PoissonRegressor, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import NotStationaryWarning, UnsupportedEstimatorError
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.influence.trained import Trained  # noqa: E402
from tests.test_torch.influence_cases import (  # noqa: E402
    classes,
    linear_module,
    minimum,
    mlp,
    regression,
)

DECAY = 0.05
GROUPS = [[0, 3, 5], [7, 8]]
NEAR = {"rtol": 1e-6, "atol": 1e-9}


def explain(module, X, y, **options):
    given = {"loss": "cross_entropy", "weight_decay": DECAY, **options}
    return InfluenceExplainer(module, **given).fit(X, y)


@pytest.fixture(scope="module")
def one_layer():
    """Rows and a layer without bias at its minimum, penalised on the mean loss."""
    X, y = classes()
    return X, y, softmax(X, y)


@pytest.fixture(scope="module")
def network():
    """Rows and a small MLP at its minimum, penalised on the mean loss."""
    X, y = classes(n=40)
    return X, y, minimum(mlp(), X, y, decay=DECAY)


def softmax(X, y):
    C = 1.0 / (len(X) * DECAY)
    model = LogisticRegression(C=C, fit_intercept=False, tol=1e-12, max_iter=10_000)
    return linear_module(model.fit(X, y).coef_)


# -- the linear-model path ------------------------------------------------------------------------


def as_mlp(kind, model, X, y):
    """An MLP without a hidden layer that has a linear model's coefficients."""
    net = kind(hidden_layer_sizes=(), solver="lbfgs", alpha=1.0, max_iter=5000).fit(X, y)
    net.coefs_ = [np.atleast_2d(model.coef_).T.copy()]
    net.intercepts_ = [np.atleast_1d(model.intercept_).astype(float)]
    return net


@pytest.mark.parametrize("method", ["first_order", "newton"])
@pytest.mark.parametrize("target", ["loss", "decision_function", "proba"])
def test_mlp_without_hidden_layer_is_logistic_regression(method, target):
    X, y = classes()
    model = LogisticRegression(C=1.0, solver="newton-cg", tol=1e-14, max_iter=1000).fit(X, y)
    asked = {"method": method, "target": target}
    linear = InfluenceExplainer(model, **asked).fit(X, y)
    net = InfluenceExplainer(as_mlp(MLPClassifier, model, X, y), **asked).fit(X, y)
    assert linear.method_ == net.method_ == method
    expected = linear.score_influence(X, y)
    assert_allclose(net.score_influence(X, y), expected, **NEAR)
    assert_allclose(net.self_influence(), np.diag(expected), **NEAR)
    expected = linear.score_groups(X, y, groups=GROUPS)
    assert_allclose(net.score_groups(X, y, groups=GROUPS), expected, **NEAR)
    assert_allclose(net.score_groups(groups=GROUPS), linear.score_groups(groups=GROUPS), **NEAR)


@pytest.mark.parametrize("relative", ["parameters", "loss"])
def test_relative_influence_is_that_of_ridge(relative):
    X, y = regression()
    model = Ridge(alpha=1.0, solver="cholesky").fit(X, y)
    linear = InfluenceExplainer(model, method="first_order", relative=relative).fit(X, y)
    net = as_mlp(MLPRegressor, model, X, y)
    net = InfluenceExplainer(net, relative=relative).fit(X, y)
    # The MLP's loss is half the square: scores and the size in losses halve, the moves do not.
    unit = 2.0 if relative == "parameters" else 2.0**0.5
    assert_allclose(unit * net.score_influence(X, y), linear.score_influence(X, y), **NEAR)
    assert_allclose(unit * net.self_influence(), linear.self_influence(), **NEAR)
    expected = linear.score_groups(X, y, groups=GROUPS)
    assert_allclose(unit * net.score_groups(X, y, groups=GROUPS), expected, **NEAR)
    assert net.score_unit_ == linear.score_unit_


@pytest.mark.parametrize("method", ["first_order", "newton"])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_penalty_on_the_mean_loss_follows_the_rows(method, weighted):
    # Poisson regression is penalised on its mean, as a module with weight decay is.
    X, y = classes(k=4)
    X = 0.3 * X
    w = np.random.default_rng(1).integers(1, 4, len(X)).astype(float) if weighted else None
    model = PoissonRegressor(alpha=0.1, tol=1e-12, max_iter=10_000).fit(X, y, sample_weight=w)
    linear = InfluenceExplainer(model, method=method).fit(X, y, sample_weight=w)
    module = linear_module(model.coef_[None], np.atleast_1d(model.intercept_))
    net = InfluenceExplainer(
        module,
        loss=lambda f, y: f[:, 0].exp() - y * f[:, 0],
        weight_decay={"weight": 0.1},
        method=method,
    ).fit(X, y, sample_weight=w)
    expected = linear.score_influence(X, y)
    assert_allclose(net.score_influence(X, y), expected, rtol=1e-6, atol=1e-8)
    assert_allclose(net.self_influence(), np.diag(expected), rtol=1e-6, atol=1e-8)
    expected = linear.score_groups(X, y, groups=GROUPS)
    assert_allclose(net.score_groups(X, y, groups=GROUPS), expected, rtol=1e-6, atol=1e-8)
    assert_allclose(net.d_params(), linear.d_params(), rtol=1e-6, atol=1e-8)
    if method == "first_order":
        expected = linear.score_influence(X, y, reduce="mean")
        found = net.score_influence(X, y, reduce="mean")
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_a_pipeline_is_explained_behind_its_head(one_layer):
    X, y, module = one_layer
    scaler = StandardScaler().fit(X)
    module = softmax(scaler.transform(X), y)
    piped = explain(make_pipeline(scaler, module), X, y)
    bare = explain(module, scaler.transform(X), y)
    expected = bare.score_influence(scaler.transform(X), y)
    assert_allclose(piped.score_influence(X, y), expected, rtol=1e-12, atol=1e-15)


# -- one surface, many ways to ask ----------------------------------------------------------------


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_every_way_to_ask_gives_the_same_scores(network, method, tmp_path):
    X, y, module = network
    explainer = explain(module, X, y, method=method)
    Z, t = X[:9], y[:9]
    scores = explainer.score_influence(Z, t)
    close = {"rtol": 1e-10, "atol": 1e-14}
    assert_allclose(explainer.self_influence(), np.diag(explainer.score_influence(X, y)), **close)
    assert_allclose(explainer.self_influence([5, 2]), explainer.self_influence()[[5, 2]], **close)
    out = np.lib.format.open_memmap(tmp_path / "s.npy", mode="w+", shape=scores.shape)
    assert explainer.score_influence(Z, t, out=out) is out
    assert_allclose(out, scores, **close)
    for reduce in ("sum", "mean"):
        found = explainer.score_influence(Z, t, reduce=reduce)
        assert_allclose(found, getattr(scores, reduce)(axis=0), **close)
    for found, sign in ((explainer.proponents, -1), (explainer.opponents, 1)):
        values, rows = found(Z, t, k=4)
        order = np.argsort(sign * scores, axis=1, kind="stable")[:, :4]
        assert_array_equal(rows, order)
        assert_allclose(values, np.take_along_axis(scores, order, axis=1), **close)
    if method == "first_order":
        groups = explainer.score_groups(Z, t, groups=GROUPS)
        sums = np.stack([scores[:, group].sum(axis=1) for group in GROUPS], axis=1)
        assert_allclose(groups, sums, **close)


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_blocks_do_not_matter(network, method):
    X, y, module = network
    explainer = explain(module, X, y, method=method)
    scores, own = explainer.score_influence(X[:5], y[:5]), explainer.self_influence()
    moved = explainer.d_params()
    with config_context(working_memory=0.02):
        again = explain(module, X, y, method=method)
        close = {"rtol": 1e-9, "atol": 1e-13}
        assert_allclose(again.score_influence(X[:5], y[:5]), scores, **close)
        assert_allclose(again.self_influence(), own, **close)
        assert_allclose(again.d_params(), moved, **close)
        assert_allclose(again.proponents(X, y, k=3)[0], explainer.proponents(X, y, k=3)[0])
        if method == "newton":
            with pytest.raises(ValueError, match=r"2 rows has 6 directions.*method='first_order'"):
                again.score_groups(X, y, groups=[[1, 2]])


def test_streaming_differentiates_each_row_once(network, monkeypatch):
    X, y, module = network
    explainer = explain(module, X, y)
    seen = []
    leaving = Trained.leaving

    def counted(self, rows):
        found = leaving(self, rows)
        seen.append(len(found))
        return found

    monkeypatch.setattr(Trained, "leaving", counted)
    explainer.proponents(X, y, k=3)
    assert sum(seen) == len(X)


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_order_weights_and_copies(network, method):
    X, y, module = network
    scores = explain(module, X, y, method=method).score_influence(X[:5], y[:5])
    order = np.random.default_rng(0).permutation(len(X))
    permuted = explain(module, X[order], y[order], method=method).score_influence(X[:5], y[:5])
    assert_allclose(permuted, scores[:, order], rtol=1e-9, atol=1e-13)
    # A row of weight 2 is two rows, and deleting it deletes both.
    weights = np.ones(len(X))
    weights[3] = 2.0
    options = {"loss": "cross_entropy", "weight_decay": DECAY, "method": method}
    weighted = InfluenceExplainer(module, **options).fit(X, y, sample_weight=weights)
    twice = InfluenceExplainer(module, **options).fit(np.vstack([X, X[3:4]]), np.append(y, y[3]))
    found = weighted.score_influence(X[:5], y[:5])
    repeated = twice.score_influence(X[:5], y[:5])
    alone = np.delete(np.arange(len(X)), 3)
    assert_allclose(found[:, alone], repeated[:, alone], rtol=1e-9, atol=1e-13)
    both = twice.score_groups(X[:5], y[:5], groups=[[3, len(X)]])[:, 0]
    assert_allclose(found[:, 3], both, rtol=1e-8, atol=1e-13)
    assert_allclose(repeated[:, 3], repeated[:, -1], rtol=1e-9, atol=1e-13)
    # A row of weight 0 has no influence.
    weights[3] = 0.0
    nothing = InfluenceExplainer(module, **options).fit(X, y, sample_weight=weights)
    assert_array_equal(nothing.score_influence(X[:5], y[:5])[:, 3], 0.0)
    assert_array_equal(nothing.self_influence()[3], 0.0)


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_parameters_as_the_target(network, method):
    X, y, module = network
    every = explain(module, X, y, method=method, target="params")
    moved = every.d_params()
    assert_allclose(every.score_influence(None), -moved.T, rtol=1e-9, atol=1e-14)
    assert moved.shape == (len(X), len(every.param_names_))
    one = explain(module, X, y, method=method, target="coef:2.weight[1,3]")
    at = list(one.param_names_).index("2.weight[1,3]")
    assert_allclose(one.score_influence(None)[0], -moved[:, at], rtol=1e-9, atol=1e-14)
    several = explain(module, X, y, method=method, target="coef:2.bias")
    assert several.score_influence(None).shape == (3, len(X))
    with pytest.raises(ValueError, match=r"target='params' is about the fitted parameters"):
        every.score_influence(X)
    with pytest.raises(ValueError, match=r"has no value at a row.*Use d_params"):
        every.self_influence()


@pytest.mark.parametrize("wrong", ["coef:bias", "coef:2.weight[1,9]", "coef:2.weight[1]"])
def test_unknown_parameters_are_refused(network, wrong):
    X, y, module = network
    with pytest.raises(ValueError, match=r"names no explained parameter. There are 0.weight"):
        explain(module, X, y, target=wrong).score_influence(None)


def test_a_function_of_the_outputs_is_a_target(network):
    X, y, module = network
    own = explain(
        module, X, y, target=lambda f, y: torch.nn.functional.cross_entropy(f, y, reduction="none")
    )
    expected = explain(module, X, y)
    assert own.score_unit_ == "target"
    assert_allclose(
        own.score_influence(X[:3], y[:3]), expected.score_influence(X[:3], y[:3]), rtol=1e-10
    )
    assert_allclose(own.self_influence(), expected.self_influence(), rtol=1e-10)
    needless = explain(module, X, y, target=lambda f, y: f[:, 0] - f[:, 1])
    margin = needless.score_influence(X[:3])
    parts = [
        explain(module, X, y, target="decision_function", output=k).score_influence(X[:3])
        for k in (0, 1)
    ]
    assert_allclose(margin, parts[0] - parts[1], rtol=1e-8, atol=1e-12)
    with pytest.raises(ValueError, match=r"The target function returned \(3, 3\) for 3 rows"):
        explain(module, X, y, target=lambda f, y: f).score_influence(X[:3])
    for target in (lambda f: f[:, 0], lambda f, y: f[:, 99]):
        with pytest.raises(ValueError, match=r"of shape \(\d, 3\) and .* It is called as f\(out"):
            explain(module, X, y, target=target).score_influence(X[:3])


def test_the_class_is_the_output_else_y_else_the_predicted_one(network):
    X, y, module = network
    with torch.no_grad():
        predicted = module(torch.as_tensor(X)).argmax(1).numpy()
    explainer = explain(module, X, y, target="proba")
    by_class = [
        explain(module, X, y, target="proba", output=k).score_influence(X) for k in range(3)
    ]
    rows = np.arange(len(X))
    assert_allclose(explainer.score_influence(X), np.stack(by_class)[predicted, rows])
    assert_allclose(explainer.score_influence(X, y), np.stack(by_class)[y, rows])
    # Probabilities add up to one.
    assert_allclose(sum(by_class), np.zeros_like(by_class[0]), atol=1e-12)
    with pytest.raises(ValueError, match=r"output=3 is no output of this model, which has 3"):
        explain(module, X, y, target="proba", output=3).score_influence(X)


def test_two_classes_of_one_logit():
    X, y = classes(k=2)
    module = minimum(mlp(k=1), X, y, loss="binary_cross_entropy", decay=DECAY)
    given = {"loss": "binary_cross_entropy", "target": "decision_function"}
    both = [explain(module, X, y, output=k, **given).score_influence(X[:4]) for k in (0, 1)]
    assert_allclose(both[0], -both[1])
    own = explain(module, X, y, **given).score_influence(X[:4], y[:4])
    assert_allclose(own, np.stack(both)[y[:4], np.arange(4)])


@pytest.mark.parametrize("k", [2, 3])
def test_labels_that_go_together_are_no_classes(k):
    X, y = regression()
    labels = np.stack([y > 0, y > 1, y > 2][:k], axis=1).astype(float)
    given = {"loss": "binary_cross_entropy", "target": "decision_function", "damping": 0.3}
    module = minimum(mlp(k=k), X, labels, loss="binary_cross_entropy", decay=DECAY)
    with pytest.raises(ValueError, match=rf"The model has {k} outputs. Say which one"):
        explain(module, X, labels, **given).score_influence(X)
    assert explain(module, X, labels, output=1, **given).score_influence(X[:2]).shape[0] == 2


def test_several_outputs_of_a_regression_need_a_choice():
    X, y = regression()
    Y = np.stack([y, -2 * y], axis=1)
    module = minimum(mlp(k=2), X, Y, loss="squared_error", decay=DECAY)
    given = {"loss": "squared_error", "target": "decision_function"}
    with pytest.raises(ValueError, match=r"The model has 2 outputs. Say which one.*output=0"):
        explain(module, X, Y, **given).score_influence(X)
    assert explain(module, X, Y, output=1, **given).score_influence(X[:2]).shape == (2, len(X))
    with pytest.raises(ValueError, match=r"target='proba' needs a loss of probabilities"):
        explain(module, X, Y, loss="squared_error", target="proba")


def test_counts_are_no_classes():
    X, y = classes(k=4)
    module = linear_module(np.array([[0.1, -0.2, 0.0, 0.3]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotStationaryWarning)
        explainer = explain(
            module,
            X,
            y,
            loss=lambda f, y: f[:, 0].exp() - y * f[:, 0],
            target="decision_function",
        )
    assert explainer.score_influence(X[:3], y[:3]).shape == (3, len(X))


def test_a_class_without_an_output_is_refused(network):
    X, y, module = network
    own = partial(torch.nn.functional.cross_entropy, reduction="none")
    explainer = explain(module, X, y, loss=own, target="decision_function")
    assert_allclose(
        explainer.score_influence(X[:2], y[:2]),
        explain(module, X, y, target="decision_function").score_influence(X[:2], y[:2]),
    )
    with pytest.raises(ValueError, match=r"y holds class 3, and the model has 3 outputs"):
        explainer.score_influence(X[:2], np.array([0, 3]))


@pytest.mark.parametrize("target", ["decision_function", "proba"])
def test_outputs_at_several_positions_need_a_choice(target):
    X, y = classes(n=30)
    module = nn.Sequential(mlp(k=6), nn.Unflatten(1, (3, 2)))
    labels = np.stack([y, (y + 1) % 3], axis=1)
    module = minimum(module, X, labels, decay=DECAY)
    with pytest.raises(ValueError, match=r"A row has 6 outputs, at several positions"):
        explain(module, X, labels, target=target).score_influence(X[:2])
    found = [
        explain(module, X, labels, target=target, output=k).score_influence(X[:2])
        for k in (0, 2, 4)
    ]
    assert found[0].shape == (2, 30)
    if target == "proba":  # of three classes at the first of two positions
        assert_allclose(sum(found), np.zeros((2, 30)), atol=1e-12)


# -- truth ----------------------------------------------------------------------------------------


def test_first_order_is_the_derivative_of_the_fit_in_a_weight(one_layer):
    X, y, module = one_layer
    explainer = explain(module, X, y)
    losses = {}
    for step in (1e-4, -1e-4):
        weights = np.ones(len(X))
        weights[7] -= step
        refit = minimum(module, X, y, weights=weights, decay=DECAY)
        with torch.no_grad():
            losses[step] = torch.nn.functional.cross_entropy(
                refit(torch.as_tensor(X)), torch.as_tensor(y), reduction="none"
            ).numpy()
    slope = (losses[1e-4] - losses[-1e-4]) / 2e-4
    assert_allclose(explainer.score_influence(X, y)[:, 7], slope, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("method, least", [("first_order", 0.98), ("newton", 0.995)])
def test_retraining_agrees_on_a_convex_network(one_layer, method, least):
    X, y, module = one_layer
    explainer = explain(module, X, y, method=method)
    agreement = explainer.validate(
        X, y, retrain=lambda kept: softmax(X[kept], y[kept]), n_refits=12, random_state=0
    )
    assert agreement.pearson > least
    assert agreement.n_pairs == 12 * len(X)
    moves = explain(module, X, y, method=method, target="params").validate(
        retrain=lambda kept: softmax(X[kept], y[kept]), n_refits=5, random_state=0
    )
    assert moves.pearson > least


def test_retraining_agrees_on_a_network(network):
    X, y, module = network

    def retrain(kept):
        return minimum(module, X[kept], y[kept], decay=DECAY)

    for method in ("first_order", "newton"):
        agreement = explain(module, X, y, method=method).validate(
            X, y, retrain=retrain, n_refits=10, random_state=0
        )
        assert agreement.pearson > 0.9


def test_an_mlp_is_cloned_and_fitted_again():
    X, y = classes()
    net = MLPClassifier(
        (5,),
        activation="tanh",
        solver="lbfgs",
        alpha=3.0,
        tol=1e-10,
        max_iter=5000,
        random_state=0,
    )
    explainer = InfluenceExplainer(net).fit(X, y)
    assert explainer.validate(X, y, n_refits=8, random_state=0).pearson > 0.9
    piped = make_pipeline(StandardScaler(), net)
    whole = InfluenceExplainer(piped).fit(X, y)
    agreement = whole.validate(X, y, n_refits=4, whole_pipeline=True, random_state=0)
    assert agreement.pearson > 0.8


def test_a_module_cannot_be_fitted_again(one_layer):
    X, y, module = one_layer
    with pytest.raises(
        ValueError, match=r"Linear is a module that was trained elsewhere.*retrain="
    ):
        explain(module, X, y).validate(X, y)
    with pytest.raises(ValueError, match=r"retrain returned None"):
        explain(module, X, y).validate(X, y, retrain=lambda kept: None)
    with pytest.raises(ValueError, match=r"retrain= trains a network.*LogisticRegression"):
        linear = InfluenceExplainer(LogisticRegression()).fit(X, y)
        linear.validate(X, y, retrain=lambda kept: module)


# -- what else there is to ask --------------------------------------------------------------------


def test_dot_products_of_embeddings_are_scores(network, tmp_path):
    X, y, module = network
    explainer = explain(module, X, y, target="decision_function", output=2)
    embedded, training = explainer.transform(X[:5]), explainer.train_embedding()
    assert_allclose(embedded @ training.T, explainer.score_influence(X[:5]), rtol=1e-9, atol=1e-13)
    out = np.lib.format.open_memmap(tmp_path / "e.npy", mode="w+", shape=training.shape)
    assert explainer.train_embedding(out=out) is out
    assert_allclose(out, training)
    assert len(explainer.get_feature_names_out()) == training.shape[1]
    # Of the loss, the prediction is embedded: that of the predicted class, whatever y.
    assert_allclose(
        explain(module, X, y).transform(X) @ training.T,
        explain(module, X, y, target="decision_function").score_influence(X),
        rtol=1e-9,
        atol=1e-13,
    )


def test_projected_embeddings_are_near(network):
    X, y, module = network
    explainer = explain(module, X, y, target="decision_function", output=2, projection=4096)
    exact = explainer.score_influence(X)
    found = explainer.transform(X) @ explainer.train_embedding().T
    assert found.shape == exact.shape
    assert np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)


def test_perturbation_is_the_derivative_of_the_refit(one_layer):
    X, y, module = one_layer
    explainer = explain(module, X, y)
    slopes = explainer.perturbation(X[:3], y[:3], rows=[7, 9])
    assert slopes.shape == (3, 2, X.shape[1])

    def losses(step):
        moved = X.copy()
        moved[9, 2] += step
        refit = minimum(module, moved, y, decay=DECAY)
        with torch.no_grad():
            return torch.nn.functional.cross_entropy(
                refit(torch.as_tensor(X[:3])), torch.as_tensor(y[:3]), reduction="none"
            ).numpy()

    finite = (losses(1e-4) - losses(-1e-4)) / 2e-4
    assert_allclose(slopes[:, 1, 2], finite, rtol=1e-5, atol=1e-9)
    assert explainer.perturbation(X[:3], y[:3]).shape == (3, len(X), X.shape[1])
    with (
        config_context(working_memory=0.001),
        pytest.raises(ValueError, match=r"do not fit working_memory. Pass rows="),
    ):
        explainer.perturbation(X[:3], y[:3])


def test_perturbation_of_weighted_rows_and_other_targets(network):
    X, y, module = network
    weights = np.linspace(0.5, 2.0, len(X))
    options = {"loss": "cross_entropy", "weight_decay": DECAY, "target": "decision_function"}
    explainer = InfluenceExplainer(module, output=1, **options).fit(X, y, sample_weight=weights)
    # Half the weight of a row whose input moves is half the derivative, at the same curvature.
    slopes = explainer.perturbation(X[:2], rows=[4])
    new = X[4:5] + 1e-5 * np.eye(X.shape[1])
    was = explainer.score_replacement(X[[4] * 4], y[[4] * 4], rows=[4] * 4, queries=(X[:2], None))
    now = explainer.score_replacement(new, y[[4] * 4], rows=[4] * 4, queries=(X[:2], None))
    assert_allclose(was, 0.0, atol=1e-14)
    assert_allclose(slopes[:, 0], now / 1e-5, rtol=1e-3, atol=1e-8)


class Attending(nn.Module):
    """Fused attention, whose kernel has no second derivative."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.mix, self.out = nn.Linear(4, 12).double(), nn.Linear(4, 3).double()

    def forward(self, x):
        q, k, v = self.mix(x)[:, None].chunk(3, -1)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed[:, 0].mean(1))


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
def test_perturbation_of_a_network_with_fused_attention():
    X, y = np.random.default_rng(0).normal(size=(12, 5, 4)), np.arange(12) % 3
    explainer = explain(Attending(), X, y, damping=0.1)
    slopes = explainer.perturbation(X[:2], y[:2], rows=[4])
    step = np.zeros((1, 5, 4))
    step[0, 1, 2] = 1e-5
    ask = {"rows": [4], "queries": (X[:2], y[:2])}
    up, down = (explainer.score_replacement(X[4:5] + s, y[4:5], **ask) for s in (step, -step))
    assert_allclose(slopes[:, 0, 1, 2], (up - down)[:, 0] / 2e-5, rtol=1e-5, atol=1e-10)


def test_replacement_is_near_the_refit(one_layer):
    X, y, module = one_layer
    explainer = explain(module, X, y)
    rows, other = np.arange(8), (y[:8] + 1) % 3
    scores = explainer.score_replacement(X[:8], other, rows=rows, queries=(X, y))
    before = losses_of(module, X, y)
    truth = []
    for i in rows:
        labels = y.copy()
        labels[i] = other[i]
        truth.append(losses_of(minimum(module, X, labels, decay=DECAY), X, y) - before)
    assert np.corrcoef(scores.ravel(), np.transpose(truth).ravel())[0, 1] > 0.97
    with pytest.raises(ValueError, match=r"There are 8 new rows and 2 positions"):
        explainer.score_replacement(X[:8], other, rows=[1, 2], queries=(X, y))


def losses_of(module, X, y):
    with torch.no_grad():
        return torch.nn.functional.cross_entropy(
            module(torch.as_tensor(X)), torch.as_tensor(y), reduction="none"
        ).numpy()


# -- what is refused or warned of -----------------------------------------------------------------


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"method": "refit"},
            r"method='refit' retrains without every row.*validate\(X, y, retrain",
        ),
        ({"method": "newton", "curvature": "hessian"}, r"stays positive without a row.*'ggn'"),
        ({"method": "newton", "curvature": "fisher"}, r"curvature='fisher' is another"),
        ({"hessian": "expected"}, r"hessian='expected' is about linear models.*curvature="),
        ({"class_weights": "fixed"}, r"class_weights='fixed' is about linear models"),
        ({"smoothing": 0.1}, r"smoothing=0.1 is about linear models"),
        ({"target": "prob"}, r"target='prob' is none of 'loss'"),
        ({"solver": "dense", "tol": 1e-3}, r"tol is about iterations, and solver='dense'"),
        ({"loss": None}, r"Linear does not say what it was trained on. Pass loss="),
    ],
)
def test_options_that_networks_do_not_have(one_layer, options, message):
    X, y, module = one_layer
    with pytest.raises(ValueError, match=message):
        explain(module, X, y, **options)


def test_questions_without_an_answer(one_layer):
    X, y, module = one_layer
    explainer = explain(module, X, y)
    with pytest.raises(ValueError, match=r"target='loss' measures the loss at each query"):
        explainer.score_influence(X)
    with pytest.raises(ValueError, match=r"X is None, which asks about parameters"):
        explainer.score_influence(None)
    with pytest.raises(UnsupportedEstimatorError, match=r"Linear is a network.*d_params"):
        explainer.diagnostics()
    with pytest.raises(ValueError, match=r"holds all that carry weight"):
        explainer.score_groups(groups=[np.arange(len(X))])


def test_parameters_far_from_a_minimum_are_reported(one_layer):
    X, y, module = one_layer
    assert explain(module, X, y).stationarity_[0] < 1e-6
    with pytest.warns(NotStationaryWarning, match=r"are no minimum of it, nor near one"):
        explain(module, X[y == 0], y[y == 0])
    with pytest.warns(NotStationaryWarning, match=r"constant output .*: these rows did not train"):
        explain(module, X, (y + 1) % 3)


# -- report and attributes ------------------------------------------------------------------------


def test_damping_is_what_was_asked_for(one_layer):
    X, y, module = one_layer
    assert explain(module, X, y).damping_ == 0.0
    assert explain(module, X, y, damping=0.5).damping_ == 0.5


def test_the_report_says_how(one_layer):
    X, y, module = one_layer
    explainer = explain(module, X, y, solver="cg", tol=1e-10)
    scores, report = explainer.score_influence(X, y, return_report=True)
    assert report["method"] == "first_order"
    assert report["solver"] == explainer.solver_ == "cg"
    assert report["solver_reason"] == explainer.solver_reason_ == "It was asked for."
    assert report["curvature"] == explainer.curvature_ == "ggn"
    assert report["damping"] == 0.0
    assert_allclose(scores, explain(module, X, y).score_influence(X, y), rtol=1e-6, atol=1e-8)


def test_the_explainer_leaves_the_module_as_it_was(network):
    X, y, module = network
    module.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    explainer = explain(module, X, y)
    explainer.score_influence(X, y)
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert clone(explainer).fit(X, y).stationarity_ == explainer.stationarity_


@pytest.mark.parametrize("curvature", ["ggn", "hessian", "fisher", "kfac", "ekfac"])
@pytest.mark.parametrize("target", ["loss", "proba"])
def test_explainers_are_pickled(network, curvature, target):
    X, y, module = network
    explainer = explain(module, X, y, curvature=curvature, target=target)
    again = pickle.loads(pickle.dumps(explainer))
    scores = explainer.score_influence(X[:3], y[:3])
    assert_allclose(again.score_influence(X[:3], y[:3]), scores, rtol=1e-12)
    assert_allclose(explainer.self_influence()[:3], np.diag(scores), rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("curvature", ["kfac", "ekfac"])
def test_curvatures_with_an_inverse_of_their_own(network, curvature):
    X, y, module = network
    explainer = explain(module, X, y, curvature=curvature, target="decision_function", output=0)
    assert explainer.solver_ == "structured"
    scores = explainer.score_influence(X[:5])
    found = explainer.transform(X[:5]) @ explainer.train_embedding().T
    assert_allclose(found, scores, rtol=1e-9, atol=1e-13)
    exact = explain(module, X, y, target="decision_function", output=0).score_influence(X[:5])
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.8


def test_what_does_not_converge_is_said(network):
    X, y, module = network
    with pytest.warns(ConvergenceWarning):
        explain(module, X, y, solver="cg", max_iter=1).score_influence(X[:3], y[:3])


@pytest.mark.parametrize("kind", ["tensor", "dataset", "loader", "frame"])
def test_rows_of_any_kind(one_layer, kind):
    X, y, module = one_layer
    expected = explain(module, X, y).score_influence(X[:3], y[:3])
    pair = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    loader = torch.utils.data.DataLoader(pair, batch_size=7)
    pandas = import_optional("pandas")
    rows = {
        "tensor": (torch.as_tensor(X), torch.as_tensor(y)),
        "dataset": (pair, None),
        "loader": (loader, None),
        "frame": (pandas.DataFrame(X, columns=list("abcd")), y),
    }[kind]
    explainer = explain(module, *rows)
    if kind in ("dataset", "loader"):
        queries = (torch.utils.data.Subset(pair, range(3)), None)
    else:
        queries = tuple(part[:3] for part in rows)
    assert_allclose(explainer.score_influence(*queries), expected, rtol=1e-10)
    retrain = lambda kept: softmax(X[kept], y[kept])  # noqa: E731
    assert explainer.validate(retrain=retrain, n_refits=3, random_state=0).pearson > 0.9


# -- rows and queries that are no numbers ---------------------------------------------------------


def test_a_row_that_is_nan_is_named_wherever_it_stands(network):
    X, y, module = network
    many = np.tile(X, (20, 1))
    many[500, 1] = np.nan
    with pytest.raises(ValueError, match="X holds NaN or infinity at row 500"):
        explain(module, many, np.tile(y, 20))


@pytest.mark.parametrize("options", [{}, {"solver": "cg"}, {"method": "newton"}])
@pytest.mark.parametrize("target", ["loss", "proba"])
def test_a_query_that_is_nan_is_named(network, options, target):
    X, y, module = network
    explainer = explain(module, X, y, target=target, **options)
    Z = X[:5].copy()
    Z[3, 0] = np.nan
    with pytest.raises(ValueError, match="X holds NaN or infinity at row 3"):
        explainer.score_influence(Z, y[:5])


def test_embeddings_and_replacements_of_nan_are_refused(network):
    X, y, module = network
    explainer = explain(module, X, y)
    Z = np.full_like(X[:1], np.nan)
    with pytest.raises(ValueError, match="at row 0"):
        explainer.transform(Z)
    with pytest.raises(ValueError, match="at row 0"):
        explainer.score_replacement(Z, y[:1], rows=[2], queries=(X[:2], y[:2]))


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_a_row_that_holds_all_the_weight_is_refused(network, method):
    X, y, module = network
    with pytest.raises(ValueError, match="Row 0 alone carries weight"):
        explain(module, X[:1], y[:1], method=method)
    weights = np.zeros(len(y))
    weights[7] = 2.0
    with pytest.raises(ValueError, match="Row 7 alone carries weight"):
        InfluenceExplainer(module, loss="cross_entropy", method=method).fit(X, y, weights)


# -- threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [{"curvature": "fisher"}, {"curvature": "hessian", "damping": 1.0}, {"method": "newton"}],
    ids=["fisher", "hessian", "newton"],
)
def test_threads_that_ask_at_once_get_the_same(network, options):
    X, y, module = network
    explainer = explain(module, X, y, solver="cg", tol=1e-8, **options)
    parts = [slice(start, start + 2) for start in range(0, 8, 2)] * 3
    expected = [explainer.score_influence(X[part], y[part]) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda part: explainer.score_influence(X[part], y[part]), parts))
    assert_array_equal(np.array(found), np.array(expected))


def test_a_stream_is_refused(network):
    _, _, module = network

    class Stream(torch.utils.data.IterableDataset):
        def __iter__(self):
            return iter(())

    with pytest.raises(ValueError, match="Stream has no positions"):
        explain(module, Stream(), None)

"""Representer values of networks, as RepresenterExplainer gives them."""

from __future__ import annotations

import copy
import pickle
import warnings

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import expit, softmax
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import RepresenterExplainer, polish
from skinfluence.exceptions import NotStationaryWarning
from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from tests.test_torch.influence_cases import classes, mlp, regression  # noqa: E402


def quietly(fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence, and skorch's and torch's own
        return fit()


def convolutions(k=3):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(12, k),
    ).double()
    module(torch.randn(50, 1, 4, 4, dtype=torch.float64))  # running statistics
    return module.eval()


def images(n=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 1, 4, 4)), rng.integers(0, 3, n)


def parts(module, X):
    """Features and outputs of a sequence of modules."""
    with torch.no_grad():
        features = copy.deepcopy(module).eval()[:-1](torch.as_tensor(X))
        return features.numpy(), module[-1](features).numpy()


def explained(module, X, y=None, w=None, **options):
    options = {"loss": "cross_entropy", **options}
    return RepresenterExplainer(module, **options).fit(X, y, w)


# -- the values are what they are said to be ------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "link"),
    [
        ("cross_entropy", lambda f: softmax(f, axis=1)),
        ("binary_cross_entropy", expit),
        ("squared_error", lambda f: f),
    ],
)
def test_values_of_a_pretrained_network(loss, link):
    module, (X, _) = convolutions(), images()
    F, phi0 = parts(module, X)
    explainer = explained(module, X, loss=loss, l2=0.1)
    alpha = explainer.alpha_
    Fz, _ = parts(module, X[:7] + 0.1)
    scores = explainer.score_influence(X[:7] + 0.1, target_class=1)
    assert_allclose(scores, alpha[:, 1] * (Fz @ F.T), rtol=1e-10, atol=1e-12)
    # Equation 4 of Yeh et al.: the alphas are what is left between the two activations.
    phi = F @ (F.T @ alpha) + explainer.intercept_
    assert_allclose(alpha, (link(phi0) - link(phi)) / 0.1, rtol=1e-8, atol=1e-8)
    assert explainer.mode_ == "pretrained" and explainer.l2_ == 0.1
    assert explainer.stationarity_[1] < 1e-10


def test_the_ladder_reproduces_the_outputs():
    module, (X, _) = convolutions(), images(200)
    explainer = explained(module, X)
    found = explainer.reconstruction_
    assert found.pearson > 0.999 and found.decomposition_error < 1e-8
    phi = parts(module, X)[1]
    sums = np.stack(
        [explainer.score_influence(X, target_class=k).sum(1) for k in range(3)], axis=1
    )
    sums += explainer.intercept_
    centred = [f - f.mean(1, keepdims=True) for f in (sums, phi)]
    assert np.corrcoef(*map(np.ravel, centred))[0, 1] > 0.999
    assert found.worst_error == pytest.approx(np.abs(centred[0] - centred[1]).max(), rel=1e-6)


def with_head(module, model):
    """The module with the coefficients of a linear model as its last layer."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        module[-1].weight.copy_(torch.as_tensor(np.atleast_2d(model.coef_)))
        module[-1].bias.copy_(torch.as_tensor(np.atleast_1d(model.intercept_)))
    return module


def linear_model(loss, F, y, l2, w=None):
    if loss == "squared_error":  # no half
        return polish(Ridge(alpha=l2 / 2).fit(F, y, w), F, y, w)
    return polish(LogisticRegression(C=1 / l2, max_iter=1000).fit(F, y, w), F, y, w)


@pytest.mark.parametrize(
    ("loss", "k"),
    [
        ("cross_entropy", 3),
        ("binary_cross_entropy", 1),
        ("squared_error", 2),
        ("squared_error", 1),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_values_of_a_trained_last_layer_are_those_of_the_linear_model(loss, k, weighted):
    module, (X, y) = convolutions(k), images()
    rng = np.random.default_rng(1)
    w = rng.integers(1, 4, len(X)).astype(float) if weighted else None
    if loss == "squared_error":
        y = rng.normal(size=(len(X), k))[:, 0 if k == 1 else slice(None)]
    elif k == 1:
        y = (y > 0).astype(float)
    F, _ = parts(module, X)
    Fz, _ = parts(module, X[:5] - 0.2)
    model = linear_model(loss, F, y, 0.7, w)
    module = with_head(module, model)
    found = explained(module, X, y, w, loss=loss, l2=0.7, mode="trained")
    truth = RepresenterExplainer(model).fit(F, y, w)
    assert_allclose(truth.l2_, 0.7, rtol=1e-12)
    asked = {"target_class": 1} if k > 1 else {}
    assert_allclose(found.alpha_, truth.alpha_, rtol=1e-8, atol=1e-10)
    assert_allclose(
        found.score_influence(X[:5] - 0.2, **asked),
        truth.score_influence(Fz, **asked),
        rtol=1e-8,
        atol=1e-9,
    )
    assert found.reconstruction_.decomposition_error < 1e-10
    if loss != "squared_error":
        assert_array_equal(found.rank_outliers(10), truth.rank_outliers(10))
        assert_allclose(found.self_influence(), truth.self_influence(), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("loss", "k"), [("cross_entropy", 3), ("squared_error", 2)])
def test_values_of_a_pretrained_network_are_those_of_the_linear_model(loss, k):
    module, (X, y) = convolutions(k), images()
    F, _ = parts(module, X)
    y = y if k == 3 else np.random.default_rng(1).normal(size=(60, 2))
    model = linear_model(loss, F, y, 0.7)
    module = with_head(module, model)
    found = explained(module, X, loss=loss, l2=0.01)
    truth = RepresenterExplainer(model, mode="pretrained", l2=0.01).fit(F)
    assert_allclose(found.alpha_, truth.alpha_, rtol=1e-10, atol=1e-12)


def test_a_relu_behind_the_last_layer_is_reproduced():
    module, (X, _) = convolutions(), images()
    module.append(nn.ReLU())
    explainer = RepresenterExplainer(module, l2=1e-5).fit(X)
    found = np.stack([explainer.score_influence(X, target_class=k).sum(1) for k in range(3)], 1)
    outputs = module(torch.as_tensor(X)).detach().numpy()
    assert_allclose(np.maximum(found + explainer.intercept_, 0), outputs, atol=1e-3)


def test_one_row_explains_nothing_and_rows_without_weight_explain_none():
    module, (X, y) = convolutions(), images()
    assert_array_equal(explained(module, X[:1]).score_influence(X[:2]), np.zeros((2, 1)))
    assert explained(module, X[:2]).score_influence(X[:1]).shape == (1, 2)
    w = np.ones(60)
    w[:5] = 0.0
    assert_array_equal(explained(module, X, y, w).score_influence(X[:3])[:, :5], np.zeros((3, 5)))


def test_the_class_is_asked_for_the_label_or_the_predicted_one():
    module, (X, y) = convolutions(), images()
    explainer = explained(module, X)
    columns = [explainer.score_influence(X[:9], target_class=k) for k in range(3)]
    predicted = parts(module, X[:9])[1].argmax(1)
    one_each = np.stack([columns[k][z] for z, k in enumerate(predicted)])
    assert_allclose(explainer.score_influence(X[:9]), one_each, rtol=1e-12)
    by_label = np.stack([columns[k][z] for z, k in enumerate(y[:9])])
    for labels in (y[:9], torch.as_tensor(y[:9])):
        assert_allclose(explainer.score_influence(X[:9], labels), by_label, rtol=1e-12)
    given = TensorDataset(torch.as_tensor(X[:9]), torch.as_tensor(y[:9]))
    assert_allclose(explainer.score_influence(given), by_label, rtol=1e-12)
    with pytest.raises(ValueError, match="y holds 5"):
        explainer.score_influence(X[:9], np.full(9, 5))


def test_rows_that_the_loss_skips_have_the_predicted_class():
    module, (X, y) = convolutions(), images()
    y = np.where(np.arange(60) < 5, -100, y)
    explainer = explained(module, X, y, loss=nn.CrossEntropyLoss())
    predicted = parts(module, X[:5])[1].argmax(1)
    own = explainer.score_influence(X[:5], target_class=predicted)[np.arange(5), np.arange(5)]
    assert_allclose(explainer.self_influence()[:5], own, rtol=1e-9)


def test_a_layer_without_bias():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3, bias=False)).double()
    X, _ = classes(n=50)
    explainer = explained(module, X, loss="mse", l2=1e-8)
    assert_array_equal(explainer.intercept_, np.zeros(3))
    sums = explainer.score_influence(X, target_class=2).sum(1)
    assert_allclose(sums, parts(module, X)[1][:, 2], atol=1e-6)


def test_one_logit_speaks_for_two_classes():
    module, (X, _) = convolutions(1), images()
    explainer = explained(module, X, loss="binary_cross_entropy")
    second = explainer.score_influence(X[:4], target_class=1)
    assert_allclose(explainer.score_influence(X[:4], target_class=0), -second, rtol=1e-12)
    sums = second.sum(1) + explainer.intercept_[0]
    assert np.corrcoef(sums, parts(module, X[:4])[1][:, 0])[0, 1] > 0.99
    assert_array_equal(explainer.classes_, [0, 1])


@pytest.mark.parametrize("hidden", [nn.ReLU(), nn.Tanh(), nn.Sigmoid()])
def test_units_of_hidden_layers(hidden):
    X, _ = classes(n=100)
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), hidden, nn.Linear(6, 3))
    module.double()
    explainer = RepresenterExplainer(module, layer="2", l2=1e-6).fit(X)
    with torch.no_grad():
        F = module[:2](torch.as_tensor(X))
        phi = module[2](F).numpy()
    found = np.stack(
        [explainer.score_influence(X, target_class=k).sum(1) for k in range(6)], axis=1
    )
    found += explainer.intercept_
    activated = [hidden(torch.as_tensor(f)).numpy() for f in (found, phi)]
    assert_allclose(*activated, atol=1e-3)
    assert explainer.reconstruction_.decomposition_error < 1e-6
    with pytest.raises(ValueError, match="The model has 6 outputs"):
        explainer.score_influence(X)
    with pytest.raises(ValueError, match="mode='trained' fits a layer to y"):
        explained(module, X, np.zeros(100, int), layer="2", mode="trained", l2=1.0)


# -- derivatives ----------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [8, 60])  # fewer rows than features, and more
def test_sensitivities_add_up_to_the_derivative_of_the_output(n):
    module, (X, _) = convolutions(), images(n)
    explainer = explained(module, X, l2=0.01)
    Z, asked = X[:4] + 0.1, np.array([0, 2, 1, 2])
    slopes = explainer.sensitivity(Z, target_class=asked)
    assert slopes.shape == (4, n, 1, 4, 4)
    x = torch.as_tensor(Z).requires_grad_()
    coef = torch.as_tensor(parts(module, X)[0].T @ explainer.alpha_)
    (module[:-1](x) @ coef).gather(1, torch.as_tensor(asked)[:, None]).sum().backward()
    assert_allclose(slopes.sum(1), x.grad.numpy(), rtol=1e-9, atol=1e-11)
    some = explainer.sensitivity(Z, target_class=asked, rows=[5, 2])
    assert_allclose(some, slopes[:, [5, 2]], rtol=1e-9, atol=1e-12)
    step = np.zeros_like(Z)
    step[:, 0, 1, 2] = 1e-6
    up, down = (explainer.score_influence(Z + s * step, target_class=asked) for s in (1, -1))
    assert_allclose(slopes[:, :, 0, 1, 2], (up - down) / 2e-6, rtol=1e-5, atol=1e-8)


def test_sensitivity_in_an_input_that_has_a_name():
    X, y = classes(n=30)

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = mlp()

        def forward(self, *, rows):
            return self.inner(rows)

    truth = explained(mlp(), X, y, l2=0.1).sensitivity(X[:3])
    found = explained(Named(), {"rows": X}, y, l2=0.1).sensitivity({"rows": X[:3]})
    assert_allclose(found, truth, rtol=1e-9, atol=1e-12)


def test_sensitivities_of_datasets_that_do_not_fit_are_refused():
    X, y = images(20)
    rows = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    explainer = explained(convolutions(), rows)
    # 5 queries of 20 rows of 16 numbers are 12,800 bytes.
    with sklearn.config_context(working_memory=0.01):
        with pytest.raises(ValueError, match="Pass rows="):
            explainer.sensitivity(X[:5])
        assert explainer.sensitivity(X[:5], rows=[1]).shape == (5, 1, 1, 4, 4)


def test_sensitivity_is_averaged_over_seeded_noise():
    module, (X, y) = convolutions(), images(20)
    explainer = explained(module, X, y)

    def ask(**how):
        return explainer.sensitivity(X[:3], y[:3], rows=[0, 1], **how)

    smooth = ask(n_samples=3, noise=0.2, random_state=7)
    assert_array_equal(smooth, ask(n_samples=3, noise=0.2, random_state=7))
    assert np.abs(smooth - ask(n_samples=3, noise=0.2, random_state=8)).max() > 1e-6
    assert_allclose(ask(n_samples=3, noise=0.0), ask(), rtol=1e-12)


# -- models and rows of any kind ------------------------------------------------------------------


def test_blocks_do_not_matter():
    module, (X, y) = convolutions(), images()
    whole = explained(module, X, y, l2=0.1)
    with sklearn.config_context(working_memory=1e-2):
        blocks = explained(module, X, y, l2=0.1)
        scores = blocks.score_influence(X[:9])
    assert_allclose(blocks.alpha_, whole.alpha_, rtol=1e-9, atol=1e-12)
    assert_allclose(scores, whole.score_influence(X[:9]), rtol=1e-9, atol=1e-12)


def test_weights_are_repetitions_and_order_does_not_matter():
    module, (X, y) = convolutions(), images()
    w = np.random.default_rng(0).integers(0, 3, len(X))
    weighted = explained(module, X, y, w, l2=0.1).score_influence(X[:5])
    at = np.repeat(np.arange(len(X)), w)
    repeated = explained(module, X[at], y[at], l2=0.1).score_influence(X[:5])
    summed = np.stack([repeated[:, at == i].sum(1) for i in range(len(X))], axis=1)
    assert_allclose(weighted, summed, rtol=1e-8, atol=1e-10)
    order = np.random.default_rng(1).permutation(len(X))
    permuted = explained(module, X[order], y[order], w[order], l2=0.1).score_influence(X[:5])
    assert_allclose(permuted, weighted[:, order], rtol=1e-8, atol=1e-10)


def test_the_module_stays_as_it_is():
    module, (X, y) = convolutions().train(), images()
    before = copy.deepcopy(module.state_dict())
    explained(module, X, y).sensitivity(X[:2], rows=[0])
    assert module.training and all(p.grad is None for p in module.parameters())
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def test_training_rows_may_come_in_any_form():
    pandas = import_optional("pandas")
    X, y = classes(n=40)
    truth = explained(mlp(), X, y, l2=0.1)
    scores = truth.score_influence(X[:5])
    data = TensorDataset(torch.as_tensor(X), torch.as_tensor(y))
    for rows, target in [
        (torch.as_tensor(X), torch.as_tensor(y)),
        (data, None),
        (DataLoader(data, batch_size=7), None),
        (pandas.DataFrame(X, columns=list("abcd")), y),
    ]:
        found = explained(mlp(), rows, target, l2=0.1)
        asked = rows.iloc[:5] if hasattr(rows, "iloc") else X[:5]
        assert_allclose(found.score_influence(asked), scores, rtol=1e-9, atol=1e-12)
        assert_allclose(found.self_influence(), truth.self_influence(), rtol=1e-9, atol=1e-12)


def test_modules_of_two_inputs_and_of_words():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.words, self.out = nn.Embedding(5, 3), nn.Linear(5, 2)

        def forward(self, x, words):
            return self.out(torch.cat([x, self.words(words).mean(1)], 1).tanh())

    torch.manual_seed(0)
    module, rng = Two(), np.random.default_rng(0)
    x, words = rng.normal(size=(30, 2)).astype(np.float32), rng.integers(0, 5, (30, 4))
    placed = explained(module, (x, words), l2=0.1)
    named = explained(module, {"x": x, "words": words}, l2=0.1)
    scores = placed.score_influence((x[:3], words[:3]), target_class=0)
    assert scores.shape == (3, 30)
    again = named.score_influence({"x": x[:3], "words": words[:3]}, target_class=0)
    assert_allclose(again, scores, rtol=1e-9)
    with pytest.raises(ValueError, match="has 2 inputs, and sensitivity"):
        placed.sensitivity((x[:3], words[:3]))
    alone = nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="have no derivative"):
        explained(alone, words).sensitivity(words[:2])


def test_wrapped_modules_are_the_modules_inside():
    X, y = classes(n=40)
    scores = explained(mlp(), X, y).score_influence(X[:5])
    for wrapped in (nn.DataParallel(mlp()), torch.compile(mlp())):
        assert_allclose(explained(wrapped, X, y).score_influence(X[:5]), scores, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_coarse_weights_are_computed_with_in_single_precision(dtype):
    X, y = classes(n=40)
    module = mlp().to(dtype)
    truth = explained(copy.deepcopy(module).double(), X, y, l2=0.1)
    found = explained(module, X, y, l2=0.1)
    assert found.alpha_.dtype == np.float64
    assert_allclose(found.alpha_, truth.alpha_, rtol=1e-3, atol=1e-3 * np.abs(truth.alpha_).max())
    assert found.reconstruction_.decomposition_error < 1e-10


def test_explainers_are_pickled():
    X, y = classes(n=40)
    for explainer in (explained(mlp(), X, y), explained(mlp(), X, y, loss=nn.CrossEntropyLoss())):
        again = pickle.loads(pickle.dumps(explainer))
        assert_array_equal(again.score_influence(X[:5]), explainer.score_influence(X[:5]))
        assert_array_equal(again.sensitivity(X[:5]), explainer.sensitivity(X[:5]))


# -- estimators -----------------------------------------------------------------------------------


def test_an_mlp_classifier():
    X, y = classes(n=60)
    labels = np.array(list("abc"))[y]
    model = quietly(
        lambda: MLPClassifier(hidden_layer_sizes=(5,), max_iter=300, random_state=0).fit(X, labels)
    )
    explainer = RepresenterExplainer(model).fit(X)
    assert explainer.reconstruction_.activated_pearson > 0.999
    assert_array_equal(explainer.classes_, list("abc"))
    column = explainer.score_influence(X[:6], target_class="b")
    assert_allclose(explainer.score_influence(X[:6], ["b"] * 6), column, rtol=1e-12)
    p = model.predict_proba(X)
    found = np.stack([explainer.score_influence(X, target_class=c).sum(1) for c in "abc"], axis=1)
    assert_allclose(softmax(found + explainer.intercept_, axis=1), p, atol=0.05)
    known = RepresenterExplainer(model).fit(X, labels)
    assert_allclose(known.alpha_, explainer.alpha_, rtol=1e-9)
    assert known.self_influence().shape == (60,)
    scaled = make_pipeline(StandardScaler(), model)
    quietly(lambda: scaled.fit(X, labels))
    assert RepresenterExplainer(scaled).fit(X, labels).score_influence(X[:2]).shape == (2, 60)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_a_trained_mlp_has_a_penalty_of_its_own(hidden):
    X, y = regression(n=60)
    model = MLPRegressor(
        hidden_layer_sizes=hidden,
        solver="lbfgs",
        alpha=0.5,
        tol=1e-12,
        max_iter=5000,
        max_fun=50_000,
        activation="tanh",
        random_state=0,
    )
    quietly(lambda: model.fit(X, y))
    explainer = RepresenterExplainer(model, mode="trained").fit(X, y)
    assert explainer.l2_ == pytest.approx(0.5)
    # At the minimum alpha is the residual over l2.
    assert_allclose(
        explainer.alpha_[:, 0], (y - model.predict(X)) / 0.5, atol=1e-3 * np.abs(y).max()
    )
    values = explainer.score_influence(X[:9]).sum(1) + explainer.intercept_[0]
    assert_allclose(values, model.predict(X[:9]), atol=1e-3)


def test_mlps_of_several_labels_and_outputs():
    X, y = classes(n=60)
    options = {"hidden_layer_sizes": (5,), "max_iter": 50, "random_state": 0}
    many = quietly(lambda: MLPClassifier(**options).fit(X, np.eye(3)[y].astype(int)))
    explainer = RepresenterExplainer(many).fit(X, np.eye(3)[y].astype(int))
    assert explainer.score_influence(X[:3], target_class=2).shape == (3, 60)
    assert not hasattr(explainer, "classes_")
    with pytest.raises(ValueError, match="The model has 3 outputs"):
        explainer.score_influence(X[:3])
    two = quietly(lambda: MLPClassifier(**options).fit(X, y > 0))
    explainer = RepresenterExplainer(two).fit(X, y > 0)
    true = explainer.score_influence(X[:3], target_class=True)
    assert_allclose(explainer.score_influence(X[:3], target_class=False), -true)
    several = quietly(lambda: MLPRegressor(**options).fit(X, X[:, :2]))
    explainer = RepresenterExplainer(several, output=1).fit(X, X[:, :2])
    assert explainer.score_influence(X[:3]).shape == (3, 60)
    assert explainer.self_influence().shape == (60,)


def net(kind, X, y, **options):
    skorch = import_optional("skorch")
    torch.manual_seed(0)
    last = {"NeuralNetClassifier": [nn.Linear(5, 3), nn.Softmax(1)]}.get(kind, [nn.Linear(5, 1)])
    found = getattr(skorch, kind)(
        nn.Sequential(nn.Linear(4, 5), nn.Tanh(), *last),
        verbose=0,
        **{"train_split": None, "lr": 0.1, "max_epochs": 20, **options},
    )
    return quietly(lambda: found.fit(X.astype(np.float32), y))


def test_nets_of_skorch():
    X, y = classes(n=80)
    model = net("NeuralNetClassifier", X, y)
    explainer = RepresenterExplainer(model).fit(X, y)
    assert explainer.reconstruction_.pearson > 0.999
    found = np.stack([explainer.score_influence(X, target_class=k).sum(1) for k in range(3)], 1)
    p = softmax(found + explainer.intercept_, axis=1)
    assert_allclose(p, model.predict_proba(X.astype(np.float32)), atol=0.05)
    model = net("NeuralNetBinaryClassifier", X, (y > 0).astype(np.float32))
    explainer = RepresenterExplainer(model).fit(X)
    assert_array_equal(explainer.classes_, [0, 1])
    X, y = regression(n=80)
    model = net("NeuralNetRegressor", X, y.astype(np.float32)[:, None])
    explainer = RepresenterExplainer(model, l2=1e-4).fit(X)
    values = explainer.score_influence(X).sum(1) + explainer.intercept_[0]
    assert_allclose(values, model.predict(X.astype(np.float32))[:, 0], atol=1e-3)


def test_columns_of_a_frame_are_inputs_of_a_net():
    pandas, skorch = import_optional("pandas"), import_optional("skorch")
    X, y = classes(n=40)
    frame = pandas.DataFrame(X.astype(np.float32), columns=list("abcd"))

    class Columns(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(4, 3)

        def forward(self, a, b, c, d):
            return self.out(torch.cat([a, b, c, d], 1).tanh())

    torch.manual_seed(0)
    model = skorch.NeuralNetClassifier(
        Columns, criterion=nn.CrossEntropyLoss, max_epochs=2, verbose=0, train_split=None
    )
    quietly(lambda: model.fit(frame, y))
    explainer = RepresenterExplainer(model).fit(frame, y)
    F = np.tanh(X.astype(np.float32)).astype(float)
    scores = explainer.score_influence(frame[:3], target_class=1)
    assert_allclose(scores, explainer.alpha_[:, 1] * (F[:3] @ F.T), rtol=1e-5, atol=1e-7)


def test_rows_that_a_net_held_out_have_no_values():
    X, y = classes(n=80)
    skorch = import_optional("skorch")
    split = skorch.dataset.ValidSplit(4, stratified=False)
    model = net("NeuralNetClassifier", X, y, train_split=split)
    explainer = RepresenterExplainer(model).fit(X, y)
    _, report = explainer.score_influence(X[:2], return_report=True)
    assert report["n_held_out"] == 20 and report["layer"] == "2"
    assert (np.abs(explainer.alpha_).max(1) == 0).sum() == 20


def test_a_net_that_was_trained_with_weight_decay():
    X, y = classes(n=60)
    model = net(
        "NeuralNetClassifier",
        X,
        y,
        optimizer__weight_decay=0.05,
        batch_size=-1,
        max_epochs=400,
        lr=1.0,
    )
    explainer = RepresenterExplainer(model, mode="trained").fit(X, y)
    assert explainer.l2_ == pytest.approx(60 * 0.05)
    assert explainer.stationarity_[0] < 1e-2
    # The bias is penalised as the weights are, so that values add up without a rest.
    assert_array_equal(explainer.intercept_, np.zeros(3))
    scores = np.stack([explainer.score_influence(X, target_class=k).sum(1) for k in range(3)], 1)
    p = model.predict_proba(X.astype(np.float32))
    assert_allclose(softmax(scores, axis=1), p, atol=0.01)


# -- what is refused ------------------------------------------------------------------------------


def test_what_has_no_penalty_or_no_labels_is_refused():
    X, y = classes(n=30)
    with pytest.raises(ValueError, match="no penalty on its last layer that is known"):
        explained(mlp(), X, y, mode="trained")
    with pytest.raises(ValueError, match="requires y to be passed"):
        explained(mlp(), X, mode="trained", l2=1.0)
    with pytest.raises(ValueError, match="does not say what they are"):
        RepresenterExplainer(mlp()).fit(X)
    with pytest.raises(ValueError, match="X is None, and representer values are of queries"):
        explained(mlp(), X).score_influence(None)
    model = quietly(lambda: MLPClassifier(hidden_layer_sizes=(3,), max_iter=3).fit(X, y))
    with pytest.raises(ValueError, match="brings its own"):
        explained(model, X)


def test_a_layer_that_is_far_from_its_minimum_is_said_to_be():
    X, y = classes(n=30)
    with pytest.warns(
        NotStationaryWarning, match="fitted to the labels with l2=.* gives other outputs"
    ):
        explained(mlp(), X, y, mode="trained", l2=1.0)


@pytest.mark.parametrize("seed", [3, 26, 36])
def test_units_that_are_off_for_all_rows_do_not_stop_the_refit_of_the_others(seed):
    torch.manual_seed(seed)
    inputs = load_digits().data[:1000].astype(np.float32) / 16
    net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
    explainer = RepresenterExplainer(net, loss="cross_entropy", layer="0").fit(inputs)
    assert (explainer.alpha_ == 0).all(axis=0).any()
    assert explainer.stationarity_[1] < 1e-8
    assert explainer.reconstruction_.decomposition_error < 1e-8

"""Models as features and a linear layer, and what that layer minimised."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.neural_network import MLPClassifier, MLPRegressor

from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skinfluence.torch.representers.features import features_of  # noqa: E402
from skinfluence.torch.representers.problems import own_penalty, trained_problem  # noqa: E402
from skinfluence.torch.representers.reading import split_pretrained, split_trained  # noqa: E402
from tests.test_torch.influence_cases import classes, mlp, regression  # noqa: E402


def pretrained(model, X, y=None, w=None, layer=None, loss=None):
    return split_pretrained(model, X, y, w, layer=layer, loss=loss)


def trained(model, X, y, w=None, layer=None, loss=None):
    return split_trained(model, X, y, w, layer=layer, loss=loss)


def quietly(fit):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # convergence, and skorch's and torch's own
        return fit()


def behind(head, k=3):
    return nn.Sequential(*mlp(k=k), head)


# -- what is reproduced ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "loss", "link"),
    [
        (mlp(), "cross_entropy", "softmax"),
        (mlp(), nn.CrossEntropyLoss(label_smoothing=0.1), "softmax"),
        (mlp(), "binary_cross_entropy", "sigmoid"),
        (mlp(), nn.BCEWithLogitsLoss(), "sigmoid"),
        (mlp(), nn.MSELoss(), "squared"),
        (mlp(), lambda outputs, y: outputs.square().sum(1), "squared"),
        (behind(nn.Softmax(1)), None, "softmax"),
        (behind(nn.LogSoftmax(1)), None, "softmax"),
        (behind(nn.LogSoftmax(1)), nn.NLLLoss(), "softmax"),
        (behind(nn.Sigmoid(), k=1), None, "sigmoid"),
        (behind(nn.Sigmoid(), k=1), nn.BCELoss(), "sigmoid"),
    ],
)
def test_the_loss_or_the_head_says_what_outputs_are(module, loss, link):
    X, _ = classes(n=20)
    split = pretrained(module, X, loss=loss)
    assert split.activation == link and split.layer.name == "2"
    assert split.own_classes() is None  # there is no y


@pytest.mark.parametrize(
    ("hidden", "link"), [(nn.ReLU(), "relu"), (nn.Sigmoid(), "sigmoid"), (nn.Tanh(), "squared")]
)
def test_hidden_layers_need_no_loss(hidden, link):
    module = nn.Sequential(nn.Linear(4, 6), hidden, nn.Linear(6, 3)).double()
    X, y = classes(n=20)
    for target in (None, y):
        split = pretrained(module, X, target, layer="0")
        assert split.activation == link and split.layer.hidden and split.own_classes() is None


def test_modules_whose_outputs_say_nothing_need_a_loss():
    with pytest.raises(ValueError, match=r"does not say what they are\. Pass loss="):
        pretrained(mlp(), classes()[0])


def test_weights_are_those_of_rows():
    X, y = classes(n=20)
    w = np.arange(20.0)
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64))
    split = pretrained(mlp(), X, y, w, loss=loss)
    assert_array_equal(split.objective.weights, w)
    assert_array_equal(split.own_classes(), y)
    split = trained(mlp(), X, y, w, loss=loss)
    assert_array_equal(split.objective.weights, w * np.array([1.0, 5.0, 9.0])[y])


@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
def test_mlps_know_their_outputs(activation):
    options = {"hidden_layer_sizes": (5,), "activation": activation, "max_iter": 5}
    X, y = classes(n=40)
    labels = np.array(list("abc"))[y]
    model = quietly(lambda: MLPClassifier(**options, early_stopping=True).fit(X, labels))
    split = pretrained(model, X, labels)
    assert (split.activation, split.layer.name) == ("softmax", "output")
    assert_array_equal(split.own_classes(), y)
    layer = split.layer
    phi = features_of(split.objective.network, layer.module, split.objective.rows) @ layer.coef()
    p = np.exp(phi + layer.intercept())
    assert_allclose(p / p.sum(1, keepdims=True), model.predict_proba(X), rtol=1e-10)
    hidden = pretrained(model, X, layer="hidden_0")
    assert (
        hidden.activation == {"relu": "relu", "tanh": "squared", "logistic": "sigmoid"}[activation]
    )
    two = quietly(lambda: MLPClassifier(**options).fit(X, y > 0))
    assert pretrained(two, X).activation == "sigmoid"
    assert_array_equal(pretrained(two, X, y > 0).own_classes(), y > 0)
    many = quietly(lambda: MLPClassifier(**options).fit(X, np.eye(3)[y].astype(int)))
    assert pretrained(many, X).activation == "sigmoid"
    several = quietly(
        lambda: MLPRegressor(**options, solver="lbfgs").fit(X, np.column_stack([X[:, 0], y]))
    )
    assert pretrained(several, X).activation == "squared"
    with pytest.raises(ValueError, match="brings its own"):
        pretrained(two, X, loss="cross_entropy")


# -- what the last layer minimised ----------------------------------------------------------------


def own_value(split):
    """The sum of weighted losses of the last layer's problem, at its own parameters."""
    problem = trained_problem(split.objective, split.layer, 1.0)
    features = features_of(split.objective.network, split.layer.module, split.objective.rows)
    eta = features @ problem.coef + (0 if problem.intercept is None else problem.intercept)
    return problem.weights @ problem.loss.value(eta, problem.y)


def soft(k=3, n=60):
    q = np.random.default_rng(1).dirichlet(np.ones(k), n)
    q[0] = np.eye(k)[0]
    return q


@pytest.mark.parametrize(
    ("loss", "y"),
    [
        ("cross_entropy", classes()[1]),
        ("cross_entropy", soft()),
        (nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]).double()), classes()[1]),
        (nn.CrossEntropyLoss(ignore_index=1), classes()[1]),
        (nn.CrossEntropyLoss(label_smoothing=0.2), classes()[1]),
        ("binary_cross_entropy", np.eye(3)[classes()[1]]),
        ("binary_cross_entropy", soft()),
        (nn.BCEWithLogitsLoss(), soft()),
        (nn.BCEWithLogitsLoss(reduction="sum"), soft()),
        ("squared_error", soft()),
        ("half_squared_error", soft()),
        (nn.MSELoss(), soft()),
        (nn.MSELoss(reduction="sum"), soft()),
    ],
)
def test_the_problem_is_the_networks_own(loss, y):
    split = trained(mlp(), classes()[0], y, loss=loss)
    objective = split.objective
    truth = float(objective.weights @ objective.losses(objective.rows))
    assert_allclose(own_value(split), truth, rtol=1e-10)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", nn.BCELoss(), "mse"])
@pytest.mark.parametrize("y", [(classes()[1] > 0) * 1.0, soft(2)[:, 0]])
def test_the_problem_of_one_output_is_the_networks_own(loss, y):
    module = behind(nn.Sigmoid(), k=1) if isinstance(loss, nn.BCELoss) else mlp(k=1)
    split = trained(module, classes()[0], y, loss=loss)
    objective = split.objective
    truth = float(objective.weights @ objective.losses(objective.rows))
    assert_allclose(own_value(split), truth, rtol=1e-8)


@pytest.mark.parametrize("solver", ["lbfgs", "adam"])
def test_the_penalty_of_an_mlp_is_its_alpha(solver):
    X, y = regression(n=60)
    model = MLPRegressor(
        hidden_layer_sizes=(5,), solver=solver, alpha=0.3, batch_size=20, max_iter=5
    )
    split = trained(quietly(lambda: model.fit(X, y)), X, y)
    l2 = 0.3 if solver == "lbfgs" else 0.3 * 60 / 20
    assert_allclose(own_penalty(split.objective, split.layer), (l2, 0.0), rtol=1e-12)


def net(**options):
    skorch = import_optional("skorch")
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3), nn.Softmax(1))
    found = skorch.NeuralNetClassifier(
        module, max_epochs=2, verbose=0, optimizer__weight_decay=0.01, **options
    )
    X, y = classes(n=50)
    X = X.astype(np.float32)
    return quietly(lambda: found.fit(X, y)), X, y


def test_a_net_of_skorch():
    model, X, y = net(train_split=None)
    split = trained(model, X, y)
    assert (split.activation, split.layer.name) == ("softmax", "2")
    # Over the bias too, as the optimiser has it: per row, and in sum units.
    assert_allclose(own_penalty(split.objective, split.layer), (0.5, 0.5), rtol=1e-6)
    truth = -np.log(model.predict_proba(X)[np.arange(50), y]).sum()
    assert_allclose(own_value(split), truth, rtol=1e-4)


def test_rows_that_a_net_held_out_have_no_weight():
    model, X, y = net()
    split = pretrained(model, X, y)
    held_out = split.objective.held_out
    assert held_out.sum() == 10
    assert_array_equal(split.objective.weights, 1.0 * ~held_out)
    with pytest.raises(ValueError, match="stratified by y, and y is missing"):
        pretrained(model, X)


def test_layers_that_training_did_not_fit_are_refused():
    X, y = classes()
    with pytest.raises(ValueError, match="is a hidden one, and mode='trained' fits"):
        trained(mlp(), X, y, layer="0", loss="cross_entropy")
    module = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4)).double()
    module[2].weight = module[0].weight
    clipped = nn.Sequential(*mlp(), nn.ReLU())
    with pytest.raises(UnsupportedEstimatorError, match="A ReLU follows the last layer"):
        trained(clipped, X, np.eye(3)[y], loss="mse")
    assert pretrained(clipped, X).activation == "relu"
    with pytest.raises(ValueError, match=r"shares '0\.weight' with another"):
        trained(module, X, y, loss="cross_entropy")
    assert pretrained(module, X, loss="cross_entropy").layer.name == "2"


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("poisson", soft(), "the loss is Poisson. Use mode='pretrained'"),
        (nn.HuberLoss(), soft(), "the loss is HuberLoss"),
        (
            nn.BCEWithLogitsLoss(pos_weight=torch.tensor(2.0).double()),
            soft(),
            "BCEWithLogitsLoss with weights",
        ),
        ("cross_entropy", 2 * soft(), "targets that are no probabilities"),
        (
            nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 3.0]).double()),
            soft(),
            "with a weight for each class",
        ),
        (lambda outputs, y: (outputs - y).abs().sum(1), soft(), "the loss is function"),
    ],
)
def test_losses_that_no_linear_model_has_are_refused(loss, y, message):
    split = trained(mlp(), classes()[0], y, loss=loss)
    with pytest.raises(UnsupportedEstimatorError, match=message):
        trained_problem(split.objective, split.layer, 1.0)


def test_losses_at_several_positions_are_refused():
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(4, 6)

        def forward(self, x):
            return self.out(x).unflatten(1, (3, 2))

    y = np.zeros((60, 2), dtype=int)
    split = trained(Positions().double(), classes()[0], y, loss=F.cross_entropy)
    with pytest.raises(UnsupportedEstimatorError, match="of several positions of a row"):
        trained_problem(split.objective, split.layer, 1.0)

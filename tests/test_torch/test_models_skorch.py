"""skorch nets: their module, criterion, optimiser and split."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

from tests.conftest import import_optional

torch = import_optional("torch")
skorch = import_optional("skorch")
from skorch.helper import predefined_split  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import TensorDataset  # noqa: E402

from skinfluence.exceptions import UnsupportedEstimatorError  # noqa: E402
from skinfluence.torch.models import read  # noqa: E402

N = 40
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4)).astype("f4")
CLASSES = rng.integers(0, 3, N)
BITS = rng.integers(0, 2, N)
REALS = rng.normal(size=(N, 2)).astype("f4")


class Small(nn.Module):
    def __init__(self, n_outputs=3, last=None):
        super().__init__()
        self.hidden, self.output = nn.Linear(4, 5), nn.Linear(5, n_outputs)
        self.last = last or nn.Identity()

    def forward(self, x):
        return self.last(self.output(torch.tanh(self.hidden(x))))


def net(kind, **options):
    torch.manual_seed(0)
    options = {"max_epochs": 2, "verbose": 0, "train_split": None, "batch_size": -1} | options
    return kind(Small, **options)


# Kind of net: class, its options, y.
NETS = {
    "classifier": (
        skorch.NeuralNetClassifier,
        {"module__last": nn.Softmax(1)},
        CLASSES,
    ),
    "classifier of logits": (
        skorch.NeuralNetClassifier,
        {"criterion": nn.CrossEntropyLoss},
        CLASSES,
    ),
    "class weights": (
        skorch.NeuralNetClassifier,
        {"criterion": nn.CrossEntropyLoss, "criterion__weight": torch.tensor([1.0, 2.0, 0.5])},
        CLASSES,
    ),
    "binary": (skorch.NeuralNetBinaryClassifier, {"module__n_outputs": 1}, BITS.astype("f4")),
    "regressor": (skorch.NeuralNetRegressor, {"module__n_outputs": 2}, REALS),
    "net": (
        skorch.NeuralNet,
        {"criterion": nn.NLLLoss, "module__last": nn.LogSoftmax(1)},
        CLASSES,
    ),
}


@pytest.mark.parametrize("kind", NETS)
def test_the_step_of_the_net_is_the_gradient_of_what_is_read(kind):
    """One step of gradient descent over all rows, from skorch itself."""
    cls, options, y = NETS[kind]
    decay, rate = 0.3, 0.1
    model = net(cls, lr=rate, optimizer__weight_decay=decay, **options).fit(X, y)
    objective = read(model, X, y)
    before = objective.network.theta
    model.partial_fit(X, y, epochs=1)
    after = torch.cat([p.detach().flatten() for p in model.module_.parameters()])
    theta = before.clone().requires_grad_()
    batch = objective.rows.take(slice(0, N))
    f = objective.network.outputs(batch, objective.network.params(theta))
    losses = objective.loss(f, batch.y)
    total = (losses * objective.weights.float()).sum() / objective.total_weight
    (slope,) = torch.autograd.grad(total, theta)
    torch.testing.assert_close(
        (before - after) / rate, slope + objective.decay * before, rtol=2e-3, atol=2e-5
    )
    assert objective.losses(objective.rows).shape == (N,)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.AdamW])
def test_decay_of_other_optimisers(optimizer):
    model = net(
        skorch.NeuralNetClassifier,
        criterion=nn.CrossEntropyLoss,
        optimizer=optimizer,
        optimizer__weight_decay=0.25,
    ).fit(X, CLASSES)
    assert set(read(model, X, CLASSES).decay.tolist()) == {0.25}


def test_decay_by_group_and_none():
    model = net(
        skorch.NeuralNetClassifier,
        criterion=nn.CrossEntropyLoss,
        optimizer__param_groups=[("*.weight", {"weight_decay": 0.5})],
    ).fit(X, CLASSES)
    objective = read(model, X, CLASSES)
    decay = objective.network.split(objective.decay[None])
    assert {name: set(v.flatten().tolist()) for name, v in decay.items()} == {
        "hidden.weight": {0.5},
        "hidden.bias": {0.0},
        "output.weight": {0.5},
        "output.bias": {0.0},
    }
    assert read(model, X, CLASSES, weight_decay=0.0).decay is None
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss).fit(X, CLASSES)
    assert read(model, X, CLASSES).decay is None


@pytest.mark.parametrize(("size", "rows"), [(10, 10), (-1, N), (500, N)])
def test_decay_beside_a_sum_over_the_batch(size, rows):
    model = net(
        skorch.NeuralNetClassifier,
        criterion=nn.CrossEntropyLoss,
        criterion__reduction="sum",
        batch_size=size,
        lr=1e-4,
        optimizer__weight_decay=0.5,
    ).fit(X, CLASSES)
    decay = read(model, X, CLASSES).decay
    torch.testing.assert_close(decay, torch.full_like(decay, 0.5 / rows), rtol=1e-6, atol=0)


def test_decay_beside_a_weighted_sum_over_the_batch():
    share = torch.tensor([1.0, 2.0, 3.0])
    model = net(
        skorch.NeuralNetClassifier,
        criterion=nn.CrossEntropyLoss,
        criterion__reduction="sum",
        criterion__weight=share,
        batch_size=10,
        lr=1e-4,
        optimizer__weight_decay=0.5,
    ).fit(X, CLASSES)
    objective = read(model, X, CLASSES)
    # An epoch has N / 10 steps, and each has the decay once.
    expected = torch.full_like(objective.decay, 0.5 * N / 10)
    torch.testing.assert_close(objective.penalty_curvature(), expected, rtol=1e-6, atol=0)


# -- rows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stratified", [False, True])
def test_rows_that_the_net_held_out_have_weight_zero(stratified):
    split = skorch.dataset.ValidSplit(4, stratified=stratified)
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss, train_split=split)
    model.fit(X, CLASSES)
    weights = read(model, X, CLASSES).weights
    held_out = model.get_split_datasets(X, CLASSES)[1].indices
    assert weights.sum() == N - len(held_out)
    assert not weights[held_out].any()


@pytest.mark.parametrize("stratified", [False, True])
def test_rows_that_the_net_held_out_of_a_subset(stratified):
    from torch.utils.data import Subset

    rows = Subset(skorch.dataset.Dataset(X, CLASSES), range(N - 1, 9, -1))
    y = CLASSES[rows.indices]
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss)
    assert read(model.fit(rows, y), rows).held_out.sum() == 0
    held = skorch.helper.predefined_split(skorch.dataset.Dataset(X[:5], CLASSES[:5]))
    model.set_params(train_split=held)
    assert read(model.fit(rows, y), rows).held_out.sum() == 0
    model.set_params(train_split=skorch.dataset.ValidSplit(3, stratified=stratified))
    found = read(model.fit(rows, y), rows)
    held_out = model.get_split_datasets(rows, y)[1].indices
    assert sorted(held_out) == found.held_out.nonzero()[0].tolist()


def test_a_split_that_cannot_be_repeated():
    split = skorch.dataset.ValidSplit(0.2)
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss, train_split=split)
    model.fit(X, CLASSES)
    with pytest.raises(UnsupportedEstimatorError, match=r"cannot be repeated.*train_split=None"):
        read(model, X, CLASSES)


def test_a_validation_set_of_its_own():
    split = predefined_split(skorch.dataset.Dataset(X[:5], CLASSES[:5]))
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss, train_split=split)
    assert read(model.fit(X, CLASSES), X, CLASSES).total_weight == N


def test_a_dataset():
    data = TensorDataset(torch.tensor(X), torch.tensor(CLASSES))
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss).fit(data, None)
    torch.testing.assert_close(
        read(model, data).rows.take(slice(0, 3)).args[0], torch.tensor(X[:3])
    )


class Doubled(skorch.dataset.Dataset):
    def transform(self, X, y):
        return super().transform(2 * X, y)


def test_a_dataset_class_that_transforms_rows():
    model = net(skorch.NeuralNetClassifier, criterion=nn.CrossEntropyLoss, dataset=Doubled)
    rows = read(model.fit(X, CLASSES), X, CLASSES).rows
    torch.testing.assert_close(rows.take(slice(0, 3)).args[0], torch.tensor(2 * X[:3]))


class ByName(Small):
    def forward(self, left, right):
        return super().forward(torch.cat([left, right], 1))


def test_inputs_by_name():
    torch.manual_seed(0)
    model = skorch.NeuralNetClassifier(
        ByName, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0, train_split=None
    )
    named = {"left": X[:, :2], "right": X[:, 2:]}
    rows = read(model.fit(named, CLASSES), named, CLASSES).rows
    assert list(rows.take(slice(0, 2)).kwargs) == ["left", "right"]


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
def test_the_columns_of_a_frame():
    pandas = import_optional("pandas")
    frame = pandas.DataFrame({"left": X[:, 0], "right": X[:, 1]})

    class TwoColumns(ByName):
        def forward(self, left, right):
            return super().forward(torch.cat([left, left], 1), torch.cat([right, right], 1))

    model = skorch.NeuralNetClassifier(
        TwoColumns, criterion=nn.CrossEntropyLoss, max_epochs=1, verbose=0, train_split=None
    )
    rows = read(model.fit(frame, CLASSES), frame, CLASSES).rows
    assert rows.take(slice(0, 2)).kwargs["left"].shape == (2, 1)


# -- what is refused ------------------------------------------------------------------------------


class OwnLoss(skorch.NeuralNetClassifier):
    def get_loss(self, y_pred, y_true, X=None, training=False):
        return super().get_loss(y_pred, y_true) + 1.0


class OwnInference(skorch.NeuralNetClassifier):
    def infer(self, x, **fit_params):
        return super().infer(x + 1.0)


def fitted(cls=skorch.NeuralNetClassifier, y=CLASSES, **options):
    return net(cls, **({"criterion": nn.CrossEntropyLoss} | options)).fit(X, y)


def test_not_initialised():
    with pytest.raises(NotFittedError, match="is not initialised"):
        read(net(skorch.NeuralNetClassifier), X, CLASSES)


def test_a_net_that_overrides_its_loss():
    model = fitted(OwnLoss)
    with pytest.raises(UnsupportedEstimatorError, match="OwnLoss overrides get_loss"):
        read(model, X, CLASSES)
    assert read(model, X, CLASSES, loss="cross_entropy").decay is None


def test_a_net_that_overrides_its_forward():
    with pytest.raises(UnsupportedEstimatorError, match="OwnInference overrides infer"):
        read(fitted(OwnInference), X, CLASSES)


def test_several_inputs_as_a_tuple():
    with pytest.raises(ValueError, match="X is a tuple, which skorch hands to the module as one"):
        read(fitted(), (X, X), CLASSES)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_logits_whose_logarithm_was_taken():
    model = fitted(criterion=nn.NLLLoss, module__last=nn.Identity())
    with pytest.raises(ValueError, match=r"those of the first row are none\. Use CrossEntropyL"):
        read(model, X, CLASSES)


def test_probabilities_that_do_not_add_up():
    model = fitted(criterion=nn.NLLLoss, module__last=nn.Sigmoid())
    with pytest.raises(ValueError, match="NLLLoss needs probabilities that add up to one"):
        read(model, X, CLASSES)


@pytest.mark.filterwarnings("ignore:Using a target size")
def test_a_regression_that_broadcast():
    model = fitted(
        skorch.NeuralNetRegressor, REALS[:, 0], criterion=nn.MSELoss, module__n_outputs=1
    )
    with pytest.raises(ValueError, match=r"y has 1 dimensions and the outputs have 2.*reshape"):
        read(model, X, REALS[:, 0])
    assert read(model, X, REALS[:, :1]).n_train == N


class Scaled(nn.CrossEntropyLoss):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, f, y):
        return super().forward(f * self.scale, y)


def test_a_criterion_that_learns():
    model = fitted(criterion=Scaled)
    with pytest.raises(UnsupportedEstimatorError, match="Scaled has parameters of its own"):
        read(model, X, CLASSES)
    with pytest.raises(UnsupportedEstimatorError, match="trains parameters that are not in its"):
        read(model, X, CLASSES, loss="cross_entropy")

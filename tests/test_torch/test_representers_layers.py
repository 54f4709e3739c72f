"""Which linear layer representers decompose, and what follows it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.representers.features import features_of  # noqa: E402
from skinfluence.torch.representers.layers import find_layer  # noqa: E402


class Written(nn.Module):
    """A forward of functions, whose layers are registered in another order than they run."""

    def __init__(self, hidden=torch.relu, head=lambda z: z, k=3):
        super().__init__()
        self.last, self.first = nn.Linear(5, k), nn.Linear(4, 5)
        self.scale = nn.Parameter(torch.ones(4))
        self.hidden, self.head = hidden, head

    def forward(self, x):
        return self.head(self.last(self.hidden(self.first(x * self.scale))))


def found(module, name=None, *, x=None, head=None):
    x = torch.randn(7, 4, dtype=torch.float64) if x is None else x
    network = Network(module.double(), head=head)
    rows = Rows(x)
    network.as_columns(rows)
    return find_layer(network, rows.take(slice(0, 7)), name), network, rows


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (lambda z: z, "identity"),
        (lambda z: z.softmax(-1), "softmax"),
        (lambda z: F.log_softmax(z, 1), "log_softmax"),
        (torch.sigmoid, "sigmoid"),
    ],
)
def test_the_last_layer_is_the_one_whose_outputs_are_returned(head, name):
    layer, _, _ = found(Written(head=head))
    assert (layer.name, layer.head, layer.hidden) == ("last", name, False)
    assert layer.coef().shape == (5, 3) and layer.intercept().shape == (3,)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (nn.ReLU(), "relu"),
        (lambda z: z.relu().squeeze(1), "relu"),
        (nn.Hardtanh(0, 1e6), None),
        (nn.ReLU6(), None),
        (lambda z: z * 1.0, None),
        (lambda z: torch.cat([z.flatten()]).view(7, -1), "identity"),
    ],
)
@pytest.mark.parametrize("shift", [0.0, 5.0])  # clipped on some rows, and on none
def test_what_clips_is_told_from_the_identity(head, name, shift):
    module = Written(torch.tanh, head)
    with torch.no_grad():
        module.last.weight.mul_(0.1)
        module.last.bias.fill_(shift)
    if name is None:
        with pytest.raises(UnsupportedEstimatorError, match="is not what Written returns"):
            found(module)
        layer, _, _ = found(module, "last")
        assert layer.hidden and layer.activation == "squared"
    else:
        assert found(module)[0].head == name


def test_what_is_looked_at_on_the_way_does_not_matter():
    class Looking(Written):
        def forward(self, x):
            outputs = super().forward(x)
            self.confident = float(outputs.softmax(1).max())
            return outputs

    assert found(Looking())[0].head == "identity"


def test_a_single_output_may_be_a_vector():
    layer, _, _ = found(Written(head=lambda z: z.squeeze(-1), k=1))
    assert (layer.name, layer.head) == ("last", "identity")
    layer, _, _ = found(Written(head=lambda z: z.squeeze(-1).sigmoid(), k=1))
    assert (layer.name, layer.head) == ("last", "sigmoid")


def test_what_the_loss_is_handed_does_not_matter():
    layer, _, _ = found(Written(head=lambda z: z.softmax(1)), head=lambda p: (p + 1e-3).log())
    assert layer.head == "softmax"


def test_a_layer_is_a_network_of_its_own():
    layer, network, rows = found(nn.Linear(4, 2, bias=False))
    assert (layer.name, layer.head, layer.intercept()) == ("", "identity", None)
    assert_array_equal(features_of(network, layer.module, rows), rows.everything.inputs[0])


@pytest.mark.parametrize(
    ("hidden", "activation"),
    [
        (torch.relu, "relu"),
        (F.relu, "relu"),
        (nn.ReLU(inplace=True), "relu"),
        (lambda z: z.relu_(), "relu"),
        (lambda z: z.clamp(min=0), "relu"),
        (lambda z: torch.clamp_min(z, 0.0), "relu"),
        (lambda z: F.dropout(z, training=False).view(-1, 5).relu(), "relu"),
        (nn.Sigmoid(), "sigmoid"),
        (torch.tanh, "squared"),
        (nn.GELU(), "squared"),
        (nn.LeakyReLU(), "squared"),
        (lambda z: z.clamp(0, 1), "squared"),
        (lambda z: z.relu() + z, "squared"),
        (lambda z: torch.cat([z[:, :2], z[:, 2:].relu()], 1), "squared"),
        (lambda z: z, "squared"),
    ],
)
def test_what_follows_a_hidden_layer_is_seen(hidden, activation):
    layer, _, _ = found(Written(hidden), "first")
    assert layer.hidden and layer.activation == activation


def test_features_are_what_the_layer_is_given():
    module = nn.Sequential(
        nn.Conv2d(1, 3, 3),
        nn.BatchNorm2d(3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(12, 2),
    )
    x = torch.randn(9, 1, 4, 4, dtype=torch.float64)
    module.double()(x)  # the running statistics are no longer the trivial ones
    layer, network, rows = found(module, x=x)
    F_ = features_of(network, layer.module, rows)
    truth = module.eval()[:-1](x).detach().numpy()
    assert_allclose(F_, truth, rtol=1e-12, atol=1e-12)
    outputs = module(x).detach().numpy()
    assert_allclose(F_ @ layer.coef() + layer.intercept(), outputs, rtol=1e-10, atol=1e-12)


def test_features_that_are_overwritten_later_are_those_that_the_layer_saw():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = x.tanh()
            y = self.step(x)
            x += 1.0
            return self.out(y * x)

    layer, network, rows = found(Residual(), "step")
    assert_allclose(
        features_of(network, layer.module, rows), rows.everything.inputs[0].tanh(), rtol=1e-12
    )


def test_wrappers_are_taken_off():
    module = nn.DataParallel(Written())
    assert found(module)[0].name == "last"
    assert found(module, "module.first")[0].name == "first"
    assert found(torch.compile(Written()), "_orig_mod.first")[0].name == "first"


def test_a_reparametrised_layer_is_what_it_computes():
    module = Written()
    nn.utils.parametrizations.weight_norm(module.last)
    layer, network, _ = found(module)
    assert layer.name == "last"
    assert_allclose(layer.coef().T, network.module.last.weight.detach(), rtol=1e-12)


@pytest.mark.parametrize(
    ("module", "name", "x", "error", "message"),
    [
        (Written(), "frist", None, ValueError, "Did you mean 'first'"),
        (Written(), 3, None, ValueError, "layer is a int"),
        (
            nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
            None,
            None,
            UnsupportedEstimatorError,
            "is a BatchNorm1d, and representers decompose the outputs of an nn.Linear",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)),
            "1",
            None,
            UnsupportedEstimatorError,
            "layer='1' is a BatchNorm1d",
        ),
        (
            nn.Sequential(nn.Linear(4, 3), nn.Tanh()),
            None,
            None,
            UnsupportedEstimatorError,
            "is not what Sequential returns",
        ),
        (
            nn.Sequential(nn.Linear(4, 3)),
            None,
            (7, 5, 4),
            ValueError,
            r"inputs of shape \(7, 5, 4\) for 7 rows",
        ),
        (nn.Tanh(), None, None, UnsupportedEstimatorError, "there is none"),
    ],
)
def test_what_cannot_be_decomposed_is_refused(module, name, x, error, message):
    x = None if x is None else torch.randn(*x, dtype=torch.float64)
    network = None
    if not list(module.parameters()):
        module = nn.Sequential(nn.Linear(4, 4), module)
        network = Network(module)
        network.module[0] = nn.Identity()
        x = torch.randn(7, 4)
        with pytest.raises(error, match=message):
            find_layer(network, Rows(x).take(slice(0, 7)), None)
        return
    with pytest.raises(error, match=message):
        found(module, name, x=x)


def test_a_layer_that_is_used_twice_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.step = nn.Linear(4, 4)

        def forward(self, x):
            return self.step(self.step(x).tanh())

    for name in (None, "step"):
        with pytest.raises(ValueError, match="is called 2 times for a batch"):
            found(Twice(), name)


def test_a_layer_that_is_no_linear_map_is_refused():
    class Masked(nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight.tril(), self.bias)

    with pytest.raises(UnsupportedEstimatorError, match="is a Masked whose outputs are not"):
        found(nn.Sequential(Masked(4, 4)))


def test_a_layer_that_does_not_run_is_refused():
    class Spare(Written):
        def __init__(self):
            super().__init__()
            self.spare = nn.Linear(2, 2)

    with pytest.raises(ValueError, match="is called no times"):
        found(Spare(), "spare")


def test_rows_without_features_are_named():
    _, network, _ = found(Written())
    x = np.ones((7, 4))
    x[4] = np.nan
    with pytest.raises(ValueError, match=r"Features of row 4 \(1 of this block\)"):
        features_of(network, network.module.last, Rows(torch.tensor(x)))

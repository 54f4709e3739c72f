"""Groups of rows, scaled gradients and weighted squares, against the dense gradients."""

from __future__ import annotations

import pytest
from sklearn import config_context

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.gradients import Dense, GradientBlock, Lookup, RowGradients  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402
from tests.test_torch.test_gradients_factors import outer, randn  # noqa: E402

EVERY = pytest.mark.parametrize("name", NETWORKS)


def close(found, truth):
    scale = max(float(truth.abs().max()), 1e-3)
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-12 * scale)


def block_of(name, n=6, dtype=torch.float64):
    """Gradients of some rows of a network of the table."""
    module, rows, loss = NETWORKS[name](dtype)
    gradients = RowGradients(Network(module), make_loss(loss), rows.take(slice(None)))
    return gradients.block(rows.take(slice(0, n)))


def numbers(network, low=0.0):
    """A number for each parameter by name, and one for each entry, (p,)."""
    source = torch.Generator().manual_seed(0)
    D = low + torch.rand(network.n_params, dtype=torch.float64, generator=source)
    return {name: float(0.5 + k % 3) for k, name in enumerate(network.names)}, D


@EVERY
@pytest.mark.parametrize("m", [1, 2, 3, 6])
def test_grams(name, m):
    block = block_of(name)
    G = block.dense().view(6 // m, m, -1)
    found = block.grams(m)
    close(found, G @ G.transpose(1, 2))
    close(found.diagonal(dim1=1, dim2=2).flatten(), block.squares())


@EVERY
def test_grams_in_float32(name):
    block = block_of(name, dtype=torch.float32)
    G = block.dense().double().view(2, 3, -1)
    found, truth = block.grams(3), G @ G.transpose(1, 2)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-5 * float(truth.abs().max()))


@EVERY
def test_scaled(name):
    block = block_of(name)
    scales, _ = numbers(block.network)
    scales[block.network.names[0]] = 0.0  # a group of parameters that did not move
    scaled = block.scaled(scales)
    truth = block.dense()
    for parameter, span in block.network.spans.items():
        truth[:, span] *= scales[parameter]
    close(scaled.dense(), truth)
    close(scaled.pairs(block), truth @ block.dense().T)
    close(scaled.squares(), truth.square().sum(1))
    grouped = truth.view(3, 2, -1)
    close(scaled.grams(2), grouped @ grouped.transpose(1, 2))
    close(scaled.times(truth), truth @ truth.T)
    close(scaled.adjoint(truth[:2, :6].contiguous()), truth[:2, :6] @ truth)


@EVERY
def test_scaled_twice(name):
    block = block_of(name)
    scales, _ = numbers(block.network)
    squared = {parameter: s * s for parameter, s in scales.items()}
    close(block.scaled(scales).scaled(scales).dense(), block.scaled(squared).dense())


@EVERY
def test_weights_entry_by_entry(name):
    block = block_of(name)
    _, D = numbers(block.network)
    G = block.dense()
    close(block.weighted_squares(D), G.square() @ D)
    for m in (1, 2, 3):
        sums = G.view(6 // m, m, -1).sum(1).repeat_interleave(m, 0)
        close(block.weighted_sums(D, m).flatten(), (G * sums) @ D)


@pytest.mark.parametrize("memory", [1024, 1e-4], ids=["ample", "scarce"])
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize(
    ("T", "d_in", "d_out"), [(1, 9, 2), (2, 90, 80), (4, 30, 40), (30, 3, 4), (12, 40, 30)]
)
def test_both_sides_of_the_cost_models(T, d_in, d_out, bias, memory):
    torch.manual_seed(0)
    factor = outer(6, T, d_in, d_out, bias).scaled({"w": 1.5, "b": -0.5})
    dense = Dense(factor.dense())
    D = {name: torch.rand(g.shape[1:], dtype=torch.float64) for name, g in dense.values.items()}
    with config_context(working_memory=memory):
        for m in (1, 2, 3, 6):
            close(factor.grams(m), dense.grams(m))
            close(factor.weighted_sums(D, m), dense.weighted_sums(D, m))
        close(factor.weighted_squares(D), dense.weighted_squares(D))
    truth = torch.cat([g.flatten(1) for g in dense.values.values()], 1)
    close(dense.grams(6)[0], truth @ truth.T)


def test_the_cost_model_of_groups_takes_both_ways():
    assert outer(6, 2, 90, 80)._contracts_groups(2)
    assert not outer(6, 30, 3, 4)._contracts_groups(2)


def test_words():
    torch.manual_seed(0)
    factor = Lookup("w", torch.randint(0, 5, (6, 4)), randn(6, 4, 3), 50)
    dense, D = Dense(factor.dense()), {"w": torch.rand(50, 3, dtype=torch.float64)}
    for m in (1, 2, 6):
        close(factor.grams(m), dense.grams(m))
        close(factor.weighted_sums(D, m), dense.weighted_sums(D, m))
    close(factor.weighted_squares(D), dense.weighted_squares(D))


def test_nothing_is_overwritten():
    torch.manual_seed(0)
    for factor in (outer(6, 1, 4, 5), outer(6, 3, 90, 80), outer(6, 30, 3, 4)):
        before = {name: g.clone() for name, g in factor.dense().items()}
        D = {name: g[0].abs() for name, g in before.items()}
        for _ in range(2):
            factor.grams(2), factor.weighted_squares(D), factor.weighted_sums(D, 2)
            factor.scaled({"w": 3.0, "b": 2.0})
        for name, g in factor.dense().items():
            torch.testing.assert_close(g, before[name], rtol=0, atol=0)


def test_a_block_without_gradients():
    block = GradientBlock(Network(NETWORKS["mlp"]()[0]), [], torch.zeros(4))
    assert not block.grams(2).any()
    assert block.grams(2).shape == (2, 2, 2)


# -- positions on the axis of the rows ------------------------------------------------------------

NORMS = {
    "batch norm": lambda: nn.BatchNorm1d(4),
    "instance norm": lambda: nn.InstanceNorm1d(4, affine=True),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "layer norm": lambda: nn.LayerNorm(4),
}


class Folded(nn.Module):
    """Positions (b, T, ...) are put beside the rows, as draws of a decoder are."""

    def __init__(self, norm, places):
        super().__init__()
        self.step, self.norm, self.out = nn.Linear(3, 4 * places), norm, nn.Linear(4, 2)
        self.places = places

    def forward(self, x):
        h = self.step(x.flatten(0, 1))
        if self.places > 1:
            h = h.view(len(h), 4, self.places)
        h = self.norm(h).tanh()
        h = h.mean(2) if self.places > 1 else h
        return self.out(h).view(*x.shape[:2], 2).mean(1)


@pytest.mark.parametrize("T", [2, 4])  # 4 positions may be taken for 4 channels
@pytest.mark.parametrize(
    ("norm", "places"),
    [
        ("batch norm", 1),
        ("batch norm", 5),
        ("instance norm", 5),
        ("group norm", 1),
        ("group norm", 5),
        ("layer norm", 1),
    ],
)
def test_norms_behind_folded_positions(norm, places, T):
    torch.manual_seed(0)
    module = Folded(NORMS[norm](), places).double().eval()
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn(p.shape, dtype=torch.float64))
    X, y = randn(6, T, 3), torch.randint(0, 2, (6,))
    rows = Rows(X, y)
    gradients = RowGradients(Network(module), make_loss("cross_entropy"), rows.take(slice(6)))
    assert not gradients.formed
    found = gradients.block(rows.take(slice(None))).dense()
    for i in range(6):
        loss = nn.functional.cross_entropy(module(X[i : i + 1]), y[i : i + 1])
        slopes = torch.autograd.grad(loss, list(module.parameters()))
        close(found[i], torch.cat([slope.reshape(-1) for slope in slopes]))

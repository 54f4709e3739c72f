"""Row gradients against autograd, row by row, for every network of the table."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.gradients import Dense, GradientBlock, RowGradients  # noqa: E402
from skinfluence.torch.gradients.fallback import row_by_row  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from tests.test_torch.networks import N_ROWS, NETWORKS  # noqa: E402

TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
TYPES = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
EVERY = pytest.mark.parametrize("name", NETWORKS)


def close(found, truth, dtype, scale=None):
    """Equal to the promised accuracy, in units of the largest number."""
    found, truth = (np.asarray(torch.as_tensor(x).double()) for x in (found, truth))
    scale = max(float(np.abs(truth).max(initial=0.0)), 1e-3) if scale is None else scale
    assert_allclose(found, truth, rtol=0, atol=TOLERANCE[dtype] * scale)


def ready(name, dtype=torch.float64, **kwargs):
    """Row gradients of a network of the table, all its rows, and the loss."""
    module, rows, loss = NETWORKS[name](dtype)
    network, loss = Network(module, **kwargs), make_loss(loss)
    batch = rows.take(slice(None))
    return RowGradients(network, loss, batch), rows, module


def by_autograd(gradients, rows, module):
    """The definition: a row alone through the user's own module, (n, p)."""
    every = dict(module.named_parameters())
    leaves = [every[name].requires_grad_() for name in gradients.network.names]
    found = []
    for i in range(rows.shape[0]):
        row = rows.take(slice(i, i + 1))
        value = gradients.value(module(*row.args), row.y).sum()
        slopes = torch.autograd.grad(value, leaves, materialize_grads=True)
        found.append(torch.cat([slope.reshape(-1) for slope in slopes]))
    return torch.stack(found).detach()


@TYPES
@EVERY
def test_autograd_row_by_row(name, dtype):
    gradients, rows, module = ready(name, dtype)
    if name == "embedding_scaled_by_frequency":  # not the derivative: see below
        module[0].scale_grad_by_freq = False
    G = gradients.block(rows.take(slice(None))).dense()
    close(G, by_autograd(gradients, rows, module), dtype)


@TYPES
@EVERY
def test_products_are_those_of_the_matrix(name, dtype):
    gradients, rows, _ = ready(name, dtype)
    block, other = gradients.block(rows.take(slice(0, 5))), gradients.block(rows.take(slice(3, 7)))
    G, H = block.dense().double(), other.dense().double()
    V = torch.randn(3, G.shape[1], generator=torch.Generator().manual_seed(0)).to(dtype)
    C = torch.randn(2, len(G), generator=torch.Generator().manual_seed(1)).to(dtype)
    largest = float(G.square().sum(1).max())
    close(block.pairs(other), G @ H.T, dtype, largest)
    close(block.squares(), G.square().sum(1), dtype, largest)
    close(block.times(V), G @ V.double().T, dtype)
    close(block.adjoint(C), C.double() @ G, dtype)
    assert block.pairs(other).dtype == block.squares().dtype == block.times(V).dtype
    assert block.times(V).dtype == torch.float64
    assert block.adjoint(C).dtype == dtype


@EVERY
def test_blocks_do_not_matter(name):
    gradients, rows, _ = ready(name)
    everything = gradients.block(rows.take(slice(None)))
    for size in (1, 3, 100):
        found = torch.cat([block.squares() for _, block in gradients.blocks(rows, size)])
        close(found, everything.squares(), torch.float64)
    order = torch.tensor([6, 0, 3, 3, 1])
    close(gradients.block(rows.take(order)).dense(), everything.dense()[order], torch.float64)


@EVERY
def test_formed_gradients_equal_factors(name):
    gradients, rows, _ = ready(name)
    network, batch = gradients.network, rows.take(slice(None))
    truth = gradients.block(batch).dense()
    for loop in (False, True):
        if gradients.loop and not loop:
            continue  # vmap cannot
        formed = row_by_row(network, network.names, batch, gradients.value, loop=loop)
        block = GradientBlock(network, [Dense(formed)], torch.zeros(N_ROWS))
        close(block.dense(), truth, torch.float64)


def test_gradient_of_an_embedding_is_its_derivative():
    # scale_grad_by_freq hands an optimiser something else, which even depends on the batch.
    gradients, rows, module = ready("embedding_scaled_by_frequency")
    truth = by_autograd(gradients, rows, module)
    found = gradients.block(rows.take(slice(None))).dense()
    assert float((found - truth).abs().max()) > 1e-3
    module[0].scale_grad_by_freq = False
    close(found, by_autograd(gradients, rows, module), torch.float64)


# -- routes ---------------------------------------------------------------------------------------

# Which parameters have to be formed: the rest comes as factors.
FORMED = {
    "bilinear": 2,
    "one_weight_two_layers": 3,
    "tied_embedding": 2,
    "weight_used_outside": 2,
    "unused": 1,
    "own_parameter": 1,
    "subclassed": 2,
    "functional": 2,
    "branching": 1,
    "embedding_bag": 1,
    "lstm_time_first": 2,
    "cross_attention": 8,
    "language_model": 1,
}
LOOPS, OVERWRITES = {"branching"}, {"changed_in_place", "residual"}


@EVERY
def test_routes(name):
    gradients, _, _ = ready(name)
    assert len(gradients.formed) == FORMED.get(name, 0)
    assert gradients.loop == (name in LOOPS)
    assert gradients.overwritten == (name in OVERWRITES)


def test_shared_layers_have_cross_terms():
    """Dropping the products of one use with another, as is often done, is far off."""
    gradients, rows, _ = ready("layer_used_twice")
    block = gradients.block(rows.take(slice(None)))
    step = next(f for f in block.factors if "step.weight" in f.names)
    assert step.a.shape[1] == 2
    whole, apart = step.squares(), 0.0
    for t in range(2):
        one = type(step)(step.weight, step.bias, step.a[:, t : t + 1], step.delta[:, t : t + 1])
        apart = apart + one.squares()
    assert float(((whole - apart).abs() / whole).max()) > 0.1


@pytest.mark.parametrize("params", ["last_layer", "0.bias", "*.weight", "2.bias"])
@pytest.mark.parametrize("name", ["mlp", "cnn", "layer_norm", "conv2d"])
def test_subsets_of_parameters(name, params):
    full, rows, module = ready(name)
    if params[0].isdigit() and params not in full.network.names:
        params = full.network.names[1]
    gradients, _, _ = ready(name, params=params)
    truth = by_autograd(gradients, rows, module)
    block = gradients.block(rows.take(slice(None)))
    close(block.dense(), truth, torch.float64)
    close(block.squares(), truth.square().sum(1), torch.float64)
    assert not gradients.formed


def test_any_value_of_a_row():
    module, rows, _ = NETWORKS["mlp"]()
    network = Network(module)

    def margin(outputs, y):
        rest = outputs.scatter(1, y[:, None], -torch.inf)
        return outputs.gather(1, y[:, None])[:, 0] - rest.logsumexp(1)

    gradients = RowGradients(network, margin, rows.take(slice(None)))
    close(
        gradients.block(rows.take(slice(None))).dense(),
        by_autograd(gradients, rows, module),
        torch.float64,
    )


def test_several_inputs():
    class Two(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = torch.nn.Linear(3, 2), torch.nn.Embedding(4, 2)
            self.shift = torch.nn.Parameter(torch.ones(2))

        def forward(self, x, word):
            return self.left(input=x) * self.right(word) + self.shift * x[:, :2]

    torch.manual_seed(0)
    module = Two().double()
    x, word, y = torch.randn(5, 3).double(), torch.randint(0, 4, (5,)), torch.randint(0, 2, (5,))
    for inputs in ((x, word), {"word": word, "x": x}):
        rows = Rows(inputs, y)
        gradients = RowGradients(Network(module), make_loss("cross_entropy"), rows.take(slice(5)))
        positional = Rows((x, word), y)
        truth = by_autograd(gradients, positional, module)
        close(gradients.block(rows.take(slice(None))).dense(), truth, torch.float64)
        assert gradients.formed == ("shift",)


def test_one_row_is_enough_to_choose_routes():
    """With a single row, positions and rows look alike."""
    module, rows, loss = NETWORKS["lstm_time_first"]()
    gradients = RowGradients(Network(module), make_loss(loss), rows.take(slice(0, 1)))
    close(
        gradients.block(rows.take(slice(None))).dense(),
        by_autograd(gradients, rows, module),
        torch.float64,
    )


def test_flattened_positions():
    """Positions that the forward has put beside the rows."""

    class Flat(torch.nn.Module):
        def __init__(self, rows_first):
            super().__init__()
            self.step, self.out = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
            self.rows_first = rows_first

        def forward(self, x):
            x = x if self.rows_first else x.transpose(0, 1)
            h = self.step(x.reshape(-1, 3)).tanh().view(*x.shape[:2], 4)
            return self.out(h.mean(1 if self.rows_first else 0))

    X, y = torch.randn(6, 4, 3).double(), torch.randint(0, 2, (6,))
    for rows_first in (True, False):
        module, rows = Flat(rows_first).double(), Rows(X, y)
        gradients = RowGradients(Network(module), make_loss("cross_entropy"), rows.take(slice(6)))
        assert bool(gradients.formed) != rows_first
        truth = by_autograd(gradients, rows, module)
        close(gradients.block(rows.take(slice(None))).dense(), truth, torch.float64)


def test_the_graph_starts_at_the_first_explained_layer():
    gradients, rows, _ = ready("cnn", params="last_layer")
    seen = []
    first = gradients.network.module[0]
    handle = first.register_forward_hook(lambda m, a, out: seen.append(out.requires_grad))
    gradients.block(rows.take(slice(None)))
    handle.remove()
    assert seen == [False]


# -- layout of images -----------------------------------------------------------------------------


class Viewed(torch.nn.Module):
    """A forward that takes images to be stored channel by channel."""

    def __init__(self):
        super().__init__()
        self.conv, self.out = torch.nn.Conv2d(2, 3, 3), torch.nn.Linear(48, 3)

    def forward(self, x):
        return self.out(self.conv(x).tanh().view(len(x), -1))


def test_images_are_stored_pixel_by_pixel_where_that_is_faster():
    gradients, rows, module = ready("cnn", torch.float32)
    assert gradients._routes.channels_last
    block = gradients.block(rows.take(slice(None)))
    close(block.dense(), by_autograd(gradients, rows, module), torch.float32)
    assert not ready("cnn", torch.float64)[0]._routes.channels_last


def test_forwards_that_view_images_keep_their_layout():
    torch.manual_seed(0)
    module, X, y = Viewed(), torch.randn(6, 2, 6, 6), torch.randint(0, 3, (6,))
    rows = Rows(X, y)
    gradients = RowGradients(Network(module), make_loss("cross_entropy"), rows.take(slice(4)))
    assert not gradients._routes.channels_last and not gradients.formed
    block = gradients.block(rows.take(slice(None)))
    close(block.dense(), by_autograd(gradients, rows, module), torch.float32)

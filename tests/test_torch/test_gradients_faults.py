"""Networks without row gradients are refused, or go a slower way that is right."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402


class Centred(nn.Module):
    """A layer by hand that takes moments over the rows of the batch."""

    def forward(self, x):
        return x - x.mean(0)


def gradients_of(module, *, n=6):
    torch.manual_seed(0)
    rows = Rows(torch.randn(n, 4).double(), torch.randint(0, 3, (n,)))
    network = Network(module.double())
    return RowGradients(network, make_loss("cross_entropy"), rows.take(slice(None))), rows


@pytest.mark.parametrize(
    "mixing", [Centred(), nn.BatchNorm1d(5, track_running_stats=False)], ids=["by hand", "layer"]
)
def test_rows_that_see_each_other(mixing):
    module = nn.Sequential(nn.Linear(4, 5), mixing, nn.Linear(5, 3))
    with pytest.raises(ValueError, match=r"a copy of itself and .* beside 3 others: rows see"):
        gradients_of(module)


def test_derivatives_that_see_each_other():
    class Straight(nn.Module):
        """Zero in the value, and not in the derivative."""

        def __init__(self):
            super().__init__()
            self.scale, self.out = nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

        def forward(self, x):
            x = x * self.scale
            mean = x.mean(0)
            return self.out(x + mean - mean.detach() if len(x) > 1 else x)

    with pytest.raises(ValueError, match="do not add up to that of the rows together, in scale"):
        gradients_of(Straight())


def test_max_norm():
    module = nn.Sequential(nn.Embedding(4, 3, max_norm=1.0), nn.Linear(3, 3))
    with pytest.raises(ValueError, match=r"0 has max_norm=1\.0: its forward rewrites"):
        Network(module)


def test_sparse_gradients_are_gradients():
    torch.manual_seed(0)
    rows = Rows(torch.randint(0, 4, (5,)), torch.randint(0, 3, (5,)))
    dense = nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 3))
    sparse = nn.Sequential(nn.Embedding(4, 3, sparse=True), nn.Linear(3, 3))
    sparse.load_state_dict(dense.state_dict())
    found = []
    for module in (dense, sparse):
        gradients = RowGradients(Network(module), make_loss("cross_entropy"), rows.take(slice(5)))
        found.append(gradients.block(rows.take(slice(5))).dense())
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_old_weight_norm():
    """Its weight is computed before every call, from parameters that the layer does not know."""
    module = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))
    for wrap in (nn.utils.parametrizations.weight_norm, nn.utils.parametrizations.spectral_norm):
        twin = nn.Sequential(wrap(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)).eval()
        gradients, rows = gradients_of(twin)
        assert len(gradients.formed) >= 2
        block = gradients.block(rows.take(slice(None)))
        torch.testing.assert_close(
            block.squares(), block.dense().square().sum(1), rtol=1e-10, atol=1e-12
        )
    assert not gradients_of(module)[0].formed


def test_heads_and_hooks_of_others():
    """Outputs of the only layer go through a function that is no module."""
    torch.manual_seed(0)
    rows = Rows(torch.randn(5, 4).double(), torch.randint(0, 3, (5,)))
    network = Network(nn.Linear(4, 3).double(), head=lambda f: (f**3).log_softmax(1))
    gradients = RowGradients(network, make_loss("cross_entropy"), rows.take(slice(None)))
    assert not gradients.formed


def test_nothing_depends_on_the_parameters():
    class Constant(nn.Module):
        def __init__(self):
            super().__init__()
            self.alone = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return x[:, :3]

    gradients, rows = gradients_of(Constant())
    assert not gradients.block(rows.take(slice(None))).squares().any()


def test_block_size_counts_what_runs_below_the_explained_layer():
    """The forward takes memory too, though the explained layer is small."""
    wide = nn.Sequential(nn.Linear(4, 100_000), nn.ReLU(), nn.Linear(100_000, 4), nn.Linear(4, 3))
    torch.manual_seed(0)
    rows = Rows(torch.randn(4, 4), torch.randint(0, 3, (4,)))
    small = RowGradients(
        Network(wide, params="last_layer"), make_loss("cross_entropy"), rows.take(slice(4))
    )
    assert small.block_size() <= 1024 * 2**20 / (2 * 200_000 * 4)


def test_own_module_is_left_as_it_was():
    module = nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.LSTM(5, 3)).train()
    before = {name: p.clone() for name, p in module.state_dict().items()}
    Network(module)
    assert module.training and module[1].inplace and type(module[2]) is nn.LSTM
    assert all(p.requires_grad for p in module.parameters())
    assert all(torch.equal(p, before[name]) for name, p in module.state_dict().items())

"""What makes influence on a network meaningless is said before any work is done."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from skinfluence.torch import faults  # noqa: E402
from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402

X = torch.linspace(-1, 1, 30).reshape(10, 3)
Y = torch.arange(10) % 2


class Base(nn.Module):
    """A linear layer, and what a subclass does around it."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 2)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        return self.linear(x)


class Counts(Base):
    def forward(self, x):
        self.seen += 1
        return self.linear(x)


class CountsWithoutSaving(Base):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()), persistent=False)

    def forward(self, x):
        self.calls += 1
        return self.linear(x)


class Overwrites(Base):
    def forward(self, x):
        x /= 2.0
        return self.linear(x)


class Drops(Base):
    def forward(self, x):
        return F.dropout(self.linear(x), 0.5)


class Remembers(Base):
    hidden = 0.0

    def forward(self, x):
        self.hidden = self.linear(x) + self.hidden
        return self.hidden[: len(x)]


class Centres(Base):
    def forward(self, x):
        return self.linear(x - x.mean(0))


class Diverged(Base):
    def forward(self, x):
        return torch.where(x[:, :1] > 0.2, torch.nan, self.linear(x))


class Structured(Base):
    def forward(self, x):
        return SimpleNamespace(logits=self.linear(x))


class Pair(Base):
    def forward(self, x):
        return self.linear(x), x


class Scalar(Base):
    def forward(self, x):
        return self.linear(x).mean()


class Transposed(Base):
    def forward(self, x):
        return self.linear(x).T


class Decides(Base):
    def forward(self, x):
        return self.linear(x).argmax(1)


class Half(Base):
    def forward(self, x):
        return self.linear(x).bfloat16()


class Detached(Base):
    def forward(self, x):
        return self.linear(x.detach()).detach()


class NoGrad(Base):
    @torch.no_grad()
    def forward(self, x):
        return self.linear(x)


class NeedsTwoRows(Base):
    def forward(self, x):
        if len(x) < 2:
            raise ValueError("expected more than one row")
        return self.linear(x)


FAULTS = {
    Counts: r"forward of Counts changes seen in evaluation mode.*if self\.training",
    CountsWithoutSaving: r"changes calls in evaluation mode",
    Overwrites: r"changes its input in place",
    Drops: r"Two forwards of Drops .*F\.dropout without training=self\.training",
    Remembers: r"Two forwards of Remembers .* hidden state",
    Centres: r"output of row 0 differs by .* rows see each other",
    Diverged: r"output is nan .* at rows 6, 7, where",
    Structured: r"returns a SimpleNamespace, and one tensor .* self\.inner\(x\)\.logits",
    Pair: r"returns a tuple, and one tensor",
    Scalar: r"returns shape \(\) for 8 rows",
    Transposed: r"returns shape \(2, 8\) for 8 rows",
    Decides: r"has parameters of type torch\.float32 and returns torch\.int64",
    Half: r"returns torch\.bfloat16\. Take autocast \(there or around",
    Detached: r"No gradient reaches the parameters of Detached",
    NoGrad: r"No gradient reaches the parameters of NoGrad",
    NeedsTwoRows: r"forward fails on row 0 alone \(expected more than one row\), so that rows see",
}


def check(module, X=X, Y=Y, loss="cross_entropy", **options):
    network = Network(module, **options)
    return faults.check(network, make_loss(loss), Rows(X, Y))


@pytest.mark.parametrize("module", FAULTS, ids=lambda cls: cls.__name__)
def test_fault(module):
    with pytest.raises(ValueError, match=FAULTS[module]):
        check(module())


def test_no_fault():
    assert check(Base()) == ()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
@pytest.mark.parametrize("name", NETWORKS)
def test_none_of_the_small_networks_has_a_fault(name, dtype):
    module, rows, loss = NETWORKS[name](dtype=dtype)
    network = Network(module)
    with pytest.warns(UserWarning) if "unused" in name else _silence():
        unused = faults.check(network, make_loss(loss), rows)
    assert bool(unused) == ("unused" in name)


def _silence():
    import contextlib

    return contextlib.nullcontext()


def test_batch_statistics_are_seen():
    norm = nn.BatchNorm1d(3, track_running_stats=False)
    with pytest.raises(ValueError, match="rows see each other"):
        check(nn.Sequential(norm, nn.Linear(3, 2)))


def test_integers_that_a_linear_layer_gets():
    with pytest.raises(ValueError, match=r"fails on inputs of type torch\.int64.*pass X\.astype"):
        check(Base(), X.long())


def test_positions_beyond_the_table():
    module = nn.Sequential(nn.Embedding(3, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"out of range.*table they must not"):
        check(module, torch.arange(10))


class OverTime(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent, self.linear = nn.LSTM(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.linear(self.recurrent(x)[0].mean(1))


def test_a_recurrence_over_the_rows():
    with pytest.raises(ValueError, match=r"row 1 differs .* batch_first=True"):
        check(OverTime(), X[:, None].repeat(1, 5, 1))


def test_inside_no_grad():
    with torch.no_grad():
        assert check(Base()) == ()


def test_autocast_around_the_call():
    around = torch.autocast("cpu", dtype=torch.bfloat16)
    with pytest.raises(ValueError, match="around this call"), around:
        check(Base())


def test_inputs_of_the_wrong_shape():
    with pytest.raises(ValueError, match=r"fails on the first 8 rows: .*Pass X as the module"):
        check(Base(), X[:, :2])


def test_losses_that_are_not_finite():
    def log_loss(outputs, y):
        return (outputs[:, 0] - outputs[:, 0].detach() + y - 1.0).log()

    with pytest.raises(ValueError, match=r"loss is (-inf|nan) or holds such a"):
        check(Base(), loss=log_loss)


def test_a_loss_that_fails():
    message = (
        r"loss fails on outputs of shape \(8, 2\) and y of shape \(8,\) and type torch\.int64"
    )
    with pytest.raises(ValueError, match=message):
        check(Base(), loss=lambda outputs, y: (outputs @ y).sum(1))


def test_a_loss_that_needs_targets():
    with pytest.raises(ValueError, match="y is missing"):
        check(Base(), Y=None, loss="squared_error")


class Idle(Base):
    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(3, 2)


def test_unused_parameters_are_named():
    with pytest.warns(UserWarning, match=r"does not depend on idle\.weight, idle\.bias.*params="):
        assert check(Idle()) == ("idle.weight", "idle.bias")
    assert check(Idle(), params="linear.*") == ()


def test_parameters_behind_a_zero_are_told_without_a_warning():
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    nn.init.zeros_(module[1].weight)
    assert check(module) == ("0.weight", "0.bias")


class FillsATable(Base):
    def forward(self, x):
        if not hasattr(self, "table"):
            self.register_buffer("table", torch.ones(3))
        return self.linear(x * self.table)


def test_a_table_that_the_first_forward_fills_is_no_fault():
    assert check(FillsATable()) == ()


def test_a_single_row():
    assert check(Base(), X[:1], Y[:1]) == ()


def test_the_probe_leaves_the_rows_alone():
    rows, module = X.clone(), Overwrites()
    with pytest.raises(ValueError, match="in place"):
        faults.check(Network(module), make_loss("cross_entropy"), Rows(rows, Y))
    torch.testing.assert_close(rows, X, rtol=0, atol=0)

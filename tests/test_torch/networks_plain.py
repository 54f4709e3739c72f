"""Linear maps, parameters that are shared, and forwards of the user's own."""

from __future__ import annotations

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from tests.test_torch.network_table import Apply, network, rows, words  # noqa: E402

# -- linear maps --------------------------------------------------------------------------------


@network
def one_layer():
    return nn.Linear(4, 3), rows(4)


@network
def mlp():
    return nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 4), nn.GELU(), nn.Linear(4, 3)
    ), (rows(5))


@network
def mlp_without_bias():
    layers = (nn.Linear(5, 6, bias=False), nn.Tanh(), nn.Linear(6, 3, bias=False))
    return nn.Sequential(*layers), rows(5)


@network
def regression():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 1)), rows(4)


@network
def over_positions():
    """Linear maps at every position of a sequence."""
    layers = (nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 6), Apply(lambda x: x.mean(1)))
    return nn.Sequential(*layers, nn.Linear(6, 3)), rows(8, 4)


@network
def over_a_grid():
    """Linear maps at positions that lie along two axes."""
    layers = (nn.Linear(4, 5), nn.Tanh(), Apply(lambda x: x.sum((1, 2))), nn.Linear(5, 3))
    return nn.Sequential(*layers), rows(2, 3, 4)


@network
def bilinear():
    class Pairwise(nn.Module):
        def __init__(self):
            super().__init__()
            self.map = nn.Bilinear(3, 3, 3)

        def forward(self, x):
            return self.map(x, x.tanh())

    return Pairwise(), rows(3)


# -- sharing --------------------------------------------------------------------------------------


@network
def layer_used_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(torch.tanh(self.step(torch.tanh(self.step(x)))))

    return Twice(), rows(4)


@network
def one_weight_two_layers():
    """Two Linear modules of one weight, and each its own bias."""

    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.out = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.out(torch.tanh(self.b(torch.tanh(self.a(x)))))

    return Shared(), rows(4)


@network
def tied_embedding():
    """Weights of an Embedding that are those of the Linear map to its words."""

    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(3, 4), nn.Linear(4, 3)
            self.out.weight = self.embed.weight

        def forward(self, x):
            return self.out(torch.tanh(self.embed(x).sum(1)))

    return Tied(), words(3, 5)


@network
def weight_used_outside():
    """A weight that its own layer uses and a function too: the layer does not know all of it."""

    class Outside(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            return self.out(torch.tanh(F.linear(torch.tanh(self.step(x)), self.step.weight)))

    return Outside(), rows(4)


@network
def unused():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.spare = nn.Linear(4, 3), nn.Linear(4, 2)
            self.alone = nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return self.used(x)

    return Unused(), rows(4)


# -- forwards of the user's own -------------------------------------------------------------------


@network
def residual():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = torch.tanh(self.step(x))
            y = self.step(x)
            y += x
            return self.out(F.relu(y, inplace=True))

    return Residual(), rows(4)


@network
def changed_in_place():
    """A layer's output is overwritten by a function, right after the layer."""

    class Overwrites(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.out = nn.Linear(4, 4), nn.Linear(4, 3)

        def forward(self, x):
            x = self.step(x)
            x.mul_(2.0)
            return self.out(F.relu_(x))

    return Overwrites(), rows(4)


@network
def own_parameter():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale, self.step = nn.Parameter(torch.ones(4)), nn.Linear(4, 3)

        def forward(self, x):
            return self.step(torch.tanh(self.scale * x))

    return Scaled(), rows(4)


@network
def subclassed():
    """A Linear whose forward is not Linear's."""

    class Masked(nn.Linear):
        def forward(self, x):
            return F.linear(x, self.weight.tril(), self.bias)

    return nn.Sequential(Masked(4, 4), nn.Tanh(), nn.Linear(4, 3)), rows(4)


@network
def functional():
    """No layer at all: everything through the fallback."""

    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.w1 = nn.Parameter(torch.randn(4, 5))
            self.w2 = nn.Parameter(torch.randn(5, 3))

        def forward(self, x):
            return (x @ self.w1).tanh() @ self.w2

    return Functional(), rows(4)


@network
def branching():
    """Control flow that depends on the data, row by row: vmap cannot."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.w, self.out = nn.Parameter(torch.randn(4)), nn.Linear(4, 3)

        def forward(self, x):
            rows = [row * self.w if float(row.sum()) > 0 else (row * self.w).sin() for row in x]
            return self.out(torch.stack(rows).tanh())

    return Branches(), rows(4)

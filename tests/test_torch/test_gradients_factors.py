"""Every factor against its own dense gradients, at shapes on each side of its cost model."""

from __future__ import annotations

import pytest
from sklearn import config_context

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch.gradients import Dense, Lookup, Outer, conv_patches  # noqa: E402
from skinfluence.torch.gradients.outer import _contracts  # noqa: E402


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def outer(b, T, d_in, d_out, bias=True):
    return Outer("w", "b" if bias else None, randn(b, T, d_in), randn(b, T, d_out))


def lookup(b, T, d, n_entries, high=None):
    index = torch.randint(0, high or n_entries, (b, T))
    return Lookup("w", index, randn(b, T, d), n_entries)


def pair_of(kind):
    torch.manual_seed(0)
    return {
        "rank one, wide": lambda: (outer(4, 1, 9, 2), outer(3, 1, 9, 2)),
        "rank one, tall": lambda: (outer(4, 1, 2, 9), outer(3, 1, 2, 9)),
        "rank one, no bias": lambda: (outer(4, 1, 5, 5, False), outer(3, 1, 5, 5, False)),
        "contracted": lambda: (outer(4, 2, 90, 80), outer(3, 3, 90, 80)),
        "contracted, no bias": lambda: (outer(4, 2, 90, 80, False), outer(3, 2, 90, 80, False)),
        "formed": lambda: (outer(4, 30, 3, 4), outer(3, 20, 3, 4)),
        "formed, no bias": lambda: (outer(4, 30, 3, 4, False), outer(3, 20, 3, 4, False)),
        "once against often": lambda: (outer(4, 1, 3, 4), outer(3, 5, 3, 4)),
        "words": lambda: (lookup(4, 6, 3, 5), lookup(3, 4, 3, 5)),
        "many words": lambda: (lookup(4, 6, 3, 500), lookup(3, 4, 3, 500)),
        "words apart": lambda: (lookup(4, 6, 3, 50, 3), Lookup("w", *_high(3, 4, 3), 50)),
        "dense": lambda: (
            Dense({"w": randn(4, 2, 3), "b": randn(4, 2)}),
            Dense({"w": randn(3, 2, 3), "b": randn(3, 2)}),
        ),
    }[kind]()


def _high(b, T, d):
    return torch.randint(40, 50, (b, T)), randn(b, T, d)


KINDS = [
    "rank one, wide",
    "rank one, tall",
    "rank one, no bias",
    "contracted",
    "contracted, no bias",
    "formed",
    "formed, no bias",
    "once against often",
    "words",
    "many words",
    "words apart",
    "dense",
]


def close(found, truth):
    torch.testing.assert_close(found, truth, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("memory", [1024, 1e-4], ids=["ample", "scarce"])
@pytest.mark.parametrize("kind", KINDS)
def test_law(kind, memory):
    mine, theirs = pair_of(kind)
    G, H = Dense(mine.dense()), Dense(theirs.dense())
    with config_context(working_memory=memory):
        close(mine.pairs(theirs), G.pairs(H))
        close(theirs.pairs(mine), G.pairs(H).T)
        close(mine.squares(), G.squares())
        for M in (1, 2, 7, 64):  # few are multiplied position by position
            parts = {name: randn(M, *g.shape[1:]) for name, g in G.values.items()}
            close(mine.times(parts), G.times(parts))
            C = randn(M, 4)
            for name, truth in G.adjoint(C).items():
                close(mine.adjoint(C)[name], truth)


@pytest.mark.parametrize("kind", KINDS)
def test_products_do_not_change_what_they_multiply(kind):
    mine, theirs = pair_of(kind)
    before = {name: g.clone() for name, g in mine.dense().items()}
    for _ in range(2):
        mine.pairs(theirs), mine.squares()
    for name, g in mine.dense().items():
        torch.testing.assert_close(g, before[name], rtol=0, atol=0)


def test_cost_model_takes_both_ways():
    assert _contracts(*pair_of("contracted"))
    assert not _contracts(*pair_of("formed"))


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv1d(2, 3, 4, stride=2, padding=1, dilation=2),
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
        nn.Conv2d(4, 6, 3, padding="same", groups=2),
        nn.Conv2d(2, 3, 3, padding=2, padding_mode="circular"),
        nn.Conv2d(2, 3, 3, padding=1, padding_mode="replicate"),
        nn.Conv3d(2, 3, 2, stride=2),
    ],
    ids=str,
)
def test_patches_are_what_a_convolution_multiplies(layer):
    layer = layer.double()
    dims = len(layer.kernel_size)
    x = randn(3, layer.in_channels, *(9,) * dims)
    patches = conv_patches(layer, x).unflatten(1, (layer.groups, -1))
    weight = layer.weight.detach().flatten(1).unflatten(0, (layer.groups, -1))
    found = torch.einsum("gok,bgkl->bgol", weight, patches).flatten(1, 2)
    truth = (layer(x) - layer.bias.view(-1, *(1,) * dims)).flatten(2).detach()
    close(found, truth)


@pytest.mark.parametrize("bias", [True, False])
def test_wide_convolutions_stay_patches(bias):
    from skinfluence.torch.gradients.convolutions import convolution
    from skinfluence.torch.gradients.layers import Use

    torch.manual_seed(0)
    layer = nn.Conv2d(16, 20, 3, bias=bias, padding=1).double()
    uses = [Use(randn(3, 16, 2, 2), randn(3, 20, 2, 2)) for _ in range(2)]
    names = {name: name for name, _ in layer.named_parameters()}
    found = convolution(layer, uses, names)
    assert isinstance(found, Outer)
    for i in range(3):
        total = sum((layer(u.input[i : i + 1]) * u.delta[i : i + 1]).sum() for u in uses)
        for name, g in zip(
            names, torch.autograd.grad(total, list(layer.parameters())), strict=True
        ):
            close(found.dense()[name][i], g)

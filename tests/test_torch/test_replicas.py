"""Fused layers, and the same formulas in the open."""

from __future__ import annotations

import copy

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402
from torch.utils import _pytree as pytree  # noqa: E402

from skinfluence.torch.replicas import open_up  # noqa: E402


def randn(*shape):
    return torch.randn(*shape, dtype=torch.float64)


HIDDEN = (4, 5, 4)
TWO = {"num_layers": 2, "bidirectional": True}
RECURRENT = {
    "rnn": lambda: (nn.RNN(3, 4, batch_first=True, **TWO), (randn(5, 6, 3),), {}),
    "relu": lambda: (nn.RNN(3, 4, nonlinearity="relu", bias=False), (randn(6, 5, 3),), {}),
    "gru": lambda: (nn.GRU(3, 4, **TWO), (randn(6, 5, 3), randn(*HIDDEN)), {}),
    "lstm": lambda: (
        nn.LSTM(3, 4, **TWO, dropout=0.5),
        (randn(6, 5, 3), (randn(*HIDDEN), randn(*HIDDEN))),
        {},
    ),
    "projected": lambda: (nn.LSTM(3, 4, proj_size=2, **TWO), (randn(6, 5, 3),), {}),
    "one sequence": lambda: (nn.LSTM(3, 4), (randn(6, 3),), {}),
    "cell": lambda: (nn.RNNCell(3, 4), (randn(5, 3),), {}),
    "gru cell": lambda: (nn.GRUCell(3, 4), (randn(5, 3), randn(5, 4)), {}),
    "lstm cell": lambda: (nn.LSTMCell(3, 4), (randn(5, 3), (randn(5, 4), randn(5, 4))), {}),
    "cell of one row": lambda: (nn.LSTMCell(3, 4, bias=False), (randn(3),), {}),
    "packed": lambda: (
        nn.GRU(3, 4),
        (nn.utils.rnn.pack_padded_sequence(randn(6, 3, 3), torch.tensor([6, 4, 1])),),
        {},
    ),
}
ATTENTION = {
    "padding": lambda: (
        nn.MultiheadAttention(4, 2),
        (randn(6, 5, 4), randn(7, 5, 4), randn(7, 5, 4)),
        {"key_padding_mask": torch.arange(7) > torch.arange(2, 7)[:, None]},
    ),
    "masks": lambda: (
        nn.MultiheadAttention(4, 2, batch_first=True, bias=False),
        (randn(5, 6, 4),) * 3,
        {"attn_mask": randn(10, 6, 6), "average_attn_weights": False},
    ),
    "unbatched": lambda: (nn.MultiheadAttention(4, 2), (randn(6, 4),) * 3, {}),
    "encoder": lambda: (
        nn.TransformerEncoderLayer(4, 2, 8, batch_first=True),
        (randn(5, 6, 4),),
        {},
    ),
    "decoder": lambda: (nn.TransformerDecoderLayer(4, 2, 8), (randn(6, 5, 4), randn(3, 5, 4)), {}),
    "transformer": lambda: (
        nn.Transformer(4, 2, 1, 1, 8, batch_first=True, norm_first=True),
        (randn(5, 6, 4), randn(5, 3, 4)),
        {"tgt_is_causal": True, "tgt_mask": torch.ones(3, 3, dtype=torch.bool).triu(1)},
    ),
}
CASES = {name: case for table in (RECURRENT, ATTENTION) for name, case in table.items()}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_same_numbers_and_names(case):
    torch.manual_seed(0)
    module, args, kwargs = case()
    module = module.double().eval()
    twin = copy.deepcopy(module)
    open_up(twin)
    twin = copy.deepcopy(twin)  # parameters stay tied
    assert list(dict(twin.named_parameters())) == list(dict(module.named_parameters()))
    truth, found = (
        pytree.tree_leaves(module(*args, **kwargs)),
        pytree.tree_leaves(twin(*args, **kwargs)),
    )
    assert len(truth) == len(found)
    for mine, theirs in zip(found, truth, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_parameters_can_be_exchanged(case):
    """As functions of their parameters they are those of the fused layers."""
    torch.manual_seed(0)
    module, args, kwargs = case()
    module = module.double().eval()
    twin = copy.deepcopy(module)
    open_up(twin)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.1 * torch.randn_like(p))
    params = {name: p.detach() for name, p in module.named_parameters()}
    found = torch.func.functional_call(twin, params, args, kwargs)
    for mine, theirs in zip(
        pytree.tree_leaves(found), pytree.tree_leaves(module(*args, **kwargs)), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_second_derivatives():
    """Which the fused kernels lack."""
    torch.manual_seed(0)
    module = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, activation="gelu")
    module = module.double().eval().requires_grad_(False)
    x, twin = randn(2, 3, 4), copy.deepcopy(module)
    open_up(twin)
    weight = dict(twin.named_parameters())["self_attn.in_proj_weight"]

    def loss(w):
        return torch.func.functional_call(twin, {"self_attn.in_proj_weight": w}, (x,)).sum()

    v = randn(3, *weight.shape)
    products = torch.func.vmap(lambda v: torch.func.jvp(torch.func.grad(loss), (weight,), (v,))[1])
    h = 1e-5
    steps = [
        (torch.func.grad(loss)(weight + h * u) - torch.func.grad(loss)(weight - h * u)) / (2 * h)
        for u in v
    ]
    torch.testing.assert_close(products(v), torch.stack(steps), rtol=1e-5, atol=1e-8)

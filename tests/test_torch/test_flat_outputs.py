"""One number a row, (n,), is one column, (n, 1); targets follow the network's type."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn
F = nn.functional

N = 16
torch.manual_seed(0)
X = torch.randn(N, 3, dtype=torch.float64)
BITS = (torch.arange(N) % 2).double()
REALS = torch.randn(N, dtype=torch.float64)
SAME = {"rtol": 1e-9, "atol": 1e-12}

pytestmark = pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")


def module(*last, n_outputs=1, dtype=torch.float64):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, n_outputs), *last).to(dtype)


class Squeezed(nn.Module):
    """Outputs of shape (n,)."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x).squeeze(-1)


def explain(net, y, **options):
    options = {"weight_decay": 0.1, "damping": 0.3, **options}
    return InfluenceExplainer(net, **options).fit(X, y)


def logistic(f, y):
    """A loss a row of one logit, of shape (b,) or (b, 1)."""
    return F.softplus(f) - y * f


def in_columns(f, y):
    return logistic(f[:, 0], y)


LOSSES = {
    "with logits": (nn.BCEWithLogitsLoss(), None, (), BITS),
    "of probabilities": (nn.BCELoss(), None, (nn.Sigmoid(),), BITS),
    "by name": ("binary_cross_entropy", None, (), BITS),
    "mean squared": (nn.MSELoss(), None, (), REALS),
    "squared": ("squared_error", None, (), REALS),
    "smooth": (nn.SmoothL1Loss(), None, (), REALS),
    "own": (logistic, in_columns, (), BITS),
}


@pytest.mark.parametrize("case", LOSSES)
def test_vector_of_outputs_is_a_column(case):
    loss, column, last, y = LOSSES[case]
    flat = explain(Squeezed(module(*last)), y, loss=loss)
    wide = explain(module(*last), y, loss=column or loss)
    assert_allclose(flat.score_influence(X, y), wide.score_influence(X, y), **SAME)
    assert_allclose(flat.self_influence(), wide.self_influence(), **SAME)


@pytest.mark.parametrize(
    "options",
    [
        {"curvature": "ggn"},
        {"curvature": "hessian"},
        {"curvature": "fisher"},
        {"curvature": "kfac"},
        {"curvature": "ekfac"},
        {"method": "newton"},
        {"solver": "cg"},
    ],
    ids=str,
)
@pytest.mark.parametrize("target", ["loss", "decision_function", "proba"])
def test_vector_of_outputs_with(options, target):
    found = [
        explain(net, BITS, loss=nn.BCEWithLogitsLoss(), target=target, **options)
        for net in (Squeezed(module()), module())
    ]
    y = BITS.long() if target != "loss" else BITS
    flat, wide = (e.score_influence(X[:5], y[:5]) for e in found)
    # Iterations end within their tolerance.
    assert_allclose(flat, wide, rtol=1e-4 if "solver" in options else 1e-9, atol=1e-10)


def test_vector_of_outputs_in_other_questions():
    flat, wide = (
        explain(net, BITS, loss=nn.BCEWithLogitsLoss()) for net in (Squeezed(module()), module())
    )
    for e in (flat, pickle.loads(pickle.dumps(flat))):
        assert_allclose(
            e.perturbation(X[:2], BITS[:2]), wide.perturbation(X[:2], BITS[:2]), **SAME
        )
        assert_allclose(e.transform(X), wide.transform(X), **SAME)
        assert_allclose(
            e.score_groups(groups=[[0, 1]]), wide.score_groups(groups=[[0, 1]]), **SAME
        )


def test_own_target_sees_what_the_module_gives():
    def square(f, y):
        assert f.ndim == 1
        return f.square()

    def square_of_column(f, y):
        return f[:, 0].square()

    options = {"loss": nn.MSELoss()}
    flat = explain(Squeezed(module()), REALS, target=square, **options)
    wide = explain(module(), REALS, target=square_of_column, **options)
    assert_allclose(flat.score_influence(X), wide.score_influence(X), **SAME)


class SqueezedWhole(Squeezed):
    """The same, but a single row leaves a number, and no axis."""

    def forward(self, x):
        return self.inner(x).squeeze()


def test_squeeze_without_an_axis():
    options = {"loss": "squared_error", "method": "newton"}
    flat = explain(SqueezedWhole(module()), REALS, **options)
    wide = explain(module(), REALS, **options)
    for rows in (slice(0, 1), slice(0, N)):
        assert_allclose(
            flat.score_influence(X[rows], REALS[rows]),
            wide.score_influence(X[rows], REALS[rows]),
            **SAME,
        )
    with pytest.raises(ValueError, match=r"returns shape \(3,\) for one row and .*squeeze\(-1\)"):
        explain(SqueezedWhole(module(n_outputs=3)), torch.arange(N) % 3, loss="cross_entropy")


def test_flatten_0():
    flat = explain(module(nn.Flatten(0)), REALS, loss="squared_error")
    wide = explain(module(), REALS, loss="squared_error")
    assert_allclose(flat.self_influence(), wide.self_influence(), **SAME)


def test_skorch_binary_classifier_that_squeezes():
    skorch = import_optional("skorch")
    torch.manual_seed(0)
    net = skorch.NeuralNetBinaryClassifier(
        lambda: Squeezed(module(dtype=torch.float32)),
        max_epochs=3,
        train_split=None,
        verbose=0,
        batch_size=-1,
    )
    rows, y = X.float().numpy(), BITS.float().numpy()
    net.fit(rows, y)
    e = InfluenceExplainer(net, damping=0.3).fit(rows, y)
    inner = InfluenceExplainer(net.module_.inner, loss=nn.BCEWithLogitsLoss(), damping=0.3).fit(
        rows, y
    )
    assert_allclose(
        e.score_influence(rows, y), inner.score_influence(rows, y), rtol=1e-4, atol=1e-7
    )


@pytest.mark.parametrize("loss", ["cross_entropy", nn.CrossEntropyLoss()], ids=["name", "module"])
@pytest.mark.parametrize("curvature", ["ggn", "hessian", "fisher", "kfac", "ekfac"])
def test_soft_labels_follow_the_type_of_the_network(curvature, loss):
    positions = torch.arange(N) % 3
    net, rows = module(n_outputs=3, dtype=torch.float32), X.float().numpy()
    soft = np.eye(3, dtype=np.float64)[positions.numpy()]
    options = {"loss": loss, "curvature": curvature, "damping": 1.0, "weight_decay": 0.1}
    hard = InfluenceExplainer(net, **options).fit(rows, positions)
    for y in (soft, soft.astype(np.float32)):
        e = InfluenceExplainer(net, **options).fit(rows, y)
        assert_allclose(
            e.score_influence(rows, y),
            hard.score_influence(rows, positions),
            rtol=2e-3,
            atol=1e-5,
        )


@pytest.mark.parametrize("weight", [None, torch.ones(3, dtype=torch.float64)])
def test_probabilities_are_of_classes(weight):
    soft = torch.softmax(torch.randn(N, 3, dtype=torch.float64), 1)
    options = {"loss": nn.CrossEntropyLoss(weight), "target": "proba"}
    net = module(n_outputs=3)
    predicted = explain(net, soft, **options)
    most = net(X).argmax(1)
    for k in range(3):
        one = explain(net, soft, output=k, **options).score_influence(X)
        assert_allclose(predicted.score_influence(X)[most == k], one[most == k], **SAME)


def test_probabilities_under_smoothed_labels():
    y = torch.arange(N) % 3
    smoothed = nn.CrossEntropyLoss(label_smoothing=0.1)
    found = explain(module(n_outputs=3), y, loss=smoothed, target="proba", curvature="fisher")
    assert found.transform(X).shape[0] == N
    assert found.score_influence(X, y).shape == (N, N)
    with pytest.raises(ValueError, match="and SmoothL1Loss says nothing of them"):
        explain(module(), REALS, loss=nn.SmoothL1Loss(), target="proba")


class Padded(nn.Module):
    """An encoder as torch builds it by default, told which positions are padding."""

    def __init__(self, **options):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.table, self.output = nn.Embedding(9, 8, padding_idx=0), nn.Linear(8, 3)
        self.encoder = nn.TransformerEncoder(layer, 2, **options)

    def forward(self, tokens):
        padding = tokens == 0
        h = self.encoder(self.table(tokens), src_key_padding_mask=padding)
        return self.output(h.masked_fill(padding[:, :, None], 0.0).sum(1))


def test_encoder_with_padding():
    torch.manual_seed(0)
    tokens = torch.randint(1, 9, (N, 5))
    tokens[::2, 3:] = 0
    y = torch.arange(N) % 3
    nets = [Padded(), Padded(enable_nested_tensor=False)]
    nets[1].load_state_dict(nets[0].state_dict())
    options = {"loss": "cross_entropy", "damping": 0.3}
    default, apart = (InfluenceExplainer(n, **options).fit(tokens, y) for n in nets)
    assert_allclose(
        default.score_influence(tokens, y), apart.score_influence(tokens, y), rtol=1e-5, atol=1e-7
    )
    assert nets[0].encoder.use_nested_tensor  # the user's own is left alone

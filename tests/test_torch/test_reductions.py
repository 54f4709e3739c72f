"""Losses of rows, weighted, are together what the criterion says of the batch."""

from __future__ import annotations

import pytest

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.models import read  # noqa: E402

N, K, T = 14, 3, 5
torch.manual_seed(0)
X = torch.randn(N, 2, dtype=torch.float64)
SEQUENCES = torch.randn(N, T, 2, dtype=torch.float64)
CLASSES = torch.arange(N) % K
SOFT = torch.softmax(torch.randn(N, K, dtype=torch.float64), 1)
REALS = torch.randn(N, K, dtype=torch.float64)
TOKENS = torch.randint(0, K, (N, T))
TOKENS[0, 2:] = -100
OF_CLASSES = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)


class Classes(nn.Module):
    """One output a class, which come before the positions."""

    def __init__(self, *last):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(2, K), *last).double()

    def forward(self, x):
        found = self.inner(x)
        return found if found.ndim == 2 else found.transpose(1, 2)


def total(model, loss, rows, y):
    """The criterion of the batch and its gradient, made of ours of the rows."""
    objective = read(model, rows, y, loss=loss)
    network, weights = objective.network, objective.weights
    leaf = network.theta.clone().requires_grad_()
    batch = objective.rows.take(slice(0, N))
    losses = objective.loss(network.outputs(batch, network.params(leaf)), batch.y)
    found = weights @ losses / (1.0 if loss.reduction == "sum" else weights.sum())
    return torch.cat([found[None].detach(), torch.autograd.grad(found, leaf)[0]])


def theirs(model, loss, rows, y):
    found = loss(model(rows), y)
    slopes = torch.autograd.grad(found, list(model.parameters()))
    return torch.cat([found[None].detach(), *(slope.flatten() for slope in slopes)])


CASES = {
    "cross entropy": (nn.CrossEntropyLoss, {}, X, CLASSES),
    "weighted": (nn.CrossEntropyLoss, {"weight": OF_CLASSES}, X, CLASSES),
    "smoothed": (nn.CrossEntropyLoss, {"label_smoothing": 0.1}, X, CLASSES),
    "probabilities": (nn.CrossEntropyLoss, {}, X, SOFT),
    "weighted probabilities": (nn.CrossEntropyLoss, {"weight": OF_CLASSES}, X, SOFT),
    "positions": (nn.CrossEntropyLoss, {}, SEQUENCES, TOKENS),
    "weighted positions": (nn.CrossEntropyLoss, {"weight": OF_CLASSES}, SEQUENCES, TOKENS),
    "smoothed positions": (nn.CrossEntropyLoss, {"label_smoothing": 0.1}, SEQUENCES, TOKENS),
    "squares": (nn.MSELoss, {}, X, REALS),
    "smooth": (nn.SmoothL1Loss, {}, X, REALS),
    "bits": (nn.BCEWithLogitsLoss, {}, X, (REALS > 0).double()),
    "weighted bits": (nn.BCEWithLogitsLoss, {"pos_weight": OF_CLASSES}, X, (REALS > 0).double()),
}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_the_batch(case, reduction):
    kind, options, rows, y = CASES[case]
    loss = kind(reduction=reduction, **options)
    found, expected = (f(Classes(), loss, rows, y) for f in _alike())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["batchmean", "mean", "sum"])
def test_divergence_of_a_batch(reduction):
    loss = nn.KLDivLoss(reduction=reduction)
    found, expected = (f(Classes(nn.LogSoftmax(1)), loss, X, SOFT) for f in _alike())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def _alike():
    """Ours and theirs, of the same network."""

    def seeded(function):
        def called(model, *args):
            torch.manual_seed(1)
            for p in model.parameters():
                p.data.normal_()
            return function(model, *args)

        return called

    return seeded(total), seeded(theirs)


@pytest.mark.parametrize("loss", [nn.NLLLoss, nn.BCELoss])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_of_probabilities(loss, reduction):
    last = nn.LogSoftmax(1) if loss is nn.NLLLoss else nn.Sigmoid()
    y = CLASSES if loss is nn.NLLLoss else (REALS > 0).double()
    found, expected = (f(Classes(last), loss(reduction=reduction), X, y) for f in _alike())
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def test_a_straight_loss_is_named_as_torch_names_it():
    with pytest.raises(ValueError, match="KLDivLoss is straight at all 14 rows"):
        InfluenceExplainer(
            Classes(nn.LogSoftmax(1)), loss=nn.KLDivLoss(reduction="batchmean"), damping=0.1
        ).fit(X, SOFT)

"""Modules, and what their losses average."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from tests.conftest import import_optional

torch = import_optional("torch")
from torch import nn  # noqa: E402
from torch.utils.data import Subset, TensorDataset  # noqa: E402

from skinfluence.exceptions import UnsupportedEstimatorError  # noqa: E402
from skinfluence.torch.losses import BinaryCrossEntropy, CrossEntropy, MeanSquaredError  # noqa: E402
from skinfluence.torch.models import read  # noqa: E402

N, K = 12, 3
torch.manual_seed(0)
X = torch.randn(N, 4, dtype=torch.float64)
CLASSES = torch.arange(N) % K
BITS = (torch.arange(N) % 2).double()
TOKENS = torch.randint(0, K, (N, 5))
PADDED = torch.where(torch.arange(5) < 1 + torch.arange(N)[:, None] % 6, TOKENS, -100)
WEIGHTS = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)
REALS = torch.randn(N, K, dtype=torch.float64)


def module(*last, n_outputs=K):
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, n_outputs), *last).double()


def sequences(*last):
    """Logits (b, K, 5) of rows (b, 4)."""
    return module(nn.Unflatten(1, (K, 5)), *last, n_outputs=5 * K)


def gradient(objective):
    """Gradient of F / W, the penalty included."""
    network = objective.network
    theta = network.theta.clone().requires_grad_()
    batch = objective.rows.take(slice(0, N))
    losses = objective.loss(network.outputs(batch, network.params(theta)), batch.y)
    (slope,) = torch.autograd.grad((losses * objective.weights).sum(), theta)
    c = objective.penalty_curvature()
    return (slope if c is None else slope + c * theta.detach()) / objective.total_weight


# -- losses of torch: the mean over all rows has the gradient that is read ------------------------

CRITERIA = {
    "cross entropy": (nn.CrossEntropyLoss(), module(), CLASSES),
    "class weights": (
        nn.CrossEntropyLoss(WEIGHTS),
        module(),
        CLASSES,
    ),
    "label smoothing": (nn.CrossEntropyLoss(label_smoothing=0.1), module(), CLASSES),
    "probabilities": (nn.CrossEntropyLoss(), module(), REALS.softmax(1)),
    "ignored rows": (nn.CrossEntropyLoss(), module(), torch.where(CLASSES == 1, -100, CLASSES)),
    "an ignored class": (nn.CrossEntropyLoss(ignore_index=1), module(), CLASSES),
    "smoothing, ignored rows": (
        nn.CrossEntropyLoss(label_smoothing=0.1),
        module(),
        torch.where(CLASSES == 1, -100, CLASSES),
    ),
    "sequences": (nn.CrossEntropyLoss(), sequences(), TOKENS),
    "padded sequences": (nn.CrossEntropyLoss(), sequences(), PADDED),
    "padded and weighted": (nn.CrossEntropyLoss(WEIGHTS), sequences(), PADDED),
    "padded and smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), sequences(), PADDED),
    "nll of sequences": (nn.NLLLoss(), sequences(nn.LogSoftmax(1)), PADDED),
    "nll": (nn.NLLLoss(), module(nn.LogSoftmax(1)), CLASSES),
    "nll, class weights": (
        nn.NLLLoss(WEIGHTS),
        module(nn.LogSoftmax(1)),
        CLASSES,
    ),
    "mse": (nn.MSELoss(), module(n_outputs=1), BITS[:, None]),
    "mse, three outputs": (nn.MSELoss(), module(), REALS),
    "bce with logits": (nn.BCEWithLogitsLoss(), module(n_outputs=1), BITS[:, None]),
    "bce with logits, three": (nn.BCEWithLogitsLoss(), module(), (REALS > 0).double()),
    "bce, positives": (
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([3.0])),
        module(n_outputs=1),
        BITS[:, None],
    ),
    "bce of probabilities": (nn.BCELoss(), module(nn.Sigmoid(), n_outputs=1), BITS[:, None]),
    "bce of probabilities, three": (nn.BCELoss(), module(nn.Sigmoid()), (REALS > 0).double()),
    "huber": (nn.HuberLoss(), module(), REALS),
    "smooth l1": (nn.SmoothL1Loss(), module(), REALS),
    "poisson": (nn.PoissonNLLLoss(), module(), REALS.abs()),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_the_mean_over_rows_is_the_loss_of_torch(name):
    criterion, model, y = CRITERIA[name]
    objective = read(model, X, y, loss=criterion)
    slopes = torch.autograd.grad(criterion(model(X), y), list(model.parameters()))
    expected = torch.cat([s.flatten() for s in slopes])
    torch.testing.assert_close(gradient(objective), expected, rtol=1e-9, atol=1e-12)
    assert criterion.reduction == "mean"


NAMED = {
    "cross entropy": CrossEntropy,
    "nll": CrossEntropy,
    "mse, three outputs": MeanSquaredError,
    "bce with logits": BinaryCrossEntropy,
    "bce of probabilities": BinaryCrossEntropy,
}


@pytest.mark.parametrize("name", NAMED)
def test_where_a_loss_has_a_closed_form_it_is_used(name):
    criterion, model, y = CRITERIA[name]
    assert isinstance(read(model, X, y, loss=criterion).loss, NAMED[name])


def test_the_curvature_of_log_probabilities_is_that_of_logits():
    """-f_y has none of its own, so that Gauss-Newton steps would have nothing to go by."""
    from skinfluence.torch.curvature import GaussNewton

    logs = read(module(nn.LogSoftmax(1)), X, CLASSES, loss=nn.NLLLoss())
    logits = read(module(), X, CLASSES, loss=nn.CrossEntropyLoss())
    found, expected = GaussNewton(logs).matrix(), GaussNewton(logits).matrix()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_names_and_functions():
    named = read(module(), X, CLASSES, loss="cross_entropy")
    own = read(
        module(),
        X,
        CLASSES,
        loss=lambda f, y: nn.functional.cross_entropy(f, y, reduction="none"),
    )
    torch.testing.assert_close(gradient(named), gradient(own), rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(named.losses(named.rows), own.losses(own.rows))


# -- weights and penalty --------------------------------------------------------------------------


def test_weight_decay_is_that_of_a_mean_loss():
    model = module()
    objective = read(model, X, CLASSES, loss="cross_entropy", weight_decay={"*.weight": 0.3})
    loss = nn.functional.cross_entropy(model(X), CLASSES)
    loss = loss + 0.15 * sum(
        p.square().sum() for n, p in model.named_parameters() if "weight" in n
    )
    expected = torch.cat(
        [s.flatten() for s in torch.autograd.grad(loss, list(model.parameters()))]
    )
    torch.testing.assert_close(gradient(objective), expected, rtol=1e-9, atol=1e-12)
    assert objective.per_weight


def test_integer_weights_are_repeated_rows():
    counts = np.arange(N) % 3
    rows = np.repeat(np.arange(N), counts)
    options = {"loss": "squared_error", "weight_decay": 0.1}
    weighted = read(module(), X, REALS, counts, **options)
    repeated = read(module(), X[rows], REALS[rows], **options)
    assert weighted.total_weight == repeated.total_weight
    slopes = [gradient(weighted)]
    batch = repeated.rows.take(slice(0, 100))
    theta = repeated.network.theta.clone().requires_grad_()
    f = repeated.network.outputs(batch, repeated.network.params(theta))
    (slope,) = torch.autograd.grad(repeated.loss(f, batch.y).mean(), theta)
    torch.testing.assert_close(slopes[0], slope + 0.1 * theta.detach(), rtol=1e-9, atol=1e-12)


# -- targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "y",
    [
        CLASSES.numpy().astype(float),
        CLASSES[:, None].numpy(),
        CLASSES.int(),
        CLASSES.tolist(),
    ],
    ids=["float", "column", "int32", "list"],
)
def test_positions_of_classes_however_they_come(y):
    objective = read(module(), X, y, loss="cross_entropy")
    batch = objective.rows.take(slice(0, N))
    torch.testing.assert_close(batch.y, CLASSES, rtol=0, atol=0)


def test_two_classes_as_booleans():
    binary = read(module(n_outputs=1), X, BITS.bool(), loss="binary_cross_entropy")
    torch.testing.assert_close(binary.rows.take(slice(0, N)).y, BITS, rtol=0, atol=0)
    rows = read(module(), X, BITS.bool(), loss="cross_entropy").rows
    assert rows.take(slice(0, 2)).y.dtype == torch.int64


def test_a_dataset_brings_its_targets():
    objective = read(module(), TensorDataset(X, CLASSES), loss=nn.CrossEntropyLoss())
    assert objective.n_train == N


def test_queries_are_rows_of_the_same_kind():
    objective = read(module().float(), X, CLASSES, loss="cross_entropy")
    queries = objective.read_rows(X.numpy()[:2])
    assert queries.take(slice(0, 2)).args[0].dtype == torch.float32


# -- what is refused ------------------------------------------------------------------------------


class Learnt(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Own(nn.Module):
    reduction = "mean"

    def forward(self, f, y):
        return (f - y).square().mean()


REFUSED = {
    "no loss": (
        lambda: read(module(), X, CLASSES),
        ValueError,
        r"Sequential does not say what it was trained on\. Pass loss=",
    ),
    "unknown loss": (
        lambda: read(module(), X, CLASSES, loss="entropy"),
        ValueError,
        r"loss='entropy' is none of 'cross_entropy'",
    ),
    "no positions": (
        lambda: read(module(), X, REALS[:, 0], loss="cross_entropy"),
        ValueError,
        r"y holds -?\d.*position of each row's class",
    ),
    "no such class": (
        lambda: read(module(), X, CLASSES + 1, loss="cross_entropy"),
        ValueError,
        r"y holds 3, and cross entropy .* 0, 1, \.\.\., 2\. Pass",
    ),
    "no such class in a dataset": (
        lambda: read(
            module(), Subset(TensorDataset(X, CLASSES - 1), range(N)), loss="cross_entropy"
        ),
        ValueError,
        r"y holds -1, and cross entropy",
    ),
    "no such class of a query": (
        lambda: read(module(), X, CLASSES, loss="cross_entropy").read_rows(X[:1], [5]),
        ValueError,
        r"y holds 5, and cross entropy",
    ),
    "one output": (
        lambda: read(module(n_outputs=1), X, BITS, loss="cross_entropy"),
        ValueError,
        r"needs an output for each class, .* shape \(8, 1\)\. Pass loss='binary_cross_entropy'",
    ),
    "signs": (
        lambda: read(module(n_outputs=1), X, 2 * BITS - 1, loss="binary_cross_entropy"),
        ValueError,
        r"y holds -1\.0, and binary cross entropy needs 0 and 1",
    ),
    "shapes": (
        lambda: read(module(), X, BITS, loss="squared_error"),
        ValueError,
        r"compares outputs of shape \(8, 3\) with y of shape \(8,\)",
    ),
    "strings": (
        lambda: read(module(), X, np.array(list("ab" * 6)), loss="cross_entropy"),
        ValueError,
        r"y has type <U1",
    ),
    "parameters of the loss": (
        lambda: read(module(), X, REALS, loss=Learnt()),
        UnsupportedEstimatorError,
        r"Learnt has parameters of its own",
    ),
    "smoothing and weights": (
        lambda: read(
            module(),
            X,
            CLASSES,
            loss=nn.CrossEntropyLoss(torch.ones(3), label_smoothing=0.1),
        ),
        UnsupportedEstimatorError,
        r"has weight and label_smoothing",
    ),
    "no probabilities": (
        lambda: read(module(), X, CLASSES, loss=nn.NLLLoss()),
        ValueError,
        r"NLLLoss needs probabilities that add up to one",
    ),
    "weights": (
        lambda: read(module(), X, CLASSES, np.ones(3), loss="cross_entropy"),
        ValueError,
        r"sample_weight",
    ),
    "negative weights": (
        lambda: read(module(), X, CLASSES, -np.ones(N), loss="cross_entropy"),
        ValueError,
        r"[Nn]egative values",
    ),
    "a forest": (
        lambda: read(RandomForestClassifier(), X, CLASSES),
        UnsupportedEstimatorError,
        r"RandomForestClassifier is no network that can be read",
    ),
    "a path": (lambda: read("net.pt", X, CLASSES), TypeError, r"is a path"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        build()


def test_a_loss_that_stays_a_mean():
    with pytest.raises(ValueError, match=r"Own.* returned shape \(\) for 8 rows"):
        read(module(), X, REALS, loss=Own())


def test_faults_are_found_on_reading():
    with pytest.raises(ValueError, match="X holds NaN or infinity at rows 0, 1, 2, 3 and 4 more"):
        read(module(), torch.full_like(X, torch.nan), CLASSES, loss="cross_entropy")


class Pair(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


@pytest.mark.parametrize("loss", ["cross_entropy", nn.NLLLoss()], ids=["name", "module"])
def test_outputs_that_are_no_tensor(loss):
    with pytest.raises(ValueError, match="returns a tuple, and one tensor is needed"):
        read(Pair(4, 3).double(), X, CLASSES, loss=loss)

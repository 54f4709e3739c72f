"""Losses by name are torch's, row by row, and so are their derivatives."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from torch.nn import functional as F  # noqa: E402

from skinfluence.torch.curvature import CURVATURES  # noqa: E402
from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.losses import LOSSES, RowLoss, make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.objective import NetworkObjective  # noqa: E402

N, K, T = 6, 3, 4


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 1.3 * torch.randn(*shape, generator=generator, dtype=torch.float64)


def whole(high, *shape, seed=0):
    return torch.randint(high, shape, generator=torch.Generator().manual_seed(seed))


PROBABILITIES = draw(N, K, seed=3).softmax(1)
PADDED = whole(K, N, T)
PADDED[1, 2:] = -100

# (name of the loss, outputs, y, torch's loss of one row)
CASES = {
    "classes": ("cross_entropy", draw(N, K), whole(K, N), F.cross_entropy),
    "column of classes": (
        "cross_entropy",
        draw(N, K),
        whole(K, N, 1),
        lambda f, y: F.cross_entropy(f, y[:, 0]),
    ),
    "small integers": (
        "cross_entropy",
        draw(N, K),
        whole(K, N).to(torch.uint8),
        lambda f, y: F.cross_entropy(f, y.long()),
    ),
    "probabilities": ("cross_entropy", draw(N, K), PROBABILITIES, F.cross_entropy),
    "parts of probabilities": ("cross_entropy", draw(N, K), 0.3 * PROBABILITIES, F.cross_entropy),
    "tokens": (
        "cross_entropy",
        draw(N, K, T),
        PADDED,
        lambda f, y: F.cross_entropy(f, y, reduction="sum"),
    ),
    "tokens, classes last": (
        "cross_entropy",
        draw(N, T, K),
        PADDED,
        lambda f, y: F.cross_entropy(f.movedim(-1, 1), y, reduction="sum"),
    ),
    "nll": ("nll", draw(N, K).log_softmax(1), whole(K, N), F.nll_loss),
    "binary": (
        "binary_cross_entropy",
        draw(N),
        whole(2, N),
        lambda f, y: F.binary_cross_entropy_with_logits(f, y.double()),
    ),
    "several labels": (
        "binary_cross_entropy",
        draw(N, K),
        whole(2, N, K).bool(),
        lambda f, y: F.binary_cross_entropy_with_logits(f, y.double(), reduction="sum"),
    ),
    "squares": (
        "squared_error",
        draw(N, K),
        draw(N, K, seed=1),
        lambda f, y: (f - y).pow(2).sum(),
    ),
    "a column against a vector": (
        "squared_error",
        draw(N, 1),
        draw(N, seed=1),
        lambda f, y: F.mse_loss(f[:, 0], y),
    ),
    "half squares": (
        "half_squared_error",
        draw(N, K),
        draw(N, K, seed=1),
        lambda f, y: (f - y).pow(2).sum() / 2,
    ),
    "mse": ("mse", draw(N, K), draw(N, K, seed=1), F.mse_loss),
    "poisson": (
        "poisson",
        draw(N),
        whole(4, N),
        lambda f, y: (
            F.poisson_nll_loss(f, y.double()) + (torch.xlogy(y.double(), y) - y.double()).sum()
        ),
    ),
    "huber": (
        "huber",
        3 * draw(N, K),
        draw(N, K, seed=1),
        lambda f, y: F.huber_loss(f, y, reduction="sum"),
    ),
    "l1": ("l1", draw(N, K), draw(N, K, seed=1), lambda f, y: F.l1_loss(f, y, reduction="sum")),
}
every_case = pytest.mark.parametrize("name", CASES)


def test_every_loss_has_a_case():
    assert {case[0] for case in CASES.values()} == set(LOSSES)


@every_case
def test_values_are_those_of_torch(name):
    loss, outputs, y, truth = CASES[name]
    found = make_loss(loss)(outputs, y)
    expected = torch.stack([truth(outputs[i : i + 1], y[i : i + 1]) for i in range(N)])
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@every_case
def test_gradients_are_those_of_torch(name):
    loss, outputs, y, truth = CASES[name]
    f = outputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(make_loss(loss)(f, y).sum(), f)
    # nll's is that of cross entropy: tangents of log-probabilities do not tell them apart.
    total = F.cross_entropy(f, y, reduction="sum") if name == "nll" else None
    if total is None:
        total = sum(truth(f[i : i + 1], y[i : i + 1]) for i in range(N))
    (expected,) = torch.autograd.grad(total, f)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@every_case
def test_curvature_is_the_derivative_of_the_gradient(name):
    asked, outputs, y, _ = CASES[name]
    loss = make_loss(asked)
    hessian = loss.hessian(outputs, y)
    for i in range(N):
        expected = torch.autograd.functional.hessian(
            lambda f, i=i: loss(f[None], y[i : i + 1]).sum(), outputs[i]
        )
        n = outputs[0].numel()
        torch.testing.assert_close(hessian[i], expected.reshape(n, n), rtol=1e-12, atol=1e-14)
    V = draw(2, *outputs.shape, seed=5)
    products = torch.einsum("bkl,mbl->mbk", hessian, V.reshape(2, N, -1))
    torch.testing.assert_close(
        loss.curve(outputs, y)(V).reshape(2, N, -1), products, rtol=1e-12, atol=1e-14
    )
    by_default = RowLoss.curve(loss, outputs, y)(V)
    torch.testing.assert_close(by_default.reshape(2, N, -1), products, rtol=1e-12, atol=1e-14)


def test_log_probabilities_have_the_curvature_of_their_logits():
    """The Gauss-Newton matrix of log-softmax and nll is that of logits and cross entropy."""

    def matrix(loss, *layers):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(4, K), *layers).double()
        rows = Rows(draw(N, 4), whole(K, N))
        weights = torch.ones(N, dtype=torch.float64)
        objective = NetworkObjective(Network(module), make_loss(loss), rows, weights)
        return CURVATURES["ggn"](objective).matrix()

    found = matrix("nll", torch.nn.LogSoftmax(1))
    torch.testing.assert_close(found, matrix("cross_entropy"), rtol=1e-11, atol=1e-13)
    with pytest.raises(ValueError, match=r"straight at all 6 rows.*name the loss 'nll'"):
        matrix(lambda f, y: F.nll_loss(f, y, reduction="none"), torch.nn.LogSoftmax(1))


WRONG = {
    "real classes": ("cross_entropy", draw(N, K), draw(N), "Pass y.long()"),
    "indicators": ("cross_entropy", draw(N, K), whole(2, N, K), "not indicators"),
    "one logit": ("cross_entropy", draw(N), whole(2, N), "binary_cross_entropy"),
    "class too many": ("cross_entropy", draw(N, K), whole(K, N) + 1, "class 3, .* 3 classes, 0"),
    "negative class": ("cross_entropy", draw(N, K), whole(K, N) - 1, "y names class -1"),
    "logits for nll": ("nll", draw(N, K), whole(K, N), r"row 0 of these add up to [\d.]+\. End"),
    "two and one": ("binary_cross_entropy", draw(N), whole(2, N) + 1, "between 0 and 1, and 2"),
    "counts below 0": ("poisson", draw(N), whole(3, N) - 1, "y >= 0, and -1 was"),
    "y missing": ("mse", draw(N, K), None, "y is missing"),
    "classes for numbers": ("squared_error", draw(N, K), whole(K, N), r"\(6, 3\) with y of shape"),
    "transposed": ("huber", draw(N, K), draw(K, N), "one column for each output"),
    "broadcast": ("l1", draw(N, 1), draw(N, N), "a number for each output"),
    "nan": (
        "squared_error",
        draw(N),
        draw(N).where(torch.arange(N) != 4, torch.nan),
        "first at position 4",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_targets_that_do_not_fit(name):
    loss, outputs, y, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        make_loss(loss)(outputs, y)


def test_one_loss_a_row():
    with pytest.raises(ValueError, match=r"shape \(\) for 6 rows.*reduction='none'"):
        make_loss(F.mse_loss)(draw(N), draw(N, seed=1))
    with pytest.raises(ValueError, match="loss='entropy' is none of 'cross_entropy'"):
        make_loss("entropy")


# -- curvature that a loss does not have ------------------------------------------------------


def curvature_of(kind, loss):
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))
    rows = Rows(draw(N, 4), draw(N, seed=1))
    weights = torch.ones(N, dtype=torch.float64)
    network = Network(module.double())
    return CURVATURES[kind](NetworkObjective(network, make_loss(loss), rows, weights))


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_absolute_errors_have_no_curvature(kind):
    with pytest.raises(ValueError, match=r"AbsoluteError has a kink.*curvature='fisher'"):
        curvature_of(kind, "l1")
    assert curvature_of("fisher", "l1").psd


def test_losses_that_are_not_convex():
    def welsch(f, y):
        return 1 - torch.exp(-2 * (f[:, 0] - y).square())

    with pytest.raises(ValueError, match=r"convex in the outputs; the function passed as loss "):
        curvature_of("ggn", welsch)
    assert not curvature_of("hessian", welsch).psd


@pytest.mark.parametrize("kind", ["hessian", "ggn"])
def test_a_function_of_the_users_equals_the_loss_by_name(kind):
    own = curvature_of(kind, lambda f, y: (f[:, 0] - y) ** 2).matrix()
    named = curvature_of(kind, "squared_error").matrix()
    torch.testing.assert_close(own, named, rtol=1e-12, atol=1e-14)

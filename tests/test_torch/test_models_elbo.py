"""Modules with a bound: read as a loss that is a mean over draws."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.exceptions import UnsupportedEstimatorError  # noqa: E402
from skinfluence.torch.data.rows import Batch  # noqa: E402
from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.models.elbo import read_elbo  # noqa: E402
from skinfluence.torch.tracing.draws import TRAINING, DrawnRows  # noqa: E402
from tests.test_torch.vae_cases import (  # noqa: E402
    CASES,
    MLPVAE,
    N_ROWS,
    SHARED,
    ConvVAE,
    FoldedVAE,
    vae_case,
)

EVERY = pytest.mark.parametrize("name", CASES)
GRADIENTS = pytest.mark.parametrize("gradient", ["reparameterized", "score"])


def ready(name, m=5, dtype=torch.float64, gradient="reparameterized", **options):
    """Objective, row gradients and rows with draws of a module of the table."""
    module, X = vae_case(name, dtype, **options)
    objective = read_elbo(module, X, gradient=gradient)
    rows = DrawnRows(objective.rows, objective.stochastic, m, seed=1, stream=TRAINING)
    gradients = RowGradients(objective.network, objective.loss, rows.take(slice(None)))
    return objective, gradients, rows, module


def by_autograd(module, names, X, noise, method="elbo"):
    """The definition: one draw of one row at a time through the user's own module."""
    every = dict(module.named_parameters())
    leaves = [every[name].requires_grad_() for name in names]
    found = []
    for x, draws in zip(X, noise, strict=True):
        bounds = [getattr(module, method)(x[None], draw[None])[0] for draw in draws]
        slopes = torch.autograd.grad(-sum(bounds) / len(bounds), leaves, materialize_grads=True)
        found.append(torch.cat([slope.reshape(-1) for slope in slopes]))
    return torch.stack(found).detach()


@EVERY
@pytest.mark.parametrize("m", [1, 2, 6, 7])  # 6 draws of 6 rows
def test_gradients_are_means_over_draws(name, m):
    objective, gradients, rows, module = ready(name, m)
    batch = rows.take(slice(None))
    block = gradients.block(batch)
    truth = by_autograd(module, objective.network.names, *batch.args)
    scale = float(truth.abs().max())
    torch.testing.assert_close(block.dense(), truth, rtol=0, atol=1e-12 * scale)
    own = truth.square().sum(1)
    torch.testing.assert_close(block.squares(), own, rtol=1e-11, atol=0)
    torch.testing.assert_close(block.pairs(block), truth @ truth.T, rtol=0, atol=1e-11 * scale**2)
    with torch.no_grad():
        losses = [-module.elbo(batch.args[0], batch.args[1][:, j]) for j in range(m)]
    torch.testing.assert_close(block.values, sum(losses) / m, rtol=1e-12, atol=0)
    torch.testing.assert_close(objective.losses(rows), sum(losses) / m, rtol=1e-12, atol=0)


@EVERY
def test_single_draws(name):
    objective, gradients, rows, module = ready(name, 3)
    batch = rows.apart(slice(None))
    truth = by_autograd(module, objective.network.names, *batch.args)
    found = gradients.block(batch)
    scale = float(truth.abs().max())
    torch.testing.assert_close(found.dense(), truth, rtol=0, atol=1e-12 * scale)
    grouped = truth.view(N_ROWS, 3, -1)
    products = grouped @ grouped.transpose(1, 2)
    torch.testing.assert_close(found.grams(3), products, rtol=0, atol=1e-12 * scale**2)


@EVERY
def test_float32(name):
    objective, gradients, rows, module = ready(name, 4, torch.float32)
    batch = rows.take(slice(None))
    assert batch.args[1].dtype == torch.float32
    truth = by_autograd(module, objective.network.names, *batch.args)
    scale = float(truth.abs().max())
    torch.testing.assert_close(gradients.block(batch).dense(), truth, rtol=0, atol=2e-5 * scale)


@EVERY
def test_several_draws_at_once_are_found_out(name):
    objective, gradients, rows, _ = ready(name)
    assert objective.stochastic.shared == (name in SHARED)
    factors = {
        factor.names[0]: factor for factor in gradients.block(rows.take(slice(0, 4))).factors
    }
    if name == "shared":  # the encoder runs once, the decoder for every draw
        assert factors["encoder.0.weight"].a.shape[1] == 1
        assert factors["decoder.0.weight"].a.shape[1] == 5


def test_parameters_that_no_layer_owns():
    assert ready("own_parameters")[1].formed == ("scale",)


@EVERY
def test_the_users_module_is_left_alone(name):
    module, X = vae_case(name)
    names, forward = [n for n, _ in module.named_parameters()], module.forward
    state = {key: value.clone() for key, value in module.state_dict().items()}
    objective = read_elbo(module, X)
    assert module.forward == forward
    assert list(objective.network.names) == names
    for key, value in module.state_dict().items():
        torch.testing.assert_close(value, state[key], rtol=0, atol=0)


@EVERY
@pytest.mark.parametrize("again", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_compute_with_their_own_parameters(name, again):
    objective, _, rows, _ = ready(name)
    twin, batch = again(objective.network), rows.take(slice(None))
    before = objective.network.outputs(batch)
    torch.testing.assert_close(twin.outputs(batch), before, rtol=0, atol=0)
    with torch.no_grad():
        for p in twin.module.parameters():
            p.mul_(1.5)
    assert float((twin.outputs(batch) - before).abs().max()) > 1e-3
    torch.testing.assert_close(objective.network.outputs(batch), before, rtol=0, atol=0)


def test_targets_are_ignored():
    module, X = vae_case("mlp")
    objective = read_elbo(module, X, y=np.array(list("abcdef")))
    assert objective.rows.take(slice(None)).y is None
    assert objective.read_rows(X[:2], y=["a", "b"]).take(slice(None)).y is None


def test_arrays_datasets_and_weights():
    module, X = vae_case("mlp")
    pairs = torch.utils.data.TensorDataset(X, torch.arange(N_ROWS))
    weights = np.arange(1.0, N_ROWS + 1)
    for given in (X.numpy(), pairs):
        objective = read_elbo(module, given, sample_weight=weights)
        rows = DrawnRows(objective.rows, objective.stochastic, 2, seed=0, stream=TRAINING)
        assert objective.losses(rows).shape == (N_ROWS,)
        torch.testing.assert_close(objective.weights.numpy().sum(), 21.0)


def test_inputs_with_names():
    module, X = vae_case("shared")
    objective = read_elbo(module, {"x": X})
    plain = read_elbo(module, X)
    rows = [
        DrawnRows(o.rows, o.stochastic, 3, seed=0, stream=TRAINING) for o in (objective, plain)
    ]
    torch.testing.assert_close(objective.losses(rows[0]), plain.losses(rows[1]), rtol=0, atol=0)


def test_some_parameters():
    module, X = vae_case("shared")
    objective = read_elbo(module, X, params="decoder")
    assert all(name.startswith("decoder.") for name in objective.network.names)


# -- estimates of the gradient --------------------------------------------------------------------


def of_each_draw(objective, X, noise):
    """Gradients of every row at every draw, (n, K, p); noise (K, ...) is the same for all."""
    n, K = len(X), len(noise)
    batch = Batch((X.repeat_interleave(K, 0), noise.repeat(n, 1)[:, None]))
    gradients = RowGradients(objective.network, objective.loss, batch[: 2 * n])
    return gradients.block(batch).dense().view(n, K, -1)


def quadrature(nodes=80):
    """Nodes and weights of an expectation over one standard normal number."""
    x, w = hermegauss(nodes)
    return torch.from_numpy(x)[:, None], torch.from_numpy(w / w.sum())


@GRADIENTS
def test_mean_gradient_is_the_quadratures(gradient):
    module, X = vae_case("mlp", latent_dim=1)
    exact, weights = quadrature()
    truth = torch.einsum("nkp,k->np", of_each_draw(read_elbo(module, X), X, exact), weights)
    objective = read_elbo(module, X, gradient=gradient)
    found = torch.einsum("nkp,k->np", of_each_draw(objective, X, exact), weights)
    scale = float(truth.abs().max())
    torch.testing.assert_close(found, truth, rtol=0, atol=1e-9 * scale)
    # And so it is of draws, within their spread.
    noise = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    each = of_each_draw(objective, X, noise)
    error = (each.var(1) / len(noise)).sqrt()
    moved = error > 1e-12
    z = ((each.mean(1) - truth) / error)[moved]
    assert float(z.abs().max()) < 4.5  # of 540 numbers, which are not independent
    assert float(z.square().mean().sqrt()) < 2.0


def test_both_estimates_have_one_mean():
    module, X = vae_case("mlp")
    parts = []
    for seed, gradient in enumerate(("reparameterized", "score")):
        source = torch.Generator().manual_seed(seed)
        noise = torch.randn(4000, 2, generator=source, dtype=torch.float64)
        each = of_each_draw(read_elbo(module, X, gradient=gradient), X, noise)
        parts.append((each.mean(1), each.var(1) / len(noise)))
    (a, u), (b, v) = parts
    z = (a - b) / (u + v).sqrt()
    assert float(z.abs().max()) < 4.0
    assert float(z.square().mean().sqrt()) < 2.2
    encoder = slice(0, 5 * 7)
    assert float((v[:, encoder] / u[:, encoder]).median()) > 10  # what the default saves


# -- refusals -------------------------------------------------------------------------------------


class Wrong(MLPVAE):
    """A bound that is wrong in a way of choice."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def elbo(self, x, noise):
        found = super().elbo(x, noise)
        return self.how(found)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        (lambda f: f.mean(), r"^Wrong\.elbo returned a tensor of shape \(\) for 6 rows"),
        (lambda f: f[:, None], r"of shape \(6, 1\) for 6 rows.*of shape \(6,\)\. Sum"),
        (lambda f: (f, f), r"returned a tuple for"),
        (lambda f: f + torch.randn_like(f), "same noise: it draws numbers of its own"),
        (lambda f: f * f.sum(), "rows see each other"),
        (lambda f: f.detach(), "No gradient reaches"),
        (lambda f: f / 0.0, "Leave such rows out"),
    ],
)
def test_wrong_bounds(how, message):
    with pytest.raises(ValueError, match=message):
        read_elbo(Wrong(how), torch.rand(8, 5))


class Drawing(MLPVAE):
    def elbo(self, x):
        return super().elbo(x, torch.randn(len(x), self.latent_dim))


def test_bounds_take_noise():
    with pytest.raises(
        ValueError, match=r"Drawing\.elbo has the arguments \(x\), .*\(n_rows, 2\)"
    ):
        read_elbo(Drawing(), torch.rand(8, 5))
    with pytest.raises(
        ValueError, match=r"arguments \(x\), .*unexpected keyword argument 'noise'"
    ):
        read_elbo(Drawing(), {"x": torch.rand(8, 5)})


def test_what_is_missing():
    X = torch.rand(8, 5)
    with pytest.raises(UnsupportedEstimatorError, match=r"Linear has no method elbo\(x, noise\)"):
        read_elbo(nn.Linear(5, 2), X)
    module = MLPVAE()
    del module.latent_dim
    with pytest.raises(UnsupportedEstimatorError, match="attribute noise_shape, the shape of one"):
        read_elbo(module, X)
    with pytest.raises(UnsupportedEstimatorError, match=r"no method elbo_score\(x, noise\)"):
        read_elbo(ConvVAE(), torch.rand(8, 2, 8, 8), gradient="score")
    with pytest.raises(ValueError, match="gradient='reinforce' is none of 'reparameterized'"):
        read_elbo(MLPVAE(), X, gradient="reinforce")


def test_noise_may_be_of_any_shape():
    module = MLPVAE(latent_dim=2)
    module.noise_shape = (2,)
    del module.latent_dim
    assert read_elbo(module, torch.rand(8, 5)).stochastic.shape == (2,)


def test_rows_that_the_module_does_not_take():
    with pytest.raises(ValueError, match="The forward fails on the first 8 rows"):
        read_elbo(FoldedVAE(), torch.rand(9, 4))


class Asserting(MLPVAE):
    def elbo(self, x, noise):
        assert noise.shape == (len(x), self.latent_dim)
        return super().elbo(x, noise)


def test_a_module_may_insist_on_one_draw_a_row():
    assert not read_elbo(Asserting(), torch.rand(8, 5)).stochastic.shared

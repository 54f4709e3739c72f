"""The VAE as a function of rows, draws and parameters."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch import VAE  # noqa: E402
from skinfluence.torch.vae import networks  # noqa: E402
from skinfluence.torch.vae.module import divergence  # noqa: E402

LATENTS = 2


def settings(**changed):
    given = {"architecture": "mlp", "hidden": (6,), "latent_dim": LATENTS, "beta": 1.5}
    given |= {"likelihood": "gaussian", "noise_scale": 0.7, "dtype": "float64"}
    return SimpleNamespace(**given | changed)


def made(n_features=12, seed=0, **changed) -> VAE:
    """An untrained VAE whose first parameters are large enough for the draws to matter."""
    vae = networks.new_module(settings(**changed), n_features, seed)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.mul_(2.0)
    return vae


CASES = {
    "mlp gaussian": {},
    "mlp bernoulli": {"likelihood": "bernoulli"},
    "linear": {"hidden": ()},
    "conv gaussian": {"architecture": "conv", "hidden": (3,), "image_shape_": (1, 3, 4)},
    "conv bernoulli": {
        "architecture": "conv",
        "hidden": (3,),
        "image_shape_": (2, 3, 2),
        "likelihood": "bernoulli",
    },
}


def rows_and_noise(m=5, b=3, n_features=12, dtype=torch.float64):
    rng = np.random.default_rng(1)
    x = torch.tensor(rng.uniform(size=(b, n_features)), dtype=dtype)
    return x, torch.tensor(rng.standard_normal((b, m, LATENTS)), dtype=dtype)


def gradient(vae, value):
    """Of a number, in all parameters, one after the other."""
    found = torch.autograd.grad(value, list(vae.parameters()), materialize_grads=True)
    return torch.cat([part.reshape(-1) for part in found]).numpy()


# -- values -----------------------------------------------------------------------------------


def test_divergence_is_that_of_torch_and_of_draws():
    rng = np.random.default_rng(0)
    mu, log_var = torch.tensor(rng.normal(size=(2, 4, LATENTS)))
    q = torch.distributions.Normal(mu, (0.5 * log_var).exp())
    prior = torch.distributions.Normal(0.0, 1.0)
    truth = torch.distributions.kl_divergence(q, prior).sum(-1)
    torch.testing.assert_close(divergence(mu, log_var), truth, rtol=1e-12, atol=0)
    z = mu + (0.5 * log_var).exp() * torch.tensor(rng.standard_normal((20_000, 4, LATENTS)))
    terms = (q.log_prob(z) - prior.log_prob(z)).sum(-1)
    error = terms.std(0) / math.sqrt(len(z))
    assert ((terms.mean(0) - truth) / error).abs().max() < 4


def test_divergence_of_an_encoder_that_says_nearly_nothing():
    """KL = log_var**2 / 4 near 0, where exp(v) - 1 - v has lost every digit in float32."""
    log_var = torch.full((1, 1), 1e-3)
    found = divergence(torch.zeros(1, 1), log_var)
    torch.testing.assert_close(found, torch.tensor([2.5e-7]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("beta", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_bound_is_its_definition(likelihood, beta):
    vae = made(likelihood=likelihood, beta=beta)
    x, noise = rows_and_noise(m=1)
    mu, log_var = vae.encode(x)
    out = vae.decode(mu + (0.5 * log_var).exp() * noise[:, 0])
    if likelihood == "gaussian":
        log_p = torch.distributions.Normal(out, 0.7).log_prob(x)
    else:
        log_p = x * out.sigmoid().log() + (1 - x) * (1 - out.sigmoid()).log()
    truth = log_p.sum(1) - beta * divergence(mu, log_var)
    torch.testing.assert_close(vae.elbo(x, noise[:, 0]), truth, rtol=1e-12, atol=1e-12)


def test_bound_at_the_exact_posterior_is_the_log_density():
    """Linear decoder: the posterior is Gaussian, and log p(x | z) a square, which +-1 average."""
    rng = np.random.default_rng(3)
    W, b = rng.normal(size=(5, 1)), rng.normal(size=5)
    vae = made(5, hidden=(), latent_dim=1, beta=1.0)
    variance = 1 / (1 + np.sum(W**2) / 0.7**2)
    slope = variance * W.T / 0.7**2
    raw = 20 * math.atanh(math.log(variance) / 20)
    with torch.no_grad():
        vae.decoder[0].weight.copy_(torch.tensor(W))
        vae.decoder[0].bias.copy_(torch.tensor(b))
        vae.encoder[0].weight.copy_(torch.tensor(np.vstack([slope, np.zeros((1, 5))])))
        vae.encoder[0].bias.copy_(torch.tensor([-(slope @ b)[0], raw]))
    x = torch.tensor(rng.normal(size=(4, 5)))
    bound = vae.elbo(x, torch.tensor([[1.0], [-1.0]], dtype=x.dtype).expand(4, 2, 1))
    covariance = torch.tensor(W @ W.T + 0.7**2 * np.eye(5))
    truth = torch.distributions.MultivariateNormal(torch.tensor(b), covariance).log_prob(x)
    torch.testing.assert_close(bound, truth, rtol=1e-10, atol=0)


@pytest.mark.parametrize("name", ["elbo", "elbo_score"])
@pytest.mark.parametrize(("dtype", "close"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize("case", CASES)
def test_draws_on_their_own_axis_are_averaged(case, dtype, close, name):
    vae = made(**CASES[case], dtype=dtype)
    x, noise = rows_and_noise(dtype=getattr(torch, dtype))
    bound = getattr(vae, name)
    together = bound(x, noise)
    alone = torch.stack([bound(x, noise[:, j]) for j in range(noise.shape[1])]).mean(0)
    torch.testing.assert_close(together, alone, rtol=close, atol=close)
    truth = gradient(vae, alone.sum())
    scale = np.abs(truth).max()
    assert_allclose(gradient(vae, together.sum()), truth, rtol=0, atol=4 * close * scale)


@pytest.mark.parametrize("case", CASES)
def test_rows_do_not_see_each_other(case):
    vae = made(**CASES[case])
    x, noise = rows_and_noise()
    together = vae.elbo(x, noise)
    for i in range(len(x)):
        alone = vae.elbo(x[i : i + 1], noise[i : i + 1])
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-12, atol=1e-12)


# -- the two gradients ------------------------------------------------------------------------


def gradients_of_draws(vae, bound, n_draws):
    """One gradient for each draw of one row, (n_draws, p), and the values."""
    rng = np.random.default_rng(7)
    x = torch.tensor(rng.uniform(size=(1, 4))).expand(n_draws, 4)
    values = bound(x, torch.tensor(rng.standard_normal((n_draws, vae.latent_dim))))
    found = torch.autograd.grad(
        values,
        list(vae.parameters()),
        torch.eye(n_draws, dtype=values.dtype),
        is_grads_batched=True,
    )
    together = torch.cat([part.reshape(n_draws, -1) for part in found], 1)
    return together.numpy(), values.detach().numpy()


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_both_gradients_have_the_same_mean(likelihood):
    """Equation (9) of Kong and Chaudhuri against the reparameterised gradient, by z-scores."""
    vae = made(4, hidden=(), likelihood=likelihood, latent_dim=1, beta=2.0, noise_scale=1.0)
    ours, values = gradients_of_draws(vae, vae.elbo, 2000)
    theirs, score_values = gradients_of_draws(vae, vae.elbo_score, 2000)
    variance = (ours.var(0) + theirs.var(0)) / 2000
    z = (ours.mean(0) - theirs.mean(0))[variance > 0] / np.sqrt(variance[variance > 0])
    assert np.abs(z).max() < 4
    assert np.sqrt(np.mean(z**2)) < 2.2
    assert_allclose(ours.mean(0)[variance == 0], theirs.mean(0)[variance == 0], rtol=1e-10)
    error = math.sqrt((values.var() + score_values.var()) / 2000)
    assert abs(values.mean() - score_values.mean()) < 4 * error


def test_score_function_gradient_of_the_decoder_is_the_same_draw_by_draw():
    vae = made()
    x, noise = rows_and_noise()
    decoder = list(vae.decoder.parameters())
    ours = torch.autograd.grad(vae.elbo(x, noise).sum(), decoder)
    theirs = torch.autograd.grad(vae.elbo_score(x, noise).sum(), decoder)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-10)


def test_score_function_gradient_is_equation_nine():
    """``-grad log Q(z|x) (beta log (Q(z|x) / P(z)) - log P(x|z))`` at one draw, by hand."""
    vae = made(beta=2.0)
    x, noise = rows_and_noise(m=1, b=1)
    mu, log_var = vae.encode(x)
    z = (mu + (0.5 * log_var).exp() * noise[:, 0]).detach()
    log_q = torch.distributions.Normal(mu, (0.5 * log_var).exp()).log_prob(z).sum()
    log_prior = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum()
    log_p = torch.distributions.Normal(vae.decode(z), 0.7).log_prob(x).sum()
    factor = float((2.0 * (log_q - log_prior) - log_p).detach())
    encoder = list(vae.encoder.parameters())
    found = torch.autograd.grad(vae.elbo_score(x, noise).sum(), encoder, retain_graph=True)
    slopes = torch.autograd.grad(log_q, encoder)
    for mine, slope in zip(found, slopes, strict=True):
        torch.testing.assert_close(mine, -factor * slope, rtol=1e-9, atol=1e-9)


# -- the networks -----------------------------------------------------------------------------


def test_networks_of_the_benchmarks():
    """The dense networks of Kong and Chaudhuri's MNIST experiments."""
    vae = networks.new_module(settings(hidden=(512, 256), latent_dim=128), 784, 0)
    assert sum(parameter.numel() for parameter in vae.parameters()) == 1_165_840


@pytest.mark.parametrize("size", [(8, 8), (7, 9), (28, 28), (5, 4), (1, 28)])
def test_images_come_back_in_their_size(size):
    times = int(math.log2(min(size)))
    shape = (3, *size)
    encoder, decoder = networks.image_networks(shape, (4, 5, 6, 7)[:times], LATENTS)
    vae = VAE(encoder, decoder, latent_dim=LATENTS)
    images = torch.rand(2, *shape)
    assert vae(images.flatten(1)).shape == (2, 3 * size[0] * size[1])
    noise = torch.zeros(2, LATENTS)
    flat, given = vae.elbo(images.flatten(1), noise), vae.elbo(images, noise)
    torch.testing.assert_close(flat, given, rtol=0, atol=0)


def test_own_networks_of_any_row_shape():
    """Rows keep their axes where the encoder and decoder do."""

    class Swap(nn.Module):
        def forward(self, z):
            return z[:, :, None].expand(-1, -1, 3)

    encoder = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3, 4))
    vae = VAE(encoder, Swap(), latent_dim=2)
    x = torch.rand(5, 2, 3)
    assert vae(x).shape == (5, 2, 3)
    assert vae.decode(torch.zeros(5, 7, 2)).shape == (5, 7, 2, 3)
    assert vae.elbo(x, torch.zeros(5, 7, 2)).shape == (5,)


def test_first_parameters_are_torchs_own_kind():
    """Uniform with torch's bounds, layer by layer."""
    for case in CASES.values():
        vae = networks.new_module(settings(**case), 12, 0)
        for part in vae.modules():
            if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
                theirs = [torch.cat([p.reshape(-1) for p in again(part)]) for _ in range(20)]
                largest = float(torch.cat(theirs).abs().max())
                ours = torch.cat([p.reshape(-1) for p in part.parameters()])
                assert 0 < float(ours.detach().abs().max()) <= 1.35 * largest
                assert float(ours.detach().std()) < 2 * float(torch.cat(theirs).std())


def again(part):
    with torch.random.fork_rng(), torch.no_grad():
        part = type(part)(**constructor(part))
        return [p.detach() for p in part.parameters()]


def constructor(part):
    if isinstance(part, nn.Linear):
        return {"in_features": part.in_features, "out_features": part.out_features}
    return {"in_channels": part.in_channels, "out_channels": part.out_channels, "kernel_size": 4}


def test_log_variances_do_not_overflow():
    vae = made(dtype="float32")
    x, noise = rows_and_noise(dtype=torch.float32)
    _, log_var = vae.encode(1e30 * x)
    assert float(log_var.detach().abs().max()) <= 20
    assert bool(vae.elbo(1e8 * x, noise).isfinite().all())
    small = vae.encode(x)[1]
    raw = vae.encoder(x)[:, LATENTS:]
    torch.testing.assert_close(small, raw, rtol=0.02, atol=0)


# -- messages ---------------------------------------------------------------------------------


def test_likelihoods_have_names():
    with pytest.raises(ValueError, match=r"likelihood must be .* Got 'poisson'"):
        VAE(nn.Identity(), nn.Identity(), latent_dim=1, likelihood="poisson")


@pytest.mark.parametrize("wrong", [{"latent_dim": 0}, {"beta": -1.0}, {"noise_scale": 0.0}])
def test_numbers_have_ranges(wrong):
    with pytest.raises(ValueError, match=r"at least one latent, beta >= 0 and noise_scale > 0"):
        VAE(nn.Identity(), nn.Identity(), **{"latent_dim": 1} | wrong)


def test_an_encoder_of_another_width():
    vae = VAE(nn.Linear(3, 5), nn.Linear(2, 3), latent_dim=2)
    with pytest.raises(ValueError, match=r"gives \(5,\) numbers a row, and 2 latents take \(4,\)"):
        vae.elbo(torch.zeros(1, 3), torch.zeros(1, 2))


def test_small_images_cannot_be_halved_often():
    with pytest.raises(ValueError, match=r"6 x 9 pixels cannot be halved 4 times.* at most 2"):
        networks.image_networks((1, 6, 9), (8, 8, 8, 8), 2)


def test_repr_shows_the_numbers():
    assert "latent_dim=2, beta=1.5, likelihood='gaussian', noise_scale=0.7" in repr(made())
    assert "noise_scale" not in made(likelihood="bernoulli").extra_repr()

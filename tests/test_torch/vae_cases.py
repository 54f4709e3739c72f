"""Small variational auto-encoders of the tests' own: what an ``elbo`` may look like."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

N_ROWS, BETA = 6, 0.7


class MLPVAE(nn.Module):
    """Gaussian likelihood of unit variance; noise (b, latent) only."""

    def __init__(self, d=5, width=7, latent_dim=2):
        super().__init__()
        self.latent_dim = latent_dim
        self.encoder = nn.Sequential(nn.Linear(d, width), nn.Tanh())
        self.mean, self.log_var = nn.Linear(width, latent_dim), nn.Linear(width, latent_dim)
        self.decoder = nn.Sequential(nn.Linear(latent_dim, width), nn.Tanh(), nn.Linear(width, d))

    def encode(self, x):
        h = self.encoder(x)
        return self.mean(h), self.log_var(h)

    def log_likelihood(self, x, z):
        return -0.5 * (self.decoder(z) - x).square().flatten(1).sum(1)

    def kl(self, mean, log_var):
        return 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum(-1)

    def elbo(self, x, noise):
        mean, log_var = self.encode(x)
        z = mean + (0.5 * log_var).exp() * noise
        return self.log_likelihood(x, z) - BETA * self.kl(mean, log_var)

    def elbo_score(self, x, noise):
        """Surrogate: the encoder's gradient by the score function, the decoder's as it is."""
        mean, log_var = self.encode(x)
        z = (mean + (0.5 * log_var).exp() * noise).detach()
        log_q = -0.5 * ((z - mean).square() / log_var.exp() + log_var + math.log(2 * math.pi))
        log_p = self.log_likelihood(x, z)
        return log_p + log_p.detach() * log_q.sum(1) - BETA * self.kl(mean, log_var)


class SharedVAE(MLPVAE):
    """Takes several draws of a row at once: the encoder runs once."""

    def elbo(self, x, noise):
        if noise.ndim == 2:
            return super().elbo(x, noise)
        mean, log_var = self.encode(x)
        z = mean[:, None] + (0.5 * log_var).exp()[:, None] * noise
        log_p = -0.5 * (self.decoder(z) - x[:, None]).square().sum(2)
        return log_p.mean(1) - BETA * self.kl(mean, log_var)


class FoldedVAE(MLPVAE):
    """The same, whose decoder sees the draws on the axis of the rows, behind a batch norm."""

    def __init__(self):
        super().__init__()
        self.decoder.insert(1, nn.BatchNorm1d(7))
        moments = self.decoder[1]
        nn.init.uniform_(moments.running_mean)
        nn.init.uniform_(moments.running_var, 0.5, 2.0)

    def elbo(self, x, noise):
        noise = noise if noise.ndim == 3 else noise[:, None]
        b, m, _ = noise.shape
        mean, log_var = self.encode(x)
        z = (mean[:, None] + (0.5 * log_var).exp()[:, None] * noise).flatten(0, 1)
        log_p = self.log_likelihood(x.repeat_interleave(m, 0), z).view(b, m)
        return log_p.mean(1) - BETA * self.kl(mean, log_var)


class ConvVAE(nn.Module):
    """Images (b, 2, 8, 8), Bernoulli likelihood; noise (b, 3), or (b, m, 3) if `shared`."""

    noise_shape = (3,)

    def __init__(self, shared=False):
        super().__init__()
        self.shared = shared
        self.encoder = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.SiLU(), nn.Conv2d(4, 6, 3, stride=2)
        )
        self.moments = nn.Linear(6, 6)
        self.start = nn.Linear(3, 6 * 2 * 2)
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(6, 4, 4, stride=2, padding=1),
            nn.GroupNorm(2, 4),
            nn.SiLU(),
            nn.ConvTranspose2d(4, 3, 4, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(3, 2, 3, padding=1),
        )

    def elbo(self, x, noise):
        if noise.ndim == 3 and not self.shared:
            raise RuntimeError("one draw a row")
        noise = noise if noise.ndim == 3 else noise[:, None]
        b, m, _ = noise.shape
        mean, log_var = self.moments(self.encoder(x).mean((2, 3))).chunk(2, 1)
        z = mean[:, None] + (0.5 * log_var).exp()[:, None] * noise
        logits = self.decoder(self.start(z).view(b * m, 6, 2, 2)).view(b, m, *x.shape[1:])
        log_p = x[:, None] * logits - nn.functional.softplus(logits)
        kl = 0.5 * (mean.square() + log_var.exp() - 1.0 - log_var).sum(1)
        return log_p.flatten(2).sum(2).mean(1) - kl


class OwnParameters(MLPVAE):
    """A scale that no layer owns, so that gradients are formed row by row."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def log_likelihood(self, x, z):
        return -0.5 * ((self.decoder(z) - x) * self.scale).square().flatten(1).sum(1)


Case = tuple[nn.Module, Any]
CASES: dict[str, Callable[[], nn.Module]] = {
    "mlp": MLPVAE,
    "shared": SharedVAE,
    "folded": FoldedVAE,
    "conv": ConvVAE,
    "conv_shared": lambda: ConvVAE(shared=True),
    "own_parameters": OwnParameters,
}
SHARED = {"shared", "folded", "conv_shared"}


def vae_case(name: str, dtype: Any = torch.float64, **options: Any) -> Case:
    """A module of the table in evaluation mode, with no zero biases, and its rows (n, ...)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sum(map(ord, name)))
        module = CASES[name](**options).double().eval()
        with torch.no_grad():
            for p in module.parameters():
                p.add_(0.1 * torch.randn(p.shape, dtype=torch.float64))
        shape = (2, 8, 8) if name.startswith("conv") else (module.encoder[0].in_features,)
        X = torch.rand(N_ROWS, *shape, dtype=torch.float64)
    return module.to(dtype), X.to(dtype)

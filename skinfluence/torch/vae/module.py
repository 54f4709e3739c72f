"""A variational auto-encoder whose evidence lower bound is a function of given draws."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

LIKELIHOODS = ("gaussian", "bernoulli")
# |log variance| of a latent stays below it, so that its exponential is a number in float32 and
# rows far outside the training rows have a loss. Standard deviations from 5e-5 to 2e4 are enough.
LOG_VAR_BOUND = 20.0


class VAE(nn.Module):
    """A beta-VAE, whose loss is a function of the draws that it is given.

    The encoder gives each row a Gaussian of the latents, ``Q(.|x) = N(mu, diag(exp(log_var)))``,
    and the decoder the distribution of rows at given latents. A row's evidence lower bound is::

        elbo(x) = E_{z ~ Q(.|x)} log P(x|z)  -  beta KL(Q(.|x) || N(0, I))

    The divergence has a closed form; the expectation is the mean over draws
    ``z_j = mu + exp(log_var / 2) noise_j`` of standard normal noise that the caller brings.
    Nothing here is random, so that a loss can be repeated, and two rows or two checkpoints can be
    compared at the same draws. With ``beta=1`` the bound is on ``log p(x)`` itself, constants
    included.

    Use it for an encoder and a decoder of your own, as in ``TracInExplainer(VAE(...))``;
    :class:`BetaVAE` builds and trains the usual ones.

    Parameters
    ----------
    encoder : nn.Module
        From rows (b, ...) to (b, 2 * latent_dim): mu, then log_var before it is bounded.
    decoder : nn.Module
        From latents (b, latent_dim) to rows (b, ...): means, or logits of a Bernoulli.
    latent_dim : int
        Number of latents.
    beta : float, default=1.0
        Weight of the divergence.
    likelihood : {"gaussian", "bernoulli"}, default="gaussian"
        ``N(mean, noise_scale**2 I)``, or independent values in [0, 1] by their logits.
    noise_scale : float, default=1.0
        Standard deviation of the Gaussian likelihood, in the unit of the columns.

    Raises
    ------
    ValueError
        If the likelihood is unknown, or a number is out of its range.

    See Also
    --------
    BetaVAE : The estimator that builds and trains one.

    Notes
    -----
    ``log_var = 20 tanh(raw / 20)`` of the encoder's own ``raw``: nearly the same up to 5 in size
    (2 % off), and below 20 whatever the row, so that its exponential does not overflow and its
    slope does not vanish all at once as a clamp's would.

    References
    ----------
    .. [1] D. P. Kingma and M. Welling, "Auto-Encoding Variational Bayes", ICLR 2014.
    .. [2] I. Higgins et al., "beta-VAE: Learning Basic Visual Concepts with a Constrained
       Variational Framework", ICLR 2017.
    .. [3] Z. Kong and K. Chaudhuri, "Understanding Instance-based Interpretability of Variational
       Auto-Encoders", NeurIPS 2021, equations (6) and (9).

    Examples
    --------
    Let x = z + e, both standard normal. The posterior is N(x / 2, 1 / 2); an encoder that says so
    makes the bound the log density of N(0, 2). (In one dimension, two draws at +1 and -1 average
    squares exactly.)

    >>> import math, torch
    >>> from skinfluence.torch import VAE
    >>> encoder, decoder = torch.nn.Linear(1, 2), torch.nn.Linear(1, 1)
    >>> vae = VAE(encoder, decoder, latent_dim=1).double()
    >>> raw = 20 * math.atanh(math.log(0.5) / 20)
    >>> for layer, weight, bias in [(encoder, [[0.5], [0]], [0, raw]), (decoder, [[1]], [0])]:
    ...     _ = layer.load_state_dict({"weight": torch.tensor(weight), "bias": torch.tensor(bias)})
    >>> x = torch.tensor([[-3.0], [0.2]]).double()
    >>> noise = torch.tensor([[1.0], [-1.0]]).double().expand(2, 2, 1)
    >>> bound = vae.elbo(x, noise)
    >>> truth = torch.distributions.Normal(0, math.sqrt(2)).log_prob(x[:, 0])
    >>> bool((bound - truth).abs().max() < 1e-6)
    True
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        latent_dim: int,
        beta: float = 1.0,
        likelihood: Literal["gaussian", "bernoulli"] = "gaussian",
        noise_scale: float = 1.0,
    ):
        super().__init__()
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood must be 'gaussian' or 'bernoulli'. Got {likelihood!r}. Use "
                "'gaussian' unless the columns are in [0, 1]."
            )
        if latent_dim < 1 or not beta >= 0 or not noise_scale > 0:
            raise ValueError(
                "A VAE has at least one latent, beta >= 0 and noise_scale > 0. Got "
                f"latent_dim={latent_dim}, beta={beta}, noise_scale={noise_scale}. Change these."
            )
        self.encoder, self.decoder = encoder, decoder
        self.latent_dim = int(latent_dim)
        self.beta = float(beta)
        self.likelihood = likelihood
        self.noise_scale = float(noise_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct rows from the means of their latents.

        Parameters
        ----------
        x : Tensor of shape (b, ...)
            Rows.

        Returns
        -------
        means : Tensor of shape (b, ...)
            Means of the likelihood.
        """
        return self.mean(self.encode(x)[0])

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Find the distribution of the latents of each row.

        Parameters
        ----------
        x : Tensor of shape (b, ...)
            Rows.

        Returns
        -------
        mu : Tensor of shape (b, latent_dim)
            Means.
        log_var : Tensor of shape (b, latent_dim)
            Logarithms of the variances, between -20 and 20.

        Raises
        ------
        ValueError
            If the encoder's outputs are not two numbers a latent.
        """
        out = self.encoder(x)
        if out.shape[1:] != (2 * self.latent_dim,):
            raise ValueError(
                f"The encoder gives {tuple(out.shape[1:])} numbers a row, and {self.latent_dim} "
                f"latents take ({2 * self.latent_dim},): means, then log variances. Change its "
                "last layer, or latent_dim."
            )
        mu, raw = out.chunk(2, -1)
        return mu, LOG_VAR_BOUND * torch.tanh(raw / LOG_VAR_BOUND)

    def decode(self, z: Tensor) -> Tensor:
        """Decode latents into what the likelihood is given by.

        Parameters
        ----------
        z : Tensor of shape (..., latent_dim)
            Latents.

        Returns
        -------
        out : Tensor of shape (..., row)
            Means of a Gaussian, logits of a Bernoulli.
        """
        out = self.decoder(z.reshape(-1, self.latent_dim))
        return out.reshape(*z.shape[:-1], *out.shape[1:])

    def mean(self, z: Tensor) -> Tensor:
        """Decode latents into the means of rows.

        Parameters
        ----------
        z : Tensor of shape (..., latent_dim)
            Latents.

        Returns
        -------
        means : Tensor of shape (..., row)
            Means of the likelihood, of both kinds.
        """
        out = self.decode(z)
        return out if self.likelihood == "gaussian" else out.sigmoid()

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        """Bound the log density of each row at given draws.

        Its gradient is the reparameterised one, through the draws.

        Parameters
        ----------
        x : Tensor of shape (b, ...)
            Rows.
        noise : Tensor of shape (b, latent_dim) or (b, m, latent_dim)
            Standard normal draws. Of m draws a row the mean is taken, and the encoder runs once.

        Returns
        -------
        bounds : Tensor of shape (b,)
            In nats; minus the loss of each row.
        """
        mu, log_var = self.encode(x)
        z = self._draws(mu, log_var, noise)
        return self._log_likelihood(x, z).mean(1) - self.beta * divergence(mu, log_var)

    def elbo_score(self, x: Tensor, noise: Tensor) -> Tensor:
        """Bound as ``elbo`` does, with the score-function gradient.

        The draws are held fixed, and the encoder's parameters move their probability instead:
        equation (9) of Kong and Chaudhuri (2021). Its mean is that of the gradient of ``elbo``,
        and its variance is larger. The divergence is estimated at the draws too, as there.

        Parameters
        ----------
        x : Tensor of shape (b, ...)
            Rows.
        noise : Tensor of shape (b, latent_dim) or (b, m, latent_dim)
            Standard normal draws.

        Returns
        -------
        bounds : Tensor of shape (b,)
            In nats; their mean over draws is that of ``elbo``.
        """
        mu, log_var = self.encode(x)
        z = self._draws(mu, log_var, noise).detach()
        log_p = self._log_likelihood(x, z)  # (b, m)
        log_q = _log_normal(z, mu[:, None], log_var[:, None])
        zero = torch.zeros_like(z[:1, :1])
        excess = self.beta * (log_q - _log_normal(z, zero, zero)).detach()
        # Of no value: it only has the slope (log_p - excess) d log_q.
        slope = (log_p.detach() - excess) * (log_q - log_q.detach())
        return (log_p - excess + slope).mean(1)

    def _draws(self, mu: Tensor, log_var: Tensor, noise: Tensor) -> Tensor:
        """Latents at given noise, (b, m, latent_dim); m is 1 where noise has no such axis."""
        if noise.ndim == 2:
            noise = noise[:, None]
        return mu[:, None] + (0.5 * log_var).exp()[:, None] * noise

    def _log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """``log P(x|z)`` of each draw, (b, m), from rows (b, ...) and latents (b, m, L)."""
        out = self.decode(z).flatten(2)
        x = x.flatten(1)[:, None]
        if self.likelihood == "bernoulli":
            x = x.expand_as(out)
            return -binary_cross_entropy_with_logits(out, x, reduction="none").sum(2)
        constant = out.shape[2] * (math.log(self.noise_scale) + 0.5 * math.log(2 * math.pi))
        return -0.5 * ((x - out) / self.noise_scale).square().sum(2) - constant

    def extra_repr(self) -> str:
        """Show the numbers beside the networks.

        Returns
        -------
        text : str
            Constructor arguments.
        """
        noise = f", noise_scale={self.noise_scale:g}" if self.likelihood == "gaussian" else ""
        return (
            f"latent_dim={self.latent_dim}, beta={self.beta:g}, "
            f"likelihood={self.likelihood!r}{noise}"
        )


def divergence(mu: Tensor, log_var: Tensor) -> Tensor:
    """``KL(N(mu, diag(exp(log_var))) || N(0, I))`` of each row, (b,)."""
    # expm1: exp(v) - 1 - v cancels where the encoder says nothing, v near 0.
    return 0.5 * (mu.square() + torch.expm1(log_var) - log_var).sum(-1)


def _log_normal(z: Tensor, mu: Tensor, log_var: Tensor) -> Tensor:
    """Log density of independent Gaussians, summed over the last axis."""
    scaled = (z - mu).square() * torch.exp(-log_var)
    return -0.5 * (scaled + log_var + math.log(2 * math.pi)).sum(-1)

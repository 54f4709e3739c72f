"""The beta-VAE: a module with an ELBO for each row, and an estimator that trains one."""

from skinfluence.torch.vae.estimator import BetaVAE
from skinfluence.torch.vae.module import VAE

__all__ = ["VAE", "BetaVAE"]

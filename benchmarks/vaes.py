"""A variational auto-encoder on images of digits, trained once and handed to every process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from nets import images
from torch import Tensor

from skinfluence.torch import VAE, BetaVAE
from skinfluence.torch.models.elbo import read_elbo
from skinfluence.torch.tracing.drawing import make_drawing
from skinfluence.torch.tracing.trajectory import at_step
from skinfluence.torch.vae.networks import dense_networks

WIDTHS, LATENTS, BETA = (512, 256), 128, 4.0
# What a module that was not recorded is taken to be at.
STEP = 1


@dataclass(frozen=True)
class VaeProblem:
    """A trained beta-VAE 784-512-256-128 with its rows and queries; it pickles small.

    Parameters
    ----------
    n, m : int
        Training rows and queries.
    draws : int
        Of the latents, a row.
    state : dict of str to ndarray
        Parameters after training.
    dtype : str
    device : str
    """

    n: int
    m: int
    draws: int
    state: dict[str, np.ndarray]
    dtype: str = "float32"
    device: str = "cpu"

    def module(self) -> VAE:
        """The VAE, Bernoulli likelihood."""
        networks = dense_networks(784, WIDTHS, LATENTS)
        options = dict(latent_dim=LATENTS, beta=BETA, likelihood="bernoulli")
        module = VAE(*networks, **options)
        module.load_state_dict({name: torch.as_tensor(v) for name, v in self.state.items()})
        return module.to(dtype=getattr(torch, self.dtype), device=self.device).eval()

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows and queries as a user has them."""
        return images(self.n)[0], images(self.m, seed=1)[0]

    def rows(self, first: int | None = None) -> tuple[Tensor, Tensor]:
        """The first training rows (n, 784) and their noise (n, draws, 128)."""
        return self._drawn(self.arrays()[0], "training", first)

    def queries(self, first: int | None = None) -> tuple[Tensor, Tensor]:
        """The same of the queries."""
        return self._drawn(self.arrays()[1], "queries", first)

    def _drawn(self, X, which, first):
        """Rows with the noise that the explainer draws, so that numbers can be compared."""
        objective = read_elbo(self.in_type("float32").module(), X[:8])
        drawing = make_drawing(objective, self.draws, seed=0)
        drawn = getattr(drawing, which)(
            objective.read_rows(X[: len(X) if first is None else first])
        )
        x, noise = at_step(drawn, STEP).take(slice(None)).args
        kind = dict(dtype=getattr(torch, self.dtype), device=self.device)
        return x.to(**kind), noise.to(**kind)

    def in_type(self, dtype: str) -> VaeProblem:
        """The same problem in another floating point type."""
        return replace(self, dtype=dtype)


@cache
def trained_vae(n: int, m: int, draws: int = 16, device: str = "cpu") -> VaeProblem:
    """A VAE that has seen at most 10,000 of the rows, twice."""
    estimator = BetaVAE(
        LATENTS, beta=BETA, likelihood="bernoulli", hidden=WIDTHS, max_epochs=2, checkpoints=None,
        random_state=0,
    )  # fmt: skip
    module = estimator.fit(images(min(n, 10_000))[0]).module_
    state = {name: value.numpy().copy() for name, value in module.state_dict().items()}
    return VaeProblem(n, m, draws, state, device=device)

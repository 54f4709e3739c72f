"""Small BetaVAEs for tests, and what is compared of them."""

from __future__ import annotations

import numpy as np

from skinfluence.torch import BetaVAE

TINY = {"latent_dim": 2, "hidden": (4,), "max_epochs": 2, "batch_size": 16}
RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 6))
UNIT = RNG.uniform(size=(40, 6))


def tiny(**changed) -> BetaVAE:
    return BetaVAE(**TINY | {"random_state": 0} | changed)


def state(vae):
    return {name: p.detach().numpy() for name, p in vae.module_.named_parameters()}


def same(a, b):
    return all(
        np.array_equal(x, y) for x, y in zip(state(a).values(), state(b).values(), strict=True)
    )

"""The gradients of a BetaVAE's rows are found layer by layer, whatever its architecture."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch import BetaVAE  # noqa: E402
from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.models.elbo import read_elbo  # noqa: E402
from skinfluence.torch.tracing.draws import DrawnRows  # noqa: E402

X = np.random.default_rng(0).uniform(size=(12, 2 * 5 * 6))
NETWORKS = {
    "mlp": {"hidden": (7, 5)},
    "linear": {"hidden": ()},
    "conv": {"architecture": "conv", "image_shape": (2, 5, 6), "hidden": (3, 4)},
}


@pytest.mark.parametrize("gradient", ["reparameterized", "score"])
@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("network", NETWORKS)
def test_all_layers_are_known(network, dtype, likelihood, gradient):
    options = {"max_epochs": 2, "dtype": dtype, "likelihood": likelihood, "random_state": 0}
    vae = BetaVAE(3, **NETWORKS[network], **options).fit(X)
    objective = read_elbo(vae.module_, X, gradient=gradient)
    assert objective.stochastic.shape == (3,)
    assert objective.stochastic.shared  # draws on their own axis: the encoder runs once
    rows = DrawnRows(objective.rows, objective.stochastic, 16, seed=0, stream=0)
    gradients = RowGradients(objective.network, objective.loss, rows.take(slice(0, 4)))
    assert gradients.formed == ()
    covered = {f"{path}.{own}" for path in gradients.layers for own in ("weight", "bias")}
    assert covered == {name for name, _ in vae.module_.named_parameters()}

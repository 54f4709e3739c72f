"""Derivatives of features in inputs."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.representers.features import features_of  # noqa: E402
from skinfluence.torch.representers.sensitivity import Noise, sensitivity  # noqa: E402


def images(n=5):
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4)
    ).double()
    return Network(module), Rows(torch.randn(n, 2, 3, 3, dtype=torch.float64))


def recurrent(n=5):
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.read, self.out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            return self.out(self.read(x)[0][:, -1])

    torch.manual_seed(0)
    return Network(Last().double()), Rows(torch.randn(n, 6, 3, dtype=torch.float64))


def last_of(network):
    return [part for part in network.module.modules() if isinstance(part, nn.Linear)][-1]


@pytest.mark.parametrize("case", [images, recurrent])
@pytest.mark.parametrize("n_directions", [3, 40])  # fewer than features, and more
def test_sensitivity_is_the_derivative_of_features(case, n_directions):
    network, rows = case()
    layer = last_of(network)
    U = np.random.default_rng(0).normal(size=(n_directions, layer.in_features))
    found = sensitivity(network, layer, rows, U, Noise())
    x = rows.everything.inputs[0]
    assert found.shape == (len(x), n_directions, *x.shape[1:])
    step = 1e-6
    for entry in [0, 5, -1]:
        move = torch.zeros(x[0].numel(), dtype=x.dtype)
        move[entry] = step
        move = move.reshape(x.shape[1:])
        up, down = (features_of(network, layer, Rows(x + s * move)) for s in (1, -1))
        truth = (up - down) @ U.T / (2 * step)
        slope = found.reshape(len(x), n_directions, -1)[:, :, entry]
        assert_allclose(slope, truth, rtol=1e-6, atol=1e-8)


def test_blocks_do_not_matter():
    network, rows = images(9)
    layer = last_of(network)
    U = np.random.default_rng(0).normal(size=(6, layer.in_features))
    whole = [sensitivity(network, layer, rows, U, noise) for noise in (Noise(), Noise(3, 0.1, 5))]
    with sklearn.config_context(working_memory=1e-4):
        for noise, truth in zip((Noise(), Noise(3, 0.1, 5)), whole, strict=True):
            parts = sensitivity(network, layer, rows, U, noise)
            assert_allclose(parts, truth, rtol=1e-12, atol=1e-14)


def test_noise_is_averaged_over_and_seeded():
    network, rows = images()
    layer = last_of(network)
    U = np.random.default_rng(0).normal(size=(2, layer.in_features))
    exact = sensitivity(network, layer, rows, U, Noise())
    found = sensitivity(network, layer, rows, U, Noise(4, 0.2, seed=1))
    assert_array_equal(sensitivity(network, layer, rows, U, Noise(4, 0.2, seed=1)), found)
    assert np.abs(sensitivity(network, layer, rows, U, Noise(4, 0.2, seed=2)) - found).max() > 1e-4
    # By hand: the draws of query 3 are those of its own stream.
    x = rows.everything.inputs[0][3:4]
    draws = np.random.default_rng([1, 3]).standard_normal((4, *x.shape[1:]))
    moved = x + 0.2 * float(x.max() - x.min()) * torch.tensor(draws)
    truth = sensitivity(network, layer, Rows(moved), U, Noise()).mean(0)
    assert_allclose(found[3], truth, rtol=1e-10, atol=1e-12)
    assert_allclose(sensitivity(network, layer, rows, U, Noise(4, 0.0)), exact, rtol=1e-12)


def test_inputs_without_a_derivative_are_refused():
    network, _ = images()
    layer = last_of(network)
    whole = Rows(torch.zeros(3, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"inputs are torch\.int64, which have no derivative"):
        sensitivity(network, layer, whole, np.ones((1, 12)), Noise())
    pair = Rows((torch.zeros(3, 4), torch.zeros(3, 2)))
    with pytest.raises(ValueError, match="has 2 inputs"):
        sensitivity(network, layer, pair, np.ones((1, 12)), Noise())


def test_features_that_do_not_depend_on_inputs_have_no_sensitivity():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(3, 2)

        def forward(self, x):
            return self.out(x.detach())

    network = Network(Detached())
    found = sensitivity(
        network, last_of(network), Rows(torch.ones(4, 3)), np.ones((2, 3)), Noise()
    )
    assert_array_equal(found, np.zeros((4, 2, 3)))

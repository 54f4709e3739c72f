"""Every way to a second derivative gives the same numbers."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from torch.nn import functional as F  # noqa: E402

from skinfluence.torch.derivatives import (  # noqa: E402
    GAUSS_NEWTON,
    HESSIAN,
    differentiable_twice,
    first_that_works,
)
from skinfluence.torch.network import Network  # noqa: E402
from tests.test_torch.networks import N_ROWS, NETWORKS  # noqa: E402

NAMES = ("mlp", "cnn", "lstm", "transformer", "unused")


def problem(name):
    """Outputs and total loss as functions of the parameters, where they are, and vectors."""
    module, rows, _ = NETWORKS[name]()
    network, batch = Network(module), rows.take(slice(0, N_ROWS))

    def outputs(params):
        return network.outputs(batch, params)

    def total(params):
        return F.cross_entropy(outputs(params), batch.y, reduction="sum")

    generator = torch.Generator().manual_seed(0)
    V = {
        key: torch.randn(3, *p.shape, generator=generator, dtype=p.dtype)
        for key, p in network.params().items()
    }
    return outputs, total, network.params(), V


def agree(found):
    first, *others = found
    scale = max(float(values.abs().max()) for values in first.values())
    for other in others:
        for key, values in first.items():
            torch.testing.assert_close(other[key], values, rtol=0.0, atol=1e-12 * scale)


@pytest.mark.parametrize("name", NAMES)
def test_hessians(name):
    _, total, at, V = problem(name)
    agree([route(total, at, V) for route in HESSIAN])


@pytest.mark.parametrize("name", NAMES)
def test_gauss_newton(name):
    outputs, _, at, V = problem(name)
    agree([route(outputs, lambda f: lambda T: 2 * T, at, V) for route in GAUSS_NEWTON])


def test_the_first_route_that_works():
    def fails():
        raise RuntimeError("no")

    def works():
        return 1

    assert first_that_works([fails, works, fails]) is works
    with pytest.raises(RuntimeError, match="no"):
        first_that_works([fails, fails])


def test_switches_are_put_back():
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled
    with pytest.raises(ZeroDivisionError), differentiable_twice():
        assert not torch.backends.mha.get_fastpath_enabled()
        raise ZeroDivisionError
    assert before == (torch.backends.mha.get_fastpath_enabled(), torch.backends.cudnn.enabled)

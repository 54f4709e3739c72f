"""What known layers see in one pass forward and back."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402

from skinfluence.torch.gradients import RowGradients, capture_outputs  # noqa: E402
from skinfluence.torch.losses import make_loss  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402


def _ready(name):
    module, rows, loss = NETWORKS[name]()
    batch = rows.take(slice(None))
    network = Network(module)
    return network, batch, RowGradients(network, make_loss(loss), batch)


@pytest.mark.parametrize(
    "name", ["mlp", "over_positions", "layer_used_twice", "regression", "changed_in_place"]
)
def test_cotangents_give_jacobians(name):
    network, batch, gradients = _ready(name)
    outputs, uses = capture_outputs(network, gradients.layers, batch)
    for path in gradients.layers:
        found = sum(
            torch.einsum("kbto,bti->kboi", use.delta.flatten(2, -2), use.input.flatten(1, -2))
            if use.input.ndim > 2
            else torch.einsum("kbo,bi->kboi", use.delta, use.input)
            for use in uses[path]
        )
        weight = dict(network.module.named_modules())[path].weight
        weight.requires_grad_()
        for i in range(batch.size):
            for k, f in enumerate(network.outputs(batch[i : i + 1]).flatten()):
                (truth,) = torch.autograd.grad(f, weight, retain_graph=True)
                torch.testing.assert_close(found[k, i], truth, rtol=1e-10, atol=1e-12)
        weight.requires_grad_(False)
    torch.testing.assert_close(outputs, network.outputs(batch), rtol=0, atol=0)


def test_vectors_of_ones_own():
    network, batch, gradients = _ready("mlp")
    _, unit = capture_outputs(network, gradients.layers, batch)
    vectors = lambda f: torch.stack([f, torch.full_like(f, 2.0)])  # noqa: E731
    _, both = capture_outputs(network, gradients.layers, batch, vectors)
    f = network.outputs(batch)
    for path in gradients.layers:
        delta = unit[path][0].delta
        expected = torch.stack([torch.einsum("bk,kbo->bo", f, delta), 2.0 * delta.sum(0)])
        torch.testing.assert_close(both[path][0].delta, expected, rtol=1e-10, atol=1e-12)


def test_an_error_leaves_nothing_behind():
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.fail = nn.Linear(3, 2), False

        def forward(self, x):
            x = self.step(x)
            if self.fail:
                raise KeyError("no such row")
            return x

    network = Network(Fails())
    batch = NETWORKS["one_layer"]()[1].take(slice(None)).map(lambda x: x)
    batch = type(batch)((batch.args[0][:, :3].float(),), batch.y % 2)
    gradients = RowGradients(network, make_loss("cross_entropy"), batch)
    network.module.fail = True
    with pytest.raises(KeyError, match="no such row"):
        gradients.block(batch)
    assert not network.module.step._forward_hooks
    network.module.fail = False
    assert len(gradients.block(batch)) == batch.size

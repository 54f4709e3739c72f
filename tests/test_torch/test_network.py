"""A private copy of a module, and its parameters as one vector."""

from __future__ import annotations

from threading import Lock

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")
from torch import nn  # noqa: E402

from skinfluence.torch.data import Batch  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402


def small(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))


X = torch.linspace(-1, 1, 15).reshape(5, 3)


# -- the copy -------------------------------------------------------------------------------------


def test_the_users_module_stays_as_it_is():
    module = small().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    network = Network(module)
    network.outputs(Batch((X,)))
    assert module.training
    assert all(p.requires_grad and p.grad is None for p in module.parameters())
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_later_training_does_not_reach_the_copy():
    module = small()
    network = Network(module)
    before = network.outputs(Batch((X,)))
    with torch.no_grad():
        module[0].weight += 1.0
    torch.testing.assert_close(network.outputs(Batch((X,))), before, rtol=0, atol=0)


def test_dropout_and_batch_norm_are_at_rest():
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)).train()
    network = Network(module)
    expected = module.eval()(X)
    torch.testing.assert_close(network.outputs(Batch((X,))), expected, rtol=0, atol=0)


def test_activations_do_not_write_into_their_input():
    assert not any(getattr(part, "inplace", False) for part in Network(small()).module)


class DistributedDataParallel(nn.Module):
    """What the wrapper of that name looks like; the real one wants a process group."""

    def __init__(self, module):
        super().__init__()
        self.module = module


WRAPPERS = {
    "compile": torch.compile,
    "parallel": nn.DataParallel,
    "distributed": DistributedDataParallel,
    "both": lambda module: torch.compile(nn.DataParallel(module)),
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_wrappers_come_off(wrap):
    module = small()
    network = Network(wrap(module))
    assert network.names == Network(module).names
    torch.testing.assert_close(network.outputs(Batch((X,))), module(X), rtol=0, atol=0)


def test_compiled_parts_are_unwrapped():
    module = small()
    parts = nn.Sequential(torch.compile(module[0]), *module[1:])
    network = Network(parts)
    assert network.names == Network(module).names
    torch.testing.assert_close(network.outputs(Batch((X,))), module(X), rtol=0, atol=0)


def test_a_module_compiled_in_place_runs_as_it_is_written():
    module = small()
    expected = module(X)
    module.compile(backend=_refuses)
    torch.testing.assert_close(Network(module).outputs(Batch((X,))), expected, rtol=0, atol=0)


def _refuses(graph, inputs):
    raise AssertionError("the copy was compiled")


@pytest.mark.parametrize(
    "norm",
    [
        nn.utils.parametrizations.weight_norm,
        pytest.param(
            nn.utils.weight_norm,
            marks=pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning"),
        ),
        lambda layer: import_optional("torch.nn.utils.prune").l1_unstructured(
            layer, "weight", 0.5
        ),
    ],
    ids=["parametrised", "by a hook", "pruned"],
)
def test_weights_that_are_computed(norm):
    module = nn.Sequential(norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))
    expected = module(X)
    network = Network(module)
    torch.testing.assert_close(network.outputs(Batch((X,))), expected)
    moved = network.params(network.theta * 2)
    assert not torch.equal(network.outputs(Batch((X,)), moved), expected)


def test_an_activation_that_was_kept_is_copied():
    module = small()
    module.kept = module(X)
    assert not Network(module).module.kept.requires_grad
    assert module.kept.requires_grad


def test_half_precision_is_computed_in_single():
    module = small().to(torch.bfloat16)
    network = Network(module)
    assert network.dtype == torch.float32
    assert module[0].weight.dtype == torch.bfloat16
    torch.testing.assert_close(
        network.outputs(Batch((X,))), module.float()(X), rtol=1e-6, atol=1e-6
    )


def test_a_head_is_part_of_the_module():
    network = Network(small(), head=torch.exp)
    torch.testing.assert_close(network.outputs(Batch((X,))), small()(X).exp())
    found = network.outputs(Batch((X,)), network.params())
    torch.testing.assert_close(found, small()(X).exp())
    assert network.names == Network(small()).names


# -- which parameters -----------------------------------------------------------------------------


def test_patterns_and_the_last_layer():
    assert Network(small()).n_params == 26
    assert Network(small(), params="last_layer").names == ("2.weight", "2.bias")
    assert Network(small(), params=["2.bias", "0.*"]).names == ("0.weight", "0.bias", "2.bias")
    assert Network(small(), params="*.bias").names == ("0.bias", "2.bias")


def test_the_last_layer_of_a_parametrised_module_has_its_bias():
    last = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))
    names = Network(nn.Sequential(nn.Linear(3, 4), last), params="last_layer").names
    assert names == (
        "1.bias",
        "1.parametrizations.weight.original0",
        "1.parametrizations.weight.original1",
    )


def test_frozen_parameters_are_not_explained():
    module = small()
    module[0].requires_grad_(False)
    assert Network(module).names == ("2.weight", "2.bias")
    assert Network(module, params="*.bias").names == ("2.bias",)
    with pytest.raises(ValueError, match=r"0\.weight did not move in training"):
        Network(module, params="0.weight")


@pytest.mark.parametrize("name", NETWORKS)
def test_all_parameters_of_the_small_networks_are_explained(name):
    module, rows, _ = NETWORKS[name](dtype=torch.float64)
    network = Network(module)
    assert network.names == tuple(dict(module.named_parameters()))
    batch = rows.take(slice(0, 3))
    expected = module.eval()(*batch.args, **batch.kwargs)
    torch.testing.assert_close(network.outputs(batch), expected, rtol=1e-9, atol=1e-12)
    found = network.outputs(batch, network.params())
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_all_are_explained_where_none_asks_for_a_gradient():
    assert Network(small().requires_grad_(False)).n_params == 26


def test_shared_parameters_are_there_once():
    module = nn.Sequential(nn.Embedding(5, 3), nn.Linear(3, 5))
    module[1].weight = module[0].weight
    network = Network(module)
    assert network.names == ("0.weight", "1.bias")
    for params in ("last_layer", ["1"], ["1.weight", "1.bias"]):  # by any of its names
        assert Network(module, params=params).names == ("0.weight", "1.bias")
    assert Network(module, params=["0"]).names == ("0.weight",)
    decay = network.spread({"1.weight": 0.5}, "weight_decay")
    assert decay.tolist() == 15 * [0.5] + 5 * [0.0]
    rows = Batch((torch.arange(4),))
    moved = network.params(network.theta + 1.0)
    with torch.no_grad():
        for p in module.parameters():
            p += 1.0
    torch.testing.assert_close(network.outputs(rows, moved), module(torch.arange(4)))


def test_parts_that_recurrent_layers_are_opened_into_have_no_names():
    network = Network(nn.GRU(2, 3))
    with pytest.raises(ValueError, match=r"weight_decay names '\*\.weight'"):
        network.spread({"*.weight": 1.0}, "weight_decay")


def test_an_unknown_parameter():
    with pytest.raises(ValueError, match=r"no such parameter\. It has 0\.weight, 0\.bias, 2\."):
        Network(small(), params=["fc*"])


def test_parameters_of_two_types():
    module = small()
    module[2].double()
    with pytest.raises(ValueError, match=r"of several types .*torch\.float32 on cpu"):
        Network(module)
    assert Network(module, params="last_layer").dtype == torch.float64


# -- what is refused ------------------------------------------------------------------------------


def _with_attribute(value):
    module = small()
    module.kept = value
    return module


def _quantised():
    return torch.ao.quantization.quantize_dynamic(small(), {nn.Linear}, dtype=torch.qint8)


REFUSED = {
    "path": (lambda: "net.pt", TypeError, r"is a path .*weights_only=True"),
    "state dict": (lambda: small().state_dict(), TypeError, r"probably a state_dict"),
    "function": (lambda: torch.tanh, TypeError, r"a torch\.nn\.Module is needed"),
    "script": (lambda: torch.jit.script(small()), TypeError, r"TorchScript .* traced from"),
    "lazy": (lambda: nn.LazyLinear(2), ValueError, r"lazy and has no values .* after training"),
    "meta": (lambda: nn.Linear(2, 2, device="meta"), ValueError, r"on the meta device"),
    "quantised": (_quantised, TypeError, r"is quantised .* integers have no gradient"),
    "complex": (lambda: nn.Linear(2, 2, dtype=torch.complex64), TypeError, r"is complex"),
    "a lock": (lambda: _with_attribute(Lock()), TypeError, r"Sequential cannot be copied .*lock"),
    "kept losses": (
        lambda: _with_attribute([small()(X).sum()]),
        TypeError,
        r"cannot be copied .* Take what belongs to training",
    ),
    "no parameters": (lambda: nn.ReLU(), ValueError, r"ReLU has no parameters"),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore:.*:UserWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    build, error, message = REFUSED[name]
    with pytest.raises(error, match=message):
        Network(build())


# -- vectors over the parameters ------------------------------------------------------------------


def test_vectors_split_and_join():
    network = Network(small())
    V = torch.arange(2.0 * network.n_params).reshape(2, -1)
    parts = network.split(V)
    assert {name: tuple(part.shape) for name, part in parts.items()} == {
        "0.weight": (2, 4, 3),
        "0.bias": (2, 4),
        "2.weight": (2, 2, 4),
        "2.bias": (2, 2),
    }
    torch.testing.assert_close(torch.cat([p.flatten(1) for p in parts.values()], 1), V)
    torch.testing.assert_close(network.params()["2.weight"], small()[2].weight.detach())


def test_numbers_by_pattern_the_last_that_matches_counts():
    network = Network(small())
    decay = network.spread({"*": 0.5, "*.bias": 0, "2.weight": 2}, "weight_decay")
    parts = {
        name: set(part[0].flatten().tolist()) for name, part in network.split(decay[None]).items()
    }
    assert parts == {"0.weight": {0.5}, "0.bias": {0.0}, "2.weight": {2.0}, "2.bias": {0.0}}
    assert network.spread(0.0, "weight_decay") is None
    assert network.spread(None, "weight_decay") is None


def test_patterns_may_name_what_is_not_explained():
    network = Network(small(), params="last_layer")
    assert network.spread({"0.*": 1.0}, "weight_decay") is None


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), "much"])
def test_a_penalty_is_a_finite_number_that_is_not_negative(value):
    with pytest.raises(ValueError, match=r"weight_decay is .* a finite number that is not negat"):
        Network(small()).spread(value, "weight_decay")


def test_a_penalty_on_nothing():
    with pytest.raises(ValueError, match=r"weight_decay names 'fc\*', and the module has no"):
        Network(small()).spread({"fc*": 1.0}, "weight_decay")

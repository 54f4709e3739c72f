"""Checkpoints that something else saved: state dicts in files, and files that are not opened."""

from __future__ import annotations

import os
import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence.checkpoints import as_checkpoints, read_checkpoints
from tests.conftest import import_optional

torch = import_optional("torch")

from torch import nn  # noqa: E402


def network(seed=0, width=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width), nn.Linear(width, 1))


def save_safetensors(state, path):
    from safetensors.torch import save_file

    save_file(state, path)


def save_legacy(state, path):
    torch.save(state, path, _use_new_zipfile_serialization=False)


SAVERS = {
    "net.pt": torch.save,
    "net.bin": torch.save,
    "old.pth": save_legacy,
    "net.safetensors": save_safetensors,
    "wrapped.pt": lambda state, path: torch.save({"epoch": 3, "state_dict": state}, path),
    "other.pt": lambda state, path: torch.save({"model_state_dict": state, "loss": 0.5}, path),
    "model.pt": lambda state, path: torch.save({"model": state, "ema": state}, path),
    "own.pt": lambda state, path: torch.save({"net": state, "opt": {"state": {}}}, path),
}


@pytest.mark.parametrize("name", SAVERS)
def test_state_dicts_are_read(name, tmp_path):
    net = network()
    SAVERS[name](net.state_dict(), tmp_path / name)
    (found,) = as_checkpoints(tmp_path / name, net)
    assert list(found.parameters) == [key for key, _ in net.named_parameters()]
    assert list(found.buffers) == [key for key, _ in net.named_buffers()]
    for key, values in (*found.parameters.items(), *found.buffers.items()):
        assert_array_equal(values, net.state_dict()[key].numpy())
    assert found.path is None and found.optimizer is None
    pickle.loads(pickle.dumps(found))


def test_several_files_in_their_order(tmp_path):
    paths = []
    for epoch in (9, 10, 11):
        paths.append(tmp_path / f"epoch-{epoch}.pt")
        torch.save(network(epoch).state_dict(), paths[-1])
    found = as_checkpoints([str(path) for path in paths], network())
    assert found.steps == [9, 10, 11]
    for item, epoch in zip(found, (9, 10, 11), strict=True):
        assert_array_equal(item.parameters["0.weight"], network(epoch)[0].weight.detach().numpy())
    # As a directory lists them, where 10 comes before 9.
    with pytest.raises(ValueError, match="step 9 comes after step 11"):
        read_checkpoints(sorted(paths))
    os.rename(paths[0], tmp_path / "first.pt")
    assert read_checkpoints([tmp_path / "first.pt", *paths[1:]]).steps == [1, 2, 3]


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_float32(suffix, dtype, tmp_path):
    net = network().to(dtype)
    (save_safetensors if suffix == ".safetensors" else torch.save)(
        net.state_dict(), tmp_path / f"half{suffix}"
    )
    (found,) = as_checkpoints(tmp_path / f"half{suffix}", net)
    assert found.parameters["0.weight"].dtype == np.float32
    assert_array_equal(found.parameters["0.weight"], net[0].weight.detach().float().numpy())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "_orig_mod.module.", "model."])
def test_what_wrappers_put_before_names_is_taken_off(prefix):
    net = network()
    state = {prefix + key: value for key, value in net.state_dict().items()}
    (found,) = as_checkpoints(state, net)
    assert_array_equal(found.parameters["0.weight"], net[0].weight.detach().numpy())
    assert "1.running_mean" in found.buffers


def test_a_checkpoint_of_lightning():
    """Its module has the network as ``model``, and its file much else."""
    net = network()
    state = {f"model.{key}": value for key, value in net.state_dict().items()}
    (found,) = as_checkpoints({"state_dict": state, "epoch": 3, "global_step": 40}, net)
    assert list(found.parameters) == [name for name, _ in net.named_parameters()]


def test_other_names_of_the_module_around_it_are_named():
    net = network()
    state = {f"net.{key}": value for key, value in net.state_dict().items()}
    state["criterion.weight"] = torch.ones(2)
    with pytest.raises(ValueError, match=r"has the Sequential inside, as 'net'.*startswith"):
        as_checkpoints(state, net)
    inner = {n.removeprefix("net."): v for n, v in state.items() if n.startswith("net.")}
    assert len(as_checkpoints(inner, net)) == 1
    with pytest.raises(ValueError, match="different parameters"):
        as_checkpoints({"net.0.weight": torch.ones(2, 2)}, net)


def test_a_module_of_that_name_keeps_its_own():
    net = nn.ModuleDict({"module": nn.Linear(2, 1)})
    (found,) = as_checkpoints(net.state_dict(), net)
    assert list(found.parameters) == ["module.weight", "module.bias"]


def test_shared_parameters_are_one():
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    (found,) = as_checkpoints(net.state_dict(), net)
    assert list(found.parameters) == ["0.weight", "0.bias", "1.bias"]


def test_modules_and_their_state_dicts_are_the_same():
    nets = [network(0), network(1)]
    one, other = (
        as_checkpoints(nets, nets[0]),
        as_checkpoints([n.state_dict() for n in nets], nets[0]),
    )
    for a, b in zip(one, other, strict=True):
        for name, values in a.parameters.items():
            assert_array_equal(values, b.parameters[name])
        assert set(a.buffers) == set(b.buffers)
    assert as_checkpoints(nets[0], nets[0]).steps == [1]


class Opened:
    """A pickle that creates a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("saver", ["torch", "old torch", "pickle"])
def test_a_malicious_pickle_is_refused_and_nothing_of_it_runs(saver, tmp_path):
    victim, path = tmp_path / "victim", tmp_path / "net.pt"
    content = {"state_dict": network().state_dict(), "callback": Opened(victim)}
    if saver == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=saver == "torch")
    for read in (read_checkpoints, lambda p: as_checkpoints([p], network())):
        with pytest.raises(
            ValueError, match=r"is not opened: it holds more than tensors|cannot be"
        ):
            read(path)
    assert not victim.exists()
    # It is as malicious as it claims.
    torch.load(path, weights_only=False) if saver != "pickle" else pickle.loads(path.read_bytes())
    assert victim.exists()


def test_a_whole_module_is_refused_with_what_to_save(tmp_path):
    torch.save(network(), tmp_path / "net.pt")
    with pytest.raises(
        ValueError, match=r"texts \(.*Sequential\), and .* save its module\.state_dict\(\)\.$"
    ):
        read_checkpoints(tmp_path / "net.pt")


@pytest.mark.parametrize("name", SAVERS)
def test_a_file_that_was_cut_short(name, tmp_path):
    path = tmp_path / name
    SAVERS[name](network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"cut short|is not opened|is no safetensors"):
        dict(read_checkpoints(path)[0].parameters)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 no zip", os.urandom(400)])
def test_a_file_of_another_kind(content, suffix, tmp_path):
    path = tmp_path / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot be read|is not opened|is no safetensors"):
        read_checkpoints(path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ([1, 2], "holds a list, and a state dict is needed"),
        ({}, "holds a dict, and a state dict is needed"),
        ({"epoch": 3, "w": torch.ones(2)}, "holds 'epoch', which is no tensor"),
        (
            {"generator": {"w": torch.ones(2)}, "critic": {"w": torch.ones(2)}},
            r"several state dicts, under 'generator', 'critic'\. .* pass the one",
        ),
        (torch.ones(3), "holds a Tensor, and a state dict is needed"),
    ],
)
def test_what_is_no_state_dict(content, match, tmp_path):
    torch.save(content, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=match):
        read_checkpoints(tmp_path / "net.pt")


def test_a_torchscript_archive_is_refused(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        traced = torch.jit.trace(nn.Linear(2, 1), torch.ones(1, 2))
        traced.save(str(tmp_path / "net.pt"))
    with pytest.raises(ValueError, match="is a TorchScript archive, which holds code"):
        read_checkpoints(tmp_path / "net.pt")


def test_old_torch_opens_no_old_files(tmp_path, monkeypatch):
    save_legacy(network().state_dict(), tmp_path / "net.pt")
    monkeypatch.setattr(torch, "__version__", type(torch.__version__)("2.5.1"))
    with pytest.raises(ValueError, match=r"opened by torch 2.6 and later only"):
        read_checkpoints(tmp_path / "net.pt")


def test_another_architecture_is_refused_with_names_and_shapes(tmp_path):
    torch.save(network(width=6).state_dict(), tmp_path / "net.pt")
    with pytest.raises(
        ValueError,
        match=r"step 1 and this Sequential have different parameters: '0.weight' is of shape "
        r"\(6, 3\) there and of shape \(4, 3\) here",
    ):
        as_checkpoints(tmp_path / "net.pt", network())
    state = network().state_dict()
    with pytest.raises(ValueError, match=r"'3.bias' is of shape \(2,\) there and missing here"):
        as_checkpoints(state | {"3.bias": torch.ones(2)}, network())
    del state["2.bias"]
    with pytest.raises(ValueError, match=r"'2.bias' is missing there and of shape \(1,\) here"):
        as_checkpoints(state, network())
    with pytest.raises(ValueError, match=r"'1.running_var' is of shape \(5,\) there and of shape"):
        as_checkpoints(network().state_dict() | {"1.running_var": torch.ones(5)}, network())


def test_tensors_of_any_device_are_asked_for_on_the_cpu(tmp_path, monkeypatch):
    """There is no other device to try; what torch is asked for is what can be seen."""
    torch.save(network().state_dict(), tmp_path / "net.pt")
    asked, load = [], torch.load

    def spy(path, **options):
        asked.append(options)
        return load(path, **options)

    monkeypatch.setattr(torch, "load", spy)
    dict(read_checkpoints(tmp_path / "net.pt")[0].parameters)
    assert len(asked) == 2
    assert all(o["map_location"] == "cpu" and o["weights_only"] is True for o in asked)


def test_a_file_that_changes_later_does_not_change_what_was_read(tmp_path):
    path = tmp_path / "net.pt"
    torch.save(network(0).state_dict(), path)
    (found,) = read_checkpoints(path)
    before = found.parameters["0.weight"].copy()
    torch.save(network(1).state_dict(), path)
    assert_allclose(found.parameters["0.weight"], before, rtol=0)

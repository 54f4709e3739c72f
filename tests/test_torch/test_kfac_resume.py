"""Fits that are stopped and go on."""

from __future__ import annotations

import pytest

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
import_optional("safetensors")

from skinfluence.torch import resume  # noqa: E402
from skinfluence.torch.curvature import Ekfac, Kfac  # noqa: E402
from skinfluence.torch.curvature.kfac_sums import CorrectionSums, MarginalSums  # noqa: E402
from skinfluence.torch.resume import NoRecord, Record, fingerprint  # noqa: E402
from tests.test_torch import kfac_cases as cases  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")


class Stopped(Exception):
    pass


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr("skinfluence.torch.curvature.kfac_fit.BLOCK", 2)
    monkeypatch.setattr(Record, "every", 0.0)


def stop_at(monkeypatch, sums, n_calls):
    """Let sums fail at their n-th call; the list returned gets the rows of every call."""
    add, calls = sums.add, []

    def failing(self, rows, weights):
        calls.append(len(weights))
        if len(calls) == n_calls:
            raise Stopped
        add(self, rows, weights)

    monkeypatch.setattr(sums, "add", failing)
    return calls


@pytest.mark.parametrize("sums", [MarginalSums, CorrectionSums])
@pytest.mark.parametrize("name", ["mlp", "layer_norm"])
def test_a_stopped_fit_continues_with_the_same_numbers(sums, name, small_blocks, tmp_path):
    objective = cases.named(name)
    with pytest.MonkeyPatch.context() as patch:
        n_calls = stop_at(patch, sums, -1)
        truth = Ekfac(objective).matrix()
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, sums, 5)
        with pytest.raises(Stopped):
            Ekfac(objective, resume=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        calls = stop_at(patch, sums, -1)
        found = Ekfac(objective, resume=tmp_path).matrix()
    assert 0 < sum(calls) < sum(n_calls)
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-12)


def test_a_finished_fit_is_read_and_not_computed(small_blocks, tmp_path, monkeypatch):
    objective = cases.named("mlp")
    truth = Ekfac(objective, resume=tmp_path).matrix()
    for sums in (MarginalSums, CorrectionSums):
        stop_at(monkeypatch, sums, 1)
    found = Ekfac(objective, resume=tmp_path).matrix()
    torch.testing.assert_close(found, truth, rtol=1e-12, atol=1e-14)


def test_states_are_not_written_all_the_time(tmp_path, monkeypatch):
    monkeypatch.setattr("skinfluence.torch.curvature.kfac_fit.BLOCK", 2)
    written = []
    monkeypatch.setattr(resume.os, "replace", lambda a, b: written.append(b.name))
    Kfac(cases.named("mlp"), resume=tmp_path)
    first = ["functions.safetensors", "factors.safetensors"]
    assert written == first + [f"basis-{i}.safetensors" for i in range(3)]


@pytest.mark.parametrize("what", ["parameters", "rows", "weights", "kind"])
def test_a_record_of_another_fit_is_refused(what, tmp_path):
    objective = cases.named("mlp")
    Kfac(objective, resume=tmp_path)
    kind = Kfac
    if what == "parameters":
        objective.network.module.get_parameter("0.bias").data[0] += 1.0
    elif what == "rows":
        objective.rows.everything.args[0][3, 0] += 1.0
    elif what == "weights":
        objective.weights[2] += 1.0
    else:
        kind = Ekfac
    with pytest.raises(ValueError, match="belongs to another fit"):
        kind(objective, resume=tmp_path)


@pytest.mark.parametrize("what", ["loss", "module"])
def test_functions_that_compute_something_else_are_refused(what, tmp_path):
    def explain(scale, activation):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(2, 3), activation(), torch.nn.Linear(3, 1))
        X = torch.randn(12, 2)
        return InfluenceExplainer(
            net,
            loss=lambda f, y: scale * (f[:, 0] - y).square(),
            curvature="ekfac",
            damping=0.1,
            resume=tmp_path,
        ).fit(X, X[:, 0])

    torch.testing.assert_close(
        explain(1.0, torch.nn.Tanh).self_influence(),
        explain(1.0, torch.nn.Tanh).self_influence(),
        rtol=0,
        atol=0,
    )
    changed = (3.0, torch.nn.Tanh) if what == "loss" else (1.0, torch.nn.Sigmoid)
    message = "losses" if what == "loss" else "outputs"
    with pytest.raises(ValueError, match=f"another fit: on the same rows the {message} were"):
        explain(*changed)


@pytest.mark.parametrize("content", [b"no record", b""])
def test_a_file_that_cannot_be_read(content, tmp_path):
    (tmp_path / "factors.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"factors\.safetensors cannot be read .*cut short"):
        Kfac(cases.named("mlp"), resume=tmp_path)


def test_fingerprint_is_of_the_contents():
    first, second = cases.named("mlp"), cases.named("mlp")
    assert fingerprint(first, a="1") == fingerprint(second, a="1") != fingerprint(second, a="2")


def test_no_record_makes_every_time():
    made = []
    record = NoRecord()
    for _ in range(2):
        record.once("x", lambda: made.append(1) or {})
    assert len(made) == 2


def test_progress_is_drawn(capsys):
    Ekfac(cases.named("mlp"), progress=True)
    drawn = capsys.readouterr().err
    assert "Kronecker factors" in drawn
    assert "Kronecker corrections" in drawn

"""Recorded directories: what a stop leaves behind, and files that are not what was written."""

from __future__ import annotations

import gc
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import SGDRegressor

from skinfluence.checkpoints import CheckpointRecorder, read_checkpoints
from skinfluence.checkpoints import directory as directory_module
from tests.conftest import import_optional

import_optional("safetensors")


@pytest.fixture(autouse=True)
def written_at_once(monkeypatch):
    monkeypatch.setattr(directory_module.DirectoryStore, "patience", 0.0)


rng = np.random.default_rng(0)
X, Y = rng.normal(size=(20, 3)), rng.normal(size=20)


def recorded(path, calls=6, **options):
    """A recording, and the coefficients after each call."""
    model, recorder = SGDRegressor(random_state=0), CheckpointRecorder(path, **options)
    seen = []
    for _ in range(calls):
        recorder.partial_fit(model, X, Y)
        seen.append(model.coef_.copy())
    return recorder, np.array(seen)


def files(path):
    return sorted(file.name for file in path.iterdir())


def test_what_is_read_is_what_was_recorded(tmp_path):
    recorder, coefs = recorded(tmp_path / "new" / "run")
    found = read_checkpoints(tmp_path / "new" / "run")
    assert found.steps == [1, 2, 3, 4, 5, 6] and found.n_rows == 20 and found.plain
    for item, kept, coef in zip(found, recorder.checkpoints, coefs, strict=True):
        assert_array_equal(item.parameters["weight"][0], coef)
        assert (item.path, item.learning_rate) == (kept.path, kept.learning_rate)
        assert item.optimizer["weight"]["rows_seen"] == 20 * item.step + 1
    assert found.optimizer == recorder.checkpoints.optimizer
    assert found.shares() == recorder.checkpoints.shares()


def test_files_are_read_when_they_are_looked_at_one_at_a_time(tmp_path, monkeypatch):
    recorded(tmp_path)
    loads = []
    load = directory_module.RecordedFile.load
    monkeypatch.setattr(
        directory_module.RecordedFile, "load", lambda self: loads.append(self.path) or load(self)
    )
    found = read_checkpoints(tmp_path)
    assert list(found[2].parameters) == ["weight", "bias"] and loads == []
    found[2].parameters["weight"], found[2].parameters["bias"]
    found[3].parameters["weight"], found[2].optimizer["weight"]["rows_seen"]
    assert [int(path.stem[5:]) for path in loads] == [3, 4, 3]
    again = pickle.loads(pickle.dumps(found))
    assert_array_equal(again[2].parameters["weight"], found[2].parameters["weight"])


def test_only_what_is_kept_stays_on_disk(tmp_path):
    recorder, _ = recorded(tmp_path, calls=40, keep=4)
    assert len(files(tmp_path)) == 1 + len(recorder.checkpoints) <= 5
    assert read_checkpoints(tmp_path).steps == recorder.checkpoints.steps


def test_keep_one_has_one_file(tmp_path):
    recorder, _ = recorded(tmp_path, calls=9, keep=1)
    assert len(files(tmp_path)) == 2 and recorder.checkpoints.steps == [8]


ENDLESS = """
import sys
import numpy as np
from sklearn.linear_model import SGDRegressor
from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.checkpoints.directory import DirectoryStore

DirectoryStore.patience = 0.0
rng = np.random.default_rng(0)
X, y = rng.normal(size=(20, 3)), rng.normal(size=20)
recorder, model = CheckpointRecorder(sys.argv[1], keep=6), SGDRegressor(random_state=0)
while True:
    recorder.partial_fit(model, X, y)
"""


@pytest.mark.slow
def test_a_process_that_is_killed(tmp_path):
    run = subprocess.Popen([sys.executable, "-c", ENDLESS, str(tmp_path)])
    try:
        deadline = time.monotonic() + 120
        while run.poll() is None and len(files(tmp_path)) < 5:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.1)
    finally:
        run.kill()
    assert run.wait() == -signal.SIGKILL
    found = read_checkpoints(tmp_path)
    assert 3 <= len(found) <= 6
    assert all(item.parameters["weight"].shape == (1, 3) for item in found)
    model, going_on = SGDRegressor(random_state=0), CheckpointRecorder(tmp_path, keep=6)
    model.partial_fit(X, Y)
    assert going_on.restore(model) == found.steps[-1]
    assert len(files(tmp_path)) == 1 + len(found)


def test_what_waits_to_be_written_is_written_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(directory_module.DirectoryStore, "patience", 1e12)
    recorder, _ = recorded(tmp_path, calls=40, keep=4)
    # The first is written at once, as nothing is known of how long that takes.
    assert files(tmp_path) == ["manifest.json", "step-000000001.safetensors"]
    del recorder
    gc.collect()
    found = read_checkpoints(tmp_path)
    assert found.steps == recorded(None, calls=40, keep=4)[0].checkpoints.steps
    assert len(files(tmp_path)) == 1 + len(found)


def test_what_is_on_disk_when_a_training_is_killed(tmp_path, monkeypatch):
    store = directory_module.DirectoryStore
    monkeypatch.setattr(store, "patience", 1e12)
    # Nothing that every= asks for is dropped again, so that nothing waits.
    _every, _ = recorded(tmp_path / "every", calls=9, every=2)
    assert read_checkpoints(tmp_path / "every").steps == [1, 2, 4, 6, 8]
    model, keep = SGDRegressor(random_state=0), CheckpointRecorder(tmp_path / "keep", keep=4)
    for patience in (1e12, 1e12, 1e12, 0.0):
        monkeypatch.setattr(store, "patience", patience)
        keep.partial_fit(model, X, Y)
    # Of what keep= has in memory, the newest is there, whatever waits.
    assert read_checkpoints(tmp_path / "keep").steps == [1, 4]
    assert keep.checkpoints.steps == read_checkpoints(tmp_path / "keep").steps == [1, 2, 3, 4]


class Stop(BaseException):
    """A process that is killed."""


STOPS = ("half a file", "before the manifest", "before dropping")


@pytest.mark.parametrize("at", STOPS)
def test_a_stop_in_the_middle_of_a_write_loses_only_that_write(at, tmp_path, monkeypatch):
    recorder, _ = recorded(tmp_path, calls=7, keep=4)
    assert recorder.checkpoints.steps == [1, 2, 4, 6]
    model = SGDRegressor(random_state=0).partial_fit(X, Y)
    going_on = CheckpointRecorder(tmp_path, keep=4)
    assert going_on.restore(model) == 6
    going_on.partial_fit(model, X, Y)

    def half(path, written):
        path.with_name(path.name + ".part").write_bytes(written[: len(written) // 2])
        raise Stop

    def stop(*args, **kwargs):
        raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        if at == "half a file":
            patched.setattr(directory_module, "replace_file", half)
        elif at == "before the manifest":
            patched.setattr(directory_module.Manifest, "write", stop)
        else:
            patched.setattr(type(tmp_path), "unlink", stop)
        going_on.partial_fit(model, X, Y)
    left = files(tmp_path)
    expected = [1, 4, 8] if at == "before dropping" else [1, 2, 4, 6]
    assert read_checkpoints(tmp_path).steps == expected
    again = CheckpointRecorder(tmp_path, keep=4)
    assert again.checkpoints.steps == expected
    # What was left behind is cleared away, and what is there is whole.
    assert len(left) > len(files(tmp_path)) == 1 + len(expected)
    assert all(item.parameters["weight"].shape == (1, 3) for item in again.checkpoints)
    model = SGDRegressor(random_state=0).partial_fit(X, Y)
    for _ in range(again.restore(model), 12):
        again.partial_fit(model, X, Y)
    whole, coefs = recorded(None, calls=12, keep=4)
    assert_array_equal(model.coef_[None], coefs[-1:])
    assert again.checkpoints.steps == whole.checkpoints.steps


def test_a_stop_before_the_first_checkpoint(tmp_path, monkeypatch):
    def stop(*args):
        raise Stop

    recorder = CheckpointRecorder(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(directory_module, "replace_file", stop)
        recorder.partial_fit(SGDRegressor(), X, Y)
    assert read_checkpoints(tmp_path).steps == []
    recorded(tmp_path)
    assert read_checkpoints(tmp_path).steps == [1, 2, 3, 4, 5, 6]


def missing(path):
    (path / "step-000000002.safetensors").unlink()


def truncated(path):
    file = path / "step-000000002.safetensors"
    file.write_bytes(file.read_bytes()[:-5])


def shuffled(path):
    one, two = path / "step-000000002.safetensors", path / "step-000000003.safetensors"
    os.replace(one, path / "other")
    os.replace(two, one)
    os.replace(path / "other", two)


def foreign_manifest(path):
    (path / "manifest.json").write_text('{"name": "an app"}')


def list_manifest(path):
    (path / "manifest.json").write_text("[]")


def truncated_manifest(path):
    file = path / "manifest.json"
    file.write_bytes(file.read_bytes()[:200])


def rewritten(path, **changes):
    said = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(said | changes))


def newer(path):
    rewritten(path, version=2)


def reordered(path):
    entries = json.loads((path / "manifest.json").read_text())["entries"]
    rewritten(path, entries=entries[::-1])


def without_a_digest(path):
    entries = json.loads((path / "manifest.json").read_text())["entries"]
    del entries[0]["digest"]
    rewritten(path, entries=entries)


@pytest.mark.parametrize(
    ("damage", "error", "match"),
    [
        (missing, FileNotFoundError, "step-000000002.safetensors is missing, and the manifest"),
        (truncated, ValueError, "were written: it was cut short or replaced"),
        (shuffled, ValueError, r"step-000000002.safetensors is not the file that was recorded"),
        (foreign_manifest, ValueError, "is not the manifest of recorded checkpoints"),
        (list_manifest, ValueError, "is not the manifest of recorded checkpoints"),
        (truncated_manifest, ValueError, "is no JSON: it was cut short"),
        (newer, ValueError, "is of version 2, and version 1 is read here"),
        (reordered, ValueError, "step 5 comes after step 6"),
        (without_a_digest, ValueError, "lacks what a manifest has .KeyError: 'digest'."),
    ],
)
def test_what_is_not_as_it_was_written_is_refused(damage, error, match, tmp_path):
    recorded(tmp_path)
    damage(tmp_path)
    with pytest.raises(error, match=match):
        [dict(item.parameters) for item in read_checkpoints(tmp_path)]
    with pytest.raises(error, match=match):
        recorder = CheckpointRecorder(tmp_path)
        [dict(item.parameters) for item in recorder.checkpoints]


def test_a_file_that_went_missing_later(tmp_path):
    recorded(tmp_path)
    found = read_checkpoints(tmp_path)
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match="is missing"):
        found[0].parameters["weight"]


def test_a_directory_that_is_something_else_is_left_alone(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no manifest.json, so that nothing was rec"):
        read_checkpoints(tmp_path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_checkpoints(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="No files are passed"):
        read_checkpoints([])
    (tmp_path / "model.safetensors").write_bytes(b"somebody's")
    with pytest.raises(ValueError, match=r"holds safetensors files and no manifest.json"):
        CheckpointRecorder(tmp_path)
    with pytest.raises(NotADirectoryError, match="is a file, and checkpoints are written to"):
        CheckpointRecorder(tmp_path / "model.safetensors")
    assert files(tmp_path) == ["model.safetensors"]


def test_other_options_do_not_go_on(tmp_path):
    recorded(tmp_path, every=2)
    with pytest.raises(
        ValueError, match="was recorded with every=2, and this recorder has every=1"
    ):
        CheckpointRecorder(tmp_path, every=1)


def test_a_recorders_files_are_read_by_their_directory(tmp_path):
    import_optional("torch")
    recorded(tmp_path, calls=2)
    with pytest.raises(ValueError, match=r"was written by a CheckpointRecorder\. Pass its dir"):
        read_checkpoints(sorted(tmp_path.glob("*.safetensors")))


def test_without_safetensors_there_are_no_files(tmp_path, monkeypatch):
    monkeypatch.setattr(directory_module, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"safetensors is not installed. Install skinf"):
        CheckpointRecorder(tmp_path)

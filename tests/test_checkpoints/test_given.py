"""What is passed for checkpoints, without torch."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.linear_model import Ridge, SGDRegressor

from skinfluence.checkpoints import (
    Checkpoint,
    CheckpointRecorder,
    Checkpoints,
    as_checkpoints,
    models,
)
from tests.conftest import import_optional

X, Y = np.eye(3), np.arange(3.0)
RECORDER, MODEL = CheckpointRecorder(), SGDRegressor(random_state=0)
for _ in range(3):
    RECORDER.partial_fit(MODEL, X, Y)


@pytest.mark.parametrize("given", [RECORDER, RECORDER.checkpoints, list(RECORDER.checkpoints)])
def test_recorded_ones_stay_what_they_are(given):
    found = as_checkpoints(given, MODEL)
    assert found.steps == [1, 2, 3]
    assert_array_equal(found[-1].parameters["weight"][0], MODEL.coef_)
    assert found[-1].path == RECORDER.checkpoints[-1].path
    if not isinstance(given, list):
        assert found.plain and found.shares() == RECORDER.checkpoints.shares()


def test_the_way_of_chosen_ones_stays_whole():
    found = as_checkpoints(RECORDER.checkpoints.at([1, 2]), MODEL)
    assert found.shares() == RECORDER.checkpoints.at([1, 2]).shares()


def test_a_directory(tmp_path):
    import_optional("safetensors")
    recorder, model = CheckpointRecorder(tmp_path), SGDRegressor()
    recorder.partial_fit(model, X, Y)
    found = as_checkpoints(str(tmp_path), model)
    assert found.plain
    assert_array_equal(found[0].parameters["weight"][0], model.coef_)


def test_fitted_estimators_and_state_dicts():
    found = as_checkpoints([MODEL, copy.deepcopy(MODEL)], MODEL)
    assert found.steps == [1, 2] and found[0].path is None
    state = {"weight": np.ones((1, 3)), "bias": np.zeros(1)}
    assert as_checkpoints(state, MODEL).steps == [1]
    assert as_checkpoints([state], SGDRegressor())[0].parameters["weight"].shape == (1, 3)


STATE = {"weight": np.ones((1, 3)), "bias": np.zeros(1)}


@pytest.mark.parametrize(
    "given", [[MODEL, MODEL], [STATE, dict(STATE)], [{"state_dict": STATE}, {"state_dict": STATE}]]
)
def test_one_state_is_not_two_checkpoints(given):
    with pytest.raises(ValueError, match=r"Checkpoints 1 and 2 are the same arrays.*deepcopy"):
        as_checkpoints(given, MODEL)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ([], ValueError, "There are no checkpoints"),
        (CheckpointRecorder(), ValueError, "There are no checkpoints"),
        (7, TypeError, "7 is passed for checkpoints, and is none.*n_checkpoints="),
        ([MODEL, 7], TypeError, "Checkpoint 2 is a int"),
        ([SGDRegressor()], TypeError, "Checkpoint 1 is a SGDRegressor"),
        ([{"weight": np.ones((1, 4))}], ValueError, r"'weight' is of shape \(1, 4\) there and"),
        ([{"weight": np.ones((1, 3))}], ValueError, r"'bias' is missing there and of shape"),
        (Checkpoints([Checkpoint(4, {"w": np.ones(3)})]), ValueError, r"step 4.*'w' is of shape"),
    ],
)
def test_what_does_not_fit_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        as_checkpoints(given, MODEL)


def test_without_torch_the_reason_is_said(monkeypatch):
    def refuse(name):
        raise ModuleNotFoundError(name, name="torch")

    monkeypatch.setattr(models, "import_module", refuse)
    with pytest.raises(ModuleNotFoundError, match=r"torch reads the parameters.*skinfluence\[tor"):
        CheckpointRecorder().record(Ridge().fit(X, Y))

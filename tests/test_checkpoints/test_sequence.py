"""Checkpoints in order, and the shares of the way they stand for."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.linear_model import SGDRegressor

from skinfluence.checkpoints import (
    Checkpoint,
    CheckpointRecorder,
    Checkpoints,
    OptimizerInfo,
)

RATES = st.lists(st.floats(0, 10), min_size=1, max_size=8)


def of_rates(rates, *, losses=None, other=None):
    """One checkpoint after each step, of two parameters."""
    sums = np.cumsum(rates)
    second = np.zeros(len(rates)) if other is None else np.cumsum(other)
    return Checkpoints(
        [
            Checkpoint(
                10 * (k + 1),
                {"w": np.full(2, k), "b": np.zeros(1)},
                path={"w": float(sums[k]), "b": float(second[k])},
                loss=None if losses is None else losses[k],
            )
            for k in range(len(rates))
        ],
        optimizer=OptimizerInfo("SGD"),
        n_rows=7,
    )


def total(checkpoints, name="w"):
    return sum(share[name] for share in checkpoints.shares())


@given(RATES)
def test_shares_add_up_to_the_way(rates):
    assert_allclose(total(of_rates(rates)), sum(rates), rtol=1e-12, atol=1e-12)


@given(RATES, st.data())
def test_chosen_ones_stand_for_the_whole_way(rates, data):
    found = of_rates(rates)
    n = data.draw(st.integers(1, len(rates)))
    steps = data.draw(st.sets(st.sampled_from(found.steps), min_size=1))
    for chosen in (found.evenly(n), found.at(steps), found.at(steps).evenly(1)):
        assert_allclose(total(chosen), sum(rates), rtol=1e-12, atol=1e-12)
        assert chosen.n_rows == 7 and chosen.optimizer.name == "SGD"
    assert found.at(steps).steps == sorted(steps)


def test_shares_are_the_trapezoid_rule_for_each_parameter():
    found = of_rates([1.0, 2.0, 4.0], other=[0.0, 0.5, 0.0])
    shares = found.shares()
    assert [share["w"] for share in shares] == [1.0 + 1.0, 1.0 + 2.0, 2.0]
    assert [share["b"] for share in shares] == [0.25, 0.25, 0.0]


def test_a_slice_is_the_training_up_to_its_last():
    found = of_rates([1.0, 2.0, 4.0])
    assert found[:2].steps == [10, 20] and total(found[:2]) == 3.0
    assert found[-1].step == 30 and len(found[5:]) == 0
    assert found[1:].plain


def test_evenly_has_both_ends():
    found = of_rates(np.ones(11))
    assert found.evenly(3).steps == [10, 60, 110]
    assert found.evenly(1).steps == [110]
    assert found.evenly(11).steps == found.steps


def test_largest_drops_follow_the_loss():
    found = of_rates(np.ones(5), losses=[9.0, 8.0, 3.0, 3.5, 1.5])
    assert found.largest_drops(2).steps == [30, 50]
    assert total(found.largest_drops(1)) == 5.0
    # Before training nothing is known of the loss.
    assert of_rates(np.ones(4), losses=[None, 3.0, 2.0, 0.5]).largest_drops(1).steps == [40]


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda c: c.evenly(4), "4 checkpoints are asked for, and there are 3"),
        (lambda c: c.evenly(0), "Ask for 1 to 3"),
        (lambda c: c.at([10, 11]), "Step 11 is asked for, and there are checkpoints of 10, 20"),
        (lambda c: c.at([]), "No step is asked for"),
        (lambda c: c.largest_drops(1), "loss is recorded at 0 of 3 checkpoints"),
    ],
)
def test_what_is_not_there_is_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call(of_rates([1.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("steps", "match"), [((1, 3, 2), "step 2 comes after step 3"), ((1, 1), "step 1 comes twice")]
)
def test_order_is_checked(steps, match):
    with pytest.raises(ValueError, match=match):
        Checkpoints(Checkpoint(step, {}) for step in steps)


def test_rates_that_are_not_known_are_never_made_up():
    found = Checkpoints([Checkpoint(1, {}, path={"w": 1.0}), Checkpoint(2, {})])
    assert not found.plain
    with pytest.raises(ValueError, match=r"not recorded.*learning_rates="):
        found.shares()


def test_plain_is_gradient_descent_only():
    path = [Checkpoint(1, {}, path={"w": 1.0})]
    assert Checkpoints(path, optimizer=OptimizerInfo("SGD")).plain
    assert not Checkpoints(path, optimizer=OptimizerInfo("Adam")).plain
    assert not Checkpoints(path).plain


def test_they_are_pickled_and_shown():
    found = of_rates([1.0, 2.0])
    again = pickle.loads(pickle.dumps(found))
    assert again.shares() == found.shares() and again.steps == found.steps
    assert repr(found) == "<2 checkpoints of SGD at steps 10, 20>"
    assert repr(of_rates([1.0], other=[0.5])[0]) == "Checkpoint(step=10, path=0.5..1)"


@pytest.mark.parametrize(
    ("n", "shown"),
    [
        (0, "<0 checkpoints>"),
        (1, "<1 checkpoint at step 0>"),
        (6, "<6 checkpoints at steps 0, 1, 2, 3, 4, 5>"),
        (30, "<30 checkpoints at steps 0, 1, 2, 3, ..., 29>"),
    ],
)
def test_the_last_step_is_shown(n, shown):
    assert repr(Checkpoints(Checkpoint(step, {}) for step in range(n))) == shown


def test_recorders_say_what_they_hold():
    recorder, model = CheckpointRecorder(), SGDRegressor()
    assert repr(recorder) == "<CheckpointRecorder with 0 checkpoints>"
    recorder.partial_fit(model, np.eye(3), np.arange(3.0))
    assert repr(recorder) == "<CheckpointRecorder with 1 checkpoint of SGD at step 1>"


@pytest.mark.parametrize("loss", ["0.3", None, np.ones(3), [1.0, 2.0]])
def test_a_loss_is_a_number(loss):
    with pytest.raises(TypeError, match="The loss of a step is one number"):
        CheckpointRecorder().note_loss(loss)

"""Shares of the way where momentum spends gradients later than they were taken."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.checkpoints import Checkpoint, Checkpoints, OptimizerInfo

RATE, M = 0.1, 0.8


def course(steps, kept=None, *, momentum=M, name="SGD", rates=None, **options):
    """Checkpoints of a velocity driven by gradients of 1."""
    rates = np.full(steps, RATE) if rates is None else rates
    carried, path, found = 0.0, 0.0, [Checkpoint(0, {}, path={"w": 0.0})]
    for step, rate in enumerate(rates, start=1):
        carried = momentum * carried + 1.0
        moved = float(rate * carried)
        path += moved
        found.append(Checkpoint(step, {}, learning_rate={"w": moved}, path={"w": path}))
    info = OptimizerInfo(name, {"w": {"momentum": momentum, **options}})
    found = Checkpoints(found, optimizer=info)
    return found if kept is None else found.at(kept)


def shares(checkpoints):
    return np.array([share["w"] for share in checkpoints.shares()])


@pytest.mark.parametrize("kept", [None, [0, 30], [0, 1, 5, 30], [4, 9, 20]])
@pytest.mark.parametrize("nesterov", [False, True])
def test_shares_add_up_to_what_was_moved_and_none_is_negative(kept, nesterov):
    found = course(30, kept, nesterov=nesterov)
    every = course(30, nesterov=nesterov)
    assert_allclose(shares(found).sum(), every[-1].path["w"], rtol=1e-12)
    assert (shares(found) >= 0.0).all()


def test_half_of_what_momentum_carries_counts_already():
    """Its gradients are of before, and the query's of after."""
    steps = np.arange(41)
    spent = RATE / (1 - M) * (steps - M * (1 - M**steps) / (1 - M))
    carried = RATE * M * (1 - M**steps) / (1 - M) ** 2
    ways = np.minimum(spent + carried / 2, spent[-1])
    halves = np.diff(ways) / 2
    assert_allclose(shares(course(40)), np.r_[halves, 0.0] + np.r_[0.0, halves], atol=1e-12)


def test_a_part_of_a_training_ends_with_what_was_spent_in_it():
    found = course(40)
    assert_allclose(shares(found[:11]).sum(), found[10].path["w"], rtol=1e-12)


def test_a_rate_that_falls_takes_no_gradient_back():
    rates = np.r_[np.full(10, RATE), np.full(10, RATE / 100)]
    found = course(20, rates=rates)
    assert (shares(found) >= 0.0).all()
    assert_allclose(shares(found).sum(), found[-1].path["w"], rtol=1e-12)


def test_other_optimisers_have_no_velocity_of_gradients():
    found = course(5, name="RMSprop")
    paths = np.array([item.path["w"] for item in found])
    assert_allclose(shares(found)[1:-1], (paths[2:] - paths[:-2]) / 2, rtol=1e-12)
    assert_allclose(shares(course(5, momentum=0.0)), [RATE / 2, *[RATE] * 4, RATE / 2], rtol=1e-12)

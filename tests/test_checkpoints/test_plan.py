"""Which steps are kept: every so many, a bounded number, or some by name."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skinfluence.checkpoints import CheckpointRecorder
from skinfluence.checkpoints.plan import make_plan


def kept(n_steps, *, first=0, by=1, last=True, **options):
    """Steps that stay of a training, looked at after every `by` steps."""
    plan, found = make_plan(options.get("every", 1), options.get("keep"), options.get("at")), []
    sizes = []
    for step in range(first, n_steps + 1, by):
        final = last and step + by > n_steps
        if plan.due(step, found[-1] if found else None) or final:
            found = plan.thinned([*found, step], last=final)
            sizes.append(len(found))
    return found, sizes


def test_every():
    assert kept(10, every=3, last=False)[0] == [0, 3, 6, 9]
    assert kept(10, every=3)[0] == [0, 3, 6, 9, 10]


def test_more_than_there_are_steps_leaves_the_ends():
    assert kept(10, every=100)[0] == [0, 10]


@given(st.integers(2, 12), st.integers(1, 400), st.integers(0, 1))
def test_keep_is_a_bound_with_both_ends_and_even_spacing(keep, n_steps, first):
    found, sizes = kept(n_steps, keep=keep, first=first)
    assert found[0] == min(first, n_steps) and found[-1] == n_steps
    assert max(sizes) <= keep
    assert len(found) >= min(keep // 2, n_steps)
    gaps = np.diff(found)[1:-1]
    assert len(set(gaps)) <= 1


def test_keep_one_is_the_last():
    found, sizes = kept(1000, keep=1)
    assert found == [1000] and max(sizes) == 1
    # It is not written at every step to be dropped at the next.
    assert len(sizes) < 15


def test_steps_looked_at_rarely_are_thinned_as_well():
    found, sizes = kept(46_900, by=469, keep=10)
    assert max(sizes) <= 10 and found[0] == 0 and found[-1] == 46_900
    gaps = np.diff(found)[:-1]
    assert max(gaps) < 2 * min(gaps)


def test_at_names_steps():
    assert kept(10, at=[0, 4, 12], last=False)[0] == [0, 4]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"every": 0}, "every=0 is no number of steps"),
        ({"keep": 1.5}, "keep=1.5 is no number of checkpoints"),
        ({"keep": True}, "keep=True"),
        ({"at": [3], "keep": 2}, "Pass either at, or every and keep"),
        ({"at": [3], "every": 2}, "Pass either at, or every and keep"),
        ({"at": []}, r"at=\[\] is no list of steps"),
        ({"at": [-1]}, r"at=\[-1\] is no list of steps"),
        ({"at": 5}, "at=5 is no list of steps"),
        ({"n_rows": 0}, "n_rows=0 is no number of training rows"),
    ],
)
def test_options_that_contradict_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        CheckpointRecorder(**options)

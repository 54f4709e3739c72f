"""The claims of Kong & Chaudhuri (2021) on auto-encoders, on small data.

The scripts in ``benchmarks/replications`` measure the same on MNIST and CIFAR-10; what they print
is what is tested.
"""

import sys

import numpy as np
import pytest

from tests.conftest import import_optional
from tests.test_replications.conftest import SCRIPTS

torch = import_optional("torch")

NAMES = ["vae_self_proponents", "vae_loss_change", "vae_self_influence", "vae_removal"]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="the benchmarks are not part of a release"),
]


# -- tables 1 and 3 -------------------------------------------------------------------------------


def test_a_row_is_its_own_strongest_proponent_or_nearly(small):
    for one in small("vae_self_proponents").values():
        assert np.mean(one["all"] == 0) > 0.9
        assert one["all"].max() < 10


def test_several_checkpoints_find_the_row_itself_as_often_as_the_last(small):
    for one in small("vae_self_proponents").values():
        assert np.mean(one["all"] == 0) >= np.mean(one["last"] == 0)


def test_shortlists_have_the_strongest_rows_and_the_queries(small):
    small("vae_self_proponents")
    script = sys.modules["vae_self_proponents"]
    scores = np.random.default_rng(0).normal(size=(script.QUERIES, 5_000))
    scores[7, 4_321], last = 9.0, scores.copy()
    last[8, 1_234] = 9.0
    rows, random = script.shortlist({0: scores, 3: last})
    assert {4_321, 1_234} <= set(rows[~random])
    assert np.array_equal(rows[: script.QUERIES], np.arange(script.QUERIES))
    assert random.sum() == script.N_RANDOM


# -- table 5 --------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", ["gradient descent", "Adam, plain products"])
def test_scores_correlate_with_what_training_did(small, training):
    assert small("vae_loss_change")["digits", training]["each"].pearson > 0.93


def test_scores_of_gradient_descent_are_in_the_unit_of_the_loss(small):
    whole = small("vae_loss_change")["digits", "gradient descent"]["whole"]
    assert 0.5 < whole.slope < 2


# -- figure 2, tables 6 and 7 ---------------------------------------------------------------------


def test_rows_of_large_self_influence_have_large_losses(small):
    own = small("vae_self_influence")["MNIST", 64]
    assert own["loss"]["spearman"] > 0.5
    assert own["error"] < 0.2


def test_self_influence_tells_images_that_are_no_digits(small):
    own = small("vae_self_influence")["MNIST", 64]
    for methods in own["new"].values():
        assert methods["self influence"] > 0.9
    for methods in own["among"].values():
        assert methods["self influence"] > 0.7


def test_rows_of_large_self_influence_are_foreign_more_often_than_others(small):
    found = small("vae_removal")
    assert found["self influence", 100][1] > 2 * found["random", 100][1]


# -- what users without the data see --------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_a_full_run_without_its_data_says_how_to_make_them(small, name, tmp_path, capsys):
    small(name)
    script, empty = sys.modules[name], str(tmp_path)
    given = ["--data-dir", empty, "--results", empty, "--work-dir", empty]
    assert script.main(given) is None
    assert "is not here, so this" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

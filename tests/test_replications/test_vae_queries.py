"""Who influences images that were not trained on, and wrong labels: the claims, on digits.

The scripts in ``benchmarks/replications`` measure the same on MNIST and CIFAR-10.
"""

import sys

import numpy as np
import pytest

from tests.conftest import import_optional
from tests.test_replications.conftest import SCRIPTS

torch = import_optional("torch")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="the benchmarks are not part of a release"),
]


# -- table 4: mixtures ----------------------------------------------------------------------------


def test_the_heavier_half_of_a_mixture_is_among_its_first_proponents(small):
    results = small("vae_synthesised")
    ranks = results["found"]["VAE-TracIn, 64 latents"]["major"]
    assert np.mean(ranks == 0) > 0.25
    assert np.median(ranks) < 0.01 * results["n"]


def test_the_lighter_half_is_found_more_often_than_by_chance(small):
    results = small("vae_synthesised")
    assert np.median(results["found"]["VAE-TracIn, 64 latents"]["minor"]) < 0.4 * results["n"]


# -- figures 4 and 5 ------------------------------------------------------------------------------


def test_proponents_of_a_digit_are_mostly_of_its_class_and_opponents_often(small):
    rates = small("vae_test_influence")["found"]["64 latents"]["classes"]
    assert rates["proponents"] > 0.5
    assert rates["proponents"] > rates["opponents"] + 0.15
    assert rates["opponents"] > 1.5 * rates["all"]


def test_both_are_nearer_than_other_rows_in_the_latent_space(small):
    far = small("vae_test_influence")["found"]["64 latents"]["distances"]
    assert far["proponents"].mean() < far["opponents"].mean() < far["all"].mean()


def test_grids_of_images_are_drawn_where_they_are_asked_for(small, tmp_path):
    import_optional("matplotlib")
    small("vae_test_influence")
    script = sys.modules["vae_test_influence"]
    rows = np.random.default_rng(0).uniform(size=(30, 64)).astype(np.float32)
    labels = np.zeros(30, dtype=int)
    data = script.Images(rows, labels, rows, labels, "digits")
    options = script.parser("").parse_args(["--work-dir", str(tmp_path)])
    script.draw(rows @ rows.T, data, np.arange(8), options, "digits")
    assert [file.name for file in tmp_path.iterdir()] == ["proponents-digits.png"]


# -- wrong labels ---------------------------------------------------------------------------------


@pytest.mark.parametrize("flips", ["likely", "random"])
def test_self_influence_along_the_training_finds_wrong_labels(small, flips):
    found = small("tracin_mislabels")["digits"][flips]["found"]
    for name in ("TracIn, all checkpoints", "TracIn, last layer only"):
        auc, _, seen = found[name]
        assert auc > 0.88
        assert seen > 0.85
    assert abs(found["random"][0] - 0.5) < 0.1


# -- what users without the data see --------------------------------------------------------------


@pytest.mark.parametrize("name", ["vae_synthesised", "vae_test_influence", "tracin_mislabels"])
def test_a_full_run_without_its_data_says_how_to_make_them(small, name, tmp_path, capsys):
    small(name)
    script = sys.modules[name]
    assert script.main(["--data-dir", str(tmp_path), "--results", str(tmp_path)]) is None
    assert "is not here, so this" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

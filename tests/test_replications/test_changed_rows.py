"""The claims of the literature on training rows that are changed, on small data.

Transformations chosen by influence (Lee et al., 2020), and attacks on the training (Koh & Liang,
2017); the scripts in ``benchmarks/replications`` measure both on real images.
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


# -- Lee et al.: augmentation ---------------------------------------------------------------------

NONE, RANDOM, CHOSEN, WORST = range(4)


def test_chosen_transformations_are_better_than_random_ones_for_the_validation_loss(small):
    for found in small("lee_augmentation").values():
        validation = found["results"][:, :, 0, 0].mean(axis=0)
        assert validation[CHOSEN] < 0.95 * validation[RANDOM]
        assert validation[RANDOM] < 0.95 * validation[WORST]


def test_the_choice_carries_over_to_a_test_set(small):
    for found in small("lee_augmentation").values():
        test = found["results"][:, :, 1, 0].mean(axis=0)
        assert test[CHOSEN] < test[RANDOM] < test[WORST]


def test_scores_predict_what_retraining_with_one_other_row_does(small):
    first, newton, actual = small("lee_augmentation")["softmax regression"]["single"]
    assert np.corrcoef(newton, actual)[0, 1] > 0.99
    assert np.corrcoef(first, actual)[0, 1] > 0.9
    assert np.linalg.norm(newton - actual) < 0.5 * np.linalg.norm(first - actual)


# -- Koh & Liang, section 5.2: attacks ------------------------------------------------------------


def attacks(small):
    """What came of attacks on each test image, by radius."""
    return small("koh_liang_attack")["by decay"][1e-3]["results"].values()


def test_the_more_rows_and_pixels_an_attack_may_change_the_more_it_flips(small):
    found = attacks(small)
    near, far = (results[:, :, 0].mean(axis=0) for results in found)
    assert list(near) == sorted(near)
    assert list(far) == sorted(far)
    assert (near <= far).all()
    assert near[-1] > 0
    assert far[-1] >= 0.5


def test_flips_of_attacks_are_real_and_chance_makes_none(small):
    for results in attacks(small):
        checked, confirmed, at_random = (results[:, :, k].sum() for k in (2, 3, 1))
        assert confirmed == checked
        assert at_random == 0


def test_attacks_follow_the_derivative_of_the_public_surface(small):
    assert small("koh_liang_attack")["gap"] < 1e-9


# -- what users without the data see --------------------------------------------------------------


@pytest.mark.parametrize("name", ["lee_augmentation", "koh_liang_attack"])
def test_a_full_run_without_its_data_says_how_to_make_them(small, name, tmp_path, capsys):
    small(name)
    script = sys.modules[name]
    assert script.main(["--data-dir", str(tmp_path), "--results", str(tmp_path)]) is None
    assert "is not here, so this" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

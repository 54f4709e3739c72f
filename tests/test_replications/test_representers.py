"""The claims of Yeh et al. (2018) on representer points, on small data.

The scripts in ``benchmarks/replications`` measure the same on CIFAR-10 and MNIST; what they print
is what is tested. Claims that did not hold are tested as they were found.
"""

import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from tests.conftest import import_optional
from tests.test_replications.conftest import SCRIPTS

torch = import_optional("torch")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="the benchmarks are not part of a release"),
]


# -- figure 1: reconstruction ---------------------------------------------------------------------


@pytest.mark.parametrize("layer", ["last", "features"])
def test_the_weaker_the_penalty_the_nearer_the_refitted_layer(small, layer):
    *ladder, chosen = small("representer_fig1")["digits"][layer]
    for part in ("train", "test"):
        reached = [one[part].pearson for one in ladder]
        assert reached == sorted(reached)
        assert reached[-1] > 0.9999
        assert chosen[part].pearson > 0.98
        assert chosen[part].activated_pearson > 0.999


@pytest.mark.parametrize("layer", ["last", "features"])
def test_outputs_are_sums_over_the_training_rows_whatever_the_penalty(small, layer):
    for one in small("representer_fig1")["digits"][layer]:
        assert max(one[part].decomposition_error for part in ("train", "test")) < 1e-6


# -- figure 2: wrong labels -----------------------------------------------------------------------


def means(found):
    """(score, fraction, [found, accuracy]) over the splits, with the areas as last fraction."""
    return found["results"][0.01].mean(axis=0)


def test_representers_find_flips_as_the_loss_does_and_no_less_than_influence(small):
    size, _, influence, loss, by_chance = means(small("representer_fig2"))[:, -1, 0]
    assert abs(size - loss) < 0.005  # one is a monotone function of the other
    assert small("representer_fig2")["agreement"] > 0.999
    assert min(size, influence) > by_chance + 0.1
    assert size >= influence


def test_flips_that_are_found_first_are_those_that_the_model_did_not_believe(small):
    flips, first, every = small("representer_fig2")["already right"]
    assert flips > 0.8
    assert first > every + 0.2


def test_checking_all_orders_repairs_the_accuracy(small):
    found = small("representer_fig2")
    accuracy = means(found)[:, :-1, 1]
    assert (accuracy[:, -1] > accuracy[:, 0] + 0.1).all()
    assert (accuracy[:, -1] <= found["clean"] + 0.02).all()


# -- figures 3 to 5: excitation, inhibition, mistakes ---------------------------------------------


def test_rows_that_excite_are_of_the_class_and_rows_that_inhibit_are_not(small):
    sides = small("representer_fig3")["digits"]["sides"]
    for name in ("representer values", "representer values, layer of the labels"):
        for_it, against = sides[name]
        assert for_it["same class"] > 0.8
        assert against["same class"] < 0.4
    # Labels leave no row that pulls against its own class.
    for_it, against = sides["representer values, layer of the labels"]
    assert (for_it["same class"], against["same class"]) == (1.0, 0.0)


def test_few_rows_are_shown_for_all_queries_and_for_mistakes_no_others_than_elsewhere(small):
    found = small("representer_fig3")["digits"]
    values, nearest = found["sides"]["representer values"], found["sides"]["nearest features"]
    assert values[0]["distinct"] < nearest[0]["distinct"] / 4
    for one in found["mistakes"]:
        assert one["behind"] > 0.9  # figure 5: the same four rows behind each mistake ...
        assert one["by chance"] > 0.9  # ... and behind right answers


def test_wrong_labels_are_among_the_rows_that_inhibit_the_right_class(small):
    found = small("representer_fig3")["digits"]["planted"]
    for name in found["shares"]:
        assert found["shares"][name] > 2 * found["base"]
    assert found["shares"]["representer values, layer of the labels"] > 0.3


# -- figures 7 and 8: values that vanish ----------------------------------------------------------


def test_influence_on_the_loss_vanishes_where_other_values_do_not(small):
    found = small("representer_fig7")["figure 7"]["digits"]
    spread = {name: values.max() / np.median(values) for name, values in found.items()}
    assert spread["influence on the loss"] > 1_000
    assert spread["representer values"] < 10
    assert spread["influence on the logit"] < 10


def test_across_a_wide_gap_representers_still_tell_the_classes_apart(small):
    toy = small("representer_fig7")["figure 8"]["results"]
    assert toy["influence on the loss"]["largest"] < 1e-6
    for name in ("representer values", "representer values, layer of the labels"):
        assert toy[name]["largest"] > 0.1
        assert toy[name]["own class for"] == 1
        assert toy[name]["distance for"] < 0.6  # 1 for rows anywhere
    of_labels = toy["representer values, layer of the labels"]
    assert of_labels["other class against"] == of_labels["signs"] == 1
    assert of_labels["distance against"] < 0.3


def test_the_row_of_the_largest_value_is_one_that_nothing_would_change_without(small):
    before, after = small("representer_fig7")["figure 8"]["losses"]
    assert max(before, after) < 1e-6


# -- table 1: cost --------------------------------------------------------------------------------


def test_all_ways_answer_and_searching_again_for_every_query_costs_most(small):
    found = small("representer_table1")["digits"]
    mean = {name: one["each"].mean() for name, one in found.items()}
    ours = mean["representer values"]
    assert min(v for name, v in mean.items() if "conjugate" in name) > 10 * ours


# -- what users without the data see --------------------------------------------------------------


@pytest.mark.parametrize("name", ["fig1", "fig2", "fig3", "fig7", "table1"])
def test_a_full_run_without_its_data_says_how_to_make_them(small, name, tmp_path, capsys):
    small(f"representer_{name}")
    script = sys.modules[f"representer_{name}"]
    assert script.main(["--data-dir", str(tmp_path), "--results", str(tmp_path)]) is None
    assert "is not here, so this" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


# -- what the scripts reckon with -----------------------------------------------------------------


def test_bins_of_figure_7(small):
    small("representer_fig7")
    shares = sys.modules["representer_fig7"].in_bins(np.array([0.0, 1e-13, 1e-4, 0.5, 1.0]))
    assert_array_equal(shares, [0.2, 0.2, 0, 0, 0.2, 0, 0.4])


def test_neighbours_of_figure_3(small):
    small("representer_fig3")
    script = sys.modules["representer_fig3"]
    own, asked = np.array([[0.0], [1.0], [3.0]]), np.array([[2.9], [0.4]])
    assert_array_equal(script.neighbours(own, asked, 2), [[2, 1], [0, 1]])
    nearer = script.nearness(own, asked, np.array([[1], [2]]))
    assert_array_equal(nearer, [[1 / 3], [2 / 3]])

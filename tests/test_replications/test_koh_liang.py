"""The claims of Koh & Liang (2017) on linear models, on small data.

The scripts in ``benchmarks/replications`` measure the same on the paper's data, or on what stands
in for them; what they print is what is tested.
"""

import sys

import numpy as np
import pytest

from tests.test_replications.conftest import SCRIPTS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="the benchmarks are not part of a release"),
]


# -- figure 1: the parts of influence -------------------------------------------------------------


def images(found):
    return [*found["named"].values(), *found["more"]]


def test_the_formula_of_the_paper_is_first_order_influence(small):
    assert small("koh_liang_fig1")["gap"] < 1e-8


def test_influence_predicts_refits_and_its_truncations_do_not(small):
    for image in images(small("koh_liang_fig1")):
        actual = image["actual"]
        assert actual["influence"] > 0.99
        assert max(actual[name] for name in actual if name != "influence") < 0.9


def test_the_inner_product_is_furthest_from_influence(small):
    more = small("koh_liang_fig1")["more"]
    median = {
        name: np.median([image["correlation"][name] for image in more])
        for name in more[0]["correlation"]
    }
    assert min(median, key=median.get) == "inner product"


def test_without_the_hessian_all_images_of_the_own_class_help_which_is_wrong(small):
    missed = [image["missed"] for image in images(small("koh_liang_fig1"))]
    assert max(one["without Hessian"] for one in missed) == 0
    assert np.median([one["harmful, same class"] for one in missed]) > 0.05
    assert np.median([one["of the most harmful 5 %"] for one in missed]) > 0.05


# -- figure 2: against retraining -----------------------------------------------------------------


def test_influence_matches_retraining_and_the_newton_step_is_closer(small):
    found = small("koh_liang_fig2_left")
    for first_order, newton in (
        (found["first order"], found["newton"]),
        (found["genuine"]["first order"], found["genuine"]["newton"]),
    ):
        assert first_order.pearson > 0.99
        assert newton.pearson > 0.999
        assert abs(newton.slope - 1) < 0.01
        assert newton.relative_error < 0.2 * first_order.relative_error


def test_batched_refits_are_refits(small):
    found = small("koh_liang_fig2_left")
    assert found["left"] < 1e-11
    assert found["genuine"]["refit"].relative_error < 1e-8


# -- figure 3: the hinge --------------------------------------------------------------------------


def test_smoothing_lets_influence_see_the_hinge(small):
    results = small("koh_liang_fig3")[0.1]["results"]
    pearson = {key: np.median([one.pearson for one in found]) for key, found in results.items()}
    slope = {key: np.median([one.slope for one in found]) for key, found in results.items()}
    for choice in ("by t = .001", "by itself", "by truth"):
        assert pearson[0.001, choice] > 0.95
        assert pearson[0.1, choice] > 0.9
        assert pearson[0.0, choice] < 0.8
        assert abs(slope[0.001, choice] - 1) < 0.1
        assert slope[0.0, choice] < 0.1  # predicted changes are more than ten times too large


def test_the_exact_path_is_what_refits_do(small):
    results = small("koh_liang_fig3")[0.1]["results"]
    for choice in ("by t = .001", "by itself", "by truth"):
        for one in results["exact path", choice]:
            assert one.pearson > 1 - 1e-8
            assert abs(one.slope - 1) < 1e-4


# -- figure 4: two models that are right for different reasons ------------------------------------


def test_a_kernel_machine_leans_on_near_rows_of_its_class(small):
    found = small("koh_liang_fig4")["measures"]
    machine = found["SVM, RBF kernel on pixels"]
    features = found["logistic regression on features"]
    assert machine["same, near"] > 0.9
    assert machine["near share"] > features["near share"]
    assert machine["rank correlation"] < features["rank correlation"] - 0.2


def test_rows_of_the_other_class_help_a_linear_model(small):
    features = small("koh_liang_fig4")["measures"]["logistic regression on features"]
    assert features["other"] > 0.3
    assert features["top, other"] > 0.2


# -- section 5.3: domain mismatch -----------------------------------------------------------------


def test_the_few_rows_that_are_to_blame_stand_out(small):
    found = small("koh_liang_domain_mismatch")["by C"][1.0]
    assert found["n_erring"] == 3
    assert found["wrong"] > 0.2
    assert found["signs"] == 1
    assert found["worst"] > 3
    assert found["most"] > 8
    assert found["coefficient"] > 5


def test_it_is_the_indicator_that_makes_them_influential(small):
    found = small("koh_liang_child")["by C"][1.0]
    assert found["gap"] < 1e-10  # the public derivatives are the paper's equation 5
    assert found["part rank"] == 1
    assert found["part share"] > 0.8
    assert found["part"] > 5


# -- figure 6: mislabelled mails ------------------------------------------------------------------


def means(found, c):
    """(score, fraction, [found, accuracy]) and the area as the last fraction."""
    return next(iter(found.values()))["results"][c].mean(axis=0)


def test_checking_influential_mails_repairs_the_filter(small):
    influence, *_, by_chance = means(small("koh_liang_fig6"), 1.0)
    assert influence[2, 0] > 3 * by_chance[2, 0]  # flips found after checking a tenth
    repaired = influence[:-1, 1]
    assert repaired[-1] > repaired[0] + 0.02
    assert repaired[-1] > by_chance[-2, 1] + 0.01


def test_the_weaker_the_penalty_the_more_influence_is_ahead_of_the_loss(small):
    ahead = [means(small("koh_liang_fig6"), c)[[0, 2], -1, 0] @ [1, -1] for c in (0.1, 1.0, 10.0)]
    assert ahead == sorted(ahead)
    assert ahead[-1] > 0


# -- what users without the data see --------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["fig1", "fig2_left", "fig3", "fig4", "domain_mismatch", "child", "fig6"]
)
def test_a_full_run_without_its_data_says_how_to_make_them(small, name, tmp_path, capsys):
    small(f"koh_liang_{name}")
    script = sys.modules[f"koh_liang_{name}"]
    assert script.main(["--data-dir", str(tmp_path), "--results", str(tmp_path)]) is None
    assert "is not here, so this" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

"""The claims of the literature on networks, on small data.

The scripts in ``benchmarks/replications`` measure the same on MNIST; what they print is what is
tested.
"""

import sys

import pytest

from tests.conftest import import_optional
from tests.test_replications.conftest import SCRIPTS

torch = import_optional("torch")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SCRIPTS.exists(), reason="the benchmarks are not part of a release"),
]


# -- figure 2 middle: stochastic estimation -------------------------------------------------------


def test_stochastic_estimation_gives_the_scores_of_conjugate_gradients(small):
    for _, top, every in small("koh_liang_fig2_middle")["results"]:
        assert top.pearson > 0.999
        assert every.pearson > 0.999
        assert abs(top.slope - 1) < 0.1


# -- figure 2 right: against retraining -----------------------------------------------------------


def test_influence_on_a_network_predicts_more_training_without_a_row(small):
    results = small("koh_liang_fig2_right")["results"]
    assert results["Gauss-Newton"].pearson > 0.9
    assert 0.5 < results["Gauss-Newton"].slope < 2
    assert results["Gauss-Newton"].pearson > results["gradient products"].pearson


# -- linear datamodeling scores -------------------------------------------------------------------


def score(found, model, method, *, early=False, n_models=1):
    """Linear datamodeling score against the mean of the runs."""
    return found[model]["results"][method, early, n_models][1].mean


def test_curvature_predicts_models_of_other_rows_better_than_gradients_alone(small):
    found = small("mnist_lds")
    for model in ("logistic regression", "perceptron"):
        products = score(found, model, "gradient products")
        assert score(found, model, "EK-FAC") > products + 0.02
        assert score(found, model, "CG") > products + 0.02


def test_ensembles_predict_networks_better_than_one_model(small):
    found = small("mnist_lds")
    alone, together = (score(found, "perceptron", "EK-FAC", n_models=n) for n in (1, 3))
    assert together > alone + 0.05
    assert together > 0.4


def test_early_models_tell_more_of_a_network_that_fits_its_rows(small):
    found = small("mnist_lds")
    early, late = (score(found, "perceptron", "EK-FAC", early=e) for e in (True, False))
    assert early > late + 0.02


# -- what users without the data see --------------------------------------------------------------


@pytest.mark.parametrize("name", ["koh_liang_fig2_middle", "koh_liang_fig2_right", "mnist_lds"])
def test_a_full_run_without_its_data_says_how_to_make_them(small, name, tmp_path, capsys):
    small(name)
    script = sys.modules[name]
    assert script.main(["--data-dir", str(tmp_path), "--results", str(tmp_path)]) is None
    assert "is not here, so this" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())

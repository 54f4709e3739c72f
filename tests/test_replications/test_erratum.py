"""The erratum to equations (4) and (5) of Kong & Chaudhuri (2021), as the example shows it."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.mixture import GaussianMixture

from skinfluence import GMMInfluence
from tests.conftest import import_optional

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="module")
def erratum():
    import_optional("matplotlib")
    return runpy.run_path(str(EXAMPLES / "plot_erratum.py"))


def relative_error(formula, truth):
    return np.linalg.norm(formula - truth) / np.linalg.norm(truth)


@pytest.mark.parametrize("d", [2, 5, 20])
def test_the_corrected_formula_is_first_order_and_the_printed_one_is_wrong(erratum, d):
    errors = {}
    for n_rows in (400, 2000):
        truth, formulas = erratum["pairs"][n_rows, d]
        errors[n_rows] = [relative_error(formula, truth) for formula in formulas]
    printed, corrected = zip(*errors.values(), strict=True)
    assert min(printed) > 1
    # halved with every doubling of the rows
    assert_allclose(corrected[0] / corrected[1], 5, rtol=0.3)


def test_the_scale_of_a_cluster_does_not_matter(erratum):
    X = np.random.default_rng(0).normal(size=(25, 2))
    actual = [np.diag(erratum["actual"](scale * X, scale * X)) for scale in (1, 0.1)]
    assert_allclose(actual[0], actual[1], rtol=1e-10)


def test_the_closed_form_of_the_package_is_the_truth_of_the_example(erratum):
    rng = np.random.default_rng(1)
    X, Z = rng.normal(size=(60, 3)), rng.normal(size=(7, 3))
    mixture = GaussianMixture(1, covariance_type="spherical", reg_covar=0.0)
    explainer = GMMInfluence(mixture, method="well_separated").fit(X)
    assert_allclose(explainer.score_influence(Z), erratum["actual"](X, Z), rtol=1e-8, atol=1e-12)


def test_self_influence_adds_up_to_the_number_of_parameters(erratum):
    X = np.random.default_rng(2).normal(size=(5000, 3))
    explainer = GMMInfluence(GaussianMixture(covariance_type="spherical"), method="one_step")
    assert_allclose(explainer.fit(X).self_influence().sum(), 3 + 1, rtol=0.05)

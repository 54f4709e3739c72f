"""GMMInfluence: what it adds to the shared template, and the contract on every method and type."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import GMMInfluence
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError
from skinfluence.testing import explainer_checks

TYPES = ("full", "tied", "diag", "spherical")


def two_clusters(n=60, seed=0, apart=7.0):
    rng = np.random.default_rng(seed)
    return np.vstack(
        [rng.normal(size=(n, 2)), rng.normal(size=(n, 2)) * [1.0, 0.5] + [apart, 0.0]]
    )


def mixture(covariance_type="full", **params):
    return GaussianMixture(2, covariance_type=covariance_type, random_state=0, **params)


# Refits of all kinds are held against plain EM in test_deletion/test_gmm.py.
CASES = [*((kind, "implicit") for kind in TYPES), ("full", "refit"), ("diag", "refit")]
ERRORS = {"implicit": 1e-2, "refit": 1e-6, "one_step": 0.1, "well_separated": 1e-8}


def checks():
    for kind, method in [*CASES, ("full", "one_step"), ("spherical", "well_separated")]:
        explainer = GMMInfluence(mixture(kind), method=method)
        # The closed form is exact where no row belongs to both clusters.
        rows = two_clusters(apart=40.0 if method == "well_separated" else 7.0)
        for name, check in explainer_checks(explainer, rows, error=ERRORS[method]):
            yield pytest.param(check, id=f"{kind}-{method}-{name}")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("check", list(checks()))
def test_contract(check):
    check()


def test_attributes():
    X = two_clusters()
    explainer = GMMInfluence(mixture(tol=1e-2)).fit(X)
    before, after = explainer.stationarity_
    assert after < 1e-10 < before < 1.0
    assert explainer.method_ == "implicit"
    assert explainer.score_unit_ == "loss"
    assert explainer.flagged_rows_.shape == (0,)
    _, report = explainer.score_influence(X[:3], return_report=True)
    assert report["method"] == "implicit"
    assert report["n_checked"] == len(X)
    assert_array_equal(report["flagged_rows"], explainer.flagged_rows_)


def test_default_estimator_is_one_gaussian():
    X = two_clusters()
    explainer = GMMInfluence().fit(X)
    assert isinstance(explainer.estimator_, GaussianMixture)
    assert explainer.estimator_.n_components == 1


def test_methods_agree_where_clusters_do_not_overlap():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(60, 2)), rng.normal(size=(60, 2)) + 50.0])
    expected = GMMInfluence(mixture("spherical"), method="refit").fit(X).score_influence(X)
    for method in ("implicit", "one_step", "well_separated"):
        explainer = GMMInfluence(mixture("spherical"), method=method).fit(X)
        assert_allclose(explainer.score_influence(X), expected, atol=1e-8)


def test_outliers_are_found():
    X = np.vstack([two_clusters(), [[3.5, 6.0], [-6.0, 4.0]]])
    explainer = GMMInfluence(mixture()).fit(X)
    assert set(explainer.rank_outliers(2)) == {120, 121}
    labels = explainer.predict(X)
    assert_array_equal(labels[-2:], -1)
    assert np.mean(labels[:-2]) >= 0.9


def test_pipeline_is_explained_in_the_space_of_the_model():
    X = two_clusters() * [1.0, 1000.0]
    pipeline = make_pipeline(StandardScaler(), mixture()).fit(X)
    explainer = GMMInfluence(pipeline).fit(X)
    inner = GMMInfluence(pipeline[-1]).fit(pipeline[:-1].transform(X))
    expected = inner.score_influence(pipeline[:-1].transform(X[:5]))
    assert_allclose(explainer.score_influence(X[:5]), expected, atol=1e-12)


def test_validate_refits_for_real():
    agreement = GMMInfluence(mixture()).fit(two_clusters()).validate(n_refits=6, random_state=0)
    assert agreement.pearson > 0.999
    assert agreement.relative_error < 0.01


def test_rows_without_which_a_component_dies_are_flagged():
    X = np.vstack([two_clusters(30), [[1e3, 1e3]]])
    with pytest.warns(DegenerateDeletionWarning, match=r"1 of 61 rows"):
        explainer = GMMInfluence(clone(mixture()).set_params(n_components=3)).fit(X)
    assert_array_equal(explainer.flagged_rows_, [60])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (BayesianGaussianMixture(), "as many components as the Bayesian mixture kept"),
        (KernelDensity(), "Use KDEInfluence"),
        (KMeans(2), "the model is a KMeans"),
    ],
)
def test_other_models_are_refused(model, message):
    with pytest.raises(UnsupportedEstimatorError, match=message):
        GMMInfluence(model).fit(two_clusters())


def test_well_separated_wants_spheres():
    with pytest.raises(ValueError, match="closed form for spherical components"):
        GMMInfluence(mixture("full"), method="well_separated").fit(two_clusters())


def test_fit_takes_no_weights():
    with pytest.raises(TypeError, match="sample_weight"):
        GMMInfluence().fit(two_clusters(), sample_weight=np.ones(120))

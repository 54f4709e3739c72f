"""KDEInfluence: weights, bandwidths, and proponents by tree."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.neighbors import KernelDensity

from skinfluence import KDEInfluence, attribution
from skinfluence.base import BaseInfluence
from skinfluence.deletion.kde import KDEDeletion
from tests.cases import BLOBS

ALL = ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]
N = len(BLOBS)
GRID = np.array([[i, j] for i in range(6) for j in range(6)]) / 2


def kde(kernel="gaussian", bandwidth=2.0, **params):
    return KDEInfluence(KernelDensity(kernel=kernel, bandwidth=bandwidth, **params))


# -- the bandwidth -------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["scott", "silverman"])
def test_bandwidth_rules_are_held(rule):
    explainer = kde(bandwidth=rule).fit(BLOBS)
    width = explainer.estimator_.bandwidth_
    # A refit without a row would choose another bandwidth; the one that was fitted counts.
    refit = KernelDensity(bandwidth=width, leaf_size=N).fit(BLOBS[1:])
    loss = -explainer.log_density(BLOBS[:5])
    expected = -refit.score_samples(BLOBS[:5]) - loss
    assert_allclose(explainer.score_influence(BLOBS[:5])[:, 0], expected, rtol=1e-9)
    assert explainer.validate(n_refits=4).relative_error < 1e-9


def test_estimator_none_is_the_default_kernel_density():
    expected = kde(bandwidth=1.0).fit(BLOBS).score_influence(BLOBS[:3])
    assert_array_equal(KDEInfluence().fit(BLOBS).score_influence(BLOBS[:3]), expected)


# -- weights -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([-1.0] + [1.0] * (N - 1), "[Nn]egative"),
        ([np.nan] * N, "NaN"),
        ([np.inf] * N, "infinity"),
        ([0.0] * N, "at least one non-zero"),
        ([0.0] * (N - 1) + [1.0], "Only 1 sample has a positive weight"),
        ([1.0] * (N - 1), "sample_weight.shape"),
        (np.ones((N, 1)), "must be 1D"),
    ],
    ids=["negative", "nan", "inf", "zero", "one", "short", "2-d"],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        KDEInfluence().fit(BLOBS, sample_weight=weights)


@pytest.mark.parametrize("kernel", ALL)
@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e300])
def test_the_unit_of_weights_matters_to_nothing_but_additions(kernel, unit):
    weights = np.random.default_rng(0).uniform(0.5, 2.0, N)
    one = kde(kernel).fit(BLOBS, sample_weight=weights)
    other = kde(kernel).fit(BLOBS, sample_weight=unit * weights)
    for method in ("score_influence", "log_density"):
        expected = getattr(one, method)(BLOBS)
        assert_allclose(getattr(other, method)(BLOBS), expected, rtol=1e-8, atol=1e-10)
    assert_allclose(other.self_influence(), one.self_influence(), rtol=1e-8, atol=1e-10)


def test_weights_whose_sum_overflows():
    huge = kde().set_params(novelty=True).fit(BLOBS, sample_weight=np.full(N, 1e308))
    expected = kde().fit(BLOBS)
    assert_allclose(huge.self_influence(), expected.self_influence(), rtol=1e-10)
    assert np.isfinite(huge.offset_)
    assert not np.isnan(huge.score_samples(BLOBS)).any()


def test_score_influence_with_weights_against_refits():
    weights = np.random.default_rng(1).integers(0, 4, N).astype(float)
    explainer = kde("epanechnikov").fit(BLOBS, sample_weight=weights)
    agreement = explainer.validate(n_refits=8, random_state=0)
    assert agreement.relative_error < 1e-9


def test_a_fitted_estimator_brings_its_weights():
    weights = np.random.default_rng(2).uniform(0.5, 2.0, N)
    fitted = KernelDensity().fit(BLOBS, sample_weight=weights)
    expected = KDEInfluence().fit(BLOBS, sample_weight=weights).score_influence(BLOBS[:3])
    for estimator in (fitted, FrozenEstimator(fitted)):
        for given in (None, weights):
            explainer = KDEInfluence(estimator).fit(BLOBS, sample_weight=given)
            assert_allclose(explainer.score_influence(BLOBS[:3]), expected)
        with pytest.raises(ValueError, match=r"already fitted, with other weights.*Leave"):
            KDEInfluence(estimator).fit(BLOBS, sample_weight=np.ones(N))
    plain = KernelDensity().fit(BLOBS)
    with pytest.raises(ValueError, match="with other weights than sample_weight"):
        KDEInfluence(plain).fit(BLOBS, sample_weight=weights)
    KDEInfluence(plain).fit(BLOBS, sample_weight=np.ones(N))


def test_leaving_one_out_matters():
    # A row counted among its own neighbours hides how alone it is.
    explainer = KDEInfluence().fit(BLOBS)
    assert explainer.log_density(BLOBS)[-1] > -10
    assert explainer.self_influence()[-1] > 20
    assert explainer.rank_outliers(1) == N - 1


# -- proponents by tree --------------------------------------------------------------------


def by_sorting(explainer, Z, k):
    """Proponents from the whole matrix, by any explainer's own way."""
    return BaseInfluence._top_k(explainer, Z, k, True, largest=True)


@pytest.fixture
def only_trees(monkeypatch):
    """Fail where a query meets all training rows by way of scores."""

    def fail(*args, **kwargs):
        raise AssertionError("went through all scores")

    monkeypatch.setattr(attribution, "blocks", fail)
    monkeypatch.setattr(KDEDeletion, "change", fail)


@pytest.mark.parametrize("kernel", ["gaussian", "exponential"])
@pytest.mark.parametrize("k", [1, 5, N])
def test_no_scores_of_all_rows(kernel, k, only_trees):
    explainer = kde(kernel).fit(BLOBS)
    Z = BLOBS[:8] + 0.01
    scores, indices = explainer.proponents(Z, k=k)
    distances = np.linalg.norm(Z[:, None] - BLOBS, axis=2)
    assert_array_equal(indices, np.argsort(distances, axis=1)[:, :k])
    assert (np.diff(scores, axis=1) <= 0).all()


@pytest.mark.parametrize("kernel", ["epanechnikov", "linear", "cosine"])
def test_no_scores_within_a_compact_support(kernel, only_trees):
    assert kde(kernel).fit(GRID).proponents(GRID, k=4)[0].shape == (36, 4)


@pytest.mark.parametrize("case", ["weights", "tophat", "dimension", "opponents"])
def test_where_a_tree_would_be_wrong_or_slow(case, only_trees):
    X = np.random.default_rng(3).normal(size=(30, 16)) if case == "dimension" else BLOBS
    weights = np.arange(1, N + 1.0) if case == "weights" else None
    explainer = kde("tophat" if case == "tophat" else "gaussian")
    explainer.fit(X, sample_weight=weights)
    method = explainer.opponents if case == "opponents" else explainer.proponents
    with pytest.raises(AssertionError, match="went through all scores"):
        method(X[:3], k=2)


@pytest.mark.parametrize("metric", ["euclidean", "manhattan", "chebyshev"])
@pytest.mark.parametrize("kernel", ALL)
@pytest.mark.parametrize("k", [1, 3, 4, 9, 36])
def test_tree_and_scores_agree(kernel, metric, k):
    explainer = kde(kernel, 1.25, metric=metric).fit(GRID)
    Z = np.vstack([GRID, GRID[:6] + 0.25, [[1.1, 0.7], [9.0, 9.0], [50.0, 0.0]]])
    scores, indices = explainer.proponents(Z, k=k)
    dense, _ = by_sorting(explainer, Z, k)
    assert_allclose(scores, dense, rtol=1e-9, atol=1e-11)
    every = explainer.score_influence(Z)
    assert_allclose(np.take_along_axis(every, indices, axis=1), dense, rtol=1e-9, atol=1e-11)
    assert_array_equal(explainer.proponents(Z, k=k, return_scores=False), indices)


@pytest.mark.parametrize("kernel", ALL)
@pytest.mark.parametrize("k", [2, 3, 4, 7, 36])
def test_ties_go_to_the_smaller_position(kernel, k):
    # Distances on this grid tie exactly.
    explainer = kde(kernel, 1.25).fit(GRID)
    indices = explainer.proponents(GRID, k=k, return_scores=False)
    distances = np.linalg.norm(GRID[:, None] - GRID, axis=2)
    if kernel not in ("gaussian", "exponential"):
        distances[distances >= 1.25] = 1.25
    if kernel == "tophat":
        distances[distances < 1.25] = 0.0
    assert_array_equal(indices, np.argsort(distances, axis=1, kind="stable")[:, :k])


@pytest.mark.parametrize("kernel", ALL)
def test_copies_are_ordered_by_position(kernel):
    X = np.vstack([BLOBS, BLOBS[:10], BLOBS[:10]])
    scores, indices = kde(kernel).fit(X).proponents(BLOBS[:10], k=2)
    if kernel != "tophat":
        assert_array_equal(indices, np.column_stack([np.arange(10), np.arange(10) + N]))
    assert_allclose(scores[:, 0], scores[:, 1])


@pytest.mark.parametrize("kernel", ["gaussian", "exponential", "epanechnikov"])
def test_one_row_dominates_a_query(kernel):
    explainer = kde(kernel, 1.0).fit(BLOBS)
    Z = BLOBS[-1:] + 0.1
    scores, indices = explainer.proponents(Z, k=3)
    assert indices[0, 0] == N - 1
    assert scores[0, 0] > 5 if kernel != "epanechnikov" else scores[0, 0] == np.inf
    assert_allclose(scores, by_sorting(explainer, Z, 3)[0], rtol=1e-9)


def test_equal_weights_are_no_weights():
    weighted = kde().fit(BLOBS, sample_weight=np.full(N, 3.5))
    scores, indices = weighted.proponents(BLOBS, k=4)
    expected = kde().fit(BLOBS).proponents(BLOBS, k=4)
    assert_allclose(scores, expected[0], rtol=1e-10)
    assert_array_equal(indices, expected[1])


@pytest.mark.parametrize("h", [1e-3, 1e-150, 1e-300])
def test_proponents_where_every_density_underflows(h):
    explainer = kde(bandwidth=h).fit(BLOBS)
    scores, indices = explainer.proponents(BLOBS[:4] + 0.01, k=2)
    assert not np.isnan(scores).any()
    distances = np.linalg.norm(BLOBS[:4, None] + 0.01 - BLOBS, axis=2)
    assert_array_equal(indices, np.argsort(distances, axis=1)[:, :2])

"""KNNInfluence: k, dimension, copies, sparse rows and the novelty split."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import (
    KernelDensity,
    KNeighborsClassifier,
    LocalOutlierFactor,
    NearestNeighbors,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import KDEInfluence, KNNInfluence
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.cases import BLOBS

N = len(BLOBS)


# -- k and d -------------------------------------------------------------------------------


def test_number_of_neighbours():
    assert KNNInfluence().fit(BLOBS).n_neighbors_ == 5
    assert KNNInfluence(NearestNeighbors(n_neighbors=3)).fit(BLOBS).n_neighbors_ == 3
    both = KNNInfluence(NearestNeighbors(n_neighbors=3), n_neighbors=7).fit(BLOBS)
    assert both.n_neighbors_ == 7
    assert both.estimator_.n_neighbors == 3
    fitted = NearestNeighbors(n_neighbors=3).fit(BLOBS)
    expected = KNNInfluence(n_neighbors=7).fit(BLOBS).self_influence()
    assert_array_equal(KNNInfluence(fitted, n_neighbors=7).fit(BLOBS).self_influence(), expected)


@pytest.mark.parametrize("n_neighbors", [0, -1, 2.0, "all"])
def test_neighbours_out_of_range(n_neighbors):
    with pytest.raises(ValueError, match="'n_neighbors' parameter of KNNInfluence must be"):
        KNNInfluence(n_neighbors=n_neighbors).fit(BLOBS)


@pytest.mark.parametrize("n", [2, 4, 5])
def test_too_few_rows(n):
    with pytest.raises(ValueError, match=rf"n_samples = {n} rows leaves fewer.*n_neighbors = 5"):
        KNNInfluence().fit(BLOBS[:n])
    assert KNNInfluence().fit(BLOBS[:6]).self_influence().shape == (6,)


@pytest.mark.parametrize("intrinsic_dim", [0, -1.0, "auto"])
def test_dimension_out_of_range(intrinsic_dim):
    with pytest.raises(ValueError, match="'intrinsic_dim' parameter of KNNInfluence must be"):
        KNNInfluence(intrinsic_dim=intrinsic_dim).fit(BLOBS)


def test_intrinsic_dimension():
    assert KNNInfluence().fit(BLOBS).intrinsic_dim_ == 2.0
    whole, half = (KNNInfluence(intrinsic_dim=d).fit(BLOBS) for d in (2, 1))
    constant = np.log((N - 1) / N)
    growth = whole.self_influence() - constant
    assert_allclose(half.self_influence() - constant, growth / 2, atol=1e-14)
    assert whole.validate(n_refits=3).relative_error < 1e-9
    assert half.validate(n_refits=3).relative_error < 1e-9


def test_groups_of_exactly_k_rows_stand_out():
    rng = np.random.default_rng(0)
    groups = [rng.normal(center, 0.05, (size, 2)) for center, size in ((0, 9), (10, 5), (20, 30))]
    X = np.vstack(groups)
    assert_array_equal(np.sort(KNNInfluence().fit(X).rank_outliers(5)), np.arange(9, 14))


# -- copies --------------------------------------------------------------------------------


def test_copies():
    X = np.vstack([BLOBS] + [BLOBS[:1]] * 2)  # three copies of the first row
    at, constant = [0, N, N + 1], np.log((N + 1) / (N + 2))
    for k, expected in ((2, constant), (3, np.inf)):
        own = KNNInfluence(n_neighbors=k).fit(X).self_influence()
        assert_allclose(own[at], expected)
    own = KNNInfluence(n_neighbors=4).fit(X).self_influence()
    assert np.isfinite(own[at]).all()
    assert_allclose(own[at], own[0])
    scores, indices = KNNInfluence(n_neighbors=3).fit(X).proponents(BLOBS[:1], k=4)
    assert_array_equal(indices[0, :3], at)
    assert_array_equal(scores[0, :3], np.inf)


def test_neighbours_share_one_score():
    scores, indices = KNNInfluence().fit(BLOBS).proponents([[0.1, 0.2]], k=5)
    assert_allclose(scores, scores[0, 0])
    assert_array_equal(indices, np.sort(indices))
    with_ties, _ = KNNInfluence().fit(BLOBS).opponents([[0.1, 0.2]], k=3)
    assert_allclose(with_ties, np.log((N - 1) / N))


# -- sparse --------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csc_matrix, sparse.coo_array])
def test_sparse_is_dense(container):
    X = np.random.default_rng(1).poisson(0.5, (40, 12)) * (1 + 0.1 * np.arange(12))
    dense = KNNInfluence(contamination=0.1).fit(X)
    explainer = KNNInfluence(contamination=0.1).fit(container(X))
    Z = X[:7] + 0.0
    Z[:, 3] += 0.5
    expected = dense.score_influence(Z)
    for asked in (container(Z), sparse.csr_array(Z), Z):
        assert_allclose(explainer.score_influence(asked), expected, rtol=1e-9, atol=1e-9)
    assert_allclose(dense.score_influence(container(Z)), expected, rtol=1e-9, atol=1e-9)
    assert_allclose(explainer.self_influence(), dense.self_influence(), rtol=1e-7, atol=1e-7)
    assert_allclose(explainer.offset_, dense.offset_, rtol=1e-7)
    fitted = NearestNeighbors().fit(sparse.csr_matrix(X))
    again = KNNInfluence(fitted).fit(container(X))
    assert_allclose(again.score_influence(Z), expected, rtol=1e-9, atol=1e-9)
    assert explainer.validate(n_refits=3).relative_error < 1e-6


# -- refusals ------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", [False, True])
@pytest.mark.parametrize("wrap", [lambda m: m, FrozenEstimator, make_pipeline])
def test_precomputed_distances_are_refused(fit, wrap):
    model = NearestNeighbors(metric="precomputed")
    if fit:
        model.fit(np.zeros((9, 9)))
    with pytest.raises(UnsupportedEstimatorError, match=r'metric="precomputed".*Pass the rows'):
        KNNInfluence(wrap(model)).fit(np.zeros((9, 9)))


@pytest.mark.parametrize(
    "model",
    [LocalOutlierFactor(), KNeighborsClassifier(), KernelDensity()],
    ids=lambda m: type(m).__name__,
)
def test_other_neighbours_are_refused(model):
    name = type(model).__name__
    message = rf"explains NearestNeighbors, and the model is a {name}\. Pass NearestNeighbors"
    with pytest.raises(UnsupportedEstimatorError, match=message):
        KNNInfluence(model).fit(BLOBS)
    with pytest.raises(UnsupportedEstimatorError, match="or use KDEInfluence"):
        KNNInfluence(model).fit(BLOBS)


def test_kernel_density_explainer_refuses_neighbours():
    with pytest.raises(UnsupportedEstimatorError, match="KNNInfluence for NearestNeighbors"):
        KDEInfluence(NearestNeighbors()).fit(BLOBS)


def test_weights_are_no_argument():
    with pytest.raises(TypeError, match="sample_weight"):
        KNNInfluence().fit(BLOBS, sample_weight=np.ones(N))


# -- novelty -------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["predict", "decision_function", "score_samples"])
def test_new_rows_need_novelty(method):
    explainer = KNNInfluence().fit(BLOBS)
    assert not hasattr(explainer, method)
    with pytest.raises(AttributeError, match=f"no attribute '{method}'") as info:
        getattr(explainer, method)
    assert "Set novelty=True for new rows, or use fit_predict" in str(info.value.__cause__)
    explainer.set_params(novelty=True)
    assert getattr(explainer, method)(BLOBS).shape == (N,)


def test_training_rows_need_no_novelty():
    explainer = KNNInfluence(novelty=True)
    assert not hasattr(explainer, "fit_predict")
    with pytest.raises(AttributeError, match="no attribute 'fit_predict'") as info:
        explainer.fit_predict(BLOBS)
    assert "Set novelty=False, or call predict" in str(info.value.__cause__)


def test_labels_of_training_rows():
    explainer = KNNInfluence(contamination=0.1)
    labels = explainer.fit_predict(BLOBS)
    # As if added to the others, a training row is a training row deleted.
    assert_array_equal(labels == -1, -explainer.self_influence() < explainer.offset_)


def test_scores_of_new_rows_are_additions():
    explainer = KNNInfluence(novelty=True).fit(BLOBS[:-1])
    refit = KNNInfluence().fit(BLOBS)
    assert_allclose(explainer.score_samples(BLOBS[-1:]), -refit.self_influence()[-1:], rtol=1e-9)


# -- wrapped -------------------------------------------------------------------------------


def test_behind_a_scaler():
    pipeline = make_pipeline(StandardScaler(), NearestNeighbors(n_neighbors=4))
    explainer = KNNInfluence(pipeline).fit(BLOBS)
    rows = StandardScaler().fit(BLOBS).transform(BLOBS)
    expected = KNNInfluence(n_neighbors=4).fit(rows)
    assert_allclose(explainer.score_influence(BLOBS[:5]), expected.score_influence(rows[:5]))
    assert explainer.n_neighbors_ == 4


def test_searching_for_k_by_the_explainers_own_score():
    search = GridSearchCV(KNNInfluence(), {"n_neighbors": [2, 5, 10]}, cv=3).fit(BLOBS)
    assert search.best_params_["n_neighbors"] in (2, 5, 10)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()

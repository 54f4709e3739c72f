"""What is explained, once pipelines, searches and FrozenEstimator are peeled off."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, StandardScaler

from skinfluence._peel import clone_with_seed, is_fitted, peel, to_model_space, weight_key
from skinfluence.exceptions import UnsupportedEstimatorError

X = np.random.default_rng(0).normal(size=(30, 3))
GRID = {"bandwidth": [0.5, 1.0]}


def search(estimator=None, **options):
    return GridSearchCV(KernelDensity() if estimator is None else estimator, GRID, cv=2, **options)


# -- peel ----------------------------------------------------------------------------------


def test_a_bare_model():
    model = KernelDensity()
    assert peel(model) == ([], model)


def test_a_fitted_pipeline():
    pipeline = make_pipeline(StandardScaler(), PCA(2), KernelDensity()).fit(X)
    heads, model = peel(pipeline)
    assert model is pipeline[-1]
    assert_array_equal(to_model_space(heads, X), pipeline[:-1].transform(X))


def test_nested_heads_come_outermost_first():
    inner = make_pipeline(PCA(2), FrozenEstimator(KernelDensity().fit(X[:, :2])))
    outer = make_pipeline(StandardScaler(), inner).fit(X)
    heads, model = peel(outer)
    assert isinstance(model, KernelDensity)
    expected = inner[0].transform(outer[0].transform(X))
    assert_array_equal(to_model_space(heads, X), expected)


def test_a_pipeline_of_one_step_has_no_head():
    heads, model = peel(make_pipeline(KernelDensity()))
    assert heads == []
    assert isinstance(model, KernelDensity)


@pytest.mark.parametrize("kind", ["grid", "random", "halving"])
def test_searches(kind):
    made = {
        "grid": search,
        "random": lambda: RandomizedSearchCV(KernelDensity(), GRID, n_iter=2, cv=2),
        "halving": lambda: HalvingGridSearchCV(KernelDensity(), GRID, cv=2),
    }[kind]()
    assert peel(made)[1] is made.estimator
    made.fit(X)
    assert peel(made)[1] is made.best_estimator_


def test_a_search_around_a_pipeline_around_a_search():
    inner = make_pipeline(StandardScaler(), search())
    outer = GridSearchCV(inner, {"standardscaler__with_mean": [True, False]}, cv=2).fit(X)
    heads, model = peel(FrozenEstimator(outer))
    assert model is outer.best_estimator_[-1].best_estimator_
    assert_array_equal(to_model_space(heads, X), outer.best_estimator_[0].transform(X))


@pytest.mark.parametrize("fitted", [False, True])
def test_a_search_without_refit_is_refused(fitted):
    made = search(refit=False)
    if fitted:
        made.fit(X)
    with pytest.raises(
        UnsupportedEstimatorError, match=r"GridSearchCV has refit=False.*refit=True"
    ):
        peel(made)


# -- is_fitted -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator",
    [
        KernelDensity(),
        NearestNeighbors(),
        make_pipeline(StandardScaler(), KernelDensity()),
        make_pipeline(StandardScaler().fit(X), KernelDensity()),
        search(),
        FrozenEstimator(KernelDensity()),
    ],
    ids=repr,
)
def test_is_fitted(estimator):
    assert not is_fitted(estimator)
    if not isinstance(estimator, FrozenEstimator):
        assert is_fitted(clone(estimator).fit(X))
        assert is_fitted(FrozenEstimator(clone(estimator).fit(X)))


def test_strings_are_not_fitted():
    assert not is_fitted("passthrough")


# -- to_model_space ------------------------------------------------------------------------


def test_model_space_is_a_float64_copy():
    heads, _ = peel(make_pipeline(FunctionTransformer(), KernelDensity()).fit(X))
    rows = to_model_space(heads, X)
    assert not np.shares_memory(rows, X)
    assert to_model_space(heads, X.astype(np.float32)).dtype == np.float64


def test_model_space_stays_sparse_only_where_it_may():
    heads, _ = peel(make_pipeline(FunctionTransformer(), KernelDensity()).fit(X))
    rows = sparse.csr_matrix(X)
    assert sparse.issparse(to_model_space(heads, rows, accept_sparse="csr"))
    with pytest.raises(TypeError, match="dense data is required"):
        to_model_space(heads, rows)


# -- weights and seeds ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "key"),
    [
        (KernelDensity(), "sample_weight"),
        (search(), "sample_weight"),
        (make_pipeline(StandardScaler(), KernelDensity()), "kerneldensity__sample_weight"),
        (search(make_pipeline(PCA(), KernelDensity())), "kerneldensity__sample_weight"),
        (Pipeline([("a", Pipeline([("b", KernelDensity())]))]), "a__b__sample_weight"),
        (FrozenEstimator(KernelDensity()), "sample_weight"),
    ],
    ids=repr,
)
def test_weight_key(estimator, key):
    assert weight_key(estimator) == key


def test_seeds_go_only_where_none_is_set():
    given = make_pipeline(MinMaxScaler(), PCA(random_state=7), GaussianMixture())
    seeded = clone_with_seed(given, 0)
    assert seeded["pca"].random_state == 7
    assert isinstance(seeded["gaussianmixture"].random_state, int)
    assert given["gaussianmixture"].random_state is None
    again = clone_with_seed(given, 0)
    assert again["gaussianmixture"].random_state == seeded["gaussianmixture"].random_state
    assert clone_with_seed(given, None)["gaussianmixture"].random_state is None

"""Explainers around pipelines and searches, inside them, and their frames."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import IsolationForest
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import KDEInfluence, KNNInfluence
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

X = np.random.default_rng(0).normal(size=(40, 4)) * [1.0, 5.0, 0.2, 3.0]
Z = X[:6] + 0.1
TEXTS = [
    f"{a} {b} {c}"
    for a in ("red", "green", "blue")
    for b in ("cat", "dog", "bird", "fish")
    for c in ("runs", "sleeps")
]


# -- around --------------------------------------------------------------------------------


@pytest.mark.parametrize("fitted", [False, True])
def test_a_pipeline_is_its_rows_transformed(fitted):
    pipeline = make_pipeline(StandardScaler(), PCA(2), KernelDensity())
    explainer = KDEInfluence(pipeline.fit(X) if fitted else pipeline, novelty=True).fit(X)
    head = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    bare = KDEInfluence(novelty=True).fit(head.transform(X))
    queries = head.transform(Z)
    assert_allclose(explainer.score_influence(Z), bare.score_influence(queries), rtol=1e-9)
    assert_allclose(explainer.self_influence(), bare.self_influence(), rtol=1e-9)
    assert_array_equal(explainer.proponents(Z)[1], bare.proponents(queries)[1])
    assert_allclose(explainer.log_density(Z), bare.log_density(queries), rtol=1e-9)
    assert_allclose(explainer.score_samples(Z), bare.score_samples(queries), rtol=1e-9)
    assert_allclose(explainer.offset_, bare.offset_, rtol=1e-9)
    assert explainer.n_features_in_ == 4
    assert (explainer.estimator_ is pipeline) == fitted


def test_a_pipeline_sees_the_wrong_columns():
    explainer = KDEInfluence(make_pipeline(StandardScaler(), KernelDensity())).fit(X)
    with pytest.raises(ValueError, match="X has 3 features, but StandardScaler is expecting 4"):
        explainer.score_influence(Z[:, :3])


def test_nested_pipelines_and_frozen_heads():
    scaler = StandardScaler().fit(X)
    nested = make_pipeline(FrozenEstimator(scaler), make_pipeline(PCA(2), KernelDensity()))
    flat = make_pipeline(StandardScaler(), PCA(2), KernelDensity())
    expected = KDEInfluence(flat).fit(X).score_influence(Z)
    assert_allclose(KDEInfluence(nested).fit(X).score_influence(Z), expected, rtol=1e-9)


def test_text_through_svd():
    pipeline = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0), KernelDensity())
    explainer = KDEInfluence(pipeline).fit(TEXTS)
    assert explainer.score_influence(["a red cat", "blue blue"]).shape == (2, len(TEXTS))
    assert not hasattr(explainer, "n_features_in_")
    assert explainer.validate(n_refits=3).relative_error < 1e-9
    whole = explainer.validate(["a red cat"], n_refits=3, whole_pipeline=True)
    assert np.isfinite(whole.relative_error)


def test_sparse_text_by_neighbours():
    explainer = KNNInfluence(make_pipeline(TfidfVectorizer(), NearestNeighbors())).fit(TEXTS)
    dense = TfidfVectorizer().fit(TEXTS).transform(TEXTS).toarray()
    expected = KNNInfluence(NearestNeighbors(algorithm="brute")).fit(dense)
    assert_allclose(
        explainer.score_influence(TEXTS[:5]),
        expected.score_influence(dense[:5]),
        rtol=1e-7,
        atol=1e-7,
    )
    nearest = explainer.proponents(["red cat runs"], k=1, return_scores=False)[0, 0]
    assert TEXTS[nearest].startswith("red cat")


def test_sparse_text_is_nothing_for_kernels():
    with pytest.raises(TypeError, match="dense data is required"):
        KDEInfluence(make_pipeline(TfidfVectorizer(), KernelDensity())).fit(TEXTS)


@pytest.mark.parametrize("fitted", [False, True])
def test_a_search_inside(fitted):
    grid = {"kerneldensity__bandwidth": [0.3, 1.0, 3.0]}
    search = GridSearchCV(make_pipeline(StandardScaler(), KernelDensity()), grid, cv=3)
    explainer = KDEInfluence(search.fit(X) if fitted else search).fit(X)
    best = clone(search).fit(X).best_estimator_
    expected = KDEInfluence(best).fit(X).score_influence(Z)
    assert_allclose(explainer.score_influence(Z), expected, rtol=1e-9)
    whole = explainer.validate(Z, n_refits=2, whole_pipeline=True)
    assert np.isfinite(whole.relative_error)


def test_a_search_within_a_pipeline_inside():
    search = GridSearchCV(KernelDensity(), {"bandwidth": [0.5, 2.0]}, cv=3)
    explainer = KDEInfluence(make_pipeline(StandardScaler(), search)).fit(X)
    assert explainer.validate(n_refits=2).relative_error < 1e-9


def test_a_search_without_refit_is_refused():
    search = GridSearchCV(KernelDensity(), {"bandwidth": [0.5, 2.0]}, refit=False, cv=3)
    for given in (search, clone(search).fit(X), make_pipeline(StandardScaler(), search)):
        with pytest.raises(UnsupportedEstimatorError, match="refit=False, so it holds no fitted"):
            KDEInfluence(given).fit(X)


# -- inside --------------------------------------------------------------------------------


def test_a_search_outside_over_the_bandwidth():
    pipeline = make_pipeline(StandardScaler(), KDEInfluence(KernelDensity(), novelty=True))
    grid = {"kdeinfluence__estimator__bandwidth": [0.05, 0.7, 5.0]}
    search = GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X)
    inner = GridSearchCV(KernelDensity(), {"bandwidth": [0.05, 0.7, 5.0]}, cv=3)
    rows = StandardScaler().fit_transform(X)
    assert search.best_params_["kdeinfluence__estimator__bandwidth"] == 0.7
    assert inner.fit(rows).best_params_["bandwidth"] == 0.7
    assert search.best_estimator_[-1].n_samples_fit_ == 40
    assert set(search.predict(Z)) <= {-1, 1}


def test_the_default_score_is_the_mean_log_density():
    scores = cross_val_score(KDEInfluence(), X, cv=4)
    explainer = KDEInfluence().fit(X[10:])
    assert_allclose(scores[0], explainer.log_density(X[:10]).mean())
    assert isinstance(explainer.score(X[:10]), float)


def test_features_for_a_next_step():
    first = KDEInfluence(influence_features=True)
    pipeline = make_pipeline(StandardScaler(), first, IsolationForest(random_state=0)).fit(X)
    assert pipeline[-1].n_features_in_ == 40
    assert pipeline.predict(Z).shape == (6,)
    assert list(pipeline[:-1].get_feature_names_out())[:2] == ["influence_0", "influence_1"]


def test_parameters_and_clones():
    explainer = KDEInfluence(make_pipeline(StandardScaler(), KernelDensity())).fit(X)
    explainer.set_params(estimator__kerneldensity__bandwidth=2.0, contamination=0.1)
    assert explainer.get_params()["estimator__kerneldensity__bandwidth"] == 2.0
    fresh = clone(explainer)
    with pytest.raises(NotFittedError):
        fresh.score_influence(Z)
    wide = fresh.fit(X).score_influence(Z)
    assert_array_equal(wide, explainer.fit(X).score_influence(Z))
    with pytest.raises(ValueError, match="Invalid parameter 'bandwidth' for estimator KDEInf"):
        explainer.set_params(bandwidth=2.0)


def test_clones_refit_what_is_not_frozen():
    fitted = KernelDensity().fit(X)
    assert clone(KDEInfluence(fitted)).fit(X[:20]).n_samples_fit_ == 20
    frozen = clone(KDEInfluence(FrozenEstimator(fitted)))
    with pytest.raises(ValueError, match="keeps 40 training rows"):
        frozen.fit(X[:20])
    assert frozen.fit(X).estimator_.estimator is fitted


# -- frames --------------------------------------------------------------------------------


def frame_of(pandas, values=X, index=None):
    index = [f"row{i}" for i in range(len(values))] if index is None else index
    return pandas.DataFrame(values, columns=["a", "b", "c", "d"], index=index)


@pytest.mark.parametrize("how", ["set_output", "global"])
@pytest.mark.parametrize("Explainer", [KDEInfluence, KNNInfluence])
def test_frames_in_labels_out(Explainer, how):
    pandas = import_optional("pandas")
    train = frame_of(pandas)
    queries = frame_of(pandas, Z, index=list("uvwxyz"))
    plain = Explainer().fit(X)
    explainer = Explainer(influence_features=True)
    if how == "set_output":
        explainer.set_output(transform="pandas")
    with config_context(transform_output="pandas" if how == "global" else "default"):
        explainer.fit(train)
        scores = explainer.score_influence(queries)
        reduced = explainer.score_influence(queries, reduce="mean")
        own = explainer.self_influence()
        groups = explainer.score_groups(queries, groups=["odd", "even"] * 20)
        features = explainer.transform(queries)
        out = explainer.score_influence(queries, out=np.empty((6, 40)))
    expected = pandas.DataFrame(plain.score_influence(Z), index=queries.index, columns=train.index)
    pandas.testing.assert_frame_equal(scores, expected, check_names=False)
    assert_allclose(reduced, expected.mean())
    assert reduced.index.equals(train.index)
    assert own.index.equals(train.index)
    assert own.name == "self_influence"
    assert_allclose(own, plain.self_influence())
    assert list(groups.columns) == ["even", "odd"]
    assert groups.index.equals(queries.index)
    assert list(features.columns[:2]) == ["influence_row0", "influence_row1"]
    assert features.index.equals(queries.index)
    assert isinstance(out, np.ndarray)
    assert isinstance(explainer.score_influence(queries), pandas.DataFrame) == (
        how == "set_output"
    )


def test_labels_are_kept_where_nobody_asks_for_frames():
    pandas = import_optional("pandas")
    explainer = KDEInfluence().fit(frame_of(pandas))
    assert isinstance(explainer.score_influence(frame_of(pandas)), np.ndarray)
    assert explainer.train_index_[3] == "row3"
    assert_array_equal(KDEInfluence().fit(X).train_index_, np.arange(40))


def test_repeated_labels():
    pandas = import_optional("pandas")
    train = frame_of(pandas, index=["same"] * 20 + list(range(20)))
    explainer = KDEInfluence(influence_features=True).set_output(transform="pandas").fit(train)
    scores = explainer.score_influence(train)
    assert list(scores.columns[:2]) == ["same", "same"]
    assert_allclose(scores, KDEInfluence().fit(X).score_influence(X), rtol=1e-9)
    # Names of features must not repeat.
    assert list(explainer.transform(train).columns[:2]) == ["influence_0", "influence_1"]
    polars = explainer.set_output(transform="polars")
    with pytest.raises(ValueError, match="need unique column names"):
        polars.score_influence(train)


@pytest.mark.parametrize("kind", ["dates", "pairs", "floats"])
def test_other_labels(kind):
    pandas = import_optional("pandas")
    index = {
        "dates": pandas.date_range("2020-01-01", periods=40),
        "pairs": pandas.MultiIndex.from_product([["a", "b"], range(20)]),
        "floats": np.arange(40) / 2,
    }[kind]
    train = frame_of(pandas, index=index)
    explainer = KDEInfluence(influence_features=True).set_output(transform="pandas").fit(train)
    scores = explainer.score_influence(train)
    assert list(scores.index) == list(train.index)
    assert list(scores.columns) == list(train.index)
    assert explainer.transform(train).shape == (40, 40)


def test_polars():
    polars = import_optional("polars")
    train = polars.DataFrame(X, schema=list("abcd"), orient="row")
    explainer = KDEInfluence(influence_features=True).set_output(transform="polars").fit(train)
    expected = KDEInfluence().fit(X)
    scores = explainer.score_influence(train[:6])
    assert isinstance(scores, polars.DataFrame)
    assert scores.columns[:2] == ["0", "1"]
    assert_allclose(scores.to_numpy(), expected.score_influence(X[:6]))
    assert explainer.self_influence().name == "self_influence"
    assert explainer.transform(train).columns[0] == "influence_0"
    assert explainer.score_groups(train, groups=np.arange(40) % 2).columns == ["0", "1"]
    assert list(explainer.feature_names_in_) == list("abcd")
    pipeline = make_pipeline("passthrough", KernelDensity())
    behind = KDEInfluence(pipeline).fit(train)
    whole = behind.validate(n_refits=2, whole_pipeline=True)
    assert whole.relative_error < 1e-9


def test_a_frame_with_other_names():
    pandas = import_optional("pandas")
    train = frame_of(pandas)
    explainer = KDEInfluence().fit(train)
    with pytest.raises(ValueError, match="feature names should match those that were passed"):
        explainer.score_influence(train.rename(columns={"a": "e"}))
    with pytest.raises(ValueError, match="feature names should match"):
        explainer.score_influence(train[["b", "a", "c", "d"]])
    with pytest.warns(UserWarning, match="does not have valid feature names, but KDEInfluence"):
        explainer.score_influence(X)


def test_columns_of_mixed_types():
    pandas = import_optional("pandas")
    train = frame_of(pandas).assign(kind=["x", "y"] * 20)
    head = make_column_transformer(
        (StandardScaler(), ["a", "b", "c", "d"]),
        (OneHotEncoder(sparse_output=False), ["kind"]),
    )
    explainer = KDEInfluence(make_pipeline(head, KernelDensity()))
    explainer.set_output(transform="pandas").fit(train)
    assert list(explainer.feature_names_in_) == ["a", "b", "c", "d", "kind"]
    scores = explainer.score_influence(train.iloc[:3])
    assert list(scores.index) == ["row0", "row1", "row2"]
    assert_allclose(np.diag(scores), explainer.self_influence()[:3])
    whole = explainer.validate(n_refits=2, whole_pipeline=True)
    assert np.isfinite(whole.relative_error)


def test_output_of_pipelines_reaches_the_explainer():
    pandas = import_optional("pandas")
    pipeline = make_pipeline(StandardScaler(), KDEInfluence(influence_features=True))
    pipeline.set_output(transform="pandas").fit(frame_of(pandas))
    features = pipeline.transform(frame_of(pandas, Z, index=list("uvwxyz")))
    assert list(features.index) == list("uvwxyz")
    assert features.columns[0] == "influence_row0"

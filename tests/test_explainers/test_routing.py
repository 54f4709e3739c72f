"""Metadata routing of sample weights to the estimator inside."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn import config_context
from sklearn.decomposition import PCA
from sklearn.exceptions import UnsetMetadataPassedError
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import KDEInfluence
from tests.cases import BLOBS

WEIGHTS = np.random.default_rng(0).uniform(0.5, 2.0, len(BLOBS))


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def requesting(estimator=None):
    estimator = KernelDensity() if estimator is None else estimator
    return estimator.set_fit_request(sample_weight=True)


def expected(X=BLOBS):
    with config_context(enable_metadata_routing=False):
        return KDEInfluence().fit(X, sample_weight=WEIGHTS).score_influence(X[:4])


def test_the_default_estimator_takes_weights(routing):
    explainer = KDEInfluence().fit(BLOBS, sample_weight=WEIGHTS)
    assert_allclose(explainer.score_influence(BLOBS[:4]), expected())


def test_an_estimator_that_asks_for_weights(routing):
    explainer = KDEInfluence(requesting()).fit(BLOBS, sample_weight=WEIGHTS)
    assert_allclose(explainer.score_influence(BLOBS[:4]), expected())


def test_an_estimator_that_does_not_say(routing):
    with pytest.raises(
        UnsetMetadataPassedError, match=r"\[sample_weight\] are passed but are not"
    ):
        KDEInfluence(KernelDensity()).fit(BLOBS, sample_weight=WEIGHTS)


def test_no_weights_no_request(routing):
    explainer = KDEInfluence(KernelDensity()).fit(BLOBS)
    assert explainer.n_samples_fit_ == len(BLOBS)


def test_a_pipeline_inside(routing):
    inner = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), requesting())
    explainer = KDEInfluence(inner).fit(BLOBS, sample_weight=WEIGHTS)
    rows = inner[0].fit(BLOBS).transform(BLOBS)
    assert_allclose(explainer.score_influence(BLOBS[:4]), expected(rows))


def test_a_fitted_estimator_compares_them(routing):
    fitted = KernelDensity().fit(BLOBS, sample_weight=WEIGHTS)
    explainer = KDEInfluence(fitted).fit(BLOBS, sample_weight=WEIGHTS)
    assert_allclose(explainer.score_influence(BLOBS[:4]), expected())


def test_within_a_pipeline(routing):
    outer = make_pipeline(PCA(2), requesting(KDEInfluence(requesting())))
    outer.fit(BLOBS, sample_weight=WEIGHTS)
    rows = outer[:-1].transform(BLOBS)
    assert_allclose(outer[-1].score_influence(rows[:4]), expected(rows))


def test_within_a_pipeline_without_a_request(routing):
    outer = make_pipeline(PCA(2), KDEInfluence())
    with pytest.raises(UnsetMetadataPassedError, match="KDEInfluence"):
        outer.fit(BLOBS, sample_weight=WEIGHTS)


def test_within_a_search(routing):
    explainer = requesting(KDEInfluence(requesting()))
    search = GridSearchCV(explainer, {"estimator__bandwidth": [1.0]}, cv=2)
    search.fit(BLOBS, sample_weight=WEIGHTS)
    assert_allclose(search.best_estimator_.score_influence(BLOBS[:4]), expected())


def test_without_routing_weights_find_the_last_step():
    inner = make_pipeline(PCA(2), make_pipeline(KernelDensity()))
    explainer = KDEInfluence(inner).fit(BLOBS, sample_weight=WEIGHTS)
    rows = PCA(2).fit_transform(BLOBS)
    assert_allclose(explainer.score_influence(BLOBS[:4]), expected(rows))
    outer = make_pipeline(PCA(2), KDEInfluence())
    outer.fit(BLOBS, kdeinfluence__sample_weight=WEIGHTS)
    assert_allclose(outer[-1].score_influence(rows[:4]), expected(rows))

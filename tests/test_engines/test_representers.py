"""Layers at their minima: what they decompose, what they reproduce, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skinfluence.engines.representers import (
    LastLayer,
    LinearRepresenters,
    last_layer,
    matching_layer,
    pretrained,
    refitted,
    representer_engine_of,
)
from skinfluence.engines.representers.kernel import products, square_lengths
from skinfluence.engines.representers.reconstruction import correlation
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import Problem
from skinfluence.objectives.losses import Softmax, SquaredError

rng = np.random.default_rng(1)
N, D, K = 90, 7, 3
FEATURES = np.maximum(rng.normal(size=(N, D)) + 0.3, 0.0)
COEF, INTERCEPT = rng.normal(size=(D, K)), rng.normal(size=K)
OUTPUTS = FEATURES @ COEF + INTERCEPT
KINDS = ("softmax", "sigmoid", "relu", "squared")


def by_products(monkeypatch):
    """Solve by conjugate gradients, however small the layer."""
    for module in (last_layer, pretrained):
        monkeypatch.setattr(module, "DENSE_PARAMETERS", 0)


def own_layer(kind, coef=COEF, intercept=INTERCEPT, features=FEATURES, **options):
    return matching_layer(features, coef, intercept, kind, **options)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("intercept", [INTERCEPT, None])
@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_sums_over_rows(kind, intercept, dense, monkeypatch):
    if not dense:
        by_products(monkeypatch)
    layer, found = refitted(own_layer(kind, intercept=intercept), kind, l2=0.3)
    assert found.converged
    rows = rng.normal(size=(20, D))
    size = np.abs(found.outputs(rows)).max()
    assert_allclose(found.decomposed(rows), found.outputs(rows), atol=1e-9 * size)
    values = (found.alpha[None] * (rows @ FEATURES.T)[:, :, None]).sum(axis=1)
    assert_allclose(values + found.intercept, found.outputs(rows), atol=1e-9 * size)
    if intercept is not None:
        assert_allclose(found.alpha.sum(axis=0), 0.0, atol=1e-8)
    assert_array_equal(layer.own_coef, COEF)


@pytest.mark.parametrize("kind", KINDS)
def test_alphas_are_the_slopes_of_equation_4(kind):
    weights = rng.uniform(0.5, 2.0, size=N)
    _, found = refitted(own_layer(kind, weights=weights), kind, l2=0.7)
    mine = found.outputs(FEATURES)
    activated = {
        "softmax": lambda eta: softmax(eta, axis=1),
        "sigmoid": expit,
        "relu": lambda eta: np.maximum(eta, 0.0),
        "squared": lambda eta: eta,
    }[kind]
    slopes = activated(mine) - activated(OUTPUTS)
    assert_allclose(found.alpha, -weights[:, None] * slopes / 0.7, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_the_ladder_ends_at_the_largest_penalty_that_reproduces(kind, dense, monkeypatch):
    if not dense:
        by_products(monkeypatch)
    layer, found = refitted(own_layer(kind), kind)
    kept = {"relu": lambda eta: np.maximum(eta, 0.0)}.get(kind, lambda eta: eta)
    if kind == "softmax":
        kept = lambda eta: eta - eta.mean(axis=1, keepdims=True)  # noqa: E731
    mine = kept(found.outputs(FEATURES))
    assert np.corrcoef(mine.ravel(), kept(OUTPUTS).ravel())[0, 1] >= 0.999
    (l2,) = set(found.l2)
    _, worse = refitted(layer, kind, l2=10.0 * l2)
    seen = np.corrcoef(kept(worse.outputs(FEATURES)).ravel(), kept(OUTPUTS).ravel())[0, 1]
    activated = {"softmax": lambda eta: softmax(eta, axis=1), "sigmoid": expit}.get(kind, kept)
    both = activated(worse.outputs(FEATURES)), activated(OUTPUTS)
    assert min(seen, np.corrcoef(both[0].ravel(), both[1].ravel())[0, 1]) < 0.999


def test_the_ladder_has_no_units():
    _, found = refitted(own_layer("softmax"), "softmax")
    scaled = own_layer("softmax", coef=1e-3 * COEF, features=1e3 * FEATURES)
    _, other = refitted(scaled, "softmax")
    assert_allclose(other.l2, 1e6 * found.l2, rtol=1e-9)
    assert_allclose(other.outputs(1e3 * FEATURES), found.outputs(FEATURES), rtol=1e-6, atol=1e-8)


def test_saturated_outputs_are_reproduced_after_the_activation():
    layer = own_layer("softmax", coef=60.0 * COEF)
    _, found = refitted(layer, "softmax")
    own = layer.own_outputs(FEATURES)
    mine = softmax(found.outputs(FEATURES), axis=1)
    assert correlation(mine, softmax(own, axis=1)) >= 0.999
    assert np.isfinite(found.alpha).all()
    assert_allclose(found.decomposed(FEATURES), found.outputs(FEATURES), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("times", [1e3, 1e4, 1e6])
@pytest.mark.parametrize("kind", ["softmax", "sigmoid"])
def test_outputs_of_any_size_are_decomposed(kind, times):
    # Curvature at outputs of thousands is 1e-100 and less, and is no measure of a penalty.
    layer, found = refitted(own_layer(kind, times * COEF, times * INTERCEPT), kind)
    reached, own = found.outputs(FEATURES), layer.own_outputs(FEATURES)
    activated = softmax if kind == "softmax" else expit
    options = {"axis": 1} if kind == "softmax" else {}
    assert correlation(activated(reached, **options), activated(own, **options)) > 0.999
    assert_allclose(found.decomposed(FEATURES), reached, atol=1e-9 * np.abs(reached).max())


def test_a_layer_without_features_has_its_intercept_alone():
    layer = own_layer("softmax", features=np.zeros((N, D)))
    _, found = refitted(layer, "softmax")
    assert_allclose(found.coef, 0.0, atol=1e-12)
    shift = found.intercept - INTERCEPT
    assert_allclose(shift, shift[0], atol=1e-9)


def test_a_hundred_units_are_one_problem():
    coef = rng.normal(size=(D, 100))
    _, found = refitted(own_layer("relu", coef=coef, intercept=None), "relu", l2=0.1)
    size = np.abs(found.outputs(FEATURES)).max()
    assert_allclose(found.decomposed(FEATURES), found.outputs(FEATURES), atol=1e-9 * size)
    one = own_layer("relu", coef=coef[:, 7:8], intercept=None)
    _, alone = refitted(one, "relu", l2=0.1)
    assert_allclose(found.alpha[:, 7], alone.alpha[:, 0], rtol=1e-6, atol=1e-9)


def test_a_trained_layer_is_the_logistic_regression_on_its_features():
    y = OUTPUTS.argmax(axis=1)
    problem = Problem(Softmax(K), y, np.ones(N), COEF, INTERCEPT, l2=2.0)
    found = LastLayer(FEATURES, (problem,)).polished()
    model = LogisticRegression(C=0.5, tol=1e-12, max_iter=10_000).fit(FEATURES, y)
    assert_allclose(found.coef.T, model.coef_, rtol=1e-4, atol=1e-6)
    assert_allclose(found.alpha, -(model.predict_proba(FEATURES) - np.eye(K)[y]) / 2.0, atol=1e-7)


def test_problems_without_a_sum_over_rows_are_refused():
    problem = Problem(SquaredError(), OUTPUTS[:, 0], np.ones(N), COEF[:, :1], None)
    for options, message in [
        ({}, "no l2 penalty"),
        ({"l2": 1.0, "l1": 0.1}, "l1 or group penalty"),
        ({"l2": 1.0, "l21": 0.1}, "l1 or group penalty"),
        ({"l2": 1.0, "positive": True}, "positive"),
        ({"l2": np.arange(1.0, D + 1.0)[:, None]}, "differs between features"),
    ]:
        broken = Problem(**{**vars(problem), **options})
        with pytest.raises(UnsupportedEstimatorError, match=message):
            LastLayer(FEATURES, (broken,)).polished()


def test_products_are_alike_dense_and_sparse():
    queries = rng.normal(size=(4, D))
    truth = queries @ FEATURES.T
    for left in (queries, sparse.csr_array(queries)):
        for right in (FEATURES, sparse.csr_array(FEATURES)):
            found = products(left, right)
            assert isinstance(found, np.ndarray)
            assert_allclose(found, truth, rtol=1e-12, atol=1e-12)
    assert_allclose(square_lengths(sparse.csr_array(FEATURES)), square_lengths(FEATURES))


def test_correlations_of_constants():
    ones = np.ones((5, 2))
    assert correlation(ones, ones) == 1.0
    assert correlation(ones, 2.0 * ones) == 0.0
    assert correlation(FEATURES, -FEATURES) == pytest.approx(-1.0)


def test_engines_by_model():
    assert representer_engine_of(LogisticRegression()) is LinearRepresenters
    assert representer_engine_of(MLPClassifier) is LinearRepresenters  # which refuses classes

"""Linear datamodeling score: its sign, scipy's correlation, the bootstrap written out."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.dummy import DummyRegressor
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge

from skinfluence.metrics import (
    leave_one_out,
    linear_datamodeling_score,
    retrain_on_subsets,
)
from skinfluence.metrics._rank_bootstrap import rank_correlations
from tests.conftest import import_optional


@pytest.fixture
def problem():
    """Scores, subsets, and values that half follow from them."""
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(5, 30))
    subsets = rng.random((40, 30)) < 0.5
    return scores, subsets, -(subsets @ scores.T) + 2 * rng.normal(size=(40, 5))


def test_the_sign_of_deletion_effects():
    """value(S) = value(all) + the sum over the deleted rows, by the definition of a score."""
    rng = np.random.default_rng(0)
    scores, subsets = rng.normal(size=(3, 20)), rng.random((25, 20)) < 0.5
    values = 7.0 + np.array([[row[~subset].sum() for row in scores] for subset in subsets])
    result = linear_datamodeling_score(scores, subsets, values)
    assert_array_equal(result.per_query, 1.0)
    assert result.mean == float(result) == 1.0
    assert_allclose(result.interval, 1.0, rtol=1e-12)
    opposite = linear_datamodeling_score(scores, subsets, values, effect="inclusion")
    assert_array_equal(opposite.per_query, -1.0)


def test_correlations_are_those_of_scipy(problem):
    scores, subsets, values = problem
    result = linear_datamodeling_score(scores, subsets, values)
    predicted = -(subsets @ scores.T)
    expected = [stats.spearmanr(p, v)[0] for p, v in zip(predicted.T, values.T, strict=True)]
    assert_allclose(result.per_query, expected, rtol=1e-12)
    assert_allclose(result.mean, np.mean(expected), rtol=1e-12)


def test_resamples_are_ranked_anew_ties_included():
    rng = np.random.default_rng(3)
    x, y = rng.integers(0, 5, 15).astype(float), rng.normal(size=15)
    drawn = rng.integers(0, 15, size=(20, 15))
    counts = np.array([np.bincount(draw, minlength=15) for draw in drawn], dtype=float)
    expected = [stats.spearmanr(x[draw], y[draw])[0] for draw in drawn]
    assert_allclose(rank_correlations(x, y, counts), expected, rtol=1e-10, atol=1e-12)


def test_errors_are_those_of_new_draws():
    """The bootstrap error is the spread over independent sets of subsets."""
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(1, 30))

    def draw():
        subsets = rng.random((100, 30)) < 0.5
        noise = 5 * rng.normal(size=(100, 1))
        return linear_datamodeling_score(
            scores, subsets, noise - subsets @ scores.T, n_bootstrap=100, random_state=0
        )

    results = [draw() for _ in range(200)]
    spread = np.std([result.mean for result in results])
    assert_allclose(np.mean([r.standard_error for r in results]), spread, rtol=0.15)
    assert_allclose(results[0].per_query_error, results[0].standard_error)
    truth = np.mean([result.mean for result in results])
    covered = np.mean([low <= truth <= high for low, high in (r.interval for r in results)])
    assert 0.9 <= covered <= 0.99
    assert all(low < r.mean < high for r in results for low, high in [r.interval])


def test_one_query_as_vectors(problem):
    scores, subsets, values = problem
    one = linear_datamodeling_score(scores[0], subsets, values[:, 0], random_state=0)
    same = linear_datamodeling_score(scores[:1], subsets, values[:, :1], random_state=0)
    assert one.mean == same.mean
    assert one.interval == same.interval


def test_infinite_values_rank_last(problem):
    scores, subsets, values = problem
    values[3] = np.inf
    infinite = linear_datamodeling_score(scores, subsets, values).per_query
    values[3] = 1e9
    assert_array_equal(infinite, linear_datamodeling_score(scores, subsets, values).per_query)


def test_constant_queries_are_left_out_and_said(problem):
    scores, subsets, values = problem
    scores[1], values[:, 2] = 0.0, 5.0
    with pytest.warns(UndefinedMetricWarning, match="at 2 of 5 queries"):
        result = linear_datamodeling_score(scores, subsets, values, random_state=0)
    assert_array_equal(np.isnan(result.per_query), [False, True, True, False, False])
    kept = linear_datamodeling_score(
        scores[[0, 3, 4]], subsets, values[:, [0, 3, 4]], random_state=0
    )
    assert (result.mean, result.n_undefined) == (kept.mean, 2)
    assert_allclose(result.standard_error, kept.standard_error)
    assert "undefined at 2 queries" in str(result)


def test_nothing_defined():
    with pytest.warns(UndefinedMetricWarning):
        result = linear_datamodeling_score([[1.0, 2.0]], np.eye(2, dtype=bool), [[3.0], [3.0]])
    assert np.isnan([result.mean, result.standard_error, *result.interval]).all()


def test_prints_and_frames(problem):
    import_optional("pandas")
    result = linear_datamodeling_score(*problem, random_state=0)
    frame = result.frame()
    assert frame.shape == (5, 2)
    assert_array_equal(frame["lds"], result.per_query)
    assert f"{result.mean:.4f} +- {result.standard_error:.4f} (95% interval" in str(result)


def test_subsets_have_their_size_and_their_model():
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(21, 2)), rng.normal(size=21), rng.uniform(1, 2, size=21)
    subsets, values = retrain_on_subsets(
        Ridge(), X, y, loss="squared_error", X_query=X[:3], y_query=y[:3], n_subsets=7,
        fraction=1 / 3, sample_weight=weights, random_state=0,
    )  # fmt: skip
    assert subsets.shape == (7, 21)
    assert values.shape == (7, 3)
    assert_array_equal(subsets.sum(axis=1), 7)
    assert len(np.unique(subsets, axis=0)) == 7
    for subset, value in zip(subsets, values, strict=True):
        model = Ridge().fit(X[subset], y[subset], weights[subset])
        assert_allclose(value, (y[:3] - model.predict(X[:3])) ** 2, rtol=1e-12)


def test_the_same_seed_draws_the_same_subsets():
    X, y = np.zeros((10, 1)), np.arange(10.0)
    draws = [
        retrain_on_subsets(DummyRegressor(), X, y, loss="squared_error", n_subsets=3,
                           random_state=seed)[0]
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert_array_equal(draws[0], draws[1])
    assert (draws[0] != draws[2]).any()


def test_leave_one_out_changes_predict_retrained_models():
    """The whole way: real deletions, real halves; the wrong sign would be far below 0."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y = (X[:, 0] + rng.normal(size=60) > 0).astype(int)
    model = LogisticRegression(tol=1e-8)
    scores = leave_one_out(model, X, y, loss="log_loss", X_query=X[:8], y_query=y[:8])
    subsets, values = retrain_on_subsets(
        model, X, y, loss="log_loss", X_query=X[:8], y_query=y[:8], n_subsets=60, random_state=0
    )
    assert linear_datamodeling_score(scores, subsets, values, random_state=0).mean > 0.8


S, M, V = np.ones((2, 3)), np.ones((4, 3), dtype=bool), np.ones((4, 2))


@pytest.mark.parametrize(
    ("scores", "subsets", "values", "options", "message"),
    [
        (S.T, M, V, {}, r"scores have shape \(3, 2\), subsets \(4, 3\) and values \(4, 2\)"),
        (S, M, V.T, {}, "Transpose what is the other way round"),
        (S, M * 1, V, {}, "subsets have dtype int.*, but they must be boolean"),
        (S * np.inf, M, V, {}, "6 of the scores are not finite"),
        (S, M, V * np.nan, {}, "8 of the values are NaN"),
        (S, M, V, {"effect": "removal"}, "effect is 'removal', but it must be 'deletion' or"),
        (S, M, V, {"confidence_level": 95}, "confidence_level is 95"),
        (S, M, V, {"n_bootstrap": 1}, "n_bootstrap 1, but they must"),
    ],
)
def test_refusals(scores, subsets, values, options, message):
    with pytest.raises(ValueError, match=message):
        linear_datamodeling_score(scores, subsets, values, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.01}, "have 0 rows each"),
        ({"fraction": 1.0}, "with a row in it and a row out of it"),
        ({"n_subsets": 0}, "0 subsets"),
        ({"fraction": 0.2, "random_state": 0}, "Only the class .*make the subsets larger"),
    ],
)
def test_refusals_of_subsets(options, message):
    X, y = np.arange(10.0)[:, None], np.arange(10) == 0
    with pytest.raises(ValueError, match=message):
        retrain_on_subsets(LogisticRegression(), X, y, loss="log_loss", **options)

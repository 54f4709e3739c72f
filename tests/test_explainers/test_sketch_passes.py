"""What happens between the passes of InfluenceSketch: rows, models and options that change."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg, sparse
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, SGDClassifier

from skinfluence import InfluenceExplainer, InfluenceSketch
from skinfluence.exceptions import NotStationaryWarning

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 8))
Y = (X[:, 0] + RNG.logistic(size=200) > 0).astype(int)
MODEL = LogisticRegression(tol=1e-10, max_iter=10_000).fit(X, Y)


def sketch(model=MODEL, **options):
    return InfluenceSketch(model, **{"n_components": 4, "random_state": 0, **options})


def test_rows_that_come_in_another_order_are_refused():
    shuffle = np.random.default_rng(0).permutation

    def blocks():
        order = shuffle(len(Y))
        yield X[order[:120]], Y[order[:120]]
        yield X[order[120:]], Y[order[120:]]

    with pytest.raises(ValueError, match="met the rows in another order than the first"):
        sketch().fit(blocks)


def trained():
    return SGDClassifier(loss="log_loss", alpha=0.1, random_state=0, tol=1e-6).fit(X, Y)


@pytest.mark.filterwarnings("ignore:SGDClassifier is not at a minimum")
def test_training_that_goes_on_changes_no_sketch():
    model = trained()
    ours = sketch(model).fit(X, Y)
    before = ours.score_influence(X[:3], Y[:3])
    model.partial_fit(X[:5], 1 - Y[:5])
    assert_array_equal(ours.score_influence(X[:3], Y[:3]), before)


def test_training_between_blocks_is_refused():
    model = trained()
    ours = sketch(model).partial_fit(X[:100], Y[:100])
    model.partial_fit(X[:5], 1 - Y[:5])
    for ask in (ours.partial_fit, ours.diagnostics):
        with pytest.raises(ValueError, match="other coefficients than when the first rows"):
            ask(X[100:], Y[100:])
    assert ours.n_samples_fit_ == 100


@pytest.mark.parametrize(
    "changed", [{"n_components": 5}, {"random_state": 1}, {"estimator": trained()}], ids=str
)
def test_options_that_change_between_blocks_are_refused(changed):
    ours = sketch().partial_fit(X[:100], Y[:100])
    ours.set_params(**changed)
    with pytest.raises(ValueError, match=f"{next(iter(changed))} changed since the first rows"):
        ours.partial_fit(X[100:], Y[100:])
    ours.set_params(estimator=MODEL).fit(X, Y)
    assert ours.n_samples_fit_ == 200


@pytest.mark.parametrize("n_components", [5, 8])
@pytest.mark.parametrize("penalty", [0.0, 3.0])
def test_features_far_from_zero_lose_no_digits(n_components, penalty):
    y = X @ np.arange(8.0) + RNG.normal(size=200)
    model = Ridge(penalty).fit(X, y)
    near = sketch(model, n_components=n_components).fit(X, y)
    far = Ridge(penalty).fit(X, y)
    shift = 2.0 ** np.arange(20, 28)
    moved = (X + shift) - shift
    far.intercept_ -= shift @ far.coef_
    found = sketch(far, n_components=n_components).fit(moved + shift, y)
    assert_allclose(found.leverage_, near.leverage_, rtol=1e-5)
    assert_allclose(found.n_effective_params_, near.n_effective_params_, rtol=1e-5)
    assert_allclose(
        found.score_influence(moved[:3] + shift, y[:3]),
        near.score_influence(X[:3], y[:3]),
        rtol=1e-3,
        atol=1e-6,
    )


def test_columns_that_vary_by_rounding_are_constant():
    y = X @ np.arange(8.0) + RNG.normal(size=200)
    plain = sketch(LinearRegression(), n_components=8).fit(X, y)
    rounded = np.c_[X, 0.1 * (1.0 + 1e-16 * np.arange(200)), np.full(200, 0.3)]
    for n_components in (10, 9):
        found = sketch(LinearRegression(), n_components=n_components).fit(rounded, y)
        assert_allclose(found.n_effective_params_, 9.0)
    found = sketch(LinearRegression(), n_components=10).fit(rounded, y)
    assert_allclose(found.leverage_, plain.leverage_, rtol=1e-10)


def test_active_features_of_each_class():
    y = (X[:, :3] + RNG.normal(size=(200, 3))).argmax(axis=1)
    # Up to scikit-learn 1.7 the penalty has a name.
    named = LogisticRegression().penalty != "deprecated"
    options = {"penalty": "l1"} if named else {"l1_ratio": 1.0}
    options |= {"solver": "saga", "tol": 1e-10, "max_iter": 100_000}
    model = LogisticRegression(C=0.1, **options).fit(X, y)
    used = model.coef_ != 0
    assert used[:, used.any(axis=0)].mean() < 1.0  # not all classes use all that are active
    exact = InfluenceExplainer(model).fit(X, y).diagnostics()
    ours = sketch(model, n_components=8, features="active").fit(X, y)
    assert_allclose(ours.leverage_, exact.leverage, rtol=1e-5)
    assert_allclose(ours.cooks_distance_, exact.cooks_distance, rtol=1e-5)


def test_distances_without_degrees_of_freedom_are_nan():
    wide = np.random.default_rng(0).normal(size=(20, 50))
    ours = sketch(Ridge(1.0), n_components=9).fit(wide, wide[:, 0] ** 2)
    assert ours.n_effective_params_ == 20.0
    assert np.isnan(ours.cooks_distance_).all()
    assert np.isfinite(ours.self_influence()).all()


@pytest.mark.filterwarnings("ignore:LinearRegression is not at a minimum")
@pytest.mark.parametrize("rows", [np.asarray, sparse.csr_array])
def test_far_features_that_nothing_centres_are_said(rows):
    y = X @ np.arange(8.0) + RNG.normal(size=200)
    far = X + 1e6
    model = LinearRegression(fit_intercept=rows is sparse.csr_array).fit(far, y)
    with pytest.warns(linalg.LinAlgWarning, match="1e5 times its spread from 0"):
        sketch(model).fit(rows(far), y)
    constant = LinearRegression(fit_intercept=False).fit(np.c_[X, np.full(200, 1e6)], y)
    sketch(constant, n_components=9).fit(np.c_[X, np.full(200, 1e6)], y)


def counts(seed=0, n=2000, p=1000, length=40):
    """Words by Zipf's law, of which most are in a few rows, and labels that follow from them."""
    rng = np.random.default_rng(seed)
    share = 1.0 / np.arange(1, p + 1)
    words = rng.choice(p, size=(n, length), p=share / share.sum()).ravel()
    rows = np.repeat(np.arange(n), length)
    found = sparse.coo_array((np.ones(len(words)), (rows, words)), shape=(n, p)).tocsr()
    found.indices, found.indptr = found.indices.astype(np.int32), found.indptr.astype(np.int32)
    outputs = found @ np.random.default_rng(99).normal(size=p) / 4.0
    return found, outputs + rng.logistic(size=n)


@pytest.mark.parametrize(
    "model", [LogisticRegression(max_iter=1000), Ridge(), Ridge(100.0)], ids=str
)
def test_rare_columns_make_no_fit_loose(model):
    X, t = counts()
    y = t if isinstance(model, Ridge) else t > 0
    ours = sketch(model.fit(X, y), n_components=20).fit(X, y)
    assert 0.0 < ours.stationarity_ < 0.03
    X, t = counts(seed=1)
    with pytest.warns(NotStationaryWarning, match="times what the rows would add up to"):
        other = sketch(model, n_components=20).fit(X, t if isinstance(model, Ridge) else t > 0)
    assert 0.5 < other.stationarity_ < 3.0


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("C", [0.01, 1.0, 100.0])
def test_a_fit_stopped_after_two_iterations_is_loose(C):
    X, t = counts()
    model = LogisticRegression(C=C, max_iter=2).fit(X, t > 0)
    with pytest.warns(NotStationaryWarning, match="did not train it, or its tolerance is loose"):
        assert sketch(model, n_components=20).fit(X, t > 0).stationarity_ > 0.5


def test_stationarity_knows_no_scale_place_or_block():
    model = LogisticRegression(C=np.inf, tol=3e-3).fit(X, Y)
    found = sketch(model, n_components=8).fit(X, Y).stationarity_
    far = LogisticRegression(C=np.inf).fit(X, Y)
    scale = 10.0 ** np.arange(-4, 4)
    far.coef_ = model.coef_ / scale
    far.intercept_ = model.intercept_ - far.coef_ @ (5.0 * scale)
    for rows in (X + 5.0) * scale, sparse.csr_array((X + 5.0) * scale):
        for size in (None, 7):
            moved = sketch(far, n_components=8, block_size=size).fit(rows, Y)
            assert_allclose(moved.stationarity_, found, rtol=1e-2)  # rounding counts there


@pytest.mark.filterwarnings("ignore:SGDClassifier is not at a minimum")
def test_curvature_that_dies_out_makes_no_feature_large():
    X, t = counts()
    model = SGDClassifier("log_loss", alpha=1e-6, average=True, random_state=0).fit(X, t > 0)
    p = model.predict_proba(X)[:, 1]
    size = np.sqrt(X.multiply(X).T @ (p * (1.0 - p)))
    assert size.max() > 1e6 * np.median(size)
    scores = sketch(model, n_components=20).fit(X, t > 0).self_influence()
    assert np.isfinite(scores).all()

"""InfluenceSketch against exact diagnostics, and its promises of blocks, sketches and edges."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import linalg, sparse
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    MultiTaskLasso,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence import InfluenceExplainer, InfluenceSketch, polish
from skinfluence.engines.sketch.projections import draw
from skinfluence.exceptions import NotStationaryWarning, UnsupportedEstimatorError
from skinfluence.testing import explainer_checks
from tests.cases import ROWS, SPARSE, TARGETS
from tests.conftest import import_optional
from tests.test_sklearn_extras import CHECKS, FRAME_CHECKS, run

TIGHT = {"tol": 1e-10, "max_iter": 10_000}
EXACT = [
    (LogisticRegression(**TIGHT), "binary"),
    (LogisticRegression(C=np.inf, **TIGHT), "binary"),
    (LogisticRegression(solver="liblinear", intercept_scaling=2.0, **TIGHT), "binary"),
    (LogisticRegression(fit_intercept=False, **TIGHT), "binary"),
    (LogisticRegression(**TIGHT), "classes"),
    (LogisticRegression(C=np.inf, **TIGHT), "classes"),
    (LogisticRegression(class_weight="balanced", **TIGHT), "classes"),
    (LinearRegression(), "real"),
    (Ridge(3.0), "real"),
    (PoissonRegressor(alpha=0.1, **TIGHT), "counts"),
    (GammaRegressor(alpha=0.1, **TIGHT), "positive"),
    (GammaRegressor(alpha=0.0, **TIGHT), "positive"),
    (TweedieRegressor(power=1.5, alpha=0.05, **TIGHT), "counts"),
    (ElasticNet(alpha=0.1, **TIGHT), "real"),
    (Lasso(alpha=0.2, **TIGHT), "real"),
]
WEIGHTS = np.random.default_rng(1).integers(0, 3, size=len(ROWS)).astype(float)


def wide(n=300, p=60, seed=0):
    """Rows of many features, targets that follow a few, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * rng.uniform(0.5, 2.0, size=p)
    eta = X[:, :5].sum(axis=1) * 0.4 + 0.3
    y = (eta + rng.logistic(size=n) > 0).astype(int)
    return X, y, rng.uniform(0.5, 2.0, size=n)


def sketch(model, **options):
    return InfluenceSketch(model, random_state=0, **options)


# -- as many components as features ---------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["unweighted", "weighted"])
@pytest.mark.parametrize(("model", "target"), EXACT, ids=str)
def test_exact_with_as_many_components_as_features(model, target, weights):
    y = TARGETS[target]
    model = clone(model).fit(ROWS, y, sample_weight=weights)
    model = polish(model, ROWS, y, weights)
    options = {"hessian": "expected", "method": "first_order", "class_weights": "fixed"}
    exact = InfluenceExplainer(model, **options)
    exact.fit(ROWS, y, weights)
    ours = sketch(model, n_components=3, features="active").fit(ROWS, y, weights)
    found, wanted = ours.diagnostics(), exact.diagnostics()
    assert_allclose(found.leverage, wanted.leverage, rtol=1e-9, atol=1e-13)
    assert_allclose(found.cooks_distance, wanted.cooks_distance, rtol=1e-9, atol=1e-13)
    assert_allclose(found.resid_pearson, wanted.resid_pearson, rtol=1e-9, atol=1e-13)
    assert_allclose(found.scale, wanted.scale, rtol=1e-9)
    assert_allclose(found.n_effective_params, wanted.n_effective_params, rtol=1e-9)
    assert_allclose(found.shrinkage, 1.0, rtol=1e-12)
    assert ours.stationarity_ < 1e-9
    scores = ours.score_influence(ROWS[:7], y[:7])
    assert_allclose(scores, exact.score_influence(ROWS[:7], y[:7]), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("n_components", [60, 100])
def test_exact_on_sparse_rows(n_components):
    X, y, _ = wide()
    X = sparse.csr_array(np.where(X > 1.0, X, 0.0))
    model = polish(LogisticRegression(**TIGHT).fit(X, y), X, y)
    exact = InfluenceExplainer(model).fit(X, y).diagnostics()
    found = sketch(model, n_components=n_components).fit(X, y)
    assert_allclose(found.leverage_, exact.leverage, rtol=1e-8)
    assert_allclose(found.cooks_distance_, exact.cooks_distance, rtol=1e-8)
    assert found.n_components_ == 60


def test_cooks_distance_and_leverage_of_statsmodels():
    api = import_optional("statsmodels.api")
    X, y, _ = wide(p=4)
    model = polish(LogisticRegression(C=np.inf, **TIGHT).fit(X, y), X, y)
    ours = sketch(model, n_components=4).fit(X, y)
    theirs = api.GLM(y, api.add_constant(X), family=api.families.Binomial())
    influence = theirs.fit(tol=1e-14).get_influence(observed=False)
    assert_allclose(ours.leverage_, influence.hat_matrix_diag, rtol=1e-9)
    assert_allclose(ours.cooks_distance_, influence.cooks_distance[0], rtol=1e-9)
    # SAS's CBAR: one factor 1 - h short of k phi times Cook's distance.
    cbar = 5 * influence.cooks_distance[0] * (1.0 - influence.hat_matrix_diag)
    assert_allclose(ours.self_influence(), cbar, rtol=1e-9)


# -- projections ----------------------------------------------------------------------------------


@pytest.mark.parametrize("projection", ["sparse", "gaussian", "countsketch"])
@pytest.mark.parametrize("C", [1.0, np.inf])
def test_leverage_is_that_of_the_fit_in_the_subspace(projection, C):
    X, y, w = wide()
    model = LogisticRegression(C=C, **TIGHT).fit(X, y, sample_weight=w)
    ours = sketch(model, n_components=20, projection=projection).fit(X, y, w)
    omega = ours._engine.sketcher.projections[0].omegas[0]
    omega = omega.toarray() if sparse.issparse(omega) else omega
    p = model.predict_proba(X)[:, 1]
    v = w * p * (1 - p)
    Z = np.sqrt(v)[:, None] * np.column_stack([X @ omega, np.ones(len(X))])
    H = Z.T @ Z
    H[:-1, :-1] += omega.T @ omega / C
    h = np.einsum("ij,jk,ik->i", Z, np.linalg.pinv(H), Z)
    assert_allclose(ours.leverage_, h, rtol=1e-8)
    residual = w * (y - p) / np.sqrt(v)
    assert_allclose(ours.self_influence(), residual**2 * h / (1 - h), rtol=1e-8)
    assert_allclose(ours.diagnostics().resid_pearson, residual, rtol=1e-8)


@pytest.mark.parametrize("projection", ["sparse", "gaussian", "countsketch"])
@pytest.mark.parametrize(("model", "target"), EXACT, ids=str)
def test_a_sketch_never_exceeds_the_true_leverage(model, target, projection):
    rng = np.random.default_rng(3)
    X = np.hstack([ROWS, ROWS @ rng.normal(size=(3, 7)) + rng.normal(size=(len(ROWS), 7))])
    y = TARGETS[target]
    whole = sketch(clone(model), n_components=10).fit(X, y)
    ours = sketch(clone(model), n_components=4, projection=projection).fit(X, y)
    assert (ours.leverage_ <= whole.leverage_ + 1e-9).all()
    # The bound on what they add up to.
    assert ours.n_effective_params_ >= whole.leverage_.sum() - 1e-9
    expected = ours.leverage_.sum() / ours.n_effective_params_
    assert_allclose(ours.shrinkage_, expected, rtol=1e-9)


def test_a_projection_that_spans_the_rows_is_exact():
    rng = np.random.default_rng(0)
    inner = rng.normal(size=(200, 8))
    X = inner @ rng.normal(size=(8, 50))
    y = inner @ rng.normal(size=8) + rng.normal(size=200)
    exact = InfluenceExplainer(LinearRegression()).fit(X, y).diagnostics()
    ours = sketch(LinearRegression(), n_components=12, projection="gaussian").fit(X, y)
    assert_allclose(ours.leverage_, exact.leverage, rtol=1e-7)
    assert_allclose(ours.leverage_.sum(), 9.0, rtol=1e-9)


def test_leverages_improve_with_components():
    X, y, _ = wide(n=600, p=100)
    model = LogisticRegression(C=np.inf, **TIGHT).fit(X, y)
    exact = InfluenceExplainer(model).fit(X, y).diagnostics().leverage
    found = {}
    for k in (10, 25, 50, 90):
        own = sketch(model, n_components=k, projection="gaussian").fit(X, y)
        found[k] = np.corrcoef(own.leverage_, exact)[0, 1]
        # Each component takes its parameter: the known shrinkage.
        assert_allclose(own.shrinkage_, (k + 1) / 101, rtol=1e-9)
    assert list(found.values()) == sorted(found.values())
    assert found[50] > 0.9 and found[90] > 0.98


def test_first_order_scores_are_those_of_the_fit_in_the_subspace():
    X, y, w = wide()
    model = LogisticRegression(**TIGHT).fit(X, y, sample_weight=w)
    ours = sketch(model, n_components=20, projection="gaussian").fit(X, y, w)
    omega = ours._engine.sketcher.projections[0].omegas[0]
    p = model.predict_proba(X)[:, 1]
    Z = np.column_stack([X @ omega, np.ones(len(X))])
    H = (Z * (w * p * (1 - p))[:, None]).T @ Z
    H[:-1, :-1] += omega.T @ omega
    G = (p - y)[:, None] * Z
    assert_allclose(
        ours.score_influence(X[:9], y[:9]),
        G[:9] @ np.linalg.solve(H, (w[:, None] * G).T),
        rtol=1e-8,
    )


# -- several sketches, and the shrinkage ----------------------------------------------------------


def test_standard_error_is_that_of_independent_sketches():
    X, y, _ = wide(p=80)
    model = LogisticRegression(**TIGHT).fit(X, y)
    together = sketch(model, n_components=15, n_sketches=4).fit(X, y)
    rng = np.random.RandomState(0)
    seeds = rng.randint(np.iinfo(np.int32).max, size=4)
    for seed, omega in zip(seeds, together._engine.sketcher.projections[0].omegas, strict=True):
        assert (omega != draw("sparse", 80, 15, np.random.RandomState(seed))).nnz == 0
    many = [
        InfluenceSketch(model, n_components=15, random_state=s).fit(X, y).leverage_
        for s in range(100, 160)
    ]
    spread = np.std(many, axis=0, ddof=1) / 2.0
    # The mean over rows of a variance from four draws.
    ratio = np.sqrt(np.mean(together.leverage_std_**2) / np.mean(spread**2))
    assert 0.8 < ratio < 1.25
    assert_allclose(together.leverage_.mean(), np.mean(many), rtol=0.05)


def test_one_sketch_has_no_standard_error():
    ours = sketch(Ridge(), n_components=2).fit(ROWS, TARGETS["real"])
    assert not hasattr(ours, "leverage_std_")
    assert ours.diagnostics().leverage_std is None


def test_correction_of_the_shrinkage():
    X, y, _ = wide(n=600, p=100)
    model = LogisticRegression(C=np.inf, **TIGHT).fit(X, y)
    exact = InfluenceExplainer(model).fit(X, y).diagnostics()
    options = {"n_components": 40, "projection": "gaussian", "n_sketches": 2}
    plain = sketch(model, **options).fit(X, y)
    right = sketch(model, correct_shrinkage=True, **options).fit(X, y)
    assert_allclose(right.leverage_.sum(), 101.0, rtol=1e-9)
    assert_allclose(right.shrinkage_, plain.shrinkage_, rtol=1e-12)
    assert_array_equal(right.rank_outliers(), plain.rank_outliers())
    assert_allclose(right.diagnostics().sketched_leverage, plain.leverage_, rtol=1e-12)
    ratio = right.self_influence() / plain.self_influence()
    assert_allclose(ratio, ratio[0], rtol=1e-9)
    residual = right.diagnostics().resid_pearson
    h = right.leverage_
    assert_allclose(right.self_influence(), residual**2 * h / (1 - h), rtol=1e-9)
    # One parameter more in the sketch's own divisor than in r^2 h / ((1 - h)^2 k).
    assert_allclose(right.cooks_distance_, residual**2 * h / (1 - h) ** 2 / 101, rtol=1e-9)
    slope = np.polyfit(exact.cooks_distance, right.cooks_distance_, 1)[0]
    before = np.polyfit(exact.cooks_distance, plain.cooks_distance_, 1)[0]
    assert abs(slope - 1.0) < abs(before - 1.0)


def test_correction_of_a_softmax_stays_below_its_most():
    y = TARGETS["classes"]
    X = np.hstack([ROWS, np.random.default_rng(0).normal(size=(len(ROWS), 5))])
    model = LogisticRegression(C=np.inf, **TIGHT)
    ours = sketch(model, n_components=3, correct_shrinkage=True).fit(X, y)
    assert_allclose(ours.leverage_.sum(), ours.n_effective_params_, rtol=1e-9)
    assert ours.leverage_.max() < 2.0


def test_correction_is_refused_where_rows_are_too_few():
    X, y = np.random.default_rng(0).normal(size=(20, 40)), np.arange(20.0)
    with pytest.raises(ValueError, match="would be 1 everywhere"):
        sketch(LinearRegression(), n_components=5, correct_shrinkage=True).fit(X, y)


def alike(n=300, p=60):
    """Columns that are much alike, so that the bound of effective parameters is far off."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 8)) @ rng.normal(size=(8, p)) + 0.3 * rng.normal(size=(n, p))
    return X, X[:, 0] + rng.normal(size=n)


def test_correction_by_a_bound_says_so_and_by_the_number_is_right():
    X, y = alike()
    model = Ridge(30.0).fit(X, y)
    exact = InfluenceExplainer(model).fit(X, y).diagnostics()
    options = {"n_components": 15, "projection": "gaussian"}
    plain = sketch(model, **options).fit(X, y)
    with pytest.warns(UserWarning, match=r"between .* and .* Pass the number where you know it"):
        bound = sketch(model, correct_shrinkage=True, **options).fit(X, y)
    assert bound.n_effective_params_ > 1.5 * exact.n_effective_params
    number = exact.n_effective_params
    right = sketch(model, correct_shrinkage=number, **options).fit(X, y)
    assert_allclose(right.n_effective_params_, number, rtol=1e-12)
    assert_allclose(right.leverage_.sum(), number, rtol=1e-9)
    assert_allclose(right.shrinkage_, plain.leverage_.sum() / number, rtol=1e-9)
    assert_allclose(right.diagnostics().scale, exact.scale, rtol=1e-9)
    assert_array_equal(right.rank_outliers(), plain.rank_outliers())
    wrong = [abs(np.median(one.leverage_ / exact.leverage) - 1.0) for one in (right, bound, plain)]
    assert wrong[0] < 0.1 < min(wrong[1:])


@pytest.mark.parametrize("number", [3.0, 100])
def test_number_of_parameters_that_no_fit_can_have(number):
    X, y = alike()
    with pytest.raises(ValueError, match=r"more than the .* and at most"):
        sketch(Ridge(30.0), n_components=15, correct_shrinkage=number).fit(X, y)


def test_number_of_parameters_is_of_all_classes_and_nothing_to_a_whole_sketch():
    X, _ = alike()
    y = np.digitize(X[:, 0], [-1.0, 1.0])
    number = 60.0
    ours = sketch(RidgeClassifier(30.0), n_components=15, correct_shrinkage=number).fit(X, y)
    assert_allclose(ours.leverage_.sum(), number, rtol=1e-9)
    assert_allclose(sum(d.n_effective_params for d in ours.diagnostics()), number, rtol=1e-12)
    whole = sketch(RidgeClassifier(30.0), n_components=60, correct_shrinkage=number).fit(X, y)
    plain = sketch(RidgeClassifier(30.0), n_components=60).fit(X, y)
    assert_allclose(whole.leverage_, plain.leverage_, rtol=1e-9)


# -- blocks ---------------------------------------------------------------------------------------


def in_blocks(X, y, w=None, size=37):
    for start in range(0, len(y), size):
        rows = slice(start, start + size)
        yield (X[rows], y[rows]) if w is None else (X[rows], y[rows], w[rows])


class Blocks:
    def __init__(self, *arrays):
        self.arrays = arrays

    def __iter__(self):
        return in_blocks(*self.arrays)


@pytest.mark.parametrize("kind", ["function", "list", "iterable"])
def test_blocks_are_all_rows(kind):
    X, y, w = wide()
    model = LogisticRegression(C=np.inf, **TIGHT).fit(X, y, sample_weight=w)
    options = {"n_components": 20, "n_sketches": 2, "correct_shrinkage": True}
    whole = sketch(model, **options).fit(X, y, w)
    given = {
        "function": lambda: in_blocks(X, y, w),
        "list": list(in_blocks(X, y, w)),
        "iterable": Blocks(X, y, w),
    }[kind]
    ours = sketch(model, **options).fit(given)
    for name in ("leverage_", "leverage_std_", "cooks_distance_", "shrinkage_", "train_index_"):
        assert_allclose(getattr(ours, name), getattr(whole, name), rtol=1e-10)
    assert_allclose(ours.stationarity_, whole.stationarity_, rtol=1e-3)
    assert_allclose(ours.self_influence(), whole.self_influence(), rtol=1e-10)
    theirs = whole.score_influence(X[:5], y[:5])
    assert_allclose(ours.score_influence(X[:5], y[:5]), theirs, rtol=1e-9)
    found = ours.proponents(X[:5], y[:5], k=7)
    assert_array_equal(found[1], whole.proponents(X[:5], y[:5], k=7)[1])


@pytest.mark.parametrize("block_size", [1, 7, 10_000])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_block_size_and_order_do_not_matter(block_size, kind):
    X, y, w = wide()
    X = X if kind == "dense" else sparse.csr_array(np.where(X > 0.5, X, 0.0))
    model = LogisticRegression(**TIGHT).fit(X, y, sample_weight=w)
    whole = sketch(model, n_components=20).fit(X, y, w)
    ours = sketch(model, n_components=20, block_size=block_size, n_jobs=2).fit(X, y, w)
    assert_allclose(ours.leverage_, whole.leverage_, rtol=1e-10)
    assert_allclose(ours.self_influence(), whole.self_influence(), rtol=1e-10)
    order = np.random.default_rng(0).permutation(len(y))
    turned = sketch(model, n_components=20).fit(X[order], y[order], w[order])
    assert_allclose(turned.leverage_, whole.leverage_[order], rtol=1e-10)


def test_partial_fit_and_diagnostics_are_the_two_passes():
    X, y, w = wide()
    model = LogisticRegression(**TIGHT).fit(X, y, sample_weight=w)
    whole = sketch(model, n_components=20).fit(X, y, w)
    ours = sketch(model, n_components=20)
    for block in reversed(list(in_blocks(X, y, w))):
        ours.partial_fit(*block)
    assert ours.n_samples_fit_ == len(y)
    parts = [ours.diagnostics(*block) for block in in_blocks(X, y, w)]
    assert_allclose(np.concatenate([part.leverage for part in parts]), whole.leverage_, rtol=1e-10)
    assert_allclose(
        np.concatenate([part.cooks_distance for part in parts]), whole.cooks_distance_, rtol=1e-10
    )
    assert_allclose(parts[0].shrinkage, whole.shrinkage_, rtol=1e-10)
    # Of the rows of a fit, too.
    some = whole.diagnostics(X[10:20], y[10:20], w[10:20])
    assert_allclose(some.leverage, whole.leverage_[10:20], rtol=1e-10)


def test_partial_fit_after_fit_adds_rows():
    X, y, _ = wide()
    model = LogisticRegression(**TIGHT).fit(X, y)
    whole = sketch(model, n_components=20).fit(X, y)
    with pytest.warns(NotStationaryWarning, match="is not at a minimum"):
        ours = sketch(model, n_components=20).fit(X[:100], y[:100])
    ours.partial_fit(X[100:], y[100:])
    assert not hasattr(ours, "leverage_") and not hasattr(ours, "shrinkage_")
    assert_allclose(ours.diagnostics(X, y).leverage, whole.leverage_, rtol=1e-10)
    assert_allclose(ours.fit(X, y).leverage_, whole.leverage_, rtol=1e-12)


def test_partial_fit_keeps_no_rows():
    X, y, _ = wide()
    ours = sketch(LogisticRegression(**TIGHT).fit(X, y), n_components=20).partial_fit(X, y)
    for ask in (
        ours.self_influence,
        ours.rank_outliers,
        ours.diagnostics,
        lambda: ours.score_influence(X[:2], y[:2]),
    ):
        with pytest.raises(ValueError, match="partial_fit keeps none of them"):
            ask()
    with pytest.raises(ValueError, match="residuals need targets"):
        ours.diagnostics(X)
    with pytest.raises(ValueError, match="target y is None"):
        ours.partial_fit(X, None)
    right = sketch(LogisticRegression(**TIGHT).fit(X, y), correct_shrinkage=True, n_components=9)
    with pytest.raises(ValueError, match="needs the leverages of all rows"):
        right.partial_fit(X, y).diagnostics(X, y)


def test_partial_fit_needs_a_fitted_estimator():
    ours = InfluenceSketch(LogisticRegression())
    assert not hasattr(ours, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        ours.partial_fit(ROWS, TARGETS["binary"])


def test_a_stranger_is_refused():
    X, y, _ = wide()
    ours = sketch(LinearRegression().fit(X, y), n_components=20).fit(X, y)
    with pytest.raises(ValueError, match="was not among those that the sketch was made of"):
        ours.diagnostics(100.0 * X[:3], y[:3])


@pytest.mark.parametrize(
    ("given", "match"),
    [
        (lambda X, y: in_blocks(X, y), "which can be gone through once"),
        (lambda X, y: lambda: iter([X]), r"\(X, y\) or \(X, y, sample_weight\) is needed"),
        (lambda X, y: lambda: iter([]), "yields no block with a row"),
        (lambda X, y: [(X[:0], y[:0])], "yields no block with a row"),
        (lambda X, y: [(X, None)], "A block has y=None"),
        (lambda X, y: [(X, y[:-1])], "inconsistent numbers of samples"),
        (lambda X, y: [(X, y, -np.ones(len(y)))], "negative, not finite, or no vector"),
        (lambda X, y: [(X, y), (X[:, 1:], y)], "59 features, but InfluenceSketch is expecting 60"),
    ],
)
def test_blocks_that_cannot_be_used(given, match):
    X, y, _ = wide()
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match=match):
        sketch(model).fit(given(X, y))


def test_blocks_need_no_y_and_no_weights_beside_them():
    X, y, _ = wide()
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="come with their own targets"):
        sketch(model).fit([(X, y)], y)
    with pytest.raises(ValueError, match="come with their own weights"):
        sketch(model).fit([(X, y)], sample_weight=np.ones(len(y)))


def test_blocks_need_a_fitted_estimator():
    X, y, _ = wide()
    with pytest.raises(ValueError, match="is not fitted, and blocks of rows are never"):
        sketch(LogisticRegression()).fit([(X, y)])


def test_balanced_classes_need_all_rows():
    X, y, _ = wide()
    model = LogisticRegression(class_weight="balanced", **TIGHT).fit(X, y)
    assert sketch(model).fit(X, y).stationarity_ < 1e-6
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        sketch(model).fit([(X, y)])
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        sketch(model).partial_fit(X, y)


def test_blocks_that_change_are_refused():
    X, y, _ = wide()
    model = LogisticRegression().fit(X, y)
    passes = []

    def shorter():
        passes.append(None)
        yield X, y
        if len(passes) < 3:
            yield X, y

    with pytest.raises(ValueError, match="met 600 rows and the second 300"):
        sketch(model).fit(shorter)


def test_rows_that_are_drawn_anew_are_refused():
    X, y, _ = wide()
    model = LogisticRegression().fit(X, y)
    rng = np.random.default_rng(0)

    def drawn():
        rows = rng.integers(len(y), size=100)
        yield X[rows], y[rows]

    with (
        pytest.warns(NotStationaryWarning),
        pytest.raises(ValueError, match="met other rows than the first"),
    ):
        sketch(model, n_components=5).fit(drawn)


# -- kinds of rows and models ---------------------------------------------------------------------


def test_float32_integers_memmaps_and_formats(tmp_path):
    X, y, _ = wide()
    X = np.round(4 * X).astype(np.int16)
    model = LogisticRegression(**TIGHT).fit(X.astype(float), y)
    whole = sketch(model, n_components=20).fit(X.astype(float), y)
    np.save(tmp_path / "rows.npy", X.astype(np.float32))
    kinds = [
        X,
        X.astype(np.float32),
        np.asfortranarray(X.astype(float)),
        np.load(tmp_path / "rows.npy", mmap_mode="r"),
        sparse.csr_array(X),
        sparse.csc_array(X.astype(np.float32)),
        sparse.coo_array(X),
    ]
    for rows in kinds:
        ours = sketch(model, n_components=20).fit(rows, y)
        assert_allclose(ours.leverage_, whole.leverage_, rtol=1e-10)
        assert_allclose(ours.self_influence(), whole.self_influence(), rtol=1e-9)
        assert_allclose(
            ours.score_influence(X[:3], y[:3]), whole.score_influence(X[:3], y[:3]), rtol=1e-7
        )


def test_entries_that_occur_twice_add_up():
    X, y, _ = wide()
    X = np.where(X > 1.0, X, 0.0)
    once = sparse.coo_array(X)
    entries = np.r_[once.data, 0.5 * once.data], np.tile((once.row, once.col), 2)
    order = np.argsort(entries[1][0], kind="stable")
    starts = np.r_[0, np.cumsum(np.bincount(entries[1][0], minlength=len(X)))]
    twice = sparse.csr_array((entries[0][order], entries[1][1][order], starts), shape=X.shape)
    model = LogisticRegression(**TIGHT).fit(1.5 * X, y)
    before = twice.nnz
    ours = sketch(model, n_components=20).fit(twice, y)
    whole = sketch(model, n_components=20).fit(1.5 * X, y)
    assert twice.nnz == before
    assert_allclose(ours.leverage_, whole.leverage_, rtol=1e-10)
    assert_allclose(ours.n_effective_params_, whole.n_effective_params_, rtol=1e-10)


def test_rows_are_never_copied_whole_nor_made_dense():
    X, y, _ = wide()
    rows = np.ascontiguousarray(X)
    ours = sketch(LogisticRegression(**TIGHT).fit(X, y), n_components=20).fit(rows, y)
    assert np.shares_memory(ours._fit_X._X, rows)
    wanted = sparse.csr_array(X.astype(np.float32))
    ours.fit(wanted, y)
    assert ours._fit_X._X.dtype == np.float32
    assert np.shares_memory(ours._fit_X._X.data, wanted.data)


def test_frames_behind_a_pipeline_go_through_it_in_blocks():
    pd = import_optional("pandas")
    X, y, _ = wide()
    seen = []

    def watched(rows):
        seen.append(len(rows))
        return rows

    frame = pd.DataFrame(X, index=[f"row {i}" for i in range(len(X))]).add_prefix("f")
    pipeline = make_pipeline(
        FunctionTransformer(watched, feature_names_out="one-to-one"),
        StandardScaler(),
        LogisticRegression(**TIGHT),
    ).fit(frame, y)
    seen.clear()
    ours = sketch(pipeline, n_components=20, block_size=50).fit(frame, y)
    assert max(seen) == 50
    inner = pipeline[-1]
    plain = sketch(inner, n_components=20).fit(pipeline[:-1].transform(frame), y)
    assert_allclose(ours.leverage_, plain.leverage_, rtol=1e-10)
    assert list(ours.train_index_[:2]) == ["row 0", "row 1"]
    assert list(ours.feature_names_in_[:2]) == ["f0", "f1"]
    table = ours.set_output(transform="pandas").score_influence(frame[:3], y[:3])
    assert list(table.index) == ["row 0", "row 1", "row 2"]
    assert ours.diagnostics().frame().index[0] == "row 0"
    halves = [(frame[:150], y[:150]), (frame[150:], y[150:])]
    assert_allclose(
        sketch(pipeline, n_components=20).fit(halves).leverage_, ours.leverage_, rtol=1e-9
    )


def test_texts_go_through_a_pipeline():
    texts = [f"common word{i % 7} word{i % 11}" for i in range(60)]
    y = np.arange(60) % 2
    pipeline = make_pipeline(CountVectorizer(), LogisticRegression(**TIGHT)).fit(texts, y)
    ours = sketch(pipeline, n_components=5, block_size=16).fit(texts, y)
    plain = sketch(pipeline[-1], n_components=5).fit(pipeline[0].transform(texts), y)
    assert_allclose(ours.leverage_, plain.leverage_, rtol=1e-10)
    assert_allclose(
        sketch(pipeline, n_components=5).partial_fit(texts, y).diagnostics(texts, y).leverage,
        plain.leverage_,
        rtol=1e-10,
    )


def test_target_transformer():
    X, y = ROWS, TARGETS["real"]
    model = TransformedTargetRegressor(Ridge(), transformer=StandardScaler()).fit(X, y)
    ours = sketch(model, n_components=2).fit(X, y)
    blocks = sketch(model, n_components=2).fit([(X[:20], y[:20]), (X[20:], y[20:])])
    assert_allclose(blocks.cooks_distance_, ours.cooks_distance_, rtol=1e-10)
    assert ours.stationarity_ < 1e-9


@pytest.mark.parametrize(
    "model",
    [
        RidgeClassifier(),
        LinearSVC(tol=1e-10, max_iter=100_000),
        OneVsRestClassifier(LogisticRegression(**TIGHT)),
    ],
)
def test_problems_add_up(model):
    y = TARGETS["classes"]
    ours = sketch(model, n_components=2, n_sketches=3).fit(ROWS, y)
    parts = ours.diagnostics()
    assert len(parts) == 3 and [part.name for part in parts] == ["3", "4", "5"]
    assert_allclose(ours.leverage_, sum(part.leverage for part in parts), rtol=1e-12)
    assert_allclose(ours.self_influence(), sum(part.scores for part in parts), rtol=1e-12)
    if isinstance(model, LinearSVC):
        assert not hasattr(ours, "cooks_distance_") and parts[0].cooks_distance is None
    else:
        wanted = sum(part.cooks_distance for part in parts)
        assert_allclose(ours.cooks_distance_, wanted, rtol=1e-12)
    single = [np.mean([m.leverages[s] for m in ours._engine.rows], axis=0) * 3 for s in range(3)]
    assert_allclose(ours.leverage_std_, np.std(single, axis=0, ddof=1) / np.sqrt(3), rtol=1e-9)


def test_squared_hinge_and_huber_have_leverages():
    y = TARGETS["binary"]
    svc = LinearSVC(tol=1e-10, max_iter=100_000).fit(ROWS, y)
    ours = sketch(svc, n_components=3).fit(ROWS, y)
    margin = np.where(y == "spam", 1.0, -1.0) * svc.decision_function(ROWS)
    outside = margin > 1.0
    assert_array_equal(ours.self_influence()[outside], 0.0)
    rows = np.column_stack([ROWS, np.ones(len(ROWS))])
    inside = rows[~outside]
    H = 2.0 * inside.T @ inside + np.eye(4)
    h = 2.0 * np.einsum("ij,jk,ik->i", inside, np.linalg.inv(H), inside)
    assert_allclose(ours.leverage_[~outside], h, rtol=1e-9)
    wanted = 2.0 * (1.0 - margin[~outside]) ** 2 * h / (1.0 - h)
    assert_allclose(ours.self_influence()[~outside], wanted, rtol=1e-9)
    huber = HuberRegressor(alpha=0.1, **TIGHT).fit(ROWS, TARGETS["real"])
    exact = InfluenceExplainer(huber, method="first_order").fit(ROWS, TARGETS["real"])
    found = sketch(huber, n_components=3).fit(ROWS, TARGETS["real"])
    assert_allclose(
        found.score_influence(ROWS[:4], TARGETS["real"][:4]),
        exact.score_influence(ROWS[:4], TARGETS["real"][:4]),
        rtol=1e-3,
        atol=1e-4,
    )
    assert_allclose(found.leverage_.sum(), found.n_effective_params_, rtol=1e-9)
    assert 4.0 < found.n_effective_params_ < 5.0  # three slopes, an intercept and the scale


@pytest.mark.parametrize(
    ("model", "match"),
    [
        (LinearSVC(loss="hinge"), "loss with kinks"),
        (SGDClassifier(random_state=0), "loss with kinks"),
        (MultiTaskLasso(), "ties its outputs together"),
        (QuantileRegressor(), "loss with kinks"),
        (MLPClassifier(), "is a network"),
    ],
)
def test_models_that_have_no_sketch(model, match):
    kind = {MultiTaskLasso: "outputs", QuantileRegressor: "real"}.get(type(model), "binary")
    with pytest.raises(UnsupportedEstimatorError, match=match):
        sketch(model).fit(ROWS, TARGETS[kind])


def test_a_softmax_may_be_too_large():
    X, y = np.random.default_rng(0).normal(size=(60, 500)), np.arange(60) % 10
    with pytest.raises(ValueError, match="4000 is the most"):
        sketch(LogisticRegression(), n_components=400).fit(X, y)


def test_class_estimator_and_missing_targets():
    with pytest.raises(ValueError, match="estimator is None"):
        InfluenceSketch().fit(ROWS, TARGETS["binary"])
    with pytest.raises(ValueError, match="estimator is None"):
        InfluenceSketch().fit([(ROWS, TARGETS["binary"])])
    with pytest.raises(ValueError, match="target y is None"):
        sketch(LogisticRegression()).fit(ROWS)
    ours = sketch(LogisticRegression()).fit(ROWS, TARGETS["binary"])
    with pytest.raises(ValueError, match="needs its y"):
        ours.score_influence(ROWS[:2])


def test_the_columns_of_the_estimator_are_asked_for():
    pd = import_optional("pandas")
    X, y, _ = wide()
    model = LogisticRegression().fit(X, y)
    with pytest.raises(ValueError, match="has 59 columns, and the estimator was fitted on 60"):
        sketch(model).fit(X[:, 1:], y)
    named = pd.DataFrame(X).add_prefix("f")
    model = LogisticRegression().fit(named, y)
    with pytest.raises(ValueError, match="their columns in the same order"):
        sketch(model).fit(named.iloc[:, ::-1], y)


def test_a_loose_fit_is_said():
    X, y, _ = wide()
    model = LogisticRegression(**TIGHT).fit(X, y)
    with pytest.warns(NotStationaryWarning, match="A sketch takes the parameters as they are"):
        sketch(model, n_components=20).fit(X, 1 - y)


# -- edges ----------------------------------------------------------------------------------------


def test_columns_of_zeros_copies_and_empty_rows_change_nothing():
    X, y, _ = wide(p=10)
    X[:4] = 0.0
    more = np.hstack([X, np.zeros((len(X), 3)), X[:, :2]])
    model = LinearRegression().fit(X, y)
    plain = sketch(model, n_components=10).fit(X, y)
    ours = sketch(LinearRegression(), n_components=14, projection="gaussian").fit(more, y)
    assert_allclose(ours.leverage_, plain.leverage_, rtol=1e-7)
    assert_allclose(ours.leverage_[:4], ours.leverage_[0], rtol=1e-9)
    # Combinations of other columns count, which the bound says it does; zeros do not.
    assert ours.n_effective_params_ == 13.0


def test_rows_of_weight_zero_have_no_influence():
    X, y, w = wide()
    w[::5] = 0.0
    model = LogisticRegression(**TIGHT).fit(X, y, sample_weight=w)
    ours = sketch(model, n_components=20).fit(X, y, w)
    assert_array_equal(ours.leverage_[::5], 0.0)
    assert_array_equal(ours.self_influence()[::5], 0.0)
    kept = w > 0
    alone = sketch(model, n_components=20).fit(X[kept], y[kept], w[kept])
    assert_allclose(ours.leverage_[kept], alone.leverage_, rtol=1e-10)
    assert_allclose(ours.cooks_distance_[kept], alone.cooks_distance_, rtol=1e-10)


def test_integer_weights_are_repeated_rows():
    X, y, _ = wide()
    w = np.random.default_rng(0).integers(1, 4, size=len(y))
    model = LogisticRegression(**TIGHT).fit(X, y, sample_weight=w)
    ours = sketch(model, n_components=20).fit(X, y, w)
    repeated = sketch(model, n_components=20).fit(np.repeat(X, w, axis=0), np.repeat(y, w))
    starts = np.r_[0, np.cumsum(w)[:-1]]
    assert_allclose(np.add.reduceat(repeated.leverage_, starts), ours.leverage_, rtol=1e-9)


def test_saturated_probabilities_keep_their_influence():
    X, y, _ = wide(p=6)
    model = LogisticRegression(C=100.0, **TIGHT).fit(X, y)
    model.coef_ = 400.0 * model.coef_
    with pytest.warns(NotStationaryWarning):
        ours = sketch(model, n_components=6).fit(X, y)
    scores = ours.self_influence()
    eta = model.decision_function(X)
    wrong = (np.abs(eta) > 800.0) & ((eta > 0) != y)
    assert wrong.any() and np.isfinite(scores).all()
    assert_array_equal(ours.leverage_[wrong], 0.0)
    # Their residual is 1 and their curvature 0: c is x'H^-1 x and no 0 times infinity.
    assert (scores[wrong] > 0.0).all()


def test_a_row_that_alone_holds_a_direction():
    X, y, _ = wide(p=5)
    X[:, 4] = 0.0
    X[17, 4] = 3.0
    ours = sketch(LinearRegression(), n_components=5).fit(X, y)
    assert ours.leverage_[17] == pytest.approx(1.0)
    assert np.isinf(ours.self_influence()[17]) and np.isinf(ours.cooks_distance_[17])
    assert ours.rank_outliers(1)[0] == 17
    assert np.isfinite(np.delete(ours.self_influence(), 17)).all()


def test_no_degrees_of_freedom():
    X = np.random.default_rng(0).normal(size=(20, 40))
    ours = sketch(LinearRegression(), n_components=10).fit(X, np.arange(20.0))
    assert ours.diagnostics().scale == 0.0
    assert ours.n_effective_params_ == 20.0
    assert np.isfinite(ours.self_influence()).all()


def test_a_perfect_fit_has_distances_of_zero():
    X, _, _ = wide(p=5)
    ours = sketch(LinearRegression(), n_components=5).fit(X, X @ np.arange(5.0) + 1.0)
    assert_array_equal(ours.cooks_distance_, 0.0)


def test_huge_and_tiny_features():
    X, y, _ = wide(p=6)
    scale = 10.0 ** np.arange(-6, 6, 2)
    model = LinearRegression().fit(X, y)
    plain = sketch(model, n_components=6).fit(X, y)
    # Its own least squares would lose the tiny ones.
    model.coef_ = model.coef_ / scale
    ours = sketch(model, n_components=6).fit(X * scale, y)
    assert_allclose(ours.leverage_, plain.leverage_, rtol=1e-6)


def test_features_of_sizes_far_apart_are_said():
    X, y, _ = wide()
    model = LinearRegression().fit(X, y)
    X[:, 3] *= 1e8
    model.coef_[3] /= 1e8
    with pytest.warns(linalg.LinAlgWarning, match="Bring the features to one scale"):
        sketch(model, n_components=20).fit(X, y)


def test_empty_blocks_are_passed_over():
    X, y, _ = wide()
    model = LogisticRegression(**TIGHT).fit(X, y)
    whole = sketch(model, n_components=20).fit(X, y)
    ours = sketch(model, n_components=20).fit([(X[:0], y[:0]), (X, y), (X[:0], y[:0])])
    assert_allclose(ours.leverage_, whole.leverage_, rtol=1e-12)


def test_no_feature_is_active():
    y = TARGETS["real"]
    for intercept in (True, False):
        lasso = Lasso(alpha=100.0, fit_intercept=intercept)
        ours = sketch(lasso, features="active").fit(ROWS, y)
        assert_allclose(ours.leverage_.sum(), float(intercept), atol=1e-12)
        assert ours.n_components_ == 0 and ours.shrinkage_ == 1.0
        assert np.isfinite(ours.self_influence()).all()
        assert ours.score_influence(ROWS[:2], y[:2]).shape == (2, len(y))


def test_two_rows_and_one_query():
    ours = sketch(Ridge(), n_components=1).fit([[0.0, 1.0], [1.0, 0.5]], [0.0, 1.0])
    assert ours.score_influence([[1.0, 1.0]], [1.0]).shape == (1, 2)
    assert ours.leverage_.shape == (2,)


def test_negative_curvature_is_refused():
    X, y, _ = wide(p=3)
    model = TweedieRegressor(power=3.0, alpha=0.0, **TIGHT).fit(X, 0.5 + y)
    model.intercept_ += 4.0
    with pytest.raises(ValueError, match="negative eigenvalues"):
        sketch(model, n_components=3, hessian="observed").fit(X, 0.5 + y)


def test_observed_and_expected_curvature():
    y = TARGETS["positive"]
    model = GammaRegressor(alpha=0.0, **TIGHT).fit(ROWS, y)
    for hessian in ("observed", "expected"):
        exact = InfluenceExplainer(model, hessian=hessian).fit(ROWS, y).diagnostics()
        ours = sketch(model, n_components=3, hessian=hessian).fit(ROWS, y)
        assert_allclose(ours.leverage_, exact.leverage, rtol=1e-4)


def test_active_features_of_a_sparse_model():
    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    options = {"solver": "liblinear", "tol": 1e-10, "max_iter": 10_000, "random_state": 0}
    # The parameter has changed its name.
    lasso = (
        {"l1_ratio": 1.0} if LogisticRegression().penalty == "deprecated" else {"penalty": "l1"}
    )
    model = LogisticRegression(C=0.1, **lasso, **options).fit(X, data.target)
    n_active = int((model.coef_ != 0).sum())
    assert 3 < n_active < 15
    exact = InfluenceExplainer(model).fit(X, data.target).diagnostics()
    ours = sketch(model, features="active", n_components=15).fit(X, data.target)
    assert ours.n_components_ == n_active
    assert_allclose(ours.leverage_, exact.leverage, rtol=1e-5)
    every = sketch(model, n_components=30).fit(X, data.target)
    assert every.shrinkage_ == 1.0 and (every.leverage_ > ours.leverage_ - 1e-9).all()
    fewer = sketch(model, features="active", n_components=3).fit(X, data.target)
    assert fewer.n_components_ == 3 and (fewer.leverage_ < ours.leverage_ + 1e-9).all()


# -- the contract ---------------------------------------------------------------------------------

# c is no loss; the rest of a matrix of scores is as everywhere, exact here with all components.
NOT_OURS = {"check_self_influence", "check_refits"}
NEWTON = {"solver": "newton-cholesky", "tol": 1e-12, "max_iter": 100}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{type(model).__name__}")
        for model, X, target in [
            (LogisticRegression(**NEWTON), ROWS, "binary"),
            (LogisticRegression(**NEWTON), SPARSE, "binary"),
            (LogisticRegression(**NEWTON), ROWS, "classes"),
            (PoissonRegressor(alpha=0.1, **NEWTON), ROWS, "counts"),
            (Ridge(), ROWS, "real"),
        ]
        for name, check in explainer_checks(
            InfluenceSketch(model, random_state=0), X, TARGETS[target]
        )
        if name not in NOT_OURS
    ],
)
def test_explainer_law(check):
    check()


CONTRACTS = [
    InfluenceSketch(LogisticRegression(), random_state=0),
    InfluenceSketch(Ridge(), n_components=1, n_sketches=2, random_state=0),
    InfluenceSketch(LinearSVC(), random_state=0),
    InfluenceSketch(SGDClassifier("log_loss", random_state=0), n_components=1, random_state=0),
    InfluenceSketch(
        make_pipeline(PolynomialFeatures(1, include_bias=False), LogisticRegression()),
        projection="countsketch",
        random_state=0,
    ),
]


# Some checks stop solvers long before a minimum.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@parametrize_with_checks(CONTRACTS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@pytest.mark.parametrize("name", CHECKS)
def test_scikit_learn_extras(name):
    run(name, CONTRACTS[0])


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@pytest.mark.parametrize(("container", "name"), FRAME_CHECKS)
def test_scikit_learn_extras_of_frames(container, name):
    import_optional(container)
    run(name, CONTRACTS[0])


def test_every_parameter_has_a_constraint():
    explainer = CONTRACTS[0]
    assert explainer._parameter_constraints.keys() == explainer.get_params(deep=False).keys()


@pytest.mark.parametrize("in_blocks", [False, True])
def test_pickling(in_blocks):
    X, y, _ = wide()
    ours = sketch(LogisticRegression(**TIGHT).fit(X, y), n_components=20)
    ours.fit(*([(X, y)],) if in_blocks else (X, y))
    again = pickle.loads(pickle.dumps(ours))
    assert_array_equal(again.score_influence(X[:2], y[:2]), ours.score_influence(X[:2], y[:2]))


def test_report_and_repr():
    X, y, _ = wide()
    ours = sketch(LogisticRegression(**TIGHT).fit(X, y), n_components=20).fit(X, y)
    _, report = ours.score_influence(X[:2], y[:2], return_report=True)
    assert report["method"] == "sketch" and report["shrinkage"] == ours.shrinkage_
    assert (
        repr(ours.diagnostics())
        == "SketchedDiagnostics(300 rows, 20.69 of about 59.72 parameters)"
    )

"""Names, hard cases and refusals of diagnostics."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse, stats
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from skinfluence.diagnostics import Diagnostics, OutlierTest, likelihood, working
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives.losses import SquaredError
from tests.conftest import import_optional
from tests.test_diagnostics.cases import diagnose, of_problem, optimum, regression

ROWS = [
    "leverage",
    "resid",
    "resid_pearson",
    "resid_studentized_internal",
    "resid_studentized_external",
    "resid_press",
    "cooks_distance",
    "cooks_pvalue",
    "dffits",
    "dffits_internal",
    "cov_ratio",
]


@pytest.fixture
def data():
    return regression()


def test_names(data):
    X, y, _ = data
    labels = [f"row {i}" for i in range(len(y))]
    found = diagnose(
        LinearRegression(), X, y, param_names=["a", "b", "c", "const"], row_labels=labels
    )
    assert found.param_names.tolist() == ["a", "b", "c", "const"]
    import_optional("pandas")
    frame = found.summary_frame()
    assert frame.index.tolist() == labels
    assert list(frame)[:5] == ["dfb_a", "dfb_b", "dfb_c", "dfb_const", "cooks_d"]
    assert list(frame)[5:] == [
        "standard_resid",
        "hat_diag",
        "dffits_internal",
        "student_resid",
        "dffits",
    ]
    assert diagnose(LinearRegression(), X, y).param_names.tolist() == [
        "x0",
        "x1",
        "x2",
        "intercept",
    ]
    plain = diagnose(LinearRegression(fit_intercept=False), X, y)
    assert plain.param_names.tolist() == ["x0", "x1", "x2"]
    assert plain.hat_matrix_diag is plain.leverage
    assert plain.resid_studentized is plain.resid_studentized_internal
    assert plain.dfbeta is plain.d_params


def test_names_of_classes(data):
    X, _, _ = data
    y = np.arange(30) % 3
    found = diagnose(LogisticRegression(), X, y, class_names=["red", "green", "blue"])
    assert found.d_params.shape == (30, 12)
    assert found.param_names[:5].tolist() == [
        "red:x0",
        "red:x1",
        "red:x2",
        "red:intercept",
        "green:x0",
    ]
    model = LogisticRegression(tol=1e-10, max_iter=5000).fit(X / X.std(axis=0), y)
    scaled = diagnose(LogisticRegression(), X / X.std(axis=0), y)
    assert_allclose(scaled.params.reshape(3, 4)[:, :3], model.coef_, rtol=1e-3, atol=1e-4)


def test_wrong_number_of_names(data):
    X, y, _ = data
    with pytest.raises(ValueError, match="name 2, but there are 4"):
        diagnose(LinearRegression(), X, y, param_names=["a", "b"])
    with pytest.raises(ValueError, match="row_labels names 3, but there are 30"):
        diagnose(LinearRegression(), X, y, row_labels=[1, 2, 3])


def test_sparse_rows_are_dense_rows(data):
    X, y, weights = data
    X = np.where(np.quantile(X, 0.3, axis=0) < X, X, 0.0)
    dense = diagnose(Ridge(solver="lsqr", tol=1e-12), X, y, weights)
    thin = diagnose(Ridge(solver="lsqr", tol=1e-12), sparse.csr_array(X), y, weights)
    for name in (*ROWS, "d_params", "dfbetas"):
        ours, theirs = getattr(thin, name), getattr(dense, name)
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.parametrize(
    "estimator",
    [LinearRegression(), Ridge(), LogisticRegression()],
    ids=lambda e: type(e).__name__,
)
def test_blocks_do_not_matter(estimator, data, monkeypatch):
    X, y, weights = data
    y = (y > np.median(y)).astype(int) if isinstance(estimator, LogisticRegression) else y
    whole = diagnose(estimator, X, y, weights)
    monkeypatch.setattr(working, "BLOCK_ROWS", 4)
    blocks = diagnose(estimator, X, y, weights)
    for name in (*ROWS, "d_params", "dfbetas"):
        assert_allclose(getattr(blocks, name), getattr(whole, name), rtol=1e-9)


def test_unit_of_the_loss_does_not_matter(data):
    X, y, weights = data
    full, half = (
        Diagnostics(*of_problem(SquaredError(s), X, y, weights, l2=s)) for s in (1.0, 0.5)
    )
    for name in (*ROWS, "d_params", "dfbetas", "scale"):
        assert_allclose(getattr(half, name), getattr(full, name), rtol=1e-9)


def test_rows_of_weight_zero_are_not_there(data):
    X, y, _ = data
    weights = np.ones(len(y))
    weights[:4] = 0.0
    found = diagnose(Ridge(), X, y, weights)
    without = diagnose(Ridge(), X[4:], y[4:])
    assert found.n_rows == without.n_rows == len(y) - 4
    for name in (*ROWS, "d_params", "dfbetas"):
        ours, theirs = getattr(found, name)[4:], getattr(without, name)
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10 * np.abs(theirs).max())
    for name in ("leverage", "cooks_distance", "dffits", "resid_studentized_external", "d_params"):
        assert not getattr(found, name)[:4].any()
    assert_allclose(found.cov_ratio[:4], 1.0, rtol=1e-12)
    assert_array_equal(found.resid_press[:4], found.resid[:4])


def test_row_of_leverage_one(data):
    """A dummy for one row: nothing is known of it without that row, all else stays."""
    X, y, _ = data
    dummy = np.zeros((len(y), 1))
    dummy[5] = 1.0
    found = diagnose(LinearRegression(), np.hstack([X, dummy]), y)
    assert_allclose(found.leverage[5], 1.0, rtol=1e-12)
    for name in ("cooks_distance", "cov_ratio"):
        assert getattr(found, name)[5] == np.inf
    for name in (
        "resid_press",
        "resid_studentized_internal",
        "resid_studentized_external",
        "dffits",
    ):
        assert np.isinf(getattr(found, name)[5])
    assert found.cooks_pvalue[5] == 0.0
    assert np.isinf(found.dfbetas[5]).tolist() == [False, False, False, True, False]
    assert not found.d_params[5][[0, 1, 2, 4]].any()
    kept = np.arange(len(y)) != 5
    others = diagnose(LinearRegression(), X[kept], y[kept])
    for name in ("leverage", "resid_studentized_external", "dffits"):
        assert_allclose(getattr(found, name)[kept], getattr(others, name), rtol=1e-8)
    assert np.isfinite(found.cooks_distance[kept]).all()
    assert np.isfinite(found.cov_ratio[kept]).all()


def test_as_many_parameters_as_rows():
    """No degrees of freedom: what needs a scale is NaN or infinite, and nothing warns."""
    rng = np.random.default_rng(0)
    found = diagnose(LinearRegression(), rng.normal(size=(4, 3)), rng.normal(size=4))
    assert found.df_resid == 0
    assert_allclose(found.leverage, 1.0, rtol=1e-12)
    assert np.isinf(found.cooks_distance).all()
    assert np.isfinite(found.resid).all()


def test_one_degree_of_freedom():
    """Without a row the fit is perfect: it has no scale."""
    rng = np.random.default_rng(0)
    found = diagnose(LinearRegression(), rng.normal(size=(5, 3)), rng.normal(size=5))
    assert found.df_resid == 1
    assert np.isfinite(found.cooks_distance).all()
    assert np.isfinite(found.d_params).all()
    assert np.isnan(found.resid_studentized_external).all()
    assert np.isnan(found.outlier_test().adjusted_p).all()
    assert np.isnan(found.thresholds()["resid_studentized_external"]["t 5%"])


@pytest.mark.parametrize("p", [5, 40])
def test_rank_deficient_rows(p, data):
    """Twice the same columns, or more columns than rows: k is the rank."""
    X, y, _ = data
    found = diagnose(LinearRegression(), np.hstack([X, X @ np.ones((3, p)) + 1.0]), y)
    plain = diagnose(LinearRegression(), X, y)
    assert found.n_effective_params == 4
    for name in ROWS:
        assert_allclose(getattr(found, name), getattr(plain, name), rtol=1e-7)
    wide = diagnose(LinearRegression(), np.random.default_rng(0).normal(size=(10, 20)), y[:10])
    assert wide.n_effective_params == 10
    assert_allclose(wide.leverage, 1.0, rtol=1e-9)


def test_perfect_fit(data):
    X, _, _ = data
    found = diagnose(LinearRegression(), X, X @ np.array([1.0, 2.0, 3.0]) + 1.0)
    assert found.scale == 0.0
    assert not found.cooks_distance.any()
    assert not found.resid_studentized_external.any()
    assert not found.dffits.any()
    assert not found.dfbetas.any()


def test_one_row_off_a_perfect_fit(data):
    X, _, _ = data
    y = X @ np.array([1.0, 2.0, 3.0]) + 1.0
    y[3] += 5.0
    found = diagnose(LinearRegression(), X, y)
    assert found.resid_studentized_external[3] > 1e6
    assert np.abs(np.delete(found.resid_studentized_external, 3)).max() < 5
    assert found.outlier_test().adjusted_p[3] < 1e-100


def test_outlier_test_knows_its_distribution(data):
    X, y, _ = data
    found = diagnose(LinearRegression(), X, y)
    t = found.resid_studentized_external
    assert_allclose(
        found.outlier_test().unadj_p, 2 * stats.t.sf(np.abs(t), 30 - 4 - 1), rtol=1e-12
    )
    classes = (y > np.median(y)).astype(int)
    z = diagnose(LogisticRegression(), X, classes)
    normal = 2 * stats.norm.sf(np.abs(z.resid_studentized_external))
    assert_allclose(z.outlier_test().unadj_p, normal, rtol=1e-10)


def test_corrections():
    p = np.array([0.01, 0.04, np.nan, 0.03])
    z = np.zeros(4)
    adjusted = {
        m: OutlierTest.of(z, p, method=m).adjusted_p for m in ("bonferroni", "holm", "fdr_bh")
    }
    assert_allclose(adjusted["bonferroni"], [0.03, 0.12, np.nan, 0.09], rtol=1e-12)
    assert_allclose(adjusted["holm"], [0.03, 0.06, np.nan, 0.06], rtol=1e-12)
    assert_allclose(adjusted["fdr_bh"], [0.03, 0.04, np.nan, 0.04], rtol=1e-12)
    with pytest.raises(ValueError, match="method is 'scheffe'"):
        OutlierTest.of(z, p, method="scheffe")


def test_thresholds(data):
    X, y, _ = data
    rules = diagnose(LinearRegression(), X, y).thresholds()
    assert_allclose(rules["cooks_distance"]["4/n"], 4 / 30, rtol=1e-12)
    assert_allclose(rules["cooks_distance"]["F median"], stats.f.median(4, 26), rtol=1e-9)
    assert_allclose(rules["leverage"]["2k/n"], 8 / 30, rtol=1e-12)
    bonferroni = stats.t.ppf(1 - 0.025 / 30, 25)
    assert_allclose(rules["resid_studentized_external"]["Bonferroni 5%"], bonferroni, rtol=1e-9)
    assert_allclose(rules["abs(cov_ratio - 1)"]["3k/(n-k)"], 12 / 26, rtol=1e-12)


def test_parameters_without_rows(data):
    X, y, _ = data
    found = diagnose(LinearRegression(), X, y)
    model = LinearRegression().fit(X[1:], y[1:])
    assert_allclose(found.params_without(0), [*model.coef_, model.intercept_], rtol=1e-8)
    assert found.params_without([0, 3]).shape == (2, 4)


def test_losses_without_a_likelihood_are_refused(data):
    class Hinge(SquaredError):
        pass

    X, y, _ = data
    objective, theta = optimum(LinearRegression(), X, y)
    other = dataclasses.replace(objective, loss=Hinge())
    with pytest.raises(UnsupportedEstimatorError, match="Hinge is not the deviance of an expon"):
        Diagnostics(other, theta)
    several = dataclasses.replace(objective, loss=SquaredError(n_outputs=3))
    with pytest.raises(UnsupportedEstimatorError, match="3 outputs were fitted under one penalty"):
        Diagnostics(several, theta)


def test_saddles_are_refused(data, monkeypatch):
    class Cap(SquaredError):
        def curvature(self, eta, y, *, expected=False):
            return -super().curvature(eta, y)

    X, y, _ = data
    objective, theta = optimum(LinearRegression(), X, y)
    other = dataclasses.replace(objective, loss=Cap())
    monkeypatch.setitem(likelihood._READ, Cap, likelihood._READ[SquaredError])
    with pytest.raises(ValueError, match="4 negative eigenvalues"):
        Diagnostics(other, theta)

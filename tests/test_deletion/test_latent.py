"""Densities of components and factors: their reconstructions, and the search for noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.linear_model import LinearRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skinfluence import InfluenceExplainer
from skinfluence.deletion.closed.factor_analysis import FactorDeletion
from skinfluence.deletion.closed.factors import _curvature, _look, _slopes, maximise
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from tests.test_deletion.exact_cases import CASES, CLASSES, COUNTS, NUMBERS, ROWS, N

FACTORS = next(case for case in CASES if isinstance(case.estimator, FactorAnalysis))
WIDE = np.hstack([ROWS, COUNTS])


def error(fitted, X):
    """Squared error of what scikit-learn's own methods give back."""
    if isinstance(fitted, PCA):
        return np.square(X - fitted.inverse_transform(fitted.transform(X))).sum(axis=1)
    return np.square(X - fitted.mean_ - fitted.transform(X) @ fitted.components_).sum(axis=1)


def refitted(model, X, rows):
    kept = np.delete(X, rows, axis=0)
    if isinstance(model, FactorAnalysis):
        return type(FACTORS)(model, X=kept).fit()
    return clone(model).set_params(n_components=model.n_components_).fit(kept)


@pytest.mark.parametrize(
    ("model", "X"),
    [
        (PCA(2), WIDE),
        (PCA(0.7), WIDE),
        (PCA(2, whiten=True), WIDE),
        (PCA(2), WIDE[:8]),
        (FACTORS.estimator, FACTORS.X),
    ],
    ids=["PCA", "share", "whitened", "wide", "FactorAnalysis"],
)
def test_reconstructions_are_those_of_refits(model, X):
    fitted = clone(model).fit(X)
    explainer = InfluenceExplainer(fitted, target="reconstruction_error").fit(X)
    assert (explainer.method_, explainer.score_unit_) == ("exact", "reconstruction_error")
    scores = explainer.score_influence(X)
    before = error(refitted(fitted, X, []), X)
    groups = [[0], [3], [2, 4, 5]]
    found = explainer.score_groups(X, groups=groups)
    for g, rows in enumerate(groups):
        moved = error(refitted(fitted, X, rows), X) - before
        assert_allclose(found[:, g], moved, rtol=1e-8, atol=1e-8 * np.abs(scores).max())
    assert_allclose(scores[:, [0, 3]], found[:, :2], rtol=1e-8, atol=1e-10 * np.abs(scores).max())
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-8, atol=1e-10)
    assert explainer.validate(n_refits=3, random_state=0).relative_error < 1e-9


@pytest.mark.parametrize("case", [case for case in CASES if case.estimator.__class__ is PCA][:3])
def test_functions_see_densities_and_errors(case):
    def asked(column):
        def value(outputs, y):
            return outputs[:, column]

        return InfluenceExplainer(clone(case.estimator), target=value).fit(case.X)

    loss = InfluenceExplainer(clone(case.estimator)).fit(case.X)
    assert_allclose(asked(0).self_influence(), -loss.self_influence(), rtol=1e-9, atol=1e-11)
    errors = asked(1).self_influence()
    if case.estimator.n_components is None:
        assert not errors.any()
        return
    other = InfluenceExplainer(clone(case.estimator), target="reconstruction_error").fit(case.X)
    assert_allclose(errors, other.self_influence(), rtol=1e-9, atol=1e-11)


def test_refits_reconstruct_too():
    exact = InfluenceExplainer(PCA(2), target="reconstruction_error").fit(ROWS)
    again = InfluenceExplainer(PCA(2), target="reconstruction_error", method="refit").fit(ROWS)
    assert again.method_ == "refit"
    assert_allclose(again.self_influence(), exact.self_influence(), rtol=1e-8, atol=1e-11)
    again = InfluenceExplainer(FACTORS.estimator, method="refit").fit(FACTORS.X)
    exact = InfluenceExplainer(FACTORS.estimator).fit(FACTORS.X)
    assert_allclose(again.self_influence(), exact.self_influence(), rtol=1e-8, atol=1e-11)


def test_what_is_beyond_components_is_small():
    X = np.column_stack([ROWS, ROWS[:, 0] + 1e-5 * NUMBERS])
    explainer = InfluenceExplainer(PCA(3), target="reconstruction_error").fit(X)
    scores = explainer.score_influence(X)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-5)
    fitted = PCA(3, svd_solver="full")
    moved = error(fitted.fit(np.delete(X, 4, axis=0)), X) - error(fitted.fit(X), X)
    assert_allclose(scores[:, 4], moved, rtol=1e-5, atol=1e-7 * np.abs(moved).max())


# -- the search for noise -------------------------------------------------------------------------


def test_components_that_leave_nothing_beside_them():
    """All rows but the first are in a plane of three dimensions: without it there is no noise."""
    X = np.random.default_rng(0).normal(size=(12, 4))
    X[1:, 3] = X[1:, 0] - X[1:, 1]
    explainer = InfluenceExplainer(PCA(3)).fit(X)
    with pytest.warns(DegenerateDeletionWarning, match="1 of 12: 0"):
        scores = explainer.score_influence(X)
    assert (scores[:, 0] == np.inf).all()
    after = PCA(3).fit(np.delete(X, 1, axis=0)).score_samples(X)
    assert_allclose(scores[:, 1], PCA(3).fit(X).score_samples(X) - after, rtol=1e-7, atol=1e-9)
    # Errors of reconstruction need none.
    assert np.isfinite(
        InfluenceExplainer(PCA(3), target="reconstruction_error").fit(X).self_influence()
    ).all()


def test_slopes_and_curvature_of_the_likelihood():
    inverse = np.linalg.inv(np.corrcoef(FACTORS.X.T))[None]
    rng = np.random.default_rng(0)
    for k in (0, 1, 3):
        at = np.log(rng.uniform(0.2, 0.9, 7))
        point = _look(inverse, np.exp(at)[None], k)
        slopes, theta = _slopes(point)
        curvature, _ = _curvature(point, theta, k)
        for i in range(7):
            ends = [_look(inverse, np.exp(at + s * np.eye(7)[i])[None], k) for s in (1e-5, -1e-5)]
            assert_allclose(slopes[0, i], np.subtract(*[e.value[0] for e in ends]) / 2e-5, 1e-6)
            rise = np.subtract(*[_slopes(e)[0][0] for e in ends]) / 2e-5
            assert_allclose(curvature[0, i], rise, rtol=1e-6, atol=1e-7)


def heywood():
    """Three features, of which the first is the factor itself to more than their correlation."""
    R = np.array([[1.0, 0.8, 0.7], [0.8, 1.0, 0.5], [0.7, 0.5, 1.0]])
    Z = np.random.default_rng(1).normal(size=(40, 3))
    Z -= Z.mean(axis=0)
    Z = Z @ np.linalg.inv(np.linalg.cholesky(Z.T @ Z / 40)).T
    return Z @ np.linalg.cholesky(R).T, R


def test_noise_of_0():
    X, R = heywood()
    fitted = FactorAnalysis(1, tol=1e-5).fit(X)
    with pytest.warns(DegenerateDeletionWarning, match=r"1 of 3 features.*\(0\), a Heywood case"):
        explainer = InfluenceExplainer(fitted).fit(X)
    # The factor is the first feature: others are its regressions, with what these leave.
    found = FactorDeletion(X, fitted.noise_variance_, 1)
    assert_allclose(found.noise, [0.0, 1 - 0.8**2, 1 - 0.7**2], atol=1e-9)
    model = R.copy()
    model[1, 2] = model[2, 1] = 0.56
    distances = np.einsum("np,pq,nq->n", X, np.linalg.inv(model), X)
    density = -0.5 * (distances + np.log(np.linalg.det(model)) + 3 * np.log(2 * np.pi))
    assert_allclose(found.outputs(X)[:, 0], density, rtol=1e-9)
    # Rows whose deletion leaves the bound, or not, are all at an optimum.
    assert explainer.validate(n_refits=6, random_state=0).relative_error < 1e-8


def test_noise_of_0_is_left_again():
    inverse = np.linalg.inv(np.corrcoef(FACTORS.X.T))[None]
    start = np.full((1, 7), 0.4)
    direct = maximise(inverse, start, 2)
    start[0, 2] = 0.0
    back = maximise(inverse, start, 2)
    assert direct.settled.all()
    assert back.settled.all()
    assert_allclose(back.noise, direct.noise, rtol=1e-8)


def test_rows_that_bring_noise_to_0_are_named():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(25, 1)) + rng.normal(size=(25, 3)) * [0.15, 1.0, 1.0]
    explainer = InfluenceExplainer(FactorAnalysis(1, tol=1e-6)).fit(X)
    with pytest.warns(DegenerateDeletionWarning, match=r"left without noise of its own, or witho"):
        _, report = explainer.score_influence(X, return_report=True)
    improper = [
        i
        for i in range(25)
        if not FactorDeletion(np.delete(X, i, 0), np.full(3, 0.4), 1).noise.all()
    ]
    assert 0 < len(improper) < 25
    assert list(report["flagged_rows"]) == improper


def test_the_only_row_that_differs_in_a_feature():
    X = FACTORS.X.copy()
    X[:, 3] = 0.0
    X[7, 3] = 1.0
    explainer = InfluenceExplainer(FactorAnalysis(1, tol=1e-9)).fit(X)
    with pytest.warns(DegenerateDeletionWarning, match="or without variance"):
        scores = explainer.score_influence(X[:3])
    assert np.isposinf(scores[:, 7]).all()
    assert np.isfinite(np.delete(scores, 7, axis=1)).all()


def test_em_that_stopped_early():
    loose = FactorAnalysis(2, tol=50.0).fit(FACTORS.X)
    with pytest.warns(NotStationaryWarning, match="FactorAnalysis is not where its own iteration"):
        early = InfluenceExplainer(loose).fit(FACTORS.X)
    late = InfluenceExplainer(FACTORS.estimator).fit(FACTORS.X)
    assert early.stationarity_[0] > 100 * late.stationarity_[0]
    assert_allclose(early.self_influence(), late.self_influence(), rtol=1e-8, atol=1e-10)


def test_refits_of_pipelines_come_to_rest():
    pipeline = make_pipeline(FunctionTransformer(), clone(FACTORS.estimator).set_params(tol=1e-4))
    explainer = InfluenceExplainer(pipeline).fit(FACTORS.X)
    found = explainer.validate(n_refits=3, whole_pipeline=True, random_state=0)
    assert found.relative_error < 1e-7


def test_rotations_and_solvers_do_not_matter():
    wanted = InfluenceExplainer(FACTORS.estimator).fit(FACTORS.X).self_influence()
    turned = FactorAnalysis(2, rotation="varimax", svd_method="randomized", tol=1e-9)
    found = InfluenceExplainer(turned).fit(FACTORS.X).self_influence()
    assert_allclose(found, wanted, rtol=1e-8, atol=1e-10)


# -- what is refused ------------------------------------------------------------------------------


def test_refusals():
    for model, y in ((GaussianNB(), CLASSES), (LinearRegression(), NUMBERS)):
        with pytest.raises(ValueError, match="target='reconstruction_error'"):
            InfluenceExplainer(model, target="reconstruction_error").fit(ROWS, y)
    with pytest.raises(ValueError, match="GaussianNB does not reconstruct rows: PCA and Factor"):
        InfluenceExplainer(GaussianNB(), target="reconstruction_error").fit(ROWS, CLASSES)
    for model, X in ((PCA(), ROWS), (PCA(4), WIDE[:5])):
        with pytest.raises(ValueError, match=r"PCA keeps .* to at most (2|3)"):
            InfluenceExplainer(model, target="reconstruction_error").fit(X)
    for k in (None, 2):
        with pytest.raises(UnsupportedEstimatorError, match=r"of 3 feature\(s\), more.*at most 1"):
            InfluenceExplainer(FactorAnalysis(k)).fit(ROWS)
    for X in (FACTORS.X[:7], FACTORS.X * [1, 1, 1, 1, 1, 0, 1]):
        with pytest.raises(np.linalg.LinAlgError, match=r"of 7 feature\(s\) is singular.*Drop"):
            InfluenceExplainer(FactorAnalysis(2)).fit(X)
    fitted = FactorAnalysis(1).fit(FACTORS.X)
    with pytest.raises(ValueError, match="FactorAnalysis answers differently on these rows"):
        InfluenceExplainer(fitted).fit(FACTORS.X + 0.1)


def test_two_rows_are_too_few():
    with pytest.raises(ValueError, match="leaves one, which has no variance"):
        InfluenceExplainer(PCA(1)).fit(np.array([[0.0], [1.0]]))


@pytest.mark.parametrize("share", [1e-6, 1e-7, 1e-8])
def test_nearly_dependent_columns_are_not_other_rows(share):
    X = np.column_stack([ROWS, ROWS[:, 0] + share * NUMBERS])
    for model in (PCA(3), PCA()):
        with pytest.raises(np.linalg.LinAlgError, match=r"covariance of PCA is singular.*fewer"):
            InfluenceExplainer(model).fit(X)
    assert InfluenceExplainer(PCA(2)).fit(X).self_influence().shape == (N,)

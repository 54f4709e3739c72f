"""Deletion from Gaussian mixtures against plain EM, closed forms and laws of symmetry."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.preprocessing import StandardScaler

from skinfluence.deletion.gmm import METHODS, GMMDeletion, em, well_separated_first_order
from skinfluence.deletion.gmm.covariance_types import FRAMES, frame_of
from skinfluence.deletion.gmm.models import Refit
from skinfluence.deletion.gmm.sample import Sample, responsibilities
from skinfluence.deletion.gmm.statistics import Frame, spd_inverse
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)

TYPES = tuple(FRAMES)


def overlapping(n=150, *, n_components=3, d=2, seed=0, separation=2.0):
    """Rows of a mixture whose components overlap, in order of component."""
    rng = np.random.default_rng(seed)
    means = separation * rng.normal(size=(n_components, d))
    parts = [
        mean
        + rng.normal(size=(n // n_components, d)) @ (np.eye(d) + 0.4 * rng.normal(size=(d, d)))
        for mean in means
    ]
    return np.vstack(parts)


def fitted(X, covariance_type="full", n_components=3, **params):
    params = {"random_state": 0, "tol": 1e-8, "max_iter": 2000, **params}
    return GaussianMixture(n_components, covariance_type=covariance_type, **params).fit(X)


def scores(deletion, Z):
    return deletion.change(Z, deletion.delete(slice(0, deletion.n_train)))


def parameters(model):
    """Parameters of a GaussianMixture with one covariance matrix a component."""
    d = model.means_.shape[1]
    eye, c = np.eye(d), model.covariances_
    full = {
        "full": lambda: c,
        "tied": lambda: np.repeat(c[None], len(model.means_), axis=0),
        "diag": lambda: c[:, :, None] * eye,
        "spherical": lambda: c[:, None, None] * eye,
    }
    return em.Parameters(model.weights_, model.means_, full[model.covariance_type]())


def refit_scores(model, X, Z, rows, *, tol=1e-12):
    """The slow truth: plain EM from the polished fit, with and without each row."""
    kind, reg = model.covariance_type, model.reg_covar
    polished, _ = em.run_em(parameters(model), X, kind, reg, tol=tol)
    before = logsumexp(em.log_joint(polished, Z), axis=1)
    columns = []
    for row in rows:
        without, converged = em.run_em(polished, np.delete(X, row, axis=0), kind, reg, tol=tol)
        assert converged
        columns.append(before - logsumexp(em.log_joint(without, Z), axis=1))
    return np.stack(columns, axis=1)


def relative_error(estimate, truth):
    return np.linalg.norm(estimate - truth) / np.linalg.norm(truth)


# -- the parts --------------------------------------------------------------------------------


def test_spd_inverse_is_the_inverse():
    A = np.random.default_rng(0).normal(size=(7, 4, 9))
    S = np.moveaxis(A @ A.transpose(0, 2, 1), 0, -1)
    inverse, pivots = spd_inverse(S.copy())
    assert_allclose(inverse, np.moveaxis(np.linalg.inv(np.moveaxis(S, -1, 0)), 0, -1), rtol=1e-9)
    assert_allclose(np.prod(pivots, axis=0), np.linalg.det(np.moveaxis(S, -1, 0)), rtol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("reg_covar", [1e-6, 0.3])
def test_log_joint_moves_with_the_natural_parameters(covariance_type, reg_covar):
    X = overlapping()
    frame = frame_of(fitted(X, covariance_type, reg_covar=reg_covar), X[0] * 0, len(X))
    rng = np.random.default_rng(1)
    dT = 0.3 * rng.normal(size=(3, frame.n_stats, 5))
    known = frame.known(X[:5], -1.0)
    eta, valid, frail = frame.natural(dT, known)
    assert valid.all()
    assert not frail.any()
    change = np.einsum("kqm,kqB->kmB", frame.features(X), eta)
    for b in range(5):
        moved = frame.moved(dT[:, :, [b]], None if known is None else known[:, [b]])
        assert_allclose(change[:, :, b], moved.log_joint(X) - frame.log_joint(X), atol=1e-10)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("reg_covar", [1e-6, 0.3])
def test_slope_is_the_derivative(covariance_type, reg_covar):
    X = overlapping()
    frame = frame_of(fitted(X, covariance_type, reg_covar=reg_covar), X[0] * 0, len(X))
    P, h = 3 * frame.n_stats, 1e-5
    steps = h * np.eye(P).reshape(3, frame.n_stats, P)
    numeric = (frame.natural(steps)[0] - frame.natural(-steps)[0]) / (2 * h)
    analytic = frame.slope().reshape(3, -1, P)
    # The common normalisation log(sum N) is left out of the slope: responsibilities ignore it.
    centred = numeric[:, 0] - numeric[:, 0].mean(axis=0)
    assert_allclose(centred, analytic[:, 0] - analytic[:, 0].mean(axis=0), atol=1e-8)
    assert_allclose(numeric[:, 1:], analytic[:, 1:], atol=1e-8)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_e_step_equals_statistics_of_the_moved_frame(covariance_type):
    X = overlapping()
    frame = frame_of(fitted(X, covariance_type), X[0] * 0, len(X))
    log_r, _ = responsibilities(frame, X)
    sample = Sample(frame, X, log_r, budget=0.0)
    dT = 0.3 * np.random.default_rng(1).normal(size=(3, frame.n_stats, 4))
    found = sample.e_step(frame.natural(dT)[0])
    base = frame.statistics(X, np.exp(log_r))[:, :, 0]
    for b in range(4):
        r = np.exp(responsibilities(frame.moved(dT[:, :, [b]]), X)[0])
        assert_allclose(found[:, :, b], frame.statistics(X, r)[:, :, 0] - base, atol=1e-9)


# -- against truth ----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("reg_covar", [1e-6, 0.3])
def test_one_step_is_one_step_of_em(covariance_type, reg_covar):
    X = overlapping(60)
    model = fitted(X, covariance_type, reg_covar=reg_covar)
    deletion = GMMDeletion(model, X, method="one_step")
    found = scores(deletion, X)
    start, _ = em.run_em(parameters(model), X, covariance_type, reg_covar, tol=1e-14)
    joint = em.log_joint(start, X)
    r = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
    for i in range(len(X)):
        rest = np.delete(np.arange(len(X)), i)
        step = em.m_step(X[rest], r[rest], start, covariance_type, reg_covar)
        truth = logsumexp(joint, axis=1) - logsumexp(em.log_joint(step, X), axis=1)
        assert_allclose(found[:, i], truth, atol=1e-10, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_implicit_and_refit_against_plain_em(covariance_type, seed):
    X = overlapping(150, seed=seed)
    model = fitted(X, covariance_type)
    Z, rows = X[::3], np.arange(seed, 150, 12)
    truth = refit_scores(model, X, Z, rows)
    refit = GMMDeletion(model, X, method="refit")
    assert not len(refit.flagged_rows)
    assert relative_error(scores(refit, Z)[:, rows], truth) < 1e-6
    implicit = scores(GMMDeletion(model, X), Z)[:, rows]
    assert relative_error(implicit, truth) < 0.15
    assert np.corrcoef(implicit.ravel(), truth.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("n", [150, 600])
def test_implicit_against_refit_for_all_rows(covariance_type, n):
    X = overlapping(n, seed=2)
    model = fitted(X, covariance_type)
    truth = scores(GMMDeletion(model, X, method="refit"), X[::3])
    estimate = scores(GMMDeletion(model, X), X[::3])
    assert relative_error(estimate, truth) < (0.15 if n == 150 else 0.03)
    assert np.corrcoef(estimate.ravel(), truth.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("covariance_type", TYPES)
def test_iris(covariance_type):
    X = load_iris().data
    model = fitted(X, covariance_type, n_init=3)
    truth = scores(GMMDeletion(model, X, method="refit"), X)
    assert relative_error(scores(GMMDeletion(model, X), X), truth) < 0.1


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@pytest.mark.parametrize("n_features", [5, 30])
def test_breast_cancer_without_noise(n_features):
    X = StandardScaler().fit_transform(load_breast_cancer().data)
    X = X[::2] if n_features == 30 else PCA(n_features).fit_transform(X)
    deletion = GMMDeletion(fitted(X, tol=1e-3), X)
    found = deletion.change(X[:50], deletion.delete(slice(0, 50)))
    assert np.isfinite(found).all()
    assert np.isfinite(deletion.addition(X[:50] + 0.1)).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_refit_loss_agrees_with_refit(covariance_type):
    X = overlapping(90)
    deletion = GMMDeletion(fitted(X, covariance_type), X, method="refit")
    change = deletion.refit_loss(7, X) - deletion.refit_loss(None, X)
    assert_allclose(change, scores(deletion, X)[:, 7], atol=1e-8)


@pytest.mark.parametrize("method", ["implicit", "refit", "one_step"])
def test_one_gaussian_is_closed_form(method):
    X = np.random.default_rng(0).normal(size=(40, 3)) @ np.diag([1.0, 5.0, 0.2]) + 3.0
    deletion = GMMDeletion(GaussianMixture(1, reg_covar=0.1).fit(X), X, method=method)
    found = scores(deletion, X)

    def log_density(rows):
        S = np.cov(rows.T, bias=True) + 0.1 * np.eye(3)
        u = X - rows.mean(axis=0)
        quadratic = np.einsum("ij,ij->i", u, np.linalg.solve(S, u.T).T)
        return -0.5 * (quadratic + np.linalg.slogdet(2 * np.pi * S)[1])

    for i in (0, 17, 39):
        truth = log_density(X) - log_density(np.delete(X, i, axis=0))
        assert_allclose(found[:, i], truth, atol=1e-10)


def test_well_separated_is_exact_deletion_in_the_cluster():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(80, 2)), 100.0 + 2.0 * rng.normal(size=(40, 2))])
    model = fitted(X, "spherical", n_components=2)
    closed = scores(GMMDeletion(model, X, method="well_separated"), X)
    assert_allclose(closed, scores(GMMDeletion(model, X, method="refit"), X), atol=1e-9)
    assert_allclose(closed[:80, 80:], np.log(119 / 120), atol=1e-9)


@pytest.mark.parametrize("d", [2, 5, 20])
def test_first_order_expansion_and_the_published_slip(d):
    X = np.random.default_rng(d).normal(size=(2000, d))
    model = GaussianMixture(1, covariance_type="spherical").fit(X)
    exact = scores(GMMDeletion(model, X, method="well_separated"), X[:200])
    right = well_separated_first_order(X[:200], X)
    printed = well_separated_first_order(X[:200], X, printed=True)
    assert np.corrcoef(exact.ravel(), right.ravel())[0, 1] > 0.99999
    assert relative_error(right, exact) < 0.01
    assert np.corrcoef(exact.ravel(), printed.ravel())[0, 1] < 0.85
    mean = right - well_separated_first_order(X[:200], X, n_total=4000)
    assert_allclose(mean, 1 / 4000 - 1 / 2000, rtol=1e-9)


# -- added rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
def test_addition_by_refit_is_plain_em_with_the_row(covariance_type):
    X = overlapping(150)
    model = fitted(X, covariance_type)
    Z = np.array([[0.5, 0.5], [6.0, -5.0], [-9.0, 3.0]])
    found = GMMDeletion(model, X, method="refit").addition(Z)
    start, _ = em.run_em(parameters(model), X, covariance_type, 1e-6)
    for z, value in zip(Z, found, strict=True):
        fit, _ = em.run_em(start, np.vstack([X, z]), covariance_type, 1e-6)
        before, after = (logsumexp(em.log_joint(p, z[None]), axis=1)[0] for p in (start, fit))
        assert_allclose(value, after - before, rtol=1e-6)


def test_additions_that_do_not_settle_are_counted(monkeypatch):
    X = overlapping(60)
    deletion = GMMDeletion(fitted(X), X, method="refit")
    monkeypatch.setattr(Refit, "sweeps", 0)
    monkeypatch.setattr(Refit, "rounds", 0)
    with pytest.warns(DegenerateDeletionWarning, match="With 2 of 2 rows added EM did not"):
        deletion.addition(X[:2] + 1.0)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_addition_implicit(covariance_type):
    X = overlapping(600, seed=2)
    model = fitted(X, covariance_type)
    exact = GMMDeletion(model, X, method="refit").addition(X[::10])
    estimate = GMMDeletion(model, X).addition(X[::10])
    assert relative_error(estimate, exact) < 0.03
    far = GMMDeletion(model, X).addition(np.array([[30.0, 30.0], [1e4, 0.0]]))
    assert np.isfinite(far).all()
    assert (far > estimate.max()).all()


# -- many features ----------------------------------------------------------------------------


def two_hundred_features(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 200)) + np.repeat([[0.0], [2.0]], 30, axis=0)
    return X, fitted(X, covariance_type, n_components=2, reg_covar=0.1)


@pytest.mark.parametrize("covariance_type", ["tied", "diag", "spherical"])
def test_two_hundred_features(covariance_type):
    X, model = two_hundred_features(covariance_type)
    deletion = GMMDeletion(model, X)
    found = deletion.change(X[:3], deletion.delete(slice(0, 5)))
    truth = refit_scores(model, X, X[:3], [0, 4])
    assert_allclose(found[:, [0, 4]], truth, rtol=1e-6, atol=1e-8)


def test_two_hundred_features_with_full_covariances():
    X, model = two_hundred_features("full")
    for method in ("implicit", "refit"):
        with pytest.raises(ValueError, match=r"40,602 statistics.*49\.1 GiB.*method='one_step'"):
            GMMDeletion(model, X, method=method)
    deletion = GMMDeletion(model, X, method="one_step")
    found = deletion.change(X[:3], deletion.delete(slice(0, 5)))
    # The clusters are so far apart that nothing answers to a deletion.
    truth = refit_scores(model, X, X[:3], [0, 4])
    assert_allclose(found[:, [0, 4]], truth, rtol=1e-6, atol=1e-8)


# -- laws -------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("method", ["one_step", "implicit"])
def test_permuted_rows_permute_the_columns(covariance_type, method):
    X = overlapping()
    model = fitted(X, covariance_type)
    order = np.random.default_rng(0).permutation(len(X))
    found = scores(GMMDeletion(model, X[order], method=method), X)
    assert_allclose(found, scores(GMMDeletion(model, X, method=method), X)[:, order], atol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("method", ["one_step", "implicit", "refit"])
def test_blocks_change_nothing(covariance_type, method):
    X = overlapping(60)
    model = fitted(X, covariance_type)
    whole = GMMDeletion(model, X, method=method)
    expected = scores(whole, X)
    with config_context(working_memory=0.01):
        small = GMMDeletion(model, X, method=method)
    parts = [slice(start, min(start + 7, 60)) for start in range(0, 60, 7)]
    found = np.hstack([small.change(X, small.delete(part)) for part in parts])
    # Relative to the largest: the iterative parts amplify rounding.
    assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())
    alone = np.concatenate([whole.self_change(part) for part in parts])
    assert_allclose(alone, np.diag(expected), atol=1e-12, rtol=1e-10)
    queries = np.vstack([whole.change(X[[i]], whole.delete(slice(0, 60))) for i in range(5)])
    assert_allclose(queries, expected[:5], atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_affine_maps_change_nothing(covariance_type):
    X = overlapping()
    A, b = np.array([[3.0, 1.0], [-20.0, 0.5]]), np.array([7.0, -300.0])
    model = fitted(X, covariance_type, reg_covar=1e-12, tol=1e-13)
    moved = fitted(
        X @ A + b,
        covariance_type,
        reg_covar=1e-12,
        weights_init=model.weights_,
        means_init=model.means_ @ A + b,
        precisions_init=np.linalg.inv(A) @ model.precisions_ @ np.linalg.inv(A).T,
    )
    expected = scores(GMMDeletion(model, X), X)
    assert_allclose(scores(GMMDeletion(moved, X @ A + b), X @ A + b), expected, atol=1e-7)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_far_from_the_origin(covariance_type):
    X = overlapping()
    model, far = fitted(X, covariance_type), fitted(X, covariance_type)
    far.means_ = far.means_ + 1e6
    expected = scores(GMMDeletion(model, X), X)
    assert_allclose(scores(GMMDeletion(far, X + 1e6), X + 1e6), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["one_step", "implicit", "refit"])
def test_copies_share_one_score(method):
    X = overlapping(60)
    X = np.vstack([X, X[:5]])
    found = scores(GMMDeletion(fitted(X), X, method=method), X)
    assert_allclose(found[:, 60:], found[:, :5], atol=1e-9)


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize("method", ["one_step", "implicit", "refit"])
def test_far_queries_are_finite(covariance_type, method):
    X = overlapping(60)
    deletion = GMMDeletion(fitted(X, covariance_type), X, method=method)
    far = scores(deletion, np.array([[1e3, 1e3], [-1e6, 0.0], [0.0, 1e8]]))
    assert np.isfinite(far).all()
    if method != "refit":
        assert np.isfinite(deletion.addition(np.array([[1e3, 1e3], [-1e6, 0.0]]))).all()


@pytest.mark.parametrize("covariance_type", TYPES)
def test_one_feature(covariance_type):
    X = overlapping(90, d=1, separation=4.0)
    model = fitted(X, covariance_type, n_components=2)
    truth = refit_scores(model, X, X, [0, 50, 89], tol=1e-11)
    found = scores(GMMDeletion(model, X, method="refit"), X)[:, [0, 50, 89]]
    assert_allclose(found, truth, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_the_model_is_left_alone(method):
    X = overlapping()
    model = fitted(X, "spherical", tol=1e-3)
    before = {name: np.copy(value) for name, value in vars(model).items()}
    GMMDeletion(model, X, method=method)
    assert vars(model).keys() == before.keys()
    for name, value in before.items():
        assert_array_equal(vars(model)[name], value)


def test_a_loose_fit_gives_the_scores_of_a_tight_one():
    X = overlapping(seed=2)
    loose, tight = fitted(X, tol=1e-3), fitted(X, tol=1e-12)
    assert_allclose(scores(GMMDeletion(loose, X), X), scores(GMMDeletion(tight, X), X), atol=1e-7)
    before, after = GMMDeletion(loose, X).stationarity
    assert after < 1e-10 < before


# -- what cannot be right is said -------------------------------------------------------------


def test_a_component_of_one_row_dies():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(50, 2)), [[40.0, 40.0]]])
    model = fitted(X, n_components=2)
    for method in ("one_step", "implicit", "refit"):
        with pytest.warns(DegenerateDeletionWarning, match="without 1 of them a component dies"):
            deletion = GMMDeletion(model, X, method=method)
        assert 50 in deletion.flagged_rows
        assert np.isfinite(scores(deletion, X)).all()
        assert deletion.self_change(slice(50, 51))[0] > 100


def test_a_component_without_rows_is_left_out():
    X = overlapping(60)
    model = fitted(X, n_components=2)
    dead = fitted(X, n_components=2)
    dead.weights_ = np.append(model.weights_, 0.0)
    dead.means_ = np.vstack([model.means_, [0.0, 0.0]])
    dead.precisions_cholesky_ = np.concatenate([model.precisions_cholesky_, np.eye(2)[None]])
    with pytest.warns(DegenerateDeletionWarning, match="Component 2 of .* is left out"):
        deletion = GMMDeletion(dead, X)
    assert_allclose(scores(deletion, X), scores(GMMDeletion(model, X), X), atol=1e-12)


def test_a_loose_fit_is_said_to_be_one():
    X = overlapping()
    with pytest.warns(ConvergenceWarning):
        model = fitted(X, tol=1e-9, max_iter=1, init_params="random_from_data")
    with pytest.warns(NotStationaryWarning, match="its residual .*at an optimum 0"):
        GMMDeletion(model, X)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_rows_on_another_scale_are_refused(covariance_type):
    X = load_iris().data
    model = fitted(StandardScaler().fit_transform(X), covariance_type)
    reversed_ = fitted(X, covariance_type)
    for method in ("implicit", "refit", "one_step"):
        with pytest.raises(ValueError, match="not the rows the mixture was fitted on"):
            GMMDeletion(model, X, method=method)
        with pytest.raises(ValueError, match="hand over the whole pipeline"):
            GMMDeletion(reversed_, X[:, ::-1], method=method)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_other_rows_of_the_same_distribution_warn(covariance_type):
    X = overlapping(300)
    with pytest.warns(NotStationaryWarning, match="Pass exactly the rows it was fitted on"):
        GMMDeletion(fitted(X[::2], covariance_type), X[1::2])


@pytest.mark.parametrize("covariance_type", TYPES)
@pytest.mark.parametrize(
    "params",
    [
        {"tol": 1e-1},
        {"tol": 1e-3, "n_init": 3},
        {"tol": 1e-6, "warm_start": True},
        {"tol": 1e-3, "reg_covar": 0.3},
    ],
)
def test_the_fitted_rows_do_not_warn_of_their_likelihood(covariance_type, params):
    X = load_iris().data
    for seed in range(3):
        model = fitted(X, covariance_type, random_state=seed, **params)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            GMMDeletion(model, X, method="one_step")
        assert not any("likelihood is" in str(w.message) for w in caught)


def test_a_truth_that_did_not_converge_is_said_to_be_none(monkeypatch):
    X = overlapping()
    deletion = GMMDeletion(fitted(X), X, method="one_step")
    monkeypatch.setattr(em, "em_step", lambda p, *_: p._replace(means=p.means + 1.0))
    for row, which in ((None, "with all rows"), (7, "without row 7")):
        with pytest.warns(DegenerateDeletionWarning, match=f"Plain EM {which} did not"):
            deletion.refit_loss(row, X[:1])


def test_refusals():
    X = overlapping()
    model = fitted(X)
    with pytest.raises(UnsupportedEstimatorError, match="BayesianGaussianMixture"):
        GMMDeletion(BayesianGaussianMixture(n_components=2).fit(X), X)
    with pytest.raises(ValueError, match="closed form for spherical"):
        GMMDeletion(model, X, method="well_separated")
    with pytest.raises(ValueError, match="method must be one of"):
        GMMDeletion(model, X, method="newton")
    with pytest.raises(ValueError, match="2 features"):
        GMMDeletion(model, X[:, :1])
    with pytest.raises(ValueError, match="as many rows as components"):
        GMMDeletion(fitted(X[:3]), X[:3])
    with pytest.raises(ValueError, match="NaN or infinity"):
        GMMDeletion(model, np.where(X < 0, np.nan, X))


def test_frames_cover_every_covariance_type():
    assert set(TYPES) == {"full", "tied", "diag", "spherical"}
    assert all(issubclass(frame, Frame) for frame in FRAMES.values())


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@pytest.mark.parametrize("method", ["implicit", "one_step", "refit"])
@pytest.mark.parametrize("covariance_type", TYPES)
def test_additions_grow_with_the_distance(covariance_type, method):
    """No model is moved beyond where arithmetic follows: far out, farther is more outlying."""
    X = overlapping(150, seed=2)
    far = np.array([[60.0, 0.0], [150.0, 0.0], [1e3, 0.0], [1e4, 0.0], [1e6, 0.0]])
    scores = GMMDeletion(fitted(X, covariance_type), X, method=method).addition(far)
    assert (np.diff(np.log(scores)) > 0.5).all()
    assert_allclose(scores[-1] / scores[-2], 1e4, rtol=1e-3)

"""Smoothed support vector machines, against dense Newton steps and against their paths."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from tests.test_deletion.svm_dense import Dense
from tests.test_deletion.svm_refits import decisions, kernel_of
from tests.test_deletion.test_svm import NUMBERS, THREE, TWO, WEIGHTS, N, X, laplace, name

RBF = {"gamma": 0.3}


def cases():
    for weights in (None, WEIGHTS):
        yield SVC(**RBF), TWO, weights
        yield SVC(**RBF, class_weight="balanced"), TWO, weights
        yield NuSVC(**RBF, nu=0.35), TWO, weights
        yield SVR(**RBF, epsilon=0.2), NUMBERS, weights
        yield NuSVR(**RBF, nu=0.4, C=2.0), NUMBERS, weights
        yield OneClassSVM(**RBF, nu=0.3), None, weights
    yield SVC(kernel="linear", C=0.5), TWO, None
    yield SVC(kernel=laplace, C=20.0), TWO, None
    yield SVC(**RBF, class_weight={0: 3.0, 1: 0.5}), TWO, WEIGHTS
    yield SVR(kernel="linear", epsilon=0.0), NUMBERS, None


every = pytest.mark.parametrize("case", list(cases()), ids=name)
both = pytest.mark.parametrize("method", ["first_order", "newton"])


def explained(case, **options):
    estimator, y, weights = case
    fitted = clone(estimator).fit(X, y, sample_weight=weights)
    return InfluenceExplainer(fitted, **options).fit(X, y, sample_weight=weights)


# -- by parameters --------------------------------------------------------------------------------

SOME = [0, 2, 5, 7, 11, 20, 33]


@every
def test_the_smoothed_optimum_is_stationary(case):
    explainer = explained(case, method="newton")
    dense = Dense(case, explainer)
    assert_allclose(dense.gradient(), 0.0, atol=1e-10)
    # A machine at its optimum has nothing to gain at that of a smoothed objective.
    assert explainer.stationarity_[0] < 1e-2
    assert explainer.stationarity_[1] < 1e-12


@every
def test_newton_steps_are_those_of_the_dense_hessian(case):
    explainer = explained(case, method="newton")
    dense = Dense(case, explainer)
    scores = explainer.score_influence(X, case[1])
    before = dense.loss(dense.theta)
    expected = [dense.loss(dense.without([i], newton=True)) - before for i in SOME]
    assert_allclose(scores[:, SOME], np.transpose(expected), rtol=1e-8, atol=1e-8)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-9, atol=1e-11)
    assert explainer.method_ == "newton"


@every
def test_first_order_steps_are_those_of_the_dense_hessian(case):
    asked = {} if case[1] is None or case[1] is NUMBERS else {"output": 1}
    explainer = explained(case, method="first_order", target="decision_function", **asked)
    dense = Dense(case, explainer)
    step = 1e-7 if isinstance(case[0], NuSVC) else 1.0  # which divides by the margin
    before = dense.decision(dense.theta)
    scores = explainer.score_influence(X)
    for i in SOME:
        move = dense.without([i], newton=False) - dense.theta
        change = (dense.decision(dense.theta + step * move) - before) / step
        assert_allclose(scores[:, i], change, rtol=1e-7, atol=1e-6 if step < 1 else 1e-8)


@pytest.mark.parametrize("case", list(cases())[:6], ids=name)
def test_groups(case):
    rows = np.array([1, 4, 5, 20, 21, 30])
    newton = explained(case, method="newton")
    dense = Dense(case, newton)
    expected = dense.loss(dense.without(rows, newton=True)) - dense.loss(dense.theta)
    scores = newton.score_groups(X, case[1], groups=[rows, [3]])
    assert_allclose(scores[:, 0], expected, rtol=1e-8, atol=1e-8)
    assert_allclose(scores[:, 1], newton.score_influence(X, case[1])[:, 3], rtol=1e-9, atol=1e-11)
    first = explained(case, method="first_order")
    own = first.score_influence(X, case[1])[:, rows].sum(axis=1)
    assert_allclose(
        first.score_groups(X, case[1], groups=[rows])[:, 0], own, rtol=1e-9, atol=1e-11
    )


# -- targets --------------------------------------------------------------------------------------


def smooth_loss(case, decision, t):
    def ramp(u):
        return t * np.logaddexp(0.0, u / t)

    estimator, y, _ = case
    if isinstance(estimator, OneClassSVM):
        return ramp(-decision)
    if isinstance(estimator, SVR | NuSVR):
        epsilon = getattr(estimator, "epsilon", 0.0)
        return ramp(decision - y - epsilon) + ramp(y - decision - epsilon)
    return ramp(1.0 - (2 * y - 1) * decision)


@pytest.mark.parametrize("case", list(cases())[:6], ids=name)
def test_first_order_losses_go_along_the_gradient_of_the_smoothed_loss(case):
    explainer = explained(case, method="first_order")
    asked = {"output": 1} if case[1] is TWO else {}
    moved = explained(case, method="first_order", target="decision_function", **asked)
    dense, t = Dense(case, explainer), explainer._engine.exact.temperature
    before, h = dense.decision(dense.theta), 1e-4 * t
    up, down = (smooth_loss(case, before + s * h, t) for s in (1, -1))
    slope = (up - down) / (2 * h)
    scores = explainer.score_influence(X, case[1])
    assert_allclose(scores, slope[:, None] * moved.score_influence(X), rtol=1e-5, atol=1e-7)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-9, atol=1e-11)


@both
@pytest.mark.parametrize("shape", ["ovr", "ovo"])
def test_decisions_of_several_classes(method, shape):
    estimator = SVC(**RBF, decision_function_shape=shape, class_weight="balanced")
    case = (estimator, THREE, WEIGHTS)
    asked = {"method": method, "target": "decision_function"}
    one = explained(case, **asked, output=("a", "c") if shape == "ovo" else "b")
    scores = one.score_influence(X)

    def same(outputs, y):
        return outputs[:, 1]

    def with_slope(outputs, y):
        return outputs[:, 1], np.tile(np.eye(3)[1], (len(outputs), 1))

    plain = explained(case, method=method, target=same).score_influence(X)
    assert_allclose(plain, scores, rtol=1e-7, atol=1e-8)
    given = explained(case, method=method, target=with_slope).score_influence(X)
    assert_allclose(given, scores, rtol=1e-9, atol=1e-12)
    assert_allclose(one.self_influence(), np.diag(one.score_influence(X)), rtol=1e-9, atol=1e-12)


def test_classes_are_pairs_of_machines():
    """What a row does to the machine of its pair is what it does to that machine alone."""
    case = (SVC(**RBF, decision_function_shape="ovo"), THREE, WEIGHTS)
    asked = {"method": "newton", "target": "decision_function"}
    scores = explained(case, **asked, output=("a", "b")).score_influence(X)
    own = THREE != "c"
    rows, y, weights = X[own], THREE[own], WEIGHTS[own]
    alone = SVC(**RBF).fit(rows, y, sample_weight=weights)
    alone = InfluenceExplainer(alone, **asked, output="a").fit(rows, y, sample_weight=weights)
    assert_allclose(scores[:, own], alone.score_influence(X), rtol=1e-8, atol=1e-10)
    assert_allclose(scores[:, ~own], 0.0, atol=0.0)


def test_class_weights_that_stay():
    balanced = (SVC(**RBF, class_weight="balanced"), TWO, None)
    fixed = explained(balanced, method="newton", class_weights="fixed")
    counts = np.bincount(TWO)
    same = (SVC(**RBF, class_weight=dict(enumerate(N / (2.0 * counts)))), TWO, None)
    expected = explained(same, method="newton").score_influence(X, TWO)
    assert_allclose(fixed.score_influence(X, TWO), expected, rtol=1e-8, atol=1e-10)


@both
def test_rows_may_be_sparse_or_a_kernel(method):
    scores = explained((SVC(**RBF), TWO, None), method=method).score_influence(X, TWO)
    thin = sparse.csr_array(X)
    model = SVC(**RBF).fit(thin, TWO)
    found = InfluenceExplainer(model, method=method).fit(thin, TWO).score_influence(thin, TWO)
    assert_allclose(found, scores, rtol=1e-8, atol=1e-9)
    K = kernel_of(SVC(**RBF), X, X)
    model = SVC(kernel="precomputed").fit(K, TWO)
    found = InfluenceExplainer(model, method=method).fit(K, TWO).score_influence(K, TWO)
    assert_allclose(found, scores, rtol=1e-8, atol=1e-9)


@both
def test_blocks_threads_and_orders_do_not_matter(method):
    case = (SVC(**RBF, class_weight="balanced"), THREE, WEIGHTS)
    scores = explained(case, method=method).score_influence(X, THREE)
    with sklearn.config_context(working_memory=0.15):
        small = explained(case, method=method, n_jobs=2)
        assert_allclose(small.score_influence(X, THREE), scores, rtol=1e-9, atol=1e-12)
    order = np.random.default_rng(0).permutation(N)
    model = clone(case[0]).fit(X[order], THREE[order], sample_weight=WEIGHTS[order])
    turned = InfluenceExplainer(model, method=method)
    turned.fit(X[order], THREE[order], sample_weight=WEIGHTS[order])
    assert_allclose(turned.score_influence(X, THREE), scores[:, order], rtol=1e-8, atol=1e-9)


# -- temperatures ---------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [*list(cases())[:6], (SVC(**RBF), THREE, WEIGHTS)], ids=name)
def test_the_smoothed_optimum_tends_to_the_machines(case):
    truth = decisions(case[0], X, case[1], case[2], X)
    off = []
    for t in (1e-2, 1e-5):
        exact = explained(case, method="newton", smoothing=t)._engine.exact
        off.append(np.abs(exact.outputs(X) - truth).max())
    assert off[1] < min(0.02 * off[0], 1e-3)


def test_temperatures():
    spread = NUMBERS.std()
    for estimator, y, expected in (
        (SVC(**RBF), TWO, 0.01),
        (SVR(**RBF), NUMBERS, 0.01 * spread),
        (SVR(**RBF, epsilon=0.0), NUMBERS, 0.01 * spread),
        (NuSVR(**RBF), NUMBERS, 0.01 * spread),
        (OneClassSVM(**RBF), None, None),
    ):
        explainer = explained((estimator, y, None), method="newton")
        if expected is None:
            expected = 0.01 * explainer.estimator_.decision_function(X).std()
        assert_allclose(explainer._engine.exact.temperature, expected, rtol=1e-2)
    chosen = explained((SVC(**RBF), TWO, None), method="newton", smoothing=0.3)
    assert chosen._engine.exact.temperature == 0.3


# -- truth ----------------------------------------------------------------------------------------


@both
def test_validate_compares_with_machines_that_have_their_kinks(method):
    case = (SVC(**RBF), THREE, None)
    found = explained(case, method=method).validate(random_state=0)
    exact = explained(case).score_influence(X, THREE)
    scores = explained(case, method=method).score_influence(X, THREE)
    rows = found.rows
    error = np.linalg.norm((scores - exact)[:, rows]) / np.linalg.norm(exact[:, rows])
    assert_allclose(found.relative_error, error, rtol=1e-6)
    assert found.pearson > 0.8


def test_the_last_row_of_a_class_is_flagged():
    y = THREE.astype("U5")
    y[6] = "alone"
    explainer = explained((SVC(**RBF), y, None), method="newton")
    with pytest.warns(DegenerateDeletionWarning, match="1 of 45: 6"):
        assert np.isfinite(explainer.score_influence(X, y)).all()


def test_no_row_in_reach_of_a_kink():
    """As many rows of one class as of the other, and all of them far inside the margin."""
    own = THREE != "a"
    rows, y = X[own], THREE[own]
    model = SVC(**RBF, C=1e-3).fit(rows, y)
    with pytest.warns(DegenerateDeletionWarning, match="no training row is near a kink"):
        explainer = InfluenceExplainer(model, method="newton").fit(rows, y)
    assert np.isfinite(explainer.score_influence(rows, y)).all()
    InfluenceExplainer(model, method="newton", smoothing=1.0).fit(rows, y)


def test_a_row_that_holds_the_offset_alone():
    rows = np.random.default_rng(0).normal(size=(60, 1))
    model = OneClassSVM(nu=0.99).fit(rows)
    explainer = InfluenceExplainer(model, method="newton", smoothing=1e-4).fit(rows)
    with pytest.warns(DegenerateDeletionWarning, match="Without some rows"):
        scores = explainer.score_influence(rows)
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(
    "case",
    [
        (NuSVC(kernel="linear", nu=0.2), np.tile(["a", "b", "b"], N // 3), None),
        (OneClassSVM(kernel="linear"), None, None),
    ],
    ids=name,
)
def test_machines_that_answer_nothing(case):
    """Whose margin or whose decisions are 0, so that nothing says how far to smooth."""
    model = clone(case[0]).fit(X - X.mean(axis=0), case[1])
    with pytest.warns(NotStationaryWarning, match="it could fall by"):
        explainer = InfluenceExplainer(model, method="newton").fit(X - X.mean(axis=0), case[1])
    assert np.isfinite(explainer.self_influence()).all()


def test_other_targets_than_those_it_was_fitted_on():
    model = SVC(**RBF).fit(X, TWO)
    with pytest.warns(NotStationaryWarning, match="it could fall by"):
        explainer = InfluenceExplainer(model, method="newton").fit(X, np.roll(TWO, 1))
    assert explainer.stationarity_[0] > 0.1


# -- refusals -------------------------------------------------------------------------------------


def test_smoothing_is_refused_where_nothing_is_smoothed():
    with pytest.raises(ValueError, match="deletions with method='auto' are exact with its kinks"):
        explained((SVC(**RBF), TWO, None), smoothing=0.1)


def test_too_many_rows_for_dense_matrices():
    with sklearn.config_context(working_memory=0.01), pytest.raises(ValueError, match="auto"):
        explained((SVC(**RBF), TWO, None), method="newton")


def test_other_values_of_rows_are_left_to_the_exact_path():
    explainer = explained((SVC(**RBF), TWO, None), method="newton")
    with pytest.raises(UnsupportedEstimatorError, match=r"score_replacement.*method='auto'"):
        explainer.score_replacement(X[:1], rows=[0], queries=(X[:2], TWO[:2]))
    with pytest.raises(UnsupportedEstimatorError, match=r"perturbation.*method='auto'"):
        explainer.perturbation(X[:2], TWO[:2], rows=[0])

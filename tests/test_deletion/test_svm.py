"""Deletion from support vector machines, against refits that are solved for exactly."""

from __future__ import annotations

import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence import InfluenceExplainer
from skinfluence.deletion.svm import kernel as kernel_module
from skinfluence.deletion.svm import point as point_module
from skinfluence.deletion.svm.free import FreeSet
from skinfluence.deletion.svm.path import follow
from skinfluence.deletion.svm.reading import read_machine
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from tests.test_deletion.svm_refits import decisions, losses

N = 45
_rng = np.random.default_rng(3)
X = _rng.normal(size=(N, 3)) + 1.0
THREE = np.array(["c", "a", "b"])[np.arange(N) % 3]
X[THREE == "b"] += [0.9, -0.4, 0.0]
X[THREE == "a"] -= [0.0, 0.5, 0.7]
X[5] = X[2]  # of one class
TWO = np.where(THREE == "b", 1, 0)
NUMBERS = X @ [1.0, -0.5, 0.2] + np.sin(2 * X[:, 0]) + 0.3 * _rng.normal(size=N)
WEIGHTS = _rng.uniform(0.4, 2.0, size=N)
WEIGHTS[7] = 0.0
SOME = [2, 5, 7, *range(0, N, 3)]  # two copies, no weight, and others


def laplace(A, B):
    return np.exp(-0.5 * np.abs(A[:, None] - B[None]).sum(axis=2))


def cases():
    for weights in (None, WEIGHTS):
        for y in (TWO, THREE):
            yield SVC(gamma=0.3), y, weights
            yield SVC(gamma=0.3, C=20.0), y, weights
            yield SVC(kernel="linear", C=0.5), y, weights
            yield SVC(kernel="poly", gamma=0.5, coef0=1.0, degree=2, C=0.3), y, weights
            yield SVC(gamma=0.3, class_weight="balanced"), y, weights
            yield NuSVC(gamma=0.3, nu=0.35), y, weights
        yield SVC(gamma=0.3, class_weight={"a": 3.0, "b": 0.5}), THREE, weights
        if weights is None:
            yield SVC(kernel=laplace), THREE, weights
        yield SVC(gamma=0.3, C=1e-3), TWO, weights
        yield SVR(gamma=0.3), NUMBERS, weights
        yield SVR(gamma=0.3, C=30.0, epsilon=0.2), NUMBERS, weights
        yield SVR(kernel="linear", epsilon=0.0), NUMBERS, weights
        yield NuSVR(gamma=0.3, nu=0.4, C=2.0), NUMBERS, weights
        yield OneClassSVM(gamma=0.3, nu=0.3), None, weights
        yield OneClassSVM(gamma=0.3, nu=0.62), None, weights
        yield OneClassSVM(kernel="linear", nu=0.4), None, weights


def name(case):
    estimator, y, weights = case
    classes = "" if y is None else f"-{len(np.unique(y))}"
    # Not where a kernel function lies in memory: parallel runs must agree on the names.
    said = re.sub(r" at 0x\w+", "", str(estimator))
    return f"{said}{classes}{'' if weights is None else '-weights'}"


every = pytest.mark.parametrize("case", list(cases()), ids=name)


def explained(case, **options):
    estimator, y, weights = case
    fitted = clone(estimator).fit(X, y, sample_weight=weights)
    return InfluenceExplainer(fitted, **options).fit(X, y, sample_weight=weights)


def truth(case, rows, value):
    """Change of a value of the decisions at all rows without each of `rows`."""
    estimator, y, weights = case
    before = value(decisions(estimator, X, y, weights, X))
    changes = []
    for row in rows:
        kept = np.delete(np.arange(N), row)
        left = None if y is None else y[kept]
        w = None if weights is None else weights[kept]
        changes.append(value(decisions(estimator, X[kept], left, w, X)) - before)
    return np.transpose(changes)


@every
def test_losses_are_those_of_refits(case):
    estimator, y, _ = case
    explainer = explained(case)
    scores = explainer.score_influence(X, y)
    expected = truth(case, SOME, lambda outputs: losses(estimator, outputs, y))
    assert_allclose(scores[:, SOME], expected, rtol=1e-9, atol=1e-9)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-9, atol=1e-12)
    assert explainer.method_ == "exact"


@pytest.mark.parametrize(
    "case",
    [
        (SVC(gamma=0.3, C=100.0), THREE, None),
        (SVC(gamma=0.3), TWO, None),
        (SVR(gamma=0.3, epsilon=0.2), NUMBERS, None),
    ],
    ids=name,
)
@pytest.mark.parametrize("target", ["loss", "decision_function"])
def test_rows_that_hold_nothing_change_nothing(case, target):
    """Exactly, whatever the block of queries."""
    explainer = explained(case, target=target)
    # Which of two copies holds what they hold together is nobody's business.
    idle = np.setdiff1d(np.arange(N), [*explainer.estimator_.support_, 2, 5])
    assert len(idle) > 1
    assert_array_equal(explainer.score_influence(X[:7], case[1][:7])[:, idle], 0.0)
    assert_array_equal(explainer.self_influence()[idle], 0.0)


def test_every_row_of_an_outlier_detector_counts():
    scores = explained((OneClassSVM(gamma=0.3, nu=0.3), None, None), target="decision_function")
    assert (scores.score_influence(X) != 0.0).any(axis=0).all()


# -- decisions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        (SVC(gamma=0.3), TWO, WEIGHTS),
        (SVR(gamma=0.3), NUMBERS, None),
        (NuSVR(gamma=0.3), NUMBERS, None),
        (OneClassSVM(gamma=0.3, nu=0.3), None, WEIGHTS),
    ],
    ids=name,
)
def test_decisions_are_those_of_refits(case):
    scores = explained(case, target="decision_function").score_influence(X)
    sign = 1.0
    if isinstance(case[0], SVC):
        sign = np.where(decisions(case[0], X, case[1], case[2], X)[:, 0] > 0, 1.0, -1.0)
    expected = truth(case, range(N), lambda outputs: sign * outputs[:, 0])
    assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)


def test_decisions_for_a_class_are_scikit_learns():
    """Votes and confidences of all pairs; checked against loose fits as far as those go."""
    case = (SVC(gamma=0.3, tol=1e-9), THREE, None)
    scores = explained(case, target="decision_function", output="b").score_influence(X)
    whole = clone(case[0]).fit(X, THREE).decision_function(X)[:, 1]
    for row in range(0, N, 4):
        kept = np.delete(np.arange(N), row)
        refit = clone(case[0]).fit(X[kept], THREE[kept]).decision_function(X)[:, 1]
        assert_allclose(scores[:, row], refit - whole, atol=1e-6)


def test_decisions_of_a_pair():
    estimator = SVC(gamma=0.3, decision_function_shape="ovo")
    case = (estimator, THREE, None)
    expected = truth(case, range(N), lambda outputs: outputs[:, 1])  # of a against c
    asked = {"target": "decision_function"}
    scores = explained(case, **asked, output=("a", "c")).score_influence(X)
    assert_allclose(scores, expected, rtol=1e-9, atol=1e-9)
    turned = explained(case, **asked, output=("c", "a")).score_influence(X)
    assert_allclose(turned, -scores, rtol=1e-12)
    with pytest.raises(ValueError, match="names no pair of classes"):
        explained(case, **asked, output="a").score_influence(X)
    numbered = (estimator, np.unique(THREE, return_inverse=True)[1], None)
    with pytest.raises(ValueError, match=r"e\.g\. output=\(0, 1\), or set"):
        explained(numbered, **asked).score_influence(X)


def test_a_function_of_the_decisions_sees_the_columns_of_scikit_learn():
    case = (SVC(gamma=0.3), THREE, None)
    seen = []

    def third(outputs, y):
        seen.append(outputs.shape[1])
        return outputs[:, 2]

    scores = explained(case, target=third).score_influence(X)
    assert set(seen) == {3}
    other = explained(case, target="decision_function", output="c").score_influence(X)
    assert_allclose(scores, other, rtol=1e-12, atol=1e-14)


# -- groups ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "case",
    [
        (SVC(gamma=0.3, class_weight="balanced"), THREE, WEIGHTS),
        (SVR(gamma=0.3), NUMBERS, None),
        (OneClassSVM(gamma=0.3, nu=0.3), None, None),
        (NuSVC(gamma=0.3, nu=0.2), TWO, None),
    ],
    ids=name,
)
def test_groups_go_together(case):
    estimator, y, weights = case
    groups = [np.arange(0, N, 5), np.array([2, 9, 30]), np.array([4])]
    explainer = explained(case)
    scores = explainer.score_groups(X, y, groups=groups)
    before = losses(estimator, decisions(estimator, X, y, weights, X), y)
    for k, group in enumerate(groups):
        kept = np.delete(np.arange(N), group)
        left = None if y is None else y[kept]
        w = None if weights is None else weights[kept]
        after = losses(estimator, decisions(estimator, X[kept], left, w, X), y)
        assert_allclose(scores[:, k], after - before, rtol=1e-9, atol=1e-9)
    own = explainer.score_influence(X, y)[:, 4]
    assert_allclose(scores[:, 2], own, rtol=1e-9, atol=1e-12)


# -- other kernels and rows -----------------------------------------------------------------------


def test_kernels_that_are_handed_over():
    K = laplace(X, X)
    weights = np.maximum(WEIGHTS, 0.1)
    scores = explained((SVC(kernel=laplace), THREE, weights)).score_influence(X, THREE)
    fitted = SVC(kernel="precomputed").fit(K, THREE, sample_weight=weights)
    explainer = InfluenceExplainer(fitted).fit(K, THREE, sample_weight=weights)
    assert_allclose(explainer.score_influence(K, THREE), scores, rtol=1e-9, atol=1e-11)
    some = explainer.score_groups(K, THREE, groups=[np.array([3])])[:, 0]
    assert_allclose(some, scores[:, 3], rtol=1e-9, atol=1e-11)


def test_weights_of_zero_where_scikit_learn_loses_count():
    for estimator, rows in ((SVC(kernel=laplace), X), (SVC(kernel="precomputed"), laplace(X, X))):
        fitted = estimator.fit(rows, THREE, sample_weight=WEIGHTS)
        with pytest.raises(ValueError, match="reads the wrong columns"):
            InfluenceExplainer(fitted).fit(rows, THREE, sample_weight=WEIGHTS)


def test_sparse_rows():
    rows = sparse.csr_array(np.where(np.abs(X) > 0.5, X, 0.0))
    for estimator in (SVC(gamma=0.3), SVC(kernel="linear"), SVR(gamma=0.3)):
        y = NUMBERS if isinstance(estimator, SVR) else THREE
        dense = InfluenceExplainer(clone(estimator).fit(rows.toarray(), y)).fit(rows.toarray(), y)
        explainer = InfluenceExplainer(clone(estimator).fit(rows, y)).fit(rows, y)
        assert_allclose(
            explainer.score_influence(rows[:9], y[:9]),
            dense.score_influence(rows[:9].toarray(), y[:9]),
            rtol=1e-8,
            atol=1e-11,
        )


def test_the_scale_of_the_kernel_is_held_fixed():
    fitted = SVC().fit(X, TWO)
    gamma = 1.0 / (X.shape[1] * X.var())
    scores = InfluenceExplainer(fitted).fit(X, TWO).score_influence(X, TWO)
    assert_allclose(scores, explained((SVC(gamma=gamma), TWO, None)).score_influence(X, TWO))


def test_rows_far_from_the_origin():
    """Distances lose no digits to a shift that all rows share."""
    far = SVC(gamma=0.3).fit(X + 1e6, TWO)
    scores = InfluenceExplainer(far).fit(X + 1e6, TWO).score_influence(X + 1e6, TWO)
    near = explained((SVC(gamma=0.3), TWO, None)).score_influence(X, TWO)
    assert_allclose(scores, near, rtol=1e-6, atol=1e-8)


def test_weights_are_repetitions():
    times = np.random.default_rng(0).integers(1, 3, size=N)
    copies = np.repeat(np.arange(N), times)
    weighted = InfluenceExplainer(SVC(gamma=0.3).fit(X, TWO, sample_weight=times))
    weighted.fit(X, TWO, sample_weight=times)
    repeated = InfluenceExplainer(SVC(gamma=0.3).fit(X[copies], TWO[copies]))
    repeated.fit(X[copies], TWO[copies])
    groups = [np.flatnonzero(copies == i) for i in range(N)]
    expected = repeated.score_groups(X, TWO, groups=groups)
    assert_allclose(weighted.score_influence(X, TWO), expected, rtol=1e-9, atol=1e-10)


def test_kernel_rows_on_demand(monkeypatch):
    """A matrix that does not fit is not formed, and nothing else changes."""
    case = (SVR(gamma=0.3), NUMBERS, None)
    expected = explained(case).score_influence(X, NUMBERS)
    monkeypatch.setattr(kernel_module, "LEAST_ROWS", 4)
    monkeypatch.setattr(kernel_module._loops, "memory_budget", lambda n=1: 8.0 * N * 20)
    assert_allclose(explained(case).score_influence(X, NUMBERS), expected, rtol=1e-9, atol=1e-12)


def many(n, seed=1):
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(n, 5))
    return A, A[:, 0] + 0.5 * A[:, 1] ** 2 + 0.4 * rng.normal(size=n)


@pytest.mark.parametrize("watched", [100, 0])
@pytest.mark.parametrize(
    "estimator",
    [SVC(), SVC(class_weight="balanced"), SVR(epsilon=0.2), OneClassSVM(nu=0.2), NuSVC(nu=0.4)],
    ids=str,
)
def test_more_rows_than_are_watched(estimator, watched, monkeypatch):
    """What was not watched is looked at in the end, and then on the way too."""
    monkeypatch.setattr(point_module, "WATCHED", watched)
    A, t = many(400)
    y = t if isinstance(estimator, SVR) else (t > 0.5).astype(int)
    fitted = clone(estimator).fit(A, y)
    explainer = InfluenceExplainer(fitted, target="decision_function").fit(A, y)
    deletion = explainer._engine.exact
    (point,), (problem,) = deletion.points, deletion.machine.problems
    assert len(point.near.others) > 30
    for row in range(0, 400, 23):
        assert_optimal(problem, point, np.array([row]))


# -- ties -----------------------------------------------------------------------------------------


def grid(rng):
    return rng.integers(-2, 3, size=(40, 2)).astype(float)


def copies(rng):
    return np.repeat(rng.normal(size=(10, 2)), 4, axis=0)


def line(rng):
    return rng.integers(0, 6, size=(40, 1)).astype(float)


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
@pytest.mark.parametrize("rows", [grid, copies, line])
@pytest.mark.parametrize("seed", range(2))
def test_ties(rows, kernel, seed):
    """Copies, integers and flat kernels: many coefficients are as good, the decision is one."""
    rng = np.random.default_rng(seed)
    A = rows(rng)
    y = (A[:, 0] + rng.normal(size=40) > 0).astype(int)
    y[:6] = [0, 1, 0, 1, 0, 1]
    t = np.round(A[:, 0] + rng.normal(size=40))
    estimators = [(SVC(C=C), y) for C in (1e-3, 1.0, 100.0)]
    estimators += [(SVR(C=1.0, epsilon=e), t) for e in (0.0, 0.5)] + [(OneClassSVM(nu=0.25), None)]
    for estimator, targets in estimators:
        model = clone(estimator).set_params(kernel=kernel, gamma=0.5).fit(A, targets)
        engine = InfluenceExplainer(model, target="decision_function").fit(A, targets)._engine
        deletion = engine.exact
        for point, problem in zip(deletion.points, deletion.machine.problems, strict=True):
            for row in range(0, 40, 3):
                assert_optimal(problem, point, np.array([row]))


def assert_optimal(problem, point, rows):
    """The end of the path satisfies the conditions of optimality of the programme without rows."""
    programme = problem.programme
    motion = problem.motion(rows).spelt_out(programme)
    end = follow(programme, point, motion)
    assert end.complete
    beta = end.beta
    held = np.delete(np.arange(len(beta)), motion.gone)
    assert_array_equal(beta[motion.gone], 0.0)
    K = programme.kernel.rows(np.arange(programme.kernel.n))
    products = K @ programme.on_rows(beta)
    g = products[programme.row] + end.offset[programme.group] - programme.p
    lo = programme.lo + (0.0 if motion.dlo is None else motion.dlo)
    hi = programme.hi + (0.0 if motion.dhi is None else motion.dhi)
    size = hi - lo
    tolerance = 1e-9 * max(1.0, np.abs(products).max())
    assert_allclose(programme.sums(beta), programme.c + motion.dc, atol=1e-9 * size.max())
    above, below = beta - lo, hi - beta
    assert min(above[held].min(), below[held].min()) >= -1e-9 * size.max()
    assert (g[held][below[held] > 1e-9 * size.max()] >= -tolerance).all()
    assert (g[held][above[held] > 1e-9 * size.max()] <= tolerance).all()


def test_without_free_rows_the_offset_is_the_middle():
    """As libsvm has it: all coefficients are at bounds, before and after."""
    A = np.array([[-3.0], [-2.0], [-1.0], [1.0], [2.0], [4.0]])
    y = np.array([0, 0, 0, 1, 1, 1])
    model = SVC(kernel="linear", C=1e-3).fit(A, y)
    explainer = InfluenceExplainer(model, target="decision_function", output=1).fit(A, y)
    assert_allclose(explainer._engine.exact.outputs(A)[:, 0], model.decision_function(A))
    scores = explainer.score_groups(A, groups=[np.array([0, 3]), np.array([1, 5])])
    for k, kept in enumerate(([1, 2, 4, 5], [0, 2, 3, 4])):
        refit = SVC(kernel="linear", C=1e-3).fit(A[kept], y[kept])
        change = refit.decision_function(A) - model.decision_function(A)
        assert_allclose(scores[:, k], change, rtol=1e-9, atol=1e-12)


def test_where_the_last_free_row_ends_on_a_bound_the_offset_is_the_middle():
    """Coefficients of equal boxes often all arrive at bounds when one of them is gone."""
    A = np.linspace(-1.0, 1.0, 6)[:, None]
    y = np.array([0.9, -1.2, 2.0, -2.1, 0.05, 0.4])
    model = SVR(kernel="linear", C=0.5, tol=1e-10)
    scores = InfluenceExplainer(model, target="decision_function").fit(A, y).score_influence(A)
    before = clone(model).fit(A, y).predict(A)
    n_settled = 0
    for row in range(len(A)):
        kept = np.delete(np.arange(len(A)), row)
        refit = clone(model).fit(A[kept], y[kept])
        n_settled += bool(np.all(np.abs(refit.dual_coef_) == refit.C))
        assert_allclose(scores[:, row], refit.predict(A) - before, rtol=1e-6, atol=1e-8)
    assert n_settled > 0


@pytest.mark.parametrize("kernel", ["rbf", "linear"])
def test_a_machine_without_support_vectors(kernel):
    """All targets are inside of the tube, which their extremes hold where it is."""
    A, y = X[:8, :2], np.array([0.1, 0.0, 0.3, 0.2, 0.15, 0.25, 0.05, 0.12])
    model = SVR(kernel=kernel, epsilon=0.4).fit(A, y)
    assert not len(model.support_)
    explainer = InfluenceExplainer(model, target="decision_function").fit(A, y)
    scores = explainer.score_influence(A)
    for row in range(len(A)):
        kept = np.delete(np.arange(len(A)), row)
        change = clone(model).fit(A[kept], y[kept]).predict(A) - model.predict(A)
        assert_allclose(scores[:, row], change, rtol=1e-9, atol=1e-12)
    group = explainer.score_groups(A, groups=[[1, 2]])
    kept = [0, 3, 4, 5, 6, 7]
    change = clone(model).fit(A[kept], y[kept]).predict(A) - model.predict(A)
    assert_allclose(group[:, 0], change, rtol=1e-9, atol=1e-12)


# -- options, refusals and warnings ---------------------------------------------------------------


def test_class_weights_may_be_held_fixed():
    balanced = SVC(gamma=0.3, class_weight="balanced")
    fitted = clone(balanced).fit(X, THREE)
    own = dict(zip(fitted.classes_, fitted.class_weight_, strict=True))
    scores = explained((balanced, THREE, None), class_weights="fixed").score_influence(X, THREE)
    same = explained((SVC(gamma=0.3, class_weight=own), THREE, None)).score_influence(X, THREE)
    assert_allclose(scores, same, rtol=1e-9, atol=1e-12)


def test_validate_refits_and_agrees():
    for case in [
        (SVC(gamma=0.3), THREE, WEIGHTS),
        (SVC(gamma=0.3, class_weight="balanced"), TWO, None),
        (NuSVR(gamma=0.3), NUMBERS, None),
    ]:
        agreement = explained(case).validate(X, case[1], n_refits=5)
        assert agreement.pearson > 1 - 1e-12
        assert agreement.relative_error < 1e-8


def test_the_last_row_of_a_class_is_flagged():
    y = np.array(["a", "b"] * 20 + ["a"] * 4 + ["z"])
    explainer = explained((SVC(gamma=0.3), y, None))
    with pytest.warns(DegenerateDeletionWarning, match="a class has no rows"):
        scores, report = explainer.score_influence(X, y, return_report=True)
    assert_array_equal(report["flagged_rows"], [N - 1])
    assert np.isfinite(scores).all()
    with pytest.raises(ValueError, match="all of a class"):
        explainer.score_groups(X, y, groups=[np.array([N - 1])])


def test_nu_that_no_refit_could_have_is_flagged():
    """A third of the rows are positive, and nu = 2/3 would need that many."""
    explainer = explained((NuSVC(gamma=0.3, nu=0.65), TWO, None))
    with pytest.warns(DegenerateDeletionWarning, match="not determined"):
        _, report = explainer.score_influence(X, TWO, return_report=True)
    assert_array_equal(report["flagged_rows"], np.flatnonzero(TWO == 1))


def test_other_rows_are_refused():
    fitted = SVC(gamma=0.3).fit(X, TWO)
    with pytest.raises(ValueError, match="support vectors that SVC keeps are not among"):
        InfluenceExplainer(fitted).fit(X[::-1], TWO)
    with pytest.raises(ValueError, match="was fitted on 45"):
        InfluenceExplainer(fitted).fit(X[:-1], TWO[:-1])


def test_kernels_with_negative_eigenvalues_are_refused():
    fitted = SVC(kernel="sigmoid", gamma=1.0, coef0=-1.0).fit(X, TWO)
    with pytest.raises(UnsupportedEstimatorError, match="sigmoid kernel has negative eigenvalues"):
        InfluenceExplainer(fitted).fit(X, TWO)


def test_a_kernel_that_is_not_symmetric_is_refused():
    K = X @ X.T + np.triu(np.ones((N, N)), 1)
    with pytest.raises(ValueError, match="not symmetric"):
        InfluenceExplainer(SVC(kernel="precomputed").fit(K, TWO)).fit(K, TWO)


def test_nu_without_a_tube_is_refused():
    fitted = NuSVR(nu=1.0, gamma=3.0, C=100.0).fit(X, NUMBERS)
    with pytest.raises(ValueError, match="tube of width 0"):
        InfluenceExplainer(fitted).fit(X, NUMBERS)


def test_nu_without_a_margin_is_refused():
    y = np.arange(N) % 2  # labels that no line tells apart
    with pytest.raises(ValueError, match="margin of width 0"):
        InfluenceExplainer(NuSVC(kernel="linear", nu=0.2).fit(X, y)).fit(X, y)


def test_deletions_that_leave_no_margin_are_flagged():
    A = np.array([0.5, -0.3, -0.5, -0.2, 2.6, 0.8, 0.9, -0.7])[:, None]
    y = np.repeat([0, 1], 4)
    explainer = InfluenceExplainer(NuSVC(kernel="linear", nu=0.6).fit(A, y)).fit(A, y)
    with pytest.warns(DegenerateDeletionWarning, match="not determined"):
        _, report = explainer.score_influence(A, y, return_report=True)
    # Without each of these, means of 2.1 rows a class can be the same.
    assert_array_equal(report["flagged_rows"], [1, 2, 4])


def test_fits_far_from_the_optimum_are_warned_of():
    fitted = SVR(gamma=0.3, tol=0.5).fit(X, NUMBERS)
    with pytest.warns(NotStationaryWarning, match="not at the optimum of its own objective"):
        explainer = InfluenceExplainer(fitted).fit(X, NUMBERS)
    expected = explained((SVR(gamma=0.3), NUMBERS, None)).score_influence(X, NUMBERS)
    assert_allclose(explainer.score_influence(X, NUMBERS), expected, rtol=1e-9, atol=1e-11)


def test_probabilities_are_refused():
    with pytest.raises(ValueError, match=r"Platt's.*Use target='decision_function'"):
        explained((SVC(gamma=0.3), TWO, None), target="proba")


# Some checks fit on rows of which few are of a class.
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@parametrize_with_checks([InfluenceExplainer(model) for model in (SVC(), SVR(), OneClassSVM())])
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- free variables -------------------------------------------------------------------------------


def test_the_inverse_follows_rows_that_enter_and_leave():
    """From any order of events the system is solved as by a factorisation of its own."""
    rng = np.random.default_rng(0)
    fitted = NuSVC(gamma=0.3, nu=0.35).fit(X, TWO)
    programme = read_machine(fitted, X, TWO, None).problems[0].programme
    free = FreeSet(programme)
    inside: set[int] = set()
    for _ in range(120):
        v = int(rng.integers(N))
        if v in inside:
            free.remove(v)
            inside.remove(v)
        elif v != 5:  # a copy of row 2, which the system may hold once
            free.add(v, *free.combination(v))
            inside.add(v)
        assert set(free.members) == inside
        border = (programme.group[free.members] == free.groups[:, None]).astype(float)
        K = programme.kernel.rows(free.members)[:, free.members]
        none = np.zeros((len(free.groups), len(free.groups)))
        system = np.block([[none, border], [border.T, K]])
        right = rng.normal(size=len(system))
        if len(system):
            assert_allclose(system @ free.solve(right), right, atol=1e-9)
        products = free.products(right[len(free.groups) :])
        expected = programme.kernel.rows(np.arange(N))[:, free.members] @ right[len(free.groups) :]
        assert_allclose(products, expected, atol=1e-12)
    if 2 not in inside:
        free.add(2, *free.combination(2))
    assert free.dependent(5, free.combination(5)[1])

"""Curves of calibrated classifiers without a row, the estimators under them held fixed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn import __version__ as sklearn_version
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    GroupKFold,
    ShuffleSplit,
    StratifiedKFold,
    cross_val_predict,
)
from sklearn.naive_bayes import BernoulliNB, GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skinfluence import InfluenceExplainer
from skinfluence.deletion.closed.calibrators import Sigmoids, Temperature
from skinfluence.exceptions import NotStationaryWarning, UnsupportedEstimatorError
from tests.conftest import import_optional
from tests.test_deletion.exact_cases import CLASSES, COUNTS, NUMBERS, PAIRS, ROWS, WEIGHTS, N
from tests.test_deletion.settled import settled_curves

VERSION = tuple(int(part) for part in sklearn_version.split(".")[:2])
weights_warn = pytest.mark.filterwarnings("ignore:Since .* does not appear to accept:UserWarning")
quiet = 0
both = pytest.mark.parametrize("y", [PAIRS, CLASSES], ids=["two", "three"])


def curves(estimator, X, y, weights=None):
    """Fitted curves over one estimator that is held fixed."""
    weights = np.ones(len(X)) if weights is None else weights
    model = CalibratedClassifierCV(FrozenEstimator(estimator), cv=2, ensemble=False)
    return settled_curves(model.fit(X, y, sample_weight=weights), X, y, weights)


def log_loss(probabilities, y):
    return -np.log(probabilities[np.arange(len(y)), np.searchsorted(np.unique(y), y)])


@weights_warn
@both
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weights"])
def test_each_fold_has_a_curve_of_its_own(y, weights):
    model = CalibratedClassifierCV(
        GaussianNB(), cv=StratifiedKFold(3, shuffle=True, random_state=1)
    )
    model.fit(ROWS, y, sample_weight=weights)
    explainer = InfluenceExplainer(model).fit(ROWS, y, sample_weight=weights)
    assert explainer.method_ == "exact"
    w = np.ones(N) if weights is None else weights
    tests = [test for _, test in model.cv.split(ROWS, y)]

    def loss(gone):
        every = []
        for member, test in zip(model.calibrated_classifiers_, tests, strict=True):
            left = np.setdiff1d(test, gone)
            one = curves(member.estimator, ROWS[left], y[left], w[left])
            every.append(one.predict_proba(ROWS))
        return log_loss(np.mean(every, axis=0), y)

    groups = [[2], [5], [7, 8, 9]]
    found = explainer.score_groups(ROWS, y, groups=groups)
    for g, rows in enumerate(groups):
        assert_allclose(found[:, g], loss(rows) - loss([]), rtol=1e-8, atol=1e-9)
    scores = explainer.score_influence(ROWS, y)
    assert_allclose(scores[:, [2, 5]], found[:, :2], rtol=1e-9, atol=1e-12)
    assert_allclose(explainer.self_influence(), np.diag(scores), rtol=1e-9, atol=1e-12)
    assert explainer.validate(n_refits=4, random_state=0).relative_error < 1e-9
    if weights is not None:
        assert_allclose(scores[:, 5], 0.0, atol=1e-14)  # its weight is 0


@both
def test_one_curve_over_scores_of_folds(y):
    model = CalibratedClassifierCV(LogisticRegression(), cv=3, ensemble=False).fit(ROWS, y)
    scores = cross_val_predict(LogisticRegression(), ROWS, y, cv=3, method="decision_function")
    inner = model.calibrated_classifiers_[0].estimator

    def proba(kept):
        curve = Sigmoids(scores.reshape(N, -1), np.searchsorted(model.classes_, y))
        w = np.zeros(N)
        w[kept] = 1.0
        found = inner.decision_function(ROWS).reshape(N, -1)
        return curve.probabilities(found, curve.fit(w)[0])

    explainer = InfluenceExplainer(model, target="proba").fit(ROWS, y)
    codes = np.searchsorted(model.classes_, y)
    moved = proba(np.delete(np.arange(N), 6)) - proba(np.arange(N))
    assert_allclose(proba(np.arange(N)), model.predict_proba(ROWS), atol=1e-6)
    assert_allclose(
        explainer.score_influence(ROWS, y)[:, 6], moved[np.arange(N), codes], rtol=1e-8, atol=1e-12
    )


@weights_warn
@pytest.mark.parametrize("ensemble", [True, False])
def test_rows_that_are_replaced_stay_in_their_fold(ensemble):
    model = CalibratedClassifierCV(GaussianNB(), cv=3, ensemble=ensemble).fit(ROWS, CLASSES)
    explainer = InfluenceExplainer(model, target="proba", output="a").fit(ROWS, CLASSES)
    new, labels = ROWS[[4]] + 0.5, np.array(["b"])
    found = explainer.score_replacement(new, labels, rows=[6], queries=ROWS)
    splits = list(StratifiedKFold(3).split(ROWS, CLASSES))
    fold = next(f for f, (_, test) in enumerate(splits) if 6 in test)
    X, y = ROWS.copy(), CLASSES.copy()
    X[6], y[6] = new[0], labels[0]
    one = GaussianNB().fit(ROWS[splits[fold][0]], CLASSES[splits[fold][0]])
    if ensemble:
        test = splits[fold][1]
        before = curves(one, ROWS[test], CLASSES[test]).predict_proba(ROWS)[:, 0]
        moved = (curves(one, X[test], y[test]).predict_proba(ROWS)[:, 0] - before) / 3
    else:
        scores = cross_val_predict(GaussianNB(), ROWS, CLASSES, cv=3, method="predict_proba")
        whole, change = model.calibrated_classifiers_[0].estimator.predict_proba(ROWS), []
        for targets in (CLASSES, y):
            curve = Sigmoids(scores, np.searchsorted(model.classes_, targets))
            change.append(curve.probabilities(whole, curve.fit(np.ones(N))[0])[:, 0])
            scores[6] = one.predict_proba(new)[0]
        moved = change[1] - change[0]
    assert_allclose(found[:, 0], moved, rtol=1e-8, atol=1e-10)


@pytest.mark.skipif(VERSION < (1, 8), reason="there is no temperature")
@weights_warn
@both
@pytest.mark.parametrize("base", [LogisticRegression(), GaussianNB()], ids=["logits", "proba"])
def test_temperatures(y, base):
    fixed = FrozenEstimator(base.fit(ROWS[::2], y[::2]))
    model = CalibratedClassifierCV(fixed, method="temperature")
    fitted = model.fit(ROWS, y, sample_weight=WEIGHTS)
    explainer = InfluenceExplainer(fitted).fit(ROWS, y, sample_weight=WEIGHTS)
    scores = explainer.score_influence(ROWS, y)
    before = log_loss(fitted.predict_proba(ROWS), y)
    for i in (0, 4):
        kept = np.delete(np.arange(N), i)
        left = CalibratedClassifierCV(fixed, method="temperature")
        left.fit(ROWS[kept], y[kept], sample_weight=WEIGHTS[kept])
        # scikit-learn finds a minimum by its values, to half of their digits.
        moved = log_loss(left.predict_proba(ROWS), y) - before
        assert_allclose(scores[:, i], moved, rtol=1e-5, atol=1e-6)
    assert explainer.validate(n_refits=4, random_state=0).relative_error < 1e-9


def test_slopes_of_both_curves_vanish():
    rng = np.random.default_rng(0)
    scores, codes = 30.0 * rng.normal(size=(20, 3)) + 100.0, rng.integers(3, size=20)
    weights = rng.uniform(0.1, 3.0, size=20)
    gone = np.array([0, 7])
    for curve in (Sigmoids(scores, codes), Temperature(scores, codes)):
        found = curve.fit(weights, gone)
        for b, i in enumerate(gone):
            left = weights.copy()
            left[i] = 0.0
            assert_allclose(found[b], curve.fit(left)[0], rtol=1e-9, atol=1e-12)
    beta = Temperature(scores, codes).fit(weights)
    p = np.exp(beta[0] * (scores - scores.max(axis=1, keepdims=True)))
    p /= p.sum(axis=1, keepdims=True)
    gaps = (p * scores).sum(axis=1) - scores[np.arange(20), codes]
    assert abs(weights @ gaps) < 1e-9 * (weights @ np.abs(gaps)) or beta[0] <= np.exp(-9.9)


def test_scores_that_do_not_differ():
    codes = np.array([0, 1, 1, 0, 1])
    curve = Sigmoids(np.full((5, 1), 3.0), codes)
    found = curve.probabilities(np.full((2, 1), 3.0), curve.fit(np.ones(5))[0])
    wanted = (3 * 4 / 5 + 2 * 1 / 4) / 5
    assert_allclose(found[:, 1], wanted, rtol=1e-12)


def test_scores_that_hardly_differ():
    """The optimiser stops at once, where its slope is small and its answers are wrong."""
    y = NUMBERS > 0.5
    base = LogisticRegression(fit_intercept=False).fit(ROWS - 2.0, y)

    def curves_over(scale):
        moved = copy.deepcopy(base)
        moved.coef_ = scale * base.coef_
        return CalibratedClassifierCV(FrozenEstimator(moved), cv=2).fit(ROWS, y)

    with pytest.warns(NotStationaryWarning, match="CalibratedClassifierCV is not where its own"):
        found = InfluenceExplainer(curves_over(1e-8)).fit(ROWS, y)
    wanted = InfluenceExplainer(curves_over(1.0)).fit(ROWS, y)
    assert_allclose(found.self_influence(), wanted.self_influence(), rtol=1e-6, atol=1e-8)


@pytest.mark.skipif(VERSION >= (1, 8), reason="cv='prefit' was removed")
@pytest.mark.filterwarnings("ignore:The .cv='prefit'. option is deprecated")
def test_prefit_is_frozen():
    base = LogisticRegression().fit(ROWS[::2], CLASSES[::2])
    prefit = CalibratedClassifierCV(base, cv="prefit").fit(ROWS, CLASSES)
    frozen = CalibratedClassifierCV(FrozenEstimator(base)).fit(ROWS, CLASSES)
    assert_allclose(
        InfluenceExplainer(prefit).fit(ROWS, CLASSES).self_influence(),
        InfluenceExplainer(frozen).fit(ROWS, CLASSES).self_influence(),
        rtol=1e-9,
    )


def test_what_is_around_it_and_sparse_rows():
    model = make_pipeline(StandardScaler(), CalibratedClassifierCV(LogisticRegression(), cv=3))
    explainer = InfluenceExplainer(model).fit(ROWS, CLASSES)
    rows = explainer.estimator_[0].transform(ROWS)
    alone = InfluenceExplainer(explainer.estimator_[1]).fit(rows, CLASSES)
    assert_allclose(explainer.self_influence(), alone.self_influence(), rtol=1e-9)
    whole = alone.validate(n_refits=4, whole_pipeline=True, random_state=0)
    assert 0.2 < whole.pearson < 1 - 1e-6  # estimators under the curves move too
    base = FrozenEstimator(LogisticRegression().fit(COUNTS, CLASSES))
    thin = CalibratedClassifierCV(base).fit(sparse.csr_array(COUNTS), CLASSES)
    dense = CalibratedClassifierCV(base).fit(COUNTS, CLASSES)
    assert_allclose(
        InfluenceExplainer(thin).fit(sparse.csr_array(COUNTS), CLASSES).self_influence(),
        InfluenceExplainer(dense).fit(COUNTS, CLASSES).self_influence(),
        rtol=1e-9,
    )


@pytest.mark.filterwarnings("error::UserWarning")
def test_frames():
    pd = import_optional("pandas")
    frame = pd.DataFrame(ROWS, columns=["u", "v", "w"])
    named = CalibratedClassifierCV(LogisticRegression(), cv=3).fit(frame, CLASSES)
    scores = InfluenceExplainer(named).fit(frame, CLASSES).score_influence(frame[:4], CLASSES[:4])
    model = CalibratedClassifierCV(LogisticRegression(), cv=3).fit(ROWS, CLASSES)
    wanted = InfluenceExplainer(model).fit(ROWS, CLASSES).score_influence(ROWS[:4], CLASSES[:4])
    assert_allclose(scores, wanted, rtol=1e-9)


# -- what is refused ------------------------------------------------------------------------------


def test_refusals():
    isotonic = CalibratedClassifierCV(GaussianNB(), method="isotonic", cv=3)
    with pytest.raises(UnsupportedEstimatorError, match=r"a step function.*Use method='sigmoid'"):
        InfluenceExplainer(isotonic).fit(ROWS, CLASSES)
    shuffled = CalibratedClassifierCV(GaussianNB(), cv=StratifiedKFold(3, shuffle=True))
    with pytest.raises(UnsupportedEstimatorError, match=r"draws others each time.*random_state"):
        InfluenceExplainer(shuffled).fit(ROWS, CLASSES)
    generator = CalibratedClassifierCV(GaussianNB(), cv=StratifiedKFold(3).split(ROWS, CLASSES))
    generator.fit(ROWS, CLASSES)
    with pytest.raises(
        UnsupportedEstimatorError, match="cannot be made again: its cv gives 0 fol"
    ):
        InfluenceExplainer(generator).fit(ROWS, CLASSES)
    grouped = CalibratedClassifierCV(GaussianNB(), cv=3).fit(ROWS, CLASSES)
    grouped.cv = GroupKFold(3)
    with pytest.raises(UnsupportedEstimatorError, match=r"cv needs more \(The 'groups' param"):
        InfluenceExplainer(grouped).fit(ROWS, CLASSES)
    forest = CalibratedClassifierCV(RandomForestClassifier(3), cv=3, ensemble=False)
    with pytest.raises(ValueError, match=r"answers differently.*draws random numbers.*random_st"):
        InfluenceExplainer(forest).fit(ROWS, np.where(NUMBERS > 0, "a", "b"))
    fitted = CalibratedClassifierCV(GaussianNB(), cv=3).fit(ROWS, CLASSES)
    with pytest.raises(ValueError, match="CalibratedClassifierCV answers differently on these"):
        InfluenceExplainer(fitted).fit(ROWS, np.roll(CLASSES, 1))
    late = [(np.flatnonzero(CLASSES != "c"), np.arange(N)), (np.arange(N), np.arange(0, N, 2))]
    some = CalibratedClassifierCV(LogisticRegression(), cv=late).fit(ROWS, CLASSES)
    with pytest.raises(UnsupportedEstimatorError, match=r"has 3 classes.*only saw 2 of them"):
        InfluenceExplainer(some).fit(ROWS, CLASSES)


@pytest.mark.parametrize("base", [RandomForestClassifier(3), BernoulliNB(binarize=2.0)])
def test_scores_that_jump_have_no_slopes(base):
    model = CalibratedClassifierCV(base, cv=3).fit(ROWS, PAIRS)
    explainer = InfluenceExplainer(model).fit(ROWS, PAIRS)
    with pytest.raises(UnsupportedEstimatorError, match=r"curves over scores of \w+, which jump"):
        explainer.perturbation(ROWS[:1], PAIRS[:1])


def test_rows_may_be_in_several_folds_or_none():
    model = CalibratedClassifierCV(GaussianNB(), cv=ShuffleSplit(4, random_state=3, test_size=0.4))
    explainer = InfluenceExplainer(model).fit(ROWS, PAIRS)
    times = np.zeros(N, dtype=int)
    for _, test in explainer.estimator_.cv.split(ROWS):
        times[test] += 1
    scores = explainer.score_influence(ROWS, PAIRS)
    assert 0 < (times == 0).sum() < N
    assert (np.abs(scores).max(axis=0) > 1e-9).tolist() == (times > 0).tolist()

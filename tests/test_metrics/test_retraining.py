"""Removing and relabelling against loops written out."""

import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KernelDensity

from skinfluence.metrics import relabel_curve, removal_curve
from tests.conftest import import_optional


@pytest.fixture
def mislabelled():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 2))
    y_true = np.where(X[:, 0] > 0, "yes", "no")
    wrong = np.arange(60) % 7 == 0
    y = np.where(wrong, np.where(y_true == "yes", "no", "yes"), y_true)
    X_test = rng.normal(size=(200, 2))
    return X, y, y_true, wrong, X_test, np.where(X_test[:, 0] > 0, "yes", "no")


def test_removal_is_that_of_a_loop(mislabelled):
    X, y, _, wrong, X_test, y_test = mislabelled
    score, weights = np.random.default_rng(1).random(60), np.linspace(1, 2, 60)
    curve = removal_curve(
        LogisticRegression(), X, y, {"wrong": wrong, "other": score}, X_test=X_test,
        y_test=y_test, fractions=[0.1, 0, 0.33], sample_weight=weights, n_random=3,
        scoring="neg_log_loss", random_state=0,
    )  # fmt: skip
    assert curve.names == ("wrong", "other")
    assert_array_equal(curve.counts, [6, 0, 20])
    for row, ranking in zip(curve.values, (wrong, score), strict=True):
        for value, count in zip(row, curve.counts, strict=True):
            kept = np.sort(np.argsort(-1.0 * ranking, kind="stable")[count:])
            model = LogisticRegression().fit(X[kept], y[kept], weights[kept])
            proba = model.predict_proba(X_test)
            assert_allclose(value, np.log(proba[y_test[:, None] == model.classes_]).mean())
    assert curve.random_values.shape == (3, 3)
    assert_array_equal(curve.random_values[:, 1], curve.values[0, 1])  # nothing removed yet
    assert len(np.unique(curve.random_values[:, 2])) == 3
    assert curve.values[0, 0] > curve.random_values[:, 0].max()


def test_relabelling_ends_at_the_clean_model(mislabelled):
    X, y, y_true, wrong, X_test, y_test = mislabelled
    curve = relabel_curve(
        LogisticRegression(), X, y, wrong, y_true=y_true, X_test=X_test, y_test=y_test,
        fractions=[0, 0.1, 0.15, 1], n_random=4, random_state=0,
    )  # fmt: skip
    clean = LogisticRegression().fit(X, y_true).score(X_test, y_test)
    assert_allclose(curve.values[0, 2:], clean)  # all 9 wrong rows are among the first 9
    assert_allclose(curve.random_values[:, 3], clean)
    assert_allclose(curve.values[0, 0], LogisticRegression().fit(X, y).score(X_test, y_test))
    partly = np.where(np.isin(np.arange(60), np.flatnonzero(wrong)[:6]), y_true, y)
    part = LogisticRegression().fit(X, partly).score(X_test, y_test)
    assert_allclose(curve.values[0, 1], part)


def test_right_labels_may_be_longer_than_the_wrong_ones(mislabelled):
    X, _, _, _, X_test, _ = mislabelled
    y, y_true = np.where(X[:, 0] > 0, "a", "b"), np.where(X[:, 0] > 0, "a", "longer")
    y_test = np.where(X_test[:, 0] > 0, "a", "longer")
    curve = relabel_curve(
        LogisticRegression(), X, y, X[:, 1], y_true=y_true, X_test=X_test, y_test=y_test,
        fractions=[0, 1], n_random=0,
    )  # fmt: skip
    assert curve.values[0, 0] < 0.6
    assert curve.values[0, 1] > 0.9


def test_one_class_left_is_nan_and_said():
    X, y = np.arange(10.0)[:, None], np.arange(10) < 2
    with pytest.warns(UndefinedMetricWarning, match=r"fractions \[0.2, 0.5\] only one class"):
        curve = removal_curve(
            LogisticRegression(), X, y, y, X_test=X, y_test=y, fractions=[0, 0.1, 0.2, 0.5],
            n_random=0,
        )  # fmt: skip
    assert_array_equal(np.isnan(curve.values[0]), [False, False, True, True])


def test_warnings_point_at_the_caller():
    X, y = np.arange(10.0)[:, None], np.arange(10) < 2
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        removal_curve(LogisticRegression(), X, y, y, X_test=X, y_test=y, fractions=[0.2],
                      n_random=0)  # fmt: skip
    assert [w.filename for w in seen] == [__file__]


def test_densities_and_regressors():
    X = np.random.default_rng(0).normal(size=(20, 1))
    X[0] = 30.0
    curve = removal_curve(KernelDensity(), X, None, X[:, 0], X_test=X[1:], fractions=[0, 0.05],
                          n_random=2, random_state=0)  # fmt: skip
    assert curve.values[0, 1] > curve.values[0, 0]
    y = X[:, 0] * 2
    curve = removal_curve(Ridge(), X, y, y, X_test=X, y_test=y, fractions=[0.5], n_random=0)
    kept = np.argsort(-y)[10:]
    assert_allclose(curve.values[0, 0], Ridge().fit(X[kept], y[kept]).score(X, y))


def test_containers_and_workers_do_not_matter(mislabelled):
    pd = import_optional("pandas")
    X, y, y_true, wrong, X_test, y_test = mislabelled
    options = {"X_test": X_test, "y_test": y_test, "fractions": [0, 0.2], "n_random": 2,
               "random_state": 0}  # fmt: skip
    expected = removal_curve(LogisticRegression(), X, y, wrong, **options)
    frame = pd.DataFrame(X, columns=["a", "b"], index=np.arange(60)[::-1])
    named = {**options, "X_test": pd.DataFrame(X_test, columns=["a", "b"])}
    curve = removal_curve(LogisticRegression(), frame, pd.Series(y), pd.Series(wrong), **named)
    assert_allclose(curve.values, expected.values)
    with joblib.parallel_config(backend="threading"):
        curve = removal_curve(LogisticRegression(), sparse.coo_array(X), y, wrong, n_jobs=2,
                              **options)  # fmt: skip
    assert_allclose(curve.values, expected.values)
    assert_allclose(curve.random_values, expected.random_values)
    relabelled = relabel_curve(LogisticRegression(), frame, pd.Series(y), wrong,
                               y_true=pd.Series(y_true), **named)  # fmt: skip
    assert_allclose(relabelled.values[0, 0], expected.values[0, 0])
    frame = expected.frame()
    assert frame.columns.tolist() == ["score", "random", "random_std"]
    assert_allclose(frame["random"], expected.random_values.mean(axis=0))


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([1.0], {}, r"scores 'score' have shape \(1,\), but there are 10 rows"),
        ({"random": np.zeros(10)}, {}, "The name 'random' is taken"),
        (np.full(10, np.nan), {}, "10 of the scores 'score' are NaN"),
        (np.zeros(10), {"fractions": [1.0]}, "a share of the 10 rows that leaves one"),
        (np.zeros(10), {"fractions": [-0.1]}, "each must be a share"),
    ],
)
def test_refusals(scores, options, message):
    X, y = np.arange(10.0)[:, None], np.arange(10) < 5
    with pytest.raises(ValueError, match=message):
        removal_curve(LogisticRegression(), X, y, scores, X_test=X, y_test=y, **options)

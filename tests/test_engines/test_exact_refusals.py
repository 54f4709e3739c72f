"""Rows without which there is less of a model, and what models with exact deletions refuse."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.kernel_ridge import KernelRidge
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.svm import SVC, NuSVC

from skinfluence import InfluenceExplainer
from skinfluence._compat import QDA_DIVIDES_BY_N
from skinfluence.deletion.closed.families import family_of
from skinfluence.engines import ExactEngine, engine_of
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    UnsupportedEstimatorError,
)
from tests.conftest import import_optional
from tests.test_deletion.exact_cases import (
    CATEGORIES,
    CLASSES,
    COUNTS,
    NUMBERS,
    PAIRS,
    ROWS,
    SEVERAL,
    WEIGHTS,
    N,
)

# -- rows without which there is less of a model --------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (GaussianNB(var_smoothing=0.1), ROWS),
        (GaussianNB(var_smoothing=0.1, priors=[0.2, 0.3, 0.1, 0.4]), ROWS),
        (MultinomialNB(), COUNTS),
        (MultinomialNB(class_prior=[0.2, 0.3, 0.1, 0.4]), COUNTS),
        (BernoulliNB(), COUNTS),
        (CategoricalNB(), CATEGORIES),
        (LinearDiscriminantAnalysis(), ROWS),
        (LinearDiscriminantAnalysis(priors=[0.2, 0.3, 0.1, 0.4]), ROWS),
        (LinearDiscriminantAnalysis("lsqr", priors=[0.2, 0.3, 0.1, 0.4]), ROWS),
        (LinearDiscriminantAnalysis("lsqr", shrinkage=0.5), ROWS),
        (NearestCentroid(), ROWS),
        (NearestCentroid(priors=[0.2, 0.3, 0.1, 0.4]), ROWS),
    ],
    ids=lambda value: str(value) if not isinstance(value, np.ndarray) else f"{value.shape[1]}",
)
def test_the_last_row_of_a_class(estimator, X):
    y = CLASSES.astype("U5")
    y[6] = "alone"  # between the others in order: "a", "alone", "b", "c"
    model = estimator.fit(X, y)
    explainer = InfluenceExplainer(model).fit(X, y)
    match = r"Without some rows \(1 of 45: 6\).*without that class"
    with pytest.warns(DegenerateDeletionWarning, match=match):
        scores = explainer.score_influence(X, y)
    with pytest.warns(DegenerateDeletionWarning):
        own = explainer.self_influence()
    assert own[6] == scores[6, 6] == np.inf
    kept = np.delete(np.arange(N), 6)
    left = clone(model)
    name = "priors" if hasattr(left, "priors") else "class_prior"
    if getattr(left, name) is not None and not isinstance(getattr(left, name), str):
        left.set_params(**{name: [0.2 / 0.7, 0.1 / 0.7, 0.4 / 0.7]})
    left.fit(X[kept], y[kept])
    codes = np.searchsorted(left.classes_, y[kept])
    after = -left.predict_log_proba(X[kept])[np.arange(N - 1), codes]
    codes = np.searchsorted(model.classes_, y[kept])
    before = -model.predict_log_proba(X[kept])[np.arange(N - 1), codes]
    assert_allclose(scores[kept, 6], after - before, rtol=1e-8, atol=1e-9)


def test_a_class_of_few_rows_has_no_covariance_without_one():
    y = CLASSES.astype("U5")
    y[[6, 8, 20]] = "few"
    model = QuadraticDiscriminantAnalysis(reg_param=0.5).fit(ROWS, y)
    explainer = InfluenceExplainer(model).fit(ROWS, y)
    with pytest.warns(DegenerateDeletionWarning, match=r"3 of 45: 6, 8, 20"):
        scores = explainer.score_influence(ROWS, y)
    own = scores[np.ix_([6, 8, 20], [6, 8, 20])]
    # Releases of scikit-learn that divide by n - 1 still fit a class of fewer rows than columns.
    assert np.isposinf(own).all() if QDA_DIVIDES_BY_N else np.isfinite(own).all()
    assert np.isfinite(np.delete(scores, [6, 8, 20], axis=0)).all()


def test_rows_that_hold_a_direction_alone():
    X = np.hstack([ROWS, np.zeros((N, 1))])
    X[7, 3] = 1.0
    model = EmpiricalCovariance().fit(X)
    explainer = InfluenceExplainer(model).fit(X)
    with pytest.warns(DegenerateDeletionWarning, match=r"1 of 45: 7"):
        scores = explainer.score_influence(X[:9])
    assert np.isfinite(np.delete(scores, 7, axis=1)).all()
    assert np.isposinf(scores[:, 7]).all()  # what is left has no density
    lda = InfluenceExplainer(LinearDiscriminantAnalysis()).fit(X, CLASSES)
    kept = np.delete(np.arange(N), 7)
    left = LinearDiscriminantAnalysis().fit(X[kept], CLASSES[kept])
    with pytest.warns(DegenerateDeletionWarning, match=r"1 of 45: 7"):
        scores = lda.score_influence(ROWS_AND_NOTHING, CLASSES)
    codes = np.searchsorted(left.classes_, CLASSES)
    at = np.arange(N), codes
    change = lda.estimator_.predict_log_proba(ROWS_AND_NOTHING)[at]
    change -= left.predict_log_proba(ROWS_AND_NOTHING)[at]
    assert_allclose(scores[:, 7], change, rtol=1e-8, atol=1e-9)


ROWS_AND_NOTHING = np.hstack([ROWS, np.zeros((N, 1))])


def test_more_columns_than_rows_are_refitted():
    X = np.random.default_rng(0).normal(size=(20, 30))
    y = np.arange(20) % 2
    explainer = InfluenceExplainer(LinearDiscriminantAnalysis("lsqr", tol=1e-4)).fit(X, y)
    assert explainer.method_ == "refit"


# -- refusals -------------------------------------------------------------------------------------


def test_dispatch():
    assert engine_of(GaussianNB()) is ExactEngine
    with pytest.raises(
        UnsupportedEstimatorError, match=r"RandomForest.*is no estimator whose del"
    ):
        family_of(type("RandomForest", (), {})())


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "newton"}, "method='newton' approximates a deletion.*method='refit'"),
        ({"method": "first_order"}, "those of GaussianNB are exact"),
        ({"hessian": "expected"}, "hessian='expected' is about derivatives.*hessian='observed'"),
        ({"solver": "cg"}, "solver='cg' is about derivatives of a loss"),
        ({"damping": 0.1}, "damping=0.1 is about derivatives"),
        ({"relative": "loss"}, "relative='loss' is about derivatives.*Leave relative=None"),
        ({"smoothing": 0.1}, "smoothing=0.1 is about"),
        ({"class_weights": "fixed"}, "class_weights='fixed' is about"),
        ({"target": "odds"}, "target='odds' is none of 'loss', 'decision_function' and 'proba'"),
        ({"target": "decision_function"}, "asks for what GaussianNB does not have.*'proba' or"),
        ({"output": "z", "target": "proba"}, r"output='z' is none of the 3 classes \(a, b, c\)"),
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(options, match):
    with pytest.raises(ValueError, match=match):
        InfluenceExplainer(GaussianNB(), **options).fit(ROWS, CLASSES)


def test_targets_that_are_not_there():
    with pytest.raises(UnsupportedEstimatorError, match="target='params' is about parameters"):
        InfluenceExplainer(GaussianNB(), target="params").fit(ROWS, CLASSES)
    with pytest.raises(
        ValueError, match=r"target='proba' needs probabilities.*KernelRidge has not"
    ):
        InfluenceExplainer(KernelRidge(), target="proba").fit(ROWS, NUMBERS)
    with pytest.raises(ValueError, match=r"what PCA does not have. Use target='loss'"):
        InfluenceExplainer(PCA(1), target="decision_function").fit(ROWS)
    explainer = InfluenceExplainer(GaussianNB()).fit(ROWS, CLASSES)
    with pytest.raises(ValueError, match=r"target='loss' measures the loss.*Pass y"):
        explainer.score_influence(ROWS)
    with pytest.raises(ValueError, match="X is None, which asks about parameters"):
        explainer.score_influence(None)
    with pytest.raises(ValueError, match=r"retrain= trains a network.*GaussianNB is refitted"):
        explainer.validate(retrain=len)
    lists = InfluenceExplainer(KernelRidge()).fit(ROWS, SEVERAL)
    with pytest.raises(ValueError, match="y has 1 targets a row, and the model was fitted on 2"):
        lists.score_influence(ROWS, NUMBERS)
    bad = InfluenceExplainer(GaussianNB(), target=lambda outputs, y: outputs)
    with pytest.raises(ValueError, match=r"returned values of shape.*one number a row"):
        bad.fit(ROWS, CLASSES)


@pytest.mark.parametrize(
    "ask",
    [
        lambda explainer: explainer.d_params(),
        lambda explainer: explainer.diagnostics(),
        lambda explainer: explainer.train_embedding(),
        lambda explainer: explainer.get_feature_names_out(),
    ],
)
def test_questions_about_parameters_are_refused(ask):
    explainer = InfluenceExplainer(GaussianNB()).fit(ROWS, CLASSES)
    match = "is about parameters and derivatives, and GaussianNB is followed by what it answers"
    with pytest.raises(UnsupportedEstimatorError, match=match):
        ask(explainer)


def test_rows_that_did_not_train_it():
    for model, y in (
        (GaussianNB().fit(ROWS, CLASSES), CLASSES),
        (KernelRidge(kernel="rbf").fit(ROWS, NUMBERS), NUMBERS),
        (KNeighborsRegressor().fit(ROWS, NUMBERS), NUMBERS),
    ):
        with pytest.raises(ValueError, match=f"{type(model).__name__} answers differently"):
            InfluenceExplainer(model).fit(ROWS[::-1] + 0.1, y)
    with pytest.raises(ValueError, match="contains NaN"):
        InfluenceExplainer(GaussianNB()).fit(np.where(ROWS > 3, np.nan, ROWS), CLASSES)


def test_what_families_refuse():
    with pytest.raises(ValueError, match=r"sample_weight was passed, and LinearDisc.*no weights"):
        model = LinearDiscriminantAnalysis().fit(ROWS, CLASSES)
        InfluenceExplainer(model).fit(ROWS, CLASSES, sample_weight=WEIGHTS)
    with pytest.raises(ValueError, match=r"MultinomialNB has alpha=0.*Use alpha > 0"):
        InfluenceExplainer(MultinomialNB(alpha=0)).fit(COUNTS, CLASSES)
    with pytest.raises(ValueError, match=r"alpha is singular.*Raise alpha"):
        X = np.vstack([ROWS, ROWS])
        InfluenceExplainer(KernelRidge(alpha=0)).fit(X, np.tile(NUMBERS, 2))
    for density in (EmpiricalCovariance(), PCA()):
        with pytest.raises(ValueError, match=r"covariance of \w+ is singular.*or shrink"):
            InfluenceExplainer(density).fit(np.hstack([ROWS, ROWS]))
    with pytest.raises(UnsupportedEstimatorError, match='metric="precomputed"'):
        InfluenceExplainer(KNeighborsRegressor(metric="precomputed")).fit(ROWS, NUMBERS)
    with pytest.raises(UnsupportedEstimatorError, match="fitted on 2 targets a row"):
        InfluenceExplainer(KNeighborsClassifier()).fit(ROWS, np.column_stack([PAIRS, PAIRS]))
    with pytest.raises(ValueError, match="leaves fewer than n_neighbors = 45 neighbours"):
        InfluenceExplainer(KNeighborsRegressor(N)).fit(ROWS, NUMBERS)
    with pytest.raises(UnsupportedEstimatorError, match="metric='manhattan', and with it neither"):
        InfluenceExplainer(NearestCentroid(metric="manhattan")).fit(ROWS, CLASSES)
    explainer = InfluenceExplainer(CategoricalNB()).fit(CATEGORIES, CLASSES)
    with pytest.raises(ValueError, match="a category that no training row had"):
        explainer.score_influence(CATEGORIES + 9, CLASSES)

    class Own(GaussianNB):
        def fit(self, X, y, sample_weight=None):
            return super().fit(X, y, sample_weight)

    with pytest.raises(UnsupportedEstimatorError, match="Own overrides the fit of GaussianNB"):
        InfluenceExplainer(Own()).fit(ROWS, CLASSES)
    with pytest.raises(ValueError, match="holds all that carry weight, or all of a class"):
        InfluenceExplainer(GaussianNB()).fit(ROWS, CLASSES).score_groups(groups=CLASSES)


def test_there_is_no_embedding():
    explainer = InfluenceExplainer(GaussianNB()).fit(ROWS, CLASSES)
    assert not hasattr(explainer, "transform")
    with pytest.raises(AttributeError, match="has no attribute 'transform'") as caught:
        explainer.transform(ROWS)
    assert "the deletions of GaussianNB are exact without any" in str(caught.value.__cause__)


def test_margins_below_the_tolerance_are_named():
    labels = np.random.default_rng(0).integers(0, 2, len(ROWS))
    loose = NuSVC(nu=0.05).fit(ROWS, labels)
    with pytest.raises(ValueError, match=r"margin of NuSVC .* less than its tol=0.001.*larger nu"):
        InfluenceExplainer(loose).fit(ROWS, labels)
    tight = NuSVC(nu=0.05, tol=1e-9).fit(ROWS, labels)
    found = InfluenceExplainer(tight).fit(ROWS, labels).validate(n_refits=4, random_state=0)
    assert found.relative_error < 1e-8


@pytest.mark.parametrize(
    "estimator",
    [PCA(2), KernelRidge(), GaussianNB(), KNeighborsClassifier(), SVC()],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("error:X does not have valid feature names")
def test_frames_are_read_in_silence(estimator):
    pandas = import_optional("pandas")
    frame = pandas.DataFrame(ROWS).rename(columns="x{}".format)
    y = NUMBERS if isinstance(estimator, KernelRidge) else CLASSES
    model = estimator.fit(frame, y)
    explainer = InfluenceExplainer(model).fit(frame, y)
    assert list(explainer.feature_names_in_) == list(frame.columns)
    assert np.isfinite(explainer.score_influence(frame[:2], y[:2])).all()
    explainer.validate(n_refits=2, random_state=0)
    assert list(model.feature_names_in_) == list(frame.columns)

"""What readers refuse, and how the registry finds them."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import (
    ElasticNet,
    GammaRegressor,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    MultiTaskLasso,
    PoissonRegressor,
    QuantileRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.multioutput import MultiOutputRegressor
from sklearn.svm import SVC, LinearSVC, LinearSVR

from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import LinearFit, Reader, Rows, reader_of, register, registered
from skinfluence.objectives.losses import Hinge, Pinball
from skinfluence.objectives.search import without_search
from tests.test_objectives.cases import CASES, fitted
from tests.test_objectives.data import quiet

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3))
REAL = X[:, 0] + RNG.normal(size=40)
LABELS = np.where(REAL > 0, "b", "a")
CLASSES = np.digitize(REAL, [-0.5, 0.5])


def read(estimator, y, **options):
    estimator.fit(X, y)
    reader = reader_of(estimator)
    reader.check(estimator)
    return reader.read(estimator, Rows(X, y, np.ones(len(X)), **options))


def encode(estimator, y):
    return reader_of(estimator).encode(estimator, y)


def test_every_registered_estimator_has_a_case():
    tested = {type(case.estimator) for case in CASES}
    assert set(registered()) <= tested


def test_a_subclass_that_keeps_fit_is_read_as_its_parent():
    class MyRidge(Ridge):
        pass

    assert reader_of(MyRidge()) is reader_of(Ridge())


def test_a_subclass_that_overrides_fit_is_refused():
    class MyRidge(Ridge):
        def fit(self, X, y, sample_weight=None):
            return super().fit(X, 2.0 * y, sample_weight)

    with pytest.raises(UnsupportedEstimatorError, match="MyRidge overrides the fit of Ridge"):
        reader_of(MyRidge())


@pytest.mark.parametrize("estimator", [SVC(), object()], ids=lambda e: type(e).__name__)
def test_an_estimator_without_a_reader_is_refused_by_name(estimator):
    name = type(estimator).__name__
    with pytest.raises(UnsupportedEstimatorError, match=f"{name} is no estimator.*Ridge"):
        reader_of(estimator)


def test_a_reader_of_ones_own_is_found(monkeypatch):
    class Tripled(LinearRegression):
        def fit(self, X, y, sample_weight=None):
            return super().fit(X, 3.0 * y, sample_weight)

    class TripledReader(Reader):
        estimators = (Tripled,)

        def encode(self, estimator, y):
            return reader_of(LinearRegression()).encode(estimator, 3.0 * y)

        def read(self, estimator, rows):
            inner = Rows(rows.X, 3.0 * rows.y, rows.sample_weight)
            return reader_of(LinearRegression()).read(estimator, inner)

    monkeypatch.setattr("skinfluence.objectives.registry._READERS", registered())
    register(TripledReader())
    fit = read(Tripled(), REAL)
    assert isinstance(fit, LinearFit)
    assert_allclose(fit.problems[0].y, 3.0 * REAL, rtol=1e-15)


CLASSIFIERS = [
    LogisticRegression(),
    RidgeClassifier(),
    LinearSVC(),
    SGDClassifier(random_state=0),
    SGDClassifier("log_loss", random_state=0),
]


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=str)
@pytest.mark.parametrize("y, unseen", [(LABELS, "zebra"), (CLASSES, 7)])
def test_labels_that_training_did_not_see_are_refused(estimator, y, unseen):
    read(estimator, y)
    with pytest.raises(ValueError, match=rf"y holds '?{unseen}'?, which is none of the . labels"):
        encode(estimator, np.array([y[0], unseen]))


REGRESSORS = [
    LinearRegression(),
    PoissonRegressor(),
    ElasticNet(),
    HuberRegressor(),
    LinearSVR(),
    QuantileRegressor(),
    SGDRegressor(random_state=0),
]


@pytest.mark.parametrize("estimator", REGRESSORS, ids=str)
def test_the_wrong_number_of_targets_is_refused(estimator):
    read(estimator, np.abs(REAL))
    assert len(encode(estimator, np.abs(REAL[:3, None]))[0]) == 3
    with pytest.raises(ValueError, match="y has 2 columns, and the estimator was fitted on 1"):
        encode(estimator, np.ones((3, 2)))


def test_one_column_for_several_targets_is_refused():
    estimator = MultiTaskLasso()
    read(estimator, np.column_stack([REAL, REAL]))
    with pytest.raises(ValueError, match="y has 1 columns, and the estimator was fitted on 2"):
        encode(estimator, REAL)


@pytest.mark.parametrize(
    "estimator, bad, condition",
    [(PoissonRegressor(), -1.0, "at least 0"), (GammaRegressor(), 0.0, "positive")],
)
def test_targets_outside_the_domain_of_a_deviance_are_refused(estimator, bad, condition):
    read(estimator, np.abs(REAL) + 0.1)
    with pytest.raises(
        ValueError, match=f"y holds {bad:g}, and .* takes targets that are {condition}"
    ):
        encode(estimator, np.array([1.0, bad]))


def test_labels_of_another_shape_are_refused():
    estimator = RidgeClassifier()
    read(estimator, np.column_stack([REAL > 0, REAL > 1]).astype(int))
    with pytest.raises(ValueError, match=r"y has shape \(3, 1\), and .* rows of 2 labels"):
        encode(estimator, np.ones((3, 1)))


@pytest.mark.parametrize(
    "estimator, message",
    [
        (LogisticRegressionCV(refit=False), "averages the coefficients of its folds"),
        (LinearSVC(multi_class="crammer_singer"), "largest difference of two outputs"),
        (SGDClassifier("perceptron"), "is 0 at coefficients 0"),
        (SGDClassifier(early_stopping=True), r"SGDClassifier\(early_stopping=True\) holds out"),
        (SGDRegressor(early_stopping=True), r"SGDRegressor\(early_stopping=True\) holds out"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_options_without_an_objective_are_refused_before_any_work(estimator, message):
    with pytest.raises(UnsupportedEstimatorError, match=message):
        reader_of(estimator).check(estimator)


@pytest.mark.parametrize("option", ["ovr", "multinomial"])
def test_the_removed_multi_class_is_refused(option):
    estimator = LogisticRegression()
    estimator.multi_class = option  # a parameter up to scikit-learn 1.7
    with pytest.raises(UnsupportedEstimatorError, match=f"multi_class='{option}' is not read"):
        reader_of(estimator).check(estimator)


def test_liblinear_with_several_classes_is_refused():
    estimator = LogisticRegression().fit(X, CLASSES)
    estimator.solver = "liblinear"  # scikit-learn up to 1.7 fits this
    with pytest.raises(UnsupportedEstimatorError, match="liblinear fitted 3 classes one against"):
        reader_of(estimator).read(estimator, Rows(X, CLASSES, np.ones(len(X))))


def test_another_penalty_for_each_class_is_refused():
    estimator = LogisticRegression().fit(X, CLASSES)
    estimator.C_ = np.array([1.0, 2.0, 1.0])  # as LogisticRegressionCV could choose one a class
    with pytest.raises(UnsupportedEstimatorError, match="another penalty for each class"):
        reader_of(estimator).read(estimator, Rows(X, CLASSES, np.ones(len(X))))


@pytest.mark.parametrize(
    "penalty, strengths",
    [("l2", (0.5, 0.0)), ("l1", (0.0, 0.5)), ("elasticnet", (0.4, 0.1)), (None, (0.0, 0.0))],
)
def test_the_older_names_of_penalties_are_read(penalty, strengths):
    estimator = LogisticRegression(C=2.0).fit(X, CLASSES)
    estimator.penalty, estimator.l1_ratio = penalty, 0.2
    fit = reader_of(estimator).read(estimator, Rows(X, CLASSES, np.ones(len(X))))
    assert_allclose((fit.problems[0].l2, fit.problems[0].l1), strengths, rtol=1e-15)


@pytest.mark.parametrize("kind", [RidgeClassifier, RidgeClassifierCV])
def test_class_weights_of_several_labels_are_refused(kind):
    labels = np.column_stack([REAL > 0, REAL > 1]).astype(int)
    with pytest.raises(UnsupportedEstimatorError, match="product of their class weights"):
        read(kind(class_weight="balanced"), labels)


def test_smoothing_follows_the_option_and_the_units_of_the_targets():
    given = read(LinearSVC(loss="hinge"), LABELS, smoothing=0.2).problems[0].loss
    assert isinstance(given, Hinge)
    assert given.temperature == 0.2
    assert read(LinearSVC(loss="hinge"), LABELS).problems[0].loss.temperature == 0.01
    once = read(LinearSVR(), REAL).problems[0].loss.temperature
    assert_allclose(once, 0.01 * REAL.std(), rtol=1e-13)
    assert_allclose(
        read(LinearSVR(), 7.0 * REAL).problems[0].loss.temperature, 7.0 * once, rtol=1e-13
    )


def test_a_linear_programme_is_marked_unless_it_is_smoothed():
    fit = read(QuantileRegressor(quantile=0.3), REAL)
    assert fit.linear_programme
    assert fit.problems[0].loss.temperature == 0
    smoothed = read(QuantileRegressor(quantile=0.3), REAL, smoothing=0.1)
    assert not smoothed.linear_programme
    assert isinstance(smoothed.problems[0].loss, Pinball)
    assert not read(Lasso(), REAL).linear_programme


SEARCHES = [case for case in CASES if "CV" in type(case.estimator).__name__]


@pytest.mark.parametrize("case", SEARCHES, ids=str)
def test_a_search_without_its_search_fits_the_same(case):
    estimator, data, _, _ = fitted(case)
    weights = {} if data.sample_weight is None else {"sample_weight": data.sample_weight}
    with quiet():
        held = without_search(estimator).fit(data.X, data.y, **weights)
    assert "CV" not in type(held).__name__
    scale = np.abs(estimator.coef_).max()
    assert_allclose(held.coef_, estimator.coef_, rtol=0, atol=1e-4 * scale)


def test_another_number_of_columns_is_refused():
    estimator = MultiOutputRegressor(Ridge())
    read(estimator, np.column_stack([REAL, REAL]))
    with pytest.raises(ValueError, match="y has 3 columns, and the estimator was fitted on 2"):
        encode(estimator, np.ones((4, 3)))

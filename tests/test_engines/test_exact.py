"""Every question that InfluenceExplainer answers, asked of models whose deletions are exact."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import __version__ as sklearn_version
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import ARDRegression
from sklearn.model_selection import GridSearchCV
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import has_fit_parameter

from skinfluence import InfluenceExplainer, objectives
from skinfluence.deletion.closed.families import registered
from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)
from skinfluence.testing import check_explainer, explainer_checks
from tests.conftest import import_optional
from tests.test_deletion.exact_cases import (
    APART,
    CASES,
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

# One case a family: what holds for the engine needs no more.
SOME = list({type(case.estimator): case for case in CASES}.values())
some = pytest.mark.parametrize("case", SOME, ids=lambda case: type(case.estimator).__name__)


def explained(case, **options):
    explainer = InfluenceExplainer(clone(case.estimator), **options)
    return explainer.fit(case.X, case.y, sample_weight=case.weights)


def refitted(case, rows):
    return case.fit(np.delete(np.arange(N), rows), case.fit())


# -- laws -----------------------------------------------------------------------------------------


def test_no_model_has_two_engines():
    assert not set(registered()) & set(objectives.registered())


def test_every_family_has_cases():
    closed = {
        estimator
        for estimator, family in registered().items()
        if type(family).__module__.startswith("skinfluence.deletion.closed")
    }
    assert closed == {type(case.estimator) for case in CASES}


@some
def test_validation_finds_them_exact(case):
    agreement = explained(case).validate(n_refits=12, random_state=0)
    assert agreement.pearson > 1 - 1e-9
    assert agreement.slope == pytest.approx(1.0, abs=1e-7)


@some
def test_groups_are_refits_without_them(case):
    explainer = explained(case)
    groups = [[3, 4, 8], [11], []]
    scores = explainer.score_groups(case.X, case.y, groups=groups)
    before = case.loss(case.fit())
    for g, rows in enumerate(groups):
        kept = np.delete(np.arange(N), rows)
        after = case.loss(case.fit(kept, case.fit()), kept)
        finite = np.isfinite(before) & np.isfinite(after)
        assert_allclose(scores[finite, g], (after - before)[finite], rtol=1e-7, atol=1e-8)
    own = explainer.score_groups(groups=groups)
    assert_allclose(own[0], scores[groups[0], 0].sum(), rtol=1e-9)
    assert own[2] == 0.0


@some
def test_blocks_and_threads_do_not_matter(case, monkeypatch):
    from skinfluence.deletion.closed import base

    explainer = explained(case)
    whole = explainer.score_influence(case.X, case.y)
    explainer.set_params(n_jobs=2)
    assert_allclose(
        explainer.score_influence(case.X[:7], None if case.y is None else case.y[:7]),
        whole[:7],
        rtol=1e-10,
        atol=1e-12,
    )
    monkeypatch.setattr(base, "ROWS", 7)
    again = explained(case)
    assert_allclose(again.score_influence(case.X, case.y), whole, rtol=1e-10, atol=1e-12)
    assert_allclose(
        again.self_influence([5, 2, 2]), np.diag(whole)[[5, 2, 2]], rtol=1e-8, atol=1e-10
    )
    total = again.score_influence(case.X, case.y, reduce="sum")
    assert_allclose(total, whole.sum(axis=0), rtol=1e-8, atol=1e-9)


@some
def test_pickling(case):
    explainer = explained(case)
    copy = pickle.loads(pickle.dumps(explainer))
    assert_array_equal(copy.self_influence(), explainer.self_influence())


def first_output(outputs, y):
    return outputs[:, 0]


@pytest.mark.parametrize("target", ["loss", first_output], ids=["loss", "function"])
@pytest.mark.parametrize("method", ["auto", "first_order"])
def test_pickling_of_targets(target, method):
    explainer = InfluenceExplainer(SVC(), method=method, target=target).fit(ROWS, PAIRS)
    copy = pickle.loads(pickle.dumps(explainer))
    assert_array_equal(copy.score_influence(ROWS, PAIRS), explainer.score_influence(ROWS, PAIRS))


@pytest.mark.parametrize(
    ("estimator", "X", "y"),
    [
        (GaussianNB(var_smoothing=0.0), ROWS, CLASSES),
        (MultinomialNB(), COUNTS, CLASSES),
        (BernoulliNB(), COUNTS, CLASSES),
        (CategoricalNB(), CATEGORIES, CLASSES),
        (KernelRidge(kernel="rbf"), ROWS, NUMBERS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_weights_are_repetitions(estimator, X, y):
    times = 1 + np.arange(N) % 3
    weighted = InfluenceExplainer(clone(estimator)).fit(X, y, sample_weight=times)
    repeated = np.repeat(np.arange(N), times)
    rows = InfluenceExplainer(clone(estimator)).fit(X[repeated], y[repeated])
    # A row of weight 1 goes in both alike, and one of weight w with all its copies.
    wanted = np.flatnonzero(times == 1)
    first = np.searchsorted(repeated, wanted)
    assert_allclose(
        weighted.score_influence(X, y)[:, wanted],
        rows.score_influence(X, y)[:, first],
        rtol=1e-8,
        atol=1e-10,
    )
    copies = [np.flatnonzero(repeated == i) for i in (2, 5)]
    assert_allclose(
        weighted.score_influence(X, y)[:, [2, 5]],
        rows.score_groups(X, y, groups=copies),
        rtol=1e-8,
        atol=1e-10,
    )


@pytest.mark.parametrize(
    ("estimator", "y"),
    [
        (KernelRidge(kernel="rbf"), SEVERAL),
        (KNeighborsClassifier(3, algorithm="brute"), CLASSES),
        (KNeighborsRegressor(3, weights="distance", algorithm="brute"), NUMBERS),
    ],
)
def test_sparse_rows_of_kernels_and_neighbours(estimator, y):
    rows = np.where(APART > 1.5, APART, 0.0) + np.array([0.0, 0.0, 1.0]) * APART
    dense = InfluenceExplainer(clone(estimator)).fit(rows, y)
    thin = InfluenceExplainer(clone(estimator)).fit(sparse.csr_array(rows), y)
    assert_allclose(
        thin.score_influence(sparse.csr_array(rows[:9]), y[:9]),
        dense.score_influence(rows[:9], y[:9]),
        rtol=1e-6,  # distances of scikit-learn's are rounded otherwise
        atol=1e-9,
    )
    assert_allclose(thin.self_influence(), dense.self_influence(), rtol=1e-6, atol=1e-9)


def test_a_fit_that_did_not_come_to_rest():
    X = np.vander(np.linspace(-1.0, 1.0, N), 8)
    loose = ARDRegression(max_iter=2).fit(X, NUMBERS)
    with pytest.warns(NotStationaryWarning, match="ARDRegression is not where its own iteration"):
        InfluenceExplainer(loose).fit(X, NUMBERS)


def test_processes_of_pairs_of_classes_are_refused():
    pairs = GaussianProcessClassifier(multi_class="one_vs_one")
    with pytest.raises(UnsupportedEstimatorError, match=r"3 classes.*votes of pairs are no prob"):
        InfluenceExplainer(pairs).fit(ROWS, CLASSES)


def test_processes_of_three_classes_keep_a_kernel_each():
    model = GaussianProcessClassifier(RBF(1.0)).fit(ROWS[:30], CLASSES[:30])
    explainer = InfluenceExplainer(model, target="proba", output="b").fit(ROWS[:30], CLASSES[:30])
    after = np.empty((30, 3))
    for k, label in enumerate(model.classes_):
        one = GaussianProcessClassifier(model.kernel_.kernels[k], optimizer=None)
        one.fit(ROWS[1:30], CLASSES[1:30] == label)
        after[:, k] = one.predict_proba(ROWS[:30])[:, 1]
    after /= after.sum(axis=1, keepdims=True)
    moved = after[:, 1] - model.predict_proba(ROWS[:30])[:, 1]
    assert_allclose(explainer.score_influence(ROWS[:30])[:, 0], moved, rtol=1e-9, atol=1e-11)


def test_sparse_rows():
    for estimator in (MultinomialNB(), BernoulliNB(), BernoulliNB(binarize=1.0)):
        dense = InfluenceExplainer(clone(estimator)).fit(COUNTS, CLASSES, sample_weight=WEIGHTS)
        rows = sparse.csr_array(COUNTS)
        thin = InfluenceExplainer(clone(estimator)).fit(rows, CLASSES, sample_weight=WEIGHTS)
        assert thin.method_ == "exact"
        for queries in (rows[:9], COUNTS[:9]):
            assert_allclose(
                thin.score_influence(queries, CLASSES[:9]),
                dense.score_influence(COUNTS[:9], CLASSES[:9]),
                rtol=1e-10,
                atol=1e-13,
            )
        assert_allclose(thin.self_influence(), dense.self_influence(), rtol=1e-10, atol=1e-13)


# -- targets --------------------------------------------------------------------------------------


@pytest.mark.parametrize("y", [CLASSES, PAIRS], ids=["three", "two"])
@pytest.mark.parametrize("solver", ["svd", "lsqr"])
def test_decisions_of_discriminants(y, solver):
    model = LinearDiscriminantAnalysis(solver=solver).fit(ROWS, y)
    explainer = InfluenceExplainer(model, target="decision_function", output=y[0]).fit(ROWS, y)
    scores = explainer.score_influence(ROWS)
    kept = np.delete(np.arange(N), 8)
    left = clone(model).fit(ROWS[kept], y[kept])
    moved = left.decision_function(ROWS) - model.decision_function(ROWS)
    k = np.flatnonzero(model.classes_ == y[0])[0]
    moved = moved[:, k] if moved.ndim == 2 else (2 * k - 1) * moved
    assert_allclose(scores[:, 8], moved, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("estimator", [GaussianNB(), KNeighborsClassifier(4)])
def test_probabilities(estimator):
    model = estimator.fit(ROWS, CLASSES)
    kept = np.delete(np.arange(N), 8)
    moved = clone(model).fit(ROWS[kept], CLASSES[kept]).predict_proba(ROWS[:6])
    moved -= model.predict_proba(ROWS[:6])
    explainer = InfluenceExplainer(model, target="proba").fit(ROWS, CLASSES)
    predicted = model.predict_proba(ROWS[:6]).argmax(axis=1)
    scores = explainer.score_influence(ROWS[:6])
    assert_allclose(scores[:, 8], moved[np.arange(6), predicted], rtol=1e-9, atol=1e-12)
    codes = np.searchsorted(model.classes_, CLASSES[:6])
    scores = explainer.score_influence(ROWS[:6], CLASSES[:6])
    assert_allclose(scores[:, 8], moved[np.arange(6), codes], rtol=1e-9, atol=1e-12)


def test_functions_of_outputs_see_the_variance():
    model = GaussianProcessRegressor(RBF(), alpha=0.3, normalize_y=True).fit(ROWS, NUMBERS)

    def surprise(outputs, y):
        mean, variance = outputs.T
        return 0.5 * ((y - mean) ** 2 / variance + np.log(2 * np.pi * variance))

    explainer = InfluenceExplainer(model, target=surprise).fit(ROWS, NUMBERS)
    kept = np.delete(np.arange(N), 8)
    left = clone(model).set_params(kernel=model.kernel_, optimizer=None)
    left.fit(ROWS[kept], NUMBERS[kept])
    queries = ROWS + 0.3
    values = []
    for fitted in (left, model):
        mean, deviation = fitted.predict(queries, return_std=True)
        values.append(surprise(np.column_stack([mean, deviation**2]), NUMBERS))
    scores = explainer.score_influence(queries, NUMBERS)
    assert_allclose(scores[:, 8], values[0] - values[1], rtol=1e-8, atol=1e-9)
    own = explainer.score_influence(ROWS, NUMBERS)
    assert_allclose(explainer.self_influence(), np.diag(own), rtol=1e-8, atol=1e-10)


def test_predictions_of_several_targets():
    model = KernelRidge(kernel="rbf").fit(ROWS, SEVERAL)
    explainer = InfluenceExplainer(model, target="decision_function", output=1)
    scores = explainer.fit(ROWS, SEVERAL).score_influence(ROWS)
    kept = np.delete(np.arange(N), 8)
    moved = clone(model).fit(ROWS[kept], SEVERAL[kept]).predict(ROWS) - model.predict(ROWS)
    assert_allclose(scores[:, 8], moved[:, 1], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"has 2 outputs. Say which one.*output=0, ..., 1"):
        InfluenceExplainer(model, target="decision_function").fit(ROWS, SEVERAL)
    with pytest.raises(ValueError, match="output=2 is no output of this model, which has 2"):
        InfluenceExplainer(model, target="decision_function", output=2).fit(ROWS, SEVERAL)


# -- what the user hands over ---------------------------------------------------------------------


def test_pipelines_searches_and_frames():
    pd = import_optional("pandas")
    frame = pd.DataFrame(ROWS, columns=["u", "v", "w"], index=[f"row{i}" for i in range(N)])
    pipeline = make_pipeline(StandardScaler(), LinearDiscriminantAnalysis())
    explainer = InfluenceExplainer(pipeline).set_output(transform="pandas").fit(frame, CLASSES)
    scores = explainer.score_influence(frame[:5], CLASSES[:5])
    assert list(scores.columns) == list(frame.index)
    head, model = explainer.estimator_[:-1], explainer.estimator_[-1]
    rows = head.transform(frame)
    alone = InfluenceExplainer(model).fit(rows, CLASSES).score_influence(rows[:5], CLASSES[:5])
    assert_allclose(scores.to_numpy(), alone, rtol=1e-12)
    whole = explainer.validate(n_refits=8, whole_pipeline=True, random_state=0)
    assert whole.pearson > 0.999  # equivariant: scaling changes nothing
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 0.1]}, cv=2)
    frozen = FrozenEstimator(search.fit(ROWS, CLASSES))
    assert InfluenceExplainer(frozen).fit(ROWS, CLASSES).self_influence().shape == (N,)


def test_a_process_that_chose_its_kernel_is_refitted_whole():
    model = GaussianProcessRegressor(RBF(), alpha=0.3).fit(ROWS, NUMBERS)
    explainer = InfluenceExplainer(model).fit(ROWS, NUMBERS)
    assert explainer.validate(n_refits=3, random_state=0).pearson > 1 - 1e-9
    whole = explainer.validate(n_refits=3, whole_pipeline=True, random_state=0)
    assert 0.5 < whole.pearson < 1 - 1e-9


def test_densities_need_no_targets():
    explainer = InfluenceExplainer(PCA(2)).fit(ROWS)
    assert_array_equal(
        explainer.score_influence(ROWS[:3], CLASSES[:3]), explainer.score_influence(ROWS[:3])
    )
    assert explainer.score_unit_ == "loss"
    other = InfluenceExplainer(PCA(2)).fit(ROWS, CLASSES)
    assert_array_equal(other.self_influence(), explainer.self_influence())


def test_method_refit_fits_again():
    exact = InfluenceExplainer(QuadraticDiscriminantAnalysis()).fit(ROWS, CLASSES)
    again = InfluenceExplainer(QuadraticDiscriminantAnalysis(), method="refit").fit(ROWS, CLASSES)
    assert (exact.method_, again.method_) == ("exact", "refit")
    assert_allclose(again.self_influence(), exact.self_influence(), rtol=1e-9, atol=1e-11)
    _, report = again.score_influence(ROWS[:2], CLASSES[:2], return_report=True)
    assert report["method"] == "refit"
    assert len(report["flagged_rows"]) == 0


@pytest.mark.parametrize(
    "model",
    [
        GaussianProcessClassifier(RBF(1.0), optimizer=None),
        LinearDiscriminantAnalysis(),
        NearestCentroid(),
        SVC(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_refits_where_one_class_is_left(model):
    """Many classifiers refuse to be fitted then, and the others are certain."""
    y = np.array(["a"] * 9 + ["b"])
    X = ROWS[: len(y)]
    explainer = InfluenceExplainer(model, method="refit").fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match="1 of 10: 9"):
        scores = explainer.score_influence(X, y)
    if isinstance(model, GaussianProcessClassifier):
        loss = -np.log(model.fit(X, y).predict_proba(X)[:, 0])
        assert_allclose(scores[:9, 9], -loss[:9], rtol=1e-9)
        assert scores[9, 9] == np.inf
    else:
        with pytest.warns(DegenerateDeletionWarning):
            exact = InfluenceExplainer(model).fit(X, y).score_influence(X, y)
        assert_allclose(scores[:, 9], exact[:, 9], rtol=1e-7, atol=1e-9)


def without_weights(explainer):
    """Checks of weights, which are routed to a model that has none."""
    if has_fit_parameter(explainer.estimator, "sample_weight"):
        return {}
    names = [name for name in WEIGHTED if not (OLD and name.endswith("_on_sparse_data"))]
    return dict.fromkeys(names, "its model takes no weights")


# In scikit-learn 1.6 the check of weights of sparse rows passes where fit refuses them.
OLD = tuple(int(part) for part in sklearn_version.split(".")[:2]) < (1, 7)


WEIGHTED = (
    "check_all_zero_sample_weights_error",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
    "check_sample_weights_list",
    "check_sample_weights_not_an_array",
    "check_sample_weights_not_overwritten",
    "check_sample_weights_pandas_series",
    "check_sample_weights_shape",
)


# Some checks fit on rows of which few are of a class.
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@pytest.mark.filterwarnings("ignore:Only one sample available:UserWarning")
@parametrize_with_checks(
    [
        InfluenceExplainer(estimator)
        for estimator in (
            KernelRidge(kernel="rbf"),
            GaussianProcessRegressor(RBF(), alpha=0.1, optimizer=None),
            LinearDiscriminantAnalysis(),
            QuadraticDiscriminantAnalysis(reg_param=0.1),
            GaussianNB(),
            MultinomialNB(),
            NearestCentroid(),
            KNeighborsClassifier(2),
            KNeighborsRegressor(2),
            LedoitWolf(),  # a check has columns that follow from others
            PCA(1),
        )
    ],
    expected_failed_checks=without_weights,
)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


SHUFFLED = np.random.default_rng(2).permutation(CLASSES)


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{type(estimator).__name__}")
        for estimator, X, y in (
            (KernelRidge(kernel="rbf"), ROWS, NUMBERS),
            (GaussianNB(var_smoothing=0.0), ROWS, SHUFFLED),
            (MultinomialNB(), COUNTS, SHUFFLED),
        )
        for name, check in explainer_checks(InfluenceExplainer(estimator), X, y, error=1e-8)
    ],
)
def test_explainer_laws(check):
    check()


@pytest.mark.parametrize(
    ("estimator", "method"), [(PCA(2), "auto"), (PCA(2), "refit"), (LedoitWolf(), "auto")]
)
def test_explainer_laws_without_targets(estimator, method):
    """Of groups above all, which are deleted together: they are no sums, as those of densities."""
    check_explainer(InfluenceExplainer(estimator, method=method), ROWS, repeats=False)

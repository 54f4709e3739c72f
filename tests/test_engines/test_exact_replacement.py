"""Replacing rows of models whose deletions are exact equals fitting them to the new rows."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance
from sklearn.discriminant_analysis import (
    LinearDiscriminantAnalysis,
    QuadraticDiscriminantAnalysis,
)
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import BayesianRidge
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, GaussianNB, MultinomialNB
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skinfluence import InfluenceExplainer
from skinfluence.deletion.closed.families import family_of
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError
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

OTHERS = [c for c in CASES if getattr(c.estimator, "kernel", None) != "precomputed"]
SMOOTH = [c for c in OTHERS if not family_of(c.estimator).jumps(c.estimator)]
# Refits of refits take long, and one case an estimator says it.
SMOOTH = [c for c in SMOOTH if c.method == "exact" or c.weights is None]
SOME = {(type(c.estimator), c.method, c.weights is None): c for c in SMOOTH}
every = pytest.mark.parametrize("case", OTHERS, ids=lambda case: case.name)
smooth = pytest.mark.parametrize("case", SOME.values(), ids=lambda case: case.name)

AT = np.array([2, 17, 5, 17])  # row 5 carries no weight where there are weights


def explained(case, **options):
    explainer = InfluenceExplainer(case.fit(), **options)
    return explainer.fit(case.X, case.y, sample_weight=case.weights)


def new_rows(case):
    """Other inputs, and other targets, of the rows at `AT`."""
    X = case.X[(AT + 7) % N].copy()
    if X.shape[1] == ROWS.shape[1]:
        X += np.array([0.31, -0.17, 0.11])
    return X, None if case.y is None else case.y[(AT + 1) % N]


def refitted(case, model, row, x, y):
    """The estimator, really fitted with another row in the place of one."""
    X, targets = case.X.copy(), None if case.y is None else case.y.copy()
    X[row] = x
    if y is not None:
        targets[row] = y
    return dataclasses.replace(case, X=X, y=targets).fit(model=model)


def changes(case, X, y):
    model = case.fit()
    before, after = case.loss(model), []
    for j, row in enumerate(AT):
        after.append(case.loss(refitted(case, model, row, X[j], None if y is None else y[j])))
    after = np.transpose(after)
    both = np.isinf(before)[:, None] & (after == before[:, None])
    with np.errstate(invalid="ignore"):
        return np.where(both, 0.0, after - before[:, None])


@pytest.mark.filterwarnings("ignore:Only one sample available:UserWarning")
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
@every
def test_replacements_are_refits(case, monkeypatch):
    X, y = new_rows(case)
    truth = changes(case, X, y)
    explainer = explained(case)
    if (
        case.method == "exact"
        and type(explainer._engine.exact).replace.__qualname__[:5] != "Exact"
    ):
        monkeypatch.setattr(explainer._engine, "refits", None)  # closed forms need none
    scores = explainer.score_replacement(X, y, rows=AT, queries=(case.X, case.y))
    largest = np.abs(truth[np.isfinite(truth)]).max()
    assert_allclose(scores, truth, rtol=1e-8, atol=1e-8 * largest)
    monkeypatch.setattr(type(explainer._engine.exact), "replaced_block", 3)
    again = explainer.score_replacement(X, y, rows=AT, queries=(case.X, case.y))
    assert_allclose(again, scores, rtol=1e-10, atol=1e-11 * largest)


@pytest.mark.parametrize(
    "case", [c for c in SOME.values() if c.y is not None][::3], ids=lambda case: case.name
)
def test_rows_in_their_own_places_change_nothing(case):
    explainer = explained(case)
    scores = explainer.score_replacement(case.X[AT], case.y[AT], rows=AT, queries=(case.X, case.y))
    own = explainer.score_influence(case.X, case.y)
    assert np.abs(scores[np.isfinite(scores)]).max() < 1e-9 * np.abs(own[np.isfinite(own)]).max()
    other = case.y[(AT + 1) % N]
    assert_allclose(
        explainer.score_replacement(None, other, rows=AT, queries=(case.X[:5], case.y[:5])),
        explainer.score_replacement(case.X[AT], other, rows=AT, queries=(case.X[:5], case.y[:5])),
    )


# -- derivatives ----------------------------------------------------------------------------------

# Of central differences of order six.
STENCIL = {1: 45.0, 2: -9.0, 3: 1.0}


def derivative(case, row, feature, h):
    """Derivative of the losses at all rows in a value, by central differences of real fits."""
    model, total = case.fit(), np.zeros(len(case.X))
    for k, weight in STENCIL.items():
        for sign in (1, -1):
            x = case.X[row].copy()
            x[feature] += sign * k * h
            total += sign * weight * case.loss(refitted(case, model, row, x, None))
    return total / (60.0 * h)


@pytest.mark.filterwarnings("ignore:Only one sample available:UserWarning")
@smooth
def test_perturbations_are_differences_of_fits(case):
    row, feature = 9, case.X.shape[1] - 1
    if case.X is COUNTS:
        row = np.flatnonzero(COUNTS[:, feature] > 0)[0]
    rows, features = [4, row], [feature]
    slopes = explained(case).perturbation(case.X, case.y, rows=rows, features=features)
    others = np.delete(np.arange(N), [4, 11, row])  # where neighbours meet there are corners
    # Of neighbours, so near that they stay the same.
    h = 1e-4 if hasattr(case.estimator, "n_neighbors") else 1e-2
    truth = derivative(case, row, feature, h * case.X[:, feature].std())
    tolerance = 1e-7 * np.abs(truth[others]).max() + 1e-10
    assert_allclose(slopes[others, 1, 0], truth[others], rtol=1e-7, atol=tolerance)


def laplace(x, y, gamma):
    return np.exp(-gamma * np.abs(x - y).sum())


@pytest.mark.parametrize(
    "kernel", ["linear", "polynomial", "rbf", "sigmoid", "cosine", "laplacian", "chi2", laplace]
)
def test_derivatives_of_kernels(kernel):
    X = np.abs(ROWS)
    options = {} if kernel is not laplace else {"kernel_params": {"gamma": 0.1}}
    model = KernelRidge(kernel=kernel, gamma=0.1, alpha=2.0, **options)
    explainer = InfluenceExplainer(model, target="decision_function").fit(X, NUMBERS)
    queries = X[[1, 3, 30]]  # none of the row itself
    slopes = explainer.perturbation(queries, rows=[20])[:, 0]
    h, weights = 1e-5, np.array([1.0, -1.0]) / 2e-5
    for feature in range(3):
        moved = X[[20, 20]]
        moved[:, feature] += [h, -h]
        change = explainer.score_replacement(moved, None, rows=[20, 20], queries=queries)
        assert_allclose(slopes[:, feature], change @ weights, rtol=1e-6, atol=1e-8)


def with_its_derivative(outputs, y):
    return outputs[:, 0] ** 2, outputs * [2.0, 0.0]


def test_derivatives_of_targets():
    """By the chain rule they are those of small replacements, whatever is asked of outputs."""

    def surprise(outputs, y):
        mean, variance = outputs.T
        return 0.5 * ((y - mean) ** 2 / variance + np.log(variance))

    process = GaussianProcessRegressor(1.3 * RBF(1.1), alpha=0.3, optimizer=None, normalize_y=True)
    for model, y, options in (
        (process, NUMBERS, {"target": surprise}),
        (process, SEVERAL, {"target": "decision_function", "output": 1}),
        (GaussianNB(), CLASSES, {"target": "proba"}),
        (LinearDiscriminantAnalysis(), PAIRS, {"target": "decision_function"}),
        (LinearDiscriminantAnalysis(), CLASSES, {"target": "decision_function", "output": "b"}),
        (KNeighborsClassifier(5, weights="distance"), CLASSES, {"target": "proba"}),
        (GaussianNB(), CLASSES, {"target": lambda outputs, y: outputs[:, 0] * outputs[:, 1]}),
        (KernelRidge(kernel="rbf"), SEVERAL, {"target": with_its_derivative}),
    ):
        explainer = InfluenceExplainer(clone(model), **options).fit(APART, y)
        h = 1e-5
        moved = np.repeat(APART[[20]], 2, axis=0)
        moved[:, 1] += [h, -h]
        queries = APART[:30] + 0.01, y[:30]
        change = explainer.score_replacement(moved, None, rows=[20, 20], queries=queries)
        slopes = explainer.perturbation(*queries, rows=[20], features=[1])[:, 0, 0]
        assert np.abs(slopes).max() > 1e-4
        truth = change @ [1.0, -1.0] / (2 * h)
        assert_allclose(slopes, truth, rtol=1e-5, atol=1e-6 * np.abs(truth).max())


def test_ill_conditioned_processes_are_refined():
    X = np.linspace(0.0, 3.0, 30)[:, None]
    y = np.sin(3.0 * X[:, 0])
    model = GaussianProcessRegressor(RBF(0.4), alpha=1e-7, optimizer=None).fit(X, y)
    explainer = InfluenceExplainer(model, target="decision_function").fit(X, y)
    queries = X[:-1] + 0.05
    scores = explainer.score_replacement([[1.23]], [0.9], rows=[4], queries=queries)[:, 0]
    X, y = X.copy(), y.copy()
    X[4], y[4] = 1.23, 0.9
    truth = clone(model).fit(X, y).predict(queries) - model.predict(queries)
    assert_allclose(scores, truth, rtol=1e-7, atol=1e-8 * np.abs(truth).max())


# -- what the user hands over ---------------------------------------------------------------------


def test_refits_by_method_say_the_same():
    model = QuadraticDiscriminantAnalysis()
    exact = InfluenceExplainer(model).fit(ROWS, CLASSES)
    again = InfluenceExplainer(model, method="refit").fit(ROWS, CLASSES)
    asked = {"rows": [3, 9], "queries": (ROWS, CLASSES)}
    assert_allclose(
        again.score_replacement(ROWS[:2] + 0.2, CLASSES[:2], **asked),
        exact.score_replacement(ROWS[:2] + 0.2, CLASSES[:2], **asked),
        rtol=1e-9,
        atol=1e-10,
    )
    one = again.perturbation(ROWS[:5], CLASSES[:5], rows=[3, 9])
    assert_allclose(
        one, exact.perturbation(ROWS[:5], CLASSES[:5], rows=[3, 9]), rtol=1e-7, atol=1e-10
    )


def test_pipelines_and_sparse_rows():
    pipeline = make_pipeline(StandardScaler(), GaussianNB())
    explainer = InfluenceExplainer(pipeline).fit(ROWS, CLASSES)
    head, model = explainer.estimator_[:-1], explainer.estimator_[-1]
    rows = head.transform(ROWS)
    inside = InfluenceExplainer(model).fit(rows, CLASSES)
    new, asked = ROWS[:2] + 0.3, {"rows": [3, 4]}
    assert_allclose(
        explainer.score_replacement(new, None, queries=(ROWS[:5], CLASSES[:5]), **asked),
        inside.score_replacement(
            head.transform(new), None, queries=(rows[:5], CLASSES[:5]), **asked
        ),
        rtol=1e-10,
        atol=1e-13,
    )
    # No two distances are equal.
    rows = COUNTS * (1.0 + 0.1 * np.random.default_rng(0).random(COUNTS.shape))
    thin = sparse.csr_array(rows)
    for estimator, y in (
        (MultinomialNB(), CLASSES),
        (BernoulliNB(), CLASSES),
        (KernelRidge(kernel="rbf", gamma=0.1), NUMBERS),
        (KNeighborsRegressor(3, algorithm="brute", weights="distance"), NUMBERS),
    ):
        dense = InfluenceExplainer(clone(estimator)).fit(rows, y)
        other = InfluenceExplainer(clone(estimator)).fit(thin, y)
        new = rows[7:9] + np.array([1.0, 0, 0, 0, 2.0, 0])
        for question in ("score_replacement", "perturbation"):
            if question == "perturbation" and isinstance(estimator, BernoulliNB):
                continue
            found = []
            for e, X, x in ((dense, rows, new), (other, thin, sparse.csr_array(new))):
                if question == "perturbation":
                    found.append(e.perturbation(X[20:26], y[20:26], rows=[3, 4]))
                else:
                    found.append(e.score_replacement(x, None, rows=[3, 4], queries=(X, y)))
            assert_allclose(found[1], found[0], rtol=1e-6, atol=1e-8)


def test_kernel_matrices_take_other_targets():
    K = ROWS @ ROWS.T + 1.0
    model = KernelRidge(kernel="precomputed", alpha=0.3)
    matrix = InfluenceExplainer(model).fit(K, NUMBERS)
    named = InfluenceExplainer(KernelRidge(kernel="polynomial", degree=1, gamma=1.0, alpha=0.3))
    named.fit(ROWS, NUMBERS)
    scores = matrix.score_replacement(None, [1.0, 2.0], rows=[3, 8], queries=(K, NUMBERS))
    truth = named.score_replacement(None, [1.0, 2.0], rows=[3, 8], queries=(ROWS, NUMBERS))
    assert_allclose(scores, truth, rtol=1e-8, atol=1e-10)
    with pytest.raises(UnsupportedEstimatorError, match=r"another row and another column.*named"):
        matrix.score_replacement(K[:1], None, rows=[3], queries=(K, NUMBERS))
    with pytest.raises(
        UnsupportedEstimatorError, match=r"has rows of a kernel matrix.*score_repl"
    ):
        matrix.perturbation(K[:1], NUMBERS[:1])


# -- rows without which there is less of a model --------------------------------------------------


@pytest.mark.filterwarnings("ignore:Only one sample available:UserWarning")
@pytest.mark.parametrize(
    ("estimator", "X"),
    [
        (GaussianNB(var_smoothing=0.1), ROWS),
        (MultinomialNB(class_prior=[0.2, 0.3, 0.1, 0.4]), COUNTS),
        (BernoulliNB(), COUNTS),
        (LinearDiscriminantAnalysis(), ROWS),
        (LinearDiscriminantAnalysis("lsqr", priors=[0.2, 0.3, 0.1, 0.4]), ROWS),
        (NearestCentroid(), ROWS),
    ],
    ids=lambda value: str(value) if hasattr(value, "fit") else "",
)
def test_the_last_row_of_a_class_takes_another(estimator, X):
    y = CLASSES.astype("U5")
    y[6] = "alone"
    explainer = InfluenceExplainer(estimator).fit(X, y)
    with pytest.warns(DegenerateDeletionWarning, match=r"\(1 of 2, in place of 6\).*no rows"):
        scores = explainer.score_replacement(None, ["c", "a"], rows=[6, 9], queries=(X, y))
    assert scores[6, 0] == np.inf
    assert np.isfinite(scores[:, 1]).all()
    changed = y.copy()
    changed[6] = "c"
    left = clone(estimator)
    for name in ("priors", "class_prior"):
        if isinstance(getattr(left, name, None), list):
            left.set_params(**{name: [0.2 / 0.7, 0.1 / 0.7, 0.4 / 0.7]})
    after, before = left.fit(X, changed), clone(estimator).fit(X, y)
    kept = np.delete(np.arange(N), 6)
    moved = [
        -m.predict_log_proba(X)[kept, np.searchsorted(m.classes_, y[kept])]
        for m in (after, before)
    ]
    assert_allclose(scores[kept, 0], moved[0] - moved[1], rtol=1e-8, atol=1e-9)


def test_a_covariance_that_becomes_singular():
    X = np.hstack([ROWS, np.zeros((N, 1))])
    X[7, 3] = 1.0
    explainer = InfluenceExplainer(EmpiricalCovariance()).fit(X)
    with pytest.warns(DegenerateDeletionWarning, match=r"1 of 1, in place of 7"):
        scores = explainer.score_replacement(X[:1], rows=[7], queries=X)
    assert np.isposinf(scores).all()


# -- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("estimator", "X", "y", "new", "new_y", "match"),
    [
        (GaussianNB(), ROWS, CLASSES, ROWS[:1], ["z"], "y holds 'z', which is none of the 3"),
        (MultinomialNB(), COUNTS, CLASSES, -COUNTS[:1] - 1, None, "counts. Pass rows of numbers"),
        (
            BernoulliNB(binarize=None),
            np.minimum(COUNTS, 1),
            CLASSES,
            COUNTS[:1] + 0.5,
            None,
            "other numbers than 0 and 1",
        ),
        (CategoricalNB(), CATEGORIES, CLASSES, CATEGORIES[:1] + 9, None, "a category that no"),
        (EmpiricalCovariance(), ROWS, None, ROWS[:1], [1.0], "y_new was passed.*is a density"),
        (SVC(), ROWS, PAIRS, ROWS[:1], [0], "method='newton' smooths the deletions.*'auto'"),
        (BayesianRidge(), ROWS, NUMBERS, ROWS[:1], [[1.0, 2.0]], "2 targets a row, and the model"),
    ],
    ids=lambda value: type(value).__name__ if hasattr(value, "fit") else "",
)
def test_new_rows_that_are_refused(estimator, X, y, new, new_y, match):
    method = "newton" if isinstance(estimator, SVC) else "auto"
    explainer = InfluenceExplainer(estimator, method=method).fit(X, y)
    with pytest.raises((ValueError, UnsupportedEstimatorError), match=match):
        explainer.score_replacement(new, new_y, rows=[3], queries=(X, y))


@pytest.mark.parametrize(
    ("estimator", "X", "match"),
    [
        (KNeighborsClassifier(), ROWS, "averages its neighbours alike.*Use score_replacement"),
        (CategoricalNB(), CATEGORIES, "has features that are categories"),
        (BernoulliNB(), COUNTS, "sees whether features are present"),
        (NearestCentroid(shrink_threshold=0.1), ROWS, "shrinks its centroids by a threshold"),
    ],
    ids=lambda value: str(value) if hasattr(value, "fit") else "",
)
def test_outputs_that_jump_have_no_derivative(estimator, X, match):
    explainer = InfluenceExplainer(estimator).fit(X, CLASSES)
    with pytest.raises(UnsupportedEstimatorError, match=match):
        explainer.perturbation(X[:1], CLASSES[:1])


def test_rows_of_no_weight_change_nothing():
    explainer = InfluenceExplainer(KernelRidge(kernel="rbf"))
    explainer.fit(ROWS, NUMBERS, sample_weight=WEIGHTS)
    scores = explainer.score_replacement(ROWS[:1], [9.0], rows=[5], queries=(ROWS, NUMBERS))
    assert_allclose(scores, 0.0, rtol=0, atol=1e-12)
    slopes = explainer.perturbation(ROWS, NUMBERS, rows=[5])
    assert_array_equal(slopes, 0.0)


@pytest.mark.parametrize(
    "estimator", [SVC(), KernelRidge(), GaussianNB()], ids=lambda model: type(model).__name__
)
def test_no_rows_or_features_have_no_slopes(estimator):
    y = NUMBERS if isinstance(estimator, KernelRidge) else CLASSES
    explainer = InfluenceExplainer(estimator).fit(ROWS, y)
    assert explainer.perturbation(ROWS[:2], y[:2], rows=[]).shape == (2, 0, ROWS.shape[1])
    assert explainer.perturbation(ROWS[:2], y[:2], features=[]).shape == (2, len(ROWS), 0)


@pytest.mark.filterwarnings("error")
def test_columns_with_names_go_without_a_word():
    pandas = import_optional("pandas")
    names = [f"x{j}" for j in range(ROWS.shape[1])]
    X = pandas.DataFrame(ROWS, columns=names)
    for estimator in (GaussianNB(), KNeighborsClassifier(), LinearDiscriminantAnalysis()):
        model = clone(estimator).fit(X, CLASSES)
        explainer = InfluenceExplainer(model).fit(X, CLASSES)
        scores = explainer.score_replacement(X[3:5], rows=[0, 1], queries=(X[:2], CLASSES[:2]))
        assert scores.shape == (2, 2)
        assert explainer.smallest_flip(X[:1], n_random=0)[0].label_before == model.predict(X[:1])
        assert_array_equal(explainer.estimator_.feature_names_in_, names)

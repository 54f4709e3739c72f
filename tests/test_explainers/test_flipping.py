"""Which rows have to go for a label to change: small, without idle rows, and checked by refits."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.covariance import EmpiricalCovariance
from sklearn.datasets import load_breast_cancer
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDClassifier
from sklearn.model_selection import FixedThresholdClassifier, train_test_split
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.whatif import Flip
from tests.conftest import import_optional

pytestmark = pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")


def rows(n_classes, n=30, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % n_classes
    X = rng.normal(size=(n, 2))
    X[:, 0] += 1.5 * y
    queries = 0.4 * rng.normal(size=(2, 2))
    queries[:, 0] += 0.75 * (n_classes - 1)
    return X, y, queries


TIGHT = {"tol": 1e-10, "max_iter": 10_000}
MODELS = {
    "logistic": LogisticRegression(**TIGHT),
    "balanced": LogisticRegression(class_weight="balanced", **TIGHT),
    "one against the rest": OneVsRestClassifier(LogisticRegression(**TIGHT)),
    "ridge": RidgeClassifier(),
    "squared hinge": LinearSVC(**TIGHT),
    "naive Bayes": GaussianNB(),
    "discriminant": LinearDiscriminantAnalysis(),
    "neighbours": KNeighborsClassifier(5),
    "weighted neighbours": KNeighborsClassifier(4, weights="distance"),
    "kernel machine": SVC(gamma=0.5, C=2.0, tol=1e-10),
}


def label_without(model, X, y, gone, query):
    kept = np.delete(np.arange(len(X)), gone)
    return clone(model).fit(X[kept], y[kept]).predict(query[None])[0]


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", MODELS)
def test_real_fits_without_the_rows(name, n_classes):
    X, y, queries = rows(n_classes)
    model = clone(MODELS[name]).fit(X, y)
    for query, flip in zip(queries, explain(model, X, y, queries), strict=True):
        assert flip.found and flip.minimal and 0 < flip.size <= 10
        assert flip.label_before == model.predict(query[None])[0] != flip.label_after
        assert label_without(model, X, y, flip.rows, query) == flip.label_after
        for i in range(flip.size):
            back = np.delete(flip.rows, i)
            assert label_without(model, X, y, back, query) == flip.label_before
        assert len(np.unique(np.delete(y, flip.rows))) == n_classes


def explain(model, X, y, queries, **options):
    return InfluenceExplainer(model).fit(X, y).smallest_flip(queries, n_random=0, **options)


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["ridge", "discriminant", "neighbours", "weighted neighbours"])
def test_no_smaller_set_exists(name, n_classes):
    """Tried all; true of these rows, and of neighbours always."""
    X, y, queries = rows(n_classes, n=12, seed=3)
    model = clone(MODELS[name]).fit(X, y)
    for query, flip in zip(queries, explain(model, X, y, queries), strict=True):
        smaller = (s for k in range(1, min(flip.size, 3)) for s in combinations(range(12), k))
        for gone in smaller:
            if len(np.unique(np.delete(y, gone))) == n_classes:
                assert label_without(model, X, y, gone, query) == flip.label_before


@pytest.mark.parametrize("method", ["first_order", "newton", "refit"])
def test_every_method_orders_the_rows(method):
    X, y, queries = rows(2)
    explainer = InfluenceExplainer(LogisticRegression(), method=method).fit(X, y)
    sizes = [flip.size for flip in explainer.smallest_flip(queries, n_random=0)]
    assert_array_equal(sizes, [f.size for f in explain(LogisticRegression(), X, y, queries)])


@pytest.mark.parametrize(
    "option", [{"target": "params"}, {"target": "proba"}, {"relative": "loss"}]
)
def test_what_scores_are_about_does_not_matter(option):
    X, y, queries = rows(3)
    explainer = InfluenceExplainer(LogisticRegression(), **option).fit(X, y)
    found = explainer.smallest_flip(queries, n_random=0)
    for flip, same in zip(found, explain(LogisticRegression(), X, y, queries), strict=True):
        assert_array_equal(flip.rows, same.rows)


def test_weights_sparse_rows_and_rows_without_weight():
    X, y, queries = rows(2, n=40)
    weights = np.linspace(0.0, 3.0, 40)
    model = LogisticRegression(C=3.0, **TIGHT)
    explainer = InfluenceExplainer(model).fit(sparse.csr_array(X), y, sample_weight=weights)
    for query, flip in zip(
        queries, explainer.smallest_flip(sparse.csr_array(queries), n_random=1), strict=True
    ):
        kept = np.delete(np.arange(40), flip.rows)
        refit = clone(model).fit(X[kept], y[kept], sample_weight=weights[kept])
        assert refit.predict(query[None])[0] == flip.label_after != flip.label_before
        assert 0 not in flip.rows


@pytest.mark.parametrize(
    ("model", "method"),
    [
        (LinearSVC(loss="hinge", tol=1e-10, max_iter=10**6), "auto"),
        (LinearSVC(loss="hinge", tol=1e-10, max_iter=10**6), "newton"),
        (SVC(kernel="linear", tol=1e-10), "newton"),
        # It has no path, and its Newton steps jump over kinks.
        (SGDClassifier(penalty="l1", tol=1e-7, max_iter=10**4, random_state=0), "first_order"),
    ],
    ids=["hinge", "smoothed hinge", "smoothed kernel machine", "no path"],
)
def test_kinks_are_refitted_as_they_are(model, method):
    """Smoothed or not: labels are not those of the smoothed loss."""
    X, y, queries = rows(2)
    explainer = InfluenceExplainer(clone(model).fit(X, y), method=method).fit(X, y)
    for query, flip in zip(queries, explainer.smallest_flip(queries, n_random=0), strict=True):
        assert flip.found
        assert label_without(model, X, y, flip.rows, query) == flip.label_after


def test_fixed_class_weights():
    X, y, queries = rows(2)
    model = LogisticRegression(class_weight="balanced", **TIGHT)
    explainer = InfluenceExplainer(model, class_weights="fixed").fit(X, y)
    weights = len(y) / (2.0 * np.bincount(y))
    for query, flip in zip(queries, explainer.smallest_flip(queries, n_random=0), strict=True):
        fixed = LogisticRegression(class_weight=dict(enumerate(weights)), **TIGHT)
        assert label_without(fixed, X, y, flip.rows, query) == flip.label_after


def test_labels_are_those_of_the_rows():
    pandas = import_optional("pandas")
    X, y, queries = rows(2)
    names = [f"r{i}" for i in range(30)]
    frame = pandas.DataFrame(X, columns=["a", "b"], index=names)
    words = np.array(["no", "yes"])[y]
    model = make_pipeline(StandardScaler(), LogisticRegression())
    query = pandas.DataFrame(queries[:1], columns=["a", "b"])
    (flip,) = explain(model, frame, words, query)
    assert {flip.label_before, flip.label_after} == {"no", "yes"}
    assert_array_equal(flip.labels, [names[i] for i in flip.rows])


@pytest.mark.parametrize("name", ["logistic", "naive Bayes", "kernel machine", "neighbours"])
def test_order_of_rows_and_queries_does_not_matter(name):
    X, y, queries = rows(2)
    new = np.random.default_rng(1).permutation(30)
    together = explain(clone(MODELS[name]), X, y, queries)
    permuted = explain(clone(MODELS[name]), X[new], y[new], queries[::-1])[::-1]
    alone = [explain(clone(MODELS[name]), X, y, query[None])[0] for query in queries]
    for first, second, third in zip(together, permuted, alone, strict=True):
        assert set(first.rows) == set(new[second.rows])
        assert_array_equal(first.rows, third.rows)


def test_a_bar_over_the_queries(capsys):
    import_optional("tqdm")
    X, y, queries = rows(2)
    explainer = InfluenceExplainer(RidgeClassifier(), progress=True).fit(X, y)
    explainer.smallest_flip(queries, n_random=0)
    assert "smallest_flip: 100%" in capsys.readouterr().err


# -- random sets ----------------------------------------------------------------------------------


def test_random_sets_need_more():
    X, y, queries = rows(2, n=60)
    explainer = InfluenceExplainer(LogisticRegression(**TIGHT)).fit(X, y)
    flip = explainer.smallest_flip(queries[:1], n_random=7, random_state=0)[0]
    assert flip.random_sizes.shape == (7,)
    assert flip.random_size == np.sort(flip.random_sizes)[3] > flip.size
    assert 0 <= flip.n_random_flips <= 7
    again = explainer.smallest_flip(queries, n_random=7, random_state=0)[0]
    assert_array_equal(again.random_sizes, flip.random_sizes)  # other queries change nothing
    assert explainer.smallest_flip(queries[:1], n_random=0)[0].n_refits < flip.n_refits


def test_random_sizes_are_those_of_refits():
    """The order is that of the generator's permutation, the last row of a class left out."""
    X, y, queries = rows(2, n=20)
    model = GaussianNB()
    explainer = InfluenceExplainer(model).fit(X, y)
    flip = explainer.smallest_flip(queries[:1], n_random=1, random_state=4)[0]
    order = np.random.RandomState(4).permutation(20)
    last = [order[y[order] == k][-1] for k in range(2)]
    order = order[~np.isin(order, last)]
    size = flip.random_size
    if np.isfinite(size):
        assert label_without(model, X, y, order[: int(size)], queries[0]) != flip.label_before
        assert label_without(model, X, y, order[: int(size) - 1], queries[0]) == flip.label_before
    else:
        assert label_without(model, X, y, order, queries[0]) == flip.label_before


# -- no set ---------------------------------------------------------------------------------------


def test_more_rows_than_allowed():
    X, y, queries = rows(2)
    size = explain(RidgeClassifier(), X, y, queries[:1])[0].size
    assert explain(RidgeClassifier(), X, y, queries[:1], max_rows=size)[0].size == size
    flip = explain(RidgeClassifier(), X, y, queries[:1], max_rows=size - 1)[0]
    assert not flip.found and flip.size == 0 and flip.label_after == flip.label_before
    assert f"the smallest set found has {size} rows, and max_rows is {size - 1}" in repr(flip)


def test_every_class_keeps_a_row():
    X = np.array([[0.0], [0.1], [5.0], [5.1]])
    flip = explain(KNeighborsClassifier(1), X, [0, 0, 1, 1], [[0.0]])[0]
    assert not flip.found and "no set was found that leaves every class a row" in flip.reason


def test_where_nothing_is_found_a_better_order_is_named(monkeypatch):
    monkeypatch.setattr("skinfluence.engines.linear.labels.REFITTED", 3)
    X, y = np.array([[0.0], [0.1], [5.0], [5.1]]), [0, 0, 1, 1]
    reasons = [explain(RidgeClassifier(), X, y, [[0.0]])[0].reason]
    model = InfluenceExplainer(RidgeClassifier(), method="refit").fit(X, y)
    reasons.append(model.smallest_flip([[0.0]], n_random=0)[0].reason)
    hint = "class a row; the order of method='refit' is nearer to what deletions do"
    assert reasons[0].endswith(hint)
    assert reasons[1].endswith("class a row")


def test_where_newton_finds_none_the_order_is_that_of_refits(monkeypatch):
    X, y = load_breast_cancer(return_X_y=True)
    train, test = train_test_split(range(len(X)), test_size=0.3, random_state=0)
    model = make_pipeline(StandardScaler(), LinearSVC(dual=False)).fit(X[train], y[train])
    explainer = InfluenceExplainer(model).fit(X[train], y[train])
    (flip,) = explainer.smallest_flip(X[test[:1]], n_random=0, minimal=False)
    assert flip.found
    monkeypatch.setattr("skinfluence.engines.linear.labels.REFITTED", 3)
    (flip,) = explainer.smallest_flip(X[test[:1]], n_random=0, minimal=False)
    assert not flip.found and "order of method='refit'" in flip.reason


@pytest.mark.filterwarnings("error::UserWarning")
def test_a_class_of_one_row_is_no_warning():
    X, y, queries = rows(2, n=24)
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.1)
    explainer = InfluenceExplainer(model).fit(X, y)
    (flip,) = explainer.smallest_flip(queries[:1], n_random=3, random_state=0)
    assert len(flip.random_sizes) == 3  # each order was deleted down to a row a class


@pytest.mark.parametrize(
    "model",
    [SVC(), KNeighborsClassifier(9, weights=lambda d: np.exp(-d)), NearestCentroid()],
    ids=["one order", "too few rows", "rows that are all alike"],
)
def test_what_cannot_be_fitted_is_no_answer(model):
    """Nor is one order always enough: then all that is left of the class is tried."""
    X, y, _ = rows(2, n=24)
    explainer = InfluenceExplainer(model)
    if isinstance(model, SVC):
        explainer.set_params(method="refit")
    explainer.fit(X, y)
    for query in ([[-3.0, 0.0]], [[0.2, 0.1]]):
        flip = explainer.smallest_flip(query, n_random=1, random_state=0)[0]
        if flip.found:
            assert label_without(model, X, y, flip.rows, np.array(query)[0]) == flip.label_after
    assert flip.found


def test_what_the_answer_looks_like():
    some = np.array([3, 1])
    known: dict[str, Any] = {
        "label_before": "a",
        "label_after": "b",
        "minimal": True,
        "n_refits": 9,
        "n_train": 8,
    }
    flip = Flip(
        rows=some, labels=some, random_sizes=np.array([4.0, np.inf, 6.0]), n_random_flips=1,
        found=True, **known,
    )  # fmt: skip
    assert repr(flip) == (
        "Flip(2 of 8 rows, from a to b; at random 6, 1 of 3 sets of the same size; 9 refits)"
    )
    assert_allclose([flip.share, flip.random_size], [0.25, 6.0])
    none = Flip(
        rows=some[:0], labels=some[:0], random_sizes=np.array([]), n_random_flips=0, found=False,
        reason="it is so", **known,
    )  # fmt: skip
    assert repr(none) == "Flip(none found from a: it is so; 9 refits)"
    assert np.isnan(none.random_size)


# -- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Ridge(), EmpiricalCovariance()], ids=["numbers", "density"])
def test_models_without_labels_are_refused(model):
    X, y, queries = rows(2)
    with pytest.raises(UnsupportedEstimatorError, match=r"predicts no label of a set of classes"):
        explain(model, X, 1.0 * y, queries)


def test_thresholds_are_refused():
    X, y, queries = rows(2)
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.3)
    with pytest.raises(UnsupportedEstimatorError, match=r"decides by a threshold of its own"):
        explain(model, X, y, queries)
    with pytest.raises(UnsupportedEstimatorError, match=r"decides by a threshold of its own"):
        explain(make_pipeline(StandardScaler(), model), X, y, queries)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"max_rows": 0}, r"max_rows must lie between 1 and the 30 training rows. Got 0"),
        ({"max_rows": 31}, r"max_rows must lie between"),
        ({"n_random": -1}, r"n_random is the number of random orders of the rows. Got -1"),
        ({"n_random": 2.0}, r"n_random is the number of random orders"),
        ({"retrain": print}, r"retrain= trains a network that cannot fit itself"),
    ],
    ids=str,
)
def test_options_that_are_refused(options, match):
    X, y, queries = rows(2)
    explainer = InfluenceExplainer(SGDClassifier("log_loss", random_state=0)).fit(X, y)
    with pytest.raises(ValueError, match=match):
        explainer.smallest_flip(queries, **options)


# -- the engine -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["logistic", "naive Bayes", "kernel machine"])
def test_labels_of_an_engine_without_rows(name):
    X, y, _ = rows(3)
    model = clone(MODELS[name]).fit(X, y)
    engine = InfluenceExplainer(model).fit(X, y)._engine
    gone = np.array([4, 7, 9])
    expected = [label_without(model, X, y, gone, query) for query in X]
    assert_array_equal(engine.labels_without(X, gone), expected)
    assert_array_equal(engine.labels_without(X, gone[:0]), model.predict(X))


@pytest.mark.parametrize("n_classes", [2, 3])
def test_centroids_as_their_own_predict_has_them(n_classes):
    # Classes alike a priori are told apart by distances that are not scaled.
    random = np.random.default_rng(0)
    y = random.permutation(24) % n_classes
    X = random.normal(size=(24, 2)) * [1.0, 9.0] + np.outer(y, [1.5, 3.0])
    model = NearestCentroid().fit(X, y)
    flips = InfluenceExplainer(model).fit(X, y).smallest_flip(X[:8], n_random=0)
    assert_array_equal([flip.label_before for flip in flips], model.predict(X[:8]))
    assert any(flip.found for flip in flips)
    for query, flip in zip(X[:8], flips, strict=True):
        fitted = clone(model).fit(np.delete(X, flip.rows, 0), np.delete(y, flip.rows))
        assert fitted.predict([query])[0] == flip.label_after
        assert flip.found == (flip.label_after != flip.label_before)


def test_rows_of_the_class_alone_where_margins_lead_astray():
    # Margins name rows of the other class too, and without these it does not win any more.
    random = np.random.default_rng(0)
    y = random.permutation(24) % 2
    X = random.normal(size=(24, 2)) + 1.2 * np.outer(1 - 2 * y, [1.0, 0.0])
    model = LinearSVC(penalty="l1", dual=False, C=0.1, tol=1e-8, max_iter=10**5).fit(X, y)
    query = X[[0]]
    flip = InfluenceExplainer(model).fit(X, y).smallest_flip(query, n_random=0)[0]
    fitted = clone(model).fit(np.delete(X, flip.rows, 0), np.delete(y, flip.rows))
    assert flip.found
    assert fitted.predict(query)[0] == flip.label_after != flip.label_before


def test_a_set_that_only_chance_finds():
    random = np.random.default_rng(0)
    y = random.permutation(24) % 3
    angle = 2 * np.pi * y / 3
    X = random.normal(size=(24, 2)) + 1.2 * np.column_stack([np.cos(angle), np.sin(angle)])
    model = LogisticRegression(class_weight="balanced").fit(X, y)
    flip = InfluenceExplainer(model).fit(X, y).smallest_flip(X[[1]], random_state=0)[0]
    assert np.isfinite(flip.random_sizes).any()
    assert flip.found
    assert flip.size <= flip.random_sizes.min()

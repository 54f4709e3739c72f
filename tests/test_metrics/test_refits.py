"""Leave-one-out truth against closed forms, loops written out, and the estimators' own habits."""

import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    HuberRegressor,
    Lasso,
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    SGDClassifier,
)
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KernelDensity, KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from skinfluence import InfluenceExplainer
from skinfluence.metrics import agreement, leave_one_out
from skinfluence.metrics._training import warm
from tests.conftest import import_optional

TIGHT = {"tol": 1e-12, "max_iter": 10_000}
# lbfgs stops at 1e-8 of the parameters, whatever its tol; Newton does not.
EXACT = {**TIGHT, "solver": "newton-cholesky"}


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(25, 3))
    return X, X @ [1.0, -2.0, 0.5] + rng.normal(size=25)


@pytest.fixture
def classes():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(40, 2))
    return X, np.where(X[:, 0] + rng.normal(size=40) > 0, "yes", "no")


def brute_force(estimator, X, y, loss, rows, X_query, y_query, weights=None):
    """The definition, for arrays."""

    def fitted(kept):
        fit_params = {} if weights is None else {"sample_weight": weights[kept]}
        return clone(estimator).fit(X[kept], y[kept], **fit_params)

    everything = np.arange(len(X))
    before = loss(fitted(everything), X_query, y_query)
    after = [loss(fitted(np.delete(everything, row)), X_query, y_query) for row in rows]
    return np.transpose(after) - before[:, None]


def squares(model, X, y):
    return (y - model.predict(X)) ** 2


def nats(model, X, y):
    return -np.log(model.predict_proba(X)[np.arange(len(y)), np.searchsorted(model.classes_, y)])


def test_self_influence_of_least_squares_is_the_press_formula(regression):
    X, y = regression
    changes = leave_one_out(LinearRegression(), X, y, loss="squared_error")
    model = LinearRegression().fit(X, y)
    border = np.c_[np.ones(25), X]
    leverage = np.diag(border @ np.linalg.pinv(border))
    squared = (y - model.predict(X)) ** 2
    assert_allclose(np.diag(changes), squared * ((1 - leverage) ** -2 - 1), rtol=1e-9)


def test_weights_and_groups_are_those_of_a_loop(regression):
    X, y = regression
    weights = np.random.default_rng(2).uniform(0.5, 2, size=25)
    queries, truth = X[:4] + 0.1, y[:4]
    groups = [[3], [1, 5, 7], np.arange(25) < 2, 4]
    changes = leave_one_out(
        Ridge(), X, y, loss=squares, X_query=queries, y_query=truth, rows=groups,
        sample_weight=weights,
    )  # fmt: skip
    loop = brute_force(Ridge(), X, y, squares, [3, [1, 5, 7], [0, 1], 4], queries, truth, weights)
    assert changes.shape == (4, 4)
    assert_allclose(changes, loop, rtol=1e-10)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_warm_starts_reach_what_cold_fits_reach(classes, class_weight):
    X, y = classes
    model = LogisticRegression(class_weight=class_weight, **EXACT)
    assert warm(clone(model).fit(X, y)) is not None
    rows = [0, 7, 30]
    changes = leave_one_out(model, X, y, loss="log_loss", rows=rows)
    assert_allclose(changes, brute_force(model, X, y, nats, rows, X, y), rtol=1e-8)


def test_a_loose_fit_is_announced_and_a_tight_one_is_silent(classes):
    X, y = classes
    with pytest.warns(ConvergenceWarning, match="largely noise. Set a smaller tol"):
        leave_one_out(LogisticRegression(tol=0.1), X, y, loss="log_loss")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leave_one_out(LogisticRegression(**TIGHT), X, y, loss="log_loss")


def test_a_start_that_never_moves_is_announced(classes):
    X, y = classes
    with pytest.warns(ConvergenceWarning, match="and the mean deletion by 0, so"):
        changes = leave_one_out(LogisticRegression(tol=0.1), X, y, loss="log_loss", rows=[0, 1])
    assert_array_equal(changes, 0.0)


def test_an_optimiser_that_repeats_its_error_is_announced(classes):
    """Two equal fits prove nothing: this one takes the same steps every time."""
    X, y = classes
    loose = LogisticRegression(C=1000, solver="liblinear", tol=0.1)
    assert_array_equal(clone(loose).fit(X, y).coef_, clone(loose).fit(X, y).coef_)
    with pytest.warns(ConvergenceWarning, match="smaller tol"):
        leave_one_out(make_pipeline(StandardScaler(), loose), X, y, loss="log_loss")


def test_weights_reach_a_pipeline_that_routes_them(regression):
    X, y = regression
    weights = np.linspace(1, 2, 25)
    pipe = make_pipeline(StandardScaler(), Ridge())
    options = {"loss": "squared_error", "rows": [0, 3], "sample_weight": weights}
    expected = leave_one_out(pipe, X, y, **options)
    assert abs(expected - leave_one_out(pipe, X, y, **{**options, "sample_weight": None})).any()
    with config_context(enable_metadata_routing=True):
        pipe[0].set_fit_request(sample_weight=False)
        pipe[1].set_fit_request(sample_weight=True)
        assert_allclose(leave_one_out(pipe, X, y, **options), expected)


def test_random_refits_are_announced(classes):
    """The seed draws other rows as soon as one is missing, or they come in another order."""
    X, y = classes

    def brier(model, X, y):
        return (model.predict_proba(X)[:, 1] - (y == "yes")) ** 2

    for seed in range(4):
        forest = RandomForestClassifier(n_estimators=5, warm_start=True, random_state=seed)
        with pytest.warns(ConvergenceWarning, match="random_state"):
            changes = leave_one_out(forest, X, y, loss=brier, rows=[0, 1])
        assert changes.any()  # warm-started forests would keep their old trees


def test_polish_treats_both_sides_alike(classes):
    X, y = classes
    seen = []

    def polish(model, X, y, sample_weight):
        seen.append((len(y), sample_weight))
        exact = clone(model).set_params(warm_start=False, **EXACT)
        return exact.fit(X, y, sample_weight)

    loose = LogisticRegression(tol=0.1)
    rows = [0, 7]
    changes = leave_one_out(loose, X, y, loss="log_loss", rows=rows, polish=polish)
    tight = leave_one_out(LogisticRegression(**EXACT), X, y, loss="log_loss", rows=rows)
    assert_allclose(changes, tight, rtol=1e-9, atol=1e-13)
    assert [n for n, _ in seen].count(40) >= 2
    assert {w for _, w in seen} == {None}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_unfinished_fit_is_as_unfinished_on_both_sides(classes):
    """Deleting a row of weight 0 changes nothing, however far the optimum is."""
    X, y = classes
    unfinished = LogisticRegression(C=100, max_iter=2)
    changes = leave_one_out(
        unfinished, X, y, loss="log_loss", rows=[0, 5], sample_weight=np.arange(40) > 5
    )
    assert np.abs(changes).max() < 1e-14


def test_rounding_is_no_noise(regression):
    X = regression[0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        leave_one_out(LinearRegression(), X, X @ [1.0, 2.0, 3.0], loss="squared_error")


def test_exact_scores_agree_with_the_truth(classes):
    X, y = classes
    model = LogisticRegression(class_weight="balanced", **EXACT).fit(X, y)
    explainer = InfluenceExplainer(model, method="refit").fit(X, y)
    changes = leave_one_out(model, X, y, loss="log_loss", rows=range(10))
    assert agreement(explainer.score_influence(X, y)[:, :10], changes).relative_error < 1e-9


def test_other_errors_of_a_fit_stay_what_they_are():
    with pytest.raises(ValueError, match="contains NaN"):
        leave_one_out(Ridge(), [[np.nan], [1.0]], [1.0, 1.0], loss="squared_error")


def test_log_loss_keeps_its_digits_far_out(classes):
    X, y = classes
    far = np.array([[300.0, 0.0]])  # a loss beyond 37 nats: 1 - p is 0
    model = LogisticRegression(**EXACT)
    changes = leave_one_out(
        model, X, y, loss="log_loss", X_query=far, y_query=["no"], rows=[0, 1, 2]
    )
    full = clone(model).fit(X, y)
    parts = [clone(model).fit(np.delete(X, i, 0), np.delete(y, i)) for i in range(3)]
    slopes = [part.decision_function(far)[0] - full.decision_function(far)[0] for part in parts]
    assert_allclose(changes[0], slopes, rtol=1e-8)


def test_pipelines_are_refitted_as_a_whole(classes):
    X, y = classes
    pipe = make_pipeline(StandardScaler(), LogisticRegression(**EXACT))
    assert warm(clone(pipe).fit(X, y)) is not None
    changes = leave_one_out(pipe, X, y, loss="log_loss", rows=[0, 1], sample_weight=np.ones(40))
    assert_allclose(changes, brute_force(pipe, X, y, nats, [0, 1], X, y), rtol=1e-8)


def test_searches_choose_anew(regression):
    X, y = regression
    search = GridSearchCV(Ridge(), {"alpha": [0.01, 10.0]}, cv=3)
    with pytest.warns(ConvergenceWarning, match="choice depends on the order"):
        changes = leave_one_out(search, X, y, loss="squared_error", rows=[0, 1])
    assert_allclose(changes, brute_force(search, X, y, squares, [0, 1], X, y), rtol=1e-10)


def test_only_linear_models_start_warm(classes):
    X, y = classes
    assert warm(RandomForestClassifier(2).fit(X, y)) is None
    assert warm(DecisionTreeClassifier().fit(X, y)) is None
    assert warm(Ridge().fit(X, X[:, 0])) is None
    assert warm(SGDClassifier().fit(X, y)) is not None


def test_densities_have_no_targets():
    X = np.random.default_rng(0).normal(size=(12, 2))
    changes = leave_one_out(KernelDensity(), X, loss="negative_log_density", rows=[0, 3])
    before = -KernelDensity().fit(X).score_samples(X)
    after = -KernelDensity().fit(np.delete(X, 3, 0)).score_samples(X)
    assert_allclose(changes[:, 1], after - before, rtol=1e-9)


def test_infinite_losses_stay_where_nothing_changes():
    X, y = np.array([[0.0], [1.0], [2.0], [10.0], [11.0]]), np.array([0, 0, 1, 1, 1])
    knn = KNeighborsClassifier(1)
    query = {"X_query": [[10.0], [0.0]], "y_query": [0, 0]}
    changes = leave_one_out(knn, X, y, loss="log_loss", rows=[3, 0], **query)
    assert_array_equal(changes, 0.0)  # inf before and after; 0 before and after
    changes = leave_one_out(knn, X, y, loss="log_loss", rows=[[0, 1]], **query)
    assert_array_equal(changes[:, 0], [0.0, np.inf])


def test_a_class_that_goes_has_an_infinite_loss(classes):
    X, y = classes[0], classes[1].astype(object)
    y[0] = "alone"
    model = LogisticRegression(**TIGHT)  # cannot start from three classes
    changes = leave_one_out(model, X, y, loss="log_loss", rows=[0, 1])
    assert changes[0, 0] == np.inf
    assert np.isfinite(changes[1:]).all()


def test_containers_do_not_matter(classes):
    X, y = classes
    expected = leave_one_out(LogisticRegression(**TIGHT), X, y, loss="log_loss", rows=[2, 5])

    def same(X, y, **options):
        changes = leave_one_out(
            LogisticRegression(**TIGHT), X, y, loss="log_loss", rows=[2, 5], **options
        )
        assert_allclose(changes, expected, rtol=1e-5, atol=1e-9)

    same(sparse.coo_array(X), y)
    same(X.tolist(), y.tolist())
    with joblib.parallel_config(backend="threading"):
        same(X, y, n_jobs=2)


def test_frames_are_taken_by_position(classes):
    pd = import_optional("pandas")
    X, y = classes
    frame, series = pd.DataFrame(X, index=np.arange(40)[::-1]), pd.Series(y)
    changes = leave_one_out(DecisionTreeClassifier(max_depth=1, random_state=0), frame, series,
                            loss="zero_one", rows=[0, 39])  # fmt: skip
    tree = DecisionTreeClassifier(max_depth=1, random_state=0)
    expected = brute_force(tree, X, y, lambda m, X, y: (m.predict(X) != y) * 1.0, [0, 39], X, y)
    assert_array_equal(changes, expected)


def test_polars_frames_are_taken_by_position(regression):
    pl = import_optional("polars")
    X, y = regression
    changes = leave_one_out(Ridge(), pl.DataFrame(X), pl.Series(y), loss="squared_error", rows=[3])
    assert_allclose(changes, leave_one_out(Ridge(), X, y, loss="squared_error", rows=[3]))


@pytest.mark.parametrize(
    "estimator",
    [
        PoissonRegressor(alpha=0.1, **TIGHT),
        HuberRegressor(tol=1e-10, max_iter=1000),
        ElasticNet(alpha=0.05, tol=1e-14, max_iter=10_000),
        make_pipeline(StandardScaler(), Lasso(alpha=0.05, tol=1e-14, max_iter=10_000)),
    ],
    ids=repr,
)
def test_every_warm_start_is_a_start_of_the_same_problem(regression, estimator):
    X, y = regression[0], np.abs(regression[1])
    assert warm(clone(estimator).fit(X, y)) is not None
    changes = leave_one_out(estimator, X, y, loss="squared_error", rows=[0, 9])
    expected = brute_force(estimator, X, y, squares, [0, 9], X, y)
    assert agreement(changes, expected).relative_error < 1e-3  # both by lbfgs, for two of them


def test_the_estimator_stays_as_it_was(regression):
    X, y = regression
    model = Ridge().fit(X[:5], y[:5])
    before = model.coef_.copy()
    leave_one_out(model, X, y, loss="squared_error", rows=[0])
    assert_array_equal(model.coef_, before)


def test_a_mean_agrees_with_itself():
    y = np.arange(6.0) ** 2
    changes = leave_one_out(DummyRegressor(), np.zeros((6, 1)), y, loss="absolute_error")
    means = (y.sum() - y) / 5
    expected = np.abs(y[:, None] - means) - np.abs(y - y.mean())[:, None]
    assert agreement(changes, expected).relative_error < 1e-12


X6, Y6 = np.arange(6.0)[:, None], np.array([0, 0, 0, 0, 1, 1])
CASES = [
    (Ridge(), Y6, {"loss": "squared_error", "rows": [6]}, "from 6 to 6, but .* 0 to 5"),
    (Ridge(), Y6, {"loss": "squared_error", "rows": [-1]}, "not labels of an index"),
    (Ridge(), Y6, {"loss": "squared_error", "rows": [[]]}, "a group of at least one"),
    (Ridge(), Y6, {"loss": "squared_error", "rows": [0.5]}, "must be a position"),
    (Ridge(), Y6, {"loss": "squared_error", "rows": []}, "nothing to delete"),
    (Ridge(), Y6, {"loss": "squared_error", "rows": [range(6)]}, "so nothing is left"),
    (Ridge(), Y6, {"loss": "mse"}, "loss is 'mse', but it must be a callable"),
    (Ridge(), Y6, {"loss": lambda m, X, y: 1.0}, r"shape \(\) for 6 queries"),
    (Ridge(), Y6, {"loss": lambda m, X, y: np.full(6, np.nan)}, "NaN at 6 of the 6 queries"),
    (Ridge(), Y6, {"loss": "squared_error", "y_query": Y6}, "y_query is given without X_query"),
    (Ridge(), Y6, {"loss": "log_loss"}, "Ridge has no predict_proba"),
    (LogisticRegression(), np.c_[Y6, Y6], {"loss": "log_loss"}, "one label a row, but y has 2"),
    (KMeans(2), None, {"loss": "log_loss"}, "compares labels, but there are none"),
    (
        LogisticRegression(),
        Y6,
        {"loss": "log_loss", "rows": [[4, 5]]},
        "Only the class .*0.* left",
    ),
    (
        LogisticRegression(),
        Y6,
        {"loss": "log_loss", "X_query": X6[:1], "y_query": [7]},
        r"labels \[7\] that no training row has",
    ),
    (
        Ridge(),
        Y6,
        {"loss": "squared_error", "sample_weight": [1, 0, 0, 0, 0, 0], "rows": [0]},
        "keeps have weight 0",
    ),
]


@pytest.mark.parametrize(("estimator", "y", "options", "message"), CASES)
def test_refusals(estimator, y, options, message):
    with pytest.raises(ValueError, match=message):
        leave_one_out(estimator, X6, y, **options)

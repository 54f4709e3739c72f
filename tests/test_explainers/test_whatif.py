"""Questions about other values of training rows: what is asked, checked and labelled."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.compose import make_column_transformer
from sklearn.covariance import EmpiricalCovariance
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skinfluence import InfluenceExplainer
from skinfluence.engines import DeletionEngine
from skinfluence.exceptions import UnsupportedEstimatorError
from tests.conftest import import_optional

rng = np.random.default_rng(0)
ROWS = rng.normal(size=(12, 3))
CLASSES = np.arange(12) % 3
NAMES = ["age", "income", "height"]


class Asked:
    """An engine's answers: what it was asked, and numbers that say where they belong."""

    def __init__(self, explainer):
        self.width = explainer._fit_X.shape[1]
        explainer._engine.perturbation = self.perturbation
        explainer._engine.score_replacement = self.score_replacement

    def perturbation(self, queries, rows, features=None):
        self.features = features
        features = np.arange(self.width) if features is None else features
        grid = np.meshgrid(np.arange(queries.shape[0]), rows, features, indexing="ij")
        return 100.0 * grid[0] + 10.0 * grid[1] + grid[2]

    def score_replacement(self, queries, rows, new, new_y):
        self.new, self.new_y = new, new_y
        return np.add.outer(100.0 * np.arange(queries.shape[0]), 1.0 * rows)


def explained(X=ROWS, y=CLASSES, model=None):
    explainer = InfluenceExplainer(LogisticRegression() if model is None else model).fit(X, y)
    return explainer, Asked(explainer)


def frame(rows=ROWS):
    pandas = import_optional("pandas")
    return pandas.DataFrame(rows, columns=NAMES, index=[f"r{i}" for i in range(len(rows))])


# -- which features -------------------------------------------------------------------------------


def test_names_of_the_features_of_the_model():
    explainer, _ = explained()
    assert_array_equal(explainer.model_feature_names_, ["x0", "x1", "x2"])
    explainer, _ = explained(frame())
    assert_array_equal(explainer.model_feature_names_, NAMES)


def test_names_behind_the_first_steps():
    pandas = import_optional("pandas")
    X = pandas.DataFrame({"size": ROWS[:, 0], "kind": np.array(["a", "b", "c"])[CLASSES[::-1]]})
    head = make_column_transformer((StandardScaler(), ["size"]), (OneHotEncoder(), ["kind"]))
    explainer, asked = explained(X, model=make_pipeline(head, LogisticRegression()))
    names = ["standardscaler__size", *(f"onehotencoder__kind_{k}" for k in "abc")]
    assert_array_equal(explainer.model_feature_names_, names)
    assert explainer.perturbation(X[:2], CLASSES[:2], features=names[1]).shape == (2, 12, 1)
    assert_array_equal(asked.features, [1])
    with pytest.raises(ValueError, match=r"no feature of this name. The nearest are 'onehot"):
        explainer.perturbation(X[:2], CLASSES[:2], features="onehotencoder__kind")


@pytest.mark.parametrize(
    ("features", "expected"),
    [
        (["height", "age"], [2, 0]),
        ("income", [1]),
        (2, [2]),
        (np.array([1, 0]), [1, 0]),
        (np.array([True, False, True]), [0, 2]),
        (["age", 2], [0, 2]),
        ([], []),
    ],
    ids=str,
)
def test_features_by_name_position_and_mask(features, expected):
    explainer, asked = explained(frame())
    slopes = explainer.perturbation(frame(ROWS[:2]), CLASSES[:2], rows=[3], features=features)
    assert_array_equal(asked.features, expected)
    assert_array_equal(slopes, np.array([[[30]], [[130]]]) + np.array(expected).reshape(1, 1, -1))


@pytest.mark.parametrize(
    ("features", "match"),
    [
        ("incme", r"no feature of this name. The nearest are 'income'; model_feature_names_"),
        ("zzz", r"The nearest are 'age', 'income', 'height'"),
        ([3], r"holds the position 3, and the model has 3 features. Pass positions from 0 to 2"),
        (-1, r"holds the position -1"),
        (1.0, r"holds 1.0, which is neither a name nor a position"),
        ([True, False], r"holds True, which is neither a name nor a position"),
    ],
    ids=str,
)
def test_unknown_features_are_refused(features, match):
    explainer, _ = explained(frame())
    with pytest.raises(ValueError, match=match):
        explainer.perturbation(frame(), CLASSES, features=features)


def test_a_name_of_two_columns_is_refused():
    explainer, _ = explained()
    explainer.model_feature_names_ = np.array(["a", "b", "a"], dtype=object)
    with pytest.raises(ValueError, match=r"'a', the name of 2 columns. Pass positions: 0, 2"):
        explainer.perturbation(ROWS, CLASSES, features="a")


def test_memory_is_that_of_the_features_asked_for():
    explainer, _ = explained()
    with config_context(working_memory=2.0 * 8 * 12 * 12 / 2**20):
        with pytest.raises(ValueError, match=r"in 3 features of all 12 rows do not fit working_"):
            explainer.perturbation(ROWS, CLASSES)
        assert explainer.perturbation(ROWS, CLASSES, features=[0, 2]).shape == (12, 12, 2)
        assert explainer.perturbation(ROWS, CLASSES, rows=np.arange(12)).shape == (12, 12, 3)


# -- of every engine ------------------------------------------------------------------------------

MODELS = {
    "logistic": (LogisticRegression(), CLASSES),
    "ridge": (Ridge(), ROWS @ [1.0, 2.0, 3.0]),
    "kernel": (KernelRidge(kernel="rbf", gamma=0.3), ROWS @ [1.0, 2.0, 3.0]),
    "naive Bayes": (GaussianNB(), CLASSES),
    "density": (EmpiricalCovariance(), None),
}


@pytest.mark.parametrize("name", MODELS)
def test_derivatives_are_those_of_replacements_behind_a_scaler(name):
    """In units of the scaler: a step of one standard deviation in a raw row is a step of 1."""
    model, y = MODELS[name]
    scaler = StandardScaler().fit(5.0 * ROWS)
    explainer = InfluenceExplainer(make_pipeline(scaler, model)).fit(5.0 * ROWS, y)
    queries = 5.0 * ROWS[:2], None if y is None else y[:2]
    step = 1e-4
    new = np.repeat(5.0 * ROWS[[7]], 2, axis=0)
    new[:, 1] += np.array([step, -step]) * scaler.scale_[1]
    changes = explainer.score_replacement(new, rows=[7, 7], queries=queries)
    slopes = explainer.perturbation(*queries, rows=[7], features="x1")
    finite = (changes[:, 0] - changes[:, 1]) / (2 * step)
    assert_allclose(slopes[:, 0, 0], finite, rtol=1e-5, atol=1e-8)


# -- labels ---------------------------------------------------------------------------------------


def test_derivatives_in_a_pandas_frame():
    pandas = import_optional("pandas")
    explainer, _ = explained(frame())
    explainer.set_output(transform="pandas")
    found = explainer.perturbation(
        frame()[:2], CLASSES[:2], rows=[4, 3], features=["height", "age"]
    )
    index = pandas.MultiIndex.from_product([["r0", "r1"], ["r4", "r3"]], names=["query", "row"])
    values = np.array([[42.0, 40.0], [32.0, 30.0], [142.0, 140.0], [132.0, 130.0]])
    expected = pandas.DataFrame(values, index=index, columns=["height", "age"])
    pandas.testing.assert_frame_equal(found, expected, check_column_type=False)
    assert found.loc[("r1", "r3"), "height"] == 132.0


def test_derivatives_in_a_polars_frame():
    polars = import_optional("polars")
    explainer, _ = explained()
    explainer.set_output(transform="polars")
    found = explainer.perturbation(ROWS[:2], CLASSES[:2], rows=[4, 3], features=[1])
    expected = {"query": [0, 0, 1, 1], "row": [4, 3, 4, 3], "x1": [41.0, 31.0, 141.0, 131.0]}
    assert found.equals(polars.DataFrame(expected))
    with pytest.raises(ValueError, match="Polars frames need unique column names, two of which"):
        explainer.perturbation(ROWS[:2], CLASSES[:2], rows=[4], features=[1, 1])


def test_replacements_in_a_frame():
    pandas = import_optional("pandas")
    explainer, _ = explained(frame())
    explainer.set_output(transform="pandas")
    queries = (frame()[5:7], CLASSES[5:7])
    found = explainer.score_replacement(y_new=[0, 1], rows=[2, 9], queries=queries)
    values = [[2.0, 9.0], [102.0, 109.0]]
    expected = pandas.DataFrame(values, index=["r5", "r6"], columns=["r2", "r9"])
    pandas.testing.assert_frame_equal(found, expected)


def test_parameters_are_queries_too():
    pandas = import_optional("pandas")
    explainer = InfluenceExplainer(Ridge(), target="params").fit(ROWS, ROWS @ [1.0, 2.0, 3.0])
    Asked(explainer)
    explainer.set_output(transform="pandas")
    found = explainer.score_replacement(2 * ROWS[:1], rows=[0], queries=None)
    assert list(found.index) == ["x0", "x1", "x2", "intercept"]
    assert isinstance(found, pandas.DataFrame)
    assert explainer.perturbation(None, rows=[0]).shape == (4, 3)


# -- replacements ---------------------------------------------------------------------------------


def test_new_rows_pass_through_the_first_steps():
    model = make_pipeline(StandardScaler(), LogisticRegression())
    explainer, asked = explained(model=model)
    new = ROWS[:2] + 1.0
    explainer.score_replacement(new, rows=[3, 3], queries=(ROWS, CLASSES))
    assert_array_equal(asked.new, explainer.estimator_[0].transform(new))
    assert asked.new_y is None
    explainer.score_replacement(y_new=[1, 2], rows=[3, 4], queries=(ROWS, CLASSES))
    assert_array_equal(asked.new, explainer.estimator_[0].transform(ROWS[3:5]))
    assert_array_equal(asked.new_y, [1, 2])


def test_one_row_and_one_label():
    words = np.array(["no", "maybe", "yes"])[CLASSES]
    explainer, asked = explained(y=words)
    explainer.score_replacement(y_new="yes", rows=[3, 4], queries=(ROWS, words))
    assert_array_equal(asked.new_y, ["yes", "yes"])
    found = explainer.score_replacement(ROWS[:1], "no", rows=3, queries=(ROWS, words))
    assert found.shape == (12, 1)
    assert explainer.perturbation(ROWS, words, rows=3).shape == (12, 1, 3)


@pytest.mark.parametrize(
    ("new", "new_y", "rows", "match"),
    [
        (None, None, [0], r"X_new and y_new are both None, so that nothing is replaced"),
        (ROWS[:2], None, [0], r"There are 2 new rows and 1 positions of rows that they replace"),
        (ROWS[:1], [0, 1], [0], r"There are 2 new targets and 1 positions"),
        (None, [0, 1, 2], [0, 1], r"There are 3 new targets and 2 positions"),
        (ROWS[:1], None, [12], r"a position outside the 12 training rows"),
        (ROWS[:1, :2], None, [1], r"X has 2 features"),
    ],
)
def test_replacements_that_are_refused(new, new_y, rows, match):
    explainer, _ = explained()
    with pytest.raises(ValueError, match=match):
        explainer.score_replacement(new, new_y, rows=rows, queries=(ROWS, CLASSES))


def test_queries_that_are_no_pair_are_refused():
    explainer, _ = explained()
    with pytest.raises(ValueError, match=r"queries has 3 entries, and \(X, y\) is needed"):
        explainer.score_replacement(ROWS[:1], rows=[0], queries=(ROWS, CLASSES, CLASSES))


@pytest.mark.parametrize("question", ["perturbation", "score_replacement"])
def test_what_an_engine_does_not_know_is_refused(question):
    engine = InfluenceExplainer(Ridge()).fit(ROWS, ROWS[:, 0])._engine
    rows = [None] * (2 if question == "perturbation" else 4)
    with pytest.raises(UnsupportedEstimatorError, match=rf"{question} asks for other values of"):
        getattr(DeletionEngine, question)(engine, *rows)


def test_one_row_is_passed_as_a_table():
    rows = frame()
    explainer, _ = explained(rows, model=make_pipeline(StandardScaler(), LogisticRegression()))
    for one in (rows.iloc[3], ROWS[3]):
        with pytest.raises(
            ValueError, match=r"X_new has 1 dimensions.*Pass one row as frame.iloc"
        ):
            explainer.score_replacement(one, rows=[3], queries=(rows, CLASSES))


def test_names_before_a_column_transformer_are_the_nearest():
    rows = frame()
    columns = make_column_transformer((StandardScaler(), NAMES), verbose_feature_names_out=True)
    explainer, _ = explained(rows, model=make_pipeline(columns, LogisticRegression()))
    with pytest.raises(ValueError, match=r"nearest are 'standardscaler__age'; model_feature_"):
        explainer.perturbation(rows, CLASSES, features=["age"])

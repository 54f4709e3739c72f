"""Labels of rows, and labelled results."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context

from skinfluence import KDEInfluence
from skinfluence._output import labelled, row_labels
from tests.conftest import import_optional

VALUES = np.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize("X", [np.zeros((3, 2)), [[0], [1], [2]], ("a", "b", "c")], ids=str)
def test_rows_without_an_index_are_positions(X):
    assert_array_equal(row_labels(X, 3), [0, 1, 2])


@pytest.mark.parametrize("index", [["x", "y", "x"], [5, 3, 4]], ids=str)
def test_pandas_rows_keep_their_index(index):
    pandas = import_optional("pandas")
    assert_array_equal(row_labels(pandas.DataFrame({"a": [0, 1, 2]}, index=index), 3), index)
    assert_array_equal(row_labels(pandas.Series([0, 1, 2], index=index), 3), index)


def test_polars_rows_are_positions():
    polars = import_optional("polars")
    assert_array_equal(row_labels(polars.DataFrame({"a": [0, 1, 2]}), 3), [0, 1, 2])


def test_default_output_is_the_array_itself():
    assert labelled(KDEInfluence(), VALUES, index=[0, 1], columns=list("abc")) is VALUES


def test_pandas_output():
    pandas = import_optional("pandas")
    explainer = KDEInfluence().set_output(transform="pandas")
    frame = labelled(explainer, VALUES, index=["r", "s"], columns=["a", "a", "b"])
    expected = pandas.DataFrame(VALUES, index=["r", "s"], columns=["a", "a", "b"])
    pandas.testing.assert_frame_equal(frame, expected)
    series = labelled(explainer, VALUES[0], index=list("xyz"), columns="self_influence")
    expected = pandas.Series(VALUES[0], index=list("xyz"), name="self_influence")
    pandas.testing.assert_series_equal(series, expected)


def test_global_configuration_and_its_override():
    pandas = import_optional("pandas")
    with config_context(transform_output="pandas"):
        frame = labelled(KDEInfluence(), VALUES, index=[0, 1], columns=[0, 1, 2])
        assert isinstance(frame, pandas.DataFrame)
        plain = KDEInfluence().set_output(transform="default")
        assert labelled(plain, VALUES, index=[0, 1], columns=[0, 1, 2]) is VALUES


def test_polars_output():
    polars = import_optional("polars")
    explainer = KDEInfluence().set_output(transform="polars")
    frame = labelled(explainer, VALUES, index=[0, 1], columns=[10, 11, 12])
    assert isinstance(frame, polars.DataFrame)
    assert frame.columns == ["10", "11", "12"]
    assert_array_equal(frame.to_numpy(), VALUES)
    series = labelled(explainer, VALUES[0], index=[0, 1, 2], columns="self_influence")
    assert series.name == "self_influence"
    assert_array_equal(series.to_numpy(), VALUES[0])


def test_polars_refuses_repeated_names():
    import_optional("polars")
    explainer = KDEInfluence().set_output(transform="polars")
    with pytest.raises(ValueError, match=r"need unique column names.*Reset the index"):
        labelled(explainer, VALUES, index=[0, 1], columns=["a", "b", "a"])


def test_unknown_container():
    explainer = KDEInfluence().set_output(transform="xarray")
    with pytest.raises(ValueError, match="output config must be in"):
        labelled(explainer, VALUES, index=[0, 1], columns=[0, 1, 2])

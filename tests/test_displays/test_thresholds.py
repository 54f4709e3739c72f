"""Thresholds by name: their values, and what is said about names that there are not."""

import re
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from sklearn.linear_model import LinearRegression

from skinfluence.diagnostics.thresholds import thresholds
from skinfluence.displays._thresholds import STATISTICS, read, resolve
from tests.test_diagnostics.cases import diagnose

N, K, DF = 45, 3.0, 42.0
T = stats.t(DF - 1).ppf(0.975)
BONFERRONI = stats.t(DF - 1).ppf(1 - 0.025 / N)
VALUES = {
    ("cooks_distance", "4/n"): 4 / 45,
    ("cooks_distance", "4/(n-k)"): 4 / 42,
    ("cooks_distance", "F median"): stats.f(K, DF).median(),
    ("cooks_distance", "1"): 1.0,
    ("leverage", "2k/n"): 6 / 45,
    ("leverage", "3k/n"): 9 / 45,
    ("resid_studentized_external", "2"): 2.0,
    ("resid_studentized_external", "3"): 3.0,
    ("resid_studentized_external", "t 5%"): T,
    ("resid_studentized_external", "Bonferroni 5%"): BONFERRONI,
    ("resid_studentized_internal", "2"): 2.0,
    ("resid_studentized_internal", "3"): 3.0,
    # r^2 / df is Beta(1/2, (df - 1) / 2)
    ("resid_studentized_internal", "t 5%"): np.sqrt(DF * stats.beta(0.5, 20.5).ppf(0.95)),
    ("resid_studentized_internal", "Bonferroni 5%"): np.sqrt(
        DF * stats.beta(0.5, 20.5).ppf(1 - 0.05 / N)
    ),
    ("dffits", "2*sqrt(k/n)"): 2 * np.sqrt(3 / 45),
    ("dffits", "3*sqrt(k/(n-k))"): 3 * np.sqrt(3 / 42),
    ("dffits", "1"): 1.0,
    ("dfbetas", "2/sqrt(n)"): 2 / np.sqrt(45),
    ("dfbetas", "1"): 1.0,
}


def test_every_name_is_covered():
    assert set(VALUES) == {(s, name) for s, known in STATISTICS.items() for name in known.rules}


@pytest.mark.parametrize(("statistic", "name"), VALUES)
def test_value_of_each_name(statistic, name):
    (found,) = resolve(name, statistic, n=N, k=K, df=DF)
    assert found.name == name
    # SciPy 1.11 has quantiles of t to 3e-9
    assert_allclose(found.value, VALUES[statistic, name], rtol=1e-8)


@pytest.mark.parametrize(("statistic", "name"), VALUES)
def test_diagnostics_have_the_same(statistic, name):
    assert_allclose(thresholds(K, N, DF)[statistic][name], VALUES[statistic, name], rtol=1e-8)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_auto_is_the_defaults_as_far_as_they_are_known(statistic):
    defaults = list(STATISTICS[statistic].defaults)
    assert [t.name for t in resolve("auto", statistic, n=N, k=K, df=DF)] == defaults
    without = [t.name for t in resolve("auto", statistic, n=N, k=None, df=None)]
    assert without == [name for name in defaults if name in {"4/n", "2/sqrt(n)"}]


def test_texts_are_written_as_mathematics():
    names = [("dffits", "2*sqrt(k/n)"), ("dfbetas", "2/sqrt(n)"), ("cooks_distance", "4/(n-k)")]
    found = [resolve(name, statistic, n=N, k=K, df=DF)[0].text for statistic, name in names]
    assert found == ["2√(k/n)", "2/√n", "4/(n\N{MINUS SIGN}k)"]


def test_numbers_lists_and_none():
    found = resolve(["4/n", 0.25, np.float32(2)], "cooks_distance", n=N, k=None, df=None)
    assert [(t.name, t.value) for t in found] == [("4/n", 4 / 45), ("0.25", 0.25), ("2", 2.0)]
    assert resolve(None, "cooks_distance", n=N, k=K, df=DF) == []
    assert resolve("auto", "self influence", n=N, k=K, df=DF) == []


@pytest.mark.parametrize("asked", ["5/n", 0, -1.0, np.inf, np.nan, True, {"4/n"}])
def test_unknown_thresholds_are_refused_with_the_known_names(asked):
    message = "cooks_distance has these by name: '4/n', '4/(n-k)', 'F median', '1'. Pass a name"
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve(asked, "cooks_distance", n=N, k=K, df=DF)


def test_a_statistic_without_names_says_so():
    with pytest.raises(ValueError, match="self influence has these by name: none"):
        resolve("4/n", "self influence", n=N, k=K, df=DF)


@pytest.mark.parametrize(
    ("statistic", "name", "k", "df"),
    [
        ("cooks_distance", "F median", None, None),
        ("cooks_distance", "4/(n-k)", 45.0, 0.0),
        ("dffits", "2*sqrt(k/n)", None, DF),
        ("resid_studentized_external", "t 5%", K, 1.0),
        ("resid_studentized_internal", "Bonferroni 5%", K, None),
    ],
)
def test_what_cannot_be_computed_is_refused(statistic, name, k, df):
    message = f"threshold '{name}' of {statistic} cannot be computed from n_params = {k}"
    with pytest.raises(ValueError, match=re.escape(message)):
        resolve(name, statistic, n=N, k=k, df=df)


def plane(n):
    """Diagnostics of a plane (3 parameters) through n rows."""
    rng = np.random.default_rng(0)
    return diagnose(LinearRegression(), rng.normal(size=(n, 2)), rng.normal(size=n))


@pytest.mark.parametrize("statistic", ["resid_studentized_external", "dffits", "dfbetas"])
def test_what_one_degree_of_freedom_is_too_few_for_is_refused(statistic):
    message = f"{statistic} does not exist for this fit: 4 rows less 3 parameters leave df_resid"
    with pytest.raises(ValueError, match=f"{message} = 1 degrees of freedom, and it needs more"):
        read(plane(4), statistic)


def test_what_no_degree_of_freedom_is_too_few_for_is_refused():
    none = {"n_rows": 3, "n_effective_params": 3.0, "df_resid": 0.0}
    diagnostics = SimpleNamespace(cooks_distance=np.full(3, np.nan), **none)
    with pytest.raises(ValueError, match=r"leave df_resid = 0 .* more than 0\. Fit fewer columns"):
        read(diagnostics, "cooks_distance")


def test_what_there_is_is_read():
    found = plane(4)
    assert_array_equal(read(found, "cooks_distance"), found.cooks_distance)
    assert np.isinf(read(plane(3), "resid_studentized_external")).all()

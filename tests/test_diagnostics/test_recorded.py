"""Diagnostics against numbers that other programs have printed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression

from skinfluence.diagnostics import Diagnostics
from skinfluence.objectives.losses import HalfDeviance
from tests.conftest import import_optional
from tests.test_diagnostics.cases import Proportion, diagnose, of_problem
from tests.test_diagnostics.record import PATH, ROWS, data

RECORDED = json.loads(PATH.read_text(encoding="utf-8"))
BY_PARAMETER = {"params", "bse", "d_params", "dfbetas"}
# statsmodels' standard errors of a GLM are those of its last but one iteration.
TOLERANCE = {"ols": 1e-10, "logit": 1e-8, "poisson": 1e-8, "gamma": 1e-8}


def found(name):
    X, y = data()[name]
    if name == "ols":
        return diagnose(LinearRegression(), X, y)
    if name == "logit":
        return diagnose(LogisticRegression(C=np.inf, max_iter=1000), X, y)
    loss = HalfDeviance({"poisson": 1, "gamma": 2}[name])
    return Diagnostics(*of_problem(loss, X, y), expected=True)


@pytest.mark.parametrize("name", ["ols", "logit", "poisson", "gamma"])
def test_statsmodels(name):
    diagnostics, numbers = found(name), dict(RECORDED[name])
    assert RECORDED["rows"] == ROWS
    order = np.argsort(diagnostics.cooks_distance)[::-1][:5]
    assert order.tolist() == numbers.pop("top_cooks")
    sum_cooks = numbers.pop("sum_cooks")
    assert_allclose(diagnostics.cooks_distance.sum(), sum_cooks, rtol=TOLERANCE[name])
    assert_allclose(diagnostics.leverage.sum(), diagnostics.n_effective_params, rtol=1e-12)
    for key, recorded in numbers.items():
        own = np.asarray(getattr(diagnostics, key))
        own = own[ROWS] if own.shape[:1] == diagnostics.leverage.shape else own
        recorded = np.array(recorded)
        if key in BY_PARAMETER:
            recorded = np.concatenate([recorded[..., 1:], recorded[..., :1]], axis=-1)
        size = np.abs(recorded).max()
        assert_allclose(own, recorded, rtol=TOLERANCE[name], atol=1e-11 * size, err_msg=key)


def test_r_grouped_binomial():
    """``glm(cbind(y, 40 - y) ~ x, binomial)``: hatvalues and cooks.distance."""
    x, y = np.arange(1.0, 6.0)[:, None], np.array([0.0, 2, 14, 19, 30])
    found = Diagnostics(*of_problem(Proportion(), x, y / 40, np.full(5, 40.0)))
    hat = [0.25944, 0.36964, 0.35358, 0.38921, 0.62813]
    cook = [0.25220, 0.26108, 1.28986, 0.08450, 0.36362]
    assert_allclose(found.leverage, hat, rtol=0, atol=5e-6)
    assert_allclose(found.cooks_distance, cook, rtol=0, atol=5e-6)


def results_of_statsmodels():
    module = import_optional("statsmodels.stats.tests.results")
    return Path(next(iter(module.__path__)))


def test_sas_logistic():
    """PROC LOGISTIC on Finney's vaso-constriction data, in Pregibon (1981)."""
    table = np.genfromtxt(
        results_of_statsmodels() / "binary_constrict.csv", delimiter=",", names=True
    )
    X = np.column_stack([table["log_rate"], table["log_volumne"]])
    found = diagnose(LogisticRegression(C=np.inf), X, table["constrict"])
    sas = np.genfromtxt(
        results_of_statsmodels() / "results_influence_logit.csv", delimiter=",", skip_header=1
    )
    assert_allclose(found.resid_pearson, sas[:, 3], rtol=0, atol=6e-5)
    assert_allclose(found.leverage, sas[:, 5], rtol=0, atol=6e-5)
    assert_allclose(found.dfbetas, np.roll(sas[:, 6:9], -1, axis=1), rtol=0, atol=1e-4)
    assert_allclose(3 * found.cooks_distance, sas[:, 9], rtol=0, atol=6e-5)
    assert_allclose(3 * found.cooks_distance * (1 - found.leverage), sas[:, 10], rtol=0, atol=6e-5)


def test_r_least_squares():
    """``lm`` on quarterly growth: ls.diag and influence.measures."""
    macro = import_optional("statsmodels.datasets.macrodata").load_pandas().data
    growth = 400 * np.diff(np.log(macro[["realinv", "realgdp"]].to_numpy()), axis=0)
    X = np.column_stack([growth[:, 1], macro["realint"].to_numpy()[:-1]])
    found = diagnose(LinearRegression(), X, growth[:, 0])
    folder = results_of_statsmodels()
    r = json.loads((folder / "influence_lsdiag_R.json").read_text(encoding="utf-8"))
    assert_allclose(np.sqrt(found.scale), r["std.dev"], rtol=1e-10)
    assert_allclose(found.leverage, r["hat"], rtol=1e-10)
    assert_allclose(found.cooks_distance, r["cooks"], rtol=1e-10, atol=1e-14)
    assert_allclose(found.resid_studentized_internal, r["std.res"], rtol=1e-10)
    assert_allclose(found.resid_studentized_external, r["stud.res"], rtol=1e-10)
    assert_allclose(found.dffits, r["dfits"], rtol=1e-10)
    measures = np.genfromtxt(
        folder / "influence_measures_R.csv", delimiter=",", skip_header=1, usecols=range(1, 8)
    )
    assert_allclose(found.dfbetas, np.roll(measures[:, :3], -1, axis=1), rtol=1e-9, atol=1e-12)
    assert_allclose(found.cov_ratio, measures[:, 4], rtol=1e-10)

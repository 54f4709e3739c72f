"""Parameters that linear models do not have, and those of conjugate gradients."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge

from skinfluence import InfluenceExplainer
from tests.cases import ROWS, TARGETS

y = TARGETS["real"]


class Solver:
    def invert(self, operator):
        return operator

    def __repr__(self):  # in the name of a test, on which the workers must agree
        return "Solver()"


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"loss": "mse"}, "loss='mse' is the loss of a torch module.*Leave loss=None"),
        ({"loss": np.square}, "is the loss of a torch module.*in the estimator"),
        ({"weight_decay": 0.1}, r"weight_decay=0.1 is the penalty.*Leave weight_decay=None"),
        ({"weight_decay": {"coef": 0.1}}, r"is the penalty.*of Ridge is read off it"),
        ({"params": "last_layer"}, "params='last_layer' chooses among.*target='coef:NAME'"),
        ({"params": ["x0"]}, "chooses among the parameters of a torch module"),
        ({"curvature": "ggn"}, "curvature='ggn' approximates.*hessian='expected'"),
        ({"damping": 0.01}, "damping=0.01 makes the curvature.*Leave damping=None"),
        ({"curvature": len}, "built-in function len.* approximates.*Leave curvature=None"),
        ({"resume": "factors"}, "resume='factors' records.*Ridge has none. Leave resume=None"),
        ({"projection": 10}, "projection=10 shortens the embedding.*Leave projection=None"),
        ({"solver": "lissa"}, "solver='lissa' is for networks.*'auto', 'dense' or 'cg'"),
        ({"solver": Solver()}, "is for networks.*'auto', 'dense' or 'cg'"),
        ({"tol": 1e-4}, "tol=0.0001 is about conjugate gradients.*set solver='cg'"),
        ({"max_iter": 9, "solver": "dense"}, "max_iter=9 is about.*solver='dense' does not"),
    ],
    ids=str,
)
def test_linear_models_refuse(option, message):
    with pytest.raises(ValueError, match=message):
        InfluenceExplainer(Ridge(), **option).fit(ROWS, y)


@pytest.mark.parametrize(
    "option",
    [
        {"weight_decay": -1.0},
        {"params": "first_layer"},
        {"curvature": "newton"},
        {"resume": 3},
        {"damping": -0.1},
        {"tol": 0.0},
        {"max_iter": 0},
        {"projection": 0},
        {"solver": "lu"},
        {"loss": 3},
    ],
    ids=str,
)
def test_values_that_no_model_has(option):
    (name,) = option
    with pytest.raises(ValueError, match=f"The '{name}' parameter of InfluenceExplainer must be"):
        InfluenceExplainer(Ridge(), **option).fit(ROWS, y)


def test_no_decay_and_no_damping_are_what_linear_models_have():
    assert_allclose(scores(weight_decay=0, damping=0.0)[0], scores()[0], rtol=1e-12)


def scores(**options):
    explainer = InfluenceExplainer(Ridge(), method="first_order", **options).fit(ROWS, y)
    return explainer.score_influence(ROWS[:5], y[:5], return_report=True)


def test_conjugate_gradients_stop_where_they_are_told():
    exact, _ = scores(solver="dense")
    loose, report = scores(solver="cg", tol=0.3)
    assert 1e-6 < report["residual"] <= 0.3
    assert np.abs(loose - exact).max() > 1e-6 * np.abs(exact).max()
    tight, report = scores(solver="cg", tol=1e-13, max_iter=100)
    assert report["residual"] <= 1e-13
    assert_allclose(tight, exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("tol", [None, 1e-8])
@pytest.mark.parametrize(
    "ask",
    [
        lambda explainer: explainer.score_influence(ROWS[:5], y[:5]),
        lambda explainer: explainer.score_influence(ROWS[:5], y[:5], reduce="sum"),
        lambda explainer: explainer.self_influence(),
        lambda explainer: explainer.d_params(),
        lambda explainer: explainer.score_groups(groups=[[0, 1], [2]]),
    ],
)
def test_conjugate_gradients_that_stop_early_say_so(ask, tol):
    options = {"method": "first_order", "solver": "cg", "max_iter": 1, "tol": tol}
    explainer = InfluenceExplainer(Ridge(), **options).fit(ROWS, y)
    message = "stopped after 1 iterations at a relative residual of .*Raise max_iter"
    with pytest.warns(ConvergenceWarning, match=message):
        ask(explainer)
    assert explainer._engine.report()["residual"] > 1e-6

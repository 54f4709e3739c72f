"""Representer values of networks obey the laws of every explainer: ours, and scikit-learn's."""

from __future__ import annotations

import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence import RepresenterExplainer
from skinfluence.testing import explainer_checks
from tests.cases import ROWS, TARGETS
from tests.conftest import import_optional

torch = import_optional("torch")

# Convex: a refit finds the same minimum whatever the order of the rows.
TIGHT = {"solver": "lbfgs", "tol": 1e-12, "max_iter": 20_000, "max_fun": 10**6, "random_state": 0}
NETS = {
    "softmax": (MLPClassifier(hidden_layer_sizes=(), alpha=1.0, **TIGHT), "classes"),
    "logistic": (MLPClassifier(hidden_layer_sizes=(), alpha=1.0, **TIGHT), "binary"),
    "squares": (MLPRegressor(hidden_layer_sizes=(), alpha=1.0, **TIGHT), "real"),
}
# Nothing is deleted that a refit could show, and outliers are ranked by alpha.
NOT_OURS = {"check_refits", "check_self_influence"}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{net}-{mode}")
        for net, (estimator, target) in NETS.items()
        for mode, options in (("trained", {}), ("pretrained", {"l2": 0.01}))
        for name, check in explainer_checks(
            RepresenterExplainer(estimator, mode=mode, **options), ROWS, TARGETS[target]
        )
        if name not in NOT_OURS
    ],
)
def test_explainer_law(check):
    check()


SHORT = {"solver": "lbfgs", "max_iter": 100, "random_state": 0, "hidden_layer_sizes": (3,)}


# The checks stop solvers long before a minimum.
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [
        RepresenterExplainer(MLPClassifier(**SHORT)),
        RepresenterExplainer(MLPRegressor(**SHORT)),
        RepresenterExplainer(MLPClassifier(**SHORT), mode="trained"),
    ]
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)

"""RepresenterExplainer obeys the laws of every explainer: ours that apply, and scikit-learn's."""

from __future__ import annotations

import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier, SGDRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.svm import LinearSVC
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence import RepresenterExplainer
from skinfluence.testing import explainer_checks
from tests.cases import ROWS, SPARSE, TARGETS
from tests.conftest import import_optional
from tests.test_sklearn_extras import FRAME_CHECKS, run

TIGHT = {"tol": 1e-10, "max_iter": 20_000}
# Nothing is deleted that a refit could show, and outliers are ranked by alpha.
NOT_OURS = {"check_refits", "check_self_influence"}
CASES = {
    "logistic": (RepresenterExplainer(LogisticRegression(**TIGHT)), ROWS, "binary"),
    "softmax": (RepresenterExplainer(LogisticRegression(**TIGHT)), ROWS, "classes"),
    "sparse": (RepresenterExplainer(LogisticRegression(**TIGHT)), SPARSE, "classes"),
    "ridge": (RepresenterExplainer(Ridge()), ROWS, "real"),
    "outputs": (RepresenterExplainer(Ridge(), output=1), ROWS, "outputs"),
    "rest": (RepresenterExplainer(RidgeClassifier()), ROWS, "classes"),
    "svc": (RepresenterExplainer(LinearSVC(tol=1e-8, max_iter=100_000)), ROWS, "classes"),
    "matched": (
        RepresenterExplainer(LogisticRegression(**TIGHT), mode="pretrained", l2=0.1),
        ROWS,
        "classes",
    ),
}


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{case}")
        for case, (explainer, X, kind) in CASES.items()
        for name, check in explainer_checks(explainer, X, TARGETS[kind])
        if name not in NOT_OURS
    ],
)
def test_explainer_law(check):
    check()


CONTRACTS = [
    RepresenterExplainer(LogisticRegression(), random_state=0),
    RepresenterExplainer(Ridge()),
    RepresenterExplainer(SGDRegressor(random_state=0)),
    RepresenterExplainer(LogisticRegression(), mode="pretrained"),
    RepresenterExplainer(
        make_pipeline(PolynomialFeatures(1, include_bias=False), LogisticRegression())
    ),
]


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@parametrize_with_checks(CONTRACTS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_every_parameter_has_a_constraint():
    explainer = RepresenterExplainer(Ridge())
    assert explainer._parameter_constraints.keys() == explainer.get_params(deep=False).keys()


@pytest.mark.parametrize(("container", "name"), FRAME_CHECKS)
def test_scikit_learn_extras_of_frames(container, name):
    import_optional(container)
    run(name, RepresenterExplainer(LogisticRegression()))

"""Every explainer obeys the same laws: ours, and scikit-learn's."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skinfluence.testing import explainer_checks
from tests.cases import CASES, CONTRACTS


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=f"{name}-{case}")
        for case in CASES
        if case.error is not None
        for name, check in explainer_checks(
            case.explainer,
            case.X,
            case.y,
            error=case.error,
            correlation=case.correlation,
            repeats=case.repeats,
        )
    ],
)
def test_explainer_law(check):
    check()


# Some checks fit on ten rows, and two components do not survive every deletion from those.
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@parametrize_with_checks([case.explainer for case in CASES if case.check_estimator] + CONTRACTS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)

"""Every explainer obeys the same laws: ours, and scikit-learn's."""

from __future__ import annotations

import pytest
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.multiclass import OneVsRestClassifier
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


WEIGHTED = (
    "check_all_zero_sample_weights_error",
    "check_sample_weight_equivalence_on_dense_data",
    "check_sample_weight_equivalence_on_sparse_data",
    "check_sample_weights_list",
    "check_sample_weights_not_an_array",
    "check_sample_weights_not_overwritten",
    "check_sample_weights_pandas_series",
    "check_sample_weights_shape",
)


def expected_failures(explainer):
    """Checks whose failure is right."""
    model = explainer.get_params().get("estimator")
    if isinstance(model, OneVsRestClassifier):
        return dict.fromkeys(WEIGHTED, "its fit takes weights only where they are routed")
    if isinstance(model, SGDClassifier | SGDRegressor):
        equivalent = [name for name in WEIGHTED if "equivalence" in name]
        return dict.fromkeys(equivalent, "its objective is a mean over rows, whatever they weigh")
    return {}


# Some checks fit on ten rows, and two components do not survive every deletion from those; others
# stop solvers long before a minimum.
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.DegenerateDeletionWarning")
@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@parametrize_with_checks(
    [case.explainer for case in CASES if case.check_estimator] + CONTRACTS,
    expected_failed_checks=expected_failures,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)

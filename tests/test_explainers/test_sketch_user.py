"""What users of InfluenceSketch and RepresenterExplainer get wrong, and are told."""

import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer, InfluenceSketch, RepresenterExplainer
from skinfluence.exceptions import UnsupportedEstimatorError

X, y = load_iris(return_X_y=True)


def test_functions_that_return_no_blocks_are_refused():
    model = LogisticRegression(max_iter=1000, tol=1e-8).fit(X, y)
    with pytest.raises(ValueError, match="X returned a NoneType where blocks of rows are needed"):
        InfluenceSketch(model).fit(lambda: None)


@pytest.mark.parametrize("explainer", [InfluenceExplainer, InfluenceSketch, RepresenterExplainer])
def test_classes_are_refused_by_name_with_targets_or_without(explainer):
    for targets in (y, None):
        with pytest.raises(UnsupportedEstimatorError, match="is the class LogisticRegression"):
            explainer(LogisticRegression).fit(X, targets)

"""What users of InfluenceSketch and RepresenterExplainer get wrong, and are told."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC

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


@pytest.mark.parametrize("model", [RandomForestClassifier(), SVC()], ids=str)
def test_what_a_sketch_reads_is_said(model):
    told = "InfluenceSketch sketches the features of these: ElasticNet, .*LogisticRegression, "
    with pytest.raises(UnsupportedEstimatorError, match=told) as caught:
        InfluenceSketch(model).fit(X, y)
    for other in ("MLP", "torch", "support vector", "Quantile", "MultiTask"):
        assert other not in str(caught.value)


@pytest.mark.parametrize("rows", [np.asarray, sparse.csr_array])
@pytest.mark.parametrize("blocks", [list, tuple])
def test_blocks_without_targets_are_told_to_bring_them(rows, blocks):
    model = LogisticRegression(max_iter=1000, tol=1e-8).fit(X, y)
    given = blocks([rows(X[:100]), rows(X[100:])])
    with pytest.raises(ValueError, match=r"of 2 matrices without targets. Yield \(X, y\) or"):
        InfluenceSketch(model).fit(given)
    with pytest.raises(ValueError, match="A block is a "):
        InfluenceSketch(model).fit(lambda: iter(given))

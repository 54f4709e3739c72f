"""The table of all estimators of scikit-learn is true: who is explained is, who is refused is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClusterMixin, OutlierMixin, TransformerMixin
from sklearn.covariance import MinCovDet
from sklearn.ensemble import RandomForestClassifier, VotingRegressor
from sklearn.linear_model import Ridge
from sklearn.multioutput import MultiOutputRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils import all_estimators

from skinfluence import InfluenceExplainer
from skinfluence.coverage import example_of, line_of, rows_for, try_out
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.reasons import Refusal, message_of, reason_of, reasons
from skinfluence.reasons.refusal import register
from tests.conftest import import_optional

# Deprecated classes have a line as long as they are there.
pytestmark = pytest.mark.filterwarnings("ignore:Class .* is deprecated:FutureWarning")

ESTIMATORS = dict(all_estimators())
# Those that need it, and have no reason to be refused where there is none.
TORCH = ("MLPClassifier", "MLPRegressor", "Perceptron")
ROWS = np.random.default_rng(0).normal(size=(12, 3))
TARGETS = (np.arange(12) % 2).astype(float)


def line(name):
    if name in TORCH:
        import_optional("torch")
    return line_of(example_of(ESTIMATORS[name]))


def test_every_estimator_has_a_line():
    """A new one of scikit-learn's has to be supported, or refused for a reason of its own."""
    missing = [
        name
        for name, cls in ESTIMATORS.items()
        if name not in TORCH and not line_of(example_of(cls)).explainers and name not in reasons()
    ]
    assert missing == [], (
        "write a reader or a family for these, or a reason in skinfluence.reasons"
    )


@pytest.mark.parametrize("name", ESTIMATORS)
def test_what_the_table_says_of_it(name):
    found = line(name)
    if found.explainers:
        _explained(found)
    else:
        _refused(found)


def _explained(found):
    trial = try_out(found)
    assert trial.scores.shape[1] == len(rows_for(found.estimator)[0])
    assert np.isfinite(trial.scores).all() and np.any(trial.scores)
    if trial.exact:
        assert trial.error is not None
        assert trial.error < 1e-6


def _refused(found):
    refusal = reasons()[found.name]
    X, y = rows_for(found.estimator)
    with pytest.raises(UnsupportedEstimatorError) as raised:
        InfluenceExplainer(found.estimator).fit(X, TARGETS if y is None else y)
    said = str(raised.value)
    assert said.startswith(f"{found.name} is refused because ")
    assert refusal.reason in said
    assert said.endswith(refusal.instead_of(found.estimator))
    assert "{" not in said


def test_no_reason_outlives_its_refusal():
    """What is read has no reason to be refused; delete it."""
    read = {name for name in reasons() if name in ESTIMATORS and _reads(ESTIMATORS[name])}
    assert read == set()


def _reads(cls):
    return InfluenceExplainer in line_of(example_of(cls)).explainers


def test_reasons_are_sentences():
    for name, refusal in reasons().items():
        assert refusal.reason[0].islower() and not refusal.reason.endswith("."), name
        assert refusal.alternative[0].isupper() and refusal.alternative.endswith("."), name


def test_a_subclass_is_refused_for_the_reason_of_its_base():
    class Forest(RandomForestClassifier):
        pass

    class Robust(MinCovDet):
        def fit(self, X, y=None):
            return super().fit(X)

    for estimator, reason in ((Forest(), "piecewise constant"), (Robust(), "determinant")):
        with pytest.raises(UnsupportedEstimatorError, match=f"is refused because .*{reason}"):
            InfluenceExplainer(estimator).fit(ROWS, TARGETS)


class Unknown(BaseEstimator):
    def fit(self, X, y=None):
        return self


class Mapping(TransformerMixin, Unknown):
    def transform(self, X):
        return X


class Grouping(ClusterMixin, Unknown):
    pass


class Finding(OutlierMixin, Unknown):
    pass


@pytest.mark.parametrize(
    ("estimator", "reason"),
    [
        (Mapping(), "Mapping is refused because it transforms rows and predicts nothing"),
        (Grouping(), "Grouping is refused because it assigns rows to clusters"),
        (Finding(), "Finding is refused because it labels rows as outliers"),
        (Unknown(), "Unknown is no estimator whose objective is known"),
        (type("XGBClassifier", (Unknown,), {"__module__": "xgboost.sklearn"})(), "of its trees"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_stranger_is_refused_for_what_it_can_do(estimator, reason):
    with pytest.raises(UnsupportedEstimatorError, match=reason):
        InfluenceExplainer(estimator).fit(ROWS, TARGETS)


@pytest.mark.parametrize(
    "wrapper",
    [
        make_pipeline(StandardScaler(), DecisionTreeRegressor()),
        MultiOutputRegressor(DecisionTreeRegressor()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_inside_a_wrapper_is_named(wrapper):
    with pytest.raises(UnsupportedEstimatorError, match="DecisionTreeRegressor is refused"):
        InfluenceExplainer(wrapper).fit(ROWS, np.column_stack([TARGETS, TARGETS]))


def test_alternatives_are_of_the_same_kind():
    assert "KNeighborsClassifier" in str(message_of(RandomForestClassifier()))
    assert "KNeighborsRegressor" in str(message_of(DecisionTreeRegressor()))
    assert message_of(Ridge()) is None
    assert reason_of(VotingRegressor([("ridge", Ridge())])) is reasons()["VotingClassifier"]


def test_one_reason_an_estimator():
    with pytest.raises(ValueError, match="KMeans has two reasons to be refused"):
        register(Refusal(("KMeans",), "it is", "Use another."))

"""Which engine reads which model, and how an explainer hands its questions over."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_html_repr, get_tags

from skinfluence import InfluenceExplainer, engines
from skinfluence.engines import DeletionEngine, LinearEngine, engine_of

X = np.random.default_rng(0).normal(size=(12, 3))
y = X @ [1.0, -1.0, 0.5]


class Module:
    """What stands for ``torch.nn.Module``, so that no torch is needed here."""

    def forward(self, rows):
        return rows

    def state_dict(self):
        return {}


class Net:
    """What stands for a skorch net."""

    def fit(self, X, y):
        return self


class Pairs:
    """A dataset, which brings its targets and has an index that is no index."""

    index = "of what?"

    def __init__(self, n):
        self.shape = (n,)


class Stub(DeletionEngine):
    """Engine that answers with what it was asked."""

    method, stationarity, score_unit, n_iter = "first_order", (0.0, 0.0), "loss", 7
    param_names = np.array(["weight"])

    @classmethod
    def check(cls, model, settings):
        pass

    @classmethod
    def needs_y(cls, X, settings):
        return not isinstance(X, Pairs)

    @classmethod
    def model_rows(cls, owner, heads, X, *, reset):
        for head in heads:
            X = head.transform(X)
        return X

    @classmethod
    def fit(cls, model, rows, y, sample_weight, settings, *, feature_names):
        engine = cls()
        engine.model, engine.y, engine.settings = model, y, settings
        engine.n_train, engine.sample_weight = rows.shape[0], sample_weight
        return engine

    def attributes(self):
        return {**super().attributes(), "damping_": 0.25}

    def queries(self, rows, y):
        return rows

    def tiles(self, queries, *, n_jobs, progress, desc):
        n = queries.shape[0]
        yield slice(0, n), slice(0, self.n_train), np.ones((n, self.n_train))

    def self_influence(self, rows, *, n_jobs, progress):
        return np.arange(self.n_train, dtype=float)[slice(None) if rows is None else rows]

    def score_groups(self, queries, names, members, *, progress):
        return np.array([len(rows) for rows in members], dtype=float)

    def d_params(self):
        return np.ones((self.n_train, 1))

    def embed(self, rows):
        return np.ones((rows.shape[0], 2))

    def train_embedding(self):
        return np.ones((self.n_train, 2))

    def embedding_width(self):
        return 2

    def diagnostics(self, row_labels):
        return [row_labels]

    def leverage(self):
        return np.arange(self.n_train, dtype=float)

    def agreement(self, queries, query_rows, rows, *, whole, retrain=None):
        return rows


@pytest.fixture
def networks(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.nn", SimpleNamespace(Module=Module))
    monkeypatch.setitem(sys.modules, "skorch", SimpleNamespace(NeuralNet=Net))
    stub = SimpleNamespace(NetworkEngine=Stub)
    monkeypatch.setitem(sys.modules, "skinfluence.torch.engine", stub)
    monkeypatch.setattr(engines, "find_spec", lambda name: name)


# -- which engine ---------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [LogisticRegression(), Ridge(), object(), Module(), Net()])
def test_what_is_no_network_is_for_the_linear_engine(model):
    assert engine_of(model) is LinearEngine


@pytest.mark.parametrize("model", [Module(), Net(), MLPClassifier(), MLPRegressor()])
def test_networks_have_their_own(networks, model):
    assert engine_of(model) is Stub


@pytest.mark.parametrize("model", [Module(), MLPClassifier()])
def test_networks_need_torch(networks, monkeypatch, model):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    message = rf'{type(model).__name__} is a network.*pip install "skinfluence\[torch\]"'
    with pytest.raises(ImportError, match=message):
        InfluenceExplainer(model).fit(X, y)


# -- a module as an estimator ---------------------------------------------------------------------


def test_a_module_is_taken_as_fitted(networks):
    module = Module()
    explainer = InfluenceExplainer(module).fit(X, y)
    assert explainer.estimator_ is module
    assert explainer.score_influence(X[:2], y[:2]).shape == (2, 12)
    assert explainer.damping_ == 0.25
    assert explainer.n_iter_ == 7


def test_a_module_behind_fitted_transformers(networks):
    pipeline = make_pipeline(StandardScaler().fit(X), Module())
    explainer = InfluenceExplainer(pipeline).fit(X, y)
    assert explainer.estimator_ is pipeline
    assert explainer.n_features_in_ == 3
    assert explainer.transform(X[:5]).shape == (5, 2)


def test_a_dataset_brings_its_targets(networks):
    explainer = InfluenceExplainer(Module()).fit(Pairs(9))
    assert_array_equal(explainer.train_index_, np.arange(9))
    assert explainer.score_influence(Pairs(4)).shape == (4, 9)
    assert_array_equal(explainer.rank_outliers(2), [8, 7])
    with pytest.raises(ValueError, match="requires y to be passed"):
        InfluenceExplainer(Module()).fit(X)


def test_groups_are_checked_for_every_engine(networks):
    explainer = InfluenceExplainer(Module()).fit(X, y)
    assert_array_equal(explainer.score_groups(groups=[[0, 1], [2]]), [2.0, 1.0])
    with pytest.raises(ValueError, match="names a training row twice"):
        explainer.score_groups(groups=[[0, 0]])
    with pytest.raises(ValueError, match=r"Group 0 of 12 rows holds all.*Leave some of them out"):
        explainer.score_groups(groups=[np.arange(12)])


def test_every_question_reaches_the_engine(networks):
    explainer = InfluenceExplainer(Module()).fit(X, y)
    assert len(explainer.validate(n_refits=4, random_state=0)) == 4
    assert_array_equal(explainer.diagnostics(), explainer.train_index_)
    assert_array_equal(explainer.score_influence(X[:3], y[:3], reduce="sum"), np.full(12, 3.0))
    assert_array_equal(explainer.self_influence([5, 2]), [5.0, 2.0])
    assert explainer.d_params().shape == (12, 1)
    assert explainer.train_embedding().shape == (12, 2)
    assert_array_equal(explainer.get_feature_names_out(), ["influence0", "influence1"])
    _, report = explainer.score_influence(X[:3], y[:3], return_report=True)
    assert report["method"] == "first_order"


def test_weights_reach_the_engine(networks):
    weights = np.linspace(0.5, 2.0, 12)
    explainer = InfluenceExplainer(Module()).fit(X, y, sample_weight=weights)
    assert explainer._engine.sample_weight is weights


def test_clones_and_pictures_of_an_explainer_of_a_module(networks):
    explainer = InfluenceExplainer(Module(), loss="mse", weight_decay={"weight": 0.1})
    copy = clone(explainer)
    assert isinstance(copy.estimator, Module)
    assert copy.estimator is not explainer.estimator
    assert copy.weight_decay == {"weight": 0.1}
    assert "InfluenceExplainer(" in repr(explainer)
    assert "InfluenceExplainer" in estimator_html_repr(explainer.fit(X, y))
    assert not get_tags(explainer).target_tags.required
    assert explainer.get_metadata_routing() is not None


def test_a_class_is_no_module(networks):
    with pytest.raises(TypeError, match=r"estimator is the class Module.*Write Module\(\)"):
        InfluenceExplainer(Module).fit(X, y)


# -- what an engine holds -------------------------------------------------------------------------


def test_parameters_count_from_the_next_fit_on():
    explainer = InfluenceExplainer(Ridge()).fit(X, y)
    before = explainer.score_influence(X[:2], y[:2])
    explainer.set_params(target="params", method="refit", relative="loss")
    assert_array_equal(explainer.score_influence(X[:2], y[:2]), before)
    assert explainer.fit(X, y).score_unit_ == "parameter a unit of change of the loss"


def test_an_engine_does_not_hold_the_explainer():
    explainer = InfluenceExplainer(Ridge()).fit(X, y)
    engine = explainer._engine
    assert not any(value is explainer for value in vars(engine).values())
    assert not hasattr(engine.settings, "estimator")


def test_attributes_of_another_engine_do_not_stay(networks):
    explainer = InfluenceExplainer(Module()).fit(X, y)
    explainer.set_params(estimator=Ridge()).fit(X, y)
    assert not hasattr(explainer, "damping_")
    assert explainer.method_ == "newton"

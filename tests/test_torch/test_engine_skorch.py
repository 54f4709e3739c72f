"""Skorch nets through InfluenceExplainer: as the module inside, and refitted by themselves."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
skorch = import_optional("skorch")
nn = torch.nn

from skinfluence.torch.influence.retraining import refits  # noqa: E402
from tests.test_torch.influence_cases import classes  # noqa: E402


def net(**options):
    torch.manual_seed(0)
    given = {
        "module": Layers,
        "criterion": nn.CrossEntropyLoss,
        "optimizer": torch.optim.SGD,
        "optimizer__weight_decay": 0.1,
        "lr": 0.5,
        "batch_size": -1,
        "max_epochs": 400,
        "train_split": None,
        "verbose": 0,
    }
    return skorch.NeuralNetClassifier(**{**given, **options})


class Layers(nn.Module):
    """Two layers, in float32 as skorch has them."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, X):
        return self.outer(self.inner(X).tanh())


@pytest.fixture(scope="module")
def fitted():
    X, y = classes(n=50)
    return X.astype(np.float32), y


def test_a_net_is_its_module(fitted):
    X, y = fitted
    own = net().fit(X, y)
    explainer = InfluenceExplainer(own).fit(X, y)
    bare = InfluenceExplainer(own.module_, loss="cross_entropy", weight_decay=0.1).fit(X, y)
    expected = bare.score_influence(X[:5], y[:5])
    assert_allclose(explainer.score_influence(X[:5], y[:5]), expected, rtol=1e-5, atol=1e-7)
    assert explainer.stationarity_[0] < 0.01


def test_rows_that_were_held_out_are_named(fitted):
    X, y = fitted
    split = skorch.dataset.ValidSplit(5, stratified=True)
    explainer = InfluenceExplainer(net(train_split=split).fit(X, y)).fit(X, y)
    scores, report = explainer.score_influence(X[:5], y[:5], return_report=True)
    assert explainer.held_out_.dtype == bool
    assert report["n_held_out"] == explainer.held_out_.sum() == 10
    assert_array_equal((scores == 0).all(axis=0), explainer.held_out_)
    assert not InfluenceExplainer(net().fit(X, y)).fit(X, y).held_out_.any()


@pytest.mark.parametrize("as_dataset", [False, True])
def test_refits_hold_the_same_rows_out(fitted, as_dataset):
    X, y = fitted
    own = net(train_split=skorch.dataset.ValidSplit(5, stratified=True), max_epochs=20)
    rows = (skorch.dataset.Dataset(X, y),) if as_dataset else (X, y)
    explainer = InfluenceExplainer(own.fit(*rows, *((y,) if as_dataset else ()))).fit(*rows)
    refit = refits(explainer._engine, None, whole=None, retrain=None)
    every = np.arange(len(X))
    before = refit(every)[0].theta
    out, trained = explainer.held_out_.nonzero()[0][0], (~explainer.held_out_).nonzero()[0][0]
    torch.testing.assert_close(refit(np.delete(every, out))[0].theta, before, rtol=0, atol=0)
    assert not torch.equal(refit(np.delete(every, trained))[0].theta, before)


def test_refits_cannot_have_weights(fitted):
    X, y = fitted
    explainer = InfluenceExplainer(net(max_epochs=5).fit(X, y), damping=0.3)
    explainer.fit(X, y, sample_weight=np.ones(len(X)))
    with pytest.raises(ValueError, match=r"skorch has no sample_weight in fit.*Pass retrain="):
        explainer.validate(n_refits=1)


def test_a_weight_decay_overrules_that_of_the_optimiser(fitted):
    X, y = fitted
    own = net().fit(X, y)
    told = InfluenceExplainer(own, weight_decay=0.2).fit(X, y)
    bare = InfluenceExplainer(own.module_, loss="cross_entropy", weight_decay=0.2).fit(X, y)
    expected = bare.score_influence(X[:5], y[:5])
    assert_allclose(told.score_influence(X[:5], y[:5]), expected, rtol=1e-5, atol=1e-7)


def test_an_unfitted_net_is_cloned_fitted_and_refitted(fitted):
    X, y = fitted
    explainer = InfluenceExplainer(net(), random_state=0).fit(X, y)
    agreement = explainer.validate(X, y, n_refits=5, random_state=0)
    assert agreement.pearson > 0.8


def test_a_net_of_probabilities_is_pickled(fitted):
    X, y = fitted
    own = net(criterion=nn.NLLLoss, module=Probabilities).fit(X, y)
    explainer = InfluenceExplainer(own, target="proba").fit(X, y)
    again = pickle.loads(pickle.dumps(explainer))
    scores = explainer.score_influence(X[:3], y[:3])
    assert_allclose(again.score_influence(X[:3], y[:3]), scores, rtol=1e-6)


class Probabilities(Layers):
    """The same with probabilities as its outputs, as NLLLoss has it in skorch."""

    def forward(self, X):
        return super().forward(X).softmax(1)

"""Tracing of auto-encoders: outlier detection without labels, as a step of a pipeline."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import get_tags

from skinfluence import TracInExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch import BetaVAE  # noqa: E402

N, ODD = 200, 10
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 2)) @ rng.normal(size=(2, 6)) + 0.1 * rng.normal(size=(N, 6))
# Off the plane on which the others lie.
X[:ODD] = rng.normal(size=(ODD, 6)) * 3.0
NEW = rng.normal(size=(8, 6)) * 3.0


def vae(**options):
    options = {
        "hidden": (16,),
        "learning_rate": 0.01,
        "max_epochs": 30,
        "noise_scale": 0.5,
    } | options
    return BetaVAE(2, random_state=0, **options)


def detector(estimator=None, **options):
    return TracInExplainer(
        vae() if estimator is None else estimator,
        **{"n_checkpoints": 1, "n_draws": 8, "random_state": 0, **options},
    )


def test_odd_rows_are_found():
    explainer = detector().fit(StandardScaler().fit_transform(X))
    odd = np.arange(N) < ODD
    assert roc_auc_score(odd, explainer.self_influence()) > 0.9
    assert roc_auc_score(odd, -explainer.score_samples(StandardScaler().fit(X).transform(X))) > 0.9


@pytest.mark.parametrize(("scaler", "noise"), [(StandardScaler(), 0.5), (MinMaxScaler(), 0.1)])
@pytest.mark.parametrize("inside", [False, True], ids=["around", "inside"])
def test_a_step_of_a_pipeline(scaler, noise, inside):
    net = vae(noise_scale=noise)
    if inside:
        pipeline = TracInExplainer(
            make_pipeline(scaler, net),
            n_checkpoints=1,
            n_draws=8,
            contamination=0.05,
            random_state=0,
        )
        last = pipeline
    else:
        pipeline = make_pipeline(scaler, detector(net, contamination=0.05))
        last = pipeline[-1]
    labels = pipeline.fit_predict(X)
    assert (labels == -1).sum() == 10
    assert_array_equal(pipeline.predict(X), labels)
    scores = pipeline.score_samples(NEW)
    assert np.median(scores) < np.median(pipeline.score_samples(X))
    assert_allclose(pipeline.decision_function(NEW), scores - last.offset_)


def test_missing_values_behind_a_scaler_that_lets_them_through():
    pipeline = TracInExplainer(make_pipeline(StandardScaler(), vae(max_epochs=2)), n_draws=2)
    broken = np.where(np.arange(6) == 2, np.nan, X)
    with pytest.raises(ValueError, match="contains NaN"):
        pipeline.fit(broken)
    with pytest.raises(ValueError, match="contains NaN"):
        pipeline.fit(X).predict(broken)


def test_what_is_scored_is_the_self_influence():
    explainer = detector().fit(X)
    # In float32, whose sums depend on what they are computed beside.
    assert_allclose(explainer.score_samples(X), -explainer.self_influence(), rtol=1e-4)
    scores, std = explainer.self_influence(return_std=True)
    assert (std > 0).all()
    others = detector(random_state=1).fit(X)
    assert_allclose(
        np.median(np.abs(others.self_influence() - scores) / std), 0.67 * np.sqrt(2), rtol=0.35
    )


@pytest.mark.parametrize("contamination", ["auto", 0.1, None])
def test_contamination(contamination):
    explainer = detector(contamination=contamination)
    if contamination is None:
        with pytest.raises(ValueError, match="contamination=None sets no threshold"):
            explainer.fit_predict(X)
        with pytest.raises(ValueError, match="contamination=None sets no threshold"):
            explainer.predict(NEW)
        assert not hasattr(explainer, "offset_")
        assert explainer.score_samples(NEW).shape == (8,)
        return
    labels = explainer.fit_predict(X)
    if contamination == 0.1:
        assert (labels == -1).sum() == 20
    assert explainer.offset_ < np.median(-explainer.self_influence())


def test_weights_count_rows_and_a_row_without_weight_is_none():
    weights = np.where(np.arange(N) < ODD, 0.0, rng.integers(1, 3, N).astype(float))
    explainer = detector(contamination=0.1).fit(X, sample_weight=weights)
    assert_array_equal(explainer.self_influence()[:ODD], 0.0)
    below = explainer.decision_function(X) < 0
    assert weights[below].sum() / weights.sum() == pytest.approx(0.1, abs=0.03)


def test_tags_say_what_it_is():
    assert is_outlier_detector(detector())
    assert not get_tags(detector()).target_tags.required
    assert is_outlier_detector(TracInExplainer(make_pipeline(StandardScaler(), vae())))
    fitted = detector().fit(X)
    assert is_outlier_detector(fitted)
    with pytest.raises(NotFittedError):
        detector().predict(X)


def test_targets_are_nothing_to_it():
    plain = detector().fit(X)
    told = detector().fit(X, np.arange(N) % 2)
    assert_array_equal(told.self_influence(), plain.self_influence())
    assert_array_equal(told.score_influence(NEW, np.zeros(8)), plain.score_influence(NEW))


def test_copies_and_crossed_predictions():
    explainer = detector(contamination=0.05).fit(X)
    copy = pickle.loads(pickle.dumps(explainer))
    assert_array_equal(copy.predict(NEW), explainer.predict(NEW))
    assert_array_equal(clone(explainer).fit(X).predict(NEW), explainer.predict(NEW))
    found = cross_val_predict(make_pipeline(StandardScaler(), detector()), X, cv=2)
    assert set(found) <= {-1, 1}


def test_frames():
    pandas = import_optional("pandas")
    rows = pandas.DataFrame(X, columns=list("abcdef"), index=[f"r{i}" for i in range(N)])
    explainer = detector(projection=3, n_checkpoints=2).set_output(transform="pandas").fit(rows)
    assert list(explainer.feature_names_in_) == list("abcdef")
    own, std = explainer.self_influence(return_std=True)
    assert list(own.index[:2]) == list(std.index[:2]) == ["r0", "r1"]
    assert list(explainer.score_influence(rows[:2]).columns[:2]) == ["r0", "r1"]
    assert list(explainer.transform(rows[:2]).columns) == [f"influence{j}" for j in range(6)]
    assert isinstance(explainer.predict(rows), np.ndarray)
    with pytest.raises(ValueError, match="feature names"):
        explainer.predict(rows.rename(columns={"a": "z"}))


def test_a_fitted_vae_brings_its_checkpoints():
    fitted = vae(checkpoints=6).fit(X)
    explainer = TracInExplainer(fitted, n_draws=4).fit(X)
    assert explainer.estimator_ is fitted
    assert explainer.checkpoints_.steps == fitted.checkpoints_.steps
    assert explainer.n_draws_ == 4
    again = TracInExplainer(fitted, checkpoints=fitted.checkpoints_[-1:], n_draws=4).fit(X)
    assert len(again.checkpoints_) == 1
    bare = vae(checkpoints=None).fit(X)
    with pytest.raises(ValueError, match="the fitted BetaVAE keeps only its last parameters"):
        TracInExplainer(bare).fit(X)
    # The paper's self influence: the last checkpoint, with a rate of 1.
    last = TracInExplainer(bare, learning_rates=1.0, n_draws=4).fit(X)
    assert last.score_unit_ == "learning rate x gradient product"
    assert last.self_influence().shape == (N,)


@pytest.mark.parametrize(("kept", "n"), [(None, None), (10, 3), (4, 6), (25, None)])
def test_how_many_an_unfitted_vae_keeps(kept, n):
    explainer = TracInExplainer(vae(checkpoints=kept), n_checkpoints=n, contamination=None).fit(X)
    assert explainer.estimator_.checkpoints == kept
    expected = n or kept or 10
    assert expected / 2 <= len(explainer.checkpoints_) <= (n or 2 * expected)
    assert len(explainer.checkpoints_) == n or n is None


class Bound(nn.Module):
    """A module with an elbo of its own: one linear layer each way."""

    latent_dim = 2

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 2), nn.Linear(2, 6)

    def elbo(self, x, noise):
        z = self.encoder(x) + 0.1 * noise
        return -(self.decoder(z) - x).square().sum(-1) - 0.5 * z.square().sum(-1)


def test_a_module_with_an_elbo():
    torch.manual_seed(0)
    module = Bound()
    explainer = TracInExplainer(module, learning_rates=1.0, n_draws=4)
    assert is_outlier_detector(explainer)
    labels = explainer.fit_predict(X.astype("f4"))
    assert set(labels) <= {-1, 1}
    assert explainer.score_influence(NEW.astype("f4")).shape == (8, N)
    scored = TracInExplainer(module, learning_rates=1.0, gradient="score")
    with pytest.raises(TypeError, match="Bound has no method elbo_score"):
        scored.fit(X.astype("f4"))


def test_an_auto_encoder_with_a_loss_of_its_own_is_a_detector_once_fitted():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 2), nn.Linear(2, 6)).double()

    rows = torch.from_numpy(X)
    explainer = TracInExplainer(module, learning_rates=1.0, loss=size_of_outputs)
    assert not is_outlier_detector(explainer)
    explainer.fit(rows)
    assert is_outlier_detector(explainer)
    assert explainer.predict(rows).shape == (N,)


def size_of_outputs(outputs, y):
    return outputs.square().sum(-1)


def test_one_draw_says_nothing_of_its_own_length():
    with pytest.raises(ValueError, match="n_draws=2 or more"):
        detector(n_draws=1).fit(X)
    assert detector(n_draws=1, contamination=None).fit(X).score_influence(NEW).shape == (8, N)


def test_as_many_draws_as_it_takes():
    explainer = detector(n_draws="auto", tol=0.2).fit(X)
    assert explainer.n_draws_ > 1
    report = explainer.score_influence(NEW, return_report=True)[1]
    assert report["n_draws"] == explainer.n_draws_


def test_other_targets_than_the_loss():
    with pytest.raises(ValueError, match=r"nothing but that bound. Use target='loss'"):
        detector(target="decision_function").fit(X)
    with pytest.raises(ValueError, match="needs a loss of probabilities"):
        detector(target="proba").fit(X)


def test_images():
    rows = rng.uniform(size=(30, 1, 8, 8))
    images = BetaVAE(
        2, architecture="conv", hidden=(4, 4), max_epochs=2, likelihood="bernoulli", random_state=0
    )
    explainer = TracInExplainer(images, n_checkpoints=2, n_draws=2, random_state=0)
    labels = explainer.fit_predict(rows)
    assert_array_equal(explainer.predict(rows), labels)
    assert explainer.score_influence(rows[:2]).shape == (2, 30)

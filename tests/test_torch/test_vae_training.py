"""What a BetaVAE converges to, records on the way, and makes of weights."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.checkpoints import CheckpointRecorder  # noqa: E402
from skinfluence.torch import VAE, BetaVAE  # noqa: E402
from tests.test_torch.vae_estimators import ROWS, same, state, tiny  # noqa: E402

# -- what it learns -----------------------------------------------------------------------------


def linear_truth(X, noise_scale, n_latents, weights=None):
    """Mean log density at the maximum of probabilistic PCA with this noise, in closed form."""
    mean = np.average(X, axis=0, weights=weights)
    covariance = np.cov(X.T, ddof=0, aweights=weights)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    loadings = vectors[:, :n_latents] * np.sqrt(np.maximum(values[:n_latents] - noise_scale**2, 0))
    model = loadings @ loadings.T + noise_scale**2 * np.eye(X.shape[1])
    return multivariate_normal(mean, model).logpdf(X)


def plane(n=200):
    """Rows near a plane in four dimensions."""
    rng = np.random.default_rng(5)
    W = np.array([[1.5, 0.5, -1.0, 0.0], [0.0, 1.0, 0.5, 1.0]])
    return 0.3 + rng.normal(size=(n, 2)) @ W + 0.4 * rng.normal(size=(n, 4))


LINEAR = {"hidden": (), "noise_scale": 0.5, "max_epochs": 400, "batch_size": 50}
LINEAR |= {"learning_rate": 0.01, "dtype": "float64", "random_state": 0}


@pytest.mark.parametrize("weighted", [False, True])
def test_linear_networks_find_probabilistic_pca(weighted):
    """With beta=1 the bound is tight there: scores are log densities of a known Gaussian."""
    X = plane()
    weights = np.where(X[:, 0] > 0.3, 3.0, 0.5) if weighted else None
    vae = BetaVAE(2, **LINEAR, checkpoints=None).fit(X, sample_weight=weights)
    truth = linear_truth(X, 0.5, 2, weights)
    found = vae.score_samples(X, n_draws=2000)
    assert abs(np.average(found - truth, weights=weights)) < 0.04
    assert np.corrcoef(found, truth)[0, 1] > 0.99
    if weighted:
        # The weights matter, by more than that.
        apart = np.average(linear_truth(X, 0.5, 2) - truth, weights=weights)
        assert apart < -0.08


def test_beta_prices_the_latents():
    X = plane()
    options = LINEAR | {"max_epochs": 150}
    free = BetaVAE(2, **options, beta=0.1).fit(X)
    dear = BetaVAE(2, **options, beta=20.0).fit(X)
    assert np.ptp(dear.transform(X)) < 0.2 * np.ptp(free.transform(X))
    errors = [np.mean((v.inverse_transform(v.transform(X)) - X) ** 2) for v in (free, dear)]
    assert errors[0] < 0.3 * errors[1]


def test_planted_outliers_score_lower():
    X = plane(300)
    planted = X[:10] * [1, -1, 1, -1] + [0, 3, 3, 0]
    options = {"noise_scale": 0.3, "max_epochs": 200, "learning_rate": 5e-3, "random_state": 0}
    model = make_pipeline(StandardScaler(), BetaVAE(2, hidden=(16,), **options)).fit(X)
    assert model.score_samples(planted).max() < np.quantile(model.score_samples(X), 0.02)


def test_planted_outliers_among_bits():
    """Four patterns of twelve bits, and rows that are none of them."""
    rng = np.random.default_rng(0)
    patterns = rng.permuted(np.repeat([[0.0] * 6 + [1.0] * 6], 4, axis=0), axis=1)
    X, planted = patterns[rng.integers(4, size=300)], rng.integers(2, size=(10, 12))
    options = {"max_epochs": 200, "learning_rate": 0.01, "random_state": 0}
    vae = BetaVAE(2, hidden=(16,), likelihood="bernoulli", **options).fit(X)
    assert vae.score_samples(planted).max() < vae.score_samples(X).min()


def test_the_loss_falls_and_is_the_mean_over_rows():
    vae = tiny(max_epochs=60, learning_rate=0.01).fit(ROWS)
    assert vae.n_iter_ == len(vae.loss_curve_) == 60
    assert vae.loss_curve_[-1] < vae.loss_curve_[0] - 0.5
    assert_allclose(vae.loss_curve_[-1], -vae.score(ROWS), rtol=0.1)


# -- batches and rates --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch_size", "sizes"),
    [(16, [14, 13, 13]), (39, [20, 20]), (40, [40]), (500, [40]), (1, [1] * 40)],
)
def test_batches_of_an_epoch_differ_by_one_row_at_most(monkeypatch, batch_size, sizes):
    """A remainder of one row would move the parameters as far as all the others together."""
    seen, elbo = [], VAE.elbo

    def noted(module, rows, noise):
        seen.append(len(rows))
        return elbo(module, rows, noise)

    monkeypatch.setattr(VAE, "elbo", noted)
    tiny(batch_size=batch_size, max_epochs=2, checkpoints=None).fit(ROWS)
    assert seen == 2 * sizes


def test_every_row_moves_the_parameters_alike(monkeypatch):
    """An epoch of tiny steps adds up to the gradient of the mean, remainder or not."""
    elbo = VAE.elbo
    monkeypatch.setattr(VAE, "elbo", lambda module, rows, noise: elbo(module, rows, 0 * noise))

    def moved(batch_size):
        options = {"optimizer": "sgd", "learning_rate": 1e-6, "max_epochs": 1}
        vae = tiny(batch_size=batch_size, dtype="float64", **options).fit(ROWS)
        first, last = (vae.checkpoints_[k] for k in (0, -1))
        name = "decoder.2.bias"
        return (last.parameters[name] - first.parameters[name]) / last.path[name]

    assert_allclose(moved(39), moved(40), rtol=1e-4)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_rate_of_every_step_is_recorded(schedule):
    vae = tiny(max_epochs=4, learning_rate=0.02, schedule=schedule, checkpoints=20).fit(ROWS)
    done = np.arange(12) / 12
    share = {
        "constant": 1 + 0 * done,
        "linear": 1 - done,
        "cosine": (1 + np.cos(np.pi * done)) / 2,
    }
    found = vae.checkpoints_
    rates = [checkpoint.learning_rate["encoder.0.weight"] for checkpoint in found[1:]]
    assert_allclose(rates, 0.02 * share[schedule], rtol=1e-12)
    assert_allclose(
        [checkpoint.path["encoder.0.weight"] for checkpoint in found],
        np.r_[0, np.cumsum(rates)],
        rtol=1e-12,
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_falling_rate_ends_nearer_to_a_minimum(schedule):
    """What the last steps overshot is in the gradient of the mean, and in those of all rows."""

    def left(schedule):
        vae = tiny(max_epochs=100, learning_rate=0.1, schedule=schedule).fit(ROWS)
        rows = torch.as_tensor(ROWS, dtype=torch.float32)
        noise = torch.randn(40, 1000, 2, generator=torch.Generator().manual_seed(0))
        loss = -vae.module_.elbo(rows, noise).mean()
        slopes = torch.autograd.grad(loss, list(vae.module_.parameters()))
        return float(sum(slope.square().sum() for slope in slopes)) ** 0.5

    assert left(schedule) < 0.3 * left("constant")


# -- checkpoints --------------------------------------------------------------------------------


def test_checkpoints_lead_from_the_first_parameters_to_the_last():
    vae = tiny(max_epochs=7, checkpoints=4, learning_rate=0.05).fit(ROWS)
    found = vae.checkpoints_
    assert found.steps == [0, 7, 14, 21]  # three batches an epoch
    assert found.n_rows == 40
    assert found.optimizer.name == "Adam"
    for name, values in found[-1].parameters.items():
        assert_array_equal(values, state(vae)[name])
    first = tiny(max_epochs=1, learning_rate=1e-30).fit(ROWS)
    for name, values in found[0].parameters.items():
        assert_array_equal(values, state(first)[name])
    shares = found.shares()
    assert set(shares[0]) == set(state(vae))
    assert_allclose(sum(share["encoder.0.weight"] for share in shares), 21 * 0.05, rtol=1e-12)
    losses = [checkpoint.loss for checkpoint in found]
    assert losses[0] > losses[1] > losses[3]


def test_recording_does_not_change_the_training():
    assert same(tiny().fit(ROWS), tiny(checkpoints=None).fit(ROWS))


@pytest.mark.parametrize(("checkpoints", "steps"), [(1, [6]), (2, [0, 6]), (100, [*range(7)])])
def test_numbers_of_checkpoints(checkpoints, steps):
    assert tiny(checkpoints=checkpoints).fit(ROWS).checkpoints_.steps == steps


def test_checkpoints_of_a_training_that_stops():
    vae = tiny(max_epochs=500, learning_rate=1e-9, tol=1e-2, n_iter_no_change=3, checkpoints=8)
    steps = vae.fit(ROWS).checkpoints_.steps
    assert (steps[0], steps[-1]) == (0, 3 * vae.n_iter_)
    assert 4 <= len(steps) <= 8


def test_no_checkpoints():
    vae = tiny().fit(ROWS)
    assert len(vae.checkpoints_) == 7
    assert not hasattr(vae.set_params(checkpoints=None).fit(ROWS), "checkpoints_")


def test_a_recorder_of_ones_own():
    recorder = CheckpointRecorder(every=2, optimizer_state=False)
    vae = tiny(checkpoints=recorder, optimizer="sgd", learning_rate=1e-3).fit(ROWS)
    assert vae.checkpoints_.steps == recorder.checkpoints.steps == [0, 2, 4, 6]
    assert vae.checkpoints_.plain
    with pytest.raises(ValueError, match=r"holds 4 of a training before this one.* new Check"):
        vae.fit(ROWS)
    assert tiny(checkpoints=CheckpointRecorder()).fit(ROWS).n_iter_ == 2


# -- weights ------------------------------------------------------------------------------------


def test_rows_of_weight_zero_do_not_matter():
    weights = np.where(np.arange(40) < 5, 0.0, 1.0)
    garbage = ROWS.copy()
    garbage[:5] += 7.0
    found = [tiny().fit(X, sample_weight=weights) for X in (ROWS, garbage)]
    assert same(*found)


def test_only_ratios_of_weights_matter():
    weights = np.random.default_rng(2).uniform(1, 2, 40)
    ones, twice = tiny().fit(ROWS, sample_weight=weights), tiny()
    twice.fit(ROWS, sample_weight=2 * weights)
    assert same(ones, twice)
    assert same(tiny().fit(ROWS), tiny().fit(ROWS, sample_weight=np.full(40, 4.0)))
    assert not same(ones, tiny().fit(ROWS))

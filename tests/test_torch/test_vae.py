"""BetaVAE as scikit-learn's users meet it, and against what it must converge to."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from tests.conftest import import_optional
from tests.test_sklearn_extras import (
    CHECKS,
    FRAME_CHECKS,
    TRANSFORMER_CHECKS,
    TRANSFORMER_FRAME_CHECKS,
    run,
)

torch = import_optional("torch")

from skinfluence.torch import BetaVAE  # noqa: E402
from tests.test_torch.vae_estimators import ROWS, UNIT, same, tiny  # noqa: E402


def images(n=20, shape=(2, 4, 5)):
    return np.random.default_rng(1).normal(size=(n, *shape))


# -- scikit-learn's contract --------------------------------------------------------------------


# Rows are shuffled into batches, each with its own draws: two of a row are not one of weight 2.
IN_THE_MEAN = {"check_sample_weight_equivalence_on_dense_data": "equivalent in the mean only"}


@parametrize_with_checks(
    [tiny(random_state=None), tiny(dtype="float64", optimizer="sgd", learning_rate=1e-5)],
    expected_failed_checks=lambda _: IN_THE_MEAN,
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", [*CHECKS, *TRANSFORMER_CHECKS])
def test_scikit_learn_extras(name):
    run(name, tiny())


# The checks pass arrays where they have fitted frames.
@pytest.mark.filterwarnings("ignore:X (has|does not have valid) feature names:UserWarning")
@pytest.mark.parametrize(("container", "name"), [*FRAME_CHECKS, *TRANSFORMER_FRAME_CHECKS])
def test_frames(container, name):
    import_optional(container)
    run(name, tiny())


def test_frames_keep_their_names():
    pd = import_optional("pandas")
    frame = pd.DataFrame(ROWS, columns=list("abcdef"), index=range(100, 140))
    vae = tiny().set_output(transform="pandas").fit(frame)
    assert list(vae.feature_names_in_) == list("abcdef")
    latents = vae.transform(frame)
    assert list(latents.columns) == ["betavae0", "betavae1"]
    assert list(latents.index) == list(frame.index)
    with pytest.raises(ValueError, match="feature names"):
        vae.transform(frame[list("fedcba")])


def test_parameters_can_be_searched():
    scaled = make_pipeline(StandardScaler(), tiny())
    search = GridSearchCV(scaled, {"betavae__noise_scale": [0.5, 2.0]}, cv=2).fit(ROWS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


# -- seeds and state ----------------------------------------------------------------------------


def test_same_seed_same_result_whatever_the_global_states():
    first = tiny().fit(ROWS)
    torch.manual_seed(12345)
    second = tiny().fit(ROWS)
    assert same(first, second)
    assert first.loss_curve_ == second.loss_curve_
    assert_array_equal(first.score_samples(ROWS), second.score_samples(ROWS))
    assert_array_equal(first.sample(3, noise=True), second.sample(3, noise=True))
    assert not same(first, tiny(random_state=1).fit(ROWS))


def test_global_states_stay():
    theirs, ours = torch.random.get_rng_state(), numpy_state()
    vae = tiny(architecture="conv", image_shape=(2, 4, 5), hidden=(3,)).fit(images())
    vae.score_samples(images())
    vae.sample(2)
    torch.testing.assert_close(torch.random.get_rng_state(), theirs, rtol=0, atol=0)
    assert_array_equal(numpy_state(), ours)


def numpy_state():
    return np.random.mtrand._rand.get_state()[1]


def test_seed_none_differs_from_fit_to_fit():
    assert not same(tiny(random_state=None).fit(ROWS), tiny(random_state=None).fit(ROWS))


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_fits_where_derivatives_are_switched_off(off):
    with off():
        vae = tiny().fit(ROWS)
    assert same(vae, tiny().fit(ROWS))


def test_other_defaults_of_torch_do_not_matter():
    before = tiny().fit(ROWS)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            after = tiny().fit(ROWS)
    finally:
        torch.set_default_dtype(torch.float32)
    assert same(before, after)


class Stopped(Exception):
    pass


@pytest.mark.parametrize("error", [Stopped, KeyboardInterrupt])
def test_an_interrupted_fit_leaves_the_old_one(error, monkeypatch):
    vae = tiny().fit(ROWS)
    before, scores = dict(vars(vae)), vae.score_samples(ROWS)

    def stop(*_):
        raise error

    vae.set_params(latent_dim=3)
    with monkeypatch.context() as patch:
        patch.setattr("skinfluence.torch.vae.module.VAE._log_likelihood", stop)
        with pytest.raises(error):
            vae.fit(2 * ROWS[:, :4])
    assert vars(vae) == before | {"latent_dim": 3}
    assert_array_equal(vae.score_samples(ROWS), scores)
    fresh = tiny()
    with monkeypatch.context() as patch:
        patch.setattr("skinfluence.torch.vae.module.VAE._log_likelihood", stop)
        with pytest.raises(error):
            fresh.fit(ROWS)
    assert not [name for name in vars(fresh) if name.endswith("_")]


def test_pickled_and_refitted():
    vae = tiny().fit(ROWS)
    copy = pickle.loads(pickle.dumps(vae))
    assert_array_equal(copy.score_samples(ROWS), vae.score_samples(ROWS))
    vae.set_params(latent_dim=1, likelihood="bernoulli", dtype="float64").fit(UNIT[:, :3])
    again = clone(vae).fit(UNIT[:, :3])
    assert same(vae, again)
    assert vae.transform(UNIT[:, :3]).shape == (40, 1)


def test_parameters_set_after_fit_wait_for_the_next_fit():
    vae = tiny().fit(ROWS)
    scores = vae.score_samples(ROWS)
    vae.set_params(likelihood="bernoulli", dtype="float64", latent_dim=5, noise_scale=9.0)
    assert_array_equal(vae.score_samples(ROWS), scores)
    assert vae.sample(2, noise=True).shape == (2, 6)


# -- scores, latents, samples -------------------------------------------------------------------


def test_scores_are_minus_the_loss_and_converge():
    vae = tiny(dtype="float64", beta=2.0).fit(ROWS)
    few, many = (vae.score_samples(ROWS, n_draws=m) for m in (4, 4000))
    noise = torch.from_numpy(np.random.default_rng(9).standard_normal((40, 4000, 2)))
    with torch.no_grad():
        truth = vae.module_.elbo(torch.from_numpy(ROWS), noise).numpy()
    assert np.abs(many - truth).max() < 0.1 * np.abs(few - truth).max() + 0.05
    assert_allclose(vae.score(ROWS), vae.score_samples(ROWS).mean(), rtol=1e-12)


def test_block_size_does_not_matter():
    vae = tiny().fit(ROWS)
    with config_context(working_memory=1e-4):
        small = vae.score_samples(ROWS), vae.transform(ROWS)
    assert_allclose(small[0], vae.score_samples(ROWS), rtol=1e-5)
    assert_allclose(small[1], vae.transform(ROWS), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("likelihood", ["gaussian", "bernoulli"])
def test_samples(likelihood):
    vae = tiny(likelihood=likelihood).fit(UNIT)
    means, drawn = vae.sample(500), vae.sample(500, noise=True)
    assert means.shape == drawn.shape == (500, 6)
    assert_array_equal(means, vae.inverse_transform(latents := normal_latents(500)))
    assert latents.shape == (500, 2)
    if likelihood == "bernoulli":
        assert set(np.unique(drawn)) == {0.0, 1.0}
        assert ((means > 0) & (means < 1)).all()
    else:
        assert_allclose((drawn - means).std(), 1.0, rtol=0.1)
    assert not np.array_equal(vae.sample(2), vae.sample(2, random_state=5))


def normal_latents(n):
    return np.random.RandomState(0).standard_normal((n, 2))


def test_few_rows_and_constant_columns():
    alone = tiny(max_epochs=30).fit(ROWS[:1])
    assert np.isfinite(alone.score_samples(ROWS)).all()
    constant = tiny().fit(np.hstack([np.ones((40, 2)), np.zeros((40, 1))]))
    assert np.isfinite(constant.loss_curve_).all()


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e4])
def test_scales(scale):
    vae = tiny().fit(scale * ROWS)
    assert np.isfinite(vae.loss_curve_).all()
    assert np.isfinite(vae.score_samples(scale * ROWS)).all()
    assert np.isfinite(vae.score_samples(1e3 * scale * ROWS)).all()


def test_rows_that_are_too_far_away():
    vae = tiny().fit(ROWS)
    scores = vae.score_samples(np.vstack([ROWS[:1], 1e30 * ROWS[:1], 1e38 * np.sign(ROWS[:1])]))
    assert_array_equal(scores[1:], np.finfo(np.float32).min)
    assert scores[0] == vae.score_samples(ROWS)[0]
    with pytest.raises(ValueError, match=r"Row 1 is so far .*value is 3e\+38"):
        large = pickle.loads(pickle.dumps(vae))
        with torch.no_grad():
            large.module_.decoder[0].weight.mul_(1e3)
        large.inverse_transform([[0, 0], [3e38, 3e38]])


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
@pytest.mark.parametrize("scale", [1e12, 1e30])
def test_numbers_that_overflow(scale, optimizer):
    with pytest.raises(ValueError, match=r"left the numbers of float32.*Scale the columns"):
        tiny(optimizer=optimizer, checkpoints=None).fit(scale * ROWS)


# -- images -------------------------------------------------------------------------------------


def test_images_flat_or_not():
    X = images()
    given = tiny(architecture="conv", hidden=(3, 3)).fit(X)
    flat = tiny(architecture="conv", hidden=(3, 3), image_shape=(2, 4, 5)).fit(X.reshape(20, -1))
    assert same(given, flat)
    assert given.image_shape_ == flat.image_shape_ == (2, 4, 5)
    assert given.n_features_in_ == 40
    assert_array_equal(given.transform(X), flat.transform(X.reshape(20, -1)))
    assert_array_equal(given.score_samples(X.reshape(20, -1)), flat.score_samples(X))
    assert given.sample(3).shape == (3, 40)
    assert any(isinstance(part, torch.nn.ConvTranspose2d) for part in given.module_.modules())


def test_numbers_of_numpy():
    given = {"latent_dim": np.int64(2), "hidden": np.array([4]), "batch_size": np.int64(16)}
    given |= {"learning_rate": np.float32(0.5) / 512, "beta": np.float32(1)}
    assert same(tiny(**given).fit(ROWS), tiny(learning_rate=0.5 / 512).fit(ROWS))


def test_default_convolutions():
    vae = BetaVAE(3, architecture="conv", image_shape=(3, 32, 32), max_epochs=1, random_state=0)
    vae.fit(images(4, (3, 32, 32)))
    kernels = [p.shape[0] for p in vae.module_.encoder.parameters() if p.ndim == 4]
    assert kernels == [32, 32, 64, 64]


@pytest.mark.parametrize("X", [images(), images().reshape(20, -1)], ids=["images", "flat"])
def test_dense_networks_take_images(X):
    assert tiny().fit(X).n_features_in_ == 40


# -- progress and stopping ----------------------------------------------------------------------


def test_stops_when_the_loss_stalls():
    stopped = tiny(max_epochs=500, learning_rate=1e-9, tol=1e-2, n_iter_no_change=3).fit(ROWS)
    assert 4 <= stopped.n_iter_ < 100
    assert tiny(max_epochs=30, tol=None, learning_rate=1e-9).fit(ROWS).n_iter_ == 30


def test_progress_shows_the_loss(capsys):
    import_optional("tqdm")
    tiny(progress=True).fit(ROWS)
    shown = capsys.readouterr().err
    assert "BetaVAE: 100%" in shown
    assert "loss=" in shown
    tiny().fit(ROWS)
    assert capsys.readouterr().err == ""


# -- messages -----------------------------------------------------------------------------------


def test_bernoulli_takes_probabilities():
    message = r"takes values in \[0, 1\], and X has values from -.*MinMaxScaler"
    with pytest.raises(ValueError, match=message):
        tiny(likelihood="bernoulli").fit(ROWS)
    vae = tiny(likelihood="bernoulli").fit(UNIT)
    with pytest.raises(ValueError, match=r"to 1\.99"):
        vae.score_samples(2 * UNIT)


def test_missing_values():
    X = ROWS.copy()
    X[3, 2] = np.nan
    with pytest.raises(ValueError, match="contains NaN"):
        tiny().fit(X)


@pytest.mark.parametrize(
    ("X", "changed", "message"),
    [
        (ROWS, {}, r"needs to know which columns are neighbours.* image_shape="),
        (ROWS, {"image_shape": (1, 2, 4)}, r"is not \(channels.* of 6 values a row"),
        (ROWS, {"image_shape": (2, 3)}, r"is not \(channels, height, width\)"),
        (images(), {"image_shape": (4, 5, 2)}, r"images of shape \(2, 4, 5\).* Move the axis"),
        (images(), {"hidden": (3, 3, 3)}, r"4 x 5 pixels cannot be halved 3 times"),
    ],
)
def test_shapes_of_images(X, changed, message):
    with pytest.raises(ValueError, match=message):
        tiny(architecture="conv", **{"hidden": (3,)} | changed).fit(X)


@pytest.mark.parametrize("hidden", [(4, 0), (2.5,), ("a",)])
def test_widths(hidden):
    with pytest.raises(ValueError, match=r"hidden is a sequence of positive integers"):
        tiny(hidden=hidden).fit(ROWS)


@pytest.mark.parametrize("device", ["meta", "nonsense", "cuda:63"])
def test_devices_that_are_not_there(device):
    with pytest.raises(ValueError, match=rf"device='{device}' cannot be used: .*device=None"):
        tiny(device=device).fit(ROWS)


def test_numbers_of_draws_and_rows():
    vae = tiny().fit(ROWS)
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match=r"n_draws must be a positive integer"):
            vae.score_samples(ROWS, n_draws=wrong)
        with pytest.raises(ValueError, match=r"n_samples must be a positive integer"):
            vae.sample(wrong)


def test_latents_of_another_width():
    with pytest.raises(ValueError, match=r"X has 3 columns, and this VAE has 2 latents"):
        tiny().fit(ROWS).inverse_transform(np.zeros((1, 3)))

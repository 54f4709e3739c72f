"""Rows as points whose dot products are scores, and random projections of them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence.checkpoints import Checkpoints
from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.given import Given  # noqa: E402
from skinfluence.torch.influence.projection import Gaussian, TwoSided  # noqa: E402
from tests.test_torch import tracing_cases as cases  # noqa: E402
from tests.test_torch.influence_cases import classes, mlp  # noqa: E402
from tests.test_torch.test_tracing_training import adam, sgd, train  # noqa: E402

RATES = [0.3, 0.0, 0.9]


@pytest.fixture(scope="module")
def problem():
    """Networks of three checkpoints, their rows and queries."""
    X, y = map(torch.tensor, classes(n=26))
    modules = cases.disturbed(mlp(), size=0.3)
    return modules, (X[:20], y[:20]), (X[20:], y[20:])


def explained(problem, sample_weight=None, **options):
    modules, (X, y), _ = problem
    checkpoints = Checkpoints([cases.state(m, 10 * k) for k, m in enumerate(modules)])
    options = {"learning_rates": RATES, **options}
    return cases.engine(modules[-1], X, y, sample_weight, checkpoints=checkpoints, **options)


def scores(problem, **options):
    engine = explained(problem, **options)
    return cases.matrix(engine, cases.queries(engine, *problem[2]))


def products(engine, Z, t=None):
    return engine.embed(Given(Z), t) @ engine.train_embedding().T


def test_products_of_points_are_scores(problem):
    engine = explained(problem, np.linspace(0.5, 2.0, 20))
    asked = cases.queries(engine, *problem[2])
    assert_allclose(
        products(engine, *problem[2]), cases.matrix(engine, asked), rtol=1e-9, atol=1e-12
    )
    # A checkpoint of rate zero has no columns.
    assert engine.embedding_width() == 2 * engine.objective.network.n_params


def test_without_y_points_are_about_the_predicted_output(problem):
    Z = problem[2][0]
    truth = scores(problem, target="decision_function")
    engine = explained(problem, target="decision_function")
    assert_allclose(products(engine, *problem[2]), truth, rtol=1e-9, atol=1e-12)
    predicted = problem[0][-1](Z).argmax(1)
    same = explained(problem, target="decision_function")
    assert_allclose(
        products(explained(problem), Z), products(same, Z, predicted), rtol=1e-9, atol=1e-12
    )


def test_points_are_written_where_they_are_wanted(problem, tmp_path):
    engine = explained(problem)
    shape = (20, engine.embedding_width())
    out = np.memmap(tmp_path / "points", dtype="float32", mode="w+", shape=shape)
    assert engine.train_embedding(out) is out
    assert_allclose(out, engine.train_embedding(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("projection", [32, Gaussian(32), TwoSided(4)], ids=["sjlt", "gauss", "2"])
def test_scores_of_projected_gradients_are_products_of_points(problem, projection):
    engine = explained(problem, projection=projection)
    asked = cases.queries(engine, *problem[2])
    truth = products(engine, *problem[2])
    assert_allclose(cases.matrix(engine, asked), truth, rtol=1e-9, atol=1e-12)
    width = engine.train_embedding().shape[1]
    assert width == engine.embedding_width()
    if not isinstance(projection, TwoSided):
        assert width == 2 * 32


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda s: 24, lambda s: Gaussian(24, seed=s)])
def test_projections_are_unbiased_over_seeds(problem, make):
    truth = scores(problem)
    found = [scores(problem, projection=make(s), random_state=s) for s in range(80)]
    z = (np.mean(found, 0) - truth) / (np.std(found, 0, ddof=1) / 80**0.5)
    assert np.abs(z).max() < 4.5
    assert np.sqrt((z**2).mean()) < 1.5


@pytest.mark.slow
def test_two_sided_projections_are_unbiased_over_seeds(problem):
    truth = scores(problem)
    found = [scores(problem, projection=TwoSided(3, seed=s)) for s in range(80)]
    z = (np.mean(found, 0) - truth) / (np.std(found, 0, ddof=1) / 80**0.5)
    assert np.abs(z).max() < 4.5


def test_checkpoints_have_projections_of_their_own(problem):
    # Of one network twice, errors of one projection would add up and those of two average out.
    modules, (X, y), _ = problem
    checkpoints = Checkpoints([cases.state(modules[-1], k) for k in range(2)])
    engine = cases.engine(
        modules[-1], X, y, checkpoints=checkpoints, learning_rates=1.0, projection=16
    )
    points = engine.train_embedding()
    assert np.abs(points[:, :16] - points[:, 16:]).max() > 1e-3


def test_self_influence_is_not_projected(problem):
    found = explained(problem, projection=4).self_influence(None, n_jobs=None, progress=False)
    truth = explained(problem).self_influence(None, n_jobs=None, progress=False)
    assert_allclose(found, truth, rtol=1e-12)


def test_points_of_gradients_as_adam_scales_them(problem):
    _, rows, asked = problem
    module = mlp()
    checkpoints = train(module, adam(0.01)(module), *rows, steps=4)
    engine = cases.engine(module, *rows, checkpoints=checkpoints, preconditioner="optimizer")
    truth = cases.matrix(engine, cases.queries(engine, *asked))
    assert_allclose(products(engine, *asked), truth, rtol=1e-9, atol=1e-12)
    wide = cases.engine(
        module, *rows, checkpoints=checkpoints, preconditioner="optimizer", projection=4000
    )
    found = cases.matrix(wide, cases.queries(wide, *asked))
    assert np.abs(found - truth).max() < 0.1 * np.abs(truth).max()


def test_points_of_groups_of_parameters(problem):
    _, rows, asked = problem
    module = mlp()
    groups = [
        {"params": [module[0].weight], "lr": 0.02},
        {"params": [module[0].bias, *module[2].parameters()], "lr": 0.1},
    ]
    checkpoints = train(module, torch.optim.SGD(groups), *rows, steps=4)
    for projection in (None, TwoSided(50)):
        engine = cases.engine(module, *rows, checkpoints=checkpoints, projection=projection)
        truth = cases.engine(module, *rows, checkpoints=checkpoints)
        assert_allclose(
            products(engine, *asked),
            cases.matrix(truth, cases.queries(truth, *asked)),
            rtol=1e-9,
            atol=1e-12,
        )


def test_a_kept_recording_gives_the_same_points(problem):
    _, rows, asked = problem
    module = mlp()
    checkpoints = train(module, sgd(0.05)(module), *rows, steps=10, every=5)
    engine = cases.engine(module, *rows, checkpoints=checkpoints)
    assert_allclose(
        products(engine, *asked),
        cases.matrix(engine, cases.queries(engine, *asked)),
        rtol=1e-9,
        atol=1e-12,
    )

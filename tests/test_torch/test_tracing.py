"""Gradient tracing against autograd, one pair of rows at a time."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from skinfluence.checkpoints import Checkpoints
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence import attribution  # noqa: E402
from tests.test_torch import tracing_cases as cases  # noqa: E402
from tests.test_torch.influence_cases import classes, mlp  # noqa: E402
from tests.test_torch.networks import NETWORKS  # noqa: E402

RATES = [0.1, 0.7, 0.3]
SINGLE = ["mlp", "over_positions", "conv2d", "layer_norm"]
CLOSE = {
    torch.float64: {"rtol": 1e-10, "atol": 1e-10},
    torch.float32: {"rtol": 1e-5, "atol": 1e-5},
}


def recorded(modules, **more):
    return Checkpoints([cases.state(m, 10 * k, **more) for k, m in enumerate(modules)])


def of_table(name, dtype=torch.float64):
    module, rows, loss = NETWORKS[name](dtype=dtype)
    batch = rows.everything
    return cases.disturbed(module), (batch.args[0], batch.y), loss


def relative(found, truth, dtype=torch.float64):
    """Compare in units of the largest score."""
    size = np.abs(truth).max()
    assert size > 0
    assert_allclose(found / size, truth / size, **CLOSE[dtype])


@pytest.fixture(scope="module")
def problem():
    """Three networks of one training, and their rows and queries."""
    X, y = classes(n=40)
    Z, t = classes(n=9, seed=1)
    modules = cases.disturbed(mlp(), size=0.3)
    rows, asked = ((torch.tensor(a), torch.tensor(b)) for a, b in ((X, y), (Z, t)))
    return modules, rows, asked


def explained(problem, rates=RATES, **options):
    modules, (X, y), _ = problem
    return cases.engine(
        modules[-1], X, y, checkpoints=recorded(modules), learning_rates=rates, **options
    )


def scores(problem, rates=RATES, **options):
    engine = explained(problem, rates, **options)
    return cases.matrix(engine, cases.queries(engine, *problem[2]))


# -- pairs ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:The loss does not depend on")
@pytest.mark.parametrize("name", NETWORKS)
def test_scores_are_sums_of_products_of_gradients(name):
    modules, rows, loss = of_table(name)
    engine = cases.engine(
        modules[-1], *rows, checkpoints=recorded(modules), learning_rates=RATES, loss=loss
    )
    asked = (rows[0][:4], rows[1][:4])
    truth = cases.brute_force(modules, RATES, rows, asked, loss)
    relative(cases.matrix(engine, cases.queries(engine, *asked)), truth)
    own = engine.self_influence(None, n_jobs=None, progress=False)
    relative(own[:4], truth.diagonal())


@pytest.mark.parametrize("name", SINGLE)
def test_float32(name):
    modules, rows, loss = of_table(name, torch.float32)
    options = {"checkpoints": recorded(modules), "learning_rates": RATES, "loss": loss}
    engine = cases.engine(modules[-1], *rows, **options)
    wide = [copy.deepcopy(m).double() for m in modules]
    rows64 = (rows[0].double(), rows[1].double() if rows[1].is_floating_point() else rows[1])
    truth = cases.brute_force(wide, RATES, rows64, rows64, loss)
    relative(cases.matrix(engine, cases.queries(engine, *rows)), truth, torch.float32)


def test_buffers_are_those_of_each_checkpoint():
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    modules = cases.disturbed(module.double(), size=0.5)
    X, y = map(torch.tensor, classes(n=12))
    engine = cases.engine(modules[-1], X, y, checkpoints=recorded(modules), learning_rates=RATES)
    truth = cases.brute_force(modules, RATES, (X, y), (X, y), "cross_entropy")
    relative(cases.matrix(engine, cases.queries(engine, X, y)), truth)
    same = copy.deepcopy(modules)
    for other in same:
        other[1].load_state_dict(modules[-1][1].state_dict())
    wrong = cases.brute_force(same, RATES, (X, y), (X, y), "cross_entropy")
    assert np.abs(wrong - truth).max() > 0.01 * np.abs(truth).max()


def test_one_number_is_the_rate_of_all(problem):
    assert_array_equal(scores(problem, 0.2), scores(problem, [0.2] * 3))


def test_scores_are_linear_in_the_rates(problem):
    parts = sum(scores(problem, np.eye(3)[c] * RATES[c]) for c in range(3))
    assert_allclose(scores(problem), parts, rtol=1e-12, atol=1e-14)


def test_some_of_the_parameters(problem):
    modules, rows, asked = problem
    truth = 0.0
    for module, rate in zip(modules, RATES, strict=True):
        module = copy.deepcopy(module)
        for p in module[0].parameters():
            p.requires_grad_(False)
        truth = truth + _last_layer(module, rows, asked, rate)
    assert_allclose(scores(problem, params="last_layer"), truth, rtol=1e-10, atol=1e-12)


def _last_layer(module, rows, asked, rate):
    outputs = [module[:2](values) for values in (rows[0], asked[0])]
    last = copy.deepcopy(module[2])
    pairs = [(a.detach(), b) for a, b in zip(outputs, (rows[1], asked[1]), strict=True)]
    return cases.brute_force([last], [rate], *pairs, "cross_entropy")


@pytest.mark.parametrize("target", ["decision_function", "proba"])
def test_outputs(problem, target):
    modules, rows, (Z, t) = problem

    def chosen(outputs, y):
        values = outputs.softmax(1) if target == "proba" else outputs
        return values.gather(1, y[:, None])[:, 0]

    truth = cases.brute_force(modules, RATES, rows, (Z, t), "cross_entropy", chosen)
    assert_allclose(scores(problem, target=target), truth, rtol=1e-10, atol=1e-12)


def test_without_y_outputs_are_about_the_class_that_the_trained_network_predicts(problem):
    modules, _, (Z, _) = problem
    engine = explained(problem, target="decision_function")
    found = cases.matrix(engine, cases.queries(engine, Z))
    predicted = modules[-1](Z).argmax(1)
    truth = cases.matrix(engine, cases.queries(engine, Z, predicted))
    assert_allclose(found, truth, rtol=1e-12, atol=1e-14)


def test_a_function_of_the_outputs(problem):
    modules, rows, asked = problem

    def spread(outputs, y):
        return outputs.square().sum(1)

    truth = cases.brute_force(modules, RATES, rows, asked, "cross_entropy", spread)
    assert_allclose(scores(problem, target=spread), truth, rtol=1e-10, atol=1e-12)
    engine = explained(problem, target=spread)
    own = engine.self_influence(None, n_jobs=None, progress=False)
    truth = cases.brute_force(modules, RATES, rows, rows, "cross_entropy", spread)
    assert_allclose(own, truth.diagonal(), rtol=1e-10, atol=1e-12)


# -- sums, weights, blocks ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"target": "proba"}, {"projection": 12}])
@pytest.mark.parametrize("reduce", ["sum", "mean"])
def test_over_queries(problem, reduce, options):
    engine = explained(problem, **options)
    asked = cases.queries(engine, *problem[2])
    found = engine.over_queries(asked, reduce, n_jobs=None, progress=False)
    truth = getattr(cases.matrix(engine, asked), reduce)(axis=0)
    assert_allclose(found, truth, rtol=1e-10, atol=1e-12)


def test_weights_multiply_and_their_scale_does_not_count(problem):
    modules, (X, y), asked = problem
    w = np.random.default_rng(0).uniform(0.1, 3.0, len(X))
    w[3] = 0.0
    truth = scores(problem) * w * len(X) / w.sum()
    for scale in (1.0, 7.0):
        engine = cases.engine(
            modules[-1], X, y, scale * w, checkpoints=recorded(modules), learning_rates=RATES
        )
        found = cases.matrix(engine, cases.queries(engine, *asked))
        assert_allclose(found, truth, rtol=1e-10, atol=1e-12)


def test_permuting_rows_permutes_columns(problem):
    modules, (X, y), asked = problem
    order = torch.randperm(len(X), generator=torch.Generator().manual_seed(0))
    found = scores((modules, (X[order], y[order]), asked))
    assert_allclose(found, scores(problem)[:, order.numpy()], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("options", [{}, {"target": "proba"}, {"projection": 12}])
@pytest.mark.parametrize("memory", [0.002, 0.02])
def test_memory_does_not_count(problem, memory, options):
    truth = scores(problem, **options)
    own = explained(problem, **options).self_influence(None, n_jobs=None, progress=False)
    with config_context(working_memory=memory):
        engine = explained(problem, **options)
        asked = cases.queries(engine, *problem[2])
        tiles = engine.tiles(asked, n_jobs=None, progress=False, desc="")
        assert len(list(tiles)) > (memory < 0.01)
        assert_allclose(cases.matrix(engine, asked), truth, rtol=1e-10, atol=1e-12)
        found = engine.self_influence(None, n_jobs=None, progress=False)
        assert_allclose(found, own, rtol=1e-10, atol=1e-12)


def test_strongest_rows_are_those_of_the_matrix(problem):
    dense = scores(problem)
    with config_context(working_memory=0.004):
        engine = explained(problem)
        asked = cases.queries(engine, *problem[2])
        tiles = engine.tiles(asked, n_jobs=None, progress=False, desc="")
        found, at = attribution.top_k(tiles, asked.shape[0], 5, largest=True)
    order = np.argsort(-dense, axis=1, kind="stable")[:, :5]
    assert_array_equal(at, order)
    assert_allclose(found, np.take_along_axis(dense, order, 1), rtol=1e-10, atol=1e-12)


def test_threads_do_not_mix_checkpoints(problem):
    from concurrent.futures import ThreadPoolExecutor

    truth = scores(problem)
    with config_context(working_memory=0.004):
        engine = explained(problem)
    asked = cases.queries(engine, *problem[2])

    def run(_):
        with config_context(working_memory=0.004):
            return cases.matrix(engine, asked)

    with ThreadPoolExecutor(3) as pool:
        for found in pool.map(run, range(3)):
            assert_allclose(found, truth, rtol=1e-10, atol=1e-12)


def test_self_influence_of_some_rows(problem):
    engine = explained(problem)
    every = engine.self_influence(None, n_jobs=None, progress=False)
    at = np.array([7, 0, 7])
    found = engine.self_influence(at, n_jobs=None, progress=False)
    assert_allclose(found, every[at], rtol=1e-12, atol=1e-14)
    _, (X, y), _ = problem
    own = engine.own_influence(cases.queries(engine, X[at], y[at]))
    assert_allclose(own, every[at], rtol=1e-12, atol=1e-14)
    assert_array_equal(engine.self_influence_and_error(at)[1], 0.0)


# -- around the numbers ---------------------------------------------------------------------------


def test_rows_of_a_dataset(problem):
    modules, (X, y), (Z, t) = problem
    data = torch.utils.data.TensorDataset(X, y)
    fetched = torch.utils.data.Subset(data, range(len(X)))
    for rows in (data, fetched, torch.utils.data.DataLoader(fetched, batch_size=7)):
        engine = cases.engine(
            modules[-1], rows, None, checkpoints=recorded(modules), learning_rates=RATES
        )
        asked = cases.queries(engine, torch.utils.data.TensorDataset(Z, t))
        assert_allclose(cases.matrix(engine, asked), scores(problem), rtol=1e-10, atol=1e-12)


def test_an_engine_is_pickled(problem):
    engine = explained(problem)
    asked = cases.queries(engine, *problem[2])
    truth = cases.matrix(engine, asked)
    again = pickle.loads(pickle.dumps(engine))
    found = cases.matrix(again, cases.queries(again, *problem[2]))
    assert_array_equal(found, truth)


def test_a_bar_moves_to_its_end(problem, monkeypatch):
    seen = []

    def bar(iterable, *, total, enabled, desc):
        assert enabled
        for k, value in enumerate(iterable):
            yield value
            seen.append((desc, k + 1, total))

    monkeypatch.setattr("skinfluence._loops.progress_bar", bar)
    engine = explained(problem)
    asked = cases.queries(engine, *problem[2])
    with config_context(working_memory=0.004):
        list(engine.tiles(asked, n_jobs=None, progress=True, desc="proponents"))
    assert seen[-1][0] == "proponents" and seen[-1][1] == seen[-1][2]
    engine.self_influence(None, n_jobs=None, progress=True)
    assert seen[-1] == ("self_influence", 3 * 40, 3 * 40)


def test_training_goes_on_without_the_explainer(problem):
    modules, (X, y), asked = problem
    module = copy.deepcopy(modules[-1]).train()
    engine = cases.engine(module, X, y, checkpoints=recorded(modules), learning_rates=RATES)
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
    assert module.training and all(p.requires_grad for p in module.parameters())
    found = cases.matrix(engine, cases.queries(engine, *asked))
    assert_allclose(found, scores(problem), rtol=1e-12, atol=1e-15)

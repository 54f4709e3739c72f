"""Tracing of real trainings: what scores add up to, and how the optimiser counts."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.neural_network import MLPClassifier

from skinfluence import TracInExplainer
from skinfluence.checkpoints import CheckpointRecorder, Checkpoints
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.losses import make_loss  # noqa: E402
from tests.test_torch import tracing_cases as cases  # noqa: E402
from tests.test_torch.influence_cases import classes, mlp  # noqa: E402


def data(n=60, m=12):
    """Rows and queries of one distribution."""
    X, y = map(torch.tensor, classes(n=n + m))
    return (X[:n], y[:n]), (X[n:], y[n:])


def train(module, optimizer, X, y, *, steps, batch=None, weights=None, every=1, seed=0, **options):
    """Minimise the mean loss by gradient steps; the recording."""
    criterion, draw = make_loss("cross_entropy"), np.random.default_rng(seed)
    w = torch.ones(len(X), dtype=X.dtype) if weights is None else torch.tensor(weights)
    recorder = CheckpointRecorder(every=every, **options)
    order = []
    with recorder.watch(module, optimizer, n_rows=len(X)):
        for _ in range(steps):
            order = order if len(order) else draw.permutation(len(X))
            at, order = order[: batch or len(X)], order[batch or len(X) :]
            optimizer.zero_grad()
            losses = criterion(module(X[at]), y[at])
            (w[at] * losses).sum().div(w.mean() * len(at)).backward()
            optimizer.step()
    return recorder.checkpoints


def losses(module, X, y):
    with torch.no_grad():
        return make_loss("cross_entropy")(module(X), y).numpy()


def sums_and_drops(make_optimizer, *, weights=None, options=None, **training):
    """Sums of scores over the rows, and what the loss of each query fell by."""
    rows, asked = data()
    module = mlp()
    before = losses(module, *asked)
    checkpoints = train(module, make_optimizer(module), *rows, weights=weights, **training)
    engine = cases.engine(module, *rows, weights, checkpoints=checkpoints, **(options or {}))
    scores = cases.matrix(engine, cases.queries(engine, *asked))
    return scores.sum(1), before - losses(module, *asked), engine


def sgd(lr, **options):
    return lambda module: torch.optim.SGD(module.parameters(), lr=lr, **options)


def adam(lr, **options):
    return lambda module: torch.optim.Adam(module.parameters(), lr=lr, **options)


def relative_error(found, truth):
    return np.linalg.norm(found - truth) / np.linalg.norm(truth)


# -- completeness ---------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [None, np.linspace(0.2, 3.0, 60)])
def test_scores_add_up_to_the_drop_of_the_loss(weights):
    sums, drops, engine = sums_and_drops(sgd(0.02), steps=100, weights=weights)
    assert engine.score_unit == "loss"
    assert np.abs(drops).max() > 0.1
    assert relative_error(sums, drops) < 0.01
    assert_allclose(sums, drops, rtol=0.01, atol=0.005 * np.abs(drops).max())


def test_what_is_missing_falls_with_the_rate():
    # Along the same way: gradients are taken where steps begin, not in their middle.
    first, second = (
        relative_error(*sums_and_drops(sgd(lr), steps=steps)[:2])
        for lr, steps in ((0.08, 25), (0.02, 100))
    )
    assert 3.3 < first / second < 4.8


def test_fewer_checkpoints_stand_for_the_steps_between():
    error = [
        relative_error(*sums_and_drops(sgd(0.02), steps=100, every=every)[:2])
        for every in (100, 50, 10)
    ]
    assert error[0] > 2 * error[1] > 4 * error[2]
    assert error[2] < 0.01


@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"momentum": 0.8, "dampening": 0.5}])
def test_momentum_carries_a_gradient_further(options):
    # A row's gradient is spent later than it was taken, and is looked at halfway between: measured
    # 4.7 and .7 %. Where it is spent it would be 9.2 and 1.3.
    sums, drops, _ = sums_and_drops(sgd(0.002, **options), steps=200)
    assert relative_error(sums, drops) < 0.05
    assert np.corrcoef(sums, drops)[0, 1] > 0.999


def test_what_momentum_loses_falls_with_the_rate():
    # Along the same way with a quarter of the rate: measured 3.3 and 1.3 %.
    first, second = (
        relative_error(*sums_and_drops(sgd(lr, momentum=0.9), steps=steps, every=5)[:2])
        for lr, steps in ((0.002, 50), (0.0005, 200))
    )
    assert second < first / 2 and second < 0.02


@pytest.mark.parametrize("steps", [1, 10, 50])
@pytest.mark.parametrize("options", [{"nesterov": False}, {"nesterov": True}])
def test_momentum_that_has_just_begun(options, steps):
    # In the end it takes gradients ten times as far, and training stops before that.
    sums, drops, _ = sums_and_drops(sgd(1e-4, momentum=0.9, **options), steps=steps)
    assert relative_error(sums, drops) < 0.005


def test_intervals_count_momentum_where_it_is_spent():
    _, asked = data()
    _, _, engine = sums_and_drops(sgd(5e-4, momentum=0.9), steps=30, every=5)
    each = engine.completeness(cases.queries(engine, *asked))
    assert np.linalg.norm(each.estimated - each.actual) < 0.02 * np.linalg.norm(each.actual)
    first, last = (relative_error(each.estimated[:, k], each.actual[:, k]) for k in (0, -1))
    assert first < 0.03 and last < 0.03


def test_a_schedule_of_the_rate_counts():
    rows, asked = data()
    module = mlp()
    before = losses(module, *asked)
    optimizer = sgd(0.05)(module)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    recorder = CheckpointRecorder()
    with recorder.watch(module, optimizer, n_rows=60):
        for _ in range(100):
            optimizer.zero_grad()
            make_loss("cross_entropy")(module(rows[0]), rows[1]).mean().backward()
            optimizer.step()
            schedule.step()
    engine = cases.engine(module, *rows, checkpoints=recorder.checkpoints)
    scores = cases.matrix(engine, cases.queries(engine, *asked))
    assert relative_error(scores.sum(1), before - losses(module, *asked)) < 0.015


def test_batches_cost_some_per_cent():
    # A row's gradient is taken at every checkpoint, and the step used it once an epoch: measured
    # .7 %, as much as of steps with all rows.
    sums, drops, _ = sums_and_drops(sgd(0.02), steps=120, batch=10)
    assert relative_error(sums, drops) < 0.03


def test_weight_decay_is_no_rows():
    sums, drops, _ = sums_and_drops(sgd(0.02, weight_decay=0.1), steps=100)
    # The decay moves the queries' losses too, and no row is charged with that.
    assert relative_error(sums, drops) > 0.1
    assert relative_error(sums, drops - _work_of_decay(0.1)) < 0.015


def _work_of_decay(decay):
    """What the decay's part of every step took off each query's loss."""
    rows, asked = data()
    module = mlp()
    found = np.zeros(len(asked[0]))
    checkpoints = train(
        module, torch.optim.SGD(module.parameters(), lr=0.02, weight_decay=decay), *rows, steps=100
    )
    shares = checkpoints.shares()
    for checkpoint, share in zip(checkpoints, shares, strict=True):
        with torch.no_grad():
            for name, p in module.named_parameters():
                p.copy_(torch.tensor(checkpoint.parameters[name]))
        g = cases.gradients(module, *asked, make_loss("cross_entropy"))
        theta = torch.cat([p.detach().reshape(-1) for p in module.parameters()]).numpy()
        found += next(iter(share.values())) * decay * g @ theta
    return found


def test_groups_of_parameters_have_rates_of_their_own():
    def two_rates(module):
        groups = [
            {"params": [module[0].weight], "lr": 0.005},
            {"params": [module[0].bias, *module[2].parameters()], "lr": 0.02},
        ]
        return torch.optim.SGD(groups)

    sums, drops, engine = sums_and_drops(two_rates, steps=100)
    assert relative_error(sums, drops) < 0.01
    assert set(engine.attributes()["learning_rates_"]) == {
        name for name, _ in mlp().named_parameters()
    }
    rows, _ = data()
    own = engine.self_influence(None, n_jobs=None, progress=False)
    asked = cases.queries(engine, *rows)
    assert_allclose(own, cases.matrix(engine, asked).diagonal(), rtol=1e-9, atol=1e-12)


# -- optimisers that scale gradients --------------------------------------------------------------


def test_adam_with_its_preconditioner():
    # Adam moves by the average of ten gradients, and v changes fastest at the start: measured
    # 15 % at this rate, 8 % at half of it along the same way. Without the scaling 97 % are
    # missing.
    sums, drops, engine = sums_and_drops(
        adam(0.001), steps=200, options={"preconditioner": "optimizer"}
    )
    assert engine.score_unit == "loss"
    assert relative_error(sums, drops) < 0.25
    assert np.corrcoef(sums, drops)[0, 1] > 0.99
    clear = np.abs(drops) > 0.1 * np.abs(drops).max()
    assert (np.sign(sums) == np.sign(drops))[clear].all()
    assert np.corrcoef(np.argsort(np.argsort(sums)), np.argsort(np.argsort(drops)))[0, 1] > 0.95
    plain, _, engine = sums_and_drops(adam(0.001), steps=200)
    assert engine.score_unit == "learning rate x gradient product"
    assert relative_error(plain, drops) > 0.5


def test_adam_of_short_memory_comes_closer():
    sums, drops, _ = sums_and_drops(
        adam(0.001, betas=(0.5, 0.9)), steps=200, options={"preconditioner": "optimizer"}
    )
    assert relative_error(sums, drops) < 0.06


@pytest.mark.parametrize("options", [{}, {"amsgrad": True}, {"betas": (0.8, 0.9), "eps": 1e-3}])
def test_the_preconditioner_is_the_optimisers(options):
    rows, asked = data(n=20, m=5)
    module = mlp()
    optimizer = adam(0.01, **options)(module)
    checkpoints = train(module, optimizer, *rows, steps=3)
    v = torch.cat([_root(optimizer, p, options) for p in module.parameters()]).numpy()
    last = checkpoints.at([3])
    engine = cases.engine(
        module, *rows, checkpoints=last, learning_rates=1.0, preconditioner="optimizer"
    )
    truth = cases.brute_force([module], [1.0 / v], rows, asked, "cross_entropy")
    found = cases.matrix(engine, cases.queries(engine, *asked))
    assert_allclose(found, truth, rtol=1e-9, atol=1e-9 * np.abs(truth).max())
    own = engine.self_influence(None, n_jobs=None, progress=False)
    truth = cases.brute_force([module], [1.0 / v], rows, rows, "cross_entropy").diagonal()
    assert_allclose(own, truth, rtol=1e-9)


def _root(optimizer, p, options):
    state, beta = optimizer.state[p], options.get("betas", (0.9, 0.999))[1]
    v = state["max_exp_avg_sq" if options.get("amsgrad") else "exp_avg_sq"]
    root = (v / (1 - beta ** state["step"].item())).sqrt() + options.get("eps", 1e-8)
    return root.reshape(-1)


def test_before_the_first_step_gradients_are_scaled_as_by_the_next():
    rows, asked = data(n=20, m=5)
    module = mlp()
    start = copy.deepcopy(module)
    optimizer = adam(0.01)(module)
    checkpoints = train(module, optimizer, *rows, steps=1)
    engine = cases.engine(
        module,
        *rows,
        checkpoints=checkpoints,
        learning_rates=[1.0, 0.0],
        preconditioner="optimizer",
    )
    v = torch.cat([_root(optimizer, p, {}) for p in module.parameters()]).numpy()
    truth = cases.brute_force([start], [1.0 / v], rows, asked, "cross_entropy")
    found = cases.matrix(engine, cases.queries(engine, *asked))
    assert_allclose(found, truth, rtol=1e-9, atol=1e-9 * np.abs(truth).max())


def test_entries_that_have_just_begun_are_scaled_by_what_came_next():
    """A unit wakes up between two checkpoints: its v was 0 at the first, or next to nothing."""
    rows, _ = data(n=20, m=5)
    module = mlp()
    optimizer = adam(0.01)(module)
    checkpoints = train(module, optimizer, *rows, steps=4)
    v, later = (checkpoints[c].optimizer["0.weight"]["exp_avg_sq"] for c in (2, 3))
    v[0], later[1], v[1] = 1e-30, 0.0, 0.0
    engine = cases.engine(
        module, *rows, checkpoints=checkpoints, preconditioner="optimizer", params=["0.weight"]
    )
    trajectory = engine.trajectory
    scale = trajectory.scale(2, trajectory.objective.network).reshape(v.shape)
    beta = 0.999
    first = np.maximum(v / (1 - beta**2), later / (1 - beta**3))
    assert_allclose(scale[2:], 1 / (np.sqrt(first[2:]) + 1e-8), rtol=1e-5)
    assert_allclose(scale[0], 1 / (np.sqrt(later[0] / (1 - beta**3)) + 1e-8), rtol=1e-5)
    assert_allclose(scale[1], 0.0)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_adam_and_units_that_were_off():
    """Of sparse columns and rectified units, many entries are first moved in the middle."""
    draw = np.random.default_rng(0)
    X = draw.exponential(size=(120, 30)) * (draw.random((120, 30)) < 0.06)
    y = (X[:, :10].sum(1) > X[:, 10:20].sum(1)).astype(int)
    net = MLPClassifier((16,), alpha=0.0, batch_size=20, max_iter=30, tol=0.0, random_state=0)
    explainer = TracInExplainer(net, n_checkpoints=31, preconditioner="optimizer").fit(X, y)
    found = explainer.validate(X, y)
    assert found.relative_error < 0.15 and found.pearson > 0.98


def test_the_preconditioner_of_sgd_is_none():
    first, _, _ = sums_and_drops(sgd(0.05), steps=20, options={"preconditioner": "optimizer"})
    second, _, _ = sums_and_drops(sgd(0.05), steps=20)
    assert_allclose(first, second, rtol=1e-12)


# -- completeness as the engine reports it --------------------------------------------------------


def test_validation_compares_sums_with_drops():
    sums, drops, engine = sums_and_drops(sgd(0.02), steps=100, every=10)
    _, asked = data()
    queries = cases.queries(engine, *asked)
    whole = engine.completeness(queries, consecutive=False)
    assert_allclose(whole.estimated, sums, rtol=1e-9)
    assert_allclose(whole.actual, drops, rtol=1e-9, atol=1e-12)
    assert whole.relative_error < 0.02 and abs(whole.slope - 1) < 0.05
    each = engine.completeness(queries)
    assert each.estimated.shape == (12, 10)
    assert_allclose(each.estimated.sum(1), sums, rtol=1e-9)
    assert_allclose(each.actual.sum(1), drops, rtol=1e-9, atol=1e-12)
    assert each.pearson > 0.99
    assert list(each.rows) == list(range(10, 101, 10))


def test_validation_of_an_output():
    rows, asked = data()
    module = mlp()
    start = copy.deepcopy(module)
    checkpoints = train(module, sgd(0.05)(module), *rows, steps=100)
    engine = cases.engine(module, *rows, checkpoints=checkpoints, target="proba")
    assert engine.score_unit == "proba"
    found = engine.completeness(cases.queries(engine, *asked), consecutive=False)
    with torch.no_grad():
        before, after = (
            m(asked[0]).softmax(1).gather(1, asked[1][:, None])[:, 0] for m in (start, module)
        )
    assert_allclose(found.actual, (before - after).numpy(), rtol=1e-9, atol=1e-12)
    assert found.relative_error < 0.015


def test_validation_of_rates_that_were_given():
    rows, asked = data()
    module = mlp()
    checkpoints = train(module, sgd(0.05)(module), *rows, steps=20, every=5)
    engine = cases.engine(module, *rows, checkpoints=checkpoints, learning_rates=0.5)
    queries = cases.queries(engine, *asked)
    sums = cases.matrix(engine, queries).sum(1)
    assert_allclose(engine.completeness(queries).estimated.sum(1), sums, rtol=1e-9)


def test_validation_needs_two_checkpoints():
    rows, asked = data()
    module = mlp()
    checkpoints = train(module, sgd(0.05)(module), *rows, steps=20)
    engine = cases.engine(module, *rows, checkpoints=checkpoints, n_checkpoints=1)
    with pytest.raises(ValueError, match="There is one checkpoint"):
        engine.completeness(cases.queries(engine, *asked))


def test_fewer_checkpoints_are_spread_evenly():
    rows, asked = data()
    module = mlp()
    checkpoints = train(module, sgd(0.05)(module), *rows, steps=100)
    few = cases.engine(module, *rows, checkpoints=checkpoints, n_checkpoints=5)
    assert few.trajectory.steps == [0, 25, 50, 75, 100]
    same = cases.engine(module, *rows, checkpoints=checkpoints.at([0, 25, 50, 75, 100]))
    asked_few, asked_same = (cases.queries(e, *asked) for e in (few, same))
    assert_allclose(
        cases.matrix(few, asked_few), cases.matrix(same, asked_same), rtol=1e-12, atol=1e-15
    )
    assert isinstance(few.attributes()["checkpoints_"], Checkpoints)


# -- a deletion -----------------------------------------------------------------------------------


def test_scores_have_the_sign_and_order_of_training_without_a_row():
    rows, asked = data(n=30)
    module = mlp()
    checkpoints = train(module, sgd(0.1)(module), *rows, steps=40)
    engine = cases.engine(module, *rows, checkpoints=checkpoints)
    scores = cases.matrix(engine, cases.queries(engine, *asked))
    after = losses(module, *asked)
    actual = []
    for i in range(30):
        weights = np.ones(30)
        weights[i] = 0.0
        again = mlp()
        # The others keep their share of a step.
        _train_without(again, rows, weights, steps=40)
        actual.append(losses(again, *asked) - after)
    actual = np.transpose(actual)
    assert np.corrcoef(scores.ravel(), actual.ravel())[0, 1] > 0.9


def _train_without(module, rows, weights, *, steps):
    optimizer = sgd(0.1)(module)
    for _ in range(steps):
        optimizer.zero_grad()
        found = make_loss("cross_entropy")(module(rows[0]), rows[1])
        (torch.tensor(weights) * found).mean().backward()
        optimizer.step()

"""Scores that are stopped and go on."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context

from skinfluence.checkpoints import Checkpoints, OptimizerInfo
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn
import_optional("safetensors")

from skinfluence.torch.resume import Record  # noqa: E402
from skinfluence.torch.tracing.trajectory import Point  # noqa: E402
from tests.test_torch import tracing_cases as cases  # noqa: E402
from tests.test_torch import vae_cases  # noqa: E402
from tests.test_torch.influence_cases import classes, mlp  # noqa: E402

RATES = [0.1, 0.7, 0.3]


class Stopped(Exception):
    pass


@pytest.fixture(scope="module")
def problem():
    X, y = map(torch.tensor, classes(n=46))
    return cases.disturbed(mlp(), size=0.3), (X[:40], y[:40]), (X[40:], y[40:])


@pytest.fixture
def small_blocks(monkeypatch):
    """Every state is written, and blocks are few rows."""
    monkeypatch.setattr(Record, "every", 0.0)
    with config_context(working_memory=0.002):
        yield


def explained(problem, rates=RATES, **options):
    modules, rows, _ = problem
    checkpoints = Checkpoints([cases.state(m, 10 * k) for k, m in enumerate(modules)])
    return cases.engine(
        modules[-1], *rows, checkpoints=checkpoints, learning_rates=rates, **options
    )


def rows_seen(patch, stop_at=None):
    """The rows that are differentiated from now on; the call after so many is not made."""
    seen, block = [], Point.block

    def counted(self, at):
        if len(seen) == stop_at:
            raise Stopped
        seen.append((self.step, at.start, at.stop))
        return block(self, at)

    patch.setattr(Point, "block", counted)
    return seen


def stopped(problem, ask, stop_at, path):
    with pytest.MonkeyPatch.context() as patch:
        rows_seen(patch, stop_at)
        with pytest.raises(Stopped):
            ask(explained(problem, resume=path))


def resumed(problem, ask, path, **options):
    with pytest.MonkeyPatch.context() as patch:
        seen = rows_seen(patch)
        return ask(explained(problem, resume=path, **options)), seen


def all_scores(problem):
    return lambda engine: cases.matrix(engine, cases.queries(engine, *problem[2]))


def test_scores_that_were_stopped_are_the_same(problem, small_blocks, tmp_path):
    ask = all_scores(problem)
    truth, every = resumed(problem, ask, None)
    stopped(problem, ask, len(every) // 2, tmp_path)
    found, rest = resumed(problem, ask, tmp_path)
    assert_allclose(found, truth, rtol=1e-12, atol=1e-15)
    assert len(every) - len(every) // 2 == len(rest)
    assert set(rest) == set(every[len(every) // 2 :])


def test_finished_scores_are_read_and_not_computed(problem, small_blocks, tmp_path):
    ask = all_scores(problem)
    truth, _ = resumed(problem, ask, tmp_path)
    found, seen = resumed(problem, ask, tmp_path)
    assert not seen
    assert_array_equal(found, truth)


def test_states_are_not_written_all_the_time(problem, tmp_path):
    ask = all_scores(problem)
    with pytest.MonkeyPatch.context() as patch:
        written = []
        keep = Record._file
        patch.setattr(Record, "_file", lambda self, part: written.append(part) or keep(self, part))
        ask(explained(problem, resume=tmp_path))
    assert 0 < sum(part.startswith("scores") for part in written) <= 4


def test_sums_and_self_influence_go_on(problem, small_blocks, tmp_path):
    def ask(engine):
        own = engine.self_influence(None, n_jobs=None, progress=False)
        asked = cases.queries(engine, *problem[2])
        return np.stack([own, engine.over_queries(asked, "sum", n_jobs=None, progress=False)])

    monkey = pytest.MonkeyPatch()
    monkey.setattr("skinfluence.torch.tracing.scores.product_rows", lambda point, n: 16)
    try:
        truth = ask(explained(problem))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("skinfluence.torch.tracing.scores.Scores.over_queries", _raise(Stopped))
            with pytest.raises(Stopped):
                ask(explained(problem, resume=tmp_path))
        with pytest.MonkeyPatch.context() as patch:
            # What is finished is not asked for again.
            patch.setattr(
                "skinfluence.torch.tracing.metric.Scalar.squares", _raise(AssertionError)
            )
            found = ask(explained(problem, resume=tmp_path))
    finally:
        monkey.undo()
    assert_allclose(found, truth, rtol=1e-12, atol=1e-15)


def _raise(error):
    def fail(*args, **kwargs):
        raise error

    return fail


def test_other_queries_and_rows_have_places_of_their_own(problem, tmp_path):
    engine = explained(problem, resume=tmp_path)
    Z, t = problem[2]
    every = cases.matrix(engine, cases.queries(engine, Z, t))
    turned = cases.matrix(engine, cases.queries(engine, Z.flip(0), t.flip(0)))
    assert_allclose(turned, every[::-1], rtol=1e-12, atol=1e-15)
    at = [np.array([0, 1, 2]), np.array([3, 4, 5])]
    own = [engine.self_influence(rows, n_jobs=None, progress=False) for rows in at]
    truth = explained(problem).self_influence(None, n_jobs=None, progress=False)
    assert_allclose(np.concatenate(own), truth[:6], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "options", [{"rates": [0.1, 0.7, 0.4]}, {"target": "proba"}, {"projection": 8}]
)
def test_a_record_of_something_else_is_refused(problem, tmp_path, options):
    ask = all_scores(problem)
    ask(explained(problem, resume=tmp_path))
    with pytest.raises(ValueError, match="belongs to another fit"):
        ask(explained(problem, resume=tmp_path, **options))


def test_a_record_of_other_checkpoints_is_refused(problem, tmp_path):
    ask = all_scores(problem)
    ask(explained(problem, resume=tmp_path))
    modules, rows, asked = problem
    others = [*cases.disturbed(modules[0], 2, seed=5), modules[-1]]
    with pytest.raises(ValueError, match="belongs to another fit"):
        ask(explained((others, rows, asked), resume=tmp_path))


def of_loss(factor):
    return lambda outputs, y: factor * nn.functional.cross_entropy(outputs, y, reduction="none")


def of_output(factor):
    return lambda outputs, y: factor * outputs[:, 0]


@pytest.mark.parametrize(("option", "make"), [("loss", of_loss), ("target", of_output)])
def test_a_record_of_another_function_of_the_same_name_is_refused(problem, tmp_path, option, make):
    ask = all_scores(problem)
    truth = ask(explained(problem, resume=tmp_path, **{option: make(1.0)}))
    again = ask(explained(problem, resume=tmp_path, **{option: make(1.0)}))
    assert_array_equal(again, truth)
    with pytest.raises(ValueError, match=r"belongs to another fit.*target has changed"):
        ask(explained(problem, resume=tmp_path, **{option: make(3.0)}))


def test_a_record_of_another_state_of_the_optimizer_is_refused(problem, tmp_path):
    modules, rows, asked = problem
    info = OptimizerInfo("Adam", {})

    def ask(size, preconditioner="optimizer"):
        held = [
            {
                name: {"exp_avg_sq": np.full(p.shape, size), "step": np.array(5.0)}
                for name, p in module.named_parameters()
            }
            for module in modules
        ]
        states = zip(modules, held, strict=True)
        found = [cases.state(m, k, optimizer=o) for k, (m, o) in enumerate(states)]
        engine = cases.engine(
            modules[-1],
            *rows,
            checkpoints=Checkpoints(found, optimizer=info),
            learning_rates=1.0,
            preconditioner=preconditioner,
            resume=tmp_path / str(preconditioner),
        )
        return cases.matrix(engine, cases.queries(engine, *asked))

    assert_array_equal(ask(1.0), ask(1.0))
    with pytest.raises(ValueError, match="belongs to another fit"):
        ask(4.0)
    assert_array_equal(ask(1.0, None), ask(4.0, None))


def test_a_record_of_the_other_gradient_of_an_elbo_is_refused(tmp_path):
    module, X = vae_cases.vae_case("shared")
    options = {"loss": "elbo", "learning_rates": 1.0, "n_draws": 2, "resume": tmp_path}

    def ask(gradient):
        engine = cases.engine(module, X, None, gradient=gradient, **options)
        return cases.matrix(engine, cases.queries(engine, X))

    ask("reparameterized")
    with pytest.raises(ValueError, match="belongs to another fit"):
        ask("score")


def test_draws_go_on_with_the_same_noise(tmp_path, monkeypatch):
    monkeypatch.setattr(Record, "every", 0.0)
    module, X = vae_cases.vae_case("shared")
    modules = cases.disturbed(module, 2, size=0.1)
    checkpoints = Checkpoints([cases.state(m, k) for k, m in enumerate(modules)])
    options = {"loss": "elbo", "checkpoints": checkpoints, "learning_rates": 1.0, "n_draws": 4}

    def ask(**more):
        engine = cases.engine(modules[-1], X, None, **options, **more)
        scores = cases.matrix(engine, cases.queries(engine, X))
        return np.vstack([scores, *engine.self_influence_and_error(None)])

    truth = ask()
    assert_allclose(ask(resume=tmp_path), truth, rtol=1e-12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("skinfluence.torch.tracing.metric.own_squares", _raise(AssertionError))
        assert_allclose(ask(resume=tmp_path), truth, rtol=1e-12)
    with pytest.raises(ValueError, match="belongs to another fit"):
        ask(resume=tmp_path, random_state=1)

"""What tracing refuses, and what it says of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skinfluence.checkpoints import Checkpoints, OptimizerInfo
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.influence.projection import TwoSided  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.tracing.trajectory import at_checkpoint  # noqa: E402
from tests.test_torch import tracing_cases as cases  # noqa: E402
from tests.test_torch.influence_cases import classes, mlp  # noqa: E402


@pytest.fixture(scope="module")
def problem():
    X, y = map(torch.tensor, classes(n=20))
    return cases.disturbed(mlp(), size=0.3), X, y


def recorded(modules, **more):
    return Checkpoints([cases.state(m, 10 * k) for k, m in enumerate(modules)], **more)


def explained(problem, **options):
    modules, X, y = problem
    options = {"checkpoints": recorded(modules), "learning_rates": 1.0, **options}
    return cases.engine(modules[-1], X, y, **options)


def test_rates_are_never_taken_for_granted(problem):
    with pytest.raises(ValueError, match="do not say how large the optimiser's steps were"):
        explained(problem, learning_rates=None)


def test_an_optimizer_without_learning_rates_is_named(problem):
    checkpoints = recorded(problem[0], optimizer=OptimizerInfo("LBFGS"))
    with pytest.raises(ValueError, match=r"those of LBFGS, and how long.* learning_rates="):
        explained(problem, checkpoints=checkpoints, learning_rates=None)


def test_fewer_rows_were_trained_on_than_are_passed(problem):
    module = problem[0][-1]
    path = dict.fromkeys(dict(module.named_parameters()), 0.1)
    for n_rows in (None, 20, 30):  # unknown, all, and a training of which some rows are explained
        checkpoints = Checkpoints([cases.state(module, 3, path=path)], n_rows=n_rows)
        found = explained(problem, checkpoints=checkpoints, learning_rates=None).attributes()
        assert found["learning_rates_"][0] == pytest.approx(0.1 / (n_rows or 20))
    checkpoints = Checkpoints([cases.state(module, 3, path=path)], n_rows=5)
    with pytest.raises(ValueError, match=r"training had 5 rows, and 20 .*n_rows=20\)"):
        explained(problem, checkpoints=checkpoints, learning_rates=None)


def test_a_recording_that_ends_before_the_first_step(problem):
    path = dict.fromkeys(dict(problem[0][0].named_parameters()), 0.0)
    checkpoints = Checkpoints([cases.state(problem[0][0], 0, path=path)])
    with pytest.raises(ValueError, match="nothing to trace"):
        explained(problem, checkpoints=checkpoints, learning_rates=None)


@pytest.mark.parametrize("rates", [[1.0, 2.0], -1.0, [1.0, np.nan, 1.0], 0.0, np.inf])
def test_rates_that_are_none(problem, rates):
    with pytest.raises(ValueError, match="learning_rates"):
        explained(problem, learning_rates=rates)


def test_as_many_checkpoints_as_there_are(problem):
    with pytest.raises(ValueError, match="n_checkpoints=4, and there are 3"):
        explained(problem, n_checkpoints=4)


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "3"])
def test_a_number_of_checkpoints(problem, n):
    with pytest.raises(ValueError, match="no number of checkpoints"):
        explained(problem, n_checkpoints=n)


@pytest.mark.parametrize("target", ["params", "coef:0.weight", "margin"])
def test_targets(problem, target):
    with pytest.raises(ValueError, match="whose change along the path"):
        explained(problem, target=target)


def test_preconditioners(problem):
    with pytest.raises(ValueError, match="neither None nor 'optimizer'"):
        explained(problem, preconditioner="adam")
    with pytest.raises(ValueError, match="the checkpoints do not name it"):
        explained(problem, preconditioner="optimizer")
    modules = problem[0]
    for name, message in (("Adamax", "trained by Adamax"), ("Adam", "needs the state of Adam")):
        checkpoints = recorded(modules, optimizer=OptimizerInfo(name))
        with pytest.raises(ValueError, match=message):
            explained(problem, preconditioner="optimizer", checkpoints=checkpoints)
    with pytest.raises(ValueError, match="TwoSided never forms one"):
        explained(problem, preconditioner="optimizer", projection=TwoSided(4))


def test_a_parameter_without_state(problem):
    modules, _X, _y = problem
    state = {"2.weight": {"exp_avg_sq": np.ones((3, 6)), "step": np.array(1.0)}}
    checkpoints = Checkpoints(
        [replace(item, optimizer=state) for item in recorded(modules)],
        optimizer=OptimizerInfo("Adam"),
    )
    options = {"preconditioner": "optimizer", "checkpoints": checkpoints}
    engine = explained(problem, **options)
    with pytest.raises(ValueError, match=r"has no state of 0\.weight"):
        engine.self_influence(None, n_jobs=None, progress=False)
    engine = explained(problem, params="2.weight", **options)
    assert engine.self_influence(None, n_jobs=None, progress=False).shape == (20,)


@pytest.mark.parametrize("where", ["training row 3", "query 1"])
def test_a_checkpoint_where_training_diverged(problem, where):
    modules, X, y = problem
    X, Z = X.clone(), X[:4].clone()
    # Only rows that use the broken weight have no loss.
    X[:, 0], Z[:, 0] = 0.0, 0.0
    if where == "query 1":
        Z[1, 0] = 1.0
    else:
        X[3, 0] = 1.0
    checkpoints = list(recorded(modules))
    broken = {k: v.copy() for k, v in checkpoints[1].parameters.items()}
    broken["0.weight"][:, 0] = 1e308
    broken["2.weight"][:] = 1e308
    checkpoints[1] = replace(checkpoints[1], parameters=broken)
    engine = cases.engine(
        modules[-1], X, y, checkpoints=Checkpoints(checkpoints), learning_rates=1.0
    )
    with pytest.raises(ValueError, match=f"{where} is no finite number at the checkpoint of s"):
        cases.matrix(engine, cases.queries(engine, Z, y[:4]))
    with pytest.raises(ValueError, match=f"{where} is no finite number at the checkpoint of s"):
        asked = cases.queries(engine, Z, y[:4])
        engine.over_queries(asked, "sum", n_jobs=None, progress=False)


def test_a_whole_checkpoint_of_nan(problem):
    modules, X, y = problem
    checkpoints = list(recorded(modules))
    nan = {k: np.full_like(v, np.nan) for k, v in checkpoints[1].parameters.items()}
    checkpoints[1] = replace(checkpoints[1], parameters=nan)
    checkpoints = Checkpoints(checkpoints)
    engine = cases.engine(modules[-1], X, y, checkpoints=checkpoints, learning_rates=1.0)
    for ask in (
        lambda: engine.self_influence(None, n_jobs=None, progress=False),
        lambda: engine.train_embedding(),
        lambda: engine.completeness(cases.queries(engine, X, y)),
    ):
        with pytest.raises(ValueError, match=r"step 10: training diverged .*checkpoints\.at"):
            ask()
    engine = cases.engine(
        modules[-1], X, y, checkpoints=checkpoints.at([0, 20]), learning_rates=1.0
    )
    assert np.isfinite(engine.self_influence(None, n_jobs=None, progress=False)).all()


def test_checkpoints_of_another_architecture(problem):
    with pytest.raises(ValueError, match=r"0\.weight"):
        explained(problem, checkpoints=recorded([mlp(hidden=7)]))
    network = Network(problem[0][0])
    wrong = cases.state(mlp(hidden=7), 4)
    with pytest.raises(ValueError, match=r"of step 4 .*0.weight has shape \(7, 4\)"):
        at_checkpoint(network, wrong)
    with pytest.raises(ValueError, match=r"no 2\.weight, 2\.bias"):
        at_checkpoint(network, cases.state(mlp()[:1], 4))
    more = nn.Sequential(*mlp(), nn.Linear(3, 3).double())
    with pytest.raises(ValueError, match=r"3.weight, 3.bias, which the network does not know"):
        at_checkpoint(network, cases.state(more, 4))


def test_a_checkpoint_without_its_buffers():
    module = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5)).double()
    with pytest.raises(ValueError, match=r"has buffers .* no 1\.running_mean"):
        at_checkpoint(Network(module), replace(cases.state(module, 1), buffers={}))


def test_queries_need_what_the_loss_needs(problem):
    engine = explained(problem)
    with pytest.raises(ValueError, match="which needs its y"):
        cases.queries(engine, problem[1])
    with pytest.raises(ValueError, match="X is None"):
        engine.queries(None, None)
    with pytest.raises(ValueError, match="row 2"):
        Z = problem[1][:4].clone()
        Z[2] = np.nan
        cases.queries(engine, Z, problem[2][:4])

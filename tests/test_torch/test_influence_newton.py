"""Gauss-Newton deletion against the dense matrices that it never forms."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skinfluence import InfluenceExplainer
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.curvature import GaussNewton  # noqa: E402
from skinfluence.torch.influence.evaluation import Evaluation  # noqa: E402
from skinfluence.torch.influence.newton import (  # noqa: E402
    GaussNewtonDeletion,
    mean_deleted_objective,
)
from skinfluence.torch.influence.queries import make_queries  # noqa: E402
from skinfluence.torch.influence.targets import make_target  # noqa: E402
from skinfluence.torch.solvers import ConjugateGradients, DataInf, Dense, Lissa  # noqa: E402
from tests.test_torch.influence_cases import (  # noqa: E402
    classes,
    linear_module,
    mlp,
    objective,
    regression,
    trained,
)
from tests.test_torch.networks import NETWORKS  # noqa: E402

DAMPING = 0.02


def deletion(problem, solver=None, damping=DAMPING):
    solver = Dense() if solver is None else solver
    base, mean = mean_deleted_objective(problem)
    inverse = solver.invert(GaussNewton(base), damping)
    return GaussNewtonDeletion(trained(problem, damping), inverse, mean)


def dense_moves(problem, members, damping=DAMPING):
    """By the matrix without the rows, as it is written down."""
    J, slopes, bends = deletion(problem).derivatives(np.arange(problem.n_train))
    w, decay = problem.weights, problem.decay
    G = torch.einsum("i,ikp,ikl,ilq->pq", w, J, bends, J)
    G = G + torch.diag(problem.total_weight * (decay + damping))
    found = []
    for rows in members:
        gone = torch.einsum("i,ikp,ikl,ilq->pq", w[rows], J[rows], bends[rows], J[rows])
        gradient = torch.einsum("i,ik,ikp->p", w[rows], slopes[rows], J[rows])
        if problem.per_weight:
            gone = gone + torch.diag(w[rows].sum() * decay)
            gradient = gradient + w[rows].sum() * decay * problem.network.theta
        found.append(torch.linalg.solve(G - gone, gradient))
    return torch.stack(found)


@pytest.mark.parametrize("per_weight", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
def test_moves_are_those_of_the_matrix_without_the_rows(per_weight, weighted):
    X, y = classes(n=12)
    weights = np.random.default_rng(0).uniform(0.0, 3.0, 12) if weighted else None
    decay = {"0.weight": 0.3, "2.weight": 0.1}
    problem = objective(mlp(), X, y, weights=weights, decay=decay, per_weight=per_weight)
    found = deletion(problem)
    expected = dense_moves(problem, [[i] for i in range(12)])
    assert_allclose(found.moves(slice(0, 12)), expected, rtol=1e-8, atol=1e-10)
    groups = [[0, 4], [1, 2, 3, 7]]
    moved = torch.cat([found.group_move(np.array(rows)) for rows in groups])
    assert_allclose(moved, dense_moves(problem, groups), rtol=1e-8, atol=1e-10)
    assert_allclose(found.group_move(np.array([], dtype=int)), 0.0)


def test_any_inverse_will_do():
    X, y = classes(n=12)
    problem = objective(mlp(), X, y, decay=0.1)
    found = deletion(problem, ConjugateGradients(tol=1e-12)).moves(np.array([3, 5]))
    assert_allclose(found, dense_moves(problem, [[3], [5]]), rtol=1e-6, atol=1e-9)


def test_a_weight_that_holds_the_penalty_is_refused():
    X, y = classes(n=6)
    problem = objective(mlp(), X, y, weights=np.array([1, 1, 1, 1, 1, 200.0]), decay=0.1)
    with pytest.raises(ValueError, match="The rows to delete hold so much of the weight"):
        deletion(problem, damping=0.0).group_move(np.arange(6))


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_values_at_moved_parameters(name):
    module, rows, loss = NETWORKS[name](dtype=torch.float64)
    from skinfluence.torch.losses import make_loss
    from skinfluence.torch.network import Network
    from skinfluence.torch.objective import NetworkObjective

    network = Network(module)
    weights = torch.ones(rows.shape[0], dtype=torch.float64)
    problem = NetworkObjective(network, make_loss(loss), rows, weights)
    target = make_target("loss", problem)
    queries = make_queries(
        trained_without_curvature(problem), target, rows, output=None, classes=None
    )
    moves = 0.1 * torch.randn(4, network.n_params, dtype=torch.float64)
    expected = [
        problem_at(problem, network.theta + move) - problem_at(problem, network.theta)
        for move in moves
    ]
    for size in (3, 100):
        found = Evaluation(network, target, size).changes(queries, moves)
        assert_allclose(found, np.transpose(expected), rtol=1e-8, atol=1e-11)
    at = np.array([2, 0, 1, 2])
    own = Evaluation(network, target, 100).own_changes(queries, at, moves)
    assert_allclose(own, found[at, np.arange(4)], rtol=1e-8, atol=1e-11)
    values = Evaluation(network, target, 3).values(queries)
    assert_allclose(values, problem_at(problem, network.theta), rtol=1e-10, atol=1e-12)


def trained_without_curvature(problem):
    from skinfluence.torch.gradients import RowGradients
    from skinfluence.torch.influence.trained import Trained

    gradients = RowGradients(problem.network, problem.loss, problem.rows.take(slice(0, 8)))
    return Trained(problem, gradients, None)


def problem_at(problem, theta):
    batch = problem.rows.take(slice(0, problem.n_train))
    with torch.no_grad():
        outputs = problem.network.outputs(batch, problem.network.params(theta))
        return problem.loss(outputs, batch.y).numpy()


def test_float32_networks_are_evaluated_in_float64():
    X, y = classes(n=20)
    wide = objective(mlp(), X, y, decay=0.1)
    narrow = objective(mlp().float(), X.astype(np.float32), y, decay=0.1)
    narrow = dataclasses.replace(narrow, rows=narrow.rows)
    move = 1e-6 * torch.ones(1, wide.network.n_params)
    changes = []
    for problem in (wide, narrow):
        target = make_target("loss", problem)
        queries = make_queries(
            trained_without_curvature(problem), target, problem.rows, output=None, classes=None
        )
        changes.append(Evaluation(problem.network, target, 100).changes(queries, move))
    # Differences of values of about one would have no digits left in float32.
    assert_allclose(changes[1], changes[0], rtol=1e-3, atol=1e-11)


@pytest.mark.parametrize("solver", [ConjugateGradients(tol=1e-6), Lissa(tol=1e-3)])
def test_iterative_solvers_settle_at_their_own_tolerance(solver):
    X, y = classes(n=30)
    weights = np.random.default_rng(0).uniform(0.1, 3.0, 30)
    problem = objective(mlp(), X, y, weights=weights, decay=0.05)
    group, tolerance = np.arange(0, 30, 3), solver.tol
    for moves in (lambda d: d.moves(slice(0, 3)), lambda d: d.group_move(group)):
        expected, found = moves(deletion(problem)), moves(deletion(problem, solver))
        gap = torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected)
        assert float(gap) < 10 * tolerance


def test_a_row_that_alone_holds_a_direction_is_refused():
    # Fewer rows than parameters and no damping: each row is fitted by a direction of its own.
    X, y = regression(n=5, p=8)
    problem = objective(linear_module(np.zeros((1, 8))), X, y, loss="squared_error")
    with pytest.raises(ValueError, match=r"Without row \d the curvature is not positive"):
        deletion(problem, damping=0.0).moves(slice(0, 5))
    assert torch.isfinite(deletion(problem, damping=0.1).moves(slice(0, 5))).all()


def test_a_solver_that_overstates_the_inverse_is_refused():
    X, y = classes(n=30)
    problem = objective(mlp(), X, y, decay=0.001)
    with pytest.raises(ValueError, match="a more exact solver if this one approximates"):
        deletion(problem, DataInf()).moves(slice(0, 30))


def test_a_group_may_hold_most_of_the_weight():
    X, y = classes(n=30)
    problem = objective(mlp(), X, y, decay=0.05)
    rows = np.arange(27)
    expected = dense_moves(problem, [rows], damping=0.0)
    assert_allclose(deletion(problem, damping=0.0).group_move(rows), expected, rtol=1e-6)


def test_a_row_of_a_huge_weight():
    X, y = classes(n=30)
    problem = objective(mlp(), X, y, weights=np.r_[1e6, np.ones(29)], decay=0.05)
    # The damping, which stays, takes the place of the rows that are left.
    expected = dense_moves(problem, [[0]])
    assert_allclose(deletion(problem).moves(slice(0, 1)), expected, rtol=1e-6)
    with pytest.raises(ValueError, match="hold so much of the weight"):
        deletion(problem, damping=0.0).moves(slice(0, 1))


class StartsItself(torch.nn.Module):
    """Makes its first state itself, in single precision, as tutorials do."""

    def __init__(self):
        super().__init__()
        self.inner = torch.nn.LSTM(2, 3, batch_first=True)
        self.outer = torch.nn.Linear(3, 3)

    def forward(self, x):
        start = torch.zeros(1, len(x), 3)
        return self.outer(self.inner(x, (start, start))[0][:, -1])


class Starts(StartsItself):
    def forward(self, x):
        return self.outer(self.inner(x)[0][:, -1])


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
def test_forward_that_runs_in_its_own_type_alone():
    torch.manual_seed(0)
    own, other = StartsItself(), Starts()
    other.load_state_dict(own.state_dict())
    X, y = torch.randn(9, 4, 2), torch.arange(9) % 3
    options = {"loss": "cross_entropy", "damping": 0.3, "method": "newton"}
    found, expected = (InfluenceExplainer(m, **options).fit(X, y) for m in (own, other))
    assert_allclose(
        found.score_influence(X, y), expected.score_influence(X, y), rtol=1e-2, atol=1e-5
    )
    assert_allclose(found.self_influence(), expected.self_influence(), rtol=1e-2, atol=1e-5)
    agreement = found.validate(X, y, retrain=lambda rows: Starts(), n_refits=2)
    assert np.isfinite(agreement.relative_error)

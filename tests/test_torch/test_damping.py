"""Damping where none was asked for: none while the curvature is definite."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from skinfluence import InfluenceExplainer
from skinfluence.exceptions import NotStationaryWarning
from tests.conftest import import_optional

torch = import_optional("torch")
nn = torch.nn

from skinfluence.torch.curvature import Ekfac, EmpiricalFisher, GaussNewton, Hessian  # noqa: E402
from skinfluence.torch.curvature.symmetry import null_directions  # noqa: E402
from skinfluence.torch.solvers import SOLVERS, Dense, DenseInverse, invert  # noqa: E402
from tests.test_torch import kfac_cases, solver_cases  # noqa: E402
from tests.test_torch.influence_cases import (  # noqa: E402
    classes,
    linear_module,
    minimum,
    mlp,
    objective,
    regression,
)

CLOSE = {"rtol": 1e-9, "atol": 1e-10}


def mean_eigenvalue(curvature):
    """In units of a mean loss."""
    return (
        float(curvature.matrix().trace()) / curvature.n_params / curvature.objective.total_weight
    )


def one_layer(decay=0.0, loss="cross_entropy"):
    X, y = classes(n=100) if loss == "cross_entropy" else regression()
    k = 3 if loss == "cross_entropy" else 1
    rng = np.random.default_rng(0)
    module = linear_module(rng.normal(size=(k, 4)), rng.normal(size=k))
    return objective(module, X, y, loss=loss, decay=decay)


# -- directions that the loss cannot see ----------------------------------------------------------


@pytest.mark.parametrize("kind", [GaussNewton, Hessian, EmpiricalFisher])
@pytest.mark.parametrize(("decay", "n_null"), [(0.0, 7), ({"0.weight": 1, "2.weight": 1}, 1)])
def test_shifts_of_logits_have_no_curvature(kind, decay, n_null):
    X, y = classes()
    problem = objective(mlp(), X, y, decay=decay)
    directions = null_directions(problem)
    curvature = kind(problem)
    assert directions.shape == (n_null, problem.network.n_params)
    identity = torch.eye(n_null, dtype=torch.float64)
    torch.testing.assert_close(directions @ directions.T, identity, rtol=1e-12, atol=1e-12)
    zero = torch.zeros_like(directions)
    torch.testing.assert_close(curvature(directions), zero, rtol=0, atol=1e-10)
    torch.testing.assert_close(curvature.null_directions(), directions, rtol=0, atol=0)


def test_what_is_no_such_direction():
    X, y = classes(k=4, p=4)
    problem = objective(mlp(p=4, k=4, hidden=4), X, y, decay=1.0)
    assert null_directions(problem) is None
    # Hidden layers as wide as the outputs, and outputs whose level counts.
    free = objective(mlp(p=4, k=4, hidden=4), X, y)
    assert null_directions(free)[:, : 4 * 4 + 4].abs().max() == 0.0
    targets = np.eye(4)[y]
    assert null_directions(objective(mlp(k=4), X, targets, loss="squared_error")) is None
    assert null_directions(one_layer(loss="squared_error")) is None
    # One number a row, without an axis of its own.
    flat = nn.Sequential(linear_module(np.ones((3, 4)), np.ones(3)), nn.Linear(3, 1).double())
    flat.append(nn.Flatten(0))
    assert null_directions(objective(flat, *regression(), loss="squared_error")) is None
    # A penalty that is in the Kronecker factors as its mean is not zero in them.
    assert Ekfac(kfac_cases.linear(4, 3, "cross_entropy")).null_directions() is None


def test_a_saturated_loss_hides_nothing():
    # Squared hinges that all rows are beyond, wherever the parameters go nearby.
    X, _ = regression()
    module = linear_module(np.ones((3, 4)), 100.0 * np.ones(3))
    problem = objective(module, X, None, loss=lambda f, y: (1 - f).clamp_min(0).square().sum(1))
    assert null_directions(problem) is None


def test_classes_may_lie_on_any_axis():
    class Sequence(nn.Module):
        def __init__(self, last):
            super().__init__()
            self.last, self.layer = last, nn.Linear(2, 3).double()

        def forward(self, x):
            found = self.layer(x)
            return found if self.last else found.mT

    X = np.random.default_rng(0).normal(size=(8, 5, 2))
    y = np.random.default_rng(1).integers(0, 3, (8, 5))
    for last in (True, False):
        assert len(null_directions(objective(Sequence(last), X, y))) == 3


# -- the matrix at hand ---------------------------------------------------------------------------


def test_known_and_unseen_directions_take_no_part():
    """The factor filled in there is the pseudo-inverse, as eigenvectors give it."""
    problem = one_layer()
    matrix = GaussNewton(problem).matrix()
    grown = torch.zeros(17, 17, dtype=torch.float64)
    grown[:15, :15] = matrix
    null = torch.zeros(5, 17, dtype=torch.float64)
    null[:, :15] = null_directions(problem)
    inverse = DenseInverse(grown, None, null=null, psd=True)
    assert inverse.damping == 0.0
    assert inverse.report()["null_dim"] == 7
    assert inverse.condition < 1e4
    V = solver_cases.normal(6, 17)
    truth = V @ torch.linalg.pinv(grown, hermitian=True, rtol=1e-10)
    torch.testing.assert_close(inverse(V), truth, **CLOSE)
    torch.testing.assert_close(inverse.half(V) @ inverse.half(V).T, truth @ V.T, **CLOSE)
    slow = DenseInverse(grown, 0.0, psd=True)
    torch.testing.assert_close(slow(V), truth, **CLOSE)


def test_a_null_direction_that_is_not_seen_in_part():
    # A class that no row is near: its logits have no curvature left to rounding.
    matrix = torch.tensor([[2.0, -2, 0], [-2, 2, 0], [0, 0, 0]], dtype=torch.float64)
    null = torch.full((1, 3), 3**-0.5, dtype=torch.float64)
    inverse = DenseInverse(matrix, None, null=null, psd=True)
    V = solver_cases.normal(4, 3)
    truth = V @ torch.linalg.pinv(matrix, hermitian=True)
    torch.testing.assert_close(inverse(V), truth, **CLOSE)
    assert inverse.damping == 0.0
    assert inverse.null_dim == 2


@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e10), (torch.float32, 1e6)])
@pytest.mark.parametrize("near", [0.1, 10.0])
def test_how_ill_a_condition_may_be(dtype, limit, near):
    # Two directions at an angle, so that a scale of the parameters cannot mend it.
    c = 1.0 - 2.0 / (limit * near)
    matrix = torch.tensor([[1.0, c], [c, 1.0]], dtype=torch.float64)
    noise = {torch.float64: 1e-13, torch.float32: 1e-6}[dtype]
    inverse = DenseInverse(matrix, None, noise=noise, psd=True, total_weight=2.0)
    assert inverse.damping == pytest.approx(0.0 if near < 1 else 0.1 * 1.0 / 2.0)


def test_a_tenth_of_the_mean_eigenvalue_otherwise():
    singular = solver_cases.rank_one(n=5, p=12)
    inverse = Dense().invert(singular, None)
    assert inverse.damping == pytest.approx(0.1 * mean_eigenvalue(singular), rel=1e-12)
    V = solver_cases.normal(3, 12)
    truth = solver_cases.solved_densely(singular, inverse.damping, V)
    torch.testing.assert_close(inverse(V), truth, **CLOSE)
    indefinite = solver_cases.with_spectrum([5.0, 4.0, -0.1], psd=False)
    inverse = Dense().invert(indefinite, None)
    assert inverse.damping == pytest.approx(0.1 * mean_eigenvalue(indefinite), rel=1e-12)
    assert inverse.definite


# -- where there is no matrix ---------------------------------------------------------------------


def test_without_a_matrix_a_penalty_on_every_parameter_is_asked_for():
    decay = {"weight": 0.1, "bias": 0.1}
    held, free = GaussNewton(one_layer(decay)), GaussNewton(one_layer({"weight": 0.1}))
    assert invert(held, None, "cg")[0].damping == 0.0
    found = invert(free, None, "cg")[0].damping
    assert found == pytest.approx(0.1 * mean_eigenvalue(free), rel=1e-9)
    # A tiny one is definite, but conjugate gradients would not converge: it counts for itself.
    tiny = GaussNewton(one_layer({"weight": 1e-4, "bias": 2e-4}))
    found = invert(tiny, None, "cg")[0].damping
    assert found == pytest.approx(0.1 * mean_eigenvalue(tiny) - 1e-4, rel=1e-9)
    assert invert(Ekfac(tiny.objective), None)[0].damping == pytest.approx(found, rel=1e-2)
    assert invert(tiny, None, "dense")[0].damping == 0.0
    # No penalty makes a Hessian definite.
    hessian = Hessian(one_layer(decay))
    assert invert(hessian, None, "cg")[0].damping > 0.0


@pytest.mark.parametrize("solver", sorted({*SOLVERS} - {"structured"}))
@pytest.mark.parametrize("damping", [None, 0.03])
def test_every_solver_says_what_was_added(solver, damping):
    kind = EmpiricalFisher if solver == "datainf" else GaussNewton
    curvature = kind(one_layer({"weight": 0.1}))
    found = invert(curvature, damping, solver)[0].damping
    mean = 0.1 * mean_eigenvalue(curvature)
    expected = mean if solver != "dense" else 0.0
    assert found == pytest.approx(expected if damping is None else damping, rel=1e-6)


# -- the explainer --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["first_order", "newton"])
def test_a_softmax_without_penalty_is_logistic_regression(method):
    X, y = classes(n=80)
    model = LogisticRegression(C=np.inf, solver="newton-cg", tol=1e-14, max_iter=1000).fit(X, y)
    linear = InfluenceExplainer(model, method=method).fit(X, y)
    module = linear_module(model.coef_, model.intercept_)
    net = InfluenceExplainer(module, loss="cross_entropy", method=method).fit(X, y)
    assert net.damping_ == 0.0
    expected = linear.score_influence(X, y)
    assert_allclose(net.score_influence(X, y), expected, rtol=1e-6, atol=1e-9)
    assert net.score_influence(X, y, return_report=True)[1]["null_dim"] == 5


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
@pytest.mark.parametrize("scale", [1e-6, 1e-4, 1e4])
def test_the_scale_of_inputs_does_not_matter_in_single_precision(scale):
    X, y = classes(n=80)
    X = X.astype(np.float32)

    def scores(scale):
        torch.manual_seed(0)
        module = torch.nn.Linear(X.shape[1], 3)
        with torch.no_grad():
            module.weight /= scale
        e = InfluenceExplainer(module, loss="cross_entropy").fit(scale * X, y)
        assert e.damping_ == 0.0
        return e.score_influence(scale * X, y)

    assert_allclose(scores(scale), scores(1.0), rtol=1e-3, atol=1e-6)


@pytest.mark.filterwarnings("ignore::skinfluence.exceptions.NotStationaryWarning")
def test_columns_too_far_apart_for_single_precision_are_said():
    X, y = classes(n=80)
    X = X.astype(np.float32) * np.array([1e9, 1, 1, 1], np.float32)
    torch.manual_seed(0)
    module = torch.nn.Linear(X.shape[1], 3)
    with torch.no_grad():
        module.weight[:, 0] /= 1e9
    found = "parameters take no part: .*Standardise them"
    with pytest.warns(ConvergenceWarning, match=found):
        InfluenceExplainer(module, loss="cross_entropy").fit(X, y)


@pytest.mark.parametrize("decay", [0.01, 0.001])
def test_free_biases_of_a_network_add_no_damping(decay):
    """At .01 one of the hidden units is cut off: its bias has a curvature of rounding errors."""
    X, y = classes(n=60)
    decays = {"0.weight": decay, "2.weight": decay}
    module = minimum(mlp(), X, y, decay=decays)
    net = InfluenceExplainer(module, loss="cross_entropy", weight_decay={"*.weight": decay})
    net.fit(X, y)
    assert net.damping_ == 0.0
    curvature = GaussNewton(objective(module, X, y, decay=decays))
    inverse = torch.linalg.pinv(curvature.matrix(), hermitian=True, rtol=1e-11)
    V = solver_cases.normal(5, curvature.n_params)
    V[:, curvature.diagonal() < 1e-20] = 0.0
    torch.testing.assert_close(net._engine.trained.inverse(V), V @ inverse, **CLOSE)


def test_fewer_rows_than_parameters_are_damped():
    X, y = classes(n=60)
    module = minimum(mlp(), X, y, decay=0.01)
    net = InfluenceExplainer(module, loss="cross_entropy")
    with pytest.warns(NotStationaryWarning):
        net.fit(X[:6], y[:6])
    curvature = GaussNewton(objective(module, X[:6], y[:6]))
    assert net.damping_ == pytest.approx(0.1 * mean_eigenvalue(curvature), rel=1e-9)

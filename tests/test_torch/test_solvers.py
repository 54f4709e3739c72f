"""One law for all solvers: the dense inverse, whatever the blocks, the order and the type."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.curvature import GaussNewton  # noqa: E402
from skinfluence.torch.data import Rows  # noqa: E402
from skinfluence.torch.gradients import RowGradients  # noqa: E402
from skinfluence.torch.losses import CrossEntropy  # noqa: E402
from skinfluence.torch.network import Network  # noqa: E402
from skinfluence.torch.objective import NetworkObjective  # noqa: E402
from skinfluence.torch.solvers import (  # noqa: E402
    SOLVERS,
    Arnoldi,
    ConjugateGradients,
    Dense,
    Lissa,
    Nystroem,
)
from tests.test_torch import solver_cases as cases  # noqa: E402

P = 12
# A solver, and the relative error that it is allowed in float64 and in float32.
EXACT = {
    "dense": (Dense(), 1e-10, 1e-5),
    "cg": (ConjugateGradients(tol=1e-10, preconditioner=None), 1e-8, None),
    "cg-loose": (ConjugateGradients(), 1e-4, 1e-2),
    "cg-jacobi": (ConjugateGradients(preconditioner="jacobi"), 1e-4, 1e-2),
    "cg-nystroem": (ConjugateGradients(preconditioner="nystroem", rank=4), 1e-4, 1e-2),
    "arnoldi": (Arnoldi(rank=P), 1e-10, 1e-4),
    "arnoldi-more-than-all": (Arnoldi(rank=100), 1e-10, 1e-4),
    "arnoldi-drop": (Arnoldi(rank=100, complement="drop"), 1e-10, 1e-4),
    "nystroem": (Nystroem(rank=P), 1e-8, 1e-4),
    "nystroem-more-than-all": (Nystroem(rank=100), 1e-8, 1e-4),
    "lissa": (Lissa(), 1e-2, 1e-2),
}
CURVATURES = {
    "rows": (cases.rank_one, 0.01),
    "undamped": (cases.rank_one, 0.0),
    "penalised": (
        lambda **options: cases.rank_one(
            decay=torch.linspace(0.01, 0.1, P, dtype=torch.float64), **options
        ),
        0.02,
    ),
    "weighted": (lambda **o: cases.rank_one(weights=cases.normal(60).abs() * 3, **o), 0.01),
    "repeated": (lambda **o: cases.with_spectrum([1.0] * 8 + [5.0] * 4, **o), 0.1),
}


def error(found, truth):
    """Largest relative error of a row."""
    return float(((found.double() - truth).norm(dim=1) / truth.norm(dim=1)).max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CURVATURES)
@pytest.mark.parametrize("name", EXACT)
def test_it_is_the_dense_inverse(name, case, dtype):
    solver, *allowed = EXACT[name]
    allowed = allowed[0] if dtype == torch.float64 else allowed[1]
    if allowed is None:
        return
    make, damping = CURVATURES[case]
    curvature = make(dtype=dtype)
    V = cases.normal(2 * P, P, seed=5).to(dtype)
    inverse = solver.invert(curvature, damping)
    X = inverse(V)
    truth = cases.solved_densely(curvature, damping, V)
    assert error(X, truth) < allowed
    assert X.dtype == dtype
    report = inverse.report()
    assert json.loads(json.dumps(report))["n_rhs"] == 2 * P
    assert report["damping"] == damping


@pytest.mark.parametrize("name", EXACT)
def test_one_zero_and_no_right_hand_sides(name):
    inverse = EXACT[name][0].invert(cases.rank_one(), 0.01)
    V = cases.normal(3, P)
    V[1] = 0.0
    together = inverse(V)
    assert together[1].count_nonzero() == 0
    assert inverse(V[:0]).shape == (0, P)
    torch.testing.assert_close(inverse(V[:1]), together[:1], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize("name", EXACT)
def test_order_and_blocks_do_not_matter(name):
    solver, allowed, _ = EXACT[name]
    V, order = cases.normal(8, P), torch.arange(7, -1, -1)
    first = solver.invert(cases.rank_one(block=7), 0.01)(V)
    scale = float(first.abs().max())
    turned = solver.invert(cases.rank_one(block=7), 0.01)(V[order])[order]
    torch.testing.assert_close(turned, first, rtol=1e-9, atol=1e-9 * scale)
    for block in (1, 59, 1000):
        other = solver.invert(cases.rank_one(block=block), 0.01)(V)
        torch.testing.assert_close(other, first, rtol=allowed, atol=1e-9 * scale)


@pytest.mark.parametrize("name", ["arnoldi", "nystroem", "lissa-batches", "cg-nystroem"])
def test_seeds_repeat(name):
    solvers = {
        "arnoldi": lambda seed: Arnoldi(rank=4, random_state=seed, tol=10),
        "nystroem": lambda seed: Nystroem(rank=4, random_state=seed, tol=10),
        "lissa-batches": lambda seed: Lissa(batch_size=9, depth=50, random_state=seed, tol=10),
        "cg-nystroem": lambda seed: ConjugateGradients(
            preconditioner="nystroem", rank=4, random_state=seed
        ),
    }
    V = cases.normal(3, P)
    a, again, b = (solvers[name](s).invert(cases.rank_one(), 0.05)(V) for s in (0, 0, 1))
    torch.testing.assert_close(a, again, rtol=0, atol=0)
    assert not torch.equal(a, b)


BUDGETS = {
    "cg": lambda k: ConjugateGradients(max_iter=k, tol=1e-14, preconditioner=None),
    "arnoldi": lambda k: Arnoldi(rank=k, tol=1e9),
    "nystroem": lambda k: Nystroem(rank=k, tol=1e9),
    "lissa": lambda k: Lissa(depth=k * k, tol=1e-14),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", BUDGETS)
def test_errors_fall_with_the_budget(name):
    curvature = cases.with_spectrum(np.geomspace(100, 0.01, 40), n=60)
    V = cases.normal(5, 40)
    truth = cases.solved_densely(curvature, 0.03, V)
    errors = []
    for budget in (3, 10, 30):
        errors.append(error(BUDGETS[name](budget).invert(curvature, 0.03)(V), truth))
    assert errors[0] > 1.5 * errors[1] > 15 * errors[2]


@pytest.mark.parametrize("name", EXACT)
def test_an_indefinite_curvature_is_told(name):
    """Nobody returns numbers without a word."""
    curvature = cases.with_spectrum(np.linspace(-2.0, 9.0, P) + 0.1, psd=False)
    inverse = None
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        try:
            inverse = EXACT[name][0].invert(curvature, 0.0)
            inverse(cases.normal(2, P))
        except ValueError as refusal:
            assert "'ggn'" in str(refusal)
            return
    assert any("'ggn'" in str(warning.message) for warning in told)
    report = inverse.report()
    assert report.get("n_negative") or report.get("not_positive")


@pytest.mark.parametrize("name", EXACT)
def test_nan_is_refused(name):
    curvature = cases.rank_one()
    curvature.matrices[3] = torch.nan
    with pytest.raises(ValueError, match="is NaN or infinite"):
        EXACT[name][0].invert(curvature, 0.01)(cases.normal(2, P))


@pytest.mark.parametrize("name", SOLVERS)
def test_negative_damping_is_refused(name):
    with pytest.raises(ValueError, match=r"damping=-1.0 is negative|no inverse of its own"):
        SOLVERS[name]().invert(cases.rank_one(), -1.0)


@pytest.mark.parametrize("name", ["dense", "arnoldi", "nystroem", "arnoldi-drop"])
@pytest.mark.parametrize("case", CURVATURES)
def test_halves_multiply_to_the_inverse(name, case):
    make, damping = CURVATURES[case]
    inverse = EXACT[name][0].invert(make(), damping)
    U, V = cases.normal(4, P), cases.normal(5, P, seed=9)
    products = inverse.half(U) @ inverse.half(V).T
    torch.testing.assert_close(products, U @ inverse(V).T, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", ["arnoldi", "nystroem"])
def test_halves_of_a_low_rank(name):
    """The complement has its share, at any rank."""
    inverse = {"arnoldi": Arnoldi, "nystroem": Nystroem}[name](rank=4, tol=1e9).invert(
        cases.rank_one(), 0.1
    )
    U, V = cases.normal(4, P), cases.normal(5, P, seed=9)
    torch.testing.assert_close(
        inverse.half(U) @ inverse.half(V).T, U @ inverse(V).T, rtol=1e-9, atol=1e-12
    )


def test_who_has_no_half():
    for solver in (ConjugateGradients(), Lissa()):
        with pytest.raises(ValueError, match="no square root, which an embedding needs"):
            solver.invert(cases.rank_one(), 0.1).half(cases.normal(1, P))


@pytest.fixture(params=[torch.float64, torch.float32], ids=str)
def mlp(request):
    """Gauss-Newton of a small trained network, and the gradients of some queries."""
    dtype, source = request.param, torch.Generator().manual_seed(0)
    X = torch.randn(90, 6, generator=source, dtype=torch.float64).to(dtype)
    y = (X[:, :3] + 2.0 * torch.randn(90, 3, generator=source).to(dtype)).argmax(1)
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).to(
        dtype
    )
    optimiser = torch.optim.LBFGS(module.parameters(), max_iter=30)

    def closure():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(module(X), y)
        loss.backward()
        return loss

    optimiser.step(closure)
    network = Network(module)
    weights = torch.ones(90, dtype=torch.float64)
    objective = NetworkObjective(network, CrossEntropy(), Rows(X, y), weights)
    gradients = RowGradients(network, CrossEntropy(), objective.rows.take(slice(0, 4)))
    return GaussNewton(objective), gradients.block(objective.rows.take(slice(0, 40)))


@pytest.mark.parametrize("name", ["cg-loose", "arnoldi-more-than-all", "nystroem-more-than-all"])
def test_a_network(mlp, name):
    """83 parameters, 40 queries, a condition number of some thousand."""
    curvature, block = mlp
    V = block.dense()
    truth = cases.solved_densely(curvature, 1e-3, V)
    inverse = EXACT[name][0].invert(curvature, 1e-3)
    assert error(inverse(V), truth) < (1e-3 if V.dtype == torch.float64 else 2e-2)
    assert inverse.report()["residual"] <= inverse.report()["tol"]


@pytest.mark.parametrize("preconditioner", ["jacobi", "nystroem"])
def test_preconditioners_of_a_network(mlp, preconditioner):
    curvature, block = mlp
    V = block.dense()[:2]
    plain, helped = (
        ConjugateGradients(preconditioner=p).invert(curvature, 0.003)
        for p in (None, preconditioner)
    )
    truth = cases.solved_densely(curvature, 0.003, V)
    for inverse in (plain, helped):
        assert error(inverse(V), truth) < 1e-2
    assert preconditioner == "jacobi" or helped.report()["n_iter"] < plain.report()["n_iter"]


@pytest.mark.parametrize("solver", [Dense(), ConjugateGradients(), Arnoldi(rank=60), Nystroem()])
def test_quadratic_forms_of_a_network(mlp, solver):
    curvature, block = mlp
    inverse = solver.invert(curvature, 0.01)
    V = block.dense().double()
    truth = (V * cases.solved_densely(curvature, 0.01, V)).sum(1)
    found = inverse.quadratic(block)
    assert found.dtype == torch.float64
    torch.testing.assert_close(found, truth, rtol=5e-3, atol=1e-6)

"""EK-FAC's inverse, exact along a few gradients."""

from __future__ import annotations

import pytest

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.curvature import Ekfac, EmpiricalFisher, GaussNewton, Hessian  # noqa: E402
from skinfluence.torch.solvers import SOLVERS, Corrected, invert  # noqa: E402
from skinfluence.torch.solvers.corrected import conjugate, leading_gradients  # noqa: E402
from skinfluence.torch.solvers.operator import Damped  # noqa: E402
from tests.test_torch import kfac_cases as cases  # noqa: E402
from tests.test_torch import solver_cases  # noqa: E402

DAMPING = 0.05
CLOSE = {"rtol": 1e-8, "atol": 1e-10}


def dense(curvature):
    """The inverse's own matrix, by its products with unit vectors."""
    return curvature(torch.eye(curvature.U.shape[1], dtype=torch.float64))


def case(name="mlp", **options):
    objective = cases.named(name, decay=0.01)
    curvature = GaussNewton(objective)
    return curvature, Corrected(**options).invert(curvature, DAMPING)


@pytest.mark.parametrize("rank", [1, 3, 7])
def test_products_with_the_vectors_are_taken_back(rank):
    curvature, inverse = case(rank=rank)
    near = Ekfac(curvature.objective).inverse(DAMPING)
    vectors = leading_gradients(inverse.operator, near, rank)
    assert len(vectors) == rank
    torch.testing.assert_close(inverse(inverse.operator(vectors)), vectors, **CLOSE)


def test_it_is_symmetric_definite_and_nearer():
    curvature, inverse = case(rank=5)
    M = dense(inverse)
    torch.testing.assert_close(M, M.T, **CLOSE)
    assert float(torch.linalg.eigvalsh(M)[0]) > 0
    V = solver_cases.normal(6, curvature.n_params)
    V = curvature(V)  # directions that are bent
    near = Ekfac(curvature.objective).inverse(DAMPING)
    error = [
        float((found - solver_cases.solved_densely(curvature, DAMPING, V)).norm())
        for found in (inverse(V), near(V))
    ]
    assert error[0] < 0.5 * error[1]


def test_vectors_that_span_all_make_it_exact():
    curvature, _ = case()
    operator = Damped(curvature, DAMPING)
    near = Ekfac(curvature.objective).inverse(DAMPING)
    unit = torch.eye(curvature.n_params, dtype=torch.float64)
    U, Y = conjugate(operator, unit)
    torch.testing.assert_close(U @ Y.T, unit, **CLOSE)
    inverse = Corrected(inverse=near, rank=7).invert(curvature, DAMPING)
    inverse.U, inverse.Y = U, Y
    V = solver_cases.normal(4, curvature.n_params)
    truth = solver_cases.solved_densely(curvature, DAMPING, V)
    torch.testing.assert_close(inverse(V), truth, rtol=1e-6, atol=1e-8)


def test_half_and_quadratic():
    curvature, inverse = case("conv2d", rank=4)
    rows = curvature.objective.rows.take(slice(None))
    block = Ekfac(curvature.objective).gradients.block(rows)
    G = block.dense()
    M = G @ inverse(G).T
    torch.testing.assert_close(inverse.half(G) @ inverse.half(G).T, M, **CLOSE)
    torch.testing.assert_close(inverse.quadratic(block), M.diagonal(), **CLOSE)


def test_copies_of_rows_are_left_out():
    _, inverse = case(rank=2)
    vectors = inverse.U[:1].expand(3, -1)
    U, _ = conjugate(inverse.operator, vectors)
    assert len(U) == 1


def test_report_and_name():
    curvature, _ = case()
    inverse, choice = invert(curvature, DAMPING, "ekfac")
    assert SOLVERS["ekfac"] is Corrected
    assert choice.solver == "ekfac"
    V = solver_cases.normal(3, curvature.n_params)
    inverse(V)
    report = inverse.report()
    assert report["rank"] == 7
    assert report["corrects"]["damping"] == DAMPING
    truth = solver_cases.relative_residual(curvature, DAMPING, V, inverse(V))
    assert report["residual"] == pytest.approx(float(truth.max()), rel=1e-6)


def test_the_empirical_fisher_starts_from_its_own_factors():
    curvature = EmpiricalFisher(cases.named("mlp", decay=0.01))
    found = Corrected(rank=3).invert(curvature, DAMPING).inverse
    own = Ekfac(curvature.objective, fisher="empirical").inverse(DAMPING)
    V = solver_cases.normal(2, curvature.n_params)
    torch.testing.assert_close(found(V), own(V), **CLOSE)


def test_curvatures_that_may_be_indefinite_are_refused():
    with pytest.raises(ValueError, match="solver='ekfac' needs a positive semi"):
        Corrected().invert(Hessian(cases.named("mlp")), DAMPING)

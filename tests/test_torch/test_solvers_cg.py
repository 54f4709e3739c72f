"""Conjugate gradients: every right-hand side is solved, or named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.solvers import ConjugateGradients, Dense  # noqa: E402
from tests.test_torch import solver_cases as cases  # noqa: E402

DTYPES = [torch.float64, torch.float32]
PRECONDITIONERS = [None, "auto", "jacobi", "nystroem"]


def close(found, truth, *, tol):
    """Rows differ by less than `tol` of their size."""
    error = (found.double() - truth.double()).norm(dim=1)
    assert float((error / truth.double().norm(dim=1)).max()) < tol


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_true_residual_is_the_one_asked_for(dtype, preconditioner):
    """More right-hand sides than parameters, with norms ten orders of magnitude apart."""
    curvature = cases.rank_one(dtype=dtype)
    V = (cases.normal(40, 12) * torch.logspace(-5, 5, 40, dtype=torch.float64)[:, None]).to(dtype)
    inverse = ConjugateGradients(tol=1e-4, preconditioner=preconditioner).invert(curvature, 0.01)
    X = inverse(V)
    left = cases.relative_residual(curvature, 0.01, V, X)
    assert float(left.max()) < 1.01e-4
    assert inverse.report()["residual"] == pytest.approx(float(left.max()), rel=0.05, abs=1e-7)
    assert X.dtype == dtype and (X.norm(dim=1) > 0).all()


@pytest.mark.parametrize("tol", [1e-2, 1e-8])
def test_the_tolerance_is_not_its_square(tol):
    """What is asked for costs what it is worth: some right-hand side stops close below it."""
    curvature = cases.with_spectrum(np.geomspace(1, 1e4, 30))
    inverse = ConjugateGradients(tol=tol, preconditioner=None).invert(curvature, 0.0)
    inverse(cases.normal(2, 30))
    assert tol / 20 < inverse.report()["residual"] <= tol


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_right_hand_sides_do_not_know_of_each_other(preconditioner):
    curvature, V = cases.rank_one(), cases.normal(9, 12)
    inverse = ConjugateGradients(tol=1e-10, preconditioner=preconditioner).invert(curvature, 0.01)
    order = torch.arange(8, -1, -1)
    together = inverse(V)
    torch.testing.assert_close(inverse(V[order]), together[order], rtol=1e-8, atol=1e-10)
    alone = torch.cat([inverse(v[None]) for v in V])
    torch.testing.assert_close(alone, together, rtol=1e-8, atol=1e-10)


def test_zeros_and_nothing():
    inverse = ConjugateGradients().invert(cases.rank_one(), 0.01)
    V = cases.normal(3, 12)
    V[1] = 0.0
    assert not inverse(V)[1].any()
    assert inverse.report()["residual"] <= 1e-6
    before = inverse.report()["products"]
    assert inverse(torch.zeros(2, 12, dtype=torch.float64)).count_nonzero() == 0
    assert inverse(V[:0]).shape == (0, 12)
    assert inverse.report()["products"] == before


def test_converged_right_hand_sides_leave_the_products():
    """An eigenvector takes one step; its neighbour's thirty are not paid for it too."""
    curvature = cases.with_spectrum(np.geomspace(1, 1e4, 30))
    easy = torch.linalg.eigh(curvature.matrix())[1][:, :1].T.repeat(20, 1)
    inverse = ConjugateGradients(preconditioner=None).invert(curvature, 0.0)
    inverse(torch.cat([easy, cases.normal(1, 30)]))
    report = inverse.report()
    assert report["n_iter"] > 20
    assert report["products"] < 20 + 21 + report["n_iter"] + 40


def test_numbers_after_convergence_stay_numbers():
    """A tolerance that rounding errors keep out of reach is reported, and nothing is 0 / 0."""
    inverse = ConjugateGradients(tol=0.0, preconditioner=None).invert(cases.rank_one(), 0.01)
    V = cases.normal(4, 12)
    with pytest.warns(ConvergenceWarning, match="4 of 4 right-hand sides .number 0, 1, 2, 3"):
        X = inverse(V)
    close(X, cases.solved_densely(inverse.operator.curvature, 0.01, V), tol=1e-10)


@pytest.mark.parametrize("preconditioner", [None, "nystroem"])
def test_the_cap_does_not_follow_the_parameters_and_errors_fall_with_it(preconditioner):
    curvature, V = cases.with_spectrum(np.geomspace(1, 1e6, 80)), cases.normal(3, 80)
    truth, errors = cases.solved_densely(curvature, 0.0, V), []
    for max_iter in (2, 8, 20):
        options = {"max_iter": max_iter, "preconditioner": preconditioner, "rank": 10}
        inverse = ConjugateGradients(tol=1e-12, **options).invert(curvature, 0.0)
        with pytest.warns(ConvergenceWarning, match=rf"Raise max_iter \({max_iter}\)"):
            X = inverse(V)
        report = inverse.report()
        assert report["n_iter"] == max_iter
        assert report["unconverged"] == [0, 1, 2]
        assert report["residual"] == pytest.approx(
            float(cases.relative_residual(curvature, 0.0, V, X).max()), rel=1e-6
        )
        errors.append(float((X - truth).norm()))
    assert errors[0] > errors[1] > errors[2]


def test_negative_curvature_is_named_and_the_step_before_it_kept():
    values = torch.tensor([-0.5, 1.0, 2.0, 3.0], dtype=torch.float64)
    curvature = cases.with_spectrum(values, psd=False)
    vectors = torch.linalg.eigh(curvature.matrix())[1].T
    inverse = ConjugateGradients().invert(curvature, 0.0)
    V = torch.stack([vectors[1] + vectors[2], vectors[0] + 0.1 * vectors[3], vectors[3]])
    with pytest.warns(ConvergenceWarning, match=r"not positive: 1 of 3 .*number 1\).*'ggn'"):
        X = inverse(V)
    assert torch.isfinite(X).all()
    safe = [0, 2]
    close(X[safe], cases.solved_densely(curvature, 0.0, V)[safe], tol=1e-6)
    report = inverse.report()
    assert report["not_positive"] == report["unconverged"] == [1]
    # Right-hand sides are counted through the calls.
    with pytest.warns(ConvergenceWarning, match=r"number 3\)"):
        inverse(V[1:])
    assert inverse.report()["not_positive"] == [1, 3]


def test_damping_is_added_and_lifts_a_negative_curvature():
    curvature = cases.with_spectrum([-0.5, 1.0, 2.0], psd=False, n=5)
    V = cases.normal(4, 3)
    X = ConjugateGradients().invert(curvature, 0.2)(V)  # W damping = 1
    close(X, Dense().invert(curvature, 0.2)(V), tol=1e-5)
    close(X, cases.solved_densely(curvature, 0.2, V), tol=1e-5)


def test_a_singular_matrix_on_its_range_and_off_it():
    curvature = cases.with_spectrum([0.0, 0.0, 1.0, 2.0, 3.0])
    inverse = ConjugateGradients().invert(curvature, 0.0)
    inside = cases.normal(3, 5) @ curvature.matrix()
    close(inverse(inside), inside @ torch.linalg.pinv(curvature.matrix()), tol=1e-5)
    with pytest.warns(ConvergenceWarning, match=r"singular .*Give a damping"):
        X = inverse(cases.normal(2, 5))
    assert torch.isfinite(X).all()
    assert inverse.report()["not_positive"] == [3, 4]


def test_another_inverse_preconditions():
    curvature = cases.rank_one(fall=2.0)
    near = Dense().invert(cases.rank_one(fall=2.0, n=50), 0.01)
    plain, helped = (
        ConjugateGradients(preconditioner=p).invert(curvature, 0.01) for p in (None, near)
    )
    V = cases.normal(1, 12)
    close(helped(V), plain(V), tol=1e-4)
    assert helped.report()["n_iter"] < plain.report()["n_iter"]
    assert helped.report()["preconditioner"] == "DenseInverse"


def test_a_sketch_is_made_where_it_pays():
    inverse = ConjugateGradients(rank=8).invert(cases.rank_one(), 0.01)
    inverse(cases.normal(31, 12))
    assert inverse.report()["preconditioner"] == "none"
    inverse(cases.normal(32, 12))
    assert inverse.report()["preconditioner"] == "nystroem"


@pytest.mark.parametrize("preconditioner", PRECONDITIONERS)
def test_blocks_of_rows_do_not_matter(preconditioner):
    V, found = cases.normal(6, 12), []
    for block in (1, 7, 1000):
        curvature = cases.rank_one(block=block, weights=cases.normal(60).abs())
        solver = ConjugateGradients(tol=1e-10, preconditioner=preconditioner)
        found.append(solver.invert(curvature, 0.01)(V))
    torch.testing.assert_close(found[0], found[1], rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(found[0], found[2], rtol=1e-8, atol=1e-12)


def test_the_report_is_numbers():
    inverse = ConjugateGradients().invert(cases.rank_one(), 0.01)
    inverse(cases.normal(3, 12))
    assert json.loads(json.dumps(inverse.report()))["n_rhs"] == 3


def test_what_is_no_number_is_refused():
    curvature = cases.rank_one()
    curvature.matrices[3, 0, 0] = torch.nan
    inverse = ConjugateGradients(preconditioner=None).invert(curvature, 0.01)
    with pytest.raises(ValueError, match="training row 3 is NaN or infinite"):
        inverse(cases.normal(2, 12))
    V = cases.normal(3, 12)
    V[1, 2] = torch.inf
    with pytest.raises(ValueError, match="right-hand side is NaN or infinite for 1 of 3"):
        ConjugateGradients().invert(cases.rank_one(), 0.01)(V)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_preconditioner_has_to_be_positive():
    near = Dense().invert(cases.with_spectrum([-1.0] * 6 + [1.0] * 6, psd=False), 0.0)
    inverse = ConjugateGradients(preconditioner=near).invert(cases.rank_one(), 0.01)
    with pytest.raises(ValueError, match="preconditioner is not positive definite"):
        inverse(cases.normal(12, 12))


def test_equal_and_dependent_right_hand_sides_cost_nothing():
    curvature, V = cases.with_spectrum(np.geomspace(1, 1e3, 40)), cases.normal(2, 40)
    mixed = cases.normal(30, 2, seed=7) @ V
    inverse = ConjugateGradients(preconditioner=None, tol=1e-8).invert(curvature, 0.0)
    close(inverse(mixed), cases.solved_densely(curvature, 0.0, mixed), tol=1e-5)
    report = inverse.report()
    assert report["products"] <= 2 * report["n_iter"] + 2 * 30 + 1


def test_sharing_directions_saves_products():
    """Fewer iterations than any right-hand side needs by itself."""
    curvature, V = cases.with_spectrum(np.geomspace(1, 1e4, 60)), cases.normal(12, 60)
    together, alone = (
        ConjugateGradients(preconditioner=None).invert(curvature, 0.0) for _ in range(2)
    )
    together(V)
    for v in V:
        alone(v[None])
    assert together.report()["n_iter"] < 0.4 * alone.report()["n_iter"]
    assert together.report()["products"] < 0.6 * alone.report()["products"]


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="preconditioner='ilu' is none of None, 'auto', 'jacobi'"):
        ConjugateGradients(preconditioner="ilu").invert(cases.rank_one(), 0.0)
    indefinite = cases.with_spectrum([-1.0, 1.0], psd=False)
    with pytest.raises(ValueError, match="needs a positive semidefinite curvature"):
        ConjugateGradients(preconditioner="nystroem").invert(indefinite, 0.0)
    lying = cases.with_spectrum([-1.0, 1.0])
    with pytest.raises(ValueError, match="not positive semidefinite: a Rayleigh quotient"):
        ConjugateGradients(preconditioner="nystroem").invert(lying, 0.0)
    unknown = cases.rank_one()
    unknown.diagonal = lambda: None
    with pytest.raises(ValueError, match="MatrixCurvature does not know its diagonal"):
        ConjugateGradients(preconditioner="jacobi").invert(unknown, 0.0)
    for damping in (-0.1, float("nan")):
        with pytest.raises(ValueError, match=f"damping={damping} is negative"):
            ConjugateGradients().invert(cases.rank_one(), damping)

"""The Neumann series converges, or says why not."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.solvers import Lissa  # noqa: E402
from tests.test_torch import solver_cases as cases  # noqa: E402


def error(inverse, V):
    truth = cases.solved_densely(inverse.operator.curvature, inverse.damping, V)
    return float((inverse(V) - truth).norm() / truth.norm())


@pytest.mark.parametrize("top", [1e-3, 37.2, 1e5])
def test_the_scale_comes_from_the_largest_eigenvalue(top):
    curvature = cases.with_spectrum(np.linspace(0.1, 1.0, 40) * top * 10, n=10)
    inverse = Lissa(tol=1e-6).invert(curvature, 0.0)
    assert inverse.top == pytest.approx(top, rel=0.02)
    assert 1.0 < inverse.scale * top < 2.0
    assert error(inverse, cases.normal(3, 40)) < 1e-5


def test_a_scale_that_diverges_is_refused_by_name():
    curvature = cases.with_spectrum(np.linspace(1.0, 37.2, 12) * 5, n=5)
    with pytest.raises(ValueError, match=r"it is about 37.2 .* Lower `scale` below 0.054,"):
        Lissa(scale=1.0).invert(curvature, 0.0)
    with pytest.raises(ValueError, match="between 0 and 2"):
        Lissa(scale=-1.0).invert(curvature, 0.0)


def test_a_divergence_on_the_way_is_refused():
    """Should the estimate have missed an eigenvalue, the residual shows it."""
    inverse = Lissa().invert(cases.rank_one(), 0.01)
    inverse.scale = 3.0 / inverse.top
    with pytest.raises(ValueError, match="and the series diverges"):
        inverse(cases.normal(2, 12))
    inverse = Lissa(batch_size=10).invert(cases.rank_one(), 0.01)
    inverse.scale = 5.0 / inverse.top
    with pytest.raises(ValueError, match=r"Lower `scale` below .* raise batch_size"):
        inverse(cases.normal(2, 12))


def test_an_indefinite_curvature_is_refused():
    curvature = cases.with_spectrum([-0.5, 1.0, 2.0], n=5, psd=False)
    with pytest.raises(ValueError, match=r"needs a positive .* -0.1 .* a damping above 0.1\."):
        Lissa().invert(curvature, 0.0)
    assert error(Lissa(tol=1e-6).invert(curvature, 0.11), cases.normal(2, 3)) < 1e-3


def test_damping_is_added_once():
    curvature = cases.with_spectrum([1.0, 2.0, 3.0], n=5)
    assert error(Lissa(tol=1e-8).invert(curvature, 1.0), cases.normal(3, 3)) < 1e-6


def test_what_has_converged_leaves_the_products():
    curvature = cases.with_spectrum(np.geomspace(1, 50, 12))
    top = torch.linalg.eigh(curvature.matrix())[1][:, -1:].T
    V = torch.cat([top.repeat(9, 1), cases.normal(1, 12)])
    inverse = Lissa(tol=1e-6).invert(curvature, 0.0)
    inverse(V)
    report = inverse.report()
    assert report["products"] < 3 * report["n_iter"] + 400


def test_what_does_not_converge_is_named():
    inverse = Lissa(depth=3).invert(cases.rank_one(), 0.001)
    with pytest.warns(ConvergenceWarning, match=r"2 of 2 .*Raise depth \(3\) or damping"):
        X = inverse(cases.normal(2, 12))
    report = inverse.report()
    left = cases.relative_residual(inverse.operator.curvature, 0.001, cases.normal(2, 12), X)
    assert report["residual"] == pytest.approx(float(left.max()))
    assert report["unconverged"] == [0, 1]


def unequal(**options):
    """Penalty and unequal weights, which mini-batches have to respect."""
    return cases.rank_one(
        fall=0.5,
        weights=torch.linspace(0.2, 2.0, 60, dtype=torch.float64),
        decay=torch.linspace(0.0, 0.2, 12, dtype=torch.float64),
        **options,
    )


@pytest.mark.parametrize("batch_size", [7, 25, 60])
def test_batches_find_the_inverse_of_the_sum(batch_size):
    """Not the sum of the batches' inverses; by how much is a matter of the depth."""
    V, errors = cases.normal(5, 12), []
    for depth in (30, 300, 3000):
        inverse = Lissa(batch_size=batch_size, depth=depth, tol=10.0).invert(unequal(), 0.05)
        errors.append(error(inverse, V))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]
    assert errors[2] < 0.03


def test_repeats_are_averaged():
    V = cases.normal(5, 12)
    once, often = (
        np.mean(
            [
                error(
                    Lissa(batch_size=5, depth=200, repeats=r, random_state=seed, tol=10.0).invert(
                        unequal(), 0.05
                    ),
                    V,
                )
                for seed in range(4)
            ]
        )
        for r in (1, 6)
    )
    assert often < 0.7 * once


def test_blocks_and_order_do_not_matter_on_batches():
    V, order = cases.normal(4, 12), torch.tensor([3, 1, 0, 2])
    solver = Lissa(batch_size=9, depth=100, tol=10.0)
    first = solver.invert(unequal(block=7), 0.05)(V)
    torch.testing.assert_close(
        solver.invert(unequal(block=60), 0.05)(V), first, rtol=1e-9, atol=1e-12
    )
    inverse = solver.invert(unequal(), 0.05)
    torch.testing.assert_close(inverse(V[order]), first[order], rtol=1e-9, atol=1e-12)
    # A second call starts the same mini-batches anew.
    torch.testing.assert_close(inverse(V), first, rtol=1e-9, atol=1e-12)
    assert inverse.report()["batch_products"] == 800


def test_a_loose_average_is_warned_of():
    inverse = Lissa(batch_size=5, depth=20).invert(unequal(), 0.01)
    with pytest.warns(ConvergenceWarning, match="batch_size or repeats"):
        inverse(cases.normal(2, 12))

"""Eigenpairs, and what is done with the directions that they leave out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.solvers import Arnoldi, Nystroem  # noqa: E402
from skinfluence.torch.solvers.lanczos import extremes, lanczos  # noqa: E402
from skinfluence.torch.solvers.sketch import sketched  # noqa: E402
from tests.test_torch import solver_cases as cases  # noqa: E402

LIKE = {dtype: (lambda p, d=dtype: torch.zeros(p, dtype=d)) for dtype in (torch.float64,)}
FALLING = np.geomspace(100.0, 1e-3, 30)


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        (FALLING, 30),
        (FALLING, 500),
        ([0.0] * 12, 12),
        ([2.0] * 12, 12),
        ([0.0] * 5 + [1.0] * 4 + [-3.0] * 3, 12),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_lanczos_finds_every_eigenvalue_once(values, steps, dtype):
    """No ghosts, and no NaN where the Krylov space is exhausted."""
    values = torch.as_tensor(np.sort(values), dtype=torch.float64)
    matrix = cases.with_spectrum(values).matrix().to(dtype)
    like = torch.zeros(len(values), dtype=dtype)
    found, Q, left = lanczos(lambda V: V @ matrix, like, steps, 0)
    tiny = 1e-12 if dtype == torch.float64 else 2e-5
    size = max(1.0, float(values.abs().max()))
    torch.testing.assert_close(found, values, rtol=0, atol=tiny * size)
    eye = torch.eye(len(values), dtype=dtype)
    torch.testing.assert_close(Q @ Q.T, eye, rtol=0, atol=tiny)
    torch.testing.assert_close(
        (Q * found[:, None].to(dtype)).T @ Q, matrix, rtol=0, atol=tiny * size
    )
    assert float(left.max()) <= tiny * size


def test_lanczos_converges_from_the_top():
    matrix = cases.with_spectrum(FALLING).matrix()
    found, Q, left = lanczos(lambda V: V @ matrix, torch.zeros(30, dtype=torch.float64), 15, 0)
    torch.testing.assert_close(
        found[-3:].flip(0), torch.as_tensor(FALLING[:3]), rtol=1e-6, atol=0.0
    )
    residual = (Q @ matrix - found[:, None] * Q).norm(dim=1)
    torch.testing.assert_close(residual, left, rtol=1e-6, atol=1e-9)
    low, top = extremes(lambda V: V @ matrix, torch.zeros(30, dtype=torch.float64), 0)
    assert top == pytest.approx(100.0) and low == pytest.approx(1e-3, rel=1e-6)


def test_a_sketch_of_a_low_rank_is_exact():
    values = np.r_[np.geomspace(1, 50, 6), np.zeros(24)]
    matrix = cases.with_spectrum(values).matrix()
    found, U = sketched(lambda V: V @ matrix, torch.zeros(30, dtype=torch.float64), 10, 0)
    assert len(found) == 6
    torch.testing.assert_close((U * found[:, None]).T @ U, matrix, rtol=0, atol=1e-8)
    torch.testing.assert_close(U @ U.T, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-10)
    none, empty = sketched(lambda V: 0.0 * V, torch.zeros(30, dtype=torch.float64), 10, 0)
    assert len(none) == 0 and empty.shape == (0, 30)


@pytest.mark.parametrize("kind", [Arnoldi, Nystroem])
def test_the_complement_has_the_damping_and_the_penalty(kind):
    """What the curvature does not see is solved exactly, whatever the rank."""
    decay = torch.linspace(0.1, 0.3, 12, dtype=torch.float64)
    curvature = cases.rank_one(n=5, decay=decay)
    inverse = kind(rank=6).invert(curvature, 0.05)
    V = cases.normal(20, 12)
    truth = cases.solved_densely(curvature, 0.05, V)
    torch.testing.assert_close(inverse(V), truth, rtol=1e-6, atol=1e-8)
    report = inverse.report()
    assert (report["complement"], report["rank"], report["measured"]) == ("damped", 5, 8) or (
        report["rank"] == 6
    )
    assert report["residual"] < 1e-6


@pytest.mark.parametrize("kind", [Arnoldi, Nystroem])
def test_the_complement_is_dropped_when_asked(kind):
    curvature = cases.with_spectrum([0.0] * 6 + list(np.geomspace(1, 8, 6)))
    inverse = kind(rank=6, complement="drop").invert(curvature, 0.0)
    V = cases.normal(4, 12)
    torch.testing.assert_close(
        inverse(V), V @ torch.linalg.pinv(curvature.matrix(), rtol=1e-9), rtol=1e-6, atol=1e-8
    )
    assert inverse.report()["complement"] == "drop"
    assert inverse.half(V).shape == (4, 6)


@pytest.mark.parametrize("kind", [Arnoldi, Nystroem])
def test_no_damping_is_no_complement(kind):
    with pytest.raises(ValueError, match=r"4 eigenpairs leave 8 of 12 directions to the damping"):
        kind(rank=4).invert(cases.rank_one(), 0.0)
    with pytest.raises(ValueError, match="complement='keep' is none of 'damped', 'drop'"):
        kind(complement="keep").invert(cases.rank_one(), 0.1)


@pytest.mark.parametrize("kind", [Arnoldi, Nystroem])
def test_a_rank_that_is_too_small_is_warned_of(kind):
    inverse = kind(rank=3).invert(cases.rank_one(), 0.01)
    with pytest.warns(ConvergenceWarning, match=r"8 of 8 .* 0.1: .*Raise rank \(3\)"):
        inverse(cases.normal(10, 12))
    report = inverse.report()
    assert report["unconverged"] == list(range(8))
    assert report["n_rhs"] == 10


def test_negative_eigenvalues_that_are_not_kept_are_told_too():
    curvature = cases.with_spectrum([-1.0, *np.linspace(3, 5, 20)], n=5, psd=False)
    with pytest.warns(ConvergenceWarning, match=r"1 of 20 eigenvalues found are negative"):
        inverse = Arnoldi(rank=5, max_iter=20).invert(curvature, 0.05)
    assert bool((inverse.values > 0).all())
    assert inverse.report()["lowest"] == pytest.approx(-0.75, rel=1e-3)


def test_negative_eigenvalues_are_told():
    curvature = cases.with_spectrum([-2.0, -0.1, *np.linspace(1, 5, 10)], n=5, psd=False)
    with pytest.warns(
        ConvergenceWarning, match=r"1 of 12 eigenvalues found are negative.* above 0.4\."
    ):
        inverse = Arnoldi(rank=12).invert(curvature, 0.1)
    report = inverse.report()
    assert report["n_negative"] == 1 and report["lowest"] == pytest.approx(-1.5)
    with pytest.raises(ValueError, match="1 negative eigenvalues among those found"):
        inverse.half(cases.normal(1, 12))
    with pytest.raises(ValueError, match="needs a positive semidefinite curvature"):
        Nystroem().invert(curvature, 0.1)

"""The factorised matrix says what it cannot see, and what it sees with the wrong sign."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from tests.conftest import import_optional

torch = import_optional("torch")

from skinfluence.torch.solvers import Dense, DenseInverse  # noqa: E402
from tests.test_torch import solver_cases as cases  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_singular_matrix_is_inverted_on_its_range(dtype):
    """More parameters than rows and no damping: the pseudo-inverse, its null space counted."""
    curvature = cases.rank_one(n=5, p=12, fall=0.5, dtype=dtype)
    inverse = Dense().invert(curvature, 0.0)
    V = cases.normal(20, 12)
    truth = V @ torch.linalg.pinv(curvature.matrix(), rtol=1e-6)
    torch.testing.assert_close(inverse(V), truth, rtol=1e-6, atol=1e-8 * float(truth.abs().max()))
    report = inverse.report()
    assert (report["null_dim"], report["definite"], report["n_negative"]) == (7, True, 0)
    halves = inverse.half(V)
    assert halves.shape == (20, 5)
    torch.testing.assert_close(halves @ halves.T, V @ truth.T, rtol=1e-6, atol=1e-8)


def test_rounding_errors_are_not_curvature():
    """A damping far below the noise of float32 products still is what the null space has."""
    G = cases.normal(5, 12)
    matrix = (G.T @ G) + 1e-7 * cases.normal(12, 12, seed=4)
    matrix = 0.5 * (matrix + matrix.T)
    inverse = DenseInverse(matrix, 1e-8, noise=1e-6, psd=True)
    null = torch.linalg.svd(G)[2][5:]
    torch.testing.assert_close(inverse(null), 1e8 * null, rtol=1e-2, atol=1e5)
    assert inverse.report()["null_dim"] == 0
    assert inverse.definite


def test_negative_eigenvalues_are_counted_and_warned_of():
    curvature = cases.with_spectrum([-0.5, -0.25, 1.0, 2.0], n=5, psd=False)
    with pytest.warns(
        ConvergenceWarning,
        match=r"2 of 4 eigenvalues are negative, .*-0.5.* a damping above 0.1\.",
    ):
        inverse = Dense().invert(curvature, 0.0)
    V = cases.normal(3, 4)
    torch.testing.assert_close(
        inverse(V), cases.solved_densely(curvature, 0.0, V), rtol=1e-8, atol=1e-8
    )
    report = inverse.report()
    assert (report["definite"], report["n_negative"]) == (False, 2)
    assert report["lowest"] == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="2 negative eigenvalues, so it is no inner product"):
        inverse.half(V)
    # The damping that the warning names is enough.
    assert Dense().invert(curvature, 0.1 + 1e-6).definite
    with pytest.warns(ConvergenceWarning, match=r"1 of 4 .* a damping above 0.1\."):
        Dense().invert(curvature, 0.07)


def test_scales_far_apart_are_no_null_space():
    scales = 10.0 ** np.linspace(-6, 6, 12)
    G = cases.normal(60, 12) * torch.as_tensor(scales)
    curvature = cases.MatrixCurvature(G[:, :, None] * G[:, None, :])
    inverse = Dense().invert(curvature, 0.0)
    assert inverse.report()["null_dim"] == 0
    V = cases.normal(3, 12) @ curvature.matrix()
    back = inverse(V) @ curvature.matrix()
    torch.testing.assert_close(back, V, rtol=1e-8, atol=1e-8 * float(V.abs().max()))


def test_the_condition_number_is_of_the_right_size():
    values = np.geomspace(1, 1e5, 12)
    inverse = Dense().invert(cases.with_spectrum(values), 0.0)
    assert 1e2 < inverse.report()["condition"] < 1e7
    assert inverse.report()["lowest"] is None

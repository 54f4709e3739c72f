"""The six kernels and their constants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import gamma
from sklearn.neighbors import KernelDensity

from skinfluence.deletion import kernels

ALL = ["gaussian", "tophat", "epanechnikov", "exponential", "linear", "cosine"]
# The formula of each kernel, written out.
FORMULAS = {
    "gaussian": lambda u: math.exp(-u * u / 2),
    "exponential": lambda u: math.exp(-u),
    "tophat": lambda u: float(u < 1),
    "epanechnikov": lambda u: max(1 - u * u, 0.0),
    "linear": lambda u: max(1 - u, 0.0),
    "cosine": lambda u: math.cos(math.pi * u / 2) if u < 1 else 0.0,
}
U = np.array([[0.0, 1e-9, 0.3, 0.999], [1.0, 1.0 + 1e-12, 3.0, 30.0]])


def test_all_six_are_here():
    assert set(kernels.LOG_KERNELS) | set(kernels.COMPACT_KERNELS) == set(ALL)


@pytest.mark.parametrize("kernel", ALL)
def test_values_and_logarithms(kernel):
    expected = np.vectorize(FORMULAS[kernel])(U)
    values = kernels.values(kernel, U.copy())
    assert_allclose(values, expected, rtol=1e-13, atol=1e-16)
    assert values[0, 0] == 1.0
    with np.errstate(divide="ignore"):
        expected = np.log(values)
    assert_allclose(kernels.log_values(kernel, U.copy()), expected, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("kernel", sorted(kernels.COMPACT_KERNELS))
def test_the_edge_is_outside(kernel):
    assert_array_equal(kernels.values(kernel, np.array([1.0, 1.5, np.inf])[:2]), 0.0)
    assert_array_equal(kernels.log_values(kernel, np.array([1.0, 1.5])), -np.inf)


def test_no_denormals_and_no_warning_far_out():
    far = np.array([40.0, 1e5, 1e200, np.inf])
    assert_allclose(kernels.values("gaussian", far.copy()), np.exp(kernels.LOWEST_EXPONENT))
    assert_array_equal(
        kernels.log_values("gaussian", far.copy()), [-800.0, -5e9, -np.inf, -np.inf]
    )
    assert_array_equal(kernels.log_values("exponential", far.copy()), -far)


@pytest.mark.parametrize("kernel", sorted(kernels.FALLING))
def test_falling_kernels_fall(kernel):
    assert (np.diff(kernels.values(kernel, np.linspace(0.0, 0.99, 50))) < 0).all()


@pytest.mark.parametrize("kernel", ALL)
@pytest.mark.parametrize("d", [1, 2, 3, 4, 8])
def test_normalizer_is_the_integral(kernel, d):
    surface = 2 * math.pi ** (d / 2) / gamma(d / 2)
    upper = 1.0 if kernel in kernels.COMPACT_KERNELS else 60.0
    radial = quad(lambda r: FORMULAS[kernel](r) * r ** (d - 1), 0, upper, epsabs=0, limit=200)[0]
    expected = math.log(surface * radial * 0.7**d)
    assert_allclose(kernels.log_normalizer(kernel, 0.7, d), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kernel", [kernel for kernel in ALL if kernel != "cosine"])
@pytest.mark.parametrize("d", [1, 3, 200])
def test_normalizer_against_scikit_learn(kernel, d):
    X = np.zeros((1, d))
    density = KernelDensity(kernel=kernel, bandwidth=1.3).fit(X).score_samples(X)[0]
    assert_allclose(-kernels.log_normalizer(kernel, 1.3, d), density, rtol=1e-12)


def test_normalizer_of_the_cosine_in_high_dimension():
    # Between those of two kernels that lie around it.
    log_cosine = kernels.log_normalizer("cosine", 1.0, 200)
    assert kernels.log_normalizer("linear", 1.0, 200) < log_cosine
    assert log_cosine < kernels.log_normalizer("epanechnikov", 1.0, 200) + math.log(2.0)

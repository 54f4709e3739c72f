"""The six kernels of scikit-learn's KernelDensity, as sums over training rows need them.

A kernel is a function K(u) of the scaled distance u = |z - x| / bandwidth with K(0) = 1. Constants
cancel in every influence; only :func:`log_normalizer` knows them.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.integrate import quad
from scipy.special import gammaln

# exp() of less than this is slow (denormals) and adds nothing to any sum that counts.
LOWEST_EXPONENT = -700.0


def _gaussian(u):
    with np.errstate(over="ignore"):  # exp(-inf) is the kernel there
        np.square(u, out=u)
    u *= -0.5
    return u


def _exponential(u):
    return np.negative(u, out=u)


def _log(values):
    with np.errstate(divide="ignore"):
        return np.log(values, out=values)


def _epanechnikov(u):
    np.square(u, out=u)
    np.subtract(1.0, u, out=u)
    return np.maximum(u, 0.0, out=u)


def _linear(u):
    np.subtract(1.0, u, out=u)
    return np.maximum(u, 0.0, out=u)


def _cosine(u):
    outside = u >= 1.0
    u *= 0.5 * np.pi
    np.cos(u, out=u)
    u[outside] = 0.0
    return u


def _tophat(u):
    return np.less(u, 1.0, out=u, casting="unsafe")


# log K for the kernels with unbounded support, K for the compact ones; both work in place on u.
LOG_KERNELS = {"gaussian": _gaussian, "exponential": _exponential}
COMPACT_KERNELS = {
    "tophat": _tophat,
    "epanechnikov": _epanechnikov,
    "linear": _linear,
    "cosine": _cosine,
}
# K falls strictly with the distance, as far as the support reaches.
FALLING = frozenset({"gaussian", "exponential", "epanechnikov", "linear", "cosine"})


def values(kernel: str, u: np.ndarray) -> np.ndarray:
    """K(u), in place; exponents below ``LOWEST_EXPONENT`` are raised to it."""
    if kernel in COMPACT_KERNELS:
        return COMPACT_KERNELS[kernel](u)
    return exp_values(LOG_KERNELS[kernel](u))


def exp_values(exponents: np.ndarray) -> np.ndarray:
    """``exp``, in place, without denormals."""
    # Most tiles have nothing to raise, and looking is four times cheaper than writing.
    if exponents.min(initial=0.0) < LOWEST_EXPONENT:
        np.maximum(exponents, LOWEST_EXPONENT, out=exponents)
    return np.exp(exponents, out=exponents)


def log_values(kernel: str, u: np.ndarray) -> np.ndarray:
    """log K(u), in place; -inf outside a compact support."""
    if kernel in COMPACT_KERNELS:
        return _log(COMPACT_KERNELS[kernel](u))
    return LOG_KERNELS[kernel](u)


def log_normalizer(kernel: str, bandwidth: float, d: int) -> float:
    """Log of the integral of K(|x| / bandwidth) over d-dimensional Euclidean space.

    scikit-learn's own constant for the cosine kernel is wrong in even dimensions; this one is
    integrated numerically.
    """
    log_ball = 0.5 * d * math.log(math.pi) - gammaln(0.5 * d + 1.0)
    if kernel == "gaussian":
        log_integral = 0.5 * d * math.log(2.0 * math.pi)
    elif kernel == "tophat":
        log_integral = log_ball
    elif kernel == "epanechnikov":
        log_integral = log_ball + math.log(2.0 / (d + 2.0))
    elif kernel == "exponential":
        log_integral = log_ball + gammaln(d + 1.0)
    elif kernel == "linear":
        log_integral = log_ball - math.log(d + 1.0)
    else:
        # With t = r^d the shells have equal volume and the integrand is smooth for all d.
        shells = quad(lambda t: math.cos(0.5 * math.pi * t ** (1.0 / d)), 0.0, 1.0)[0]
        log_integral = log_ball + math.log(shells)
    return log_integral + d * math.log(bandwidth)

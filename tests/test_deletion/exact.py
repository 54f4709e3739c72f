"""Influence on a kernel density estimate in decimal arithmetic, term by term."""

from __future__ import annotations

import itertools
from decimal import Decimal, localcontext

import numpy as np

PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494459")
NOTHING = Decimal("-Infinity")  # the log of a kernel outside its support


def cosine(x: Decimal) -> Decimal:
    """cos(x) by its series, for 0 <= x <= pi / 2."""
    total, term = Decimal(0), Decimal(1)
    for n in itertools.count(1):
        total += term
        term *= -x * x / ((2 * n - 1) * (2 * n))
        if abs(term) < Decimal("1e-70"):
            break
    return total


def log_kernel(kernel: str, square: Decimal, h: Decimal) -> Decimal:
    """log K(|z - x| / h) from the squared distance."""
    u = square.sqrt() / h
    if kernel == "gaussian":
        return -u * u / 2
    if kernel == "exponential":
        return -u
    if u >= 1:
        return NOTHING
    values = {"tophat": Decimal(1), "epanechnikov": 1 - u * u, "linear": 1 - u}
    return (cosine(PI * u / 2) if kernel == "cosine" else values[kernel]).ln()


def log_terms(kernel, h, x_rows, z, weights) -> list[Decimal]:
    """log(w_j K(z - x_j)) of every row j."""
    z = [Decimal(float(v)) for v in z]
    terms = []
    for x, w in zip(x_rows, weights, strict=True):
        square = sum((a - Decimal(float(b))) ** 2 for a, b in zip(z, x, strict=True))
        log_K = log_kernel(kernel, square, Decimal(float(h)))
        terms.append(log_K + w.ln() if w else NOTHING)
    return terms


def log_sum(logs: list[Decimal]) -> Decimal:
    highest = max(logs)
    if highest == NOTHING:
        return NOTHING
    return highest + sum((v - highest).exp() for v in logs if v != NOTHING).ln()


def influence(kernel, h, X, Z, weights=None, *, digits=60) -> np.ndarray:
    """log p with each row minus log p without it, (n_queries, n_train).

    `digits` must cover the largest exponent.
    """
    with localcontext() as context:
        context.prec = digits
        w = [Decimal(float(v)) for v in (np.ones(len(X)) if weights is None else weights)]
        rows = range(len(w))
        kept = [(sum(w[:i] + w[i + 1 :]) / sum(w)).ln() for i in rows]
        scores = []
        for z in Z:
            terms = log_terms(kernel, h, X, z, w)
            scores.append([_change(terms, i, w[i], kept[i]) for i in rows])
    return np.array(scores)


def _change(terms, i, weight, log_kept) -> float:
    whole = log_sum(terms)
    rest = log_sum(terms[:i] + terms[i + 1 :])
    if not weight or whole == NOTHING:
        return 0.0
    return np.inf if rest == NOTHING else float(log_kept + whole - rest)


def addition(kernel, h, X, Z, weights=None) -> np.ndarray:
    """Self influence of each query if it were added to the rows with weight 1, (n_queries,)."""
    with localcontext() as context:
        context.prec = 60
        w = [Decimal(float(v)) for v in (np.ones(len(X)) if weights is None else weights)]
        log_kept = (sum(w) / (sum(w) + 1)).ln()
        terms = [log_terms(kernel, h, X, z, w) for z in Z]
        return np.array([_change([Decimal(0), *t], 0, Decimal(1), log_kept) for t in terms])

"""Ill-conditioned rows, against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from skinfluence.diagnostics import Diagnostics, working
from tests.conftest import import_optional
from tests.test_diagnostics.cases import diagnose, optimum


def solve(matrix, columns):
    """Gauss and Jordan in fractions."""
    rows = [[*a, *b] for a, b in zip(matrix, columns, strict=True)]
    for j in range(len(rows)):
        pivot = next(i for i in range(j, len(rows)) if rows[i][j] != 0)
        rows[j], rows[pivot] = rows[pivot], rows[j]
        rows[j] = [value / rows[j][j] for value in rows[j]]
        for i in range(len(rows)):
            if i != j:
                rows[i] = [a - rows[i][j] * b for a, b in zip(rows[i], rows[j], strict=True)]
    return [row[len(rows) :] for row in rows]


def exact(X, y):
    """Leverage, Cook's distance, COVRATIO and DFBETA of least squares with an intercept."""
    rows = [[Fraction(float(value)) for value in row] + [Fraction(1)] for row in X]
    targets = [Fraction(float(value)) for value in y]
    n, p = len(rows), len(rows[0])
    gram = [[sum(row[a] * row[b] for row in rows) for b in range(p)] for a in range(p)]
    moments = [sum(r[a] * t for r, t in zip(rows, targets, strict=True)) for a in range(p)]
    directions = solve(gram, [[rows[i][a] for i in range(n)] + [moments[a]] for a in range(p)])
    params = [line[-1] for line in directions]
    residuals = [
        t - sum(a * b for a, b in zip(r, params, strict=True))
        for r, t in zip(rows, targets, strict=True)
    ]
    leverage = [sum(rows[i][a] * directions[a][i] for a in range(p)) for i in range(n)]
    rss = sum(e * e for e in residuals)
    cook = [
        e * e * h / ((1 - h) ** 2 * p * rss) * (n - p)
        for e, h in zip(residuals, leverage, strict=True)
    ]
    dfbeta = [
        [directions[a][i] * residuals[i] / (1 - leverage[i]) for a in range(p)] for i in range(n)
    ]
    ratio = [
        ((rss - e * e / (1 - h)) / rss * (n - p) / (n - p - 1)) ** p / (1 - h)
        for e, h in zip(residuals, leverage, strict=True)
    ]
    return [np.array(values, dtype=float) for values in (leverage, cook, ratio, dfbeta)]


def check(X, y, rtol):
    found = diagnose(LinearRegression(), X, y)
    leverage, cook, ratio, dfbeta = exact(X, y)
    assert_allclose(found.leverage, leverage, rtol=rtol)
    assert_allclose(found.cooks_distance, cook, rtol=rtol, atol=rtol * cook.max())
    assert_allclose(found.cov_ratio, ratio, rtol=10 * rtol)
    for ours, theirs in zip(found.dfbeta.T, dfbeta.T, strict=True):
        assert_allclose(ours, theirs, rtol=rtol, atol=rtol * np.abs(theirs).max())


def test_longley():
    """Raw columns of condition 5e9."""
    table = import_optional("statsmodels.datasets.longley").load_pandas()
    check(table.exog.to_numpy(), table.endog.to_numpy(), 1e-10)


@pytest.mark.parametrize("degree", [3, 5, 7])
def test_polynomials(degree):
    x = np.linspace(0.0, 1.0, 25)
    y = np.random.default_rng(0).normal(size=25)
    check(x[:, None] ** np.arange(1, degree + 1), y, 1e-10)


def test_rows_are_factored_where_their_gram_matrix_is_not_accurate(monkeypatch):
    """Both ways agree where both are accurate, also with weights, blocks and a penalty."""
    rng = np.random.default_rng(0)
    X, y, weights = rng.normal(size=(50, 4)), rng.normal(size=50), rng.uniform(size=50)
    objective, theta = optimum(Ridge(alpha=0.3), X, y, weights)
    plain = Diagnostics(objective, theta)
    monkeypatch.setattr(working, "WELL_CONDITIONED", 2.0)
    monkeypatch.setattr(working, "BLOCK_ROWS", 7)
    factored = Diagnostics(objective, theta)
    for name in ("leverage", "cooks_distance", "cov_ratio", "dfbetas", "bse"):
        assert_allclose(getattr(factored, name), getattr(plain, name), rtol=1e-10)


@pytest.mark.parametrize("c", [1.0, np.inf])
def test_softmax_by_eigenvalues(c, monkeypatch):
    """Where its Gram matrix is nearly singular; its null space drops out by itself."""
    X = np.random.default_rng(0).normal(size=(60, 2))
    objective, theta = optimum(LogisticRegression(C=c), X, np.arange(60) % 3)
    plain = Diagnostics(objective, theta)
    monkeypatch.setattr(working, "WELL_CONDITIONED", 2.0)
    turned = Diagnostics(objective, theta)
    for name in ("leverage", "cooks_distance", "cov_ratio", "dfbetas", "n_effective_params"):
        ours, theirs = getattr(turned, name), getattr(plain, name)
        assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * np.abs(theirs).max())

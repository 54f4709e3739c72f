"""Rows that suit an estimator: labels, real, positive or count targets, one or several."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning

from skinfluence.objectives import Rows

N, P = 60, 4


@dataclass(frozen=True)
class Data:
    """Rows as they are passed to fit."""

    X: Any
    y: Any
    sample_weight: Any = None

    @property
    def rows(self) -> Rows:
        X = self.X.astype(np.float64)
        weight = np.ones(X.shape[0]) if self.sample_weight is None else self.sample_weight
        return Rows(X, self.y, np.asarray(weight, dtype=np.float64))


def make_data(case: Any) -> Data:
    """Rows of the kind, form and number of features that a case asks for."""
    rng = np.random.default_rng(7)
    X = rng.normal(size=(N, case.n_features)) * np.linspace(0.5, 2.0, case.n_features) + 0.3
    eta = X[:, :4] @ np.array([0.6, -0.4, 0.3, 0.0])
    noise = rng.normal(size=N)
    weight = rng.uniform(0.3, 2.5, size=N) if case.weighted else None
    if case.form == "sparse":
        X = np.where(rng.uniform(size=X.shape) < 0.4, X, 0.0)
        return Data(sparse.csr_array(X), _target(case.kind, eta, noise, rng), weight)
    if case.form == "float32":
        X = X.astype(np.float32)
    if case.form == "collinear":
        X[:, -1] = X[:, 0] - 2.0 * X[:, 1]
    return Data(X, _target(case.kind, eta, noise, rng), weight)


def _target(kind, eta, noise, rng):
    if kind == "binary":
        return np.where(eta + noise > 0.9, "spam", "ham")
    if kind == "classes":
        return np.digitize(eta + noise, [-0.6, 0.9]) + 3
    if kind == "multilabel":
        return np.column_stack([eta + noise > 0, noise > 0.3]).astype(int)
    if kind == "real":
        return 2.0 + eta + noise
    if kind == "outliers":
        return eta + noise * np.where(rng.uniform(size=N) < 0.15, 8.0, 1.0)
    if kind == "outputs":
        return np.column_stack([eta + noise, 1.0 - eta + rng.normal(size=N), noise])
    if kind == "counts":
        return rng.poisson(np.exp(0.5 * eta)).astype(float)
    if kind == "positive":
        return np.exp(0.5 * eta) * rng.gamma(3.0, 1 / 3, size=N)
    if kind == "semicontinuous":
        return np.exp(0.5 * eta) * rng.gamma(3.0, 1 / 3, size=N) * (rng.uniform(size=N) > 0.2)
    return 3.0 + 0.2 * eta + 0.1 * noise  # "far from 0": means stay positive without a link


def take(rows: Rows, kept: Any, smoothing: float | None = None) -> Rows:
    """Some of the rows."""
    return Rows(rows.X[kept], rows.y[kept], rows.sample_weight[kept], smoothing)


@contextmanager
def quiet() -> Iterator[None]:
    """Fits to the rounding floor warn that they cannot get there."""
    with warnings.catch_warnings():
        for category in (ConvergenceWarning, FutureWarning, UserWarning):
            warnings.simplefilter("ignore", category)
        yield

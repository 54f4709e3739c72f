"""Fitted explainers and their rows, shared by the displays' tests."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.neighbors import KernelDensity
from sklearn.utils.validation import check_is_fitted

from skinfluence import KDEInfluence
from skinfluence.datasets import load_duncan, make_six_clusters


@pytest.fixture(scope="module")
def X():
    return make_six_clusters(random_state=0)[0]


@pytest.fixture(scope="module")
def explainer(X):
    return KDEInfluence(KernelDensity(bandwidth=0.5)).fit(X)


def ols_diagnostics(X, y, row_labels=None, names=None):
    """Diagnostics of a least-squares line with intercept, from their textbook formulas."""
    X = np.column_stack([np.ones(len(X)), X])
    n, k = X.shape
    pinv = np.linalg.pinv(X)
    h, e, df = np.einsum("ij,ji->i", X, pinv), y - X @ (pinv @ y), n - k
    internal = e / np.sqrt((1 - h) * (e @ e) / df)
    external = internal * np.sqrt((df - 1) / (df - internal**2))
    without = (e @ e - e**2 / (1 - h)) / (df - 1)  # variance without the row
    moves = pinv.T * (e / (1 - h))[:, None]
    errors = np.sqrt(without[:, None] * np.square(pinv).sum(axis=1))
    return SimpleNamespace(
        leverage=h,
        resid_studentized_internal=internal,
        resid_studentized_external=external,
        cooks_distance=internal**2 * h / (1 - h) / k,
        dffits=external * np.sqrt(h / (1 - h)),
        dfbetas=moves / errors,
        param_names=np.array(["intercept", *(names or [f"x{j}" for j in range(k - 1)])]),
        n_effective_params=float(k),
        n_rows=n,
        df_resid=float(df),
        row_labels=np.arange(n) if row_labels is None else np.asarray(row_labels),
    )


class LeastSquaresInfluence(BaseEstimator):
    """What the displays need of an explainer of a regression, and no more."""

    def fit(self, X, y):
        self.X_, self.y_ = np.asarray(X), np.asarray(y)
        return self

    def diagnostics(self):
        check_is_fitted(self)
        return ols_diagnostics(self.X_, self.y_)

    def validate(self, X, y, *, n_refits=20, random_state=None):
        """Changes of the first predictions: to first order, and in truth."""
        check_is_fitted(self)
        d = self.diagnostics()
        rows = np.argsort(-d.cooks_distance)[:n_refits]
        design = np.column_stack([np.ones(len(self.X_)), self.X_])
        pinv = np.linalg.pinv(design)
        queries = np.column_stack([np.ones(len(X)), X])
        first_order = -(queries @ pinv * (self.y_ - design @ (pinv @ self.y_)))[:, rows]
        actual = first_order / (1 - d.leverage[rows])
        return SimpleNamespace(estimated=first_order, actual=actual, rows=rows, asked=(X, y))


@pytest.fixture(scope="module")
def duncan():
    return load_duncan()


@pytest.fixture
def diagnostics(duncan):
    return ols_diagnostics(duncan.data, duncan.target, duncan.row_names, duncan.feature_names)


@pytest.fixture(scope="module")
def regression(duncan):
    return LeastSquaresInfluence().fit(duncan.data, duncan.target)

"""Exact deletion from Gaussian process regression, its kernel held fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.gaussian_process import GaussianProcessRegressor

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Family,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.heads import Head, Numbers
from skinfluence.deletion.closed.kernel_ridge import inverse, rows_at
from skinfluence.deletion.closed.replaced.kernels import (
    ReplacedProcess,
    is_ill,
    no_zeros,
    refined,
    size_of,
)
from skinfluence.deletion.closed.slopes.kernels import DifferenceSlopes, solved_slopes


class GaussianProcessDeletion(ExactModel):
    """Deletion of one row of a Gaussian process with kernel matrix ``A = K + diag(noise)``.

    With M = A^-1, any product ``k_z' A^-1 v`` loses ``(k_z' M e_i) (M v)_i / M_ii``. The mean is
    ``m + k_z' A^-1 (y - m)``, where ``normalize_y`` makes m the mean of the rows that are left
    (their scale cancels), and the variance ``s^2 (k(z, z) - k_z' A^-1 k_z)`` with s their scale.

    Parameters
    ----------
    kernel : kernel
        Fitted; called as kernel(X, X_train).
    X : ndarray of shape (n_train, p)
    y : ndarray of shape (n_train, n_targets)
        As the user has them, not normalised.
    noise : float or ndarray of shape (n_train,)
    normalize : bool
    variance : bool
        Whether the predictive variances are outputs too, after the means.
    """

    def __init__(
        self, kernel: Any, X: Array, y: Array, noise: Any, *, normalize: bool, variance: bool
    ):
        self.kernel, self.X, self.variance = kernel, X, variance
        self.noise, self.normalize = noise, normalize
        self.n_train, self.n_targets = y.shape
        self.n_outputs = 2 * self.n_targets if variance else self.n_targets
        # Not kernel(X, X): that leaves out a white kernel's noise.
        K = kernel(X)
        self.inverse, self.size = inverse(K, noise), size_of(K) + np.max(noise)
        self.diagonal = self.inverse.diagonal()
        self.mean, self.scale = np.zeros_like(y[0]), np.ones_like(y[0])
        if normalize:
            self.mean, self.scale = y.mean(axis=0), no_zeros(y.std(axis=0))
        self.centred = y - self.mean
        # M (y - m) and M 1: what moves the mean, and what a moved m moves.
        self.dual = self.inverse @ self.centred
        self.ones = self.inverse.sum(axis=1)
        n = self.n_train
        self._moved = np.zeros_like(y)
        self._scales = np.ones_like(y)
        if normalize:
            self._moved = -self.centred / (n - 1)
            squares = (self.centred**2).sum(axis=0) - n / (n - 1) * self.centred**2
            self._scales = no_zeros(np.sqrt(np.maximum(squares, 0.0) / (n - 1)))

    def matrix(self) -> Array:
        """A, (n_train, n_train)."""
        return np.asarray(self.kernel(self.X) + np.diag(np.broadcast_to(self.noise, self.n_train)))

    @property
    def row_block(self) -> int:
        return self.n_train

    def floats_a_query(self, n_rows: int) -> int:
        return 3 * self.n_train + 3 * n_rows * self.n_outputs

    def outputs(self, X: Any) -> Array:
        K = self.kernel(X, self.X)
        means = self.mean + K @ self.dual
        if not self.variance:
            return means
        return np.hstack([means, self.reduced(K, X)[:, None] * np.square(self.scale)])

    def reduced(self, K, X):
        """``k(z, z) - k_z' A^-1 k_z``, (q,)."""
        return np.maximum(self.kernel.diag(X) - np.einsum("qn,qn->q", K @ self.inverse, K), 0.0)

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        K = self.kernel(X, self.X)
        seen = meeting.dot(K, rows_at(self.inverse, deleted))
        share = seen / self.diagonal[deleted]
        uncovered = meeting.query(1.0 - K @ self.ones) + share * self.ones[deleted]
        before = K @ self.dual
        found = np.empty((*seen.shape, self.n_outputs))
        for t in range(self.n_targets):
            mean = meeting.query(before[:, t]) - share * self.dual[deleted, t]
            found[..., t] = mean + self.mean[t] + self._moved[deleted, t] * uncovered
        if self.variance:
            reduced = np.maximum(meeting.query(self.reduced(K, X)) + share * seen, 0.0)
            for t in range(self.n_targets):
                found[..., self.n_targets + t] = reduced * self._scales[deleted, t] ** 2
        return found

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedProcess(self, new)

    def slopes(self, X: Any, rows: Positions, features: Positions) -> Array:
        kernel = DifferenceSlopes(features, self.kernel, self.kernel.diag, self.X)
        K, duals = self.kernel(X, self.X), self.dual
        seen = K @ self.inverse
        if is_ill(self.inverse, self.size):
            matrix = self.matrix()
            seen = refined(K, seen, matrix, self.inverse)
            duals = refined(self.centred.T, duals.T, matrix, self.inverse).T
        found = np.empty((X.shape[0], len(rows), len(features), self.n_outputs))
        for j, i in enumerate(rows):
            G, own = kernel.along(self.X[i], self.X), kernel.own(self.X[i])
            G[i] = 0.0
            of_queries = kernel.along(self.X[i], X)
            for t in range(self.n_targets):
                dual = duals[:, t]
                found[:, j, :, t] = solved_slopes(G, of_queries, own, i, seen, dual)
            if self.variance:
                share = seen[:, i, None]
                moved = share * (2.0 * (seen @ G - of_queries) + share * own)
                found[:, j, :, self.n_targets :] = moved[..., None] * np.square(self.scale)
        return found


class _GaussianProcessFamily(Family):
    estimators = (GaussianProcessRegressor,)

    def __init__(self, *, variance: bool = False):
        self.variance = variance

    def asked(self, settings: Any) -> Family:
        # A function of the user may want the variances; nobody else does.
        return _GaussianProcessFamily(variance=callable(settings.target))

    def head(self, estimator: Any) -> Head:
        return Numbers(estimator.y_train_.reshape(len(estimator.y_train_), -1).shape[1])

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel:
        y = np.asarray(rows.y, dtype=np.float64).reshape(rows.n, -1)
        return GaussianProcessDeletion(
            estimator.kernel_,
            rows.X,
            y,
            estimator.alpha,
            normalize=estimator.normalize_y,
            variance=self.variance,
        )

    def outputs(self, estimator: Any, X: Any) -> Array:
        found = estimator.predict(X, return_std=self.variance)
        if not self.variance:
            return np.asarray(found, dtype=np.float64).reshape(X.shape[0], -1)
        means, deviations = (np.reshape(part, (X.shape[0], -1)) for part in found)
        return np.hstack([means, deviations**2])

    def searches(self, estimator: Any) -> bool:
        return estimator.optimizer is not None

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        noise = estimator.alpha
        noise = np.asarray(noise)[kept] if np.ndim(noise) else noise
        return clone(estimator).set_params(kernel=estimator.kernel_, optimizer=None, alpha=noise)


register(_GaussianProcessFamily())

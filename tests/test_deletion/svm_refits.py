"""Refits of support vector machines, solved for exactly: the truth of their deletions.

libsvm says which coefficients are at their bounds; the others follow from a linear system, and the
conditions of optimality are checked. Nothing here is shared with the paths.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics.pairwise import pairwise_kernels
from sklearn.svm import SVC, SVR, NuSVC, NuSVR, OneClassSVM


@dataclass
class Programme:
    """min 1/2 b'Kb - p'b, 0 <= s b <= limit, sums of groups given; a point near its optimum."""

    K: np.ndarray
    p: np.ndarray
    side: np.ndarray
    limit: np.ndarray
    group: np.ndarray
    sums: np.ndarray
    near: np.ndarray

    def solve(self):
        """Coefficients and multipliers, checked."""
        size = self.side * self.near / self.limit
        place = np.where(size < 1e-5, -1, np.where(size > 1 - 1e-5, 1, 0))
        for _ in range(50):  # libsvm may have stopped with a row or two in the wrong place
            beta, offset = self.at(place)
            size = self.side * beta / self.limit
            g = self.side * (self.K @ beta + offset[self.group] - self.p)
            wrong = np.select([place == -1, place == 1], [-g, g], np.maximum(-size, size - 1.0))
            worst = int(np.argmax(wrong))
            if wrong[worst] < 1e-11:
                break
            place[worst] = 0 if place[worst] else (1 if size[worst] > 1 else -1)
        self.check(beta, offset)
        return beta, offset

    def at(self, place):
        """The point with these variables at their lower (-1) and upper (1) bounds."""
        free = place == 0
        beta = np.where(place == 1, self.side * self.limit, 0.0)
        A = self.members()
        held = A[:, free].any(axis=1)
        top = np.hstack([self.K[np.ix_(free, free)], A[held][:, free].T])
        low = np.hstack([A[held][:, free], np.zeros((held.sum(), held.sum()))])
        right = np.concatenate([(self.p - self.K @ beta)[free], (self.sums - A @ beta)[held]])
        found = np.linalg.lstsq(np.vstack([top, low]), right, rcond=None)[0]
        beta[free] = found[: free.sum()]
        offset = np.zeros(len(self.sums))
        offset[held] = found[free.sum() :]
        needed = self.p - self.K @ beta
        for k in np.flatnonzero(~held):
            own = self.group == k
            at_lower = own & (self.side * place < 0)
            ends = np.array(
                [
                    needed[at_lower].max(initial=-np.inf),
                    needed[own & ~at_lower].min(initial=np.inf),
                ]
            )
            offset[k] = ends[np.isfinite(ends)].mean()
        return beta, offset

    def members(self):
        return (self.group == np.arange(len(self.sums))[:, None]).astype(float)

    def check(self, beta, offset):
        g = self.side * (self.K @ beta + offset[self.group] - self.p)
        size = self.side * beta
        scale = max(1.0, np.abs(self.p).max())
        assert np.abs(self.members() @ beta - self.sums).max() < 1e-9
        assert size.min() > -1e-9 and (size - self.limit).max() < 1e-9
        assert g[size < self.limit - 1e-9].min(initial=0.0) > -1e-9 * scale
        assert g[size > 1e-9].max(initial=0.0) < 1e-9 * scale


def kernel_of(model, A, B):
    if callable(model.kernel):
        return model.kernel(A, B)
    if model.kernel == "precomputed":
        return A
    names = {"rbf": ["gamma"], "poly": ["gamma", "degree", "coef0"], "sigmoid": ["gamma", "coef0"]}
    options = {name: getattr(model, name) for name in names.get(model.kernel, [])}
    return pairwise_kernels(A, B, metric=model.kernel, **options)


def decisions(estimator, X, y, weights, queries):
    """Exact decisions of `estimator` fitted to these rows, (n_queries, n_problems).

    `gamma` must be a number. Of a precomputed kernel X is (n, n) and queries (n_queries, n).
    """
    weights = np.ones(len(X)) if weights is None else weights
    with warnings.catch_warnings():  # libsvm may walk for ever, and need not arrive
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = clone(estimator).set_params(tol=1e-6, max_iter=10**5)
        model.fit(X, y, sample_weight=weights)
    held = weights > 0
    if model.kernel == "precomputed":
        X, queries = X[np.ix_(held, held)], queries[:, held]
    else:
        X = X[held]
    y, weights = None if y is None else y[held], weights[held]
    dual = np.zeros((len(model.dual_coef_), len(X)))
    dual[:, model.support_] = model.dual_coef_
    K, Kz = kernel_of(model, X, X), kernel_of(model, queries, X)
    if isinstance(model, SVC | NuSVC):
        return _pairs(model, K, Kz, y, weights, dual)
    n, ones = len(X), np.ones(len(X))
    if isinstance(model, OneClassSVM):
        total = np.array([model.nu * weights.sum()])
        programme = Programme(K, 0 * ones, ones, weights, np.zeros(n, int), total, dual[0])
        beta, offset = programme.solve()
        return (Kz @ beta + offset[0])[:, None]
    nu = isinstance(model, NuSVR)
    epsilon = 0.0 if nu else model.epsilon
    total = model.nu * model.C * weights.sum() / 2 if nu else 0.0
    programme = Programme(
        np.tile(K, (2, 2)),
        np.concatenate([y - epsilon, y + epsilon]),
        np.repeat([1.0, -1.0], n),
        np.tile(model.C * weights, 2),
        np.repeat([0, 1], n) if nu else np.zeros(2 * n, int),
        np.array([total, -total]) if nu else np.zeros(1),
        np.concatenate([np.maximum(dual[0], 0), np.minimum(dual[0], 0)]),
    )
    beta, offset = programme.solve()
    return (Kz @ (beta[:n] + beta[n:]) + offset.mean())[:, None]


def _pairs(model, K, Kz, y, weights, dual):
    classes = model.classes_
    code = np.searchsorted(classes, y)
    found = []
    for a, b in combinations(range(len(classes)), 2):
        own = (code == a) | (code == b)
        near = np.where(code == a, dual[b - 1], dual[a])[own]
        positive = b if len(classes) == 2 else a
        side = np.where(code[own] == positive, 1.0, -1.0)
        w = weights[own]
        if isinstance(model, NuSVC):
            total = model.nu * w.sum()
            group, sums = (side < 0).astype(int), np.array([total, -total]) / 2
            near = near * total / np.abs(near).sum()
            p = np.zeros(len(side))
        else:
            w = model.C * w * model.class_weight_[code[own]]
            group, sums, p = np.zeros(len(side), int), np.zeros(1), side
        beta, offset = Programme(K[np.ix_(own, own)], p, side, w, group, sums, near).solve()
        decision = Kz[:, own] @ beta + offset.mean()
        found.append(decision if len(offset) == 1 else decision / (np.diff(offset)[0] / 2))
    return np.transpose(found)


def losses(estimator: Any, outputs: np.ndarray, y: Any) -> np.ndarray:
    """Loss of each query from its decisions, as the estimator defines it."""
    if isinstance(estimator, OneClassSVM):
        return np.maximum(0.0, -outputs[:, 0])
    if isinstance(estimator, SVR | NuSVR):
        epsilon = estimator.epsilon if isinstance(estimator, SVR) else 0.0
        return np.maximum(0.0, np.abs(y - outputs[:, 0]) - epsilon)
    classes = np.unique(y)
    total = np.zeros(len(y))
    for k, (a, b) in enumerate(combinations(classes, 2)):
        first, second = (b, a) if len(classes) == 2 else (a, b)
        total += np.where(y == first, np.maximum(0, 1 - outputs[:, k]), 0.0)
        total += np.where(y == second, np.maximum(0, 1 + outputs[:, k]), 0.0)
    return total

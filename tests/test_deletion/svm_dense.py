"""Smoothed support vector machines by their parameters, with a dense Hessian of all of them.

Parameters are the coefficients of all rows, and what else the machine chooses: the offset, the
margin, the width of the tube.
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from sklearn.svm import SVC, NuSVC, NuSVR, OneClassSVM

from tests.test_deletion.svm_refits import kernel_of, losses
from tests.test_deletion.test_svm import N, X


class Dense:
    """Derivatives of the smoothed objective, row by row, in the parameters (coefficients, o)."""

    def __init__(self, case, explainer):
        self.estimator, self.y, weights = case
        self.w = np.ones(N) if weights is None else weights
        self.K = kernel_of(explainer.estimator_, X, X)
        exact = explainer._engine.exact
        (steps,) = exact.steps
        self.t = steps.smooth.temperature
        beta = np.zeros(N)
        beta[steps.problem.positions] = steps.smooth.on_rows(exact.points[0].beta)
        offset = exact.points[0].offset
        if isinstance(self.estimator, NuSVC | NuSVR):  # (b, rho) and (b, epsilon)
            half = 0.5 * (offset[1] - offset[0])
            offset = np.array([offset.mean(), abs(half)])
        elif isinstance(self.estimator, OneClassSVM):
            offset = -offset
        self.theta = np.concatenate([beta, offset])
        self.n_offsets = len(offset)

    def class_weights(self, kept):
        chosen = getattr(self.estimator, "class_weight", None)
        if chosen == "balanced":
            counts = np.bincount(self.y[kept], minlength=2)
            return (counts.sum() / (2.0 * counts))[self.y]
        return np.ones(N) if chosen is None else np.array([chosen[k] for k in self.y])

    def ramps(self):
        """Arguments of the ramps as rows of numbers by (f, o) and 1; what is linear in o."""
        e, one = self.estimator, np.ones(N)
        if isinstance(e, SVC):
            s = 2.0 * self.y - 1.0
            return [np.stack([-s, -s, one], axis=1)], np.zeros(1)
        if isinstance(e, NuSVC):
            s = 2.0 * self.y - 1.0
            return [np.stack([-s, -s, one, 0 * one], axis=1)], np.array([0.0, -e.nu])
        if isinstance(e, OneClassSVM):
            return [np.stack([-one, one, 0 * one], axis=1)], np.array([-e.nu])
        tube = [-one] if isinstance(e, NuSVR) else []
        end = -np.full(N, getattr(e, "epsilon", 0.0))
        found = [np.stack([s * one, s * one, *tube, end - s * self.y], axis=1) for s in (1, -1)]
        return found, np.array([0.0, e.nu]) if isinstance(e, NuSVR) else np.zeros(1)

    def rows(self, kept):
        """Gradient (N, P) and Hessian (N, P, P) of what each row adds, weighted."""
        arguments, linear = self.ramps()
        C = getattr(self.estimator, "C", 1.0)
        if isinstance(self.estimator, NuSVC | OneClassSVM):
            C = 1.0
        scale = C * self.w * self.class_weights(kept)
        o = self.theta[N:]
        J = np.concatenate([self.K[:, None], np.zeros((N, self.n_offsets, N))], axis=1)
        J = np.concatenate([J, np.zeros((N, 1 + self.n_offsets, self.n_offsets))], axis=2)
        J[:, 1:, N:] = np.eye(self.n_offsets)
        gradient = np.zeros((N, N + self.n_offsets))
        gradient[:, N:] = linear
        hessian = np.zeros((N, N + self.n_offsets, N + self.n_offsets))
        f = self.K @ self.theta[:N]
        for a in arguments:
            u = a[:, 0] * f + a[:, 1:-1] @ o + a[:, -1]
            direction = np.einsum("ik,ikp->ip", a[:, :-1], J)
            gradient += expit(u / self.t)[:, None] * direction
            bend = expit(u / self.t) * expit(-u / self.t) / self.t
            hessian += np.einsum("i,ip,iq->ipq", bend, direction, direction)
        return scale[:, None] * gradient, scale[:, None, None] * hessian

    def penalty(self):
        full = np.zeros((N + self.n_offsets,) * 2)
        full[:N, :N] = self.K
        return full

    def gradient(self):
        return self.penalty() @ self.theta + self.rows(np.arange(N))[0].sum(axis=0)

    def without(self, removed, *, newton):
        """Parameters after one step without these rows."""
        kept = np.delete(np.arange(N), removed)
        after, bend = self.rows(kept)
        left = self.penalty() @ self.theta + after[kept].sum(axis=0)
        if not newton:
            kept, bend = np.arange(N), self.rows(np.arange(N))[1]
        H = self.penalty() + bend[kept].sum(axis=0)
        return self.theta - np.linalg.lstsq(H, left, rcond=1e-14)[0]

    def decision(self, theta):
        f, o = self.K @ theta[:N], theta[N:]
        if isinstance(self.estimator, NuSVC):
            return (f + o[0]) / o[1]
        return f - o[0] if isinstance(self.estimator, OneClassSVM) else f + o[0]

    def loss(self, theta):
        return losses(self.estimator, self.decision(theta)[:, None], self.y)

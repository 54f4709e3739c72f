"""Fits of scikit-learn's that are taken on to where its own equations hold, independently."""

from __future__ import annotations

import numpy as np
from scipy.optimize import root
from scipy.special import expit
from sklearn.base import clone


def settled_factors(model, X):
    """Factor analysis, its noise at the root of the derivatives of the likelihood in it."""
    fitted = clone(model).fit(X)
    gaps = X - X.mean(axis=0)
    covariance, k = gaps.T @ gaps / len(X), len(fitted.components_)

    def loadings(noise):
        scale = np.sqrt(noise)
        values, axes = np.linalg.eigh(covariance / np.outer(scale, scale))
        return np.sqrt(np.maximum(values[-k:] - 1, 0))[:, None] * axes[:, -k:].T * scale

    def slopes(log_noise):
        noise = np.exp(log_noise)
        W = loadings(noise)
        model = W.T @ W + np.diag(noise)
        solved = np.linalg.solve(model, covariance - model)
        return np.diag(np.linalg.solve(model, solved.T)) * noise

    found = root(slopes, np.log(fitted.noise_variance_), tol=1e-14)
    fitted.noise_variance_ = np.exp(found.x)
    fitted.components_ = loadings(fitted.noise_variance_)
    return fitted


def settled_curves(fitted, X, y, weights=None):
    """A calibrated classifier of one member, its sigmoids at the root of their equations."""
    (member,) = fitted.calibrated_classifiers_
    scores = _scores(member.estimator, X).reshape(len(X), -1)
    weights = np.ones(len(X)) if weights is None else weights
    classes = fitted.classes_[1:] if scores.shape[1] == 1 else fitted.classes_
    for curve, F, label in zip(member.calibrators, scores.T, classes, strict=True):
        curve.a_, curve.b_ = _root(curve, F, y == label, weights)
    return fitted


def _scores(estimator, X):
    if hasattr(estimator, "decision_function"):
        return estimator.decision_function(X)
    found = estimator.predict_proba(X)
    return found[:, 1] if found.shape[1] == 2 else found


def _root(curve, F, own, weights):
    up, down = weights[own].sum(), weights[~own].sum()
    wanted = np.where(own, (up + 1) / (up + 2), 1 / (down + 2))

    def gap(ab):
        left = weights * (expit(-(ab[0] * F + ab[1])) - wanted)
        return [left @ F, left.sum()]

    return root(gap, [curve.a_, curve.b_], tol=1e-14).x

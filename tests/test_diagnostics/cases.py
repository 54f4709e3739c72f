"""Fitted models as diagnostics take them, and losses that no reader makes."""

from __future__ import annotations

import numpy as np
from scipy.special import expit
from sklearn.base import clone

from skinfluence.diagnostics import Diagnostics, likelihood
from skinfluence.objectives import Problem, Rows, build, reader_of
from skinfluence.objectives.losses import PointLoss
from skinfluence.solvers.minimise import minimise


class Proportion(PointLoss):
    """Binomial with shares of successes as targets; the number of trials is the weight."""

    def value(self, eta, y):
        return np.logaddexp(0.0, eta[..., 0]) - y * eta[..., 0]

    def gradient(self, eta, y):
        return expit(eta) - np.asarray(y)[..., None]

    def curvature(self, eta, y, *, expected=False):
        return (expit(eta) * expit(-eta))[..., None]


likelihood._READ[Proportion] = lambda loss: likelihood.Likelihood(mean=expit, estimated=False)


def optimum(estimator, X, y, sample_weight=None):
    """Objective of a refitted clone, and its minimum."""
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    model = clone(estimator).fit(X, y, sample_weight=sample_weight)
    fit = reader_of(model).read(model, Rows(X, y, weights))
    objective, theta = build(fit.problems[0], X)
    return objective, minimise(objective, theta).theta


def of_problem(loss, X, y, sample_weight=None, **options):
    """Objective of an unfitted problem with an intercept, and its minimum."""
    weights = np.ones(len(y)) if sample_weight is None else sample_weight
    problem = Problem(
        loss=loss,
        y=y,
        weights=weights,
        coef=np.zeros((X.shape[1], 1)),
        intercept=np.zeros(1),
        **options,
    )
    objective, theta = build(problem, X)
    return objective, minimise(objective, theta).theta


def diagnose(estimator, X, y, sample_weight=None, **options):
    """Diagnostics of a refitted clone."""
    return Diagnostics(*optimum(estimator, X, y, sample_weight), **options)


def intercept_first(columns):
    """Our columns in statsmodels' order."""
    return np.concatenate([columns[..., -1:], columns[..., :-1]], axis=-1)


def regression(n=30, p=3, seed=0):
    """Rows, targets and weights of a small regression with scales that differ."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * 10.0 ** np.arange(p) + 5.0
    y = X @ (rng.normal(size=p) / 10.0 ** np.arange(p)) + rng.standard_t(3, size=n)
    return X, y, rng.uniform(0.5, 2.0, size=n)

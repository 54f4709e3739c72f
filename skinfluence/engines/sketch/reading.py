"""What a fitted model minimised, block by block: parameters once, targets and weights a block."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.diagnostics.likelihood import Likelihood, likelihood_of
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import LinearFit, Problem, Rows, reader_of
from skinfluence.objectives.penalty import Penalty

Array = NDArray[np.float64]

# Parameters of the sketch of a softmax, whose blocks of classes are all held.
MOST_PARAMETERS = 4_000


def read(model: Any, y: Any, weights: Array) -> LinearFit:
    """The problems that `model` solved, with the targets and weights of some rows.

    Readers ask rows for no more than their number: what was minimised is in the estimator.
    """
    rows = SimpleNamespace(shape=(len(weights), 0))
    return reader_of(model).read(model, Rows(rows, np.asarray(y), weights))


def check_problems(model: Any, fit: LinearFit) -> None:
    """Refuse losses without curvature, and penalties that tie outputs together."""
    name = type(model).__name__
    if fit.linear_programme or fit.smoothed:
        loss = type(fit.problems[0].loss).__name__
        raise UnsupportedEstimatorError(
            f"{name} minimises a loss with kinks ({loss}), which has no curvature to weight rows "
            "by, and so no leverage. Use a squared loss (squared_hinge, "
            "squared_epsilon_insensitive), or InfluenceExplainer, which smooths kinks."
        )
    if any(problem.l21 for problem in fit.problems):
        raise UnsupportedEstimatorError(
            f"{name} ties its outputs together by the norm of a feature's coefficients, which no "
            "sketch of the features keeps. Fit the outputs separately (MultiOutputRegressor)."
        )


def refuse_balanced(model: Any, fit: LinearFit) -> None:
    """Refuse class weights that need the labels of all rows."""
    if any(problem.rebalance is not None for problem in fit.problems):
        raise ValueError(
            f"{type(model).__name__}(class_weight='balanced') weights rows by how many there are "
            "of each class, which no block knows. Pass all rows at once, or the weights "
            "themselves: class_weight={label: weight, ...}, in the estimator as it was fitted."
        )


@dataclass(frozen=True)
class Fixed:
    """One problem without its rows.

    Parameters
    ----------
    problem : Problem
        Its targets and weights count for nothing.
    active : ndarray of int or None
        Positions of the features that are sketched; None for all.
    """

    problem: Problem
    active: NDArray[np.intp] | None

    @property
    def likelihood(self) -> Likelihood | None:
        """What the loss is the deviance of; None where it is none, and has no dispersion."""
        try:  # not kept: it holds functions, which cannot be pickled
            return likelihood_of(self.problem.loss)
        except UnsupportedEstimatorError:
            return None

    @property
    def unit(self) -> float:
        """The loss over half the deviance."""
        likelihood = self.likelihood
        return 1.0 if likelihood is None else likelihood.unit

    @property
    def n_outputs(self) -> int:
        """Number K of outputs."""
        return self.problem.loss.n_outputs

    @property
    def has_intercept(self) -> bool:
        """Whether there is a column of ones."""
        return self.problem.intercept is not None

    @cached_property
    def centred(self) -> bool:
        """Whether the intercept takes up any shift of the features: it is free, and in no penalty.

        The model is then the same over centred features, and its Gram matrices keep their digits.
        """
        penalty = self.penalty
        held = penalty.l2[-1] + penalty.l1[-1]
        return self.has_intercept and bool(self.free[-1].all() and not held.any())

    @property
    def theta(self) -> Array:
        """Coefficients and, last, the intercept: (P, K)."""
        problem = self.problem
        if problem.intercept is None:
            return problem.coef
        return np.vstack([problem.coef, problem.intercept[None]])

    @property
    def free(self) -> NDArray[np.bool_]:
        """Which entries of `theta` are parameters."""
        problem = self.problem
        free = np.ones((len(problem.coef) + self.has_intercept, self.n_outputs), dtype=bool)
        for k in problem.constant_outputs:
            free[: len(problem.coef), k] = False
        if problem.intercept_free is not None:
            free[-1] = problem.intercept_free
        return free

    @property
    def penalty(self) -> Penalty:
        """Omega over `theta`."""
        problem, shape = self.problem, self.free.shape
        p = len(problem.coef)
        l2, l1 = np.zeros(shape), np.zeros(shape)
        l2[:p], l1[:p] = problem.l2, problem.l1
        if self.has_intercept:
            l2[p:], l1[p:] = problem.intercept_l2, problem.intercept_l1
        return Penalty(
            np.where(self.free, l2, 0.0), np.where(self.free, l1, 0.0), np.zeros(shape[0])
        )

    @property
    def penalised(self) -> bool:
        """Whether a quadratic penalty holds any parameter."""
        return bool(self.penalty.l2.any())


def fixed_problems(fit: LinearFit, features: str) -> list[Fixed]:
    """The problems of a fit, and which features of each are sketched."""
    fixed = []
    for problem in fit.problems:
        active = None
        if features == "active":
            active = np.flatnonzero((problem.coef != 0).any(axis=1))
        nothing = np.zeros(0)
        bare = dataclasses.replace(problem, y=nothing, weights=nothing, rebalance=None)
        # Copies: sketches must not follow what training goes on to do to the estimator.
        intercept = None if bare.intercept is None else np.array(bare.intercept)
        bare = dataclasses.replace(bare, coef=np.array(bare.coef), intercept=intercept)
        fixed.append(Fixed(bare, active))
    return fixed


def refuse_changed(model: Any, fit: LinearFit, fixed: Sequence[Fixed]) -> None:
    """Refuse a model that is no longer the one whose sums were begun."""
    same = len(fit.problems) == len(fixed) and all(
        np.array_equal(Fixed(problem, None).theta, one.theta)
        for problem, one in zip(fit.problems, fixed, strict=True)
    )
    if not same:
        raise ValueError(
            f"{type(model).__name__} has other coefficients than when the first rows were added, "
            "and sums belong to one model. Train it to its end first, and then add the rows to a "
            "new sketch (sklearn.base.clone makes one)."
        )


@dataclass(frozen=True)
class Slopes:
    """Derivatives of one problem's rows in a block, in units of half the deviance.

    Parameters
    ----------
    y : ndarray of shape (b,) or (b, K)
    weights, m_share : ndarray of shape (b,)
        How much each row weighs, and by how much deleting it lowers the penalty's multiplier.
    eta, gradient : ndarray of shape (b, K)
    curvature, expected : ndarray of shape (b, K, K)
        As asked for, and under the model.
    """

    y: Array
    weights: Array
    m_share: Array
    eta: Array
    gradient: Array
    curvature: Array
    expected: Array

    @property
    def squares(self) -> float:
        """Sum of the squares of the weighted slopes."""
        return float(self._each_square().sum())

    @property
    def moment(self) -> float:
        """The same times the positions of the rows, which knows their order."""
        return float(np.arange(len(self.weights)) @ self._each_square())

    def _each_square(self):
        return np.square(self.weights[:, None] * self.gradient).sum(axis=1)


def slopes(fixed: Fixed, y: Array, weights: Array, eta: Array, *, expected: bool) -> Slopes:
    """Derivatives at the fitted outputs `eta`, (b, K)."""
    loss, unit = fixed.problem.loss, fixed.unit
    mean = loss.curvature(eta, y, expected=True) / unit if loss.has_expected else None
    observed = loss.curvature(eta, y) / unit if mean is None or not expected else mean
    shares = {"sum": np.zeros_like(weights), "weight": weights, "count": np.ones_like(weights)}
    return Slopes(
        y=y,
        weights=weights,
        m_share=shares[fixed.problem.normalisation],
        eta=eta,
        gradient=loss.gradient(eta, y) / unit,
        curvature=observed,
        expected=observed if mean is None else mean,
    )


def outputs(fixed: Sequence[Fixed], X: Any) -> list[Array]:
    """Outputs of every problem for a block of rows, (b, K) each, in one product."""
    coef = np.hstack([one.problem.coef for one in fixed])
    together = np.asarray(X @ coef, dtype=np.float64)
    found, start = [], 0
    for one in fixed:
        own = together[:, start : start + one.n_outputs]
        start += one.n_outputs
        intercept = one.problem.intercept
        found.append(own if intercept is None else own + intercept)
    return found

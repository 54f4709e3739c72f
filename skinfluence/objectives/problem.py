"""What one fitted linear model minimised, in its own parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from skinfluence.objectives.losses.base import PointLoss
from skinfluence.objectives.rebalance import Rebalance

Array = NDArray[np.float64]
Normalisation = Literal["sum", "weight", "count"]


@dataclass(frozen=True)
class Problem:
    """``F = sum_i w_i l(x_i'W + b, y_i) + m Omega(W, b)``, and the parameters that were fitted.

    Parameters
    ----------
    loss : PointLoss
        l, with K outputs.
    y : ndarray of shape (n,) or (n, K)
        Targets as `loss` takes them.
    weights : ndarray of shape (n,)
        w: sample weights times class weights, and nothing else.
    coef : ndarray of shape (p, K)
        W, fitted.
    intercept : ndarray of shape (K,) or None
        b, fitted; None for a model without.
    normalisation : {"sum", "weight", "count"}
        Whether m is 1, the sum of the sample weights (a mean over weights) or the number of rows
        (a mean over rows): deleting a row lowers m by 0, w_i or 1.
    l2, l1 : float or ndarray broadcasting to (p, K), default=0
        ``Omega = sum l2 W^2 / 2 + sum l1 |W|``: mind the half.
    l21 : float, default=0
        Strength of the norm of a feature's coefficients over the outputs.
    intercept_l2, intercept_l1 : float, default=0
        The same for b, which is free in most estimators (not in liblinear).
    positive : bool, default=False
        Whether W >= 0.
    constant_outputs : tuple of int, default=()
        Outputs that do not depend on x: their intercept is a parameter, their W is not
        (HuberRegressor's scale).
    intercept_free : tuple of bool or None, default=None
        Which entries of `intercept` are parameters; None for all. Where an output has no
        intercept and another is constant, the first is held at 0.
    rebalance : Rebalance or None, default=None
        How class weights follow the rows.
    name : str, default=""
        Of the one-vs-rest class or the output, where an estimator solves several problems.
    output_names : tuple of str, default=()
        Of the outputs, where they are the classes of one output among several.
    """

    loss: PointLoss
    y: Array
    weights: Array
    coef: Array
    intercept: Array | None
    normalisation: Normalisation = "sum"
    l2: Any = 0.0
    l1: Any = 0.0
    l21: float = 0.0
    intercept_l2: float = 0.0
    intercept_l1: float = 0.0
    positive: bool = False
    constant_outputs: tuple[int, ...] = ()
    intercept_free: tuple[bool, ...] | None = None
    rebalance: Rebalance | None = None
    name: str = ""
    output_names: tuple[str, ...] = ()

    @property
    def n_visible(self) -> int:
        """Number of outputs that are the model's own; a scale parameter is not."""
        return self.loss.n_outputs - len(self.constant_outputs)


@dataclass(frozen=True)
class LinearFit:
    """A fitted estimator as one problem, or as several that share their rows.

    Parameters
    ----------
    problems : tuple of Problem
        The loss of a query is the sum of theirs. Outputs are numbered through, problem by
        problem, constant outputs left out.
    classes : ndarray or None, default=None
        Labels, for a classifier.
    proba : callable or None, default=None
        ``proba(outputs)`` maps (..., n_outputs) to (..., n_classes); None where the estimator has
        no predict_proba.
    linear_programme : bool, default=False
        Whether the fit is a vertex of a linear programme (QuantileRegressor), which derivatives
        do not describe.
    """

    problems: tuple[Problem, ...]
    classes: Any = None
    proba: Callable[[Array], Array] | None = None
    linear_programme: bool = False

    @property
    def raw(self) -> LinearFit:
        """The same with the losses that the estimator minimised, kinks and all."""
        problems = [replace(problem, loss=problem.loss.raw) for problem in self.problems]
        return replace(self, problems=tuple(problems))

    @property
    def smoothed(self) -> bool:
        """Whether a loss had kinks, in whose place derivatives are taken of a smooth one."""
        return any(problem.loss.temperature > 0 for problem in self.problems)

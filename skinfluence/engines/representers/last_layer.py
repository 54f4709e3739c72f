"""A linear layer over features, and its exact minimum, where outputs are sums over rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.engines.representers.kernel import applied, spanned
from skinfluence.exceptions import UnsupportedEstimatorError
from skinfluence.objectives import Objective, Problem, build_all
from skinfluence.solvers.minimise import Minimum, minimise
from skinfluence.solvers.newton_cg import newton_cg

Array = NDArray[np.float64]

# Parameters of one problem above which its Hessian is not formed.
DENSE_PARAMETERS = 600
# Error of the decomposition, in units of the largest output, at which a polish has its end.
TOL = 1e-10


@dataclass(frozen=True)
class LastLayer:
    """Features and what the layer over them minimises, as one problem or several side by side.

    Parameters
    ----------
    features : ndarray or sparse array of shape (n, d)
        Inputs of the layer, float64.
    problems : tuple of Problem
        Each with an l2 penalty that is alike for all features; their ``coef`` and ``intercept``
        are the layer's own. Outputs are numbered through, constant ones left out.
    name : str, default="the layer"
        Of the model, for messages.
    """

    features: Any
    problems: tuple[Problem, ...]
    name: str = "the layer"

    @property
    def own_coef(self) -> Array:
        """W of the model itself, (d, K)."""
        return np.hstack([problem.coef[:, : problem.n_visible] for problem in self.problems])

    @property
    def own_intercept(self) -> Array:
        """b of the model itself, (K,); zeros where it has none."""
        return np.concatenate([_intercept_of(problem) for problem in self.problems])

    def own_outputs(self, features: Any) -> Array:
        """Outputs of the model itself, (m, K)."""
        return applied(features, self.own_coef) + self.own_intercept

    def polished(self, *, max_iter: int = 100, tol: float = TOL) -> Polished:
        """The layer at the minimum of its problems.

        Parameters
        ----------
        max_iter : int, default=100
            Newton steps a problem.
        tol : float, default=1e-10
            Largest error of the decomposition, in units of the largest output.

        Raises
        ------
        UnsupportedEstimatorError
            If a problem has no l2 penalty, or one with kinks or bounds beside it.
        """
        for problem in self.problems:
            check_decomposable(problem, self.name)
        built = build_all(self.problems, self.features)
        parts = [
            _polish(problem, objective, minimum_of(objective, theta, self, problem, max_iter, tol))
            for problem, (objective, theta) in zip(self.problems, built, strict=True)
        ]
        return _together(parts, self.features)


@dataclass(frozen=True)
class Polished:
    """A layer at its minimum: ``Phi(z) = sum_i alpha_i (f_i'f_z + offset) + undecomposed``.

    Parameters
    ----------
    coef : ndarray of shape (d, K)
    intercept : ndarray of shape (K,)
        Zeros where the layer has none.
    alpha : ndarray of shape (n, K)
        Minus the slopes of the weighted losses by the outputs, over l2.
    l2 : ndarray of shape (K,)
        Strength of the penalty ``l2 |w|^2 / 2`` beside the sum of the losses.
    offset : ndarray of shape (K,)
        What a penalised intercept adds to the kernel; 0 for a free one.
    span : ndarray of shape (d, K)
        ``sum_i alpha_i f_i``, which is `coef` at the minimum.
    stationarity : tuple of float
        Relative gradient at the model's own parameters, and at these.
    n_iter : int
        Most Newton steps that a problem took.
    converged : bool
    """

    coef: Array
    intercept: Array
    alpha: Array
    l2: Array
    offset: Array
    span: Array
    stationarity: tuple[float, float]
    n_iter: int
    converged: bool

    @cached_property
    def undecomposed(self) -> Array:
        """The part of the outputs that is no sum over rows: a free intercept, (K,)."""
        return np.where(self.offset > 0, 0.0, self.intercept)

    def outputs(self, features: Any) -> Array:
        """Phi, (m, K)."""
        return applied(features, self.coef) + self.intercept

    def decomposed(self, features: Any) -> Array:
        """The same as sums of representer values, (m, K)."""
        total = self.offset * self.alpha.sum(axis=0)
        return applied(features, self.span) + total + self.undecomposed


def check_decomposable(problem: Problem, name: str) -> None:
    """Refuse problems whose minimum is no sum over rows."""
    if np.any(problem.l1) or problem.l21:
        raise UnsupportedEstimatorError(
            f"{name} has an l1 or group penalty, and only an l2 penalty makes outputs sums over "
            "training rows. Pass mode='pretrained', which fits an l2-penalised layer to its "
            "outputs, or fit it with an l2 penalty alone."
        )
    if problem.positive:
        raise UnsupportedEstimatorError(
            f"{name} has coefficients bound to be positive, whose outputs are no sums over "
            "training rows. Set positive=False, or pass mode='pretrained'."
        )
    l2 = np.asarray(problem.l2, dtype=np.float64)
    if not (l2 > 0).all():
        raise UnsupportedEstimatorError(
            f"{name} has no l2 penalty (l2 = 0), and without one its outputs are no sums over "
            "training rows. Pass mode='pretrained', with l2= or without, which fits a penalised "
            "layer to its outputs, or fit it with a penalty."
        )


def _l2_of(problem):
    """Strength of the penalty of each visible output, (K,), before any normalisation."""
    p, n_outputs = problem.coef.shape
    l2 = np.asarray(problem.l2, dtype=np.float64)
    every = np.broadcast_to(l2 if l2.size > 1 else l2.reshape(-1)[0], (p, n_outputs))
    if p and (every != every[:1]).any():
        raise UnsupportedEstimatorError(
            "The l2 penalty differs between features, so that the kernel of the decomposition is "
            "not f_i'f_z. Scale the features instead."
        )
    first = every[0] if p else np.full(n_outputs, l2.reshape(-1)[0])
    return np.array(first[: problem.n_visible])


def _intercept_of(problem):
    if problem.intercept is None:
        return np.zeros(problem.n_visible)
    return np.asarray(problem.intercept, dtype=np.float64)[: problem.n_visible]


def minimum_of(
    objective: Objective,
    theta: Array,
    layer: LastLayer,
    problem: Problem,
    max_iter: int,
    tol: float,
) -> Minimum:
    """The minimum of one problem, by a Hessian where it is small, else by products alone."""
    if objective.moving(theta).sum() <= DENSE_PARAMETERS:
        return minimise(objective, theta, max_iter=max_iter)
    enough = partial(_is_decomposed, objective, layer.features, problem, tol)
    return newton_cg(objective, theta, max_iter=max_iter, enough=enough)


def _is_decomposed(objective, features, problem, tol, theta):
    """Whether sums of representer values give the outputs of the training rows."""
    part = _part(problem, objective, theta)
    span = spanned(features, part.alpha)
    total = part.offset * part.alpha.sum(axis=0) + np.where(part.offset > 0, 0.0, part.intercept)
    outputs = objective.outputs(theta)[:, : problem.n_visible]
    worst = np.abs(applied(features, span) + total - outputs).max(initial=0.0)
    return bool(worst <= tol * np.abs(outputs).max(initial=0.0))


@dataclass(frozen=True)
class _Part:
    """One problem at its parameters; as in :class:`Polished`."""

    coef: Array
    intercept: Array
    alpha: Array
    l2: Array
    offset: Array
    minimum: Minimum | None = None


def _polish(problem, objective, minimum):
    return _part(problem, objective, minimum.theta, minimum)


def _part(problem, objective, theta, minimum=None):
    visible = problem.n_visible
    outputs = objective.outputs(theta)
    slopes = objective.loss.gradient(outputs, objective.y)[:, :visible]
    l2 = objective.m * _l2_of(problem)
    user = objective.coordinates.to_user(theta)[:, :visible]
    coef, intercept = user, np.zeros(visible)
    offset = np.zeros(visible)
    if objective.coordinates.intercept:
        coef, intercept = user[:-1], user[-1]
        if problem.intercept_l2:
            offset = l2 / (objective.m * problem.intercept_l2)
    # Minus zero for a row that carries no weight would print as -0.
    alpha = 0.0 - objective.weights[:, None] * slopes / l2
    return _Part(coef, intercept, alpha, l2, offset, minimum)


def _together(parts: Sequence[_Part], features: Any) -> Polished:
    alpha = np.hstack([part.alpha for part in parts])
    minima = [part.minimum for part in parts if part.minimum is not None]
    return Polished(
        coef=np.hstack([part.coef for part in parts]),
        intercept=np.concatenate([part.intercept for part in parts]),
        alpha=alpha,
        l2=np.concatenate([part.l2 for part in parts]),
        offset=np.concatenate([part.offset for part in parts]),
        span=spanned(features, alpha),
        stationarity=(
            max(minimum.start for minimum in minima),
            max(minimum.stationarity for minimum in minima),
        ),
        n_iter=max(minimum.n_iter for minimum in minima),
        converged=all(minimum.converged for minimum in minima),
    )

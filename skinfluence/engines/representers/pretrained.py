"""A layer refitted to the outputs of a trained model, by equation 4 of Yeh et al. (2018)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.engines.representers.activations import ACTIVATIONS, matching_loss
from skinfluence.engines.representers.kernel import applied, square_lengths
from skinfluence.engines.representers.last_layer import (
    DENSE_PARAMETERS,
    TOL,
    LastLayer,
    Polished,
)
from skinfluence.engines.representers.reconstruction import correlation
from skinfluence.objectives import Problem, build
from skinfluence.objectives.penalty import Penalty
from skinfluence.solvers.minimise import minimise
from skinfluence.solvers.newton_cg import newton_cg

Array = NDArray[np.float64]

# Strengths that are tried, in units of the mean eigenvalue of the loss's curvature.
LADDER = 10.0 ** -np.arange(1.0, 7.0)
# The correlation with the model's own outputs that the refitted layer has to reach.
CORRELATED = 0.999
# Rungs that are still tried for the outputs where what the activation makes of them is reached.
FURTHER = 2
# Rows a feature that the ladder is tried on, where there are more.
ROWS_A_FEATURE = 8
# Mean curvature of the loss, of at most 1, below which outputs are saturated.
SATURATED = 1e-8
# Newton steps a rung: the next one starts from there, and none is kept.
ROUGH_STEPS = 5


def matching_layer(
    features: Any,
    coef: Array,
    intercept: Array | None,
    activation: str,
    weights: Array | None = None,
    *,
    l2: float = 1.0,
    name: str = "the layer",
) -> LastLayer:
    """The layer whose minimum comes as near to given outputs as its l2 penalty lets it.

    Parameters
    ----------
    features : ndarray or sparse array of shape (n, d)
    coef : ndarray of shape (d, K)
        Of the model: its outputs are ``features @ coef + intercept``.
    intercept : ndarray of shape (K,) or None
        None for a layer without; it is free otherwise.
    activation : {"softmax", "sigmoid", "relu", "squared"}
        What follows the layer, and so as what outputs are compared.
    weights : ndarray of shape (n,) or None, default=None
    l2 : float, default=1.0
        Beside the sum of the losses.
    name : str
        Of the model, for messages.
    """
    n_outputs = coef.shape[1]
    outputs = applied(features, coef)
    if intercept is not None:
        outputs = outputs + intercept
    problem = Problem(
        loss=matching_loss(activation, n_outputs),
        y=outputs[:, 0] if n_outputs == 1 else outputs,
        weights=np.ones(features.shape[0]) if weights is None else weights,
        coef=coef,
        intercept=intercept,
        l2=l2,
    )
    return LastLayer(features, (problem,), name)


def refitted(
    layer: LastLayer,
    activation: str,
    *,
    l2: float | None = None,
    max_iter: int = 100,
    tol: float = TOL,
) -> tuple[LastLayer, Polished]:
    """A :func:`matching_layer` at its minimum, and with the penalty that it has there.

    Parameters
    ----------
    layer : LastLayer
    activation : str
        As for :func:`matching_layer`.
    l2 : float or None, default=None
        None for the largest of a ladder that reproduces the outputs, and what the activation makes
        of them, with Pearson's correlation .999 or more; the latter alone where none does both.
    max_iter, tol
        As for :meth:`LastLayer.polished`.
    """
    (problem,) = layer.problems
    how = {"max_iter": max_iter, "tol": tol}
    if l2 is not None:
        return _at(layer, problem, l2, {}, how)
    l2, start, wanted = _chosen(layer, problem, activation)
    own = layer.own_outputs(layer.features)
    found = _at(layer, problem, l2, start, how)
    for _ in range(FURTHER):
        reached = _correlations(found[1].outputs(layer.features), own, activation)
        if min(reached[wanted], default=1.0) >= CORRELATED:
            break
        # What was enough for some of the rows may just not be for all of them.
        l2 /= 10.0
        found = _at(layer, problem, l2, start, how)
    return found


def _at(layer, problem, l2, start, how):
    """The layer with a penalty, and its minimum, from other parameters than its own."""
    near = dataclasses.replace(problem, l2=l2, **start)
    found = dataclasses.replace(layer, problems=(near,)).polished(**how)
    # The layer keeps the model's own parameters: a reconstruction is measured against them.
    return dataclasses.replace(layer, problems=(dataclasses.replace(problem, l2=l2),)), found


def _chosen(layer, problem, activation):
    """The strength, the parameters that it was tried at, and which correlations it reached."""
    rows = _some_rows(layer)
    share_of_rows = problem.weights[rows].sum() / problem.weights.sum()
    tried = dataclasses.replace(problem, l2=1.0, y=problem.y[rows], weights=problem.weights[rows])
    features = layer.features[rows]
    objective, theta = build(tried, features)
    unit = _mean_eigenvalue(problem, layer)
    own = layer.own_outputs(features)
    one, reached = objective.penalty, []
    for share in LADDER:
        penalty = Penalty(one.l2 * share * unit * share_of_rows, one.l1, one.l21)
        rung = dataclasses.replace(objective, penalty=penalty)
        theta = _tried(rung, theta)
        outputs, activated = _correlations(rung.outputs(theta), own, activation)
        if activated >= CORRELATED:
            reached.append((share, theta))
        if min(outputs, activated) >= CORRELATED or len(reached) > FURTHER:
            break
    wanted = slice(0, 2) if reached else slice(2, None)
    if reached and outputs < CORRELATED:
        # Saturated probabilities are there long before what lies behind them, if that ever is.
        (share, theta), wanted = reached[0], slice(1, 2)
    user = objective.coordinates.to_user(theta)
    start = {"coef": user}
    if problem.intercept is not None:
        start = {"coef": user[:-1], "intercept": user[-1]}
    return share * unit, start, wanted


def _some_rows(layer):
    """Rows that choose among penalties, and are enough to: all of them, or some drawn evenly."""
    n, most = layer.features.shape[0], ROWS_A_FEATURE * (1 + layer.features.shape[1])
    if n <= most:
        return slice(None)
    drawn = np.random.default_rng(0).choice(n, most, replace=False)
    held = layer.problems[0].weights[drawn] > 0
    return np.sort(drawn[held]) if held.any() else slice(None)


def _tried(rung, theta):
    if rung.moving(theta).sum() <= DENSE_PARAMETERS:
        return minimise(rung, theta, tol=1e-9).theta
    return newton_cg(rung, theta, tol=1e-4, max_iter=ROUGH_STEPS).theta


def _correlations(outputs, own, activation):
    """With the model's own outputs, and of what the activation makes of both."""
    kind = ACTIVATIONS[activation]
    pairs = [(part(outputs), part(own)) for part in (kind.visible, kind.activated)]
    return [correlation(mine, theirs) for mine, theirs in pairs]


def _mean_eigenvalue(problem, layer):
    """Mean eigenvalue of ``sum_i C_i (x) f_i f_i'`` at the model's own outputs, f centred."""
    features, outputs = layer.features, layer.own_outputs(layer.features)
    lengths = square_lengths(features)
    if problem.intercept is not None:
        mean = np.asarray(problem.weights @ features) / problem.weights.sum()
        around = lengths - 2.0 * np.asarray(features @ mean) + mean @ mean
        lengths = np.maximum(around, 0.0)
    bends = problem.loss.curvature_diagonal(outputs, problem.y)
    bent = float(problem.weights @ (lengths[:, None] * bends).sum(axis=1))
    straight = float(problem.weights @ lengths) * problem.coef.shape[1]
    # Saturated outputs have next to no curvature, and none of the refitted layer's are like them.
    total = max(bent, SATURATED * straight)
    if total > 0:
        return total / max(problem.coef.size, 1)
    return 1.0

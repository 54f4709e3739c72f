"""Residuals, dispersion and influence measures of all rows, from the sizes of their steps."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from skinfluence.diagnostics.deletions import Deletions, delete_each
from skinfluence.diagnostics.working import Working

Array = NDArray[np.float64]

# Residuals this small beside the targets are rounding: the fit is perfect, its dispersion 0.
PERFECT = 1e-13


@dataclass(frozen=True)
class Scale:
    """Dispersion of the fit and of the fit without each row.

    Parameters
    ----------
    whole : float
        phi; NaN without residual degrees of freedom.
    without : ndarray of shape (n,)
        phi_(i).
    df_resid : float
    n_rows : int
        Number of rows of positive weight.
    """

    whole: float
    without: Array
    df_resid: float
    n_rows: int


def delete_all(working: Working) -> Deletions:
    """One pass over the rows."""
    n, n_outputs = working.objective.n_train, working.objective.n_outputs
    weights = working.objective.weights[:, None]
    slopes = working.objective.design.adjoint(weights * working.gradient)
    data_gradient = working.basis.vectors.T @ slopes.ravel()
    shapes = {"own": (n, n_outputs)}
    names = [field.name for field in fields(Deletions)]
    whole = {name: np.empty(shapes.get(name, n)) for name in names}
    for block in working.blocks():
        part = delete_each(working, block, data_gradient)
        for name in names:
            whole[name][block] = getattr(part, name)
    return Deletions(**whole)


def response_residuals(working: Working, own: Array | None = None) -> Array:
    """Target minus mean: (n,), or (n, K); with `own` at the outputs of the deleted fit."""
    if working.likelihood.gaussian:
        moved = working.gradient if own is None else working.gradient + own
        return -moved[:, 0]
    if own is None and working.objective.n_outputs > 1:
        return -working.gradient
    eta = working.eta if own is None else working.eta + own
    mean = working.likelihood.mean(eta)
    if working.objective.n_outputs == 1:
        return working.objective.y - mean[:, 0]
    return working.likelihood.mean(working.eta) - working.gradient - mean


def pearson_residuals(working: Working) -> Array:
    """Residual over the standard deviation that a dispersion of 1 gives the row, (n,).

    In terms of the loss, -sqrt(w) l' / sqrt(c) with c the expected curvature. Of several outputs
    it is the root of the row's part of Pearson's statistic, sum_k (y_k - p_k)^2 / p_k.
    """
    root = np.sqrt(working.objective.weights)
    if working.objective.n_outputs > 1:
        mean = working.likelihood.mean(working.eta)
        return root * np.sqrt(_quotient(np.square(working.gradient), mean).sum(axis=1))
    return -root * _quotient(working.gradient[:, 0], np.sqrt(working.expected[:, 0, 0]))


def _quotient(numerator, denominator):
    """The quotient, with 0 / 0 = 0: an output in the flat tail of its link, rightly so."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numerator == 0.0, 0.0, numerator / denominator)


def scales(working: Working, steps: Deletions, pearson: Array) -> Scale:
    """Dispersions; Pearson's statistic over the residual degrees of freedom, or 1."""
    used = working.objective.weights > 0
    n_rows = int(used.sum())
    df_resid = n_rows - working.basis.n_effective
    if not working.likelihood.estimated:
        return Scale(1.0, np.ones(len(used)), df_resid, n_rows)
    squares = np.square(pearson)
    total = float(squares.sum())
    if working.likelihood.gaussian and total <= PERFECT**2 * _size(working):
        return Scale(0.0, np.zeros(len(used)), df_resid, n_rows)
    left = np.maximum(_statistic_without(working, steps, squares, total), 0.0)
    left[left <= 4 * np.finfo(float).eps * total] = 0.0
    df_left = n_rows - used - steps.dof
    without = _per_degree(left, df_left)
    return Scale(float(_per_degree(np.array(total), df_resid)), without, df_resid, n_rows)


def _size(working):
    outputs = working.eta[:, 0]
    targets = np.square(working.objective.y) + np.square(outputs)
    return max(float(working.objective.weights @ targets), np.finfo(float).tiny)


def _per_degree(statistic, df):
    """Over the degrees of freedom, NaN where there are none (effective ones are real numbers)."""
    enough = df > 1e-8
    return np.where(enough, statistic / np.where(enough, df, 1.0), np.nan)


def _statistic_without(working, steps, squares, total):
    """Pearson's statistic of the fit without each row.

    Quadratic losses: exact, also under a penalty, (RSS + 2 Delta'X'w l' + Delta'A Delta) less the
    row's own part at the moved parameters. Others: the one-step value of unpenalised fits.
    """
    if not working.likelihood.gaussian:
        with np.errstate(divide="ignore", invalid="ignore"):
            return total - np.where(squares > 0, squares / steps.determinant, 0.0)
    own = np.square(working.gradient[:, 0] + steps.own[:, 0])
    return total + 2.0 * steps.tilt + steps.data_form - working.objective.weights * own


def studentised(working: Working, steps: Deletions, pearson: Array, scale: Array) -> Array:
    """Pearson residuals over their standard deviation, the root of scale (1 - h), (n,).

    Several outputs: the distance, root of w r'(C - w C S C)^- r / scale with r minus the gradient.
    """
    if working.objective.n_outputs > 1:
        inner = np.einsum("nk,nk->n", working.gradient, steps.own)
        size = np.square(pearson) + working.objective.weights * np.maximum(inner, 0.0)
        return infinite(over(np.sqrt(size), np.sqrt(scale)), steps, 1.0)
    left = np.maximum(1.0 - steps.leverage, 0.0)
    return infinite(over(pearson, np.sqrt(left * scale)), steps, residual_sign(working))


def fit_changes(working: Working, steps: Deletions, scale: Array) -> Array:
    """DFFITS: change of the row's own output over its standard deviation, (n,).

    Several outputs: the distance, root of Delta'H Delta / scale.
    """
    if working.objective.n_outputs > 1:
        return infinite(np.sqrt(over(steps.full_form, scale)), steps, 1.0)
    change = over(-steps.own[:, 0], np.sqrt(steps.spread * scale))
    return infinite(change, steps, residual_sign(working))


def cooks(working: Working, steps: Deletions, scale: float) -> Array:
    """Delta'A Delta / (k phi), (n,)."""
    k = np.float64(working.basis.n_effective)
    return infinite(over(steps.data_form, k * scale), steps, 1.0)


def covariance_ratios(working: Working, steps: Deletions, scale: Scale) -> Array:
    """(phi_(i) / phi)^k over det(I - w C S), (n,)."""
    relative = np.ones_like(scale.without) if scale.whole == 0.0 else scale.without / scale.whole
    determinant = np.where(steps.undetermined, 1.0, steps.determinant)
    with np.errstate(over="ignore"):
        ratio = relative**working.basis.n_effective / determinant
    return infinite(ratio, steps, 1.0)


def residual_sign(working: Working) -> Array:
    """1 or -1, never 0."""
    return np.where(working.gradient[:, 0] > 0, -1.0, 1.0)


def over(numerator: Array, denominator: Array | float) -> Array:
    """The quotient, with 0 / 0 = 0; all 0 over a dispersion of 0, which compares nothing."""
    if np.all(denominator == 0.0):
        return np.zeros_like(numerator)
    return _quotient(numerator, denominator)


def infinite(values: Array, steps: Deletions, sign: Array | float) -> Array:
    """`values`, infinite where the fit without the row is not determined."""
    return np.where(steps.undetermined, np.inf * sign, values)

"""What deleting each row does to the working least-squares problem, block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinfluence.diagnostics.working import Working

Array = NDArray[np.float64]

# A leverage nearer to 1 is 1 up to rounding: the row alone determines a direction.
LEVERAGE_ONE = 1e-12


@dataclass(frozen=True)
class Deletions:
    """One Newton step per deleted row, in the basis, and its sizes.

    With Delta the move of the parameters, H the curvature and A that of the data.

    Parameters
    ----------
    leverage : ndarray of shape (b,)
        tr(w C S), S the block x'H^-1 x.
    spread : ndarray of shape (b,)
        tr(S).
    own : ndarray of shape (b, K)
        Change x'Delta of the row's own outputs.
    data_form, full_form : ndarray of shape (b,)
        Delta'A Delta and Delta'H Delta.
    tilt : ndarray of shape (b,)
        Delta'(gradient of the data at the fitted parameters).
    dof : ndarray of shape (b,)
        Effective number of parameters of the fit without the row.
    determinant : ndarray of shape (b,)
        det(I - w C S): of the curvature without the row over that with it.
    """

    leverage: Array
    spread: Array
    own: Array
    data_form: Array
    full_form: Array
    tilt: Array
    dof: Array
    determinant: Array

    @property
    def undetermined(self) -> NDArray[np.bool_]:
        """Rows without which the parameters are not determined."""
        return self.determinant <= LEVERAGE_ONE


def delete_each(working: Working, block: slice, data_gradient: Array) -> Deletions:
    """Sizes of the steps for the rows in `block`; `data_gradient` is V'X'w l'."""
    if working.objective.n_outputs == 1 and not working.moves_penalty:
        return _one_output(working, block, data_gradient)
    return _any_outputs(working, block, data_gradient)


def moves(working: Working, block: slice) -> Array:
    """Newton steps Delta in the basis, (b, r); 0 where the deletion leaves them undetermined."""
    if working.objective.n_outputs == 1 and not working.moves_penalty:
        rows = working.rows(block)
        weights = working.objective.weights[block]
        leverage = weights * working.curvature[block, 0, 0] * np.einsum("ij,ij->i", rows, rows)
        return rows * _length(weights * working.gradient[block, 0], 1.0 - leverage)[:, None]
    return _step(working, block).delta


def _length(slope, left):
    return np.divide(slope, left, out=np.zeros_like(slope), where=left > LEVERAGE_ONE)


def _one_output(working, block, data_gradient):
    """Sherman and Morrison: Delta = H^-1 x w l' / (1 - h)."""
    rows, basis = working.rows(block), working.basis
    weights = working.objective.weights[block]
    curvature = weights * working.curvature[block, 0, 0]
    spread = np.einsum("ij,ij->i", rows, rows)
    leverage = curvature * spread
    length = _length(weights * working.gradient[block, 0], 1.0 - leverage)
    inner, tilt, dof = spread, np.zeros_like(spread), np.full_like(spread, basis.n_effective)
    if basis.penalised:
        tilt = length * (rows @ data_gradient)
        np.multiply(rows, rows, out=rows)
        inner = rows @ basis.shares
        # The trace of (A - w c x x') times the downdated inverse.
        left = 1.0 - leverage
        dof -= _length(leverage - curvature * inner, left)
    return Deletions(
        leverage=leverage,
        spread=spread,
        own=(length * spread)[:, None],
        data_form=length**2 * inner,
        full_form=length**2 * spread,
        tilt=tilt,
        dof=dof,
        determinant=1.0 - leverage,
    )


@dataclass(frozen=True)
class _Step:
    """Woodbury's formula for a block of rows, and the parts it was put together from.

    Parameters
    ----------
    delta : ndarray of shape (b, r)
    rows, scaled : ndarray of shape (b, K, r)
        Z, and Z D^-1 with D the curvature after the row's share of the penalty has gone.
    diagonal : ndarray of shape (b, r)
        D.
    data : ndarray of shape (b, K, K)
        w C.
    minor, solvable : ndarray of shape (b, K, K)
        I - w C Z D^-1 Z', and the same with the identity where it is singular.
    """

    delta: Array
    rows: Array
    scaled: Array
    diagonal: Array
    data: Array
    minor: Array
    solvable: Array


def _step(working, block):
    """Delta = (D - Z'w C Z)^-1 (Z'w l' + dm V'(gradient of Omega))."""
    objective = working.objective
    rows = working.rows(block)
    rows = rows[:, None] if rows.ndim == 2 else rows
    weights = objective.weights[block]
    data = weights[:, None, None] * working.curvature[block]
    slope = weights[:, None] * working.gradient[block]
    diagonal, scaled, extra = np.ones((len(rows), 1)), rows, 0.0
    if working.moves_penalty:
        lost = objective.m_share[block, None]
        diagonal = 1.0 - lost / objective.m * (1.0 - working.basis.shares)
        scaled = rows / diagonal[:, None]
        extra = lost * working.penalty_gradient / diagonal
    start = np.einsum("bkr,bk->br", scaled, slope) + extra
    minor = np.eye(rows.shape[1]) - data @ (scaled @ rows.transpose(0, 2, 1))
    regular = (np.linalg.det(minor) > LEVERAGE_ONE)[:, None, None]
    solvable = np.where(regular, minor, np.eye(rows.shape[1]))
    back = np.linalg.solve(solvable, data @ np.einsum("bkr,br->bk", rows, start)[..., None])
    delta = (start + np.einsum("bkr,bk->br", scaled, back[..., 0])) * regular[:, 0]
    return _Step(delta, rows, scaled, diagonal, data, minor, solvable)


def _any_outputs(working, block, data_gradient):
    """Woodbury with the K x K block of the row."""
    shares = working.basis.shares
    step = _step(working, block)
    rows, delta = step.rows, step.delta
    own_block = rows @ rows.transpose(0, 2, 1)
    return Deletions(
        leverage=np.einsum("bkl,blk->b", step.data, own_block),
        spread=np.trace(own_block, axis1=1, axis2=2),
        own=np.einsum("bkr,br->bk", rows, delta),
        data_form=np.square(delta) @ shares,
        full_form=np.square(delta).sum(axis=1),
        tilt=delta @ data_gradient,
        dof=_degrees(working, step),
        determinant=np.linalg.det(step.minor),
    )


def _degrees(working, step):
    """Trace of (A - Z'w C Z) times the downdated inverse."""
    shares = working.basis.shares
    if not working.basis.penalised:
        return np.full(len(step.rows), working.basis.n_effective)
    change = (step.scaled * shares) @ step.scaled.transpose(0, 2, 1)
    change -= step.scaled @ step.rows.transpose(0, 2, 1)
    change = np.linalg.solve(step.solvable, step.data @ change)
    return (shares / step.diagonal).sum(axis=1) + np.trace(change, axis1=1, axis2=2)

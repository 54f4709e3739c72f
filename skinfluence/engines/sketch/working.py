"""The weighted least-squares problem that a fit is in a sketch, as diagnostics have it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skinfluence.diagnostics.measures import pearson_residuals
from skinfluence.diagnostics.working import Basis, Working
from skinfluence.engines.sketch.reading import Fixed, Slopes
from skinfluence.objectives.design import DenseDesign

Array = NDArray[np.float64]

# Eigenvalues of a scaled Gram matrix this far below the largest are rounding.
LOST = 1e-12
# Reciprocal condition number from which on a Cholesky factor keeps the digits that matter.
WELL_CONDITIONED = 1e-8


def working_block(
    fixed: Fixed, own: Slopes, rows: Array, basis: Basis, m: float, pull: Array
) -> Working:
    """A block of projected rows as :class:`skinfluence.diagnostics.working.Working` has all rows.

    Parameters
    ----------
    fixed : Fixed
    own : Slopes
    rows : ndarray of shape (b, r)
        In one sketch.
    basis : Basis
    m : float
        Multiplier of the penalty.
    pull : ndarray
        Gradient of the penalty in the basis.
    """
    objective: Any = SimpleNamespace(
        design=DenseDesign(rows),
        weights=own.weights,
        m=m,
        m_share=own.m_share,
        n_outputs=fixed.n_outputs,
        y=own.y,
    )
    likelihood: Any = fixed.likelihood
    return Working(
        objective=objective,
        likelihood=likelihood,
        eta=own.eta,
        gradient=own.gradient,
        curvature=own.curvature,
        expected=own.expected,
        basis=basis,
        penalty_gradient=pull,
    )


def residuals(fixed: Fixed, own: Slopes) -> Array | None:
    """Pearson residuals of a block, (b,); None where the loss is no deviance."""
    if fixed.likelihood is None:
        return None
    nothing = Basis(np.zeros((0, 0)), np.zeros(0), False)
    return pearson_residuals(
        working_block(fixed, own, np.zeros((len(own.weights), 0)), nothing, 1.0, np.zeros(0))
    )


def basis_of(data: Array, penalty: Array) -> Basis:
    """Coordinates of a sketch in which its curvature is the identity; see ``Basis``.

    Directions that neither rows nor penalty hold drop out.

    Parameters
    ----------
    data, penalty : ndarray of shape (r K, r K)
        Curvatures.
    """
    hessian = data + penalty
    size = np.sqrt(np.abs(np.diag(hessian)))
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    scaled = hessian * np.outer(scale, scale)
    root = _triangular(scaled, scale)
    if root is None:
        root = _spectral(scaled, scale)
    shares = np.ones(root.shape[1])
    penalised = bool(penalty.any())
    if penalised:
        shares, turn = linalg.eigh(root.T @ data @ root)
        shares, root = np.clip(shares, None, 1.0), root @ turn
    return Basis(root, shares, penalised)


def _triangular(scaled, scale):
    if not len(scaled) or not scale.all():
        return None
    factor, failed = linalg.lapack.dpotrf(scaled, lower=1, clean=1)
    if failed:
        return None
    rcond, _ = linalg.lapack.dpocon(factor, np.abs(scaled).sum(axis=0).max(), uplo="L")
    if not rcond > WELL_CONDITIONED:
        return None
    inverse, _ = linalg.lapack.dtrtri(factor, lower=1)
    return scale[:, None] * inverse.T


def _spectral(scaled, scale):
    if not len(scaled):
        return np.zeros((0, 0))
    values, vectors = linalg.eigh(scaled)
    largest = values.max(initial=0.0)
    negative = int((values < -1e-6 * largest).sum())
    if negative:
        raise ValueError(
            f"The curvature at the fitted parameters has {negative} negative eigenvalues: they "
            "are not a minimum, and rows have no leverage. Fit with a smaller tol, or set "
            "hessian='expected'."
        )
    seen = values > LOST * largest
    return scale[:, None] * vectors[:, seen] / np.sqrt(values[seen])

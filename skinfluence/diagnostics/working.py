"""The weighted least-squares problem that a fitted model is, seen from its optimum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skinfluence.diagnostics.likelihood import Likelihood
from skinfluence.objectives.objective import Objective, gram_blocks

Array = NDArray[np.float64]

# Cholesky of a Gram matrix loses the condition number twice; below this, QR of the rows.
WELL_CONDITIONED = 1e-4
# Rows of a block, and doubles that a block of transformed rows may hold (a few fit the cache).
BLOCK_ROWS = 4096
BLOCK_SIZE = 2**20


@dataclass(frozen=True)
class Basis:
    """Coordinates V of the parameters in which curvature and data are diagonal.

    With H the curvature of the objective and A that of its data, ``V'HV = I`` and
    ``V'AV = diag(shares)``: directions that data alone determine have share 1, directions that
    the penalty holds have less. Their sum is tr(H^-1 A), the effective number of parameters.

    Parameters
    ----------
    vectors : ndarray of shape (P K, r)
        V, rows of theta first.
    shares : ndarray of shape (r,)
    penalised : bool
        Whether any share is below 1.
    """

    vectors: Array
    shares: Array
    penalised: bool

    @property
    def n_effective(self) -> float:
        """tr(H^-1 A); the rank of the rows where nothing is penalised."""
        total = float(self.shares.sum())
        return total if self.penalised else float(round(total))


@dataclass(frozen=True)
class Working:
    """A fitted model as weighted least squares, in units of half the deviance.

    Parameters
    ----------
    objective : Objective
    likelihood : Likelihood
    eta, gradient : ndarray of shape (n, K)
        Outputs, and derivatives of the half deviance by them.
    curvature, expected : ndarray of shape (n, K, K)
        Second derivatives, as asked for and under the model.
    basis : Basis
    penalty_gradient : ndarray of shape (r,)
        Of Omega, in the basis.
    """

    objective: Objective
    likelihood: Likelihood
    eta: Array
    gradient: Array
    curvature: Array
    expected: Array
    basis: Basis
    penalty_gradient: Array

    @property
    def moves_penalty(self) -> bool:
        """Whether deleting a row changes what the penalty weighs."""
        pulls = self.basis.penalised or self.penalty_gradient.any()
        return bool(pulls and self.objective.m_share.any())

    def rows(self, block: slice) -> Array:
        """Rows of the design in the basis: (b, r) for one output, else (b, K, r)."""
        rows = self.objective.design.take(block).dense()
        n_outputs = self.objective.n_outputs
        if n_outputs == 1:
            return rows @ self.basis.vectors
        wide = self.basis.vectors.reshape(rows.shape[1], -1)
        return (rows @ wide).reshape(len(rows), n_outputs, -1)

    def blocks(self) -> Iterator[slice]:
        """Slices of rows that a few temporaries of the size of `rows` stay small for."""
        width = max(1, self.objective.n_outputs * self.basis.vectors.shape[1])
        size = min(max(BLOCK_SIZE // width, 1), BLOCK_ROWS)
        n = self.objective.n_train
        return (slice(start, min(start + size, n)) for start in range(0, n, size))


def working(
    objective: Objective, theta: Array, likelihood: Likelihood, *, expected: bool
) -> Working:
    """Everything that diagnostics need of a model at `theta`, the minimum of its objective."""
    loss, y, unit = objective.loss, objective.y, likelihood.unit
    eta = objective.outputs(theta)
    mean_curvature = loss.curvature(eta, y, expected=True) / unit
    differs = loss.has_expected and not expected
    curvature = loss.curvature(eta, y) / unit if differs else mean_curvature
    basis = basis_of(objective, theta, curvature, objective.m / unit)
    slope = objective.penalty.gradient(theta).ravel() / unit
    return Working(
        objective=objective,
        likelihood=likelihood,
        eta=eta,
        gradient=loss.gradient(eta, y) / unit,
        curvature=curvature,
        expected=mean_curvature,
        basis=basis,
        penalty_gradient=basis.vectors.T @ slope,
    )


def basis_of(objective: Objective, theta: Array, c: Array, m: float) -> Basis:
    """Basis for data of curvature `c` (n, K, K) and `m` times the penalty."""
    # Not the explainers' LinearCurvature and NewtonInverse: those factorise the Gram matrix, which
    # loses the digits that a QR of the rows keeps, and form every step. Here only the sizes of
    # steps are wanted, by the data and by the penalty, and the basis has them without.
    moving = objective.moving(theta)
    active = moving.ravel()
    inner = np.ix_(active, active)
    data = gram_blocks(objective.design, objective.weights[:, None, None] * c)[inner]
    penalty = m * objective.penalty.hessian(theta)[inner]
    null = objective.unseen_shifts(moving)
    inverse_root = _inverse_root(data + penalty, null)
    if inverse_root is None:
        inverse_root = _from_rows(objective, c, penalty, active)
        inverse_root -= null @ (null.T @ inverse_root)
    shares = np.ones(inverse_root.shape[1])
    penalised = bool(penalty.any())
    if penalised:
        shares, turn = linalg.eigh(inverse_root.T @ data @ inverse_root)
        inverse_root = inverse_root @ turn
    vectors = np.zeros((len(active), inverse_root.shape[1]))
    vectors[active] = inverse_root
    return Basis(vectors, shares, penalised)


def _inverse_root(hessian, null):
    """V with V'HV = I by Cholesky, orthogonal to `null`; None where that is not accurate."""
    if not len(hessian):
        return np.zeros((0, 0))
    # Filled in, directions that nothing sees cannot spoil the factor.
    filled = hessian + np.trace(hessian) / len(hessian) * (null @ null.T)
    diagonal = np.diag(filled)
    if not (diagonal > 0).all():
        return None
    scale = 1.0 / np.sqrt(diagonal)
    scaled = filled * np.outer(scale, scale)
    factor, failed = linalg.lapack.dpotrf(scaled, lower=1, clean=1)
    if failed:
        return None
    rcond, _ = linalg.lapack.dpocon(factor, np.abs(scaled).sum(axis=0).max(), uplo="L")
    if not rcond > WELL_CONDITIONED:
        return None
    inverse, _ = linalg.lapack.dtrtri(factor, lower=1)
    inverse_root = scale[:, None] * inverse.T
    if not null.shape[1]:
        return inverse_root
    # N has coordinates V'(filled H) N, a multiple of V'N; what is orthogonal to them is kept.
    turn, _ = linalg.qr(inverse_root.T @ null)
    return inverse_root @ turn[:, null.shape[1] :]


def _from_rows(objective, c, penalty, active):
    """V from a QR of the rows themselves, block by block; directions they do not span drop out."""
    if c.shape[1] == 1 and (c >= 0).all():
        triangle = _stacked_root(penalty)
        weights = np.sqrt(objective.weights * c[:, 0, 0])
        for start in range(0, objective.n_train, BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            rows = objective.design.take(block).dense()[:, active] * weights[block, None]
            triangle = linalg.qr(np.vstack([triangle, rows]), mode="r", check_finite=False)[0]
            triangle = triangle[: active.sum()]
        scale = _spread(triangle)
        _, values, right = linalg.svd(triangle / scale, full_matrices=False)
        seen = values > values.max(initial=0.0) * objective.n_train * np.finfo(float).eps
        return right[seen].T / values[seen] / scale[:, None]
    hessian = gram_blocks(objective.design, objective.weights[:, None, None] * c)
    return _from_eigenvalues(hessian[np.ix_(active, active)] + penalty)


def _stacked_root(penalty):
    values, vectors = linalg.eigh(penalty)
    return np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T


def _spread(triangle):
    spread = np.sqrt(np.square(triangle).sum(axis=0))
    return np.where(spread > 0, spread, 1.0)


def _from_eigenvalues(hessian):
    diagonal = np.sqrt(np.abs(np.diag(hessian)))
    scale = np.where(diagonal > 0, diagonal, 1.0)
    values, vectors = linalg.eigh(hessian / np.outer(scale, scale))
    size = np.abs(values).max(initial=0.0) * len(values) * np.finfo(float).eps
    if (values < -1e3 * size).any():
        raise ValueError(
            f"The curvature at the fitted parameters has {int((values < -1e3 * size).sum())} "
            "negative eigenvalues: they are not a minimum, and deleting a row has no Newton step. "
            "Fit with a smaller tol, or pass expected=True."
        )
    seen = values > size
    return vectors[:, seen] / np.sqrt(values[seen]) / scale[:, None]

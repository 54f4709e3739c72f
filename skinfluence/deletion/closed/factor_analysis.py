"""Exact deletion from factor analysis, at the maximum of its likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import linalg
from sklearn.decomposition import FactorAnalysis

from skinfluence._output import few
from skinfluence._warn import warn
from skinfluence.deletion.closed.base import (
    EVERY,
    Array,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
    relative_difference,
)
from skinfluence.deletion.closed.factors import maximise
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.closed.latent import DENSITY, Latent
from skinfluence.deletion.closed.moments import LEFT, SINGULAR, log_normal
from skinfluence.exceptions import DegenerateDeletionWarning, UnsupportedEstimatorError

# Numbers of a block of covariance matrices, of which a search keeps about ten.
MATRICES = 2**18


class FactorDeletion(ExactModel):
    """Deletion of one row from the maximum of the likelihood.

    The covariance of the rows loses a rank-one matrix, its inverse by a formula, and the noise
    variances are searched from where they are with all rows, for many deletions at once. Columns
    are divided by their standard deviations, which changes nothing.

    Parameters
    ----------
    X : ndarray of shape (n, p)
    noise : ndarray of shape (p,)
        Noise variances near a maximum of the likelihood.
    n_components : int
    wanted : tuple of {"density", "error"}
        The outputs.
    """

    flaw = (
        "has no proper fit: a feature is left without noise of its own, or without variance. "
        "Their scores are those at that bound, or infinite."
    )

    def __init__(
        self, X: Array, noise: Array, n_components: int, wanted: tuple[str, ...] = DENSITY
    ):
        (self.n_train, self.p), self.k, self.wanted = X.shape, n_components, wanted
        self.n_outputs = len(wanted)
        self.mean, self.spread = X.mean(axis=0), X.std(axis=0)
        covariance = _correlations(X, self.mean, self.spread)
        self.rows = (X - self.mean) / self.spread
        self.inverse = linalg.inv(covariance)
        self._log_det = np.linalg.slogdet(covariance)[1] + 2.0 * np.log(self.spread).sum()
        start = np.where(noise > 0.0, noise / self.spread**2, 0.0)
        # EM ends at such a value where the optimum is 0, and never below.
        start = np.where(start < 1e-9, 0.0, np.minimum(start, 1.0))
        self.factors = maximise(self.inverse[None], start[None], self.k)
        self._flagged = self._heights(slice(None))[1] <= LEFT

    @property
    def noise(self) -> Array:
        """Noise variances of the features, (p,)."""
        return self.factors.noise[0] * self.spread**2

    @property
    def alone(self) -> Positions:  # type: ignore[override]
        """Rows without which there is no proper fit, of those asked about until now."""
        return np.flatnonzero(self._flagged)

    @property
    def row_block(self) -> int:
        return int(np.clip(MATRICES // self.p**2, 16, 2048))

    def floats_a_query(self, n_rows: int) -> int:
        return n_rows * (3 * self.p + 2)

    def _heights(self, rows):
        solved = self.rows[rows] @ self.inverse
        heights = np.einsum("bp,bp->b", self.rows[rows], solved)
        return solved, 1.0 - heights / (self.n_train - 1.0)

    def outputs(self, X: Any) -> Array:
        u = np.zeros((1, self.p))
        return self._shown(X, u, self.factors, np.array([self._log_det]), EVERY)[:, 0]

    def delete(self, rows: Positions) -> Any:
        m = self.n_train - 1.0
        solved, left = self._heights(rows)
        lost = left <= LEFT
        gone = np.where(lost, 0.0, 1.0 / (m * np.where(lost, 1.0, left)))[:, None, None]
        inverse = (m / self.n_train) * (
            self.inverse + gone * solved[:, :, None] * solved[:, None, :]
        )
        start = np.broadcast_to(self.factors.noise, (len(rows), self.p))
        factors = maximise(inverse, start, self.k)
        with np.errstate(divide="ignore", invalid="ignore"):
            log_det = self._log_det - self.p * np.log(m / self.n_train) + np.log(left)
        log_det[lost] = np.inf
        new = factors.improper & ~self.factors.improper[0]
        self._flagged[rows] |= new | ~factors.settled
        return self.rows[rows] / m, factors, log_det

    def replace(self, new: NewRows) -> Replaced:
        return _ReplacedFactors(self, new)

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        step, factors, log_det = deleted
        return self._shown(X, step, factors, log_det, meeting)

    def _shown(self, X, step, factors, log_det, meeting):
        """The outputs, around means that lost `step`."""
        Z = (X - self.mean) / self.spread
        gaps = (Z + step)[:, None] if meeting.pairs else Z[None] + step[:, None]
        solved = np.matmul(gaps, factors.precision)  # (b, 1 or q, p)
        found = []
        if "density" in self.wanted:
            distances = np.einsum("bqp,bqp->bq", gaps, solved)
            total = (log_det + factors.log_det)[:, None]
            found.append(log_normal(distances, total, self.p))
        if "error" in self.wanted:
            # A row less its reconstruction is psi times the precision times the row.
            left = solved * (factors.noise * self.spread)[:, None, :]
            errors = np.einsum("bqp,bqp->bq", left, left)
            found.append(np.where(np.isinf(log_det)[:, None], np.inf, errors))
        shown = np.stack(found, axis=-1)
        return shown[:, 0] if meeting.pairs else np.swapaxes(shown, 0, 1)


class _ReplacedFactors(Replaced):
    """The maximum of the likelihood with new rows, from where it is with the old ones."""

    def __init__(self, model: FactorDeletion, new: NewRows):
        self.model, n = model, model.n_train
        after, before = (new.X - model.mean) / model.spread, model.rows[new.rows]
        moved = (after - before) / n
        covariance = model.rows.T @ model.rows / n + (
            _squares(after) / n - _squares(before) / n - _squares(moved)
        )
        values = np.linalg.eigvalsh(covariance)
        self.broken = ~(values[:, 0] * SINGULAR > values[:, -1])
        covariance[self.broken] = np.eye(model.p)
        start = np.broadcast_to(model.factors.noise, after.shape)
        self.factors = maximise(np.linalg.inv(covariance), start, model.k)
        self.unfinished = ~self.factors.settled
        log_det = np.linalg.slogdet(covariance)[1] + 2.0 * np.log(model.spread).sum()
        self._given = (-moved, self.factors, log_det, EVERY)

    def outputs(self, X: Any) -> Array:
        return self.model._shown(X, *self._given)


def _squares(rows):
    return rows[:, :, None] * rows[:, None, :]


def _correlations(X, mean, spread):
    """Correlations of the columns; those that have no inverse are refused."""
    if (spread > 0.0).all() and len(X) > X.shape[1]:
        Z = (X - mean) / spread
        found = Z.T @ Z / len(X)
        values = linalg.eigvalsh(found)
        if values[0] * SINGULAR > values[-1]:
            return found
    raise linalg.LinAlgError(
        f"The covariance of these {len(X)} rows of {X.shape[1]} feature(s) is singular, where the "
        "likelihood of factor analysis may be infinite. Drop features that are constant or follow "
        "from others, or use more rows than features; or PCA with fewer components."
    )


class _FactorsFamily(Latent):
    """Its EM stops far from the maximum of the likelihood, to which a private copy is taken."""

    estimators = (FactorAnalysis,)
    # How far EM stopped is warned of; rows that are not its own have another mean.
    other = 1e6

    def head(self, estimator: Any) -> Head:
        k, p = estimator.components_.shape
        if (p - k) ** 2 < p + k:
            raise UnsupportedEstimatorError(
                f"FactorAnalysis has {k} factors of {p} feature(s), more parameters than a "
                "covariance has, so that its noise is not determined. Set n_components to at "
                f"most {_most_factors(p)}, or use EmpiricalCovariance or PCA."
            )
        return super().head(estimator)

    def outputs(self, estimator: Any, X: Any) -> Array:
        if isinstance(estimator, FactorDeletion):
            return estimator.outputs(X)
        found = []
        if "density" in self.wanted:
            found.append(np.asarray(estimator.score_samples(X), dtype=np.float64))
        if "error" in self.wanted:
            back = estimator.transform(X) @ estimator.components_ + estimator.mean_
            found.append(np.square(X - back).sum(axis=1))
        return np.stack(found, axis=-1)

    def at_rest(self, estimator: Any, rows: TrainingRows) -> FactorDeletion:
        noise, k = estimator.noise_variance_, len(estimator.components_)
        return FactorDeletion(rows.X, noise, k, self.wanted)

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel:
        found = self.at_rest(estimator, rows)
        bare = np.flatnonzero(found.noise == 0.0)
        if len(bare):
            warn(
                f"The likelihood of FactorAnalysis is largest where {len(bare)} of {found.p} "
                f"features have no noise of their own ({few(bare)}), a Heywood case, and scores "
                "are those of that bound. Use fewer components.",
                DegenerateDeletionWarning,
            )
        return found

    def deviation(self, estimator: Any, rows: TrainingRows, theirs: Array, ours: Array) -> float:
        apart = np.abs(rows.X.mean(axis=0) - estimator.mean_).max()
        if apart > 1e-6 * np.abs(rows.X - estimator.mean_).max():
            return np.inf
        return relative_difference(theirs, ours)

    def refitted(self, estimator: Any, rows: TrainingRows, kept: Positions) -> Any:
        start = self.at_rest(estimator, rows)
        return FactorDeletion(rows.X[kept], start.noise, start.k, self.wanted)


def _most_factors(p):
    """The largest k with ``(p - k)^2 >= p + k``."""
    return int(np.floor(p + 0.5 - np.sqrt(2.0 * p + 0.25) + 1e-9))


register(_FactorsFamily())

"""Exact deletion from probabilistic principal component analysis."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Family,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.covariance import Scatter, fixed_of
from skinfluence.deletion.closed.heads import Head, LogDensity
from skinfluence.deletion.closed.moments import SINGULAR, Downdated, log_normal, refuse_singular
from skinfluence.deletion.closed.refits import Patched, Refits
from skinfluence.deletion.closed.replaced.moments import (
    ReplacedComponents,
    ReplacedCovariance,
    block_of,
)
from skinfluence.deletion.closed.secular import leading_pairs

# Numbers of a block of covariance matrices.
MATRICES = 2**21


class _FromScatter(ExactModel):
    """What both models share: the covariance over n - 1, which loses ``n / (n - 1) uu'``."""

    def __init__(self, scatter: Scatter):
        self.scatter, self.n_train, self.n_outputs = scatter, scatter.n, 1
        n = scatter.n
        self.values = scatter.spectrum.values * n / (n - 1.0)
        self.scale = (n - 1.0) / (n - 2.0)
        self.gone = scatter.share / (n - 2.0)

    @property
    def replaced_block(self) -> int:
        return block_of(self.scatter.p**2)


class FullDeletion(_FromScatter):
    """Deletion where all components are kept: a normal density with the covariance itself."""

    complex_rows = True

    def _downdated(self, u):
        return Downdated(self.values, u, scale=self.scale, ridge=0.0, gone=self.gone)

    def broken(self) -> Positions:
        """Rows without which the covariance is singular."""
        return np.flatnonzero(self._downdated(self.scatter.rows).broken)

    def outputs(self, X: Any) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        distances = np.square(Z) @ (1.0 / self.values)
        return log_normal(distances, np.log(self.values).sum(), self.scatter.p)[:, None]

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        B = self._downdated(self.scatter.rows[deleted])
        distances = B.distances(Z, self.scatter.step, meeting)
        return log_normal(distances, B.log_det, self.scatter.p)[..., None]

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedCovariance(self.scatter, partial(fixed_of, 0.0), new, self.n_train - 1.0)


class ComponentsDeletion(_FromScatter):
    """Deletion where the variances of the last components are replaced by their mean.

    The kept eigenpairs of the covariance less a rank-one matrix solve an equation of their own,
    and the variances left out are what remains of the trace.

    Parameters
    ----------
    scatter : Scatter
    n_components : int
        Held fixed.
    """

    def __init__(self, scatter: Scatter, n_components: int):
        super().__init__(scatter)
        self.n_components = n_components

    @property
    def row_block(self) -> int:
        return int(np.clip(MATRICES // self.scatter.p**2, 16, 2048))

    def floats_a_query(self, n_rows: int) -> int:
        return n_rows * (3 + 2 * self.n_components)

    def delete(self, rows: Positions) -> Any:
        u, K = self.scatter.rows[rows], self.n_components
        values = self.scale * self.values
        kept, axes = leading_pairs(values, u, self.gone, K)
        # Sums of what is small: the variances left out may be a tiny part of the trace.
        fallen = (values[::-1][:K] - kept).sum(axis=1)
        lost = self.gone * np.einsum("bp,bp->b", u, u) - fallen
        dropped = values[: self.scatter.p - K].sum() - lost
        return rows, kept, np.maximum(dropped, 0.0) / self._left(self.n_train - 1), axes

    def _left(self, n):
        """How many components of n rows are left out."""
        return min(self.scatter.p, n) - self.n_components

    def outputs(self, X: Any) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        kept = self.values[::-1][None, : self.n_components]
        dropped = self.values[: self.scatter.p - self.n_components].sum()
        noise = np.array([dropped / self._left(self.n_train)])
        slopes = 1.0 / kept - 1.0 / noise
        along = np.square(Z[:, ::-1][:, : self.n_components]) @ slopes[0]
        distances = np.einsum("qp,qp->q", Z, Z) / noise + along
        return log_normal(distances, self._log_det(kept, noise), self.scatter.p)[:, None]

    def _log_det(self, kept, noise):
        return np.log(kept).sum(axis=1) + (self.scatter.p - self.n_components) * np.log(noise)

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        rows, kept, noise, axes = deleted
        K, g = self.n_components, self.scatter.step
        Z, u = self.scatter.spectrum.coordinates(X), self.scatter.rows[rows]
        slopes = 1.0 / kept - 1.0 / noise[:, None]
        moved = g * np.einsum("bkp,bp->bk", axes, u)
        square = meeting.query(np.einsum("qp,qp->q", Z, Z)) + 2.0 * g * meeting.dot(Z, u)
        square = (square + g**2 * np.einsum("bp,bp->b", u, u)) / noise
        for k in range(K):
            square += slopes[:, k] * (meeting.dot(Z, axes[:, k]) + moved[:, k]) ** 2
        return log_normal(square, self._log_det(kept, noise), self.scatter.p)[..., None]

    def replace(self, new: NewRows) -> Replaced:
        return ReplacedComponents(self, new)


class _ComponentsFamily(Family):
    """The number of components is held fixed, however it was chosen."""

    estimators = (PCA,)
    supervised = False

    def head(self, estimator: Any) -> Head:
        return LogDensity()

    def outputs(self, estimator: Any, X: Any) -> Array:
        if not estimator.noise_variance_ > 0:
            refuse_singular("PCA", estimator.get_covariance())
        return np.asarray(estimator.score_samples(X), dtype=np.float64)[:, None]

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        n, p = rows.X.shape
        K = int(estimator.n_components_)
        scatter = Scatter(rows.X, centred=True)
        if min(n - 1, p) > K:
            model = ComponentsDeletion(scatter, K)
            lowest = model.values[: p - K].sum()
            return model if lowest * SINGULAR > model.values[-1] else None
        closed = FullDeletion(scatter)
        broken = closed.broken()
        if not len(broken):
            return closed
        return Patched(closed, Refits(self, estimator, rows), broken, None)

    def searches(self, estimator: Any) -> bool:
        chosen = estimator.n_components
        return chosen == "mle" or (isinstance(chosen, float) and chosen < 1.0)

    def fresh(self, estimator: Any, kept: Positions) -> Any:
        # Of random solvers, the fit that they stand for.
        return clone(estimator).set_params(
            n_components=int(estimator.n_components_), svd_solver="full"
        )


register(_ComponentsFamily())

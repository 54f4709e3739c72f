"""Exact deletion from principal component analysis: its density and its reconstructions."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.decomposition import PCA

from skinfluence.deletion.closed.base import (
    Array,
    ExactModel,
    Meeting,
    NewRows,
    Positions,
    Replaced,
    TrainingRows,
    register,
)
from skinfluence.deletion.closed.covariance import Scatter, fixed_of
from skinfluence.deletion.closed.heads import Head
from skinfluence.deletion.closed.latent import DENSITY, ERROR, Latent, beyond
from skinfluence.deletion.closed.moments import (
    ILL,
    SINGULAR,
    Downdated,
    log_normal,
    refuse_singular,
)
from skinfluence.deletion.closed.refits import Patched, Refits
from skinfluence.deletion.closed.replaced.moments import (
    ReplacedComponents,
    ReplacedCovariance,
    block_of,
    ill,
)
from skinfluence.deletion.closed.secular import leading_pairs

# Numbers of a block of covariance matrices.
MATRICES = 2**21


class _FromScatter(ExactModel):
    """What both models share: the covariance over n - 1, which loses ``n / (n - 1) uu'``."""

    def __init__(self, scatter: Scatter, wanted: tuple[str, ...]):
        self.scatter, self.wanted = scatter, wanted
        self.n_train, self.n_outputs = scatter.n, len(wanted)
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

    def _shown(self, density):
        # Nothing is lost in a reconstruction from all components.
        return np.stack([density, np.zeros_like(density)][: self.n_outputs], axis=-1)

    def outputs(self, X: Any) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        distances = np.square(Z) @ (1.0 / self.values)
        return self._shown(log_normal(distances, np.log(self.values).sum(), self.scatter.p))

    def without(self, X: Any, deleted: Positions, meeting: Meeting) -> Array:
        Z = self.scatter.spectrum.coordinates(X)
        B = self._downdated(self.scatter.rows[deleted])
        distances = B.distances(Z, self.scatter.step, meeting)
        return self._shown(log_normal(distances, B.log_det, self.scatter.p))

    def replace(self, new: NewRows) -> Replaced | None:
        if self.wanted != DENSITY or ill(self.values):
            return None
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
    wanted : tuple of {"density", "error"}
        The outputs.
    """

    def __init__(self, scatter: Scatter, n_components: int, wanted: tuple[str, ...] = DENSITY):
        super().__init__(scatter, wanted)
        self.n_components = n_components
        # What is left out is a difference of squares, or too small to be one.
        self.ill = self.dropped / self._left(scatter.n) * ILL < self.values[-1]
        self._sunk: set[int] = set()

    @property
    def alone(self) -> Positions:  # type: ignore[override]
        """Rows without which components leave no more than rounding."""
        return np.array(sorted(self._sunk), dtype=np.intp)

    @property
    def dropped(self) -> float:
        """Sum of the variances that are left out."""
        return self.values[: self.scatter.p - self.n_components].sum()

    @property
    def row_block(self) -> int:
        return int(np.clip(MATRICES // self.scatter.p**2, 16, 2048))

    def floats_a_query(self, n_rows: int) -> int:
        return n_rows * (4 + 2 * self.n_components)

    def delete(self, rows: Positions) -> Any:
        u, K = self.scatter.rows[rows], self.n_components
        values = self.scale * self.values
        kept, axes = leading_pairs(values, u, self.gone, K)
        # Sums of what is small: the variances left out may be a tiny part of the trace.
        fallen = (values[::-1][:K] - kept).sum(axis=1)
        lost = self.gone * np.einsum("bp,bp->b", u, u) - fallen
        dropped = values[: self.scatter.p - K].sum() - lost
        noise = dropped / self._left(self.n_train - 1)
        if "density" in self.wanted:
            noise[~(noise * SINGULAR > kept.max(axis=1, initial=0.0))] = 0.0
            self._sunk.update(rows[noise == 0.0].tolist())
        return rows, kept, noise, axes

    def _left(self, n):
        """How many components of n rows are left out."""
        return min(self.scatter.p, n) - self.n_components

    def outputs(self, X: Any) -> Array:
        K = self.n_components
        Z = np.square(self.scatter.spectrum.coordinates(X)[:, ::-1])
        kept = self.values[::-1][:K]
        noise = self.dropped / self._left(self.n_train)
        return self._shown(Z[:, :K] @ (1.0 / kept), Z[:, K:].sum(axis=1), kept, noise)

    def without(self, X: Any, deleted: Any, meeting: Meeting) -> Array:
        rows, kept, noise, axes = deleted
        g = self.scatter.step
        Z, u = self.scatter.spectrum.coordinates(X), self.scatter.rows[rows]
        squares = meeting.query(np.einsum("qp,qp->q", Z, Z)) + 2.0 * g * meeting.dot(Z, u)
        squares = squares + g**2 * np.einsum("bp,bp->b", u, u)
        moved = g * np.einsum("bkp,bp->bk", axes, u)
        within = np.zeros_like(squares)
        for k in range(self.n_components):
            along = np.square(meeting.dot(Z, axes[:, k]) + moved[:, k])
            within += along / kept[:, k]
            squares -= along
        error = self._errors(Z, u, axes, meeting) if self.ill else np.maximum(squares, 0.0)
        return self._shown(within, error, kept, noise)

    def _errors(self, Z, u, axes, meeting):
        """Squared lengths of what the axes leave, taken from it and not from the whole."""
        if meeting.pairs:
            gaps = Z + self.scatter.step * u
            left = gaps - np.einsum("bk,bkp->bp", np.einsum("bp,bkp->bk", gaps, axes), axes)
            return np.einsum("bp,bp->b", left, left)
        errors = np.empty((len(Z), len(u)))
        for b, row in enumerate(u):
            left = beyond(Z + self.scatter.step * row, axes[b])
            errors[:, b] = np.einsum("qp,qp->q", left, left)
        return errors

    def _shown(self, within, error, kept, noise):
        """The outputs, from squared lengths along the components and beyond them."""
        found = []
        if "density" in self.wanted:
            p, K = self.scatter.p, self.n_components
            with np.errstate(divide="ignore", invalid="ignore"):
                log_det = np.log(kept).sum(axis=-1) + (p - K) * np.log(noise)
                density = log_normal(within + error / noise, log_det, p)
            # Beside components that leave nothing there is no density.
            found.append(np.where(noise > 0.0, density, -np.inf))
        if "error" in self.wanted:
            found.append(error)
        return np.stack(found, axis=-1)

    def replace(self, new: NewRows) -> Replaced | None:
        if self.wanted != DENSITY or self.ill:
            return None
        return ReplacedComponents(self, new)


class _ComponentsFamily(Latent):
    """The number of components is held fixed, however it was chosen."""

    estimators = (PCA,)

    def head(self, estimator: Any) -> Head:
        K, n, p = estimator.n_components_, estimator.n_samples_, estimator.n_features_in_
        if self.wanted == ERROR and min(n - 2, p - 1) < K:
            raise ValueError(
                f"PCA keeps {K} components of {n} rows of {p} feature(s), and reconstructs rows "
                "from them without an error, or has as many as the rows leave directions. Set "
                f"n_components to at most {max(min(n - 2, p - 1), 0)}."
            )
        return super().head(estimator)

    def outputs(self, estimator: Any, X: Any) -> Array:
        found = []
        if "density" in self.wanted:
            _refuse_no_density(estimator)
            found.append(np.asarray(estimator.score_samples(X), dtype=np.float64))
        if "error" in self.wanted:
            left = beyond(X - estimator.mean_, estimator.components_)
            found.append(np.einsum("qp,qp->q", left, left))
        return np.stack(found, axis=-1)

    def read(self, estimator: Any, rows: TrainingRows, settings: Any) -> ExactModel | None:
        n, p = rows.X.shape
        if n < 3:
            raise ValueError(
                f"PCA was fitted on {n} rows, and a deletion leaves one, which has no variance. "
                "Pass 3 rows or more."
            )
        K = int(estimator.n_components_)
        scatter = Scatter(rows.X, centred=True)
        if min(n - 1, p) > K:
            model = ComponentsDeletion(scatter, K, self.wanted)
            sure = self.wanted == ERROR or model.dropped * SINGULAR > model.values[-1]
            return model if sure else None
        closed = FullDeletion(scatter, self.wanted)
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


def _refuse_no_density(estimator):
    """Refuse components beside which there is nothing, or no more than rounding."""
    top = estimator.explained_variance_.max(initial=estimator.noise_variance_)
    if not estimator.noise_variance_ * SINGULAR > top:
        refuse_singular("PCA", estimator.get_covariance())


register(_ComponentsFamily())

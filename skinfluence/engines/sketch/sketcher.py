"""Blocks of rows as a sketch sees them: projected, with the derivatives of every problem."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skinfluence.engines.sketch.projections import draw, gram, project
from skinfluence.engines.sketch.reading import Fixed, Slopes, outputs, slopes

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Projection:
    """Random matrices for one choice of features.

    Parameters
    ----------
    active : ndarray of int or None
        Positions of the features; None for all.
    omegas : sequence of (ndarray, sparse array or None)
        One a sketch. None are the features themselves: there are no more than components.
    n_components : int
        Columns of each.
    """

    active: NDArray[np.intp] | None
    omegas: Sequence[Any]
    n_components: int

    def rows(self, X: Any, sketch: int, *, border: bool) -> Array:
        """Rows in one of the sketches, (b, r), and the column of ones beside them."""
        X = X if self.active is None else X[:, self.active]
        omega = self.omegas[sketch]
        if omega is None:
            projected = X.toarray() if hasattr(X, "toarray") else X
        else:
            projected = project(X, omega)
        return np.hstack([projected, np.ones((len(projected), 1))]) if border else projected

    def gram(self, sketch: int, weights: Array) -> Array:
        """``Omega' diag(weights) Omega`` with one weight a feature, active or not."""
        weights = weights if self.active is None else weights[self.active]
        omega = self.omegas[sketch]
        return np.diag(weights) if omega is None else gram(omega, weights)

    def adjoint(self, sketch: int, values: Array) -> Array:
        """``Omega' values`` with one row of `values` a feature, active or not."""
        values = values if self.active is None else values[self.active]
        omega = self.omegas[sketch]
        return values if omega is None else omega.T @ values


@dataclass(frozen=True)
class Sketched:
    """One problem's part of a block.

    Parameters
    ----------
    slopes : Slopes
    rows : sequence of ndarray of shape (b, r)
        One a sketch.
    features : ndarray or CSR of shape (b, p)
        What was projected: the rows, centred where that is the same model.
    """

    slopes: Slopes
    rows: Sequence[Array]
    features: Any


@dataclass(frozen=True)
class Sketcher:
    """Projects blocks, and differentiates every problem at the fitted parameters.

    Parameters
    ----------
    fixed : sequence of Fixed
    projections : sequence of Projection
    place : sequence of int
        Which of `projections` each problem has.
    n_sketches : int
    expected : bool
        Whether curvature is that under the model.
    centre : ndarray of shape (p,) or None
        What is taken off the rows of problems whose intercept takes that up; None for nothing.
    """

    fixed: Sequence[Fixed]
    projections: Sequence[Projection]
    place: Sequence[int]
    n_sketches: int
    expected: bool
    centre: Array | None = None

    @property
    def n_features(self) -> int:
        """Number of columns that rows have."""
        return len(self.fixed[0].problem.coef)

    @property
    def width(self) -> int:
        """Numbers that a projected row takes, all sketches and outputs together."""
        widest = max(one.n_outputs for one in self.fixed)
        each = sum(projection.n_components + 1 for projection in self.projections)
        return each * self.n_sketches * widest

    def of(self, problem: int) -> Projection:
        """The projection of a problem."""
        return self.projections[self.place[problem]]

    def sketch(self, X: Any, targets: Sequence[tuple[Array, Array]]) -> Iterator[Sketched]:
        """Every problem's part of a block.

        Parameters
        ----------
        X : ndarray or CSR of shape (b, p)
        targets : sequence of (ndarray, ndarray)
            Targets and weights of the rows in each problem.
        """
        known: dict[tuple[int, bool, bool], list[Array]] = {}
        centred = X if self.centre is None else _less(X, self.centre)
        for number, (fixed, eta, (y, weights)) in enumerate(
            zip(self.fixed, outputs(self.fixed, X), targets, strict=True)
        ):
            key = self.place[number], fixed.has_intercept, fixed.centred
            features = centred if fixed.centred else X
            if key not in known:
                known[key] = [
                    self.of(number).rows(features, sketch, border=fixed.has_intercept)
                    for sketch in range(self.n_sketches)
                ]
            own = slopes(fixed, y, weights, eta, expected=self.expected)
            yield Sketched(own, known[key], features)


def _less(X, centre):
    return (X.toarray() if hasattr(X, "toarray") else X) - centre


def make_sketcher(
    fixed: Sequence[Fixed],
    *,
    projection: str,
    n_components: int,
    n_sketches: int,
    expected: bool,
    random_state: Any,
    centre: Array | None = None,
) -> Sketcher:
    """Draw the projections; problems with the same features share theirs."""
    rng = check_random_state(random_state)
    seeds = [int(seed) for seed in rng.randint(np.iinfo(np.int32).max, size=n_sketches)]
    drawn = _Drawn(projection, n_components, seeds)
    place = [drawn.place(one) for one in fixed]
    centre = centre if any(one.centred for one in fixed) else None
    return Sketcher(fixed, drawn.projections, place, n_sketches, expected, centre)


@dataclass
class _Drawn:
    kind: str
    n_components: int
    seeds: Sequence[int]
    projections: list[Projection] = field(default_factory=list)
    _known: dict[Any, int] = field(default_factory=dict)

    def place(self, fixed: Fixed) -> int:
        active = fixed.active
        key = None if active is None else active.tobytes()
        if key not in self._known:
            self._known[key] = len(self.projections)
            n_features = len(fixed.problem.coef) if active is None else len(active)
            self.projections.append(self._draw(active, n_features))
        return self._known[key]

    def _draw(self, active, n_features):
        if self.n_components >= n_features:  # nothing to sketch
            return Projection(active, [None] * len(self.seeds), n_features)
        omegas = [
            draw(self.kind, n_features, self.n_components, np.random.RandomState(seed))
            for seed in self.seeds
        ]
        return Projection(active, omegas, self.n_components)

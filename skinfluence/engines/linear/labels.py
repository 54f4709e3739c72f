"""Labels of a linear classifier without some of its training rows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from skinfluence import attribution
from skinfluence.curvature import LinearCurvature
from skinfluence.deletion.linear.deletion import LinearDeletion
from skinfluence.deletion.linear.fit import exact_minimum, has_paths
from skinfluence.deletion.linear.kinks import KinkedPart
from skinfluence.deletion.linear.part import Notes, Part
from skinfluence.deletion.linear.queries import Queries
from skinfluence.deletion.linear.targets import UserFunction
from skinfluence.engines.labels import Array, Labels, Positions, over_all_rows, rivals_of
from skinfluence.engines.linear.queries import chosen_outputs, visible_outputs
from skinfluence.engines.linear.refits import refitted_minimum, refitted_model
from skinfluence.objectives.encoding import class_positions
from skinfluence.solvers.minimise import minimise
from skinfluence.solvers.newton_cg import newton_cg

# Rows up to which all refits without one take seconds.
REFITTED = 5_000


class LinearLabels(Labels):
    """Labels at the minimum of the objective without some rows.

    Every search for a minimum starts where the last one ended: sets that are tried one after the
    other differ by little.

    Parameters
    ----------
    engine : LinearEngine
        Of a classifier.
    rows : ndarray or sparse array of shape (n_queries, p)
        In model space.
    """

    def __init__(self, engine: Any, rows: Any):
        self.engine, self.rows, self.n_queries = engine, rows, rows.shape[0]
        self.classes = engine.linear_fit.classes
        self.class_of_row = engine.class_of_row
        self.method = engine.method
        if self._approximates() and not self._refits():
            self.hint = "; the order of method='refit' is nearer to what deletions do"
        self._at = [part.theta for part in engine.parts]
        known: dict[int, Any] = {}
        for part in engine.parts:
            own = part.objective.coordinates
            known.setdefault(id(own), own.design(rows))
        self._designs = [known[id(part.objective.coordinates)] for part in engine.parts]

    def _approximates(self):
        engine = self.engine
        return engine.method in ("first_order", "newton") and not engine.linear_fit.smoothed

    def _refits(self):
        """Whether refits without each row are quick."""
        quick = self.engine.n_train <= REFITTED
        return quick and not any(part.iterates for part in self.engine.parts)

    @contextmanager
    def firmer(self) -> Iterator[bool]:
        if not (self._approximates() and self._refits()):
            yield False
            return
        self.method = "refit"
        try:
            yield True
        finally:
            self.method = self.engine.method

    def without(self, removed: Positions) -> Positions:
        if self._is_smoothed() and not self._is_fixed():
            return self.confirmed(removed)  # what it smoothes is not what a refit minimises
        return self._labels([found.theta for _, found in self._minima(removed)])

    def _is_smoothed(self):
        return self.engine.linear_fit.smoothed and self.engine.method != "exact"

    def _is_fixed(self):
        """Whether class weights are held, which the estimator itself would balance anew."""
        return self.engine.settings.class_weights == "fixed"

    def confirmed(self, removed: Positions) -> Positions:
        engine = self.engine
        if self._is_fixed():
            return self.without(removed)
        kept = np.delete(np.arange(engine.n_train), removed)
        if engine.linear_fit.smoothed and not has_paths(engine.linear_fit):
            return class_positions(refitted_model(engine, kept).predict(self.rows), self.classes)
        built = refitted_minimum(engine, kept)
        outputs = [
            objective.coordinates.design(self.rows).times(theta) for objective, theta in built
        ]
        return chosen_outputs(engine.linear_fit, outputs, None, None)

    def _labels(self, thetas):
        pairs = zip(self._designs, thetas, strict=True)
        outputs = [design.times(theta) for design, theta in pairs]
        return chosen_outputs(self.engine.linear_fit, outputs, None, None)

    def _minima(self, removed):
        """Each part's objective without `removed`, and something with its minimum as theta."""
        if not len(removed):
            return [(part.objective, part) for part in self.engine.parts]
        found = []
        for k, part in enumerate(self.engine.parts):
            left = part.objective.without(removed)
            found.append((left, _minimum(part, left, self._at[k])))
            self._at[k] = found[-1][1].theta
        return found

    def margins(self, query: int, label: int, removed: Positions) -> tuple[Array, Array]:
        engine = self.engine
        rivals = rivals_of(label, len(self.classes))
        parts = self._parts(removed)
        designs = [design.take(np.full(len(rivals), query)) for design in self._designs]
        pairs = zip(designs, parts, strict=True)
        outputs = [design.times(part.theta) for design, part in pairs]
        queries = Queries(designs, outputs, None, None, rivals)
        visible = visible_outputs(engine.linear_fit)
        target = UserFunction(visible, lambda seen, other: margin(seen, label, other))
        n_left = engine.n_train - len(removed)
        deletion = LinearDeletion(
            parts,
            target,
            None,
            n_train=n_left,
            method=self.method,
            relative=None,
            notes=Notes(),
        )
        tiles = attribution.blocks(deletion, queries)
        changes = attribution.matrix(tiles, (len(rivals), n_left))
        shown = np.concatenate(
            [own[:, :k] for own, k in zip(outputs, visible, strict=True)], axis=1
        )
        values = margin(shown, label, rivals)[0]
        return values, over_all_rows(changes, removed, engine.n_train)

    def _parts(self, removed):
        """The parts of the fit, at their minima without `removed`."""
        if not len(removed) and self.method == self.engine.method:
            return self.engine.parts
        pairs = zip(self.engine.parts, self._minima(removed), strict=True)
        return [_part(part, left, found, self.method) for part, (left, found) in pairs]


def _minimum(part, left, start):
    """Minimum of an objective that a part has lost rows of."""
    if isinstance(part, KinkedPart):
        return exact_minimum(left, start)[0]
    return (newton_cg if part.curvature.solver == "cg" else minimise)(left, start)


def _part(part, left, found, method):
    """The same part at this minimum."""
    if isinstance(part, KinkedPart):
        return KinkedPart(part.problem, left, found, Notes())
    was = part.curvature
    curvature = LinearCurvature(
        left,
        found.theta,
        expected=was.expected,
        solver=was.solver,
        tol=was.tol,
        max_iter=was.max_iter,
    )
    return Part(part.problem, left, found.theta, curvature, method, Notes())


def margin(outputs: Array, label: int, rivals: Positions) -> tuple[Array, Array]:
    """How far a label's decision is above its rival's, (n,), and its derivative (n, K).

    A single output speaks for the second of two classes.
    """
    gradient = np.zeros_like(outputs)
    if outputs.shape[1] == 1:
        gradient[:] = 1.0 if label == 1 else -1.0
    else:
        gradient[:, label] = 1.0
        gradient[np.arange(len(rivals)), rivals] = -1.0
    return (gradient * outputs).sum(axis=1), gradient

"""One step from the minimum of a smoothed programme to that without some rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.kernel import Indices
from skinfluence.deletion.svm.problems import Problem
from skinfluence.deletion.svm.smoothed_programme import Bordered, SmoothedProgramme, SmoothPoint

# One less the leverage of a row below which there is no telling what holds the fit without it.
ALONE = 1e-12


class Steps:
    """Changes of coefficients and offsets, to first order or by a Newton step.

    At the minimum the sites have coefficients beta and curvatures D. Without the sites I, and with
    other bounds and sums where these follow (:class:`~skinfluence.deletion.svm.problems.Margin`),
    coefficients should be ``beta - q``, and with those of the bordered system of
    :class:`~skinfluence.deletion.svm.smoothed_programme.Bordered`,

    - first order: ``z = P u + Q dc`` with ``u = -q / sqrt(D)``;
    - Newton: the same with the curvatures without I, which leaves u free on I and asks for
      ``z_I = -beta_I / sqrt(D_I)``: a block of P is inverted, as large as I.

    Then ``sqrt(D) z`` is the change of the coefficients.

    Parameters
    ----------
    problem : Problem
    smooth : SmoothedProgramme
    point : SmoothPoint
        Its minimum.
    newton : bool
    """

    def __init__(
        self, problem: Problem, smooth: SmoothedProgramme, point: SmoothPoint, *, newton: bool
    ):
        self.problem, self.smooth, self.point, self.newton = problem, smooth, point, newton
        programme = smooth.programme
        self.gaps = smooth.gaps(point.products, point.offset)
        # What the bounds ask for, which is beta up to what was left of the gradient.
        self.beta, self._curvature = smooth.derivatives(self.gaps, programme.lo, programme.hi)
        self._systems: dict[Any, Any] = {}
        # Rows that hold an offset, or a direction, without help.
        self.alone: set[int] = set()

    @property
    def at_kinks(self) -> float:
        """How many rows there are in the kinks of a group of sites, at least."""
        t, programme = self.smooth.temperature, self.smooth.programme
        held = self.smooth.members.T @ self._curvature
        return float(4.0 * t * held.min() / (programme.size or 1.0))

    def without(self, deletions: Sequence[Indices]) -> tuple[Array, Array]:
        """Changes of coefficients of rows (n, b), and of offsets (n_groups, b).

        Each deletion is of all training rows at some positions.
        """
        motions = [self.problem.motion(rows) for rows in deletions]
        beta = np.empty((self.smooth.n_sites, len(motions)))
        offset = np.empty((self.smooth.programme.n_groups, len(motions)))
        keys = [motion.growth for motion in motions]
        for key in dict.fromkeys(keys):
            own = [j for j, other in enumerate(keys) if other == key]
            some = [motions[j] for j in own]
            beta[:, own], offset[:, own], alone = self._moved(key, some)
            self.alone.update(row for j in alone for row in deletions[own[j]].tolist())
        return self.smooth.on_rows(beta), offset

    def _moved(self, key, motions):
        """The same for deletions that move the bounds of the rows that stay alike."""
        root, (P, Q, G), stay = self._system(key, motions[0])
        gone = [self.smooth.sites_of(motion.gone) for motion in motions]
        dc = np.stack([motion.dc for motion in motions], axis=1)
        u = np.repeat(((stay - self.beta) / root)[:, None], len(motions), axis=1)
        for j, sites in enumerate(gone):
            u[sites, j] = 0.0 if self.newton else -self.beta[sites] / root[sites]
        # Where bounds stay, u has no entries but those of the sites that go.
        z = P @ u if key is not None else (sparse.csr_array(u.T) @ P).T
        z += Q @ dc
        offset, alone = Q.T @ u - G @ dc, []
        if self.newton:
            for j, sites in enumerate(gone):
                wanted = -self.beta[sites] / root[sites] - z[sites, j]
                pull, held = _solved(P[np.ix_(sites, sites)], wanted)
                alone += [] if held else [j]
                z[:, j] += P[:, sites] @ pull
                offset[:, j] += Q[sites].T @ pull
        change = root[:, None] * z
        if self.newton:
            for j, sites in enumerate(gone):
                change[sites, j] = -self.beta[sites]
        return change, offset, alone

    def _system(self, key, motion):
        """Roots of curvatures, the inverse, and the coefficients of rows that stay."""
        # Taking it there twice, in two threads, does no harm.
        if key in self._systems:
            return self._systems[key]
        lo, hi = self.smooth.programme.lo, self.smooth.programme.hi
        wanted, D = self.beta, self._curvature
        if key is not None:
            told = motion.spelt_out(self.smooth.programme)
            wanted, moved = self.smooth.derivatives(self.gaps, lo + told.dlo, hi + told.dhi)
            D = moved if self.newton else D
        system = Bordered(self.smooth.matrix, D, self.smooth.members)
        self._systems[key] = system.root, system.dense(), wanted
        return self._systems[key]


def _solved(block, wanted):
    """Solution, and whether something else holds the fit; 0 where nothing does."""
    try:
        return np.linalg.solve(block, wanted), np.diag(block).min(initial=1.0) >= ALONE
    except np.linalg.LinAlgError:
        return np.zeros_like(wanted), False

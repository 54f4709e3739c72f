"""Where an optimum goes under each of several motions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skinfluence import _loops
from skinfluence.deletion.base import Array
from skinfluence.deletion.svm.path import follow
from skinfluence.deletion.svm.point import Point
from skinfluence.deletion.svm.programme import Motion, Programme
from skinfluence.deletion.svm.tableau import Tableau
from skinfluence.deletion.svm.together import Paths

# Motions for which a tableau is not worth its inverse.
FEW = 3
# Numbers that paths which step together may keep, and events that are usual.
NUMBERS, USUAL = 2**23, 24


@dataclass(frozen=True)
class Ends:
    """Ends of paths.

    Parameters
    ----------
    beta : ndarray of shape (n, b)
        Change of the coefficients of the rows.
    offset : ndarray of shape (n_groups, b)
        Change of the multipliers.
    complete : ndarray of bool of shape (b,)
        Whether there is an optimum at the end.
    """

    beta: Array
    offset: Array
    complete: NDArray[np.bool_]


def follow_each(programme: Programme, start: Point, motions: Sequence[Motion]) -> Ends:
    """The ends of the paths of each motion alone.

    Parameters
    ----------
    programme : Programme
    start : Point
        Its optimum; left as it is.
    motions : sequence of Motion

    Returns
    -------
    ends : Ends
    """
    b = len(motions)
    ends = Ends(
        np.empty((programme.kernel.n, b)),
        np.empty((programme.n_groups, b)),
        np.ones(b, dtype=bool),
    )
    left = np.arange(b)
    if _share_a_tableau(programme, start, motions):
        left = _together(programme, start, motions, ends)
    for j in left.tolist():
        end = follow(programme, start, motions[j])
        ends.beta[:, j] = programme.on_rows(end.beta - start.beta)
        ends.offset[:, j], ends.complete[j] = end.offset - start.offset, end.complete
    return ends


def _share_a_tableau(programme, start, motions):
    if len(start.free) == 0 or len(start.free.groups) < programme.n_sums:
        return False
    return (len(motions) > FEW or start.tableau is not None) and all(m.even for m in motions)


def _together(programme, start, motions, ends):
    """Paths that step together; those that have to be walked alone."""
    if start.tableau is None:
        try:
            start.tableau = Tableau(programme, start)
        except np.linalg.LinAlgError:
            return np.arange(len(motions))
    tableau, lost = start.tableau, []
    floats = 4 * (programme.kernel.n + len(programme.row)) + USUAL * len(tableau.T)
    for part in _loops.slices(len(motions), max(8, NUMBERS // floats)):
        paths = Paths(tableau, motions[part])
        ends.beta[:, part], ends.offset[:, part] = paths.beta, paths.offset
        lost.append(part.start + np.flatnonzero(paths.lost))
    return np.concatenate([np.empty(0, dtype=np.intp), *lost])

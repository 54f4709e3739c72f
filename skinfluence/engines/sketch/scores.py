"""First-order scores in a sketch, as products of short vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from skinfluence.engines.sketch.measures import SketchedProblem
from skinfluence.engines.sketch.sketcher import Sketcher
from skinfluence.engines.sketch.sources import Block

Array = NDArray[np.float64]


def embedding(
    sketcher: Sketcher, problems: Sequence[SketchedProblem], block: Block, *, train: bool
) -> Array:
    """``L^-1 g`` of every row of a block, (b, width), with H = L L' in every sketch.

    The product of a query's and of a training row's is the change of the query's loss when the
    row goes, to first order: g is the gradient of the loss of a query, and of a training row what
    its deletion takes away, its share of the penalty included.
    """
    parts = sketcher.sketch(block.X, block.targets)
    columns = []
    for problem, part in zip(problems, parts, strict=True):
        own = part.slopes
        slope = own.weights[:, None] * own.gradient if train else own.gradient
        # Slopes and Hessians are in units of half the deviance, scores in those of the loss; the
        # mean over sketches is part of the product.
        root = np.sqrt(problem.fixed.unit / sketcher.n_sketches)
        for rows, basis, pull in zip(part.rows, problem.bases, problem.pulls, strict=True):
            lifted = _lifted(rows, slope, basis.vectors)
            if train:
                lifted = lifted + own.m_share[:, None] * pull
            columns.append(root * lifted)
    return np.hstack(columns)


def _lifted(rows, slope, vectors):
    """``V' sum_k slope_k (e_k (x) row)``, (b, r')."""
    if slope.shape[1] == 1:
        return (rows @ vectors) * slope
    each = vectors.reshape(rows.shape[1], slope.shape[1], -1)
    return sum(slope[:, k, None] * (rows @ each[:, k]) for k in range(slope.shape[1]))

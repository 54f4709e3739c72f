"""From what a sketch measured to its diagnostics, corrected or not."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence.diagnostics.sketched import SketchedDiagnostics
from skinfluence.engines.sketch.measures import (
    Measures,
    SketchedProblem,
    most_leverage,
    shift,
)


def diagnostics_of(
    problem: SketchedProblem, found: Measures, *, odds: float | None, row_labels: Any
) -> SketchedDiagnostics:
    """One problem's result; the odds of leverages are multiplied by `odds`, None leaves them."""
    sketched = found.leverages.mean(axis=0)
    leverages, leverage, scores, distance = found.leverages, sketched, found.scores, found.cooks
    if odds is not None:
        most = most_leverage(problem.fixed)
        leverages, leverage = shift(leverages, odds, most), shift(sketched, odds, most)
        # h / (1 - h) is multiplied by the odds, and 1 / (1 - h) by what is left of them.
        share = np.minimum(sketched / most, 1.0)
        scores = scores * odds
        if distance is not None:
            divisor = problem.n_sketched / problem.n_params
            distance = distance * odds * (1.0 - share + share * odds) * divisor
    n_sketches = len(leverages)
    std = leverages.std(axis=0, ddof=1) / np.sqrt(n_sketches) if n_sketches > 1 else None
    return SketchedDiagnostics(
        leverage=leverage,
        leverage_std=std,
        sketched_leverage=sketched,
        scores=scores,
        cooks_distance=distance,
        resid_pearson=found.residuals,
        scale=problem.scale,
        n_sketched_params=problem.n_sketched,
        n_effective_params=problem.n_params,
        shrinkage=problem.n_sketched / problem.n_params if problem.n_params else 1.0,
        row_labels=row_labels,
        name=problem.fixed.problem.name,
    )

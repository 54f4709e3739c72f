"""What is refused or warned of because a fit is not what its objective says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from scipy import linalg, sparse
from sklearn.exceptions import ConvergenceWarning

from skinfluence._output import few
from skinfluence._warn import warn
from skinfluence.deletion.linear.fit import Fitted
from skinfluence.deletion.linear.part import Part
from skinfluence.deletion.quantile import QuantilePath
from skinfluence.exceptions import DegenerateDeletionWarning, NotStationaryWarning

# Relative gradient above which a fit is not what its objective says, or is far from it.
LOOSE = 3e-2
# The same for averages of steps that never came near.
FAR = 0.3
# Relative residual of conjugate gradients that is worth a word where the user named none.
UNSOLVED = 1e-6


def refuse_far_averages(model: Any, before: float) -> None:
    """Refuse an average of steps that never came near the minimum."""
    if before > FAR and getattr(model, "average", False):
        raise ValueError(
            f"{type(model).__name__}(average={model.average!r}) stopped far from "
            f"the minimum of its objective (relative gradient {before:.1e}), so its "
            "coefficients are an average of steps, which no deletion from the objective "
            "describes. Raise max_iter and lower tol, or set average=False."
        )


def warn_if_loose(model: Any, fitted: Fitted) -> None:
    """Warn of a fit that is far from the minimum of its objective, or has none."""
    before, after = fitted.stationarity
    if not fitted.converged:
        warn(
            f"{type(model).__name__}: no minimum of its objective was found from the "
            f"fitted parameters (relative gradient {after:.1e}). Classes that are separable "
            "without a penalty have none, and neither have directions that no row holds. Add "
            "a penalty, or drop the columns that separate; until then scores mean little.",
            NotStationaryWarning,
        )
    elif before > LOOSE:
        warn(
            f"{type(model).__name__} is not at a minimum of its own objective on these "
            f"rows: the relative gradient is {before:.1e}, and {after:.1e} after a polish. "
            "Either these rows, targets or weights did not train it, or its tolerance is "
            "loose. Scores belong to the polished parameters: pass what it was fitted on, or "
            "refit with a smaller tol.",
            NotStationaryWarning,
        )


def warn_if_blurred(fitted: Fitted, X: Any) -> None:
    """Sparse columns are not centred, and a large mean leaves no digits for their spread."""
    if not sparse.issparse(X):
        return
    for part in fitted.parts:
        if not isinstance(part, Part) or part.iterates:
            continue
        known = part.objective.unseen_shifts(part.curvature.moving).shape[1]
        penalised = part.objective.penalty.l2[part.curvature.moving].any()
        if penalised and part.curvature.inverse().null_dim > known:
            warn(
                "The Hessian of the penalised fit came out singular, which it is not: sparse "
                "columns whose mean is a million times their spread leave no digits for it. "
                "Scores are inaccurate. Subtract the means (and pass dense rows), or rescale.",
                linalg.LinAlgWarning,
            )
            return


def warn_of_rows(rows: Sequence[int], n_train: int) -> None:
    """Warn of rows without which the model is not determined."""
    if not len(rows):
        return
    warn(
        f"The model is not determined without some rows ({len(rows)} of "
        f"{n_train}: {few(rows)}): nothing else holds one of its parameters "
        "or has their label, or what is left can be separated. Their scores are those of the "
        "solution nearest to the fit, or of where the search for one ended. Add a penalty, "
        "or read them as a sign of rows that stand alone.",
        DegenerateDeletionWarning,
    )


def warn_of_replacements(rows: Sequence[int], n_rows: int) -> None:
    """Warn of rows whose replacement leaves a model that is not determined."""
    if not len(rows):
        return
    warn(
        f"The model is not determined after replacing some rows ({len(rows)} of {n_rows}: "
        f"{few(rows)}): nothing else held one of its parameters or had their label, or what there "
        "is then can be separated. Their scores are those of where the search for a minimum "
        "ended. Add a penalty, or leave these rows as they are.",
        DegenerateDeletionWarning,
    )


def warn_if_not_unique(path: QuantilePath) -> None:
    """Warn of derivatives of one of several minima."""
    if path.unique and not path.degenerate:
        return
    warn(
        "The quantile fit has several minima, or more rows lie on it than it has parameters, so "
        "that a small change of a row may lead to another of them. The derivatives are those of "
        "the minimum at hand. Add a penalty (alpha), or another quantile than one between rows.",
        DegenerateDeletionWarning,
    )


def warn_of_intervals(settled: bool) -> None:
    """Warn of an intercept that nothing determines."""
    if settled:
        return
    warn(
        "No row lies on the margin, so that an interval of intercepts is optimal and a small "
        "change of a row moves none that is known. The derivatives hold the intercept where it "
        "is. Choose another C or alpha, with which some rows lie on the margin.",
        DegenerateDeletionWarning,
    )


def warn_of_groups(lost: Sequence[str], n_groups: int) -> None:
    """Warn of groups without which no minimum was found."""
    if not lost:
        return
    warn(
        f"Without some groups ({len(lost)} of {n_groups}: {few(lost)}) no minimum "
        "was found: what is left can be separated, or does not determine the model. "
        "Their scores are those of where the search ended. Add a penalty, or use "
        "method='newton'.",
        DegenerateDeletionWarning,
    )


def warn_if_unsolved(reports: Sequence[dict[str, Any]], tol: float | None) -> None:
    """Warn of conjugate gradients that stopped before the residual asked for."""
    wanted = UNSOLVED if tol is None else tol
    worst = max(reports, key=lambda report: report["residual"], default=None)
    if worst is not None and worst["residual"] > wanted:
        warn(
            f"Conjugate gradients stopped after {worst['n_iter']} iterations at a relative "
            f"residual of {worst['residual']:.1e}, above {wanted:.1e}, and scores are no more "
            "accurate than that. Raise max_iter, or use solver='dense'.",
            ConvergenceWarning,
        )

"""What GMMDeletion refuses, and what it warns of."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.utils.validation import check_is_fitted

from skinfluence.exceptions import (
    DegenerateDeletionWarning,
    NotStationaryWarning,
    UnsupportedEstimatorError,
)

from .implicit import SINGULAR, affordable, memory
from .polish import Settled
from .statistics import DEAD, Array, Frame, Mask

METHODS = ("well_separated", "one_step", "implicit", "refit")
_LOOSE = 3e-2  # residual of a fit above which the user should hear about it


def check_request(model: GaussianMixture, X: Array, method: str) -> None:
    """Refuse what has no deletion."""
    if not isinstance(model, GaussianMixture):
        raise UnsupportedEstimatorError(
            f"Rows can be deleted from a GaussianMixture; got {type(model).__name__}, whose "
            "parameters are not a fixed point of EM. Fit sklearn.mixture.GaussianMixture instead."
        )
    check_is_fitted(model)
    if method not in METHODS:
        raise ValueError(
            f"method must be one of {METHODS}; got {method!r}. Take 'implicit' unless a few rows "
            "are worth a real refit, 'refit'."
        )
    if method == "well_separated" and model.covariance_type != "spherical":
        raise ValueError(
            "method='well_separated' is a closed form for spherical components; this model has "
            f"covariance_type={model.covariance_type!r}. Use method='implicit', or fit "
            "GaussianMixture(covariance_type='spherical')."
        )
    if X.ndim != 2 or X.shape[1] != model.means_.shape[1]:
        raise ValueError(
            f"The rows must have the {model.means_.shape[1]} features the mixture was fitted on; "
            f"got an array of shape {X.shape}."
        )
    if not np.isfinite(X).all():
        raise ValueError(
            "The training rows hold NaN or infinity; a mixture has no place for them."
        )
    if len(X) <= len(model.means_):
        raise ValueError(
            f"Without one of {len(X)} rows a mixture of {len(model.means_)} components cannot be "
            "fitted: it needs at least as many rows as components. Give more rows or fit fewer "
            "components."
        )


def check_memory(frame: Frame, method: str) -> None:
    """Refuse a dense answer of EM that would not fit, before anything of its size is allocated."""
    if method not in ("implicit", "refit") or memory(frame) <= affordable():
        return
    kind, d, K = frame.covariance_type, frame.n_features, frame.n_components
    raise ValueError(
        f"A {kind!r} mixture of {K} components on {d} features has {K * frame.n_stats:,} "
        f"statistics, and method={method!r} would need {memory(frame) / 2**30:.1f} GiB for how "
        f"they answer to each other; {affordable() / 2**30:.1f} GiB are allowed. Fit "
        "covariance_type='diag', fewer components, or behind a PCA in a pipeline; or use "
        "method='one_step'; or raise scikit-learn's `working_memory` where there is room."
    )


def warn_loose(model: GaussianMixture, settled: Settled) -> None:
    """Say where the fit was far from an optimum, or its polish did not reach one."""
    before, after, converged = settled.before, settled.after, settled.converged
    other = _likelihood_differs(model, settled.log_likelihood)
    if converged and before <= _LOOSE and not other:
        return
    if other:
        seen = (
            f"their mean log likelihood is {settled.log_likelihood:.6g}, and where the fit ended "
            f"it was {model.lower_bound_:.6g} (tol={model.tol:g})"
        )
        advice = "Pass exactly the rows it was fitted on; it is polished on those given."
    elif not converged:
        seen = f"the residual of its polished copy is still {after:.1e}"
        advice = "Scores may be off by as much; fit fewer components, or raise reg_covar."
    else:
        seen = f"its residual |M(theta) - theta| is {before:.1e} (at an optimum 0)"
        advice = (
            "Scores are computed at a polished copy. Check that these are the rows it was fitted "
            "on, or fit with a smaller `tol` and a larger `max_iter`."
        )
    warnings.warn(
        f"The mixture is not at an optimum on these rows: {seen}. {advice}",
        NotStationaryWarning,
        stacklevel=4,
    )


def _likelihood_differs(model: GaussianMixture, log_likelihood: float) -> bool:
    """Whether a converged fit saw another likelihood than these rows have under it.

    The residual cannot tell other rows of the same distribution, and this can.
    `lower_bound_` is from before the last M step, which changes it by about `tol`; with a large
    `reg_covar`, which makes EM miss the maximum, by up to 8 tol in 2000 fits.
    """
    fitted = getattr(model, "lower_bound_", None)
    if fitted is None or not getattr(model, "converged_", False):
        return False
    rounding = 1e-4 if np.asarray(model.means_).dtype == np.float32 else 1e-6
    return abs(log_likelihood - fitted) > 20 * model.tol + rounding * max(1.0, abs(fitted))


def warn_singular(condition: float) -> None:
    """Say where EM has no isolated limit (`condition` is reciprocal)."""
    if condition > SINGULAR:
        return
    warnings.warn(
        "The fitted mixture is not an isolated optimum of its likelihood (reciprocal condition "
        f"of EM's rate {condition:.0e}), as when two components coincide. Directions "
        "that the rows do not fix are left where they are. Fit fewer components.",
        DegenerateDeletionWarning,
        stacklevel=4,
    )


def warn_truth(row: int | None, converged: bool) -> None:
    """Say that plain EM, the truth that scores are compared with, ended before its limit."""
    if not converged:
        which = "with all rows" if row is None else f"without row {row}"
        warnings.warn(
            f"Plain EM {which} did not come to rest in 20 000 steps, so that this refit is no "
            "exact truth; validate other rows, or fit fewer components.",
            DegenerateDeletionWarning,
            stacklevel=3,
        )


def warn_dead(model: GaussianMixture, n: int) -> None:
    """Say that components without rows are left out."""
    dead = np.flatnonzero(~(n * np.asarray(model.weights_) > DEAD))
    if len(dead):
        warnings.warn(
            f"Component {', '.join(map(str, dead))} of the mixture holds none of the {n} rows and "
            "is left out: no deletion can reach it. Fit fewer components.",
            DegenerateDeletionWarning,
            stacklevel=4,
        )


def warn_additions(unsettled: int, n: int) -> None:
    """Say that EM with an added row did not come to rest."""
    if unsettled:
        warnings.warn(
            f"With {unsettled} of {n} rows added EM did not come to rest, as where a component "
            "shrinks to the added row alone; their scores are where it stood. Fit fewer "
            "components, or raise reg_covar.",
            DegenerateDeletionWarning,
            stacklevel=3,
        )


def warn_flagged(flags: Mask, frail: Mask, method: str) -> None:
    """Say that some deletions are less certain, and what helps."""
    if not flags.any():
        return
    unsettled = int(np.sum(flags & ~frail))
    reasons, advice = [], []
    if frail.any():
        reasons.append(f"without {frail.sum()} of them a component dies or loses a dimension")
        advice.append("Fit fewer components, or raise reg_covar.")
    if unsettled:
        reasons.append(f"for {unsettled} of them EM did not come to rest or was not tried")
        longer = "method='refit' runs it longer, method='one_step' is cheaper."
        advice.append(longer if method != "refit" else "Their scores are where it stood.")
    warnings.warn(
        f"The deletion of {flags.sum()} of {len(flags)} rows is less certain than the others': "
        f"{', and '.join(reasons)}. Their positions are in `flagged_rows_`. {' '.join(advice)}",
        DegenerateDeletionWarning,
        stacklevel=4,
    )

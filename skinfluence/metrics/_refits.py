"""Leave-one-out truth: what really happens when rows are deleted."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skinfluence.metrics._training import (
    OwnTrainer,
    Positions,
    Queries,
    Trainer,
    difference,
    warm,
)

Array = NDArray[np.float64]

# A truth that repeats itself to a tenth of the mean change still ranks most of them.
NOISE = 0.1
ROUNDING = 1e-12
TIGHTER, LEAST_TOL = 1e-2, 1e-12


def leave_one_out(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    loss: str | Callable[[Any, Any, Any], ArrayLike],
    X_query: Any = None,
    y_query: Any = None,
    rows: ArrayLike | Sequence[ArrayLike] | None = None,
    sample_weight: ArrayLike | None = None,
    polish: Callable[[Any, Any, Any, Any], Any] | None = None,
    n_jobs: int | None = None,
) -> Array:
    """Change of the loss when rows are really deleted and the estimator is really refitted.

    The truth that scores are judged by (`agreement`): for every row, or every group of rows,
    a clone is fitted without it, and

        ``changes[z, i] = loss(z; fit without rows[i]) - loss(z; fit)``,

    in the sign and unit of ``score_influence``. Everything that depends on the rows is computed
    anew, e.g. balanced class weights, the scaler of a pipeline, the choice of a search.

    A truth must be far more exact than what it judges: a deletion changes the loss by 1/n of
    itself, which is less than what the default tolerance of many estimators leaves open. **Set
    a tight** ``tol`` **and a large** ``max_iter``, or pass `polish`. As a check, the fit to all
    rows is repeated with a hundredth of the ``tol`` and the rows in reverse order; if that moves
    the losses by more than a tenth of the mean change, a warning says so.

    Parameters
    ----------
    estimator : estimator or callable
        Any scikit-learn estimator, fitted or not; it is cloned and never changed. Or a function
        ``retrain(positions)`` that returns a model trained on these training rows, such as a
        torch module; `loss` is then a function of that model. Linear models
        with ``warm_start``, also at the end of a pipeline, are refitted from the fit to all
        rows (and that fit once more from itself, so that both sides are reached alike); all
        others from scratch.
    X : array-like or sparse matrix of shape (n_train, n_features)
        Training rows: whatever the estimator takes, frames and lists included.
    y : array-like of shape (n_train,) or (n_train, n_outputs), default=None
        Targets.
    loss : callable or str
        ``loss(fitted_estimator, X_query, y_query) -> (n_queries,)``, or a name: "log_loss" (nats,
        inf for a class that a deletion removed), "hinge" and "squared_hinge" (summed over
        one-vs-rest problems), "zero_one", "squared_error" and "absolute_error" (summed over
        outputs), "half_poisson" and "half_gamma" (half deviances), "negative_log_density".
    X_query, y_query : array-like, default=None
        Rows at which the loss is evaluated; the training rows by default.
    rows : array-like of int, or list of them, default=None
        What to delete, by position: each integer alone, or each list, array or boolean mask as
        a group. Every row alone by default.
    sample_weight : array-like of shape (n_train,), default=None
        Weights of the training rows; a deleted row takes its weight along.
    polish : callable, default=None
        ``polish(fitted_estimator, X, y, sample_weight) -> fitted_estimator`` moves a fit to the
        exact optimum for these rows; it is applied to all fits. May change its argument.
    n_jobs : int, default=None
        Number of joblib workers over the refits, processes unless a joblib context says
        otherwise.

    Returns
    -------
    changes : ndarray of shape (n_queries, len(rows))
        Positive where the loss rises, so that the deleted rows helped. May be infinite; 0 where
        the loss is the same infinity before and after.

    Raises
    ------
    ValueError
        If a deletion leaves no row, no weight, or one class where the estimator needs two; if
        `rows` are no positions; if `loss` is unknown, NaN, or not one number a query; if
        `y_query` has labels that `y` lacks.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        If the fits do not repeat themselves to a tenth of the mean change.

    See Also
    --------
    agreement : Compares scores with these changes.
    retrain_on_subsets : Truth about many rows at once.
    skinfluence.KDEInfluence.validate : The same for one explainer, in a single call.

    Notes
    -----
    Explainers hold the head of a pipeline and the choice of a search fixed. To measure only what
    they estimate, pass the last step and rows that have been through the head.

    References
    ----------
    .. [1] P. W. Koh and P. Liang (2017), Understanding black-box predictions via influence
       functions, ICML, section 4.1 (leave-one-out retraining).

    Examples
    --------
    Deleting row i from a mean moves the squared error of that row to ``(n / (n - 1))^2`` times
    what it was:

    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from skinfluence.metrics import leave_one_out
    >>> X, y = np.zeros((4, 1)), np.array([0.0, 1.0, 2.0, 5.0])
    >>> changes = leave_one_out(DummyRegressor(), X, y, loss="squared_error")
    >>> changes.shape, np.round(np.diag(changes), 6)
    ((4, 4), array([3.111111, 0.777778, 0.      , 7.      ]))
    >>> bool(np.isclose(changes[3, 3], (y[3] - y.mean()) ** 2 * ((4 / 3) ** 2 - 1)))
    True
    """
    trainer = Trainer.of(estimator, X, y, sample_weight, polish)
    queries = Queries.of(loss, X_query, y_query, trainer)
    deleted = _deletions(rows, trainer.n_rows)
    everything = np.arange(trainer.n_rows)
    full = trainer.fit(everything)
    start = warm(full)
    before = queries.losses(full if start is None else trainer.fit(everything, start))

    def after(group: Positions) -> Array:
        return queries.losses(trainer.fit(np.delete(everything, group), start))

    losses = Parallel(n_jobs=n_jobs)(delayed(after)(group) for group in deleted)
    changes = np.stack([difference(one, before) for one in losses], axis=1)
    noise = difference(queries.losses(_fit_again(trainer)), before)
    _warn_if_noisy(noise, changes, before)
    return changes


def _deletions(rows: Any, n_rows: int) -> list[Positions]:
    """Positions that each refit leaves out."""
    if rows is None:
        rows = np.arange(n_rows)
    elif _is_mask(rows, n_rows):
        rows = np.flatnonzero(rows)
    groups = [_group(group, n_rows) for group in rows]
    if not groups:
        raise ValueError("rows is empty, so there is nothing to delete. Pass at least one row.")
    return groups


def _group(group: Any, n_rows: int) -> Positions:
    positions = np.flatnonzero(group) if _is_mask(group, n_rows) else np.atleast_1d(group)
    positions = np.unique(positions)
    if positions.size == 0 or positions.dtype.kind not in "iu":
        raise ValueError(
            f"rows holds {group!r}, but each entry must be a position or a group of at least one. "
            "Pass integers, lists of integers, or boolean masks over the training rows."
        )
    if positions[0] < 0 or positions[-1] >= n_rows:
        raise ValueError(
            f"rows holds positions from {positions[0]} to {positions[-1]}, but the training rows "
            f"are 0 to {n_rows - 1}. Pass positions, not labels of an index."
        )
    if positions.size == n_rows:
        raise ValueError(f"A group holds all {n_rows} rows, so nothing is left. Delete fewer.")
    return positions


def _is_mask(rows: Any, n_rows: int) -> bool:
    # Lists of groups may be ragged, which numpy refuses to look at.
    return isinstance(rows, np.ndarray) and rows.dtype == bool and rows.shape == (n_rows,)


def _fit_again(trainer: Trainer) -> Any:
    """Fit all rows once more, tighter and in reverse order: the same model if fits are exact.

    Tighter, since many optimisers repeat their path exactly, and with it their error. In reverse
    order, which coordinate descent and random draws depend on.
    """
    backwards = np.arange(trainer.n_rows)[::-1]
    if isinstance(trainer, OwnTrainer):
        return trainer.fit(backwards)
    estimator = clone(trainer.estimator)
    estimator.set_params(
        **{
            key: max(TIGHTER * value, min(value, LEAST_TOL))
            for key, value in estimator.get_params().items()
            if key.split("__")[-1] == "tol" and isinstance(value, float) and value > 0
        }
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of the smaller tol, not of theirs
        again = dataclasses.replace(trainer, estimator=estimator)
        return again.fit(backwards)


def _warn_if_noisy(noise: Array, changes: Array, before: Array) -> None:
    size = float(np.mean([_size(column) for column in changes.T]))
    noise_size = _size(noise)
    if noise_size > NOISE * size and noise_size > ROUNDING * max(_size(before), ROUNDING):
        warnings.warn(
            f"Fitting all rows a second time changes the loss by {noise_size:.2g}, and the mean "
            f"deletion by {size:.2g}, so these changes are largely noise. Set a smaller tol "
            "(1e-10) and a larger max_iter, or a random_state, on the estimator, or pass polish; "
            "of a search whose choice depends on the order of the rows, pass best_estimator_.",
            ConvergenceWarning,
            stacklevel=3,
        )


def _size(values: Array) -> float:
    """Root mean square of the finite values."""
    finite = values[np.isfinite(values)]
    return float(np.sqrt(np.mean(finite**2))) if finite.size else 0.0

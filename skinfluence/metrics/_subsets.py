"""Truth about many rows at once: models retrained on random subsets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_random_state

from skinfluence.metrics._training import Queries, Trainer

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def retrain_on_subsets(
    estimator: Any,
    X: Any,
    y: Any = None,
    *,
    loss: str | Callable[[Any, Any, Any], ArrayLike],
    X_query: Any = None,
    y_query: Any = None,
    n_subsets: int = 100,
    fraction: float = 0.5,
    sample_weight: ArrayLike | None = None,
    polish: Callable[[Any, Any, Any, Any], Any] | None = None,
    random_state: int | np.random.RandomState | None = None,
    n_jobs: int | None = None,
) -> tuple[Mask, Array]:
    """Train models on random subsets of the training rows and return their losses.

    What `linear_datamodeling_score` holds scores against. Every subset has the same number of
    rows, drawn without replacement, and every model is a clone fitted from scratch.

    Parameters
    ----------
    estimator : estimator or callable
        Any scikit-learn estimator; it is cloned and never changed. Or a function
        ``retrain(positions)`` that returns a model trained on these training rows, such as a
        torch module; `loss` is then a function of that model.
    X : array-like or sparse matrix of shape (n_train, n_features)
        Training rows.
    y : array-like of shape (n_train,) or (n_train, n_outputs), default=None
        Targets.
    loss : callable or str
        As in `leave_one_out`.
    X_query, y_query : array-like, default=None
        Rows at which the loss is evaluated; the training rows by default. Half of the models
        have seen these, which is what the score is about.
    n_subsets : int, default=100
        Number of models. The error of a rank correlation falls with its root.
    fraction : float, default=0.5
        Share of the rows in each subset, rounded to a whole number of rows.
    sample_weight : array-like of shape (n_train,), default=None
        Weights of the training rows.
    polish : callable, default=None
        As in `leave_one_out`. Subsets change losses by much more than single rows do, so that
        the estimator's own tolerance is usually enough here.
    random_state : int, RandomState or None, default=None
        Draws the subsets. The estimator's own is left as it is.
    n_jobs : int, default=None
        Number of joblib workers over the models.

    Returns
    -------
    subsets : ndarray of bool of shape (n_subsets, n_train)
        Which rows each model was trained on.
    values : ndarray of shape (n_subsets, n_queries)
        Loss of each model at each query.

    Raises
    ------
    ValueError
        If a subset holds one class where the estimator needs two, or no weight; if `fraction`
        leaves no row in or none out; or as `leave_one_out` does for `loss` and queries.

    See Also
    --------
    linear_datamodeling_score : What to do with the result.
    leave_one_out : Truth about single rows and chosen groups.

    References
    ----------
    .. [1] A. Ilyas, S. M. Park, L. Engstrom, G. Leclerc and A. Madry (2022), Datamodels:
       predicting predictions from training data, ICML.

    Examples
    --------
    A mean is trained by averaging, which the values show:

    >>> import numpy as np
    >>> from sklearn.dummy import DummyRegressor
    >>> from skinfluence.metrics import retrain_on_subsets
    >>> X, y = np.zeros((6, 1)), np.arange(6.0)
    >>> subsets, values = retrain_on_subsets(
    ...     DummyRegressor(), X, y, loss="squared_error", n_subsets=4, random_state=0)
    >>> means = np.array([y[subset].mean() for subset in subsets])
    >>> print(subsets.sum(axis=1), bool(np.all(values == (y - means[:, None]) ** 2)))
    [3 3 3 3] True
    """
    trainer = Trainer.of(estimator, X, y, sample_weight, polish)
    queries = Queries.of(loss, X_query, y_query, trainer)
    subsets = _draw(n_subsets, trainer.n_rows, fraction, random_state)

    def value(subset: Mask) -> Array:
        return queries.losses(trainer.fit(np.flatnonzero(subset)))

    return subsets, np.stack(Parallel(n_jobs=n_jobs)(delayed(value)(s) for s in subsets))


def _draw(n_subsets: int, n_rows: int, fraction: float, random_state: Any) -> Mask:
    size = int(np.rint(fraction * n_rows))
    if not 0 < size < n_rows or n_subsets < 1:
        raise ValueError(
            f"{n_subsets} subsets with a fraction of {fraction} of {n_rows} rows have {size} rows "
            "each, but there must be at least one subset, with a row in it and a row out of it. "
            "Pass e.g. fraction=0.5."
        )
    rng = check_random_state(random_state)
    subsets = np.zeros((n_subsets, n_rows), dtype=bool)
    for subset in subsets:
        subset[rng.permutation(n_rows)[:size]] = True
    return subsets

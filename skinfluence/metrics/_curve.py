"""Test scores along rankings: the result, and the loop that fills it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from sklearn.exceptions import UndefinedMetricWarning

from skinfluence.metrics._rows import named_scores, order_of, without_reserved
from skinfluence.metrics._training import OneClassLeft, Positions

Array = NDArray[np.float64]
NOTHING = np.empty(0, dtype=np.intp)


@dataclasses.dataclass(frozen=True)
class RetrainingCurve:
    """Test scores of models retrained along rankings, beside random orders.

    A ranking is worth what its curve gains over the random ones, and over those of trivial
    rankings that were handed in with it.

    Parameters
    ----------
    fractions : ndarray of shape (n_fractions,)
        Shares of the training rows acted upon.
    counts : ndarray of int of shape (n_fractions,)
        The same as numbers of rows.
    names : tuple of str
        Names of the rankings.
    values : ndarray of shape (n_names, n_fractions)
        Test score after acting on the first rows of each ranking; NaN where no model can be
        trained.
    random_values : ndarray of shape (n_random, n_fractions)
        The same for each random order.

    See Also
    --------
    removal_curve : Removes the rows.
    relabel_curve : Corrects their labels.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KNeighborsClassifier
    >>> from skinfluence.metrics import relabel_curve
    >>> X, y_true = np.arange(20.0)[:, None], np.arange(20) >= 10
    >>> y = y_true ^ (np.arange(20) % 10 == 3)
    >>> curve = relabel_curve(
    ...     KNeighborsClassifier(1), X, y, y != y_true, y_true=y_true, X_test=X, y_test=y_true,
    ...     fractions=[0, 0.1], n_random=3, random_state=0)
    >>> curve.names, curve.counts, curve.values
    (('score',), array([0, 2]), array([[0.9, 1. ]]))
    """

    fractions: Array
    counts: NDArray[np.intp]
    names: tuple[str, ...]
    values: Array
    random_values: Array

    def frame(self) -> Any:
        """Return the curves as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_fractions, n_names + 2)
            One column per ranking, indexed by fraction; "random" (the mean) and "random_std"
            where there are orders enough.
        """
        import pandas as pd

        columns = dict(zip(self.names, self.values, strict=True))
        if len(self.random_values):
            columns["random"] = self.random_values.mean(axis=0)
        if len(self.random_values) > 1:
            columns["random_std"] = self.random_values.std(axis=0, ddof=1)
        return pd.DataFrame(columns, index=pd.Index(self.fractions, name="fraction"))


def retraining_curve(
    train: Callable[[Positions], Any],
    judge: Callable[[Any], float],
    n_rows: int,
    scores: Any,
    fractions: Array,
    n_random: int,
    rng: np.random.RandomState,
    n_jobs: int | None,
) -> RetrainingCurve:
    """Train on every start of every ranking; the empty start is the same for all."""
    named = without_reserved(named_scores(scores, n_rows))
    orders = [order_of(score) for score in named.values()]
    orders += [rng.permutation(n_rows) for _ in range(n_random)]
    counts = np.rint(fractions * n_rows).astype(np.intp)

    def value(chosen: Positions) -> float:
        try:
            return judge(train(chosen))
        except OneClassLeft:
            return np.nan

    starts = [order[:count] for order in orders for count in counts if count]
    untouched, *acted = Parallel(n_jobs=n_jobs)(delayed(value)(s) for s in [NOTHING, *starts])
    values = np.full((len(orders), counts.size), untouched)
    values[:, counts > 0] = np.reshape(acted, (len(orders), -1))
    _warn_where_undefined(values, fractions)
    return RetrainingCurve(
        fractions, counts, tuple(named), values[: len(named)], values[len(named) :]
    )


def _warn_where_undefined(values: Array, fractions: Array) -> None:
    undefined = np.isnan(values).any(axis=0)
    if undefined.any():
        warnings.warn(
            f"At the fractions {fractions[undefined].tolist()} only one class is left for some "
            "order, so that no model can be trained and its score is NaN. Stop at smaller ones.",
            UndefinedMetricWarning,
            stacklevel=4,
        )

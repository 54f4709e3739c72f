"""Linear datamodeling score: do summed scores predict models trained on other rows?"""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.utils import check_random_state

from skinfluence.metrics._rank_bootstrap import (
    deviation,
    fisher_interval,
    mean_of_known,
    rank_correlations,
    resamples,
)

Array = NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class LinearDatamodelingScore:
    """Rank correlations as `linear_datamodeling_score` measures them.

    The errors are those of the draw of the subsets: the queries and the scores are held fixed.
    ``float(result)`` is the mean.

    Parameters
    ----------
    mean : float
        Mean over the queries where the correlation is defined.
    standard_error : float
        Bootstrap standard error of `mean`.
    interval : tuple of float
        Bootstrap interval of `mean`, normal on the scale of Fisher's z.
    confidence_level : float
        Of the interval.
    per_query : ndarray of shape (n_queries,)
        Rank correlation at each query; NaN where it is undefined.
    per_query_error : ndarray of shape (n_queries,)
        Bootstrap standard error of each.
    n_subsets : int
        Number of retrained models.
    n_undefined : int
        Number of queries without a correlation, which `mean` leaves out.

    See Also
    --------
    linear_datamodeling_score : Computes it.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import linear_datamodeling_score
    >>> subsets = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]], dtype=bool)
    >>> values = np.array([[-3.0], [-5.0], [-6.0]])
    >>> result = linear_datamodeling_score([[1.0, 2.0, 4.0]], subsets, values, random_state=0)
    >>> float(result), result.n_subsets, result.n_undefined
    (1.0, 3, 0)
    """

    mean: float
    standard_error: float
    interval: tuple[float, float]
    confidence_level: float
    per_query: Array = dataclasses.field(repr=False)
    per_query_error: Array = dataclasses.field(repr=False)
    n_subsets: int
    n_undefined: int = 0

    def frame(self) -> Any:
        """Return the correlations of the queries as a pandas DataFrame.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_queries, 2)
            Columns "lds" and "standard_error", one row a query.
        """
        import pandas as pd

        return pd.DataFrame({"lds": self.per_query, "standard_error": self.per_query_error})

    def __float__(self) -> float:
        return self.mean

    def __str__(self) -> str:
        low, high = self.interval
        text = (
            f"Linear datamodeling score {self.mean:.4f} +- {self.standard_error:.4f} "
            f"({self.confidence_level:.0%} interval {low:.4f} to {high:.4f}; "
            f"{self.per_query.size} queries, {self.n_subsets} retrained models)"
        )
        return text if not self.n_undefined else f"{text}; undefined at {self.n_undefined} queries"


def linear_datamodeling_score(
    scores: ArrayLike,
    subsets: ArrayLike,
    values: ArrayLike,
    *,
    effect: Literal["deletion", "inclusion"] = "deletion",
    n_bootstrap: int = 500,
    confidence_level: float = 0.95,
    random_state: int | np.random.RandomState | None = None,
) -> LinearDatamodelingScore:
    """Rank correlation of summed scores with what retrained models really do.

    A score of single deletions makes a prediction for every subset S of the training rows, if
    effects add up. Deleting all rows outside S one after the other gives::

        value(z; S) ~ value(z; all rows) + sum over i not in S of scores[z, i]
                    =     constant(z)    - sum over i   in   S of scores[z, i]

    **Mind the minus sign**: the paper sums over the rows *in* S because its scores say what
    including a row does (``effect="inclusion"``); those of this package say what deleting it
    does. The score of a query is the Spearman correlation, over the subsets, of the prediction
    with the value of a model trained on S; constants and units do not matter. 1 is perfect, 0 is
    chance, and a negative score usually means the wrong `effect` or sign.

    Parameters
    ----------
    scores : array-like of shape (n_queries, n_train)
        From this package or any other; (n_train,) for a single query. Finite.
    subsets : array-like of bool of shape (n_subsets, n_train)
        Which rows each model was trained on, e.g. from `retrain_on_subsets`.
    values : array-like of shape (n_subsets, n_queries)
        Loss (or another output) of each model at each query; (n_subsets,) for a single query.
        Infinities are allowed and rank first or last.
    effect : {"deletion", "inclusion"}, default="deletion"
        What a positive score says of the value: "deletion", that it rises without the row, as
        scores of a loss do here (positive: the row helps); "inclusion", that it rises with the
        row. Scores of other libraries that are positive for helpful rows are "deletion" for the
        loss and "inclusion" for a margin or a log probability.
    n_bootstrap : int, default=500
        Number of resamples of the subsets behind the errors.
    confidence_level : float, default=0.95
        Of the interval.
    random_state : int, RandomState or None, default=None
        Draws the resamples.

    Returns
    -------
    result : LinearDatamodelingScore
        Mean, standard error and interval, and the same for each query.

    Raises
    ------
    ValueError
        If shapes do not fit, `subsets` is not boolean, scores are not finite, a value is NaN, or
        an option is unknown.

    Warns
    -----
    sklearn.exceptions.UndefinedMetricWarning
        If predictions or values are constant at some queries, e.g. because there are fewer than
        two different subsets. These are NaN, and the mean leaves them out.

    See Also
    --------
    retrain_on_subsets : Makes `subsets` and `values`.
    agreement : Judges the effects of single rows, and their unit.

    Notes
    -----
    Half of the rows are far from one row: effects that are exact for single deletions need not
    add up, and rows that cover for each other (duplicates) make them fail to. So exact
    leave-one-out scores do not reach 1 either.

    The bootstrap draws subsets with replacement, and ranks each resample anew, with ties for the
    subsets that were drawn twice.

    References
    ----------
    .. [1] A. Ilyas, S. M. Park, L. Engstrom, G. Leclerc and A. Madry (2022), Datamodels:
       predicting predictions from training data, ICML.
    .. [2] S. M. Park, K. Georgiev, A. Ilyas, G. Leclerc and A. Madry (2023), TRAK: attributing
       model behavior at scale, ICML, definition 2.3.

    Examples
    --------
    A sum loses exactly what is deleted from it, so its scores add up:

    >>> import numpy as np
    >>> from skinfluence.metrics import linear_datamodeling_score
    >>> rng = np.random.default_rng(0)
    >>> terms = rng.normal(size=(1, 20))
    >>> subsets = rng.random((50, 20)) < 0.5
    >>> values = subsets @ terms.T
    >>> print(linear_datamodeling_score(-terms, subsets, values, random_state=0).mean)
    1.0
    """
    scores, subsets, values = _check(scores, subsets, values)
    sign = _sign(effect)
    if not 0 < confidence_level < 1 or n_bootstrap < 2:
        raise ValueError(
            f"confidence_level is {confidence_level} and n_bootstrap {n_bootstrap}, but they must "
            "lie in (0, 1) and be at least 2. Pass e.g. 0.95 and 500."
        )
    counts = resamples(len(subsets), n_bootstrap, check_random_state(random_state))
    predicted = sign * (subsets @ scores.T)  # (n_subsets, n_queries)
    draws = np.stack(
        [rank_correlations(p, v, counts) for p, v in zip(predicted.T, values.T, strict=True)]
    )  # (n_queries, 1 + n_bootstrap)
    per_query, draws = draws[:, 0], draws[:, 1:]
    defined = ~np.isnan(per_query)
    _warn_of_undefined(defined)
    mean = float(mean_of_known(per_query[defined], axis=0))
    means = mean_of_known(draws[defined], axis=0)  # (n_bootstrap,)
    return LinearDatamodelingScore(
        mean=mean,
        standard_error=float(deviation(means)),
        interval=fisher_interval(mean, means, confidence_level),
        confidence_level=confidence_level,
        per_query=per_query,
        per_query_error=np.array([deviation(one) for one in draws]),
        n_subsets=len(subsets),
        n_undefined=int((~defined).sum()),
    )


def _warn_of_undefined(defined: NDArray[np.bool_]) -> None:
    if not defined.all():
        warnings.warn(
            f"Predictions or values do not vary over the subsets at {int((~defined).sum())} of "
            f"{defined.size} queries, where the correlation is undefined and set to NaN; the "
            "mean leaves them out. Retrain on more subsets, or leave these queries out.",
            UndefinedMetricWarning,
            stacklevel=3,
        )


def _sign(effect: str) -> float:
    if effect not in ("deletion", "inclusion"):
        raise ValueError(
            f"effect is {effect!r}, but it must be 'deletion' or 'inclusion'. Pass 'deletion' for "
            "scores of this package."
        )
    return -1.0 if effect == "deletion" else 1.0


def _check(
    scores: ArrayLike, subsets: ArrayLike, values: ArrayLike
) -> tuple[Array, NDArray[np.bool_], Array]:
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    subsets, values = np.asarray(subsets), np.asarray(values, dtype=np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if (
        subsets.ndim != 2
        or scores.shape != (values.shape[-1], subsets.shape[1])
        or values.shape != (subsets.shape[0], scores.shape[0])
    ):
        raise ValueError(
            f"scores have shape {scores.shape}, subsets {subsets.shape} and values "
            f"{values.shape}, but they must be (n_queries, n_train), (n_subsets, n_train) and "
            "(n_subsets, n_queries). Transpose what is the other way round."
        )
    if subsets.dtype != bool:
        raise ValueError(
            f"subsets have dtype {subsets.dtype}, but they must be boolean masks of the rows that "
            "each model was trained on. Positions and counts are no masks."
        )
    if not np.isfinite(scores).all():
        raise ValueError(
            f"{int((~np.isfinite(scores)).sum())} of the scores are not finite, so that they "
            "cannot be added up. Leave these queries or rows out, or clip the scores."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"{int(np.isnan(values).sum())} of the values are NaN, which have no place in an "
            "order. Find the models that gave them, or leave these out."
        )
    return scores, subsets, values

"""Small statistics shared by the explainers and the metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def weighted_quantile(
    values: ArrayLike, weights: ArrayLike | None, q: float, *, side: str = "lower"
) -> float:
    """Quantile of weighted values, by inverting their cumulative distribution.

    Integer weights are exactly repeated rows, whatever the order of the rows, and the result is
    always one of the values (so infinities do no harm). With ``W = sum(weights)`` and
    ``W(v)`` the weight of the values <= v:

    - ``side="lower"``: the smallest v with ``W(v) >= q W``, the inverse of the distribution
      function (`numpy.quantile` calls it "inverted_cdf");
    - ``side="upper"``: the smallest v with ``W(v) > q W`` (at q = 1 the largest value). Without
      ties, exactly the share q of the weight lies strictly below it: the cut for
      ``score < cut``.

    Parameters
    ----------
    values : array-like of shape (n,)
        Values, infinities allowed.
    weights : array-like of shape (n,) or None
        Non-negative weights with a positive sum; None for equal weights.
    q : float
        Between 0 and 1. At 0 the smallest value of positive weight is returned.
    side : {"lower", "upper"}, default="lower"
        Which of the two neighbours of a jump that hits q exactly.

    Returns
    -------
    quantile : float
        One of the values.

    Raises
    ------
    ValueError
        If the shapes differ, a value is NaN, a weight is negative or not finite, no weight is
        positive, `q` is outside [0, 1], or `side` is unknown.

    See Also
    --------
    numpy.quantile : The same for equal weights with ``method="inverted_cdf"``.

    Examples
    --------
    >>> from skinfluence._stats import weighted_quantile
    >>> weighted_quantile([3.0, 1.0, 2.0], [1, 2, 1], 0.5)
    1.0
    >>> weighted_quantile([3.0, 1.0, 1.0, 2.0], None, 0.5)  # the row of weight 2, twice
    1.0
    >>> weighted_quantile([3.0, 1.0, 2.0], [1, 2, 1], 0.5, side="upper")
    2.0
    """
    v = np.asarray(values, dtype=np.float64)
    w = np.ones_like(v) if weights is None else np.asarray(weights, dtype=np.float64)
    _check(v, w, q, side)
    w = w / w.max()  # so that no sum overflows
    counted = w > 0  # a row of weight 0 is no row: it must never be returned
    order = np.argsort(v[counted], kind="stable")
    v, cumulative = v[counted][order], np.cumsum(w[counted][order])
    # Rounding in the sums and in q * W must not move the answer by one row: 0.1 + 0.1 + 0.1
    # reaches 0.3 of the weight 1. A tie within `slack` is a hit.
    slack = 4 * np.finfo(np.float64).eps * cumulative.size * cumulative[-1]
    target = q * cumulative[-1]
    if side == "lower":
        place = np.searchsorted(cumulative, target - slack, side="left")
    else:
        place = np.searchsorted(cumulative, target + slack, side="right")
    return float(v[min(place, v.size - 1)])


def _check(values: np.ndarray, weights: np.ndarray, q: float, side: str) -> None:
    if values.ndim != 1 or values.size == 0 or values.shape != weights.shape:
        raise ValueError(
            f"values have shape {values.shape} and weights {weights.shape}, but both must be "
            "(n,) with n >= 1. Pass one weight per value."
        )
    if np.isnan(values).any():
        raise ValueError(
            f"{int(np.isnan(values).sum())} of the values are NaN, which have no place in an "
            "order. Drop them or find where they come from."
        )
    if not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(
            f"weights lie between {weights.min()} and {weights.max()}, but they must be finite "
            "and >= 0 with a positive sum. Pass counts or shares."
        )
    if not 0 <= q <= 1:
        raise ValueError(f"q is {q!r}, but it is a share and must lie in [0, 1]. Pass e.g. 0.05.")
    if side not in ("lower", "upper"):
        raise ValueError(f"side is {side!r}, but it must be 'lower' or 'upper'. Pass one of them.")

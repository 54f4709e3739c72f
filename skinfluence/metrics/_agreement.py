"""How well estimated changes agree with those of real refits."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.exceptions import UndefinedMetricWarning

Array = NDArray[np.float64]

# Relative to the values or the typical one: most rows change most queries by the same amount.
TIE = 1e-12


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Agreement of estimated changes with actual ones, as `agreement` measures it.

    Correlations forgive a wrong unit, the slope does not, and both forgive one bad row, which
    `worst_row` does not: read all of them. ``print`` gives a block for people, `frame` a row for
    tables.

    Parameters
    ----------
    pearson : float
        Linear correlation over the finite pairs; NaN if one side is constant.
    spearman : float
        Rank correlation over all pairs, infinite ones included; NaN if one side is constant.
    slope : float
        Least-squares slope, with intercept, of **actual on estimated** over the finite pairs: 2
        means that real changes are twice the estimates. NaN if the estimates are constant.
    relative_error : float
        ``|estimated - actual| / |actual|`` in the Frobenius norm over the finite pairs; inf if
        an infinity is misplaced, or if only the actual changes are all zero.
    max_error : float
        Largest ``|estimated - actual|``; inf if an infinity is misplaced.
    worst_row : int
        Row where `max_error` occurs: an element of `rows` as given to `agreement`, else the
        position in the last axis.
    n_pairs : int
        Number of pairs compared.
    n_infinite : int
        Number of pairs where both sides are the same infinity.
    n_infinite_wrong : int
        Number of pairs where one side is infinite and the other is not, or has the other sign.
    estimated, actual : ndarray or None
        The pairs, for a picture.
    rows : ndarray or None
        Training positions of the columns.

    See Also
    --------
    agreement : Computes it.
    skinfluence.KDEInfluence.validate : Agreement with real refits.

    Examples
    --------
    Estimates of half the true size are perfectly correlated, and wrong by half:

    >>> from skinfluence.metrics import agreement
    >>> result = agreement([1.0, 2.0, -1.0], [2.0, 4.0, -2.0])
    >>> print(round(result.pearson, 6), round(result.slope, 6), result.relative_error)
    1.0 2.0 0.5
    """

    pearson: float
    spearman: float
    slope: float
    relative_error: float
    max_error: float
    worst_row: int
    n_pairs: int
    n_infinite: int = 0
    n_infinite_wrong: int = 0
    estimated: Any = dataclasses.field(default=None, repr=False, compare=False)
    actual: Any = dataclasses.field(default=None, repr=False, compare=False)
    rows: Any = dataclasses.field(default=None, repr=False, compare=False)

    def frame(self) -> Any:
        """Return the numbers as a pandas DataFrame of one row, ready to be concatenated.

        Returns
        -------
        frame : pandas.DataFrame of shape (1, 9)
            One column per number.
        """
        import pandas as pd

        pairs = ("estimated", "actual", "rows")
        fields = [field.name for field in dataclasses.fields(self) if field.name not in pairs]
        return pd.DataFrame([{name: getattr(self, name) for name in fields}])

    def __str__(self) -> str:
        lines = [
            f"Agreement of estimated with actual changes ({self.n_pairs} pairs)",
            f"  Pearson correlation         {_number(self.pearson)}",
            f"  Spearman correlation        {_number(self.spearman)}",
            f"  slope, actual on estimated  {_number(self.slope)}",
            f"  relative error              {self.relative_error:10.3g}",
            f"  largest error               {self.max_error:10.3g}   at row {self.worst_row}",
        ]
        if self.n_infinite or self.n_infinite_wrong:
            lines.append(
                f"  infinite pairs              {self.n_infinite:10d}   that agree, "
                f"{self.n_infinite_wrong} that do not"
            )
        return "\n".join(lines)


def _number(value: float) -> str:
    return " undefined" if np.isnan(value) else f"{value:10.6f}"


def agreement(
    estimated: ArrayLike, actual: ArrayLike, *, rows: ArrayLike | None = None
) -> Agreement:
    """Compare estimated changes with actual ones, pair by pair.

    Infinities must agree in place and sign; correlation, slope and errors then describe the
    finite pairs.

    Parameters
    ----------
    estimated : array-like of shape (n_rows,) or (n_queries, n_rows)
        Scores, in the unit of `actual`. Infinities are allowed, NaN is not.
    actual : array-like of the same shape
        The truth, e.g. changes of the loss after real refits.
    rows : array-like of int of shape (n_rows,), default=None
        Training positions of the columns, so that `worst_row` names a training row.

    Returns
    -------
    result : Agreement
        Pearson, Spearman, slope, relative and largest error, worst row, counts.

    Raises
    ------
    ValueError
        If the shapes differ or are empty, something is NaN, or `rows` has another length.

    Warns
    -----
    sklearn.exceptions.UndefinedMetricWarning
        If one side is constant: correlation is then NaN, and the errors must tell.

    See Also
    --------
    Agreement : What the numbers mean.
    leave_one_out : Makes the truth, for any estimator.
    top_k_overlap : Compares the first k rows only.
    linear_datamodeling_score : Compares with models retrained on other rows.
    detection_auc : Judges scores by what they find.

    Examples
    --------
    >>> import numpy as np
    >>> from skinfluence.metrics import agreement
    >>> result = agreement([[0.1, 0.2, np.inf]], [[0.1, 0.3, np.inf]], rows=[7, 8, 9])
    >>> print(result)
    Agreement of estimated with actual changes (3 pairs)
      Pearson correlation           1.000000
      Spearman correlation          1.000000
      slope, actual on estimated    2.000000
      relative error                   0.316
      largest error                      0.1   at row 8
      infinite pairs                       1   that agree, 0 that do not
    """
    estimated, actual, rows = _check(estimated, actual, rows)
    finite = np.isfinite(estimated) & np.isfinite(actual)
    same = ~finite & (estimated == actual)  # the same infinity
    wrong = int((~finite & ~same).sum())
    error = np.full(estimated.shape, np.inf)
    error[finite] = np.abs(estimated[finite] - actual[finite])
    error[same] = 0.0
    pearson, slope = _line(estimated[finite], actual[finite])
    both = _denoised(estimated, actual), _denoised(actual, estimated)
    spearman, _ = _line(_ranks(both[0]), _ranks(both[1]))
    if np.isnan([pearson, spearman, slope]).any():
        warnings.warn(
            "Estimated or actual changes are constant (or fewer than two pairs are finite), so "
            "that a correlation or the slope is undefined and set to NaN. Read the errors "
            "instead, or compare at more queries.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
    worst = int(np.argmax(error)) % estimated.shape[-1]
    return Agreement(
        pearson=pearson,
        spearman=spearman,
        slope=slope,
        relative_error=np.inf if wrong else _relative(error[finite], actual[finite]),
        max_error=float(error.max()),
        worst_row=int(rows[worst]),
        n_pairs=estimated.size,
        n_infinite=int(same.sum()),
        n_infinite_wrong=wrong,
        estimated=estimated,
        actual=actual,
        rows=rows,
    )


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Correlation of `x` and `y` and least-squares slope of y on x; NaN where undefined."""
    if x.size < 2:
        return np.nan, np.nan
    # scaled first: squares of changes of 1e-200 or 1e+200 are all right in units of the largest
    scale_x, scale_y = np.abs(x).max() or 1.0, np.abs(y).max() or 1.0
    u, v = x.ravel() / scale_x, y.ravel() / scale_y
    varies_x, varies_y = np.ptp(u) > 0, np.ptp(v) > 0
    u, v = u - u.mean(), v - v.mean()
    slope = float(u @ v / (u @ u) * (scale_y / scale_x)) if varies_x else np.nan
    if not (varies_x and varies_y):
        return np.nan, slope
    return float(np.clip(u @ v / np.sqrt((u @ u) * (v @ v)), -1.0, 1.0)), slope


def _denoised(values: Array, others: Array) -> Array:
    """Values, 0 where the other side is exactly 0 and only rounding tells them from it.

    Most rows of a support vector machine do nothing, and refits of them end in rounding.
    """
    size = np.abs(values)
    largest = size[np.isfinite(size)].max(initial=0.0)
    return np.where((others == 0.0) & (size <= TIE * largest), 0.0, values)


def _ranks(values: Array) -> Array:
    """Ranks, averaged over ties; values that only rounding tells apart tie.

    Not scipy's rankdata, whose old releases take inf and -inf for a NaN.
    """
    order, group = rounded_order(values.ravel())
    counts = np.bincount(group)
    ranks = np.empty(order.size)
    ranks[order] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks


def rounded_order(values: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Ascending order of a vector, and the number of the tie each value in that order is in."""
    order = np.argsort(values, kind="stable")
    size = np.abs(values)
    typical = np.median(size[np.isfinite(size)]) if np.isfinite(size).any() else 0.0
    rounding = TIE * np.maximum(np.minimum(size[order][1:], size[order][:-1]), typical)
    with np.errstate(invalid="ignore"):  # inf - inf: a tie
        steps = np.diff(values[order]) > rounding
    return order, np.concatenate([[0], np.cumsum(steps)])


def _relative(error: Array, actual: Array) -> float:
    if not error.any():
        return 0.0
    if not actual.any():
        return np.inf
    scale = np.abs(actual).max()  # as in `_line`: squares must not leave the range of floats
    return float(np.linalg.norm(error / scale) / np.linalg.norm(actual / scale))


def _check(
    estimated: ArrayLike, actual: ArrayLike, rows: ArrayLike | None
) -> tuple[Array, Array, NDArray[np.intp]]:
    estimated, actual = np.asarray(estimated, np.float64), np.asarray(actual, np.float64)
    if estimated.shape != actual.shape or estimated.ndim not in (1, 2) or estimated.size == 0:
        raise ValueError(
            f"estimated has shape {estimated.shape} and actual {actual.shape}, but both must be "
            "(n_rows,) or (n_queries, n_rows) and not empty. Score the queries and rows that "
            "were refitted, in the same order."
        )
    for name, values in (("estimated", estimated), ("actual", actual)):
        if np.isnan(values).any():
            raise ValueError(
                f"{int(np.isnan(values).sum())} of the {name} changes are NaN, which cannot "
                "agree with anything. Find the deletions that gave them, or leave these out."
            )
    rows = np.arange(estimated.shape[-1]) if rows is None else np.asarray(rows)
    if rows.shape != estimated.shape[-1:]:
        raise ValueError(
            f"rows has shape {rows.shape}, but the changes have {estimated.shape[-1]} columns. "
            "Pass one training position per column."
        )
    return estimated, actual, rows

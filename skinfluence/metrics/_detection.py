"""How early a score finds the rows that were planted."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


def detection_curve(is_bad: ArrayLike, score: ArrayLike) -> tuple[Array, Array]:
    """Fraction of bad rows found against fraction of rows checked, highest score first.

    The question of someone who cleans data by hand: if I look at the 10 % of the rows with the
    highest scores, what share of the bad ones have I seen? The curve starts at (0, 0) and ends at
    (1, 1). Rows of equal score are checked together: the curve is straight across them, which is
    its average over their orders, so it does not depend on the order of the rows.

    Parameters
    ----------
    is_bad : array-like of shape (n_rows,)
        Booleans (or zeros and ones): the rows to be found. At least one is True.
    score : array-like of shape (n_rows,)
        High means suspicious, e.g. ``explainer.self_influence()``. Infinities are allowed.

    Returns
    -------
    fraction_checked : ndarray of shape (n_distinct_scores + 1,)
        Increasing from 0 to 1.
    fraction_found : ndarray of shape (n_distinct_scores + 1,)
        Non-decreasing from 0 to 1.

    Raises
    ------
    ValueError
        If the shapes differ, `is_bad` is not boolean or nowhere True, or a score is NaN.

    See Also
    --------
    detection_auc : The area under this curve.
    sklearn.metrics.precision_recall_curve : What share of the checked rows is bad.
    skinfluence.displays.DetectionCurveDisplay : The picture.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34, figure 17.

    Examples
    --------
    The worst row comes first, the other bad one shares its score with a good one:

    >>> from skinfluence.metrics import detection_curve
    >>> checked, found = detection_curve([True, False, True, False], [9.0, 1.0, 5.0, 5.0])
    >>> print(checked, found)
    [0.   0.25 0.75 1.  ] [0.  0.5 1.  1. ]
    """
    is_bad, score = _check(is_bad, score)
    order = np.argsort(-score, kind="stable")
    # the last row of every run of equal scores; `!=` and not diff: inf - inf is NaN
    ends = np.flatnonzero(np.append(score[order][1:] != score[order][:-1], True))
    checked = np.append(0.0, (ends + 1) / score.size)
    found = np.append(0.0, np.cumsum(is_bad[order])[ends] / is_bad.sum())
    return checked, found


def detection_auc(is_bad: ArrayLike, score: ArrayLike) -> float:
    """Area under the detection curve: 1/2 for a random order, near 1 for a perfect one.

    This is the AUC of the paper's table 6, **not** the area under the ROC curve: its horizontal
    axis counts all rows checked, bad ones included. With `p` the fraction of bad rows

        ``detection_auc = p / 2 + (1 - p) * roc_auc``,

    so both are 1/2 for random scores and they agree for rare bad rows, but a perfect order
    reaches only ``1 - p / 2`` here. Use ROC AUC to compare with other people's tables of outlier
    detectors, this one to say how much checking a score saves.

    Parameters
    ----------
    is_bad : array-like of shape (n_rows,)
        Booleans (or zeros and ones): the rows to be found. At least one is True.
    score : array-like of shape (n_rows,)
        High means suspicious. Ties count by their average; infinities are allowed.

    Returns
    -------
    auc : float
        Between ``p / 2`` and ``1 - p / 2``.

    Raises
    ------
    ValueError
        If the shapes differ, `is_bad` is not boolean or nowhere True, or a score is NaN.

    See Also
    --------
    detection_curve : The curve itself.
    detection_table : Scores beside trivial baselines and a random order.
    sklearn.metrics.roc_auc_score : The area against good rows checked.
    sklearn.metrics.average_precision_score : Kinder to scores that are right at the very top.

    Notes
    -----
    scikit-learn's metrics refuse infinite scores, which exact deletion can give. They depend on
    the order alone, so pass them ``numpy.unique(score, return_inverse=True)[1]``, which numbers
    the distinct scores in their order.

    References
    ----------
    .. [1] Z. Kong and K. Chaudhuri (2021), Understanding instance-based interpretability of
       variational auto-encoders, NeurIPS 34, section 5.2 and table 6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.metrics import roc_auc_score
    >>> from skinfluence.metrics import detection_auc
    >>> is_bad = np.array([True, False, False, True, False])
    >>> score = np.array([3.0, 1.0, 2.0, 2.0, 0.0])
    >>> p = is_bad.mean()
    >>> auc = detection_auc(is_bad, score)
    >>> print(round(auc, 4), np.isclose(auc, p / 2 + (1 - p) * roc_auc_score(is_bad, score)))
    0.75 True
    """
    checked, found = detection_curve(is_bad, score)
    # trapezoids by hand: numpy.trapezoid has that name only from numpy 2.0 on
    return float(np.sum(np.diff(checked) * (found[1:] + found[:-1])) / 2)


def _check(is_bad: ArrayLike, score: ArrayLike) -> tuple[NDArray[np.bool_], Array]:
    is_bad, score = np.asarray(is_bad), np.asarray(score, dtype=np.float64)
    if is_bad.ndim != 1 or is_bad.shape != score.shape:
        raise ValueError(
            f"is_bad has shape {is_bad.shape} and score {score.shape}, but both must be "
            "(n_rows,). Pass one score per row."
        )
    if is_bad.dtype != bool:
        if not np.isin(is_bad, (0, 1)).all():
            raise ValueError(
                f"is_bad holds {np.unique(is_bad)[:4].tolist()}, but it must be boolean, or zeros "
                "and ones. For detectors' labels pass e.g. `y == -1`; for positions fill a mask."
            )
        is_bad = is_bad.astype(bool)
    if not is_bad.any():
        raise ValueError(
            f"None of the {is_bad.size} rows is bad, so the fraction found is undefined. "
            "Mark the rows to be found with True."
        )
    if np.isnan(score).any():
        raise ValueError(
            f"{int(np.isnan(score).sum())} of the scores are NaN, which have no place in an "
            "order. Score every row; use inf or -inf for 'first' and 'last'."
        )
    return is_bad, score

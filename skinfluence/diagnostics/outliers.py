"""Tests of whether a row's residual is too large, corrected for there being many rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class OutlierTest:
    """Studentised residuals with their p-values, as `Diagnostics.outlier_test` finds them.

    Of n good rows about one in twenty has a p-value below 0.05, so the corrected one decides.

    Parameters
    ----------
    student_resid : ndarray of shape (n,)
        Externally studentised residuals.
    unadj_p : ndarray of shape (n,)
        Two-sided p-values of each row by itself.
    adjusted_p : ndarray of shape (n,)
        The same, corrected for the number of rows.
    method : str
        Correction.
    row_labels : ndarray of shape (n,)
        Names of the rows.

    See Also
    --------
    Diagnostics.outlier_test : Computes it.

    Examples
    --------
    Bonferroni multiplies by the number of rows:

    >>> import numpy as np
    >>> from skinfluence.diagnostics import OutlierTest
    >>> test = OutlierTest.of(np.array([3.0, 0.0]), np.array([0.01, 1.0]), method="bonferroni")
    >>> test.adjusted_p
    array([0.02, 1.  ])
    """

    student_resid: Array
    unadj_p: Array
    adjusted_p: Array
    method: str
    row_labels: Any = None

    @classmethod
    def of(
        cls, student_resid: Array, unadj_p: Array, *, method: str, row_labels: Any = None
    ) -> OutlierTest:
        """Correct p-values.

        Parameters
        ----------
        student_resid, unadj_p : ndarray of shape (n,)
            Residuals and their own p-values; NaN where there is none.
        method : {"bonferroni", "holm", "fdr_bh"}
            Correction.
        row_labels : ndarray of shape (n,) or None, default=None
            Names of the rows.

        Returns
        -------
        test : OutlierTest
            With the p-values corrected.
        """
        if method not in _CORRECTIONS:
            known = ", ".join(map(repr, _CORRECTIONS))
            raise ValueError(
                f"method is {method!r}, but p-values can be corrected by {known}. Pass one of "
                "these."
            )
        adjusted = np.full(len(unadj_p), np.nan)
        tested = ~np.isnan(unadj_p)
        adjusted[tested] = _CORRECTIONS[method](unadj_p[tested])
        return cls(student_resid, unadj_p, adjusted, method, row_labels)

    def frame(self) -> Any:
        """Return statsmodels' table: one row a training row.

        Returns
        -------
        frame : pandas.DataFrame of shape (n, 3)
            Columns ``student_resid``, ``unadj_p`` and ``bonf(p)`` (or the other method's name).
        """
        import pandas as pd

        short = self.method[:4] if self.method == "bonferroni" else self.method
        columns = {
            "student_resid": self.student_resid,
            "unadj_p": self.unadj_p,
            f"{short}(p)": self.adjusted_p,
        }
        return pd.DataFrame(columns, index=self.row_labels)


def _bonferroni(p):
    return np.minimum(p * len(p), 1.0)


def _stepwise(p, order, factors, running):
    """Adjust sorted p-values, and make them monotone so that no smaller p is rejected later."""
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(running(p[order] * factors), 1.0)
    return adjusted


def _holm(p):
    """Holm (1979): the i-th smallest times n - i + 1."""
    n = len(p)
    return _stepwise(p, np.argsort(p), np.arange(n, 0, -1), np.maximum.accumulate)


def _benjamini_hochberg(p):
    """Benjamini and Hochberg (1995): the i-th smallest times n / i, from the largest down."""
    n = len(p)
    factors = n / np.arange(n, 0, -1)
    return _stepwise(p, np.argsort(p)[::-1], factors, np.minimum.accumulate)


_CORRECTIONS = {"bonferroni": _bonferroni, "holm": _holm, "fdr_bh": _benjamini_hochberg}

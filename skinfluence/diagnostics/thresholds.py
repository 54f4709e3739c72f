"""The usual thresholds of regression diagnostics, each by name and none of them hidden."""

from __future__ import annotations

import numpy as np
from scipy.special import fdtri, stdtrit


def thresholds(k: float, n: int, df_resid: float) -> dict[str, dict[str, float]]:
    """Thresholds of each statistic from k parameters and n rows; NaN where there is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        rules = {
            "cooks_distance": {
                "4/n": np.divide(4.0, n),
                "4/(n-k)": np.divide(4.0, n - k),
                "F median": fdtri(k, df_resid, 0.5),
                "1": 1.0,
            },
            "leverage": {"2k/n": np.divide(2.0 * k, n), "3k/n": np.divide(3.0 * k, n)},
            "resid_studentized_external": {
                "2": 2.0,
                "3": 3.0,
                "t 5%": stdtrit(df_resid - 1.0, 0.975),
                "Bonferroni 5%": stdtrit(df_resid - 1.0, 1.0 - np.divide(0.025, n)),
            },
            "dffits": {
                "2*sqrt(k/n)": 2.0 * np.sqrt(np.divide(k, n)),
                "3*sqrt(k/(n-k))": 3.0 * np.sqrt(np.divide(k, n - k)),
                "1": 1.0,
            },
            "dfbetas": {"2/sqrt(n)": 2.0 / np.sqrt(n), "1": 1.0},
            "abs(cov_ratio - 1)": {
                "3k/n": np.divide(3.0 * k, n),
                "3k/(n-k)": np.divide(3.0 * k, n - k),
            },
        }
    return {name: {rule: float(value) for rule, value in of.items()} for name, of in rules.items()}

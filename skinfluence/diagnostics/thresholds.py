"""The usual thresholds of regression diagnostics, each by name and none of them hidden."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import fdtri, stdtrit

# Value from k (effective number of parameters), n (rows) and the residual degrees of freedom.
Rule = Callable[[float, int, float], float]


def _external(level: Callable[[int], float]) -> Rule:
    """Quantile of t with the degrees of freedom that are left without the row."""
    return lambda k, n, df: float(stdtrit(df - 1, 1 - level(n) / 2)) if df > 1 else np.nan


def _internal(level: Callable[[int], float]) -> Rule:
    """As `_external`, carried over by r = t sqrt(df / (df - 1 + t^2)), which is increasing."""

    def rule(k: float, n: int, df: float) -> float:
        t = _external(level)(k, n, df)
        return t * float(np.sqrt(df / (df - 1 + t**2)))

    return rule


def _residual_rules(quantile: Callable[[Callable[[int], float]], Rule]) -> dict[str, Rule]:
    return {
        "2": lambda k, n, df: 2.0,
        "3": lambda k, n, df: 3.0,
        "t 5%": quantile(lambda n: 0.05),
        "Bonferroni 5%": quantile(lambda n: 0.05 / n),
    }


RULES: dict[str, dict[str, Rule]] = {
    "cooks_distance": {
        "4/n": lambda k, n, df: 4 / n,
        "4/(n-k)": lambda k, n, df: 4 / (n - k),
        "F median": lambda k, n, df: float(fdtri(k, df, 0.5)),
        "1": lambda k, n, df: 1.0,
    },
    "leverage": {"2k/n": lambda k, n, df: 2 * k / n, "3k/n": lambda k, n, df: 3 * k / n},
    "resid_studentized_external": _residual_rules(_external),
    "resid_studentized_internal": _residual_rules(_internal),
    "dffits": {
        "2*sqrt(k/n)": lambda k, n, df: 2 * np.sqrt(k / n),
        "3*sqrt(k/(n-k))": lambda k, n, df: 3 * np.sqrt(k / (n - k)),
        "1": lambda k, n, df: 1.0,
    },
    "dfbetas": {"2/sqrt(n)": lambda k, n, df: 2 / np.sqrt(n), "1": lambda k, n, df: 1.0},
    "abs(cov_ratio - 1)": {
        "3k/n": lambda k, n, df: 3 * k / n,
        "3k/(n-k)": lambda k, n, df: 3 * k / (n - k),
    },
}


def threshold(rule: Rule, k: float | None, n: int, df_resid: float | None) -> float:
    """Value of a rule; NaN where there is none, or what it needs is None."""
    # numpy's numbers: a division by zero is infinite, not an error
    parameters, freedom = (np.float64(np.nan if x is None else x) for x in (k, df_resid))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(rule(parameters, n, freedom))
    return value if 0 < value < np.inf else np.nan


def thresholds(k: float, n: int, df_resid: float) -> dict[str, dict[str, float]]:
    """Thresholds of each statistic from k parameters and n rows; NaN where there is none."""
    return {
        statistic: {name: threshold(rule, k, n, df_resid) for name, rule in rules.items()}
        for statistic, rules in RULES.items()
    }

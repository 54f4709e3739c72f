"""Statistics of a row that regression diagnostics know, and the thresholds with names."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import fdtri, stdtrit

# Value from k (effective number of parameters), n (rows) and the residual degrees of freedom.
Rule = Callable[[float, int, float], float]


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A statistic: what the axis says, whether both signs are large, and its thresholds."""

    label: str
    two_sided: bool = False
    rules: dict[str, Rule] = dataclasses.field(default_factory=dict)
    defaults: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A threshold by name, e.g. ``Threshold("4/n", 0.2)``."""

    name: str
    value: float

    @property
    def text(self) -> str:
        """The name as it is written in a picture."""
        name = self.name.replace("sqrt(n)", "√n").replace("*sqrt", "√")
        return name.replace("-", "\N{MINUS SIGN}").replace("%", " %")


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


STATISTICS = {
    "cooks_distance": Statistic(
        "Cook's distance",
        rules={
            "4/n": lambda k, n, df: 4 / n,
            "4/(n-k)": lambda k, n, df: 4 / (n - k),
            "F median": lambda k, n, df: float(fdtri(k, df, 0.5)),
            "1": lambda k, n, df: 1.0,
        },
        defaults=("4/n",),
    ),
    "leverage": Statistic(
        "leverage",
        rules={"2k/n": lambda k, n, df: 2 * k / n, "3k/n": lambda k, n, df: 3 * k / n},
        defaults=("2k/n", "3k/n"),
    ),
    "resid_studentized_external": Statistic(
        "externally studentised residual",
        two_sided=True,
        rules=_residual_rules(_external),
        defaults=("t 5%", "Bonferroni 5%"),
    ),
    "resid_studentized_internal": Statistic(
        "internally studentised residual",
        two_sided=True,
        rules=_residual_rules(_internal),
        defaults=("t 5%", "Bonferroni 5%"),
    ),
    "dffits": Statistic(
        "DFFITS",
        two_sided=True,
        rules={
            "2*sqrt(k/n)": lambda k, n, df: 2 * np.sqrt(k / n),
            "1": lambda k, n, df: 1.0,
        },
        defaults=("2*sqrt(k/n)",),
    ),
    "dfbetas": Statistic(
        "DFBETAS",
        two_sided=True,
        rules={"2/sqrt(n)": lambda k, n, df: 2 / np.sqrt(n), "1": lambda k, n, df: 1.0},
        defaults=("2/sqrt(n)",),
    ),
}


def resolve(
    threshold: Any,
    statistic: str,
    *,
    n: int,
    k: float | None,
    df: float | None,
    usual: tuple[str, ...] | None = None,
) -> list[Threshold]:
    """Thresholds that were asked for, as numbers.

    "auto" stands for the `usual` ones, by default those of the statistic, as far as `k` and `df`
    are known.
    """
    known = STATISTICS.get(statistic, Statistic(statistic))
    if isinstance(threshold, str) and threshold == "auto":
        names = known.defaults if usual is None else usual
        found = [_by_name(name, known, n, k, df) for name in names]
        return [t for t in found if np.isfinite(t.value)]
    if threshold is None:
        return []
    asked = threshold if isinstance(threshold, list | tuple) else [threshold]
    return [_one(item, statistic, known, n, k, df) for item in asked]


def _one(
    asked: Any, statistic: str, known: Statistic, n: int, k: float | None, df: float | None
) -> Threshold:
    if isinstance(asked, str) and asked in known.rules:
        found = _by_name(asked, known, n, k, df)
        if not np.isfinite(found.value):
            raise ValueError(
                f"threshold {asked!r} of {statistic} cannot be computed from n_params = {k} and "
                f"df_resid = {df}. Give the display both (df_resid above 1), or pass a number."
            )
        return found
    number = isinstance(asked, int | float | np.number) and not isinstance(asked, bool)
    if not number or not 0 < asked < np.inf:
        names = ", ".join(map(repr, known.rules)) or "none"
        raise ValueError(
            f"threshold is {asked!r}, but {statistic} has these by name: {names}. Pass a name, a "
            "positive number, a list of them, or None for no line."
        )
    return Threshold(f"{asked:.4g}", float(asked))


def _by_name(name: str, known: Statistic, n: int, k: float | None, df: float | None) -> Threshold:
    # numpy's numbers: a division by zero is infinite, not an error
    parameters, freedom = (np.float64(np.nan if x is None else x) for x in (k, df))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(known.rules[name](parameters, n, freedom))
    return Threshold(name, value if value > 0 else np.nan)

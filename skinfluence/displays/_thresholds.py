"""Statistics of a row that regression diagnostics know, and the thresholds with names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skinfluence.diagnostics import SketchedDiagnostics
from skinfluence.diagnostics.thresholds import RULES, Rule, threshold


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A statistic: what the axis says, whether both signs are large, and its thresholds."""

    label: str
    two_sided: bool = False
    rules: Mapping[str, Rule] = dataclasses.field(default_factory=dict)
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


STATISTICS = {
    "cooks_distance": Statistic(
        "Cook's distance", rules=RULES["cooks_distance"], defaults=("4/n",)
    ),
    "leverage": Statistic("leverage", rules=RULES["leverage"], defaults=("2k/n", "3k/n")),
    "resid_studentized_external": Statistic(
        "externally studentised residual",
        two_sided=True,
        rules=RULES["resid_studentized_external"],
        defaults=("t 5%", "Bonferroni 5%"),
    ),
    "resid_studentized_internal": Statistic(
        "internally studentised residual",
        two_sided=True,
        rules=RULES["resid_studentized_internal"],
        defaults=("t 5%", "Bonferroni 5%"),
    ),
    "dffits": Statistic(
        "DFFITS", two_sided=True, rules=RULES["dffits"], defaults=("2*sqrt(k/n)",)
    ),
    "dfbetas": Statistic(
        "DFBETAS", two_sided=True, rules=RULES["dfbetas"], defaults=("2/sqrt(n)",)
    ),
}

# Residual degrees of freedom that a statistic needs more than; the others need none.
_NEEDED = {
    "cooks_distance": 0,
    "resid_studentized_internal": 0,
    "resid_studentized_external": 1,
    "dffits": 1,
    "dfbetas": 1,
}


def read(diagnostics: Any, statistic: str) -> NDArray[np.float64]:
    """One of the diagnostics; refused where the fit leaves too few degrees of freedom for it."""
    if isinstance(diagnostics, SketchedDiagnostics):
        return _of_sketch(diagnostics, statistic)
    values = np.asarray(getattr(diagnostics, statistic), dtype=np.float64)
    needed = _NEEDED.get(statistic, 0)
    # Effective degrees of freedom are real numbers, and 1 may have come out a little high.
    if np.isnan(values).any() and diagnostics.df_resid <= needed + 1e-8:
        raise ValueError(
            f"{statistic} does not exist for this fit: {diagnostics.n_rows} rows less "
            f"{diagnostics.n_effective_params:.4g} parameters leave df_resid = "
            f"{diagnostics.df_resid:.4g} degrees of freedom, and it needs more than {needed}. "
            "Fit fewer columns, add a penalty, or draw the leverage (InfluenceIndexDisplay)."
        )
    return values


def _of_sketch(diagnostics: SketchedDiagnostics, statistic: str) -> NDArray[np.float64]:
    if statistic not in ("cooks_distance", "leverage"):
        raise ValueError(
            f"{statistic} is no diagnostic of a sketch, which has leverages and distances. Draw "
            "InfluenceIndexDisplay of 'cooks_distance' or 'leverage', from_values of its "
            "resid_pearson or scores, or the diagnostics() of InfluenceExplainer, for fewer "
            "columns."
        )
    values = getattr(diagnostics, statistic)
    if values is None:
        raise ValueError(
            "This sketch has no Cook's distance, as its loss is no deviance. Draw "
            "its scores by from_values, or statistic='leverage'."
        )
    if np.isnan(values).any():
        raise ValueError(
            "Cook's distance does not exist for this sketch: about "
            f"{diagnostics.n_effective_params:.4g} effective parameters leave no degrees of "
            "freedom to its rows. Draw the leverage, or pass the number to InfluenceSketch as "
            "correct_shrinkage where it is known to be lower."
        )
    return values


def degrees(diagnostics: Any) -> dict[str, float]:
    """Effective parameters and residual degrees of freedom that thresholds are made of.

    Leverages of a sketch, which are too small, are compared with what they add up to themselves.
    """
    if isinstance(diagnostics, SketchedDiagnostics):
        return {"n_params": float(diagnostics.leverage.sum())}
    return {"n_params": diagnostics.n_effective_params, "df_resid": diagnostics.df_resid}


def resolve(
    asked: Any,
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
    if isinstance(asked, str) and asked == "auto":
        names = known.defaults if usual is None else usual
        found = [_by_name(name, known, n, k, df) for name in names]
        return [t for t in found if np.isfinite(t.value)]
    if asked is None:
        return []
    items = asked if isinstance(asked, list | tuple) else [asked]
    return [_one(item, statistic, known, n, k, df) for item in items]


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
    return Threshold(name, threshold(known.rules[name], k, n, df))


def diagnostics_of(explainer: Any) -> Any:
    """The diagnostics of a fitted explainer, which a figure shows for one problem at a time."""
    if not hasattr(explainer, "diagnostics"):
        raise TypeError(
            f"{type(explainer).__name__} has no diagnostics(), which are those of regressions at "
            "their minimum, as InfluenceExplainer has them. Draw SelfInfluenceDisplay instead."
        )
    diagnostics = explainer.diagnostics()
    if isinstance(diagnostics, list):
        raise ValueError(
            f"The estimator solved {len(diagnostics)} problems, one for each output or class, "
            "and each has diagnostics of its own. Draw one: "
            "from_diagnostics(explainer.diagnostics()[0])."
        )
    return diagnostics

"""What scores are measured in: their labels, the sign of what helps, and its colour."""

from __future__ import annotations

from typing import Any

import numpy as np

from skinfluence.displays import _style

# Values of the explainers' `score_unit_`, in words.
_VALUES = {
    "loss": "loss",
    "decision_function": "decision function",
    "proba": "probability",
    "target": "value",
    "parameter": "parameter",
}
_PER = " a unit of change of the "  # divides RelatIF's scores


class Reading:
    """How scores of one unit are read.

    A loss gets worse by rising and an output by falling, so that the rows that help have positive
    scores in the one and negative ones in the other. Nothing says which is better for parameters
    and for functions of the user's own.

    Parameters
    ----------
    score_unit : str
        "nats", an explainer's ``score_unit_``, or any unit of scores that are positive where a
        row helps.
    """

    def __init__(self, score_unit: str) -> None:
        what, _, divisor = str(score_unit).partition(_PER)
        unit = f"change of the {_VALUES[what]}" if what in _VALUES else what
        self.unit = f"{unit} / change of the {divisor}" if divisor else unit
        # Representer values of training rows have both signs, as residuals have.
        self.is_loss = what == "loss" or what not in [*_VALUES, "representer value"]
        self.has_sides = what not in ("target", "parameter")
        self.helps = -1 if what in ("decision_function", "proba") else 1

    @property
    def sides(self) -> tuple[str, str]:
        """Names of the red and of the blue rows."""
        if self.has_sides:
            return "proponents", "opponents"
        return "rises without it", "falls without it"

    @property
    def says_red_is_positive(self) -> bool:
        """Whether the usual reading holds, that red rows help and have positive scores."""
        return self.has_sides and self.helps > 0

    @property
    def diverging(self) -> str:
        """Colour map that is red for the rows that help."""
        return _style.DIVERGING if self.helps > 0 else _style.DIVERGING.removesuffix("_r")

    def colour(self, score: float) -> str:
        """Colour of a score's sign."""
        if score == 0:
            return _style.MUTED
        return _style.PROPONENT if score * self.helps > 0 else _style.OPPONENT

    def label(self, name: str) -> str:
        """Axis label of scores called `name`, in two lines where it is long."""
        gap = "\n" if len(name) + len(self.unit) > 50 else " "
        return f"{name}{gap}({self.unit})"

    def strength(self, self_influence: Any) -> Any:
        """How far the model bends for each row: high for a loss, far from zero for others."""
        scores = np.asarray(self_influence, dtype=np.float64)
        return scores if self.is_loss else np.abs(scores)


def own_unit_of(explainer: Any) -> str:
    """Unit of an explainer's self influence, which is none of the scores in a sketch."""
    is_sketch = getattr(explainer, "method_", None) == "sketch"
    return "generalised Cook's distance" if is_sketch else unit_of(explainer)


def unit_of(explainer: Any) -> str:
    """Unit of an explainer's scores: the loss of a density is in nats."""
    unit = str(getattr(explainer, "score_unit_", "loss"))
    return "nats" if unit == "loss" and hasattr(explainer, "log_density") else unit

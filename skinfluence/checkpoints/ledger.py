"""Steps and learning rates, added up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

import numpy as np

Rates = Mapping[str, float]


@dataclass
class Ledger:
    """Number of steps so far, the last one's rate, and the sum of all, by parameter.

    A sum of which one term is not known is not known.

    Parameters
    ----------
    step : int, default=0
    path : dict of str to float or None
    rate : dict of str to float or None
    """

    step: int = 0
    path: dict[str, float] | None = field(default_factory=dict)
    rate: dict[str, float] | None = None

    def add(self, steps: int, sums: Rates | None, rate: Rates | None) -> None:
        """Add some steps, the sum of their rates, and the rate of the last of them."""
        if not steps:
            return
        self.step += steps
        self.rate = None if rate is None else dict(rate)
        if sums is None or self.path is None:
            self.path = None
            return
        for name, value in sums.items():
            self.path[name] = self.path.get(name, 0.0) + value

    def path_of(self, names: Mapping[str, Any]) -> dict[str, float] | None:
        """The sums of some parameters; what no step has moved has 0."""
        return None if self.path is None else {name: self.path.get(name, 0.0) for name in names}


def rates_by_name(learning_rate: Any, names: Mapping[str, Any]) -> dict[str, float]:
    """One rate for all parameters, or rates by name, checked."""
    given = (
        learning_rate
        if isinstance(learning_rate, Mapping)
        else dict.fromkeys(names, learning_rate)
    )
    for name, rate in given.items():
        if name not in names:
            raise ValueError(
                f"learning_rate names {name!r}, and the model has no such parameter. It has "
                f"{', '.join(list(names)[:6])}."
            )
        if not isinstance(rate, Real) or not np.isfinite(float(rate)) or rate < 0:
            raise ValueError(
                f"learning_rate is {rate!r} for {name!r}, and a rate is a finite number that is "
                "not negative. Pass the one of this step."
            )
    return {name: float(rate) for name, rate in given.items()}

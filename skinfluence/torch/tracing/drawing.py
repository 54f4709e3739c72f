"""Losses that are means over noise: how many draws, and which rows they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skinfluence import _loops
from skinfluence.torch.data import Batch, Rows
from skinfluence.torch.influence.targets import OfLoss, Target
from skinfluence.torch.objective import Draws, NetworkObjective
from skinfluence.torch.tracing.draws import QUERIES, TRAINING, DrawnRows
from skinfluence.torch.tracing.pilot import PILOT_DRAWS, Pilot
from skinfluence.torch.tracing.trajectory import Trajectory

# Rows that are looked at in one go.
HASHED = 1024
# Draws a row, where nothing else is asked for.
USUAL = 16


@dataclass
class Drawing:
    """Noise of the rows of a stochastic loss.

    Parameters
    ----------
    draws : Draws
    n_draws : int
    seed : int
    """

    draws: Draws
    n_draws: int
    seed: int

    def training(self, rows: Rows) -> DrawnRows:
        """Training rows with theirs."""
        return self._drawn(rows, TRAINING)

    def queries(self, rows: Rows) -> DrawnRows:
        """Queries with theirs, which are others even where the rows are the same."""
        return self._drawn(rows, QUERIES)

    def report(self, pilot: Pilot | None) -> dict[str, Any]:
        """What is said of the draws beside scores."""
        found: dict[str, Any] = {"n_draws": self.n_draws}
        if pilot is not None:
            found["self_influence_error"] = pilot.own_error
            found["score_error"] = pilot.score_error
            found["tol_reached"] = pilot.reached
        return found

    def _drawn(self, rows, stream):
        # By value: a row has the same draws alone and among others, in any order.
        named = {"seed": self.seed, "stream": stream, "positions": numbers_of(rows)}
        return DrawnRows(rows, self.draws, self.n_draws, **named)


def numbers_of(rows: Rows) -> np.ndarray:
    """A number for every row that depends on nothing but its values, (n,)."""
    found = []
    for part in _loops.slices(rows.shape[0], HASHED):
        batch = rows.take(part)
        inputs = [*batch.args, *batch.kwargs.values()]
        flat = [x.reshape(batch.size, -1).contiguous().cpu().view(torch.uint8) for x in inputs]
        found += [_number(values) for values in zip(*(x.numpy() for x in flat), strict=True)]
    return np.array(found, dtype=np.uint64)


def _number(values: Sequence[np.ndarray]) -> int:
    digest = blake2b(digest_size=8)
    for value in values:
        digest.update(value.tobytes())
    return int.from_bytes(digest.digest(), "little")


def make_drawing(objective: NetworkObjective, asked: Any, seed: int) -> Drawing | None:
    """Noise of an objective that has any; "auto" starts with the draws of a pilot."""
    if objective.stochastic is None:
        return None
    m = PILOT_DRAWS if asked == "auto" else int(asked)
    return Drawing(objective.stochastic, m, seed)


def refuse_draws(n_draws: Any, gradient: str) -> None:
    """Refuse what is said of draws, beside the defaults, where the loss has none."""
    asked = {"n_draws": (n_draws, USUAL), "gradient": (gradient, "reparameterized")}
    for name, (value, default) in asked.items():
        if value != default:
            raise ValueError(
                f"{name}={value!r} is about draws of latents, and this loss has none. Leave "
                f"{name}={default!r}, or trace a module by its elbo."
            )


def check_draws(asked: Any) -> None:
    """Refuse what is no number of draws."""
    if asked == "auto":
        return
    if isinstance(asked, bool) or not isinstance(asked, Integral) or asked < 1:
        raise ValueError(
            f"n_draws={asked!r} is no number of draws. Pass an integer from 1 on ({USUAL} is "
            "usual), or 'auto'."
        )


def check_target(target: Target) -> None:
    """Refuse to trace anything but the loss where the network puts out no more than that."""
    if not isinstance(target, OfLoss):
        raise ValueError(
            "A network that is trained by its elbo puts out nothing but that bound. Use "
            "target='loss'."
        )


def run_pilot(trajectory: Trajectory, tol: float) -> Pilot:
    """How many draws an error takes, at the last checkpoint that counts."""
    last = max(c for c, rate in enumerate(trajectory.rates) if any(rate.values()))
    point = trajectory.point(last)
    rows = point.objective.rows
    assert isinstance(rows, DrawnRows)
    return point.metric.pilot(point.gradients, rows, tol)


class Picked(Rows):
    """Rows at some positions of others.

    Parameters
    ----------
    rows : Rows
    at : ndarray of int
    """

    def __init__(self, rows: Rows, at: np.ndarray):
        self.rows, self.at, self.device = rows, at, rows.device

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.at),)

    def take(self, rows: slice | np.ndarray | Tensor) -> Batch:
        rows = rows.cpu().numpy() if isinstance(rows, Tensor) else rows
        return self.rows.take(self.at[rows])

    def __getitem__(self, rows: slice) -> Picked:
        return Picked(self.rows, self.at[rows])


def picked(rows: DrawnRows, at: np.ndarray) -> DrawnRows:
    """Some rows with their own noise."""
    return DrawnRows(
        Picked(rows.rows, at),
        rows.draws,
        rows.n_draws,
        seed=rows.seed,
        stream=rows.stream,
        step=rows.step,
        positions=np.asarray(rows.positions)[at],
    )

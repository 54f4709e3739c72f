"""Whether scores add up to what training did, by a few rows, before anybody reads them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from skinfluence import _loops
from skinfluence._warn import warn
from skinfluence.exceptions import IncompleteTraceWarning
from skinfluence.torch.influence.queries import Queries
from skinfluence.torch.influence.trained import as_array
from skinfluence.torch.tracing.completeness import Intervals
from skinfluence.torch.tracing.metric import make_metric
from skinfluence.torch.tracing.trajectory import Point, Trajectory

# Queries; rows that stand for all others: few, and more, other ones, where these look bad.
N_QUERIES, N_ROWS = 16, (48, 192, 768)
# Standard errors by which a sum may be off, where it is said to be.
ERRORS = 3.0
# Sums are off where they are so many times too large or too small.
FACTOR = 3.0
# Share of the loss that float32 may be off by.
ROUNDING = 1e-5


@dataclass
class Seen:
    """What some queries' scores add up to, and what they should.

    Parameters
    ----------
    estimated : float
        Sum over all training rows of the mean score of the queries, from some of the rows.
    error : float
        Its standard error.
    actual : float
        By how much the mean loss of the queries fell.
    scale : float
        Mean of the sizes of these queries' changes, which may have both signs.
    loss : float
        What it was at first.
    n_queries, n_rows : int
        That were looked at.
    """

    estimated: float
    error: float
    actual: float
    scale: float
    loss: float
    n_queries: int
    n_rows: int

    def is_far(self, n_errors: float) -> bool:
        """Whether the two are not the same number, for any error up to some standard errors."""
        allowed = n_errors * self.error
        nearest = float(np.clip(self.actual, self.estimated - allowed, self.estimated + allowed))
        gap = abs(nearest - self.actual) - ROUNDING * abs(self.loss)
        return gap > (1.0 - 1.0 / FACTOR) * max(abs(nearest), abs(self.actual), self.scale)


def claims_sums(unit: str, trajectory: Trajectory) -> bool:
    """Whether scores are said to be parts of what the loss lost, and two states can show it.

    Those of some of the parameters that were trained add up to less, and nothing is wrong.
    """
    if unit != "loss" or len(trajectory) < 2:
        return False
    moved = {name for name, way in (trajectory.checkpoints[-1].path or {}).items() if way > 0.0}
    return moved <= set(trajectory.objective.network.names)


def check_sums(
    trajectory: Trajectory, intervals: Intervals, queries: Queries, weights: np.ndarray, seed: int
) -> None:
    """Warn where scores are surely not parts of what the loss fell by.

    Parameters
    ----------
    trajectory : Trajectory
        At least two checkpoints.
    intervals : Intervals
    queries : Queries
        The training rows, asked about by their loss.
    weights : ndarray of shape (n_train,)
        What each row's scores are multiplied by.
    seed : int
        Chooses the rows.

    Warns
    -----
    IncompleteTraceWarning
        If few rows say so, and more and others do beyond their error.
    """
    rng = check_random_state(seed)
    for n_rows in N_ROWS:
        found = look(trajectory, intervals, queries, weights, n_rows=n_rows, rng=rng)
        if found is None or not found.is_far(0.0):
            return
        if n_rows > N_ROWS[0] and found.is_far(ERRORS):
            warn(_message(found, trajectory.checkpoints.optimizer), IncompleteTraceWarning)
            return


def look(
    trajectory: Trajectory,
    intervals: Intervals,
    queries: Queries,
    weights: np.ndarray,
    *,
    n_rows: int,
    rng: np.random.RandomState,
) -> Seen | None:
    """Sums of some queries by some rows; None where there are too few, or losses are no numbers.

    The queries are training rows, and their own part in the sums is known; other rows, drawn
    without replacement, stand for all the others.
    """
    order = rng.permutation(np.flatnonzero(weights > 0))
    asked, rows = np.split(order, [min(N_QUERIES, len(order) // 3)])
    n_others, rows = len(rows), rows[:n_rows]
    if len(asked) == 0 or len(rows) < 2:
        return None
    own, others, values = np.zeros(len(asked)), np.zeros(len(rows)), []
    last = len(trajectory) - 1
    for c in range(last + 1):
        rates = {n: r + intervals.after[c][n] for n, r in intervals.before[c].items()}
        if not any(rates.values()) and c not in (0, last):
            continue
        point = trajectory.point(c)
        # The same noise all the way: else its differences would be taken for drops.
        at_point = point.asked(queries, step=trajectory.steps[0])
        slope, value = _mean(at_point, asked, point)
        values.append(value)
        network = point.objective.network
        V = make_metric(network, rates, trajectory.scale(c, network)).times(slope)
        own += _products(point, asked, V)
        others += _products(point, rows, V)
    shares = others * weights[rows]
    error = n_others * shares.std(ddof=1) * np.sqrt(1 / len(rows) - 1 / n_others)
    found = Seen(
        float(own @ weights[asked] + n_others * shares.mean()),
        float(error),
        float((values[0] - values[-1]).mean()),
        float(np.abs(values[0] - values[-1]).mean()),
        float(values[0].mean()),
        len(asked),
        len(rows),
    )
    return found if np.isfinite([found.estimated, found.error, found.actual]).all() else None


def _mean(queries: Queries, at: np.ndarray, point: Point) -> tuple[Tensor, np.ndarray]:
    """Gradient of the mean loss of some queries, (1, p), and the loss of each."""
    network = point.objective.network
    total = torch.zeros(1, network.n_params, dtype=torch.float64, device=network.device)
    values = []
    for part in _parts(point, at):
        block = queries.gradients.block(queries.take(part))
        total += block.adjoint(network.theta.new_ones(1, len(block)))
        values.append(as_array(block.values))
    return total / len(at), np.concatenate(values)


def _products(point: Point, at: np.ndarray, V: Tensor) -> np.ndarray:
    """``<v, g_i>`` of some training rows, (len(at),)."""
    return np.concatenate(
        [as_array(point.block(part).times(V)[:, 0]) for part in _parts(point, at)]
    )


def _parts(point: Point, at: np.ndarray) -> Iterator[np.ndarray]:
    for part in _loops.slices(len(at), point.gradients.block_size()):
        yield at[part]


def _message(seen: Seen, optimizer: Any) -> str:
    return (
        "The scores of a query should add up to what its loss fell by, and here they do not: "
        f"between the first checkpoint and the last, the mean loss of {seen.n_queries} training "
        f"rows fell by {seen.actual:.3g}, and the scores add up to {seen.estimated:.3g} (standard "
        f"error {seen.error:.2g}, from {seen.n_rows} rows). {_reason(seen, optimizer)} The order "
        "of the scores may be right, and their size is not. validate(X, y) compares query by "
        "query."
    )


def _reason(seen: Seen, optimizer: Any) -> str:
    if abs(seen.estimated) < abs(seen.actual):
        return (
            "Steps were longer than the rates say: a batch loss that is a sum over its rows and "
            "no mean does that. Train by means, or pass learning_rates= of your own."
        )
    options: Any = {} if optimizer is None else next(iter(optimizer.options.values()), {})
    if options.get("maximize") and seen.actual < 0:
        return "The optimiser went up (maximize=True). Pass as loss= minus what it has maximised."
    return (
        "Steps are too large for gradients to say where they lead, or shorter than the rates say "
        "(clipped gradients), or checkpoints are too far apart where the loss fell. Lower the "
        "learning rate or the momentum, scale the columns, or record more checkpoints early on, "
        "as at=[0, 1, 3, 10, 30, 100, ...]."
    )
